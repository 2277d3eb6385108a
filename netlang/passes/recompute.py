"""The pass `recompute`: what is much larger than what it is computed from is computed twice, not kept.

A tensor that the backward pass reads is kept from the forward pass on. Where it pairs places, as the scores of each
step of a sequence for each other one do, it is much larger than what it is computed from, and keeping that is enough:
the backward pass has a copy of its equations, `NODE.again`, just before what reads it first. So memory grows as the
length of a sequence and not as its square, for at most one forward pass more (after Chen et al., 2016, and, for
attention, Dao et al., 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Node, View, is_batched
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import fresh, rename_tensors, tensor_reads

TIMES_LARGER = 2  # than all that it is computed from, so that short sequences, where time is what counts, are kept
_LONG = 1 << 16  # what a size that is known at run time only is taken to be


def recompute(graph: Graph) -> Graph:
    """The graph with copies of such nodes for the readers that only gradients and next values need."""
    wanted = (*graph.outputs.values(), *graph.losses.values(), *graph.metrics.values(), *graph.objectives.values())
    forward = graph.ancestors(wanted)
    sources = _replaceable(graph, forward)
    late = {node.name: set(node.operands) & sources.keys() for node in graph if node.name not in forward}
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
        if late.get(node.name):
            first = [n for n in again if n in _needed(graph, late[node.name], sources) and n not in made]
            made.update(first)
            nodes += (replace(_reading(graph[n], names), name=names[n]) for n in first)
            node = _reading(node, names)
        nodes.append(node)
    return graph.evolve(nodes)


def _replaceable(graph: Graph, forward: set[str]) -> Mapping[str, frozenset[str]]:
    """The nodes that need not be kept, each with the activations that it is computed from where none of these is."""
    in_loops = {node.name for part in graph.components if isinstance(part, Loop) for node in part.nodes}
    sources: dict[str, frozenset[str]] = {}
    for node in graph.order:
        if node.name not in forward or node.name in in_loops or not isinstance(node, Equation | View):
            continue
        activations = [graph[o] for o in node.operands if is_batched(graph[o])]
        inner = {s for o in activations for s in sources.get(o.name, (o.name,))}
        pairs = isinstance(node, Equation) and _pairs_places(node, graph)
        if (pairs or any(o.name in sources for o in activations)) and _is_larger(graph, node, inner):
            sources[node.name] = frozenset(inner)
    return sources


def _pairs_places(node: Equation, graph: Graph) -> bool:
    """True where no activation that is read has all the places that the activations that are read have together."""
    read = [
        {i for place in places for i in place.indices() if i in node.extents}
        for tensor, places in tensor_reads(node.body)
        if is_batched(graph[tensor])
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


def _needed(graph: Graph, names: Iterable[str], sources: Mapping[str, frozenset[str]]) -> list[str]:
    """The replaceable nodes among the names and those that they are computed from, in the order of the graph."""
    found: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in sources and name not in found:
            found.add(name)
            stack += graph[name].operands
    return [node.name for node in graph.order if node.name in found]


def _reading(node: Node, names: Mapping[str, str]) -> Node:
    """The node reading the copies."""
    if isinstance(node, Equation):
        return replace(node, body=rename_tensors(node.body, names))
    if isinstance(node, View):
        return replace(node, operand=names.get(node.operand, node.operand))
    return node
