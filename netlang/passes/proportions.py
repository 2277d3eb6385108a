"""The pass `proportions`: an exponential whose share of its sum is a node is that node times the sum.

    p[t, s] = e^u / z[t],  z[t] = sum(s) e^u        elsewhere e^u is p[t, s] z[t]

So the backward pass of a softmax needs no exponential, and of the tensors of that size only the shares themselves. A
share is at most 1 and its sum a number where the share is one, so results change by rounding only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from netlang.graph.constructors import conjuncts, mul, select
from netlang.graph.expression import ZERO, Apply, Condition, Const, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.matching import Binding, Matcher
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import reads, rewrite, rewrite_condition, substitute
from netlang.passes.algebra import rational


@dataclass(frozen=True)
class _Share:
    """A node that is `exponential / total` where the conditions hold."""

    node: Equation
    exponential: Expr
    total: Read
    conditions: tuple[Condition, ...]


def proportions(graph: Graph) -> Graph:
    """The graph with such exponentials as products, in the nodes that come after the shares."""
    position = {node.name: k for k, node in enumerate(graph.order)}
    shares: dict[str, list[_Share]] = {}  # by a tensor that the exponential reads
    for node in graph:
        found = _share(graph, node)
        if found is not None:
            shares.setdefault(reads(found.exponential)[0].tensor, []).append(found)
    if not shares:
        return graph
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation) and node.dtype == "real":
            known = [s for o in node.operands for s in shares.get(o, ()) if position[s.node.name] < position[node.name]]
            node = replace(node, body=_by_shares(node.body, known)) if known else node
        nodes.append(node)
    return graph if nodes == list(graph) else graph.evolve(nodes)


def _share(graph: Graph, node: Node) -> _Share | None:
    """The node as a share of a sum of exponentials; None where it is none."""
    if not isinstance(node, Equation):
        return None
    conditions, body = _under(node.body)
    factors = body.args if isinstance(body, Apply) and body.op == "mul" else ()
    exponentials = [f for f in factors if isinstance(f, Apply) and f.op == "exp"]
    totals = [f.args[0] for f in factors if isinstance(f, Apply) and f.op == "pow" and f.args[1] == Const(-1.0)]
    if len(factors) != 2 or not exponentials or not totals or not reads(exponentials[0]):
        return None
    exponential, total = exponentials[0], totals[0]
    if not isinstance(total, Read) or not _is_sum_of(graph, total, exponential):
        return None
    return _Share(node, exponential, total, conditions)


def _is_sum_of(graph: Graph, total: Read, exponential: Expr) -> bool:
    """Whether what is read is a sum over the exponential, at the place where it is read."""
    node = graph[total.tensor]
    if not isinstance(node, Equation) or not isinstance(node.body, Reduce) or node.body.op != "sum":
        return False
    _, term = _under(node.body.body)
    here = substitute(term, dict(zip(node.indices, total.indices, strict=True)))
    summed = {name for name, _ in node.body.ranges}
    return any(
        all(name in summed or place == index(name) for name, place in found.places.items())
        for found in Matcher().match(here, exponential, Binding())
    )


def _under(e: Expr) -> tuple[tuple[Condition, ...], Expr]:
    """The conditions under which an expression is not zero, and what it is there."""
    if isinstance(e, Select) and e.otherwise == ZERO:
        return tuple(conjuncts(e.condition)), e.then
    return (), e


def _by_shares(body: Expr, shares: Sequence[_Share]) -> Expr:
    if isinstance(body, Reduce):
        return Reduce(body.op, body.ranges, _by_shares(body.body, shares))
    if isinstance(body, Select):
        then = _replaced(body.then, shares, tuple(conjuncts(body.condition)))
        return body if then == body.then else select(body.condition, then, body.otherwise)
    return _replaced(body, shares, ())


def _replaced(e: Expr, shares: Sequence[_Share], known: Sequence[Condition]) -> Expr:
    """The expression, evaluated where the known conditions hold, with exponentials by the shares."""

    def change(part: Expr) -> Expr | None:
        if not isinstance(part, Apply) or part.op != "exp":
            return None
        for share in shares:
            for found in Matcher().match(share.exponential, part, Binding()):
                places = found.places
                if share.node.extents.keys() <= places.keys() and _holds(share, places, known):
                    at = tuple(places[i] for i in share.node.indices)
                    return mul(Read(share.node.name, at), substitute(share.total, places))
        return None

    new = rewrite(e, change)
    return e if new == e else rational(new)


def _holds(share: _Share, places: Mapping[str, Int], known: Sequence[Condition]) -> bool:
    there = (rewrite_condition(c, ints=lambda value: value.substitute(places)) for c in share.conditions)
    return all(condition in known for condition in there)
