"""Initial values and noise: initializers and distributions as equations over random draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from netlang.diagnostics import Span, fail, listing, nearest
from netlang.elaboration.arithmetic import binary, describe, stretched, stretches, to_tensor
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.values import (
    Distribution,
    Instance,
    Tensor,
    Value,
)
from netlang.graph.constructors import add, at_least_zero, const, mul, select, sub
from netlang.graph.expression import ONE, ZERO, Compare, Const, Expr, Read
from netlang.graph.integer import Int, integer, row_major
from netlang.graph.nodes import Input, Node, Origin, Param, Random, State
from netlang.graph.text import shape_text
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator


MOST_NUMBERS = 256  # of a written array

DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {  # what each takes
    "normal": ("mean", "std"),
    "uniform": ("low", "high"),
    "bernoulli": ("p",),
    "haar": (),
}


class Initializers:
    """Elaborates initializers and distributions on behalf of an `Elaborator`."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator

    def initialize(self, node: Node, init: tree.Expression | None, frame: Frame, span: Span) -> None:
        origin = Origin(span, node.origin.scope)
        if init is None:  # a net's own parameter without an initializer: small and symmetric
            value = self.distribution("normal", [0, 0.1], node.shape, origin, node.name, False, span)
        else:
            value = self.drawn(init, node.shape, frame, origin, node.name, per_example=False)
        path = self.elaborator.builder.unused(f"{node.name}.initial")
        self.elaborator.builder.equation(path, value, origin)
        self.elaborator.builder.initial[node.name] = path
        if init is not None:
            self.require_early(node, path, init.span)

    def require_early(self, node: Node, initial: str, span: Span) -> None:
        """An initial value is computed when nothing is given or learned yet."""
        nodes = self.elaborator.builder.nodes
        found = {initial: nodes[initial]}
        for operand in (stack := [initial]):
            for name in nodes[operand].operands:
                if name not in found:
                    found[name] = nodes[name]
                    stack.append(name)
        for other in found.values():
            if isinstance(other, Input | Param | State) or (isinstance(other, Random) and other.per_example):
                kind = "noise" if isinstance(other, Random) else type(other).__name__.lower()
                fail(
                    "bad-value",
                    f"the initial value of `{node.name}` depends on the {kind} `{other.name}`",
                    span,
                    help="make it of numbers, extents and draws: it is computed before there is anything else",
                )

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
        given = frame.names.get(name.id) if isinstance(name, tree.Name) else None
        given = given if isinstance(given, Instance) and given.definition.kind == "initializer" else None
        if given is not None:
            definition = given.definition
            arguments = e.arguments if isinstance(e, tree.Call) else ()
        elif isinstance(name, tree.Name) and name.id not in frame.names:
            definition = frame.module.find("initializer", name.id)
            arguments = e.arguments if isinstance(e, tree.Call) else ()
            if (
                definition is None
                and name.id not in DISTRIBUTIONS
                and (isinstance(e, tree.Call) or not self.is_value(name, frame))
            ):
                known = [*frame.module.library.names("initializer"), *DISTRIBUTIONS]
                fail(
                    "unknown-name",
                    f"no initializer is called `{name.id}`",
                    name.span,
                    help=nearest(name.id, known) or f"there are {listing(sorted(known))}",
                )
        if definition is None:
            value = self.draw_expression(e, shape, frame, origin, stream, per_example)
        else:
            module = frame.module if given is None else given.module
            inner = Frame(module.home(definition), "initializer", definition.name.id, "", "", True)
            inner.names |= _fans(shape)
            context = Context(frame, frame.indices, [])
            positional, named = self.elaborator.evaluate.calls.arguments(arguments, context)
            if given is not None:
                positional, named = [*given.positional, *positional], [*given.named, *named]
            self.elaborator.arguments.bind(definition, positional, named, inner, e.span)
            statement = definition.body[-1]
            assert isinstance(statement, tree.Return)
            for earlier in definition.body[:-1]:
                self.elaborator.announce(earlier, inner)
            for earlier in definition.body[:-1]:
                self.elaborator.statement(earlier, inner)
            value = self.draw_expression(statement.values[0], shape, inner, origin, stream, per_example)
        if not stretches(value.shape, shape):
            fail(
                "shape-mismatch",
                f"the initial value {value.describe()}, not {shape_text(shape)}",
                e.span,
                help="give a number, an initializer, or an array of the declared shape",
            )
        return Tensor(shape, lambda at: value.element(stretched(value.shape, shape, at)))

    def is_value(self, name: tree.Name, frame: Frame) -> bool:
        return name.id in frame.later or "." in name.id or name.id in ("inf", "pi")

    def draw_expression(
        self, e: tree.Expression, shape: tuple[Int, ...], frame: Frame, origin: Origin, stream: str, per_example: bool
    ) -> Tensor:
        """An expression in which distributions draw a tensor of the given shape."""
        if isinstance(e, tree.Call) and e.callee.id in DISTRIBUTIONS:
            context = Context(frame, frame.indices, [])
            positional, named = self.elaborator.evaluate.calls.arguments(e.arguments, context)
            if named:
                fail(
                    "unknown-argument",
                    f"`{e.callee.id}` takes no named arguments",
                    e.span,
                    help="give its arguments by position",
                )
            return self.distribution(e.callee.id, positional, shape, origin, stream, per_example, e.span)
        if isinstance(e, tree.Binary) and e.op in ("+", "-", "*", "/"):
            left, right = (
                self.draw_expression(part, shape, frame, origin, stream, per_example) for part in (e.left, e.right)
            )
            return to_tensor(binary(e.op, left, right, e.span), e.span)
        if isinstance(e, tree.Conditional):
            condition = self.elaborator.evaluate.complete(e.condition, frame)
            if isinstance(condition, bool):
                branch = e.then if condition else e.otherwise
                return self.draw_expression(branch, shape, frame, origin, stream, per_example)
        value = self.elaborator.evaluate.complete(e, frame)
        if isinstance(value, Distribution):
            return self.distribution(value.name, value.arguments, shape, origin, stream, per_example, e.span)
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
        if len(arguments) != len(DISTRIBUTIONS[name]):
            takes = ", ".join(DISTRIBUTIONS[name])
            fail(
                "wrong-arity",
                f"`{name}` takes ({takes}), found {len(arguments)} arguments",
                span,
                help=f"write `{name}({takes})`",
            )
        base = {"normal": "normal", "haar": "haar"}.get(name, "uniform")
        if base == "haar" and (per_example or len(shape) < 2):
            fail(
                "bad-value",
                "`haar` draws matrices for initial values",
                span,
                help="give the parameter two dimensions or more",
            )
        if name == "bernoulli" and isinstance(arguments[0], int | float) and not 0 <= arguments[0] <= 1:
            fail(
                "bad-value",
                f"a probability is between 0 and 1, found {arguments[0]}",
                span,
                help="give a number from 0 to 1",
            )
        if name == "normal" and isinstance(arguments[1], int | float) and arguments[1] < 0:
            fail(
                "bad-value",
                f"a standard deviation is not negative, found {arguments[1]}",
                span,
                help="give a number of at least 0",
            )
        path = self.elaborator.builder.unused(f"{stream}.{base}")
        self.elaborator.builder.add(Random(path, shape, "real", origin, base, path, per_example))
        values = [to_tensor(a, span) for a in arguments]
        for value in values:
            if value.shape:
                fail(
                    "type-mismatch",
                    f"`{name}` takes numbers, found {describe(value)}",
                    span,
                    help="give numbers; multiply the draw by a tensor instead",
                )
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
    shape, numbers = _flattened(items, span)
    if len(numbers) > MOST_NUMBERS:
        fail(
            "expression-too-large",
            f"a written array has at most {MOST_NUMBERS} numbers",
            span,
            help="load larger values into `net.params`",
        )
    dims = tuple(integer(n) for n in shape)

    def element(at: tuple[Int, ...]) -> Expr:
        return _item(numbers, 0, row_major(at, dims))

    return Tensor(dims, element)


def _flattened(items: Sequence[Value], span: Span) -> tuple[tuple[int, ...], list[Const]]:
    """The shape of a written array, and its numbers in row-major order."""
    rows = [_flattened(x, span) for x in items if isinstance(x, list)]
    numbers = [const(x) for x in items if isinstance(x, int | float) and not isinstance(x, bool)]
    if not items or len(items) not in (len(rows), len(numbers)):
        fail("type-mismatch", "an array is made of numbers", span, help="write rows of numbers: `[[1, 2], [3, 4]]`")
    if len({shape for shape, _ in rows}) > 1:
        fail(
            "shape-mismatch",
            "the rows of the array have different lengths",
            span,
            help="write equally many numbers in each row",
        )
    if not rows:
        return (len(items),), numbers
    return (len(items), *rows[0][0]), [x for _, row in rows for x in row]


def _item(numbers: Sequence[Const], first: int, place: Int) -> Expr:
    """The number at a place, by bisection: the expression is as deep as the logarithm of their count."""
    if len(numbers) == 1:
        return numbers[0]
    half = len(numbers) // 2
    left, right = _item(numbers[:half], first, place), _item(numbers[half:], first + half, place)
    return select(at_least_zero(place - (first + half)), right, left)
