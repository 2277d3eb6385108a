"""The `train` section of a net as a frozen Recipe: what to minimize, how, and on what data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from netlang.diagnostics import Span, fail, listing, nearest
from netlang.elaboration.arithmetic import describe
from netlang.elaboration.elaborator import Elaborator
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.modules import Module
from netlang.elaboration.values import Indices, Value
from netlang.language import tree


@dataclass(frozen=True)
class Applied:
    """An optimizer, schedule or penalty with its arguments; `over` restricts it to parameters with these names."""

    definition: tree.Definition
    positional: tuple[Value, ...]
    named: tuple[tuple[str, Value], ...]
    over: tuple[tree.Name, ...]
    span: Span


@dataclass(frozen=True)
class Symbols:
    """What the symbols of texts are: `unit` is "characters" or "words".

    Symbols that occur fewer than `least` times, and all but the `most` frequent, have one symbol in common, which
    `unknown` asks for even where every symbol is kept. `most` counts every symbol of the vocabulary.
    """

    unit: str
    lowercase: bool = False
    least: int = 1
    most: int | None = None
    unknown: bool = False

    @property
    def has_unknown(self) -> bool:
        return self.unknown or self.least > 1 or self.most is not None


@dataclass(frozen=True)
class Goal:
    """One `minimize` line: the losses that are summed and the parameters (all, where `over` is empty) that change."""

    name: str
    losses: tuple[str, ...]
    over: tuple[tree.Name, ...]
    optimizer: Applied
    span: Span | None = None


@dataclass(frozen=True)
class Recipe:
    """A `train` section. `batch` is the number of examples in a step; `validation` the fraction that is held out.

    `vocabulary` says what the symbols of texts are, `window` how many of them make an example, and `stride` how many
    there are from the start of one example to that of the next.
    """

    goals: tuple[Goal, ...]
    schedule: Applied | None = None
    penalties: tuple[Applied, ...] = ()
    batch: int = 32
    epochs: int = 10
    seed: int = 0
    clip: float | None = None
    clamp: float | None = None
    data: str | None = None
    columns: tuple[str, ...] = ()
    vocabulary: Symbols | None = None
    window: int | None = None
    stride: int | None = None
    validation: float = 0.0
    normalize: tuple[str, ...] = ()
    shuffle: bool = True
    patience: int | None = None
    span: Span | None = None


def read_recipe(module: Module, net: tree.Definition, arguments: Mapping[str, Value]) -> Recipe | None:
    """The recipe of a net, or None where its file has no `train` section for it."""
    section = module.find("train", net.name.id)
    return None if section is None else _Reader(module, net, section, arguments).recipe()


class _Reader:
    def __init__(
        self, module: Module, net: tree.Definition, section: tree.Definition, arguments: Mapping[str, Value]
    ) -> None:
        self.module, self.net, self.section = module, net, section
        self.elaborator = Elaborator(module, net.name.id, training=True)
        self.frame = Frame(module, "train", f"train {net.name.id}", "", "", True)
        for parameter in net.parameters:
            if parameter.name in arguments:
                self.frame.names[parameter.name] = arguments[parameter.name]
            elif parameter.default is not None:
                self.frame.names[parameter.name] = self.elaborator.evaluate.complete(parameter.default, self.frame)

    def recipe(self) -> Recipe:
        settings: dict[str, object] = {}
        seen: dict[str, Span] = {}
        optimizer: Applied | None = None
        penalties: list[Applied] = []
        minimized: list[tree.Minimize] = []
        for line in self.section.body:
            if isinstance(line, tree.Minimize):
                minimized.append(line)
                continue
            assert isinstance(line, tree.Setting)
            word = line.keyword.id
            if word == "penalty":
                penalties.append(self.applied("penalty", line))
                continue
            if word in seen:
                fail(
                    "duplicate-setting",
                    f"`{word}` is set twice",
                    line.keyword.span,
                    notes=[f"first set at {seen[word]}"],
                    help="remove one of them",
                )
            seen[word] = line.keyword.span
            if word == "optimizer":
                optimizer = self.applied("optimizer", line)
            elif word == "schedule":
                settings["schedule"] = self.applied("schedule", line)
            elif word in _READERS:
                settings[word] = _READERS[word](self, line)
            else:
                known = ["optimizer", "schedule", "penalty", "minimize", *_READERS]
                fail(
                    "unknown-setting",
                    f"a `train` section has no setting `{word}`",
                    line.keyword.span,
                    help=nearest(word, known) or f"there are {listing(known)}",
                )
        goals = self.goals(minimized, optimizer)
        return Recipe(goals, penalties=tuple(penalties), span=self.section.name.span, **settings)  # type: ignore[arg-type]

    def goals(self, minimized: list[tree.Minimize], optimizer: Applied | None) -> tuple[Goal, ...]:
        if not minimized:
            if optimizer is None:
                known = listing(sorted(self.module.library.names("optimizer")))
                fail(
                    "no-optimizer",
                    f"`train {self.net.name.id}` names no optimizer",
                    self.section.name.span,
                    help=f"add a line `optimizer name(...)`; there are {known}",
                )
            return (Goal("objective", (), (), optimizer),)
        goals = []
        for line in minimized:
            own = optimizer if line.optimizer is None else self.application("optimizer", line.optimizer)
            if own is None:
                fail(
                    "no-optimizer",
                    f"nothing says how to minimize `{line.loss.id}`",
                    line.span,
                    help="add `with name(...)`, an optimizer",
                )
            goals.append(Goal(line.loss.id, (line.loss.id,), line.over, own, line.loss.span))
        return tuple(goals)

    def applied(self, kind: str, line: tree.Setting) -> Applied:
        if len(line.values) != 1:
            fail("bad-setting", f"`{kind}` takes one {kind}", line.span, help=f"write `{kind} name(...)`")
        return replace(self.application(kind, line.values[0]), over=line.over)

    def application(self, kind: str, e: tree.Expression) -> Applied:
        if isinstance(e, tree.Name):
            name, written = e, tuple[tree.Argument, ...]()
        elif isinstance(e, tree.Call):
            name, written = e.callee, e.arguments
        else:
            article = "an" if kind[0] in "aeiou" else "a"
            fail(
                "bad-setting",
                f"`{e.span.text}` is not the name of {article} {kind}",
                e.span,
                help=f"write `{kind} name(...)`",
            )
        definition = self.module.require(kind, name, kind)
        positional, named = self.elaborator.evaluate.calls.arguments(written, Context(self.frame, Indices(), []))
        return Applied(definition, tuple(positional), tuple(named), (), e.span)

    # --- plain settings ---

    def value(self, line: tree.Setting) -> Value:
        if len(line.values) != 1 or line.over:
            fail(
                "bad-setting",
                f"`{line.keyword.id}` takes one value",
                line.span,
                help=f"write `{line.keyword.id} value`",
            )
        return self.elaborator.evaluate.complete(line.values[0], self.frame)

    def count(self, line: tree.Setting, least: int = 1) -> int:
        value = self.value(line)
        if isinstance(value, bool) or not isinstance(value, int) or value < least or value >= 2**31:
            found = value if isinstance(value, int | float) else describe(value)
            fail(
                "bad-setting",
                f"`{line.keyword.id}` is a whole number of at least {least}, found {found}",
                line.values[0].span,
                help=f"write a whole number: `{line.keyword.id} 10`",
            )
        return value

    def natural(self, line: tree.Setting) -> int:
        return self.count(line, 0)

    def fraction(self, line: tree.Setting) -> float:
        value = self.value(line)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            fail(
                "bad-setting",
                f"`{line.keyword.id}` is a fraction from 0 to below 1",
                line.values[0].span,
                help="`validation 0.2` holds out a fifth",
            )
        return float(value)

    def positive(self, line: tree.Setting) -> float:
        value = self.value(line)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            fail(
                "bad-setting",
                f"`{line.keyword.id}` is a positive number",
                line.values[0].span,
                help=f"write a number above 0: `{line.keyword.id} 1`",
            )
        return float(value)

    def text(self, line: tree.Setting) -> str:
        value = self.value(line)
        if not isinstance(value, str):
            fail(
                "bad-setting",
                f'`{line.keyword.id}` is a text: `{line.keyword.id} "..."`',
                line.values[0].span,
                help="put it in quotes",
            )
        return value

    def texts(self, line: tree.Setting) -> tuple[str, ...]:
        values = [self.elaborator.evaluate.complete(v, self.frame) for v in line.values]
        if not all(isinstance(v, str) for v in values):
            fail(
                "bad-setting",
                f'`{line.keyword.id}` takes texts: `{line.keyword.id} "x=0-3", "y=4"`',
                line.span,
                help="put each in quotes, with commas between",
            )
        return tuple(str(v) for v in values)

    def symbols(self, line: tree.Setting) -> Symbols:
        written = line.values[0] if len(line.values) == 1 and not line.over else None
        name = written.callee if isinstance(written, tree.Call) else written
        if not isinstance(name, tree.Name) or name.id not in _UNITS:
            fail(
                "bad-setting",
                f"`vocabulary` is {' or '.join(f'`{unit}`' for unit in _UNITS)}",
                line.span if written is None else written.span,
                help="write `vocabulary characters` or, for example, `vocabulary words(least=2)`",
            )
        options: dict[str, Value] = {}
        for argument in written.arguments if isinstance(written, tree.Call) else ():
            option = argument.name or ""
            value = self.elaborator.evaluate.complete(argument.value, self.frame)
            wanted, least = _OPTIONS.get(option, (None, 0))
            if type(value) is not wanted or (isinstance(value, int) and value < least) or option in options:
                fail(
                    "bad-setting",
                    f"`{argument.span.text}` is not an option of a vocabulary",
                    argument.span,
                    help="there are `lowercase=true`, `unknown=true`, `least=2` (the times that a symbol occurs at "
                    "least) and `most=10000` (how many symbols there are at most)",
                )
            options[option] = value
        return Symbols(name.id, **options)  # type: ignore[arg-type]

    def truth(self, line: tree.Setting) -> bool:
        value = self.value(line)
        if not isinstance(value, bool):
            fail(
                "bad-setting",
                f"`{line.keyword.id}` is true or false",
                line.values[0].span,
                help=f"write `{line.keyword.id} true` or `{line.keyword.id} false`",
            )
        return value

    def names(self, line: tree.Setting) -> tuple[str, ...]:
        declared = [
            item.name
            for s in self.net.body
            if isinstance(s, tree.Declaration) and s.kind in ("input", "target")
            for item in s.items
        ]
        for value in line.values:
            if not isinstance(value, tree.Name) or value.id not in declared:
                fail(
                    "bad-setting",
                    f"`{value.span.text}` is not an input of `{self.net.name.id}`",
                    value.span,
                    help=nearest(value.span.text, declared) or f"it has {listing(declared)}",
                )
        return tuple(v.span.text for v in line.values)


_UNITS = ("characters", "words")
_OPTIONS: dict[str, tuple[type, int]] = {
    "lowercase": (bool, 0),
    "unknown": (bool, 0),
    "least": (int, 1),
    "most": (int, 2),
}

_READERS: dict[str, Callable[[_Reader, tree.Setting], object]] = {
    "batch": _Reader.count,
    "epochs": _Reader.natural,
    "seed": _Reader.natural,
    "clip": _Reader.positive,
    "clamp": _Reader.positive,
    "data": _Reader.text,
    "columns": _Reader.texts,
    "vocabulary": _Reader.symbols,
    "window": _Reader.count,
    "stride": _Reader.count,
    "validation": _Reader.fraction,
    "normalize": _Reader.names,
    "shuffle": _Reader.truth,
    "patience": _Reader.count,
}
