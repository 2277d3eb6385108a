"""The order of a tensor's dimensions in memory: inside a program, images have channels last, recurrences time first.

An equation that only the program itself reads may keep its dimensions in any order, if all that read it follow. What
a step of a loop over time computes is then side by side, for all examples: a step reads and writes whole pages. A
dimension is *spatial* where windows that overlap are taken of it (`x[m, i + p]`), or where it goes through an equation
together with one that is. The dimension before the spatial ones that no window is taken of, the channels, becomes the
last: sums over windows then have neighbours in memory for the lanes of vectors, and what follows on them long loops.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from netlang.graph.expression import Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import ONE, Atom, Fetch, Floor, Int, Modulo, index, integer
from netlang.graph.nodes import Equation, Node, View
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import fresh, reads, rewrite, tensor_reads
from netlang.schedule.buffers import copied
from netlang.schedule.order import LANES
from netlang.schedule.tiling import guess

Dimension = tuple[str, int]
Order = tuple[int, ...]
_NONE: Mapping[str, Order] = MappingProxyType({})


def with_layouts(graph: Graph, fixed: Iterable[str]) -> Graph:
    """The graph with the dimensions of equations in the order of memory; those of `fixed` nodes stay."""
    kept = {*fixed}
    orders: dict[str, Order] = {}
    for part in graph.components:
        if isinstance(part, Loop):
            orders |= {name: order for name, order in _time_first(part) if name not in kept}
            kept |= {node.name for node in part.nodes}
    spatial = _Spatial.of(graph)
    for node in graph:
        if isinstance(node, Equation | View) and node.name not in kept:
            order = _channels_last(node, spatial)
            if order is not None:
                orders[node.name] = order
    return _with_turned(_reordered(graph, orders), orders) if orders else graph


def _time_first(loop: Loop, before: Mapping[str, Order] = _NONE) -> Iterator[tuple[str, Order]]:
    """The dimensions of what a loop computes: its time, behind those of the loops around it, and then the others."""
    times = {name: (*before.get(name, ()), axis) for name, axis in loop.axes.items()}
    for part in loop.body:
        if isinstance(part, Loop):
            yield from _time_first(part, times)
            continue
        first = times[part.name]
        order = (*first, *(k for k in range(len(part.shape)) if k not in first))
        if order != tuple(range(len(part.shape))):
            yield part.name, order


def _channels_last(node: Node, spatial: _Spatial) -> Order | None:
    """The dimensions with the channels after the spatial ones, where there are enough of them for vectors."""
    across = [spatial.holds((node.name, k)) for k in range(len(node.shape))]
    if True not in across:
        return None
    last = max(k for k, is_across in enumerate(across) if is_across)
    plain = [k for k in range(last) if not across[k] and node.shape[k].is_constant and node.shape[k] != ONE]
    if not plain or node.shape[plain[-1]].constant < LANES:
        return None
    channels = plain[-1]
    return (*(k for k in range(len(node.shape)) if k != channels), channels)


# --- which dimensions are spatial ----------------------------------------------------------------------------------


@dataclass
class _Spatial:
    """Classes of dimensions that go together, each with its first one; `windows` are those with overlapping windows."""

    first: dict[Dimension, Dimension] = field(default_factory=dict)
    windows: set[Dimension] = field(default_factory=set)

    @staticmethod
    def of(graph: Graph) -> _Spatial:
        found = _Spatial()
        for node in graph:
            if isinstance(node, Equation):
                found._visit(node)
        found.windows = {found._root(d) for d in found.windows}
        return found

    def holds(self, dimension: Dimension) -> bool:
        return self._root(dimension) in self.windows

    def _visit(self, node: Equation) -> None:
        extents = node.extents | dict(node.body.ranges if isinstance(node.body, Reduce) else ())
        sizes = {name: guess(extent) for name, extent in extents.items()}
        for tensor, places in dict.fromkeys(tensor_reads(node.body)):
            for k, place in enumerate(places):
                names = sorted(place.indices(), key=lambda n: -sizes[n])
                if not names or any(place.fetches()):
                    continue
                if overlaps(place, sizes):
                    self.windows.add((tensor, k))
                    self.windows |= {(node.name, node.indices.index(n)) for n in names[1:] if n in node.extents}
                # of `i + p` the longer is the place, the other runs through the window
                if names[0] in node.extents and (len(names) == 1 or sizes[names[0]] > sizes[names[1]]):
                    self._join((node.name, node.indices.index(names[0])), (tensor, k))

    def _root(self, dimension: Dimension) -> Dimension:
        while (above := self.first.get(dimension, dimension)) != dimension:
            self.first[dimension] = self.first.get(above, above)
            dimension = above
        return dimension

    def _join(self, one: Dimension, other: Dimension) -> None:
        self.first[self._root(one)] = self._root(other)


def overlaps(place: Int, sizes: Mapping[str, int]) -> bool:
    """Whether different indices come to the same place: `i + p`, not `4*i + p` for p < 4."""
    spans: list[tuple[int, int]] = []
    for monomial, c in place.terms:
        if not monomial:
            continue
        (atom, *others) = monomial
        if isinstance(atom, Floor | Modulo) and overlaps(atom.value, sizes):
            return True
        if not others and (span := _span(atom, sizes)) is not None:
            spans.append((abs(c), abs(c) * span))
    spans.sort()
    below = 0
    for c, span in spans:
        if below >= c:
            return True
        below += span
    return False


def _span(atom: Atom, sizes: Mapping[str, int]) -> int | None:
    """How far an atom moves when its indices run, where that is known."""
    value = Int({(atom,): 1})
    ends = value.bounds({name: integer(n) for name, n in sizes.items()})
    return guess(ends[1] - ends[0]) if ends is not None and value.indices() else None


# --- dimensions in another order -----------------------------------------------------------------------------------


def _reordered(graph: Graph, orders: Mapping[str, Order]) -> Graph:
    """The graph with the dimensions of nodes in other orders; views are of tensors in the old order, and are copied."""
    taken = set(graph.nodes)
    copies: dict[str, str] = {}  # what has the elements of a node in the old order
    nodes: list[Node] = []

    def name_of_copy(name: str) -> str:
        copies[name] = fresh(f"{name}.in_order", taken)
        taken.add(copies[name])
        return copies[name]

    for node in graph:
        if isinstance(node, Equation):
            nodes.append(_follow(node, orders))
            continue
        if isinstance(node, View) and node.operand in orders:
            source = graph[node.operand]
            if source.name not in copies:
                copy = copied(name_of_copy(source.name), source.name, source.shape, source.dtype, source.origin)
                nodes.append(_follow(copy, orders))
            node = replace(node, operand=copies[source.name])
        if node.name in orders:
            plain = replace(node, name=name_of_copy(node.name))
            copy = copied(node.name, plain.name, node.shape, node.dtype, node.origin)
            nodes += (plain, _follow(copy, orders))
        else:
            nodes.append(node)
    return graph.evolve(nodes)


def _follow(node: Equation, orders: Mapping[str, Order]) -> Equation:
    """The equation with its own dimensions and the places of what it reads in their orders."""

    def change(e: Expr) -> Expr | None:
        return Read(e.tensor, _in(orders[e.tensor], e.indices)) if isinstance(e, Read) and e.tensor in orders else None

    def atom(a: Atom) -> Int | None:
        if isinstance(a, Fetch) and a.tensor in orders:
            return Int({(Fetch(a.tensor, _in(orders[a.tensor], a.indices), a.bound),): 1})
        return None

    if any(operand in orders for operand in node.operands):
        node = replace(node, body=rewrite(node.body, change, lambda value: value.rewrite(atom)))
    order = orders.get(node.name)
    if order is None:
        return node
    shape: tuple[Int, ...] = _in(order, node.shape)
    return replace(node, shape=shape, indices=tuple(node.indices[k] for k in order))


def _with_turned(graph: Graph, orders: Collection[str]) -> Graph:
    """The graph with a copy of what a sum over windows of each channel by itself reads channel by channel.

    Such a kernel `W[k, p, q]` is small, and the same for all places; of the copy `[p, q, k]` vectors can be read.
    """
    taken = set(graph.nodes)
    copies: dict[tuple[str, Order], Equation] = {}

    def turned(node: Equation, channels: Int) -> Equation:
        def change(e: Expr) -> Expr | None:
            order = _turn(e, node, channels) if isinstance(e, Read) else None
            if not isinstance(e, Read) or order is None:
                return None
            if (e.tensor, order) not in copies:
                source = graph[e.tensor]
                name = fresh(f"{source.name}.turned", taken)
                taken.add(name)
                copy = copied(name, source.name, source.shape, source.dtype, source.origin)
                copies[e.tensor, order] = _follow(copy, {name: order})
            return Read(copies[e.tensor, order].name, _in(order, e.indices))

        return replace(node, body=rewrite(node.body, change))

    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation) and node.name in orders and isinstance(node.body, Reduce):
            channels = index(node.indices[-1])
            if all(channels in read.indices for read in reads(node.body)):
                node = turned(node, channels)
        nodes.append(node)
    return graph.evolve([*copies.values(), *nodes]) if copies else graph


def _turn(read: Read, node: Equation, channels: Int) -> Order | None:
    """The dimensions with the channels last, where no other index of the equation is among the places."""
    own = {name for place in read.indices for name in place.indices()} & set(node.indices)
    if own != channels.indices() or channels not in read.indices[:-1]:
        return None
    at = read.indices.index(channels)
    return (*(k for k in range(len(read.indices)) if k != at), at)


def _in(order: Order, values: tuple[Int, ...]) -> tuple[Int, ...]:
    return tuple(values[k] for k in order)
