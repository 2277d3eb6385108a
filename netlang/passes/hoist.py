"""The pass `hoist`: what does not vary is computed outside of what does.

A factor that the ranges of a sum do not vary comes out of the sum: `sum(i) d[k, i] g[k]` is `g[k] sum(i) d[k, i]`, and
sums that differ by such factors become equal. An expensive subexpression that varies with few of an equation's
indices, as a standard deviation for each channel, becomes a node of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from netlang.graph.constructors import add, apply, const, mul, neg, select, whole, within
from netlang.graph.expression import TRUE, ZERO, Apply, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index, product
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import free_indices, fresh, reads, rewrite, substitute, tensor_reads
from netlang.passes.share import canonical, is_expensive
from netlang.passes.simplify import simplify

Extents = Mapping[str, Int]


def hoist(graph: Graph) -> Graph:
    """The graph with invariant factors outside of sums and invariant functions in nodes of their own, simplified."""
    taken = dict.fromkeys(graph.nodes)
    nodes: list[Node] = []
    for node in graph:
        made: list[Node] = [node]
        if isinstance(node, Equation) and node.dtype == "real":
            made = [part for outer in _sum_apart(graph, node, taken) for part in _invariants_apart(graph, outer, taken)]
        nodes += made
    return graph if nodes == list(graph) else simplify(graph.evolve(nodes))


# --- factors of sums -------------------------------------------------------------------------------------------------


def _sum_apart(graph: Graph, node: Equation, taken: dict[str, None]) -> list[Equation]:
    """The sum without the factors that it does not vary, and the node as their product; or the node as it is."""
    body = node.body
    if _is_sum_of_deviations(graph, node):
        return [replace(node, body=ZERO)]
    if not isinstance(body, Reduce) or body.op != "sum" or not isinstance(body.body, Apply) or body.body.op != "mul":
        return [node]
    ranges = dict(body.ranges)
    outside = [f for f in body.body.args if not free_indices(f) & ranges.keys() and _is_safe(graph, f, node.extents)]
    inside = [f for f in body.body.args if f not in outside]
    if not any(reads(f) for f in outside) or not any(reads(f) for f in inside):
        return [node]
    sign, terms = _upright(mul(*inside))
    name = fresh(f"{node.name}.sum", taken)
    taken[name] = None
    total = replace(node, name=name, body=Reduce("sum", body.ranges, terms))
    if _is_sum_of_deviations(graph, total):
        return [replace(node, body=ZERO)]
    return [total, replace(node, body=mul(const(sign), *outside, Read(name, node.places)))]


def _upright(e: Expr) -> tuple[float, Expr]:
    """The product with each difference one way round, so that sums of `a - b` and `b - a` are equal but for a sign."""
    sign = 1.0
    factors: list[Expr] = []
    for factor in e.args if isinstance(e, Apply) and e.op == "mul" else (e,):
        if isinstance(factor, Apply) and factor.op == "add":
            turned = add(*(neg(term) for term in factor.args))
            if len(turned.key) < len(factor.key) or (len(turned.key) == len(factor.key) and turned.key < factor.key):
                sign, factor = -sign, turned
        factors.append(factor)
    return sign, mul(*factors)


def _is_sum_of_deviations(graph: Graph, node: Equation) -> bool:
    """True for `sum(i) (x[i] - m)` with `m` the mean of the same `x`, which is zero: the gradient by a batch's mean."""
    body = node.body
    if not isinstance(body, Reduce) or body.op != "sum":
        return False
    terms = body.body.args if isinstance(body.body, Apply) and body.body.op == "add" else ()
    if len(terms) != 2:
        return False
    count = whole(product(extent for _, extent in body.ranges))
    for value, mean in (terms, terms[::-1]):
        for sign in (1.0, -1.0):
            scaled = mul(const(-sign), _defined(graph, mean), count)  # what the sum of the values must be
            if isinstance(scaled, Read) and scaled.indices == node.places:
                values = replace(node, body=Reduce("sum", body.ranges, mul(const(sign), value)))
                if canonical(values) == canonical(graph[scaled.tensor]):
                    return True
    return False


def _defined(graph: Graph, e: Expr) -> Expr:
    """The expression with a read of an elementwise node as that node's body."""

    def change(part: Expr) -> Expr | None:
        node = graph[part.tensor] if isinstance(part, Read) else None
        if not isinstance(part, Read) or not isinstance(node, Equation) or isinstance(node.body, Reduce):
            return None
        return substitute(node.body, dict(zip(node.indices, part.indices, strict=True)))

    return rewrite(e, change)


# --- invariant functions ---------------------------------------------------------------------------------------------


def _invariants_apart(graph: Graph, node: Equation, taken: dict[str, None]) -> list[Equation]:
    """The expensive subexpressions that vary with fewer indices than the node, as nodes, and the node reading them."""
    inner = node.body.body if isinstance(node.body, Reduce) else node.body
    if not is_expensive(inner):
        return [node]
    ranges = dict(node.body.ranges) if isinstance(node.body, Reduce) else {}
    extents = {**node.extents, **ranges}
    used = free_indices(inner)
    made: list[Equation] = []

    def apart(e: Expr) -> Expr | None:
        """The read of a new node in place of an invariant that is worth one."""
        varying = free_indices(e)
        if not varying < used or not is_expensive(e) or not reads(e) or not _is_safe(graph, e, extents):
            return None
        name = fresh(f"{node.name}.factor", taken)
        taken[name] = None
        own = [i for i in extents if i in varying]
        made.append(Equation(name, tuple(extents[i] for i in own), "real", node.origin, tuple(own), e))
        return Read(name, tuple(index(i) for i in own))

    new = _outermost(inner, apart)
    if not made:
        return [node]
    body = Reduce(node.body.op, node.body.ranges, new) if isinstance(node.body, Reduce) else new
    return [*made, replace(node, body=body)]


def _outermost(e: Expr, apart: Callable[[Expr], Expr | None]) -> Expr:
    """The expression with `apart` applied to the outermost parts, and groups of factors, that it accepts."""
    found = apart(e)
    if found is not None:
        return found
    if isinstance(e, Select):
        return select(e.condition, _outermost(e.then, apart), _outermost(e.otherwise, apart))
    if not isinstance(e, Apply):
        return e
    factors = list(e.args)
    if e.op == "mul":
        for varying in sorted({frozenset(free_indices(f)) for f in e.args if is_expensive(f)}, key=len):
            group = [f for f in factors if free_indices(f) <= varying]
            found = apart(mul(*group)) if len(group) > 1 else None
            if found is not None:
                factors = [found, *(f for f in factors if f not in group)]
    return apply(e.op, *(_outermost(f, apart) for f in factors))


def _is_safe(graph: Graph, e: Expr, extents: Extents) -> bool:
    """True where every read is inside its tensor without the guards around the expression."""
    return all(
        within(place, extent, extents) == TRUE
        for tensor, places in tensor_reads(e)
        if tensor in graph.nodes  # the others have just been made, and are read at their own indices
        for place, extent in zip(places, graph[tensor].shape, strict=True)
    )
