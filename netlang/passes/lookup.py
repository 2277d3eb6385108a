"""The pass `lookup`: what is computed of a row of a small table is computed of all its rows once, and looked up.

Of a sequence of symbols, `z[t, i] = sum(k) W[i, k] E[symbol[t], k]` has the same value wherever the symbol is the same.
So it is a row of `sum(k) W[i, k] E[v, k]`, a table with a row for each symbol v; and the gradients by W and E are
products with as many terms as there are symbols, not as there are places.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from netlang.graph.constructors import mul
from netlang.graph.expression import Apply, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Fetch, Int, index
from netlang.graph.nodes import Equation, Node, Random
from netlang.graph.traversal import free_indices, fresh, reads, substitute

TYPICAL = 64  # what a size that is known at run time only is taken to be
TIMES_MORE = 16  # as many places as rows of the table there must be, so that a few short sequences cost little more


def lookup(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """The graph with such tables; nodes in `keep` are still read by all that read them."""
    taken = dict.fromkeys(graph.nodes)
    nodes: list[Node] = []
    for node in graph:
        name = fresh(f"{node.name}.table", taken)
        stays = node.name in graph.in_loops or node.name in keep
        found = None if stays else _tabulated(graph, node, name, keep)
        if found is not None:
            taken[name] = None
        nodes += found or (node,)
    return graph.evolve(nodes) if len(nodes) > len(graph) else graph


def _tabulated(graph: Graph, node: Node, name: str, keep: Collection[str]) -> tuple[Equation, Equation] | None:
    """The table and the equation that looks up in it; None where the node is no such sum, or it would not pay."""
    if not isinstance(node, Equation) or not isinstance(node.body, Reduce) or node.body.op != "sum":
        return None
    product = node.body.body
    if not isinstance(product, Apply) or product.op != "mul":
        return None
    for k, factor in enumerate(product.args):
        row = _row(graph, factor, keep)
        if row is None:
            continue
        (axis,) = (n for n, place in enumerate(row.indices) if isinstance(place.single, Fetch))
        others = [*product.args[:k], *product.args[k + 1 :]]
        varying = row.indices[axis].indices()
        elsewhere = [*others, Read(row.tensor, (*row.indices[:axis], *row.indices[axis + 1 :]))]
        if not varying <= set(node.indices) or any(varying & free_indices(e) for e in elsewhere):
            continue
        rows = graph[row.tensor].shape[axis]
        if not any(reads(e) for e in others) or not _pays(rows, [node.extents[i] for i in varying]):
            continue
        own = [i for i in node.indices if i not in varying]
        symbol = fresh("v", {*node.indices, *(n for n, _ in node.body.ranges)})
        places = (*row.indices[:axis], index(symbol), *row.indices[axis + 1 :])
        body = Reduce("sum", node.body.ranges, mul(*others, Read(row.tensor, places)))
        shape = (rows, *(node.extents[i] for i in own))
        table = Equation(name, shape, "real", node.origin, (symbol, *own), body)
        found = Read(name, (row.indices[axis], *(index(i) for i in own)))
        return table, replace(node, body=found)
    return None


def _row(graph: Graph, e: Expr, keep: Collection[str]) -> Read | None:
    """The read of one row of a table, at a place that is read, that the expression is, seen through nodes of a read."""
    while isinstance(e, Read):
        node = graph[e.tensor]
        if sum(isinstance(place.single, Fetch) for place in e.indices) == 1:
            return None if isinstance(node, Random) else e
        if not isinstance(node, Equation) or not isinstance(node.body, Read) or node.name in keep:
            return None
        e = substitute(node.body, dict(zip(node.indices, e.indices, strict=True)))
    return None


def _pays(rows: Int, places: list[Int]) -> bool:
    """Whether a table of so many rows is worth while for so many places."""
    if not rows.is_constant or not all(n.is_constant or _is_size(n) for n in places):
        return False
    many = math.prod(n.constant if n.is_constant else TYPICAL for n in places)
    return rows.constant * TIMES_MORE <= many


def _is_size(extent: Int) -> bool:
    return not any(extent.fetches()) and not extent.indices()
