"""The pass `recompute`: what is much larger than what it is computed from is computed twice, not kept.

A tensor that the backward pass reads is kept from the forward pass on. Where it pairs places, as the scores of each
step of a sequence for each other one do, it is much larger than what it is computed from, and keeping that is enough:
the backward pass has a copy of its equations, `NODE.again`, just before what reads it first. So memory grows as the
length of a sequence and not as its square, for at most one forward pass more (after Chen et al., 2016, and, for
attention, Dao et al., 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from netlang.graph.expression import Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Node, Random, View, is_batched
from netlang.graph.traversal import fresh, rename_tensors, rewrite, substitute, tensor_reads

TIMES_LARGER = 2  # than all that it is computed from, so that short sequences, where time is what counts, are kept
_LONG = 1 << 16  # what a size that is known at run time only is taken to be


def recompute(graph: Graph) -> Graph:
    """The graph with copies of such nodes for the readers that only gradients and next values need."""
    wanted = (*graph.outputs.values(), *graph.losses.values(), *graph.metrics.values(), *graph.objectives.values())
    forward = graph.ancestors(wanted)
    sources, drawn = _replaceable(graph, forward)
    late = {node.name: set(node.operands) & sources for node in graph if node.name not in forward}
    again = _needed(graph, {name for operands in late.values() for name in operands}, sources)
    if not again:
        return graph
    taken = dict.fromkeys(graph.nodes)
    names: dict[str, str] = {}
    for name in again:
        names[name] = fresh(f"{name}.again", taken)
        taken[names[name]] = None
    nodes: list[Node] = []
    made: set[str] = set()
    for node in graph.order:
        if node.name not in forward:
            first = [n for n in again if n in _needed(graph, late[node.name], sources) and n not in made]
            made.update(first)
            nodes += (replace(_reading(graph[n], names, drawn), name=names[n]) for n in first)
            node = _reading(node, names, drawn)
        nodes.append(node)
    return graph.evolve(nodes)


def _replaceable(graph: Graph, forward: set[str]) -> tuple[set[str], Mapping[str, Equation]]:
    """The nodes that need not be kept, and those that they read which are computed from what is drawn alone.

    The latter can be drawn again wherever they are read. Neither they nor parameters, which are there in any case,
    count as what a node is computed from.
    """
    sources: dict[str, set[str]] = {}  # the activations that a node is computed from where no replaceable one is kept
    drawn: dict[str, Equation] = {}
    for node in graph.order:
        if node.name not in forward or node.name in graph.in_loops or not isinstance(node, Equation | View):
            continue
        activations = [o for o in node.operands if is_batched(graph[o]) and not isinstance(graph[o], Random)]
        activations = [o for o in activations if o not in drawn]
        if not activations and isinstance(node, Equation) and not isinstance(node.body, Reduce):
            drawn[node.name] = node
        inner = {s for o in activations for s in sources.get(o, (o,))}
        pairs = isinstance(node, Equation) and _pairs_places(node, activations)
        if (pairs or any(o in sources for o in activations)) and _is_larger(graph, node, inner):
            sources[node.name] = inner
    read = {o for name in sources for o in graph[name].operands}
    return set(sources), {name: node for name, node in drawn.items() if name in read and is_batched(node)}


def _pairs_places(node: Equation, activations: Sequence[str]) -> bool:
    """True where no activation that is read has all the places that the activations that are read have together."""
    read = [
        {i for place in places for i in place.indices() if i in node.extents}
        for tensor, places in tensor_reads(node.body)
        if tensor in activations
    ]
    return bool(read) and set().union(*read) not in read


def _is_larger(graph: Graph, node: Node, sources: Iterable[str]) -> bool:
    return _elements(node) >= TIMES_LARGER * sum(_elements(graph[s]) for s in sources)


def _elements(node: Node) -> int:
    count = 1
    for extent in node.shape:
        count *= extent.evaluate(_AllLong())
    return count


class _AllLong(dict[str, int]):
    def __missing__(self, _: str) -> int:
        return _LONG


def _needed(graph: Graph, names: Iterable[str], replaceable: set[str]) -> list[str]:
    """The replaceable nodes among the names and those that they are computed from, in the order of the graph."""
    found: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in replaceable and name not in found:
            found.add(name)
            stack += graph[name].operands
    return [node.name for node in graph.order if node.name in found]


def _reading(node: Node, names: Mapping[str, str], drawn: Mapping[str, Equation]) -> Node:
    """The node reading the copies, and drawing again what is drawn."""

    def change(e: Expr) -> Expr | None:
        if not isinstance(e, Read) or e.tensor not in drawn:
            return None
        mask = drawn[e.tensor]
        return rewrite(substitute(mask.body, dict(zip(mask.indices, e.indices, strict=True))), change)

    if isinstance(node, Equation):
        return replace(node, body=rename_tensors(rewrite(node.body, change), names))
    if isinstance(node, View):
        return replace(node, operand=names.get(node.operand, node.operand))
    return node
