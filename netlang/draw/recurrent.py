"""What goes from step to step: the reads that a recurrence carries, and which dimension of a tensor is the time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation, Param, State
from netlang.graph.recurrence import Access, Component, Loop, accesses

Pair = tuple[str, str]


def loops(components: Iterable[Component]) -> Iterator[Loop]:
    """Every loop, outer ones before those inside them."""
    for component in components:
        if isinstance(component, Loop):
            yield component
            yield from loops(component.body)


def carried(graph: Graph) -> Mapping[Pair, str]:
    """Of each pair (operand, user) in a loop that a step has from another one: where it reads, `t - 1`."""
    found: dict[Pair, dict[str, None]] = {}
    for loop in loops(graph.components):
        for node in loop.nodes:
            for access in accesses(node):
                if access.operand in loop.axes and access.step(loop.axes):
                    assert access.places is not None
                    place = access.places[loop.axes[access.operand]]
                    found.setdefault((access.operand, node.name), {})[str(place)] = None
    return {pair: ", ".join(places) for pair, places in found.items()}


def within_step(graph: Graph) -> frozenset[Pair]:
    """The pairs (operand, user) that no loop carries, or not only."""
    steps = {name: loop.axes for loop in loops(graph.components) for name in loop.axes}

    def same(access: Access) -> bool:
        axes = steps.get(access.user.name, {})
        return access.operand not in axes or access.places is None or access.step(axes) == 0

    return frozenset((a.operand, node.name) for node in graph for a in accesses(node) if same(a))


def time_axes(graph: Graph) -> Mapping[str, int]:
    """The dimension that is the time, of the tensors of outermost loops and of those that are read along with them.

    Parameters and states have none: what is kept is not in time.
    """
    axes: dict[str, int] = {}
    for component in graph.components:
        if isinstance(component, Loop):
            axes |= component.axes
    grown = True
    while grown:
        known = len(axes)
        for node in graph:
            if isinstance(node, Equation):
                _spread(node, graph, axes)
        grown = len(axes) > known
    return axes


def _spread(node: Equation, graph: Graph, axes: dict[str, int]) -> None:
    """Add the time of an equation and of what it reads, where either has one."""
    found = [(a.operand, a.places) for a in accesses(node) if a.places is not None]
    times = {node.indices[axes[node.name]]} if node.name in axes else set()
    times |= {i for name, places in found if name in axes for i in _moving(places[axes[name]])}
    for name, places in found:
        fits = [k for k, place in enumerate(places) if len(times & set(_moving(place))) == 1]
        if fits and not isinstance(graph[name], Param | State):
            axes.setdefault(name, fits[0])
    own = [k for k, name in enumerate(node.indices) if name in times]
    if own:
        axes.setdefault(node.name, own[0])


def _moving(place: Int) -> list[str]:
    """The index that a place moves along with, forwards or backwards."""
    return [i for i in place.indices() if any(not (place - sign * index(i)).indices() for sign in (1, -1))]
