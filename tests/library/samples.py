"""Sample uses of the library's definitions, made from their parameter lists: a new definition is tested for free.

Tensors get shapes from the names of their dimensions, options are tried one by one and all together. What a parameter
list cannot say (a value for a required argument, which options make a difference) is in the tables here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netlang.elaboration.modules import standard_library
from netlang.language.tree import Boolean, Definition, Name, Parameter, Rest

BATCH = 3

DIMENSIONS: tuple[Mapping[str, int], ...] = (
    {"c": 4, "h": 6, "w": 5, "n": 6, "m": 3, "d": 4, "C": 4},
    {"c": 2, "h": 5, "w": 7, "n": 4, "m": 5, "d": 6, "C": 7},
)
"""The extents tried for named dimensions; a name that is not here has `OTHER`."""
OTHER = 5
RESTS: tuple[tuple[int, ...], ...] = ((), (3,), (2, 3))
"""What `...` is tried as."""

REQUIRED: Mapping[str, str] = {
    "units": "3", "filters": "4", "channels": "4", "size": "3", "groups": "2", "std": "0.5", "words": "5", "n": "3",
    "heads": "2", "hidden": "3", "limit": "7", "t": "1", "causal": "true", "length": "4",
    "outputs": "2", "forward": "lstm(3)", "backward": "gru(2)", "f": "dropout(0.2)",
}  # fmt: skip
"""A value for each argument that has no default."""

OPTIONS: Mapping[str, str] = {
    "stride": "2", "pad": "1", "dilation": "2", "groups": "2", "factor": "3", "pieces": "3",
    "activation": "sigmoid", "readout": "tanh", "recurrent": "identity(gain=0.5)",
}  # fmt: skip
"""Another value for options; a flag is tried the other way round without an entry."""
TOGETHER: Mapping[str, str] = {"output_pad": "1", "length": "3", "drop": "0.4"}
"""Options that make sense, or are worth the time, only where the others are set too."""

LARGE = {
    "transformer_encoder", "transformer_decoder", "attention_gru", "attention_lstm",
    "bidirectional", "jordan", "lstm", "gru", "mut1", "mut2", "mut3",
}  # fmt: skip
"""Layers that take long to compile: they are tried once, with all options."""

EXTENTS: Mapping[str, Mapping[str, int]] = {"mut1": {"d": 3}, "mut2": {"d": 3}}
"""Extents that a definition asks for."""

PROBABILITIES = {"binary_cross_entropy", "kl"}
"""Definitions whose arguments lie between 0 and 1; those of all others are normal."""


@dataclass(frozen=True)
class Sample:
    """A net, as text, that applies one definition to inputs of given shapes (of one example)."""

    definition: str
    label: str
    text: str
    shapes: Mapping[str, tuple[int, ...]]
    classes: Mapping[str, int]
    probabilities: bool
    varies_with_training: bool

    def arrays(self, seed: int = 0) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
        """Random values for the inputs and targets, for a batch of examples."""
        random = np.random.default_rng(seed)
        return {name: self._draw(random, name, (BATCH, *shape)) for name, shape in self.shapes.items()}

    def _draw(
        self, random: np.random.Generator, name: str, shape: tuple[int, ...]
    ) -> NDArray[np.float64] | NDArray[np.int64]:
        if name in self.classes:
            return random.integers(0, self.classes[name], shape)
        return random.uniform(0.1, 0.9, shape) if self.probabilities else random.normal(size=shape)


def samples(*kinds: str) -> Iterator[Sample]:
    """Every sample of the library's definitions of these kinds (layer, fn, loss, metric)."""
    for definition in standard_library():
        if definition.kind in kinds:
            yield from of(definition)


def of(definition: Definition) -> Iterator[Sample]:
    """The defaults on every choice of shapes, then each option, then all, on the shape with the most dimensions.

    Tensors that have a default are given in the last.
    """
    given = [p for k, p in enumerate(definition.parameters) if _is_tensor(definition, k, p)]
    tensors = [p for p in given if p.default is None]
    options = [p for p in definition.parameters if p not in given]
    required = {p.name: _required(definition, p) for p in options if p.default is None}
    large = definition.name.id in LARGE
    choices = list(_shapes(tensors, definition.kind == "fn"))
    for extents, rest in choices if not large else ():
        yield _sample(definition, tensors, required, extents, rest)
    changed = {p.name: value for p in options if (value := _other(p)) is not None}
    extents, rest = max(choices, key=lambda choice: len(choice[1]))
    if len(changed) > 1 and not large:
        for name, value in changed.items():
            yield _sample(definition, tensors, required | {name: value}, extents, rest)
    together = {p.name: TOGETHER[p.name] for p in options if p.name in TOGETHER}
    if large or changed or len(given) > len(tensors):
        arguments = required | changed | together
        extents = {**extents, **{name: int(value) for name, value in arguments.items() if value.isdecimal()}}
        yield _sample(definition, given, arguments, extents, rest)


