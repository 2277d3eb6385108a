"""Syntax tree to Graph: applies definitions, gives every tensor its shape and every read its proof or its guard.

The result is the per-example graph (the batch is implicit; see `lift`) in normal form. Training and inference are two
graphs with the same parameters: what is conditional on `training` is decided here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from netlang.diagnostics import Diagnostic, NetlangError, Span, fail, listing, nearest
from netlang.graph.expression import ONE, ZERO, Compare, Expr, Read, add, const, is_zero, mul, select, sub, substitute
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, integer, product
from netlang.graph.nodes import Input, Node, Origin, Param, Random, Scope, State, View
from netlang.graph.text import shape_text
from netlang.language import tree
from netlang.passes.arithmetic import binary, broadcast, describe, stretched, to_tensor
from netlang.passes.build import Builder
from netlang.passes.evaluate import Context, Evaluator, Frame
from netlang.passes.modules import Module
from netlang.passes.values import (
    Absent,
    Bound,
    Family,
    Instance,
    Names,
    Several,
    Tensor,
    Truth,
    Value,
    bind,
    node_tensor,
)

DEEPEST = 100  # applications inside applications

# what each kind of definition may contain, besides assignments, equations, `require` and `for`
ALLOWED: Mapping[str, frozenset[str]] = {
    "net": frozenset({"input", "target", "param", "state", "noise", "output", "loss", "metric", "update"}),
    "layer": frozenset({"param", "state", "noise", "return", "update"}),
    "optimizer": frozenset({"state", "update"}),
    "fn": frozenset({"return"}),
}


def elaborate(
    module: Module, net: tree.Definition, arguments: Mapping[str, Value] | None = None, *, training: bool = False
) -> Graph:
    """The graph of a net with its arguments.

    Raises `NetlangError` for anything that the text gets wrong. `arguments` are the net's, by name.
    """
    return Elaborator(module, net.name.id, training).net(net, arguments or {})


class Elaborator:
    def __init__(self, module: Module, name: str, training: bool, graph: Graph | None = None) -> None:
        self.module, self.training = module, training
        self.builder = Builder(name)
        if graph is not None:
            self.builder.nodes.update(graph.nodes)
            self.builder.initial.update(graph.initial)
            self.builder.updates.update(graph.updates)
        self.unique = Names()
        self.scope_names: set[str] = set()
        self.evaluate = Evaluator(self)
        self.depth = 0

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
                fail("bad-parameter", "a net's arguments are numbers; declare tensors with `input`", parameter.span)
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
        return builder.graph()

    # --- bodies ---

    def body(self, statements: Sequence[tree.Statement], frame: Frame) -> Value | None:
        """Elaborate statements in order; returns what `return` returns."""
        for statement in statements:
            self.announce(statement, frame)
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
            if name in frame.spans and not (frame.round is not None and isinstance(frame.names.get(name), Family)):
                fail(
                    "duplicate-name",
                    f"`{name}` is defined twice",
                    span,
                    notes=[f"first defined at {frame.spans[name]}"],
                    help="use another name; in a `for` each round has its own, `name[k]`",
                )
            frame.spans[name] = span
            frame.later[name] = statement

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
                help="break the cycle; recurrences over time are not part of this version",
            )
        self.statement(frame.later[name], frame)

    def statement(self, s: tree.Statement, frame: Frame) -> None:
        kinds: dict[type, Callable[..., None]] = {
            tree.Declaration: self.declaration,
            tree.Assign: self.assign,
            tree.Equation: self.equation,
            tree.Update: self.update,
            tree.Objective: self.objective,
            tree.Require: self.require,
            tree.For: self.loop,
        }
        kinds[type(s)](s, frame)

    def allow(self, what: str, span: Span, frame: Frame) -> None:
        if what not in ALLOWED.get(frame.kind, ALLOWED["fn"]):
            fail("misplaced-statement", f"`{what}` has no place in `{frame.title}`, a {frame.kind}", span)

    def assign(self, s: tree.Assign, frame: Frame) -> None:
        if s.names[0].id not in frame.later:
            return  # forced from above
        name = s.names[0].id
        frame.active.append(name)
        value = self.evaluate.complete(s.value, frame)
        if isinstance(value, Instance) and not value.name:
            value.name.append(name)
        frame.active.pop()
        if len(s.names) == 1:
            self.define(name, self.stored(value, name, s.names[0].span, frame, s.span), frame)
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
        if not isinstance(value, Tensor) or frame.pure or value.node is not None:
            return value
        path = self.builder.unused(frame.path(name if frame.round is None else f"{name}[{frame.round}]"))
        maker = value.maker or f"`{name}` at {span.line}:{span.column}"
        return self.builder.equation(path, value, Origin(whole, frame.scope), maker=maker)

    def equation(self, s: tree.Equation, frame: Frame) -> None:
        name = s.name.id
        if name not in frame.later:
            return
        frame.active.append(name)
        context = Context(frame, frame.indices, [])
        named: dict[str, Bound] = {}
        order: list[Bound] = []
        rest: tuple[Bound, ...] | None = None
        for item in s.indices:
            if item.name == "...":
                if rest is not None:
                    fail("duplicate-index", "`...` is introduced twice", item.span)
                rest = tuple(self.evaluate.rest_indices(item.span, frame))
                order += rest
                continue
            if item.name in named:
                fail("duplicate-index", f"the index `{item.name}` is introduced twice", item.span)
            if item.name == "batch":
                fail(
                    "misplaced-batch", "`batch` is implicit on the left of an equation", item.span, help="leave it out"
                )
            extent = self.evaluate.index_extent(item, s.value, context)
            named[item.name] = bind(self.unique.index(item.name), extent)
            order.append(named[item.name])
        value = to_tensor(self.evaluate.complete(s.value, frame, frame.indices.extended(named, rest)), s.value.span)
        frame.active.pop()
        tensor = _indexed(order, value)
        if not frame.pure:
            path = self.builder.unused(frame.path(name if frame.round is None else f"{name}[{frame.round}]"))
            maker = f"`{name}` at {s.name.span.line}:{s.name.span.column}"
            bases = [b.name.split("#")[0] for b in order]
            tensor = self.builder.equation(path, tensor, Origin(s.span, frame.scope), bases, maker)
        self.define(name, tensor, frame)

    def update(self, s: tree.Update, frame: Frame) -> None:
        self.allow("update", s.span, frame)
        if s.condition is not None:
            condition = self.evaluate.complete(s.condition, frame)
            if not isinstance(condition, bool):
                fail(
                    "bad-value",
                    "`when` takes a condition known at compile time",
                    s.condition.span,
                    help="use `training`",
                )
            if not condition:
                return
        found = self.evaluate.local(s.name.id, frame, s.name.span)
        state = self.updatable(s.name, found, frame)
        value = to_tensor(self.evaluate.complete(s.value, frame), s.value.span)
        if broadcast(value.shape, state.shape, s.span) != state.shape:
            fail("shape-mismatch", f"`{s.name.id}` {state.describe()}, its next value {value.describe()}", s.value.span)
        full = Tensor(state.shape, lambda at: value.element(stretched(value.shape, state.shape, at)))
        assert state.slot is not None
        path = self.builder.unused(f"{state.slot}.next")
        after = self.builder.equation(path, full, Origin(s.span, frame.scope))
        self.builder.updates[state.slot] = path
        frame.names[s.name.id] = replace(after, slot=state.slot)  # from here on the name means the next value

    def updatable(self, name: tree.Name, found: Value | None, frame: Frame) -> Tensor:
        if found is None:
            self.evaluate.unknown(name, Context(frame, frame.indices, []))
        node = self.builder.nodes.get(found.slot) if isinstance(found, Tensor) and found.slot else None
        if not isinstance(node, State) and not (frame.kind == "optimizer" and isinstance(node, Param)):
            fail(
                "not-a-state",
                f"`{name.id}` is not a state",
                name.span,
                help=f"declare it: `state {name.id}[...] ~ zeros`; other names are defined once, with `=`",
            )
        assert isinstance(found, Tensor)
        return found

    def objective(self, s: tree.Objective, frame: Frame) -> None:
        self.allow(s.kind, s.span, frame)
        roots = {"output": self.builder.outputs, "loss": self.builder.losses, "metric": self.builder.metrics}[s.kind]
        name = s.name.id if s.name is not None else _title(s.value, s.kind)
        value = self.evaluate.complete(s.value, frame)
        if isinstance(value, Several | Instance | Family | str | list):
            fail("type-mismatch", f"`{s.kind}` takes a tensor, found {describe(value)}", s.value.span)
        if isinstance(value, Truth):
            value = self.stored(value, name, s.span, frame, s.span)
        tensor = to_tensor(value, s.value.span)
        if s.kind != "output" and tensor.shape:
            fail(
                "loss-not-scalar",
                f"a {s.kind} is one number for an example; `{s.value.span.text}` {tensor.describe()}",
                s.value.span,
                help="reduce it: `mean(...)` or `sum(...)`",
            )
        if name in roots:
            fail(
                "duplicate-name",
                f"the {s.kind} `{name}` is defined twice",
                s.span,
                help=f"name it: `{s.kind} other = ...`",
            )
        if tensor.node is None:
            path = self.builder.unused(name)
            tensor = self.builder.equation(path, tensor, Origin(s.span, name if s.kind != "output" else ""))
            if s.kind != "output" and isinstance(s.value, tree.Call):
                self.scope(name, s.value.callee.id, s.kind, name, "", frame.inputs, [path], s.span)
        assert tensor.node is not None
        roots[name] = tensor.node

    def require(self, s: tree.Require, frame: Frame) -> None:
        holds = self.evaluate.complete(s.condition, frame)
        if not isinstance(holds, bool):
            fail("bad-value", "`require` takes a condition known at compile time", s.condition.span)
        if not holds:
            fail("requirement", self.filled(s.message.value, frame), s.span, label="this must hold")

    def filled(self, message: str, frame: Frame) -> str:
        """The message with `{name}` replaced by the value of the name."""
        for name, value in frame.names.items():
            if isinstance(value, bool | int | float | str):
                message = message.replace("{" + name + "}", str(value))
            elif isinstance(value, Int):
                message = message.replace("{" + name + "}", value.key.replace("|", ""))
        return message

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
            )
        if frame.round is not None:
            fail(
                "nested-for", "a `for` stands inside another", s.span, help="put the inner one into a layer of its own"
            )
        for position, item in enumerate(items):
            frame.round = item if isinstance(item, int) and not isinstance(item, bool) else position
            frame.names[s.name.id] = item
            for statement in s.body:
                self.announce(statement, frame)
            for statement in s.body:
                if isinstance(statement, tree.Return):
                    fail("misplaced-statement", "`return` has no place in a `for`", statement.span)
                self.statement(statement, frame)
        frame.round = None
        frame.names.pop(s.name.id, None)

    def returned(self, s: tree.Return, frame: Frame) -> Value:
        self.allow("return", s.span, frame)
        values = [self.evaluate.complete(v, frame) for v in s.values]
        return values[0] if len(values) == 1 else Several(tuple(values))

    # --- declarations ---

    def declaration(self, s: tree.Declaration, frame: Frame) -> None:
        self.allow(s.kind, s.span, frame)
        if frame.round is not None:
            fail(
                "misplaced-statement",
                f"`{s.kind}` has no place in a `for`",
                s.span,
                help="put it into a layer of its own",
            )
        for item in s.items:
            if item.name in frame.later:
                self.define(item.name, self.declared(s.kind, item, frame), frame)

    def declared(self, kind: str, item: tree.Declared, frame: Frame) -> Value:
        if item.condition is not None:
            holds = self.evaluate.complete(item.condition, frame)
            if not isinstance(holds, bool):
                fail("bad-value", f"whether `{item.name}` exists must be known at compile time", item.condition.span)
            if not holds:
                return Absent(item.name)
        shape = self.dims(item.dims or (), frame)
        if frame.kind == "optimizer":  # a state for each weight, in the shape of the weight
            weight = frame.names[frame.weight]
            assert isinstance(weight, Tensor)
            shape = weight.shape
        origin = Origin(item.span, frame.owner if kind in ("param", "state") else frame.scope)
        maker = f"`{item.name}` at {item.span.line}:{item.span.column}"
        if item.init is None and kind in ("param", "noise", "state"):
            return self.fully_declared(kind, item, shape, frame, origin, maker)
        if item.init is not None and kind in ("input", "target"):
            fail("bad-declaration", f"`{kind}` takes no initial value", item.init.span)
        if kind in ("input", "target"):
            classes = self.evaluate.extent(item.type.count, frame, "the number of classes") if item.type else None
            node = Input(item.name, shape, "int" if item.type else "real", origin, kind, classes)
            self.builder.add(node)
            return node_tensor(node, classes, maker)
        return self.fully_declared(kind, item, shape, frame, origin, maker)

    def fully_declared(
        self, kind: str, item: tree.Declared, shape: tuple[Int, ...], frame: Frame, origin: Origin, maker: str
    ) -> Value:
        if item.type is not None:
            fail(
                "bad-declaration",
                f"a `{kind}` holds real numbers",
                item.type.span,
                help="`class(...)` is for inputs and targets",
            )
        if kind == "noise":
            return self.noise(item, shape, frame, origin, maker)
        path = frame.parameter_path(item.name)
        if path in self.builder.nodes:
            return self.shared(path, shape, item, frame, maker)
        if kind == "param" and item.init is None:
            fail(
                "missing-initializer",
                f"`{item.name}` has no initial value",
                item.span,
                help=f"write one: `param {item.name}{_brackets(item)} ~ normal(0, 0.1)`",
            ) if frame.kind != "net" else None
        node: Node = (Param if kind == "param" else State)(path, shape, "real", origin)
        self.builder.add(node)
        self.initialize(node, item.init, frame, item.span)
        return node_tensor(node, None, maker)

    def shared(self, path: str, shape: tuple[Int, ...], item: tree.Declared, frame: Frame, maker: str) -> Tensor:
        """The parameter of an instance that is applied again; a state reads as updated by the application before."""
        node = self.builder.nodes[path]
        if node.shape != shape:
            fail(
                "sharing-mismatch",
                f"`{path}` has shape {shape_text(node.shape)} in one application and {shape_text(shape)} in another",
                item.span,
                help="apply a shared instance to tensors of one shape, or make a second instance",
            )
        following = self.builder.updates.get(path)
        if following is None:
            return node_tensor(node, None, maker)
        return replace(node_tensor(self.builder.nodes[following], None, maker), slot=path)

    def dims(self, dims: Sequence[tree.Expression], frame: Frame) -> tuple[Int, ...]:
        out: list[Int] = []
        for d in dims:
            if isinstance(d, tree.Rest):
                if frame.rest is None:
                    fail("misplaced-rest", f"`{frame.title}` has no parameter with `...`", d.span)
                out += frame.rest
            else:
                out.append(self.evaluate.extent(d, frame, f"the extent `{d.span.text}`"))
        return tuple(out)

    def noise(self, item: tree.Declared, shape: tuple[Int, ...], frame: Frame, origin: Origin, maker: str) -> Tensor:
        if item.init is None:
            fail(
                "missing-initializer",
                f"`{item.name}` has no distribution",
                item.span,
                help=f"write one: `noise {item.name}{_brackets(item)} ~ normal(0, 1)`",
            )
        path = frame.path(item.name)
        value = self.drawn(item.init, shape, frame, origin, path, per_example=True)
        return self.builder.equation(self.builder.unused(path), value, origin, maker=maker)

    # --- initial values and distributions ---

    def initialize(self, node: Node, init: tree.Expression | None, frame: Frame, span: Span) -> None:
        origin = Origin(span, node.origin.scope)
        if init is None:  # a net's own parameter without an initializer: small and symmetric
            value = self.distribution("normal", [0, 0.1], node.shape, origin, node.name, False, span)
        else:
            value = self.drawn(init, node.shape, frame, origin, node.name, per_example=False)
        path = self.builder.unused(f"{node.name}.initial")
        self.builder.equation(path, value, origin)
        self.builder.initial[node.name] = path

    def drawn(
        self,
        e: tree.Expression,
        shape: tuple[Int, ...],
        frame: Frame,
        origin: Origin,
        stream: str,
        per_example: bool,
    ) -> Tensor:
        """The tensor that an initializer or a distribution describes, in the given shape."""
        definition: tree.Definition | None = None
        arguments: tuple[tree.Argument, ...] = ()
        name = e.callee if isinstance(e, tree.Call) else e
        if isinstance(name, tree.Name) and name.id not in frame.names:
            definition = frame.module.find("initializer", name.id)
            arguments = e.arguments if isinstance(e, tree.Call) else ()
            if (
                definition is None
                and name.id not in _DRAWS
                and (isinstance(e, tree.Call) or not self.is_value(name, frame))
            ):
                known = [*frame.module.library.names("initializer"), *_DRAWS]
                fail(
                    "unknown-name",
                    f"no initializer is called `{name.id}`",
                    name.span,
                    help=nearest(name.id, known) or f"there are {listing(sorted(known))}",
                )
        if definition is None:
            value = self.draw_expression(e, shape, frame, origin, stream, per_example)
        else:
            inner = Frame(frame.module.home(definition), "initializer", definition.name.id, "", "", True)
            inner.names |= _fans(shape)
            context = Context(frame, frame.indices, [])
            positional, named = self.evaluate.arguments(arguments, context)
            self.bind(definition, positional, named, inner, e.span)
            statement = definition.body[-1]
            assert isinstance(statement, tree.Return)
            for earlier in definition.body[:-1]:
                self.announce(earlier, inner)
            for earlier in definition.body[:-1]:
                self.statement(earlier, inner)
            value = self.draw_expression(statement.values[0], shape, inner, origin, stream, per_example)
        if broadcast(value.shape, shape, e.span) != shape:
            fail("shape-mismatch", f"the initial value {value.describe()}, not {shape_text(shape)}", e.span)
        return Tensor(shape, lambda at: value.element(stretched(value.shape, shape, at)))

    def is_value(self, name: tree.Name, frame: Frame) -> bool:
        return name.id in frame.later or "." in name.id or name.id in ("inf", "pi")

    def draw_expression(
        self, e: tree.Expression, shape: tuple[Int, ...], frame: Frame, origin: Origin, stream: str, per_example: bool
    ) -> Tensor:
        """An expression in which calls of distributions draw a tensor of the given shape."""
        if isinstance(e, tree.Call) and e.callee.id in _DRAWS:
            context = Context(frame, frame.indices, [])
            positional, named = self.evaluate.arguments(e.arguments, context)
            if named:
                fail("unknown-argument", f"`{e.callee.id}` takes no named arguments", e.span)
            return self.distribution(e.callee.id, positional, shape, origin, stream, per_example, e.span)
        if isinstance(e, tree.Binary) and e.op in ("+", "-", "*", "/"):
            left, right = (
                self.draw_expression(part, shape, frame, origin, stream, per_example) for part in (e.left, e.right)
            )
            return to_tensor(binary(e.op, left, right, e.span), e.span)
        if isinstance(e, tree.Conditional):
            condition = self.evaluate.complete(e.condition, frame)
            if isinstance(condition, bool):
                branch = e.then if condition else e.otherwise
                return self.draw_expression(branch, shape, frame, origin, stream, per_example)
        value = self.evaluate.complete(e, frame)
        if isinstance(value, list):
            return _literal(value, e.span)
        return to_tensor(value, e.span)

    def distribution(
        self,
        name: str,
        arguments: Sequence[Value],
        shape: tuple[Int, ...],
        origin: Origin,
        stream: str,
        per_example: bool,
        span: Span,
    ) -> Tensor:
        if len(arguments) != len(_DRAWS[name]):
            takes = ", ".join(_DRAWS[name])
            fail("wrong-arity", f"`{name}` takes ({takes}), found {len(arguments)} arguments", span)
        base = {"normal": "normal", "haar": "haar"}.get(name, "uniform")
        if base == "haar" and (per_example or len(shape) < 2):
            fail(
                "bad-value",
                "`haar` draws matrices for initial values",
                span,
                help="give the parameter two dimensions or more",
            )
        if name == "bernoulli" and isinstance(arguments[0], int | float) and not 0 <= arguments[0] <= 1:
            fail("bad-value", f"a probability is between 0 and 1, found {arguments[0]}", span)
        if name == "normal" and isinstance(arguments[1], int | float) and arguments[1] < 0:
            fail("bad-value", f"a standard deviation is not negative, found {arguments[1]}", span)
        path = self.builder.unused(f"{stream}.{base}")
        self.builder.add(Random(path, shape, "real", origin, base, path, per_example))
        values = [to_tensor(a, span) for a in arguments]
        for value in values:
            if value.shape:
                fail("type-mismatch", f"`{name}` takes numbers, found {describe(value)}", span)
        numbers = [v.scalar for v in values]

        def element(at: tuple[Int, ...]) -> Expr:
            u = Read(path, at)
            if name == "uniform":
                return add(numbers[0], mul(sub(numbers[1], numbers[0]), u))
            if name == "normal":
                return add(numbers[0], mul(numbers[1], u))
            if name == "bernoulli":
                return select(Compare("<", u, numbers[0]), ONE, ZERO)
            return u

        return Tensor(shape, element)

    # --- applying definitions ---

    def apply_instance(
        self,
        instance: Instance,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        e: tree.Expression,
        context: Context,
    ) -> Value:
        """Apply an instance; from the second time on it shares the parameters of the first."""
        inputs = sum(1 for p in instance.definition.parameters if p.dims is not None)
        arguments = [*positional[:inputs], *instance.positional, *positional[inputs:]]
        return self.apply(
            instance.definition, arguments, [*instance.named, *named], e, context, instance=instance, staged=True
        )

    def apply(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        e: tree.Expression,
        context: Context,
        *,
        instance: Instance | None = None,
        staged: bool = False,
    ) -> Value:
        self.depth += 1
        if self.depth > DEEPEST:
            fail(
                "recursive-definition",
                f"`{definition.name.id}` is applied inside itself more than {DEEPEST} levels deep",
                e.span,
                help="a definition that applies itself needs a condition that ends it",
            )
        try:
            if definition.kind == "layer":
                return self.layer(definition, positional, named, e, context, instance)
            value = self.function(definition, positional, named, e.span, context)
            if staged and not context.frame.pure and not context.indices.named and isinstance(value, Tensor):
                return self.staged(definition.name.id, definition.kind, value, positional, e, context)
            return value
        except NetlangError as error:
            raise self.blame(error, definition, e, context) from None
        finally:
            self.depth -= 1

    def function(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        span: Span,
        context: Context,
    ) -> Value:
        frame = Frame(context.frame.module.home(definition), definition.kind, definition.name.id, "", "", True)
        self.bind(definition, positional, named, frame, span)
        value = self.body(definition.body, frame)
        if value is None:
            fail(
                "missing-return",
                f"`{definition.name.id}` returns nothing",
                definition.name.span,
                help="end it with `return ...`",
            )
        if isinstance(value, Tensor) and value.node is None:
            return Tensor(
                value.shape,
                value.element,
                value.dtype,
                None,
                value.bound,
                f"`{definition.name.id}` at {span.line}:{span.column}",
            )
        return value

    def apply_function_stage(self, name: str, values: list[Value], stage: tree.Expression, context: Context) -> Value:
        """A built-in function in a pipeline."""
        if name == "reshape":
            return self.reshape(values, stage.span, context)
        value = self.evaluate.apply_builtin(name, values, stage.span, context)
        if isinstance(value, Tensor) and not context.frame.pure and not context.indices.named:
            return self.staged(name, "fn", value, values, stage, context)
        return value

    def staged(
        self,
        title: str,
        kind: str,
        value: Tensor,
        inputs: Sequence[Value],
        e: tree.Expression,
        context: Context,
    ) -> Tensor:
        """The result of a function in a pipeline, as a node and a row of the summary."""
        if value.node is not None:
            return value
        scope = self.scope_name(title, context.frame)
        path = self.builder.unused(scope)
        maker = f"`{title}` at {e.span.line}:{e.span.column}"
        tensor = self.builder.equation(path, value, Origin(e.span, scope), maker=maker)
        self.scope(scope, title, kind, scope, context.frame.scope, _nodes(inputs), [path], e.span)
        return tensor

    def layer(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        e: tree.Expression,
        context: Context,
        instance: Instance | None,
    ) -> Value:
        title = definition.name.id
        if context.indices.named or context.indices.rest is not None:
            fail(
                "layer-in-equation",
                f"the layer `{title}` stands inside an equation",
                e.span,
                help="apply it to a whole tensor first and index the result",
            )
        if context.frame.pure:
            fail(
                "layer-in-function",
                f"the layer `{title}` stands inside the {context.frame.kind} `{context.frame.title}`",
                e.span,
                help=f"make `{context.frame.title}` a layer",
            )
        positional = [self.as_node(v, e, context) for v in positional]
        named = [(n, self.as_node(v, e, context)) for n, v in named]
        scope, owner = self.instance_scope(title, instance, context.frame)
        frame = Frame(context.frame.module.home(definition), "layer", title, scope, owner, False)
        self.bind(definition, positional, named, frame, e.span)
        value = self.body(definition.body, frame)
        if value is None:
            fail("missing-return", f"`{title}` returns nothing", definition.name.span, help="end it with `return ...`")
        results = list(value.values) if isinstance(value, Several) else [value]
        maker = f"`{title}` at {e.span.line}:{e.span.column}"
        inputs = [*positional, *(v for _, v in named)]
        for k, result in enumerate(results):
            tensor = to_tensor(result, e.span)
            if tensor.node is None:
                base = "y" if len(results) == 1 else f"y{k + 1}"
                path = self.builder.unused(f"{scope}.{base}")
                tensor = self.builder.equation(path, tensor, Origin(definition.body[-1].span, scope))
            results[k] = Tensor(tensor.shape, tensor.element, tensor.dtype, tensor.node, tensor.bound, maker)
        self.scope(scope, title, "layer", owner, context.frame.scope, _nodes(inputs), _nodes(results), e.span)
        return results[0] if len(results) == 1 else Several(tuple(results))

    def as_node(self, value: Value, e: tree.Expression, context: Context) -> Value:
        """An argument of a layer that is a tensor without a node gets one."""
        if not isinstance(value, Tensor) or value.node is not None or not value.shape:
            return value
        path = self.builder.unused(context.frame.path("x"))
        return self.builder.equation(path, value, Origin(e.span, context.frame.scope))

    def instance_scope(self, title: str, instance: Instance | None, frame: Frame) -> tuple[str, str]:
        """The paths of the nodes and of the parameters of an application."""
        if instance is None:
            name = self.scope_name(title, frame)
            owner = frame.owner + name[len(frame.scope) :] if frame.owner != frame.scope else name
            return name, owner
        if not instance.applied:
            base = frame.path(instance.name[0]) if instance.name else self.scope_name(title, frame)
            base = self.free_scope(base)
            instance.applied.append(base)
            return base, frame.owner + base[len(frame.scope) :] if frame.owner != frame.scope else base
        owner = instance.applied[0]
        again = f"{owner}@{len(instance.applied) + 1}"
        instance.applied.append(again)
        return again, owner

    def scope_name(self, title: str, frame: Frame) -> str:
        while True:
            frame.counters[title] = frame.counters.get(title, 0) + 1
            path = frame.path(f"{title}_{frame.counters[title]}")
            if path == self.free_scope(path):
                return path

    def free_scope(self, path: str) -> str:
        while path in self.scope_names or path in self.builder.nodes:
            path += "'"
        return path

    def scope(
        self,
        name: str,
        definition: str,
        kind: str,
        owner: str,
        parent: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        span: Span,
    ) -> None:
        self.scope_names.add(name)
        self.builder.scopes.append(Scope(name, definition, kind, owner, parent, tuple(inputs), tuple(outputs), span))

    def reshape(self, values: list[Value], span: Span, context: Context) -> Value:
        if context.indices.named:
            fail(
                "layer-in-equation", "`reshape` stands inside an equation", span, help="reshape the whole tensor first"
            )
        if len(values) < 2:
            fail("wrong-arity", "`reshape` takes a tensor and the new extents", span, help="`reshape(x, 4, 5)`")
        tensor = to_tensor(values[0], span)
        shape = []
        for v in values[1:]:
            if isinstance(v, bool) or not isinstance(v, int | Int):
                fail("bad-extent", f"an extent is a whole number, found {describe(v)}", span)
            shape.append(integer(v))
        if product(shape) != product(tensor.shape):
            fail(
                "shape-mismatch",
                f"cannot view {shape_text(tensor.shape)} as {shape_text(shape)}",
                span,
                label=f"{product(tensor.shape).key} elements against {product(shape).key}".replace("|", ""),
                help="the number of elements stays the same",
            )
        if tuple(shape) == tensor.shape:
            return tensor
        if tensor.node is None:
            source = self.builder.equation(
                self.builder.unused(context.frame.path("x")), tensor, Origin(span, context.frame.scope)
            )
        else:
            source = tensor
        if tensor.dtype == "int":
            fail("type-mismatch", "`reshape` takes a tensor of real numbers", span)
        assert source.node is not None
        path = self.builder.unused(context.frame.path("view"))
        node = View(path, tuple(shape), "real", Origin(span, context.frame.scope), source.node)
        self.builder.add(node)
        return node_tensor(node, None, f"`reshape` at {span.line}:{span.column}")

    # --- arguments ---

    def bind(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        frame: Frame,
        span: Span,
        skip: int = 0,
    ) -> None:
        """Bind a definition's parameters in its frame: arguments, defaults, the extents in the tensors' patterns."""
        parameters = definition.parameters[skip:]
        title = definition.name.id
        if len(positional) > len(parameters):
            signature = ", ".join(p.name for p in parameters)
            fail(
                "wrong-arity",
                f"`{title}` takes {_count(len(parameters), 'argument')}, found {len(positional)}",
                span,
                help=f"it takes ({signature})" if signature else "",
            )
        given = {p.name: v for p, v in zip(parameters, positional, strict=False)}
        known = [p.name for p in parameters]
        for name, value in named:
            if name not in known:
                fail(
                    "unknown-argument",
                    f"`{title}` has no argument `{name}`",
                    span,
                    help=nearest(name, known) or f"it takes {listing(known)}",
                )
            if name in given:
                fail("duplicate-argument", f"`{name}` is given twice to `{title}`", span)
            given[name] = value
        for parameter in parameters:
            if parameter.name in given:
                value = given[parameter.name]
            elif parameter.default is not None:
                value = self.evaluate.complete(parameter.default, frame)
            else:
                fail(
                    "missing-argument",
                    f"`{title}` needs `{parameter.name}`",
                    span,
                    help=f"it takes {listing(known)}",
                )
            frame.names[parameter.name] = self.bound_argument(parameter, value, definition, frame, span)
            frame.spans[parameter.name] = parameter.span

    def bound_argument(
        self, parameter: tree.Parameter, value: Value, definition: tree.Definition, frame: Frame, span: Span
    ) -> Value:
        title = definition.name.id
        if parameter.dims is None and parameter.type is None:
            if definition.kind == "layer" and isinstance(value, Tensor):
                fail(
                    "static-argument",
                    f"`{parameter.name}` of `{title}` must be known at compile time, found {describe(value)}",
                    span,
                    help="give it a number",
                )
            return value
        if isinstance(value, Instance | Family | Several | str | list | bool):
            fail("type-mismatch", f"`{title}` expects a tensor for `{parameter.name}`, found {describe(value)}", span)
        tensor = to_tensor(value, span)
        self.match_shape(parameter, tensor, definition, frame, span)
        if parameter.type is not None:
            self.match_classes(parameter, tensor, title, frame, span)
        elif tensor.dtype == "int" and isinstance(value, Tensor):
            labels = tensor
            tensor = Tensor(labels.shape, labels.element, "real", None, None, labels.maker)
        return tensor

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
        expected = self.evaluate.extent(count, frame, "the number of classes")
        if expected != tensor.bound:
            fail(
                "class-mismatch",
                f"`{title}` gets {expected.key} scores for {tensor.bound.key} classes",
                span,
                notes=[f"the labels are {tensor.maker}"] if tensor.maker else (),
                help="make the last layer as wide as there are classes",
            )

    def match_shape(
        self, parameter: tree.Parameter, tensor: Tensor, definition: tree.Definition, frame: Frame, span: Span
    ) -> None:
        """Match a tensor against the pattern `x[c, h, w]`, binding names that are not bound yet."""
        dims = parameter.dims or ()
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
            expected = self.evaluate.extent(d, frame, f"the extent `{d.span.text}`")
            if expected != extent:
                known = f"`{d.span.text}` is {expected.key}".replace("|", "")
                self.misfit(parameter, tensor, definition, span, known)

    def misfit(
        self, parameter: tree.Parameter, tensor: Tensor, definition: tree.Definition, span: Span, why: str = ""
    ) -> None:
        title = definition.name.id
        article = {1: "a vector", 2: "a matrix", 3: "an image"}.get(len(parameter.dims or ()), "a tensor")
        pattern = (
            parameter.name + "[" + ", ".join(d.span.text for d in parameter.dims or ()) + "]"
            if parameter.dims
            else "a scalar"
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
            help="put `flatten` before it" if flat else f"check what leads into `{title}`",
        )

    def blame(
        self, error: NetlangError, definition: tree.Definition, e: tree.Expression, context: Context
    ) -> NetlangError:
        """An error inside a library definition is shown where the user applied it."""
        out = []
        for d in error.diagnostics:
            inside = d.span is not None and self.module.is_library(d.span.source)
            if inside and not self.module.is_library(e.span.source):
                assert d.span is not None
                place = f"in `{definition.name.id}`, at {d.span}" + (
                    f": {d.label}" if d.label and d.code != "requirement" else ""
                )
                d = Diagnostic(d.code, d.message, e.span, "", (*d.notes, place), d.help, d.severity)
            out.append(d)
        return NetlangError(*out)


_DRAWS: Mapping[str, tuple[str, ...]] = {
    "normal": ("mean", "std"),
    "uniform": ("low", "high"),
    "bernoulli": ("p",),
    "haar": (),
}


def _indexed(order: Sequence[Bound], value: Tensor) -> Tensor:
    """The tensor of an equation: its written indices first, then the dimensions of its body."""
    count = len(order)
    shape = tuple(b.extent for b in order) + value.shape

    def element(at: tuple[Int, ...]) -> Expr:
        values = {b.name: i for b, i in zip(order, at[:count], strict=True)}
        return substitute(value.element(at[count:]), values)

    return Tensor(shape, element, value.dtype, bound=value.bound, maker=value.maker)


def _fans(shape: tuple[Int, ...]) -> dict[str, Value]:
    """Fan-in and fan-out of a weight `W[out, in, ...]`; of a vector, its length for both (He et al., 2015)."""
    numbers = [n.constant for n in shape]
    if len(numbers) < 2:
        n = numbers[0] if numbers else 1
        return {"fan_in": n, "fan_out": n}
    field = math.prod(numbers[2:])
    return {"fan_in": numbers[1] * field, "fan_out": numbers[0] * field}


def _literal(items: Sequence[Value], span: Span) -> Tensor:
    """A written array, `[[1, 2], [3, 4]]`, as a tensor."""
    shape: list[int] = []
    level: Sequence[Value] = items
    while level and all(isinstance(x, list) for x in level):
        shape.append(len(level))
        if len({len(x) for x in level if isinstance(x, list)}) != 1:
            fail("shape-mismatch", "the rows of the array have different lengths", span)
        level = list(itertools.chain.from_iterable(x for x in level if isinstance(x, list)))
    if not level or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in level):
        fail("type-mismatch", "an array is made of numbers", span)
    extents = shape + [len(level)] if not shape else shape + [len(level) // math.prod(shape)]
    numbers = [const(float(x)) for x in level]  # type: ignore[arg-type]
    dims = tuple(integer(n) for n in extents)
    if len(numbers) > 256:
        fail(
            "expression-too-large",
            "a written array has at most 256 numbers",
            span,
            help="load larger values into `net.params`",
        )

    def element(at: tuple[Int, ...]) -> Expr:
        place = integer(0)
        for i, n in zip(at, dims, strict=True):
            place = place * n + i
        out = numbers[-1]
        for k in range(len(numbers) - 2, -1, -1):
            out = select(is_zero(place - k), numbers[k], out)
        return out

    return Tensor(dims, element)


def _nodes(values: Sequence[Value]) -> list[str]:
    return [v.node for v in values if isinstance(v, Tensor) and v.node is not None]


def _plain(extent: Int) -> int | Int:
    return extent.constant if extent.is_constant else extent


def _count(n: int, word: str) -> str:
    return f"{n or 'no'} {word}{'s' * (n != 1)}"


def _brackets(item: tree.Declared) -> str:
    return "" if item.dims is None else "[" + ", ".join(d.span.text for d in item.dims) + "]"


def _title(e: tree.Expression, kind: str) -> str:
    if isinstance(e, tree.Name):
        return e.id
    if isinstance(e, tree.Call):
        return e.callee.id
    if isinstance(e, tree.Pipeline):
        last = e.stages[-1]
        return _title(last, kind)
    return kind
