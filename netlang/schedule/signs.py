"""What a maximum has decided: `0 < x` is read from `y = max(0, x)`, which is in memory, and `x` need not be.

The gradient of a rectifier asks for the sign of what it was given; what it gave has the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netlang.graph.constructors import compare, every, negate, select, some
from netlang.graph.expression import All, Any, Apply, Compare, Condition, Const, Expr, Not, Read, Select
from netlang.graph.graph import Graph
from netlang.graph.matching import Binding, Matcher
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import reads, rewrite

Maxima = Mapping[str, list[tuple[Equation, Const, Expr]]]


def with_known_signs(graph: Graph) -> Graph:
    """The graph with such conditions on the maxima that something else reads."""
    maxima: dict[str, list[tuple[Equation, Const, Expr]]] = {}  # with bound and argument, by a tensor that they read
    for node in graph:
        if isinstance(node, Equation) and node.name not in graph.in_loops and graph.users[node.name]:
            found = _maximum(node, graph)
            if found is not None:
                maxima.setdefault(reads(found[1])[0].tensor, []).append((node, *found))
    if not maxima:
        return graph
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation):
            node = replace(node, body=rewrite(node.body, lambda e: _told(e, maxima)))
        nodes.append(node)
    return graph.evolve(nodes)


def _maximum(node: Equation, graph: Graph) -> tuple[Const, Expr] | None:
    """The bound and the argument of a maximum over all places of what it reads."""
    body = node.body
    if not isinstance(body, Apply) or body.op != "max" or len(body.args) != 2:
        return None
    bound, argument = body.args if isinstance(body.args[0], Const) else body.args[::-1]
    whole = {
        place.index.name
        for read in reads(argument)
        for place, extent in zip(read.indices, graph[read.tensor].shape, strict=True)
        if place.index is not None and node.extents.get(place.index.name) == extent
    }
    return (bound, argument) if isinstance(bound, Const) and whole and whole >= set(node.indices) else None


def _told(e: Expr, maxima: Maxima) -> Expr | None:
    return select(_condition(e.condition, maxima), e.then, e.otherwise) if isinstance(e, Select) else None


def _condition(condition: Condition, maxima: Maxima) -> Condition:
    if isinstance(condition, All):
        return every(_condition(part, maxima) for part in condition.parts)
    if isinstance(condition, Any):
        return some(_condition(part, maxima) for part in condition.parts)
    if isinstance(condition, Not):
        return negate(_condition(condition.part, maxima))
    if not isinstance(condition, Compare) or condition.op != "<" or not isinstance(condition.left, Const):
        return condition
    for tensor in dict.fromkeys(read.tensor for read in reads(condition.right)):
        for node, bound, argument in maxima.get(tensor, ()):
            found = next(Matcher().match(argument, condition.right, Binding()), None)
            if found is not None and bound == condition.left:
                place = Read(node.name, tuple(found.places[i] for i in node.indices))
                return compare("<", condition.left, place)
    return condition
