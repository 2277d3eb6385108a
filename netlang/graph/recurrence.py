"""Recurrences: the cycles of a graph as loops over time, each step of which computes its nodes in order.

A tensor may read itself, or a tensor that reads it, at an earlier step: `h[t] = f(h[t-1])`. The strongly connected
components of the graph then separate what is sequential from what is not. A component is a loop where one dimension of
each of its tensors is a time such that every read inside it is of the same step or of one on the same side of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import tensor_reads


@dataclass(frozen=True)
class Loop:
    """Nodes that are computed together, step by step.

    `axes` says which dimension of each tensor is the time, `steps` how many there are; `backward` loops run from the
    last step to the first. `body` is the order within a step and may hold loops over other dimensions.
    """

    steps: Int
    backward: bool
    axes: Mapping[str, int]
    body: tuple[Component, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes in it, in the order of a step."""
        return flattened(self.body)


Component = Node | Loop


@dataclass(frozen=True)
class Access:
    """A read: `user` reads `operand` at `places`, which are None where it reads the whole (a view does)."""

    user: Node
    operand: str
    places: tuple[Int, ...] | None

    def step(self, axes: Mapping[str, int]) -> int:
        """How many steps ahead of its user the operand is read: -1 for `h[t-1]`."""
        assert self.places is not None
        return (self.places[axes[self.operand]] - self.time(axes)).constant

    def time(self, axes: Mapping[str, int]) -> Int:
        """The index of the user that is the time."""
        assert isinstance(self.user, Equation)
        return index(self.user.indices[axes[self.user.name]])


def accesses(node: Node) -> Iterator[Access]:
    """Every read by a node, those of integer tensors in indices and conditions included."""
    if not isinstance(node, Equation):
        yield from (Access(node, operand, None) for operand in node.operands)
        return
    yield from (Access(node, tensor, places) for tensor, places in tensor_reads(node.body))


def components(nodes: Iterable[Node]) -> tuple[Component, ...] | list[str]:
    """The nodes in an order of computation, cycles as loops; or, where a cycle has no step in time, its names."""
    table = {node.name: node for node in nodes}
    return _ordered(table, [a for node in table.values() for a in accesses(node)])


def flattened(parts: Iterable[Component]) -> tuple[Node, ...]:
    """The nodes of components in order, those of a loop in the order of a step."""
    out: list[Node] = []
    for part in parts:
        out += part.nodes if isinstance(part, Loop) else (part,)
    return tuple(out)


def carried(parts: Iterable[Component]) -> dict[str, int]:
    """The tensors that a step of a loop reads of another step, each with its dimension that is the time."""
    found: dict[str, int] = {}
    for loop in parts:
        if isinstance(loop, Loop):
            for access in (a for node in loop.nodes for a in accesses(node)):
                if access.operand in loop.axes and access.step(loop.axes):
                    found.setdefault(access.operand, loop.axes[access.operand])
            found = {**carried(loop.body), **found}
    return found


def _ordered(nodes: Mapping[str, Node], reads: Sequence[Access]) -> tuple[Component, ...] | list[str]:
    """Components under the given reads, which leave out those that an outer loop carries from step to step."""
    out: list[Component] = []
    selfish = {a.operand for a in reads if a.operand == a.user.name}
    for names in _strongly_connected(nodes, reads):
        if len(names) == 1 and names[0] not in selfish:
            out.append(nodes[names[0]])
            continue
        members = {name: nodes[name] for name in names}
        loop = _loop(members, [a for a in reads if a.operand in members and a.user.name in members])
        if isinstance(loop, list):
            return loop
        out.append(loop)
    return tuple(out)


def _loop(nodes: Mapping[str, Node], reads: Sequence[Access]) -> Loop | list[str]:
    first = next(iter(nodes.values()))
    for axis in range(len(first.shape)) if all(a.places is not None for a in reads) else ():
        axes = _axes(first.name, axis, nodes, reads)
        if axes is None:
            continue
        steps = [a.step(axes) for a in reads]
        if not any(steps) or (min(steps) < 0 < max(steps)):
            continue
        body = _ordered(nodes, [a for a, step in zip(reads, steps, strict=True) if step == 0])
        if not isinstance(body, list):
            return Loop(first.shape[axis], max(steps) > 0, axes, body)
    return _cycle(reads)


def _axes(start: str, axis: int, nodes: Mapping[str, Node], reads: Sequence[Access]) -> dict[str, int] | None:
    """The time dimension of each node, from that of one; None where the reads do not agree on it."""
    axes = {start: axis}
    pending = list(reads)
    while pending:
        known = [a for a in pending if a.user.name in axes or a.operand in axes]
        pending = [a for a in pending if a not in known]
        for a in known:
            assert a.places is not None
            assert isinstance(a.user, Equation)
            if a.user.name in axes:
                time = a.time(axes)
                fits = [k for k, place in enumerate(a.places) if (place - time).is_constant]
                name = a.operand
            else:
                place = a.places[axes[a.operand]]
                fits = [k for k, i in enumerate(a.user.indices) if (place - index(i)).is_constant]
                name = a.user.name
            if len(fits) != 1 or axes.setdefault(name, fits[0]) != fits[0]:
                return None
    same_length = len({nodes[name].shape[k] for name, k in axes.items()}) == 1
    return axes if same_length else None


def _strongly_connected(nodes: Iterable[str], reads: Iterable[Access]) -> Iterator[list[str]]:
    """Strongly connected components, operands before users, in the order of definition where it is free."""
    import networkx

    network = networkx.DiGraph()
    network.add_nodes_from(nodes)
    network.add_edges_from((a.operand, a.user.name) for a in reads)
    position = {name: k for k, name in enumerate(nodes)}
    condensed = networkx.condensation(network)
    members = {c: sorted(data["members"], key=position.__getitem__) for c, data in condensed.nodes(data=True)}
    for c in networkx.lexicographical_topological_sort(condensed, key=lambda c: position[members[c][0]]):
        yield members[c]


def _cycle(reads: Iterable[Access]) -> list[str]:
    """The names along one cycle."""
    import networkx

    return [edge[0] for edge in networkx.find_cycle(networkx.DiGraph((a.operand, a.user.name) for a in reads))]
