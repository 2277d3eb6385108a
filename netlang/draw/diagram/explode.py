"""One operation for each node: what a computational circuit is drawn from.

`1/(1 + exp(-x))` becomes four equations, `* -1`, `exp`, `+ 1` and `1/x`, so that a gradient exists on every wire. The
derivatives come from the pass `derive` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from netlang.graph.expression import Apply, Const, Expr, Read, Reduce, Whole
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import free_indices, fresh
from netlang.passes.cost import is_contraction


def explode(graph: Graph) -> Graph:
    """The same graph with every equation split into equations of one operation each; names of the user's stay.

    Sums and products take two operands at a time, in the order written. `w[0]` and `W[k, 0]` become nodes of their own,
    by these names. What stays whole: a contraction, a piecewise choice (the branch that is not taken must not be
    evaluated), a reduction of one tensor.
    """
    explosion = _Explosion(graph)
    return graph.evolve([part for node in graph for part in explosion.split(node)])


def is_slice(e: Expr) -> bool:
    """True for a read at constant places and bare indices, such as `w[0]` and `W[k, 0]`."""
    if not isinstance(e, Read):
        return False
    constant = [place.is_constant for place in e.indices]
    return any(constant) and all(c or place.index is not None for c, place in zip(constant, e.indices, strict=True))


@dataclass(frozen=True)
class _Term:
    """A term or factor, and whether it is subtracted or divided by."""

    value: Expr
    inverse: bool


class _Explosion:
    def __init__(self, graph: Graph) -> None:
        self.taken = dict.fromkeys(graph.nodes)
        self.made: list[Node] = []
        self.slices: dict[str, str] = {}

    def split(self, node: Node) -> list[Node]:
        if not isinstance(node, Equation) or node.dtype != "real":
            return [node]
        self.made = []
        body = node.body
        extents = dict(node.extents)
        if isinstance(body, Reduce) and not body.ranges and not body.op.startswith("arg"):
            body = body.body
        if isinstance(body, Reduce):
            inner = extents | dict(body.ranges)
            if not is_contraction(body) and body.op not in ("argmax", "argmin"):
                order = (*node.indices, *(name for name, _ in body.ranges))
                body = replace(body, body=self.wire(body.body, node, order, inner))
        else:
            body = self.operation(body, node, node.indices, extents)
        return [*self.made, replace(node, body=body)]

    def wire(self, e: Expr, node: Equation, order: tuple[str, ...], extents: Mapping[str, Int]) -> Expr:
        """A read or a constant that stands for the value of `e`, which becomes a node of its own where it must."""
        if isinstance(e, Read):
            return self.slice(e, node, order, extents) if is_slice(e) else e
        if isinstance(e, Const | Whole):
            return e
        return self.name(self.operation(e, node, order, extents), node, order, extents)

    def name(self, body: Expr, node: Equation, order: tuple[str, ...], extents: Mapping[str, Int]) -> Read:
        """A node of its own with this body, over the indices that the body depends on."""
        free = free_indices(body)
        kept = tuple(name for name in order if name in free)
        name = fresh(f"{node.name}.{len(self.made) + 1}", self.taken)
        self.taken[name] = None
        self.made.append(Equation(name, tuple(extents[i] for i in kept), "real", node.origin, kept, body))
        return Read(name, tuple(index(i) for i in kept))

    def slice(self, access: Read, node: Equation, order: tuple[str, ...], extents: Mapping[str, Int]) -> Read:
        kept = tuple(name for name in order if name in free_indices(access))
        shape = tuple(extents[i] for i in kept)
        key = f"{access.key} {shape}"
        if key not in self.slices:
            self.slices[key] = fresh(access.key, self.taken)
            self.taken[self.slices[key]] = None
            self.made.append(Equation(self.slices[key], shape, "real", node.origin, kept, access))
        return Read(self.slices[key], tuple(index(i) for i in kept))

    def operation(self, e: Expr, node: Equation, order: tuple[str, ...], extents: Mapping[str, Int]) -> Expr:
        """`e` with its operands made wires: a single operation."""

        def wire(inner: Expr) -> Expr:
            return self.wire(inner, node, order, extents)

        if not isinstance(e, Apply):
            return e
        if e.op not in ("add", "mul"):
            return Apply(e.op, tuple(wire(a) for a in e.args))
        # constants last, as in `* -1` and `+ 1`: each is an operation with one wire
        constants: list[Expr] = [a for a in e.args if isinstance(a, Const)]
        terms = [_inverse(e.op, a) for a in e.args if not isinstance(a, Const)]
        first = next((k for k, t in enumerate(terms) if not t.inverse), None)
        if first is None:  # c - (a + b), c / (a * b): as a reader would write it
            values = tuple(t.value for t in terms)
            inverted = _inverted(e.op, wire(values[0] if len(values) == 1 else Apply(e.op, values)))
            if not constants:
                return inverted
            total, rest = wire(inverted), constants
        else:
            total = wire(terms.pop(first).value)
            rest = [_inverted(e.op, w) if t.inverse else w for t in terms for w in [wire(t.value)]] + constants
        for operand in rest[:-1]:
            total = self.name(Apply(e.op, (total, operand)), node, order, extents)
        return Apply(e.op, (total, rest[-1]))


def _inverse(op: str, e: Expr) -> _Term:
    """`-1 * b` in a sum is a subtraction of `b`; `b ^ -1` in a product a division by `b`."""
    if isinstance(e, Apply) and op == "add" and e.op == "mul" and e.args[0] == Const(-1.0):
        rest = e.args[1:]
        return _Term(rest[0] if len(rest) == 1 else Apply("mul", rest), True)
    if isinstance(e, Apply) and op == "mul" and e.op == "pow" and e.args[1] == Const(-1.0):
        return _Term(e.args[0], True)
    return _Term(e, False)


def _inverted(op: str, operand: Expr) -> Expr:
    """What is added to subtract the operand, or multiplied by to divide by it."""
    return Apply("mul", (Const(-1.0), operand)) if op == "add" else Apply("pow", (operand, Const(-1.0)))