def _is_tensor(definition: Definition, position: int, parameter: Parameter) -> bool:
    elementwise = definition.kind == "fn" and position == 0
    return parameter.dims is not None or parameter.type is not None or elementwise


def _has_rest(parameter: Parameter) -> bool:
    return any(isinstance(d, Rest) for d in parameter.dims or ())


def _required(definition: Definition, parameter: Parameter) -> str:
    if parameter.name not in REQUIRED:
        raise KeyError(f"`{definition.name.id}` requires `{parameter.name}`: give it a value in REQUIRED")
    return REQUIRED[parameter.name]


def _other(parameter: Parameter) -> str | None:
    if isinstance(parameter.default, Boolean):
        return "false" if parameter.default.value else "true"
    return OPTIONS.get(parameter.name) if parameter.default is not None else None


def _shapes(tensors: list[Parameter], elementwise: bool) -> list[tuple[Mapping[str, int], tuple[int, ...]]]:
    named = any(isinstance(d, Name) for p in tensors for d in p.dims or ())
    open_ended = any(_has_rest(p) for p in tensors) or (elementwise and all(p.dims is None for p in tensors))
    return [(e, rest) for e in DIMENSIONS[: 1 + named] for rest in (RESTS if open_ended else RESTS[:1])]


def _sample(
    definition: Definition,
    tensors: list[Parameter],
    arguments: Mapping[str, str],
    extents: Mapping[str, int],
    rest: tuple[int, ...],
) -> Sample:
    name = definition.name.id
    extents = {**extents, **EXTENTS.get(name, {})}
    elementwise = definition.kind == "fn" and all(p.dims is None for p in tensors)
    shapes = {p.name: rest if elementwise else _shape(p, extents, rest) for p in tensors}
    counts = {p.name: p.type.count for p in tensors if p.type is not None}
    classes = {k: _extent(count.id, extents) for k, count in counts.items() if isinstance(count, Name)}
    given = ", ".join(f"{k}={v}" for k, v in arguments.items())
    shown = ", ".join(f"{k}{list(v)}" for k, v in shapes.items())
    declared = [f"    input {k}{_dimensions(shape)}{_class(classes, k)}" for k, shape in shapes.items()]
    first, *others = (p.name if p.default is None else f"{p.name}={p.name}" for p in tensors)
    if definition.kind in ("loss", "metric"):
        applied = f"{name}({', '.join(shapes)}{', ' + given if given else ''})"
    else:
        applied = f"{first} -> {name}({', '.join([*others, given] if given else others)})"
    lines = [*declared, f"    result = {applied}", "    output result"]
    if definition.kind == "loss":
        lines.append("    loss value = result")
    elif definition.kind != "metric":
        lines.append("    loss value = probe(result)")
    return Sample(
        definition=name,
        label=f"{name}({given}) of {shown}" if given else f"{name} of {shown}",
        text="\n".join(["net Sample:", *lines, "", PROBE]),
        shapes=shapes,
        classes=classes,
        probabilities=name in PROBABILITIES,
        varies_with_training=definition.kind == "layer" and "training" in definition.span.text,
    )


PROBE = """loss probe(y[...]) = sum(...) sin(3 * y[...] + 1)
    "A number that depends on every element of a tensor, and on each differently."
"""


def _shape(parameter: Parameter, extents: Mapping[str, int], rest: tuple[int, ...]) -> tuple[int, ...]:
    shape: list[int] = []
    for dimension in parameter.dims or ():
        shape += rest if isinstance(dimension, Rest) else [_extent(getattr(dimension, "id", ""), extents)]
    return tuple(shape)


def _extent(name: str, extents: Mapping[str, int]) -> int:
    return extents.get(name, OTHER)


def _dimensions(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]" if shape else ""


def _class(classes: Mapping[str, int], name: str) -> str:
    return f": class({classes[name]})" if name in classes else ""
