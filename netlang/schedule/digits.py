"""Sums of products of quotients and remainders of an index: the index becomes two, its digits.

The filter k of a grouped convolution reads the channels of group k // r. For k = r*g + s with 0 <= s < r every place is
linear in g and s, so that the sum is one of products by groups; and the result has its elements where they were.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from netlang.graph.expression import Apply, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Floor, Int, Modulo, index, integer
from netlang.graph.nodes import Equation, Node, View
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import free_indices, fresh, integers, substitute, walk, within_ranges
from netlang.schedule.order import split_guard
from netlang.schedule.tiling import guess

LEAST = 4096  # of fewer products a sum is left as it is


def with_digits(graph: Graph, fixed: Collection[str]) -> Graph:
    """The graph with such sums over digits, and views of them with the index as it was; `fixed` nodes stay."""
    kept = {*fixed, *(n.name for part in graph.components if isinstance(part, Loop) for n in part.nodes)}
    taken = set(graph.nodes)
    nodes: list[Node] = []
    for node in graph:
        found = _split(node) if isinstance(node, Equation) and node.name not in kept else node
        if found is not node:
            found = replace(found, name=fresh(f"{node.name}.digits", taken))
            taken.add(found.name)
            nodes += (found, View(node.name, node.shape, node.dtype, node.origin, found.name))
        else:
            nodes.append(node)
    return graph.evolve(nodes) if len(nodes) > len(graph) else graph


def _split(node: Equation) -> Equation:
    """The sum over the digits of all such indices; the same node where there are none."""
    body = node.body
    if not isinstance(body, Reduce) or body.op != "sum" or node.dtype != "real":
        return node
    guards, inside = split_guard(body)
    tested = {name for g in guards for name in free_indices(g)}
    if not isinstance(inside, Apply) or inside.op != "mul":
        return node
    if math.prod(guess(n) for n in (*node.shape, *(n for _, n in body.ranges))) < LEAST:
        return node
    names = {*node.indices, *(name for name, _ in body.ranges)}
    indices: list[str] = []
    shape: list[Int] = []
    values: dict[str, Int] = {}
    for name, extent in node.extents.items():
        base = _base(body, name) if name not in tested else None  # residues without terms are left out elsewhere
        if base is None or not extent.is_constant or extent.constant % base or extent.constant == base:
            indices.append(name)
            shape.append(extent)
            continue
        low = fresh(f"{name}_", names)
        names.add(low)
        indices += (name, low)
        shape += (extent // base, integer(base))
        values[name] = base * index(name) + index(low)
    if not values:
        return node
    extents = dict(zip(indices, shape, strict=True)) | dict(body.ranges)
    summed = Reduce(body.op, body.ranges, within_ranges(substitute(body.body, values), extents))
    return replace(node, indices=tuple(indices), shape=tuple(shape), body=summed)


def _base(body: Reduce, name: str) -> int | None:
    """What the index is divided by, wherever it is, alone, in a quotient or a remainder."""
    found: set[int] = set()
    for part in walk(body):
        for value in integers(part):
            for atom in value.atoms():
                if not isinstance(atom, Floor | Modulo) or name not in atom.value.indices():
                    continue
                if atom.value != index(name):
                    return None
                found.add(atom.divisor)
    return found.pop() if len(found) == 1 else None
