"""Sums of products without the conditions that pair places of the result, as the mask of an attention does.

Register tiles know no such conditions. One on indices of the result alone comes after the sum:
`(sum(j) q[t, j] k[s, j]) if s <= t else 0`. One that a factor keeps by itself, since it is zero elsewhere, says nothing
where the other factor is finite: `sum(s) (p[t, s] v[s, j] if s <= t or v is finite)`, where `p[t, s]` is zero but for
`s <= t`. So a program counts what is not finite, and takes the tiles where there is nothing of that.
"""

from __future__ import annotations

import math
from collections import ChainMap
from dataclasses import replace

from netlang.graph.constructors import compare, conjuncts, every, mul, select, some, within
from netlang.graph.expression import ONE, TRUE, ZERO, Apply, Condition, Const, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import index
from netlang.graph.nodes import Equation, Node, Random
from netlang.graph.traversal import free_indices, fresh, substitute
from netlang.schedule.order import Group, split_guard
from netlang.schedule.program import Tensor
from netlang.schedule.tiles import tilings

AT_ZERO = ("tanh", "sin", "erf", "sign", "abs")  # functions that are zero at zero
DEPTH = 4  # how many equations a zero is looked for in


def with_whole_sums(graph: Graph) -> Graph:
    """The graph with such sums, where tiles are better for them than plain loops."""
    taken = dict.fromkeys(graph.nodes)
    tensors = {
        n.name: Tensor(n.name, n.name, n.name, n.shape, n.dtype, "random" if isinstance(n, Random) else "")
        for n in graph
    }
    nodes: list[Node] = []
    counted: set[str] = set()  # the nodes that count what of a tensor is not finite
    for node in graph:
        name = fresh(f"{node.name}.whole", taken)
        found = _whole(graph, node, name) if isinstance(node, Equation) and node.name not in graph.in_loops else None
        if found is not None:
            made, (total, *_) = found
            own = {n.name: Tensor(n.name, n.name, n.name, n.shape, n.dtype) for n in (*made, total)}
            if not tilings(Group(total.indices, total.shape, [total]), ChainMap(own, tensors)):
                found = None
            else:
                taken[name] = None
                nodes += (n for n in made if n.name not in counted)
                counted.update(n.name for n in made)
        nodes += found[1] if found is not None else (node,)
    return graph.evolve(nodes) if nodes != list(graph) else graph


def _whole(graph: Graph, node: Equation, name: str) -> tuple[list[Equation], tuple[Equation, ...]] | None:
    """What counts what is not finite; and the sum over all places with what follows on it.

    None where no condition stands in the way of tiles, or one does that no factor keeps.
    """
    body = node.body
    if not isinstance(body, Reduce) or body.op != "sum" or node.dtype != "real":
        return None
    guards, product = split_guard(body)
    if not isinstance(product, Apply) or product.op != "mul":
        return None
    summed = {n for n, _ in body.ranges}
    outside = [f for f in product.args if not free_indices(f) & summed]
    inside = [f for f in product.args if free_indices(f) & summed]
    paired = [g for g in guards if free_indices(g) & set(node.indices)]
    after = [g for g in paired if not free_indices(g) & summed]
    left_out = [g for g in paired if free_indices(g) & summed]
    if not paired or len(inside) != 2 or not all(isinstance(f, Read) for f in inside):
        return None
    weak: list[Condition] = []
    made: dict[str, Equation] = {}
    for guard in left_out:
        others = [f for f in inside if not _is_zero_outside(graph, f, guard, DEPTH)]
        if len(others) == 2:
            return None
        count = [_not_finite(graph[f.tensor]) for f in others if isinstance(f, Read)]
        made |= {n.name: n for n in count}
        weak.append(some([guard, *(compare("==", Read(n.name, ()), ZERO) for n in count)]) if count else TRUE)
    extents = dict(zip(node.indices, node.shape, strict=True)) | dict(body.ranges)
    kept = every([*(g for g in guards if g not in paired), *weak])
    reads = [f for f in inside if isinstance(f, Read)]
    for read in reads:
        for place, extent in zip(read.indices, graph[read.tensor].shape, strict=True):
            if not set(conjuncts(within(place, extent, extents))) <= set(conjuncts(kept)):
                return None
    total = replace(node, body=Reduce("sum", body.ranges, select(kept, mul(*inside), ZERO)))
    if not after and not outside:
        return list(made.values()), (total,)
    following = replace(node, body=select(every(after), mul(*outside, Read(name, node.places)), ZERO))
    return list(made.values()), (replace(total, name=name), following)


def _not_finite(node: Node) -> Equation:
    """How many elements of a tensor are no finite numbers."""
    ranges = tuple((f"i{k}", extent) for k, extent in enumerate(node.shape))
    element = Apply("abs", (Read(node.name, tuple(index(i) for i, _ in ranges)),))
    one = select(compare("<", element, Const(math.inf)), ZERO, ONE)
    return Equation(f"{node.name}.infinite", (), "real", node.origin, (), Reduce("sum", ranges, one))


def _is_zero_outside(graph: Graph, e: Expr, condition: Condition, depth: int) -> bool:
    """Whether an expression is surely zero where a condition does not hold."""
    if e == ZERO:
        return True
    if isinstance(e, Select):
        then = condition in conjuncts(e.condition) or _is_zero_outside(graph, e.then, condition, depth)
        return then and _is_zero_outside(graph, e.otherwise, condition, depth)
    if isinstance(e, Apply) and e.op in ("mul", "add"):
        some_or_all = any if e.op == "mul" else all
        return some_or_all(_is_zero_outside(graph, part, condition, depth) for part in e.args)
    if isinstance(e, Apply) and e.op in AT_ZERO:
        return _is_zero_outside(graph, e.args[0], condition, depth)
    if isinstance(e, Reduce) and e.op == "sum":
        return _is_zero_outside(graph, e.body, condition, depth)
    if not isinstance(e, Read) or not depth:
        return False
    node = graph[e.tensor]
    if not isinstance(node, Equation):
        return False
    bound = {n for n, _ in node.body.ranges} if isinstance(node.body, Reduce) else set()
    if bound & (free_indices(e) | free_indices(condition)):
        return False  # another index of the same name
    body = node.body.body if isinstance(node.body, Reduce) and node.body.op == "sum" else node.body
    here = substitute(body, dict(zip(node.indices, e.indices, strict=True)))
    return _is_zero_outside(graph, here, condition, depth - 1)
