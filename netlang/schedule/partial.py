"""Long sums into few elements in two steps, so that threads can share them: of each example, then of all examples.

The mean of a channel over a batch of images, or the gradient of a bias, is the sum of some hundred thousand terms into
some ten elements, which leaves nothing to share but the terms. How they are grouped depends on the sizes alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from netlang.graph.expression import Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import index
from netlang.graph.nodes import Equation, Node, Random
from netlang.graph.traversal import fresh, integers, operands, walk
from netlang.schedule.order import Group, split_guard
from netlang.schedule.program import Tensor
from netlang.schedule.tiles import tilings
from netlang.schedule.tiling import guess, is_size

FEW = 4096  # elements of the result at most
LEAST = 16  # terms of the first step for each of its elements
DEEP = 512  # terms of the first step, where these are products by tiles
MANY = 2**15  # terms in all


def with_partial_sums(graph: Graph) -> Graph:
    """The graph with such sums, and with the nodes of their first steps."""
    tensors = {
        n.name: Tensor(n.name, n.name, n.name, n.shape, n.dtype, "random" if isinstance(n, Random) else "")
        for n in graph
    }
    taken = set(graph.nodes)
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation) and node.name not in graph.in_loops and _is_long(node, tensors):
            nodes += _in_two(node, fresh(f"{node.name}.parts", taken))
            taken.add(nodes[-2].name)
        else:
            nodes.append(node)
    return graph.evolve(nodes) if len(nodes) > len(graph) else graph


def _is_long(node: Equation, tensors: Mapping[str, Tensor]) -> bool:
    body = node.body
    if not isinstance(body, Reduce) or body.op != "sum" or node.dtype != "real" or len(body.ranges) < 2:
        return False
    extents = [*node.shape, *(extent for _, extent in body.ranges)]
    if not all(map(is_size, extents)) or not all(extent.is_constant for extent in node.shape):
        return False
    results = math.prod(extent.constant for extent in node.shape)
    each = math.prod(guess(extent) for _, extent in body.ranges[1:])
    if results > FEW or each < LEAST or results * each * guess(body.ranges[0][1]) < MANY:
        return False
    guards, inner = split_guard(body)
    if any(operands(guard) for guard in guards) or any(
        True for part in walk(inner) for value in integers(part) for _ in value.fetches()
    ):
        return False
    tiled = tilings(Group(node.indices, node.shape, [node]), tensors)
    return not tiled or (tiled[0].is_deep and each >= DEEP)


def _in_two(node: Equation, name: str) -> tuple[Equation, Equation]:
    """The sums for each value of the first summed index, and the sum of those."""
    body = node.body
    assert isinstance(body, Reduce)
    first, *rest = body.ranges
    parts = replace(
        node,
        name=name,
        indices=(first[0], *node.indices),
        shape=(first[1], *node.shape),
        body=replace(body, ranges=tuple(rest)),
    )
    return parts, replace(node, body=Reduce("sum", (first,), Read(name, (index(first[0]), *node.places))))
