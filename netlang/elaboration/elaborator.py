"""Syntax tree to Graph: applies definitions, gives every tensor its shape and every read its proof or its guard.

The result is the per-example graph (the batch is implicit; see `lift`) in normal form. Training and inference are two
graphs with the same parameters: what is conditional on `training` is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netlang.diagnostics import Span, fail, listing, nearest
from netlang.elaboration.applications import Applications
from netlang.elaboration.arguments import Arguments
from netlang.elaboration.arithmetic import describe, to_tensor
from netlang.elaboration.build import Builder
from netlang.elaboration.declarations import Declarations
from netlang.elaboration.evaluate import Evaluator
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.initial import Initializers
from netlang.elaboration.modules import Module
from netlang.elaboration.recurrence import Recurrences
from netlang.elaboration.results import Results
from netlang.elaboration.values import (
    Bound,
    Family,
    Instance,
    Names,
    Several,
    Tensor,
    Truth,
    Value,
    bind,
    single,
)
from netlang.graph.constructors import select
from netlang.graph.expression import ONE, ZERO, Expr
from netlang.graph.graph import Graph
from netlang.graph.integer import Int
from netlang.graph.nodes import Origin
from netlang.graph.sizes import only_sizes
from netlang.graph.traversal import substitute
from netlang.language import tree
from netlang.language.names import FILLED


def elaborate(
    module: Module, net: tree.Definition, arguments: Mapping[str, Value] | None = None, *, training: bool = False
) -> Graph:
    """The graph of a net with its arguments.

    Raises `NetlangError` for anything that the text gets wrong. `arguments` are the net's, by name.
    """
    try:
        return Elaborator(module, net.name.id, training).net(net, arguments or {})
    except RecursionError:
        fail(
            "too-deep",
            f"the equations of `{net.name.id}` are nested too deeply",
            net.name.span,
            help="give inner parts names of their own",
        )


class Elaborator:
    def __init__(self, module: Module, name: str, training: bool, graph: Graph | None = None) -> None:
        self.module, self.training = module, training
        self.builder = Builder(name)
        if graph is not None:
            self.builder.nodes.update(graph.nodes)
            self.builder.initial.update(graph.initial)
            self.builder.updates.update(graph.updates)
        self.unique = Names()
        self.evaluate = Evaluator(self)
        self.recurrences = Recurrences(self)
        self.declarations = Declarations(self)
        self.initializers = Initializers(self)
        self.applications = Applications(self)
        self.arguments = Arguments(self)
        self.results = Results(self)
        self.kinds: Mapping[type, Callable[..., None]] = {
            tree.Declaration: self.declarations.declaration,
            tree.Assign: self.assign,
            tree.Equation: self.equation,
            tree.Update: self.results.update,
            tree.Objective: self.results.objective,
            tree.Require: self.require,
            tree.For: self.loop,
        }

    # --- nets ---

    def net(self, definition: tree.Definition, arguments: Mapping[str, Value]) -> Graph:
        frame = Frame(self.module, "net", definition.name.id, "", "", False)
        known = [p.name for p in definition.parameters]
        for name in arguments:
            if name not in known:
                fail(
                    "unknown-argument",
                    f"`{definition.name.id}` has no argument `{name}`",
                    definition.name.span,
                    help=nearest(name, known) or (f"it has {listing(known)}" if known else "it has none"),
                )
        for parameter in definition.parameters:
            if parameter.dims is not None or parameter.type is not None:
                fail(
                    "bad-parameter",
                    "a net's arguments are numbers; declare tensors with `input`",
                    parameter.span,
                    help=f"write `input {parameter.span.text}` in the body",
                )
            if parameter.name in arguments:
                frame.names[parameter.name] = arguments[parameter.name]
            elif parameter.default is not None:
                frame.names[parameter.name] = self.evaluate.complete(parameter.default, frame)
            else:
                fail(
                    "missing-argument",
                    f"`{definition.name.id}` needs `{parameter.name}`",
                    parameter.span,
                    help=f"give it with `--set {parameter.name}=...`, or write a default",
                )
            frame.spans[parameter.name] = parameter.span
        self.body(definition.body, frame)
        builder = self.builder
        if not builder.outputs and not builder.losses:
            fail(
                "nothing-computed",
                f"`{definition.name.id}` has neither an output nor a loss",
                definition.name.span,
                help="add `output ...` or `loss ...`",
            )
        graph = builder.graph()
        if self.recurrences.found:
            graph.components  # noqa: B018  # says what is wrong with a cycle that has no step in time
        return graph

    # --- bodies ---

    def body(self, statements: Sequence[tree.Statement], frame: Frame) -> Value | None:
        """Elaborate statements in order; returns what `return` returns."""
        for statement in statements:
            self.announce(statement, frame)
        for statement in statements:
            if isinstance(statement, tree.Declaration) and statement.kind in ("input", "target"):
                for item in statement.items:
                    if item.condition is None:
                        self.declarations.sizes(item, frame)
        for statement in statements:
            if isinstance(statement, tree.Return):
                return self.returned(statement, frame)
            self.statement(statement, frame)
        return None

    def announce(self, statement: tree.Statement, frame: Frame) -> None:
        """Note the names that a statement defines, so that earlier lines may use them; a name is defined once."""
        names: list[tuple[str, Span]] = []
        if isinstance(statement, tree.Assign):
            names = [(n.id, n.span) for n in statement.names]
        elif isinstance(statement, tree.Equation):
            names = [(statement.name.id, statement.name.span)]
        elif isinstance(statement, tree.Declaration):
            names = [(item.name, item.span) for item in statement.items]
        for name, span in names:
            if frame.spans.get(name, span) != span:  # the rounds of a `for` announce the same statement again
                fail(
                    "duplicate-name",
                    f"`{name}` is defined twice",
                    span,
                    notes=[f"first defined at {frame.spans[name]}"],
                    help="use another name; in a `for` each round has its own, `name[k]`",
                )
            frame.spans[name] = span
            frame.later[name] = statement
            if frame.round is not None:
                frame.names.setdefault(name, Family(name, {}))

    def force(self, name: str, frame: Frame, span: Span) -> None:
        """Elaborate the statement that defines a name now, because something above it needs it."""
        if name in frame.active:
            chain = [*frame.active[frame.active.index(name) :], name]
            fail(
                "cyclic-definition",
                f"`{name}` is defined by itself: {' -> '.join(chain)}",
                span,
                notes=[
                    f"`{n}` is defined at {frame.spans[n].line}:{frame.spans[n].column}"
                    for n in chain[:-1]
                    if n in frame.spans
                ],
                help="break the cycle; a tensor may refer to itself one step back: `h[t] = ... (h[t-1] else 0)`",
            )
        inside = isinstance(frame.names.get(name), Family)  # a name of the round of a `for` that is going on
        frame.round, around = frame.round if inside else None, frame.round
        self.statement(frame.later[name], frame)
        frame.round = around

    def statement(self, s: tree.Statement, frame: Frame) -> None:
        self.kinds[type(s)](s, frame)

    def assign(self, s: tree.Assign, frame: Frame) -> None:
        if s.names[0].id not in frame.later:
            return  # forced from above
        name = s.names[0].id
        frame.active.append(name)
        value = self.evaluate.complete(s.value, frame)
        if isinstance(value, Instance) and not value.sharing.scope:
            member = frame.member(name)
            value.sharing.scope, value.sharing.owner = frame.path(member), frame.parameter_path(member)
        frame.active.pop()
        if len(s.names) == 1:
            self.define(name, self.stored(single(value), name, s.names[0].span, frame, s.span), frame)
            return
        if not isinstance(value, Several) or len(value.values) != len(s.names):
            fail(
                "wrong-arity",
                f"{len(s.names)} names for {describe(value)}",
                s.span,
                help="write one name for each result",
            )
        for target, part in zip(s.names, value.values, strict=True):
            self.define(target.id, self.stored(part, target.id, target.span, frame, s.span), frame)

    def define(self, name: str, value: Value, frame: Frame) -> None:
        frame.later.pop(name, None)
        if frame.round is None:
            frame.names[name] = value
            return
        family = frame.names.get(name)
        if not isinstance(family, Family):
            family = Family(name, {})
            frame.names[name] = family
        family.members[frame.round] = value

    def stored(self, value: Value, name: str, span: Span, frame: Frame, whole: Span) -> Value:
        """A tensor under a node of its own; other values, and tensors inside functions, as they are."""
        if isinstance(value, Truth):
            truth = value
            value = Tensor(truth.shape, lambda at: select(truth.element(at), ONE, ZERO))
        if not isinstance(value, Tensor) or value.node is not None:
            return value
        if frame.pure or self.recurrences.exploring:
            return self.builder.metered(value, name, span)
        path = self.builder.unused(frame.path(frame.member(name)))
        maker = value.maker or f"`{name}` at {span.line}:{span.column}"
        return self.builder.equation(path, value, Origin(whole, frame.scope), maker=maker)

    def equation(self, s: tree.Equation, frame: Frame) -> None:
        name = s.name.id
        if name not in frame.later:
            return
        frame.active.append(name)
        path = ""
        if not frame.pure and self.recurrences.is_recurrent(name, frame):
            path = self.builder.unused(frame.path(frame.member(name)))
            shape = self.recurrences.shape(name, frame, lambda: self.right_side(s, frame)[1])
            frame.recurring[name] = self.recurrences.tensor(path, shape)
        if path and self.recurrences.exploring:
            tensor = frame.recurring[name]  # its shape is all that is asked for
        else:
            bases, tensor = self.right_side(s, frame)
            if frame.pure or self.recurrences.exploring:
                tensor = self.builder.metered(tensor, name, s.name.span)
            else:
                path = path or self.builder.unused(frame.path(frame.member(name)))
                maker = f"`{name}` at {s.name.span.line}:{s.name.span.column}"
                tensor = self.builder.equation(path, tensor, Origin(s.span, frame.scope), bases, maker)
        frame.active.remove(name)
        frame.recurring.pop(name, None)
        self.define(name, tensor, frame)

    def right_side(self, s: tree.Equation, frame: Frame) -> tuple[list[str], Tensor]:
        """What an equation says: the names of its indices and the tensor."""
        name = s.name.id
        context = Context(frame, frame.indices, [])
        named: dict[str, Bound] = {}
        order: list[Bound] = []
        rest: tuple[Bound, ...] | None = None
        for item in s.indices:
            if item.name == "...":
                rest = tuple(self.evaluate.reductions.rest_indices(item.span, frame))
                order += rest
                continue
            if frame.round is not None and item.extent is None and item.name == frame.counter:
                fail(
                    "loop-index",
                    f"`{name}[{item.name}]` on the left would be an equation, in a `for` over `{item.name}`",
                    item.span,
                    help=f"write `{name} = ...`: each round has its own, and `{name}[{item.name}]` reads it",
                )
            if item.name == "batch":
                fail(
                    "misplaced-batch", "`batch` is implicit on the left of an equation", item.span, help="leave it out"
                )
            extent = self.evaluate.reductions.index_extent(item, s.value, context)
            named[item.name] = bind(self.unique.index(item.name), extent)
            order.append(named[item.name])
        value = to_tensor(self.evaluate.complete(s.value, frame, frame.indices.extended(named, rest)), s.value.span)
        return [b.name.split("#")[0] for b in order], _indexed(order, value)

    def require(self, s: tree.Require, frame: Frame) -> None:
        holds = self.evaluate.complete(s.condition, frame)
        if isinstance(holds, Truth) and not holds.shape and only_sizes(holds.element(())):
            self.builder.require(holds.element(()), self.filled(s.message.value, frame), s.span)
            return
        if not isinstance(holds, bool):
            fail(
                "bad-value",
                "`require` takes a condition known at compile time",
                s.condition.span,
                help="use arguments and extents, which are known then",
            )
        if not holds:
            message = "".join(map(str, self.filled(s.message.value, frame)))
            fail("requirement", message, s.span, label="this must hold")

    @staticmethod
    def filled(message: str, frame: Frame) -> list[str | Int]:
        """The message in pieces, with `{name}` replaced by the value of the name."""
        parts: list[str | Int] = list(FILLED.split(message))
        for k, name in enumerate(parts[1::2]):
            value = frame.names.get(str(name))
            known = isinstance(value, bool | int | float | str)
            parts[2 * k + 1] = value if isinstance(value, Int) else str(value) if known else f"{{{name}}}"
        return parts

    def loop(self, s: tree.For, frame: Frame) -> None:
        items = self.evaluate.complete(s.iterable, frame)
        if not isinstance(items, list):
            fail(
                "type-mismatch",
                f"`for` runs over a range or a list, found {describe(items)}",
                s.iterable.span,
                help="write `for k in 1..4:`",
            )
        if s.name.id in frame.spans:
            fail(
                "duplicate-name",
                f"`{s.name.id}` is defined twice",
                s.name.span,
                notes=[f"first defined at {frame.spans[s.name.id]}"],
                help="choose another name for the variable",
            )
        if frame.round is not None:
            fail(
                "nested-for", "a `for` stands inside another", s.span, help="put the inner one into a layer of its own"
            )
        frame.counter = s.name.id
        rounds = [x if isinstance(x, int) and not isinstance(x, bool) else k for k, x in enumerate(items)]
        for k, (frame.round, item) in enumerate(zip(rounds, items, strict=True)):
            if frame.round in rounds[:k]:
                fail(
                    "bad-value",
                    f"two rounds of the `for` would be called `[{frame.round}]`",
                    s.iterable.span,
                    help=f"count the rounds, `for k in 1..{len(items)}`, and pick the value of each from the list",
                )
            frame.names[s.name.id] = item
            for statement in s.body:
                self.announce(statement, frame)
            for statement in s.body:
                if isinstance(statement, tree.Return):
                    fail(
                        "misplaced-statement",
                        "`return` has no place in a `for`",
                        statement.span,
                        help="put it after the loop: `name[k]` reads what round `k` defined",
                    )
                self.statement(statement, frame)
        frame.round = None
        frame.names.pop(s.name.id, None)

    def returned(self, s: tree.Return, frame: Frame) -> Value:
        values = [self.evaluate.complete(v, frame) for v in s.values]
        return values[0] if len(values) == 1 else Several(tuple(single(v) for v in values))


def _indexed(order: Sequence[Bound], value: Tensor) -> Tensor:
    """The tensor of an equation: its written indices first, then the dimensions of its body."""
    count = len(order)
    shape = tuple(b.extent for b in order) + value.shape

    def element(at: tuple[Int, ...]) -> Expr:
        values = {b.name: i for b, i in zip(order, at[:count], strict=True)}
        return substitute(value.element(at[count:]), values)

    return Tensor(shape, element, value.dtype, bound=value.bound, maker=value.maker)
