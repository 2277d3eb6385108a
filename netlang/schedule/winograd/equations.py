"""The equations that say how sums over windows are computed by fewer products."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from netlang.graph.constructors import at_least_zero, conjuncts, const, every, is_zero, mul, select
from netlang.graph.expression import TRUE, ZERO, AtLeastZero, Condition, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index, integer, is_nonnegative, place_in, product
from netlang.graph.nodes import Equation, Node, Origin, View
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import free_indices, fresh, reads, substitute
from netlang.schedule.margins import Copy, copy_of
from netlang.schedule.winograd.interpolation import Matrix
from netlang.schedule.winograd.plans import Correlated, Panels, Places, Plan, Tiled, Window
from netlang.schedule.winograd.recognition import planned


def with_fewer_products(graph: Graph, kept: Collection[str]) -> tuple[Graph, dict[str, Plan]]:
    """The graph with such sums computed so, where that is faster, and how, by the names of the nodes.

    Nodes that are `kept` from run to run are computed once.
    """
    looped = {n.name for part in graph.components if isinstance(part, Loop) for n in part.nodes}
    plans: dict[str, Tiled | Correlated] = {}
    for node in graph:
        plan = planned(node, graph, kept) if isinstance(node, Equation) and node.name not in looped else None
        if plan is not None:
            plans[node.name] = plan
    if not plans:
        return graph, {}
    work = _Equations(graph, plans)
    nodes: list[Node] = []
    for node in graph:
        if node.name in plans:
            assert isinstance(node, Equation)
            nodes += work.nodes(node)
        else:
            nodes.append(node)
    return graph.evolve(nodes), work.found


def with_reads(plans: Mapping[str, Plan], graph: Graph) -> dict[str, Plan]:
    """The plans for a graph in which what is computed of the images may have changed."""
    out: dict[str, Plan] = {}
    for name, plan in plans.items():
        if name not in graph.nodes:
            continue
        match plan:
            case Tiled():
                (tiles,) = plan.tiles
                out[name] = replace(plan, image=_outside(graph, tiles, plan.inner))
            case Correlated():
                left, right = (
                    replace(factor, read=_outside(graph, tiles, plan.inner))
                    for factor, tiles in zip((plan.left, plan.right), plan.tiles, strict=True)
                )
                out[name] = replace(plan, left=left, right=right)
            case Panels():
                out[name] = plan
    return out


def _outside(graph: Graph, name: str, inner: Collection[str]) -> Read:
    """What the equation of tiles reads besides matrices."""
    tiles = graph[name]
    assert isinstance(tiles, Equation)
    (image,) = (read for read in reads(tiles.body) if read.tensor not in inner)
    return image


class _Equations:
    """Makes the nodes, and collects how they are computed in `found`.

    `known` are matrices, wider images and transformed filters by what they are, `made` the nodes for the sum at hand.
    """

    def __init__(self, graph: Graph, plans: Mapping[str, Tiled | Correlated]) -> None:
        self.graph = graph
        self.found: dict[str, Plan] = {}
        self.known: dict[object, str] = {}
        self.made: list[Node] = []
        self.origin = Origin(None)
        self.taken = set(graph.nodes)
        self.margins: dict[str, Copy] = {}
        for node in graph:
            copy = copy_of(node, graph)
            if copy is not None:
                self.margins.setdefault(copy.source, copy)
        self.wanted: dict[str, list[Int]] = {}  # how large images must be
        self.plans = {name: self._with_margins(plan) for name, plan in plans.items()}

    def nodes(self, node: Equation) -> tuple[Node, ...]:
        """The sum and what it is computed from."""
        plan = self.plans[node.name]
        self.origin, self.made = node.origin, list[Node]()
        names = {*node.indices, *(name for name, _ in plan.rows), *(w.tap for w in plan.windows)}
        places = tuple((_new("s", names), integer(w.by.places)) for w in plan.windows)
        if isinstance(plan, Tiled):
            return self._convolution(node, plan, places, names)
        return self._correlation(node, plan, places)

    def _convolution(self, node: Equation, plan: Tiled, places: Places, names: set[str]) -> tuple[Node, ...]:
        first, matrices = plan.panels[0], [w.by.image for w in plan.windows]
        image = plan.image, matrices, first.channel, first.channels
        left = self._tiles(f"{node.name}.tiles", plan, places, *image)
        filters = [self._panels(panels, places, names) for panels in plan.panels]
        right: Expr = filters[-1]
        for panels, before in zip(plan.panels[:0:-1], filters[-2::-1], strict=True):
            right = select(at_least_zero(panels.first - 1 - index(panels.lane)), before, right)
        results = (*plan.rows, (first.lane, integer(plan.lanes)))
        summed = (first.channel, integer(first.channels))
        products = self._products(node, (*places, *results), (summed,), left, right)
        step = {w.index: w.step for w in plan.windows}
        at = [index(i) // step[i] if i in step else index(i) for i, _ in results]
        body = self._sums(plan, places, [index(w.index) % w.step for w in plan.windows], products, at)
        inner = self._inner([left.tensor, products], [*matrices, *(w.by.sums for w in plan.windows)])
        made = tuple(read.tensor for read in filters)
        self.found[node.name] = replace(plan, filters=made, tiles=(left.tensor,), inner=inner)
        return (*self.made, replace(node, body=body))

    def _correlation(self, node: Equation, plan: Correlated, places: Places) -> tuple[Node, ...]:
        left, right = (
            self._tiles(f"{node.name}.{side}", plan, places, f.read, f.matrices, f.index, f.extent)
            for side, f in (("left", plan.left), ("right", plan.right))
        )
        results = (*plan.around, *((f.index, integer(f.extent)) for f in (plan.left, plan.right)))
        products = self._products(node, (*places, *results), plan.rows, left, right)
        body = self._sums(plan, places, [index(w.tap) for w in plan.windows], products, _indices(results))
        matrices = [*plan.left.matrices, *plan.right.matrices, *(w.by.sums for w in plan.windows)]
        inner = self._inner([left.tensor, right.tensor, products], matrices)
        self.found[node.name] = replace(plan, tiles=(left.tensor, right.tensor), inner=inner)
        return (*self.made, replace(node, body=body))

    def _products(self, node: Equation, indices: Places, summed: Places, left: Expr, right: Expr) -> str:
        return self._add(f"{node.name}.products", indices, Reduce("sum", summed, mul(left, right)))

    def _sums(
        self, plan: Tiled | Correlated, places: Places, own: Sequence[Int], products: str, at: Iterable[Int]
    ) -> Expr:
        """The sums of the products of a tile, which is `at` such places; `own` are those of the result in the tile."""
        factors = [
            Read(self._matrix(w.by.sums), (i, index(s))) for w, i, (s, _) in zip(plan.windows, own, places, strict=True)
        ]
        return Reduce("sum", places, mul(*factors, Read(products, (*_indices(places), *at))))

    def _inner(self, names: Iterable[str], matrices: Iterable[Matrix]) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*names, *map(self._matrix, matrices)]))

    def _tiles(
        self,
        name: str,
        plan: Tiled | Correlated,
        places: Places,
        image: Read,
        matrices: Sequence[Matrix],
        channel: str,
        channels: int,
    ) -> Read:
        """The transformed tiles of an image."""
        at = substitute(self._wide(image), {w.index: _first(w, image) for w in plan.windows})
        factors = [
            Read(self._matrix(matrix), (index(s), index(w.tap)))
            for matrix, w, (s, _) in zip(matrices, plan.windows, places, strict=True)
        ]
        taps = tuple((w.tap, integer(len(m[0]))) for w, m in zip(plan.windows, matrices, strict=True))
        around = plan.around if isinstance(plan, Correlated) else ()
        indices = (*places, *around, *plan.rows, (channel, integer(channels)))
        return Read(self._add(name, indices, Reduce("sum", taps, mul(*factors, at))), _indices(indices))

    def _panels(self, plan: Panels, places: Places, names: set[str]) -> Read:
        """The transformed filter in panels of lanes."""
        panel, lane = _new("panel", names), _new("lane", names)
        number = plan.panel * index(panel) + index(lane)
        guard = at_least_zero(plan.lanes - 1 - number) if plan.pitch != plan.lanes else TRUE
        factors = [
            Read(self._matrix(w.by.filter), (index(s), index(w.tap)))
            for w, (s, _) in zip(plan.windows, places, strict=True)
        ]
        taps = tuple((w.tap, integer(w.by.taps)) for w in plan.windows)
        terms = select(guard, mul(*factors, substitute(plan.filter, {plan.lane: plan.first + number})), ZERO)
        counts = (panel, integer(plan.pitch // plan.panel)), (plan.channel, integer(plan.channels))
        indices = (*places, *counts, (lane, integer(plan.panel)))
        made = self._add(f"{plan.filter.tensor}.transformed", indices, Reduce("sum", taps, terms))
        self.found[made] = replace(plan, inner=tuple(dict.fromkeys(self._matrix(w.by.filter) for w in plan.windows)))
        view = self._name(f"{plan.filter.tensor}.panels")
        shape = product(n for _, n in places), integer(plan.channels * plan.pitch)
        self.made.append(View(view, shape, "real", self.origin, made))
        own = index(plan.lane) - plan.first
        within = (own // plan.panel * plan.channels + index(plan.channel)) * plan.panel
        return Read(view, (place_in(places), within + own % plan.panel))

    # --- images that are as large as their tiles ---

    def _with_margins(self, plan: Tiled | Correlated) -> Tiled | Correlated:
        """The plan with reads of images that can be made as large as the tiles want, which is noted."""
        if isinstance(plan, Tiled):
            return replace(plan, image=self._read(plan.image, plan.windows))
        left, right = (replace(f, read=self._read(f.read, plan.windows)) for f in (plan.left, plan.right))
        return replace(plan, left=left, right=right)

    def _read(self, image: Read, windows: Sequence[Window]) -> Read:
        """The read of an image, or of its copy with a margin where it has none."""
        extents = self._extents(image, windows)
        if extents != [*self.graph[image.tensor].shape] and image.tensor in self.margins:
            image = self.margins[image.tensor].inner(image.indices)
            extents = self._extents(image, windows)
        known = self.wanted.get(image.tensor, extents)
        self.wanted[image.tensor] = [_larger(one, other) for one, other in zip(known, extents, strict=True)]
        return image

    def _extents(self, image: Read, windows: Sequence[Window]) -> list[Int]:
        """How large an image must be to have all places of all tiles."""
        wanted = list(self.graph[image.tensor].shape)
        for k, place in enumerate(image.indices):
            for w in windows:
                if w.index in place.indices():
                    is_whole = w.tap in place.indices()
                    first = place - index(w.index) - (index(w.tap) if is_whole else 0)
                    stop = first + w.step * (w.tiles - 1) + (w.by.places if is_whole else w.step)
                    wanted[k] = _larger(wanted[k], stop)
        return wanted

    def _wide(self, image: Read) -> Read:
        """The read of an image that is as large as is wanted: of a copy with zeros at its ends, if it is not."""
        source, wanted = self.graph[image.tensor], self.wanted[image.tensor]
        if wanted == [*source.shape]:
            return image
        if image.tensor not in self.known:
            names = source.indices if isinstance(source, Equation) else tuple(f"i{k}" for k in range(len(wanted)))
            body: Expr = Read(image.tensor, tuple(map(index, names)))
            if isinstance(source, Equation) and isinstance(source.body, Select) and source.body.otherwise == ZERO:
                body = source.body  # a margin already
            ends = [
                at_least_zero(old - 1 - index(name))
                for name, old, new in zip(names, source.shape, wanted, strict=True)
                if old != new
            ]
            body = select(every(ends), body, ZERO)
            assert isinstance(body, Select)
            body = select(every(_decisive(conjuncts(body.condition))), body.then, ZERO)
            self.known[image.tensor] = self._add(f"{image.tensor}.wide", tuple(zip(names, wanted, strict=True)), body)
        return Read(self.known[image.tensor], image.indices)

    def _matrix(self, values: Matrix) -> str:
        """The name of a matrix of constants."""
        if values not in self.known:
            height, width = len(values), len(values[0])
            rows = [_chosen("column", [const(float(value)) for value in row]) for row in values]
            indices = ("row", integer(height)), ("column", integer(width))
            self.known[values] = self._add(f"winograd.{height}x{width}", indices, _chosen("row", rows))
        return self.known[values]

    def _add(self, base: str, indices: Places, body: Expr) -> str:
        name = self._name(base)
        shape = tuple(extent for _, extent in indices)
        self.made.append(Equation(name, shape, "real", self.origin, tuple(i for i, _ in indices), body))
        return name

    def _name(self, base: str) -> str:
        return _new(base, self.taken)


def _first(w: Window, image: Read) -> Int:
    """What stands for the index of a window in the read of a place of a tile."""
    return w.step * index(w.index) + (0 if w.tap in free_indices(image) else index(w.tap))


def _larger(one: Int, other: Int) -> Int:
    return one if is_nonnegative(one - other) else other


def _chosen(name: str, values: Sequence[Expr]) -> Expr:
    """The value with the number that an index has."""
    body = values[-1]
    for k in reversed(range(len(values) - 1)):
        body = select(is_zero(index(name) - k), values[k], body)
    return body


def _indices(indices: Places) -> tuple[Int, ...]:
    return tuple(index(name) for name, _ in indices)


def _new(base: str, taken: set[str]) -> str:
    name = fresh(base, taken)
    taken.add(name)
    return name


def _decisive(conditions: Iterable[Condition]) -> list[Condition]:
    """The conditions without those that others imply."""
    kept: list[Condition] = []
    for c in conditions:
        if not any(_implies(other, c) for other in kept):
            kept = [*(other for other in kept if not _implies(c, other)), c]
    return kept


def _implies(one: Condition, other: Condition) -> bool:
    if not isinstance(one, AtLeastZero) or not isinstance(other, AtLeastZero):
        return False
    return is_nonnegative(other.value - one.value)
