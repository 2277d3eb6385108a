"""What is wanted with a margin of zeros is computed with it: it is in memory once, and nothing copies it.

`factors` gives a sum a copy of what it reads with zeros around it. Where an equation of one element each computes
that, the copy takes its place, and all others read the inner part of the copy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from netlang.graph.constructors import at_least_zero, conjuncts, select
from netlang.graph.expression import ZERO, Condition, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index, is_nonnegative
from netlang.graph.nodes import Equation, Node
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import rewrite, substitute, tensor_reads

MEMBERS = 8  # equations at most that are computed in one with a margin


@dataclass(frozen=True)
class Copy:
    """A copy of `source` with zeros around it, which reads it at `places` where `inside` holds.

    Element `i` of the source is `i - low` of the copy.
    """

    node: Equation
    source: str
    places: tuple[Int, ...]
    inside: Condition
    low: tuple[int, ...]

    def inner(self, places: tuple[Int, ...]) -> Read:
        return Read(self.node.name, tuple(place - low for place, low in zip(places, self.low, strict=True)))


def with_margins(graph: Graph, fixed: Collection[str]) -> Graph:
    """The graph with such copies; `fixed` nodes, and those of loops, stay as they are."""
    kept = {*fixed, *(n.name for part in graph.components if isinstance(part, Loop) for n in part.nodes)}
    copies: dict[str, Copy] = {}
    bodies: dict[str, Expr] = {}  # of the copies
    for node in graph:
        copy = copy_of(node, graph)
        if copy is not None and copy.source not in copies:
            body = _body(graph, copy, kept)
            if body is not None:
                copies[copy.source], bodies[node.name] = copy, body
    if not copies:
        return graph

    def change(e: Expr) -> Expr | None:
        return copies[e.tensor].inner(e.indices) if isinstance(e, Read) and e.tensor in copies else None

    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation) and node.name not in copies:
            node = replace(node, body=rewrite(bodies.get(node.name, node.body), change))
            nodes.append(node)
        elif node.name not in copies:
            nodes.append(node)
    return graph.evolve(nodes)


def copy_of(node: Node, graph: Graph) -> Copy | None:
    """The node as a copy of all elements of another one with zeros around them."""
    if not isinstance(node, Equation) or not isinstance(node.body, Select) or node.body.otherwise != ZERO:
        return None
    read = node.body.then
    if not isinstance(read, Read) or len(read.indices) != len(node.indices):
        return None
    low, inside = [], set()
    for name, size, place, extent in zip(node.indices, node.shape, read.indices, graph[read.tensor].shape, strict=True):
        distance = place - index(name)
        if not distance.is_constant or distance.constant > 0 or not is_nonnegative(size + distance - extent):
            return None
        low.append(distance.constant)
        inside |= {at_least_zero(place), at_least_zero(extent - 1 - place)}
    if not set(conjuncts(node.body.condition)) <= inside:
        return None
    return Copy(node, read.tensor, read.indices, node.body.condition, tuple(low))


def _body(graph: Graph, copy: Copy, kept: Collection[str]) -> Expr | None:
    """What computes the copy as its source is computed; None where something needs the source itself."""
    source = graph[copy.source]
    if not isinstance(source, Equation) or not _is_plain(source, kept):
        return None
    if not all(isinstance(graph[name], Equation) for name in graph.users[source.name]):
        return None
    body = _with_bodies(graph, source, kept)
    places = dict(zip(source.indices, copy.places, strict=True))
    return None if body is None else select(copy.inside, substitute(body, places), ZERO)


def _with_bodies(graph: Graph, source: Equation, kept: Collection[str]) -> Expr | None:
    """The body with those of the equations that nothing else reads; None where one of these is a sum."""
    inside, body = {source.name}, source.body
    for _ in range(MEMBERS):
        found: dict[str, Mapping[str, Int]] = {}
        for tensor, places in tensor_reads(body):
            node = graph[tensor]
            if isinstance(node, Equation) and places == source.places and set(graph.users[tensor]) <= inside:
                if not _is_plain(node, kept):
                    return None
                found[tensor] = dict(zip(node.indices, places, strict=True))
        if not found:
            return body

        def change(e: Expr, found: Mapping[str, Mapping[str, Int]] = found) -> Expr | None:
            if not isinstance(e, Read) or e.tensor not in found:
                return None
            member = graph[e.tensor]
            assert isinstance(member, Equation)
            return substitute(member.body, found[e.tensor])

        inside |= found.keys()
        body = rewrite(body, change)
    return body


def _is_plain(node: Equation, kept: Collection[str]) -> bool:
    """Whether it is computed element by element, and only read."""
    return node.name not in kept and node.dtype == "real" and not isinstance(node.body, Reduce)
