"""Arguments of definitions: bound by position and name, tensors matched against their patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from netlang.diagnostics import Span, fail, listing, nearest
from netlang.elaboration.arithmetic import describe, is_static, to_tensor
from netlang.elaboration.frame import Frame
from netlang.elaboration.values import (
    Builtin,
    Distribution,
    Family,
    Instance,
    Tensor,
    Value,
)
from netlang.graph.integer import Int
from netlang.graph.text import shape_text
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator


class Arguments:
    """Binds arguments on behalf of an `Elaborator`."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator

    def bind(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        frame: Frame,
        span: Span,
        skip: int = 0,
        written: Sequence[tree.Argument] = (),
    ) -> None:
        """Bind a definition's parameters in its frame: arguments, defaults, the extents in the tensors' patterns.

        `span` is the place to blame; `written` are the arguments at that place, the last ones of those given.
        """
        parameters = definition.parameters[skip:]
        title = definition.name.id
        places = _places(positional, written)
        if len(positional) > len(parameters):
            signature = ", ".join(p.name for p in parameters)
            fail(
                "wrong-arity",
                f"`{title}` takes {_count(len(parameters), 'argument')}, found {len(positional)}",
                places.get(len(parameters), span),
                help=f"it takes ({signature})" if signature else "",
            )
        given = {p.name: v for p, v in zip(parameters, positional, strict=False)}
        known = [p.name for p in parameters]
        for name, value in named:
            if name not in known:
                fail(
                    "unknown-argument",
                    f"`{title}` has no argument `{name}`",
                    places.get(name, span),
                    help=nearest(name, known) or f"it takes {listing(known)}",
                )
            if name in given:
                fail(
                    "duplicate-argument",
                    f"`{name}` is given twice to `{title}`",
                    places.get(name, span),
                    notes=[f"by position it is argument {known.index(name) + 1}"],
                    help="remove one of them",
                )
            given[name] = value
        for k, parameter in enumerate(parameters):
            place = places.get(parameter.name, places.get(k, span))
            if parameter.name in given:
                value = given[parameter.name]
            elif parameter.default is not None:
                value = self.elaborator.evaluate.complete(parameter.default, frame)
            else:
                fail(
                    "missing-argument",
                    f"`{title}` needs `{parameter.name}`",
                    span,
                    help=f"it takes {listing(known)}",
                )
            frame.names[parameter.name] = self.bound_argument(parameter, value, definition, frame, span, place)
            frame.spans[parameter.name] = parameter.span

    def bound_argument(
        self,
        parameter: tree.Parameter,
        value: Value,
        definition: tree.Definition,
        frame: Frame,
        span: Span,
        place: Span,
    ) -> Value:
        """The value of a parameter; `place` is where it is written, `span` where the definition is applied."""
        title = definition.name.id
        if parameter.dims is None and parameter.type is None:
            if definition.kind == "layer" and isinstance(value, Tensor) and not _is_count(value):
                fail(
                    "static-argument",
                    f"`{parameter.name}` of `{title}` must be known at compile time, found {describe(value)}",
                    place,
                    notes=[f"it is {value.maker}"] if value.maker else (),
                    help="give it a number, or an argument of the net",
                )
            return value
        if isinstance(value, Instance | Builtin | Distribution | Family | str | list | bool):
            fail(
                "type-mismatch",
                f"`{title}` expects a tensor for `{parameter.name}`, found {describe(value)}",
                place,
                help="apply the layer first: `x -> layer(...)`" if isinstance(value, Instance) else "give it a tensor",
            )
        tensor = to_tensor(value, span)
        if is_static(value):
            tensor = self.stretched(parameter, tensor, frame)
        self.match_shape(parameter, tensor, definition, frame, place)
        if parameter.type is not None:
            self.match_classes(parameter, tensor, title, frame, place)
        elif tensor.dtype == "int" and isinstance(value, Tensor):
            labels = tensor
            tensor = Tensor(labels.shape, labels.element, "real", None, None, labels.maker)
        return tensor

    def stretched(self, parameter: tree.Parameter, number: Tensor, frame: Frame) -> Tensor:
        """A number for a tensor whose extents are known already: `h0[n]=0`, after `n`."""
        dims = parameter.dims or ()
        if not all(isinstance(d, tree.Name) and d.id in frame.names for d in dims):
            return number
        shape = tuple(self.elaborator.evaluate.extent(d, frame, f"the extent `{d.span.text}`") for d in dims)
        return replace(number, shape=shape, element=lambda at: number.scalar)

    def match_classes(self, parameter: tree.Parameter, tensor: Tensor, title: str, frame: Frame, span: Span) -> None:
        assert parameter.type is not None
        if tensor.dtype != "int" or tensor.bound is None:
            fail(
                "type-mismatch",
                f"`{title}` expects class labels for `{parameter.name}`, found {describe(tensor)} of real numbers",
                span,
                notes=[f"it is {tensor.maker}"] if tensor.maker else (),
                help=f"declare the target as labels: `target {parameter.name}: class(n)`",
            )
        count = parameter.type.count
        if isinstance(count, tree.Name) and count.id not in frame.names:
            frame.names[count.id] = _plain(tensor.bound)
            return
        expected = self.elaborator.evaluate.extent(count, frame, "the number of classes")
        if expected != tensor.bound:
            fail(
                "class-mismatch",
                f"`{title}` gets {expected} scores for {tensor.bound} classes",
                span,
                notes=[f"the labels are {tensor.maker}"] if tensor.maker else (),
                help="make the last layer as wide as there are classes",
            )

    def match_shape(
        self, parameter: tree.Parameter, tensor: Tensor, definition: tree.Definition, frame: Frame, span: Span
    ) -> None:
        """Match a tensor against the pattern `x[c, h, w]`, binding names that are not bound yet."""
        dims = parameter.dims or ()
        if tensor.free and dims:
            fail(
                "unknown-shape",
                f"`{definition.name.id}` is applied to a tensor whose shape is being found",
                span,
                help="give the part that does not refer to itself a line of its own, or write the indices out",
            )
        rest = [k for k, d in enumerate(dims) if isinstance(d, tree.Rest)]
        fixed = len(dims) - len(rest)
        if tensor.rank < fixed or (not rest and tensor.rank != fixed):
            self.misfit(parameter, tensor, definition, span)
        shape = list(tensor.shape)
        if rest:
            extra = tensor.rank - fixed
            middle = tuple(shape[rest[0] : rest[0] + extra])
            if frame.rest is not None and frame.rest != middle:
                self.misfit(parameter, tensor, definition, span, f"`...` is {shape_text(frame.rest)} already")
            frame.rest = middle
            shape[rest[0] : rest[0] + extra] = []
        for d, extent in zip([d for d in dims if not isinstance(d, tree.Rest)], shape, strict=True):
            if isinstance(d, tree.Name) and d.id not in frame.names:
                frame.names[d.id] = _plain(extent)
                continue
            expected = self.elaborator.evaluate.extent(d, frame, f"the extent `{d.span.text}`")
            if expected != extent:
                known = f"`{d.span.text}` is {expected}"
                self.misfit(parameter, tensor, definition, span, known)

    def misfit(
        self, parameter: tree.Parameter, tensor: Tensor, definition: tree.Definition, span: Span, why: str = ""
    ) -> None:
        title = definition.name.id
        article = {1: "a vector", 2: "a matrix", 3: "an image"}.get(len(parameter.dims or ()), "a tensor")
        pattern = (
            parameter.name + "[" + ", ".join(d.span.text for d in parameter.dims or ()) + "]"
            if parameter.dims
            else f"a scalar {parameter.name}"
        )
        if not parameter.dims or any(isinstance(d, tree.Rest) for d in parameter.dims):
            article = ""
        notes = [f"{tensor.maker} made it {describe(tensor)}"] if tensor.maker else []
        if why:
            notes.append(why)
        flat = len(parameter.dims or ()) == 1 and tensor.rank > 1 and not why
        fail(
            "shape-mismatch",
            f"`{title}` expects {f'{article} ' if article else ''}{pattern}, got {describe(tensor)}",
            span,
            label=f"{parameter.name} {tensor.describe()}",
            notes=notes,
            help="reshape it to a vector first" if flat else f"check what leads into `{title}`",
        )


def _is_count(tensor: Tensor) -> bool:
    """True for a single integer of the data, such as the length of a sequence, which may stand where a number does."""
    return tensor.dtype == "int" and not tensor.shape


def _places(positional: Sequence[Value], written: Sequence[tree.Argument]) -> dict[str | int, Span]:
    """Where arguments are written: by name, and by position."""
    unnamed = [a for a in written if a.name is None]
    first = len(positional) - len(unnamed)  # what comes before is the pipeline's tensor, or the instance's own
    places: dict[str | int, Span] = {first + k: a.span for k, a in enumerate(unnamed)}
    return places | {a.name: a.span for a in written if a.name is not None}


def _plain(extent: Int) -> int | Int:
    return extent.constant if extent.is_constant else extent


def _count(n: int, word: str) -> str:
    return f"{n or 'no'} {word}{'s' * (n != 1)}"
