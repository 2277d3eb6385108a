"""Convolutions by fewer products (Winograd): which sums over windows are computed so, and the equations that say how.

A sum `y[b, i, j, k] = sum(m, p, q) x[b, i + p, j + q, m] * W[k, m, p, q]` becomes, for tiles of its results,

    tiles[s, t, b, i, j, m]    = sum(p, q) B[s, p] * B[t, q] * x[b, 4*i + p, 4*j + q, m]
    products[s, t, b, i, j, k] = sum(m) tiles[s, t, b, i, j, m] * U[s, t, m, k]
    y[b, i, j, k]              = sum(s, t) A[i % 4, s] * A[j % 4, t] * products[s, t, b, i // 4, j // 4, k]

where U depends on W alone: with tiles of 4 x 4 and windows of 3 x 3 these are 36 products for 16 results instead of 144
(Lavin and Gray, Fast algorithms for convolutional neural networks, 2016). `minimal` has the matrices. It is worth while
only where U is kept from run to run. One kernel computes all three (`netlang.schedule.transforms`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netlang.graph.constructors import at_least_zero, conjuncts, const, every, is_zero, mul, select
from netlang.graph.expression import TRUE, ZERO, Apply, AtLeastZero, Condition, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index, integer, is_nonnegative, place_in
from netlang.graph.nodes import Equation, Input, Node, Origin, View
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import free_indices, fresh, reads, substitute
from netlang.schedule.interpolation import Matrix, Minimal, minimal
from netlang.schedule.order import split_guard
from netlang.schedule.program import LANES, PANELS
from netlang.schedule.tiles import DEEP, guess

TAPS = (2, 3, 4, 5)  # of a window in a dimension
PLACES = 6  # of a tile of the image in a dimension: larger ones are less exact in float32
DIMENSIONS = 2
BANDWIDTH = 5  # bytes that come from memory in a cycle
MOVED = 0.4  # cycles for an element of the tiles or the products, to compute, to store and to load it
GAIN = 0.9  # how many of the cycles of the plain sum it may take

Places = tuple[tuple[str, Int], ...]


@dataclass(frozen=True)
class Window:
    """An output index `i` whose tiles are computed together, and the summed index `tap` of the window: `i + tap`."""

    index: str
    extent: int
    tap: str
    by: Minimal

    @property
    def tiles(self) -> int:
        return -(-self.extent // self.by.outputs)


@dataclass(frozen=True)
class Transformed:
    """A sum over windows by fewer products.

    `image` is the read of the image at a place of a tile, where taps are places; `filter` the transformed filter, for
    each place of a tile in panels of `panel` lanes. `outer` are the other indices of image and result.
    `inner` are the nodes that are never in memory as such: the transformed tiles, the products, and their matrices.
    """

    image: Read
    filter: str
    panel: int
    windows: tuple[Window, ...]
    outer: tuple[tuple[str, Int], ...]
    channel: str
    channels: int
    lane: str
    lanes: int
    inner: tuple[str, ...] = ()

    @property
    def places(self) -> int:
        """The places of a tile."""
        return math.prod(w.by.places for w in self.windows)

    @property
    def pitch(self) -> int:
        """The lanes of full panels."""
        return -(-self.lanes // self.panel) * self.panel

    @property
    def rows(self) -> tuple[tuple[str, Int], ...]:
        """All indices of tiles."""
        return (*self.outer, *((w.index, integer(w.tiles)) for w in self.windows))

    @property
    def cycles(self) -> float:
        """For as few results as there may be, with what comes from memory."""
        outer = math.prod(guess(extent, 1) for _, extent in self.outer)
        tiles = outer * math.prod(w.tiles for w in self.windows)
        turns = self.places * self.channels * self.pitch / (2 * LANES)
        moved = MOVED * self.places * tiles * (self.channels + self.pitch)
        return turns * max(tiles, 4) + 4 * self.places * self.channels * self.pitch / BANDWIDTH + moved

    @property
    def direct(self) -> float:
        """The cycles of the plain sum."""
        results = math.prod(guess(extent, 1) for _, extent in self.outer) * math.prod(w.extent for w in self.windows)
        terms = self.channels * math.prod(w.by.taps for w in self.windows)
        return terms * self.pitch * (max(results, 4) / (2 * LANES) + 4 / BANDWIDTH)


def with_fewer_products(graph: Graph, kept: Collection[str]) -> tuple[Graph, dict[str, Transformed]]:
    """The graph with such sums computed so, where that is faster, and how, by the names of the sums.

    Filters are nodes that are `kept` from run to run.
    """
    looped = {n.name for part in graph.components if isinstance(part, Loop) for n in part.nodes}
    work = _Windows(graph)
    found: dict[str, Transformed] = {}
    nodes: list[Node] = []
    for node in graph:
        plan = _plan(node, graph, kept) if isinstance(node, Equation) and node.name not in looped else None
        if plan is None or not isinstance(node, Equation):
            nodes.append(node)
        else:
            made, found[node.name] = work.nodes(node, *plan)
            nodes += made
    return (graph.evolve(nodes) if found else graph), found


def with_images(plans: Mapping[str, Transformed], graph: Graph) -> dict[str, Transformed]:
    """The plans for sums of a graph in which what computes the images may have changed."""
    return {name: replace(plan, image=_image(plan, graph)) for name, plan in plans.items() if name in graph.nodes}


def _image(plan: Transformed, graph: Graph) -> Read:
    tiles = graph[plan.inner[0]]
    assert isinstance(tiles, Equation)
    (image,) = (read for read in reads(tiles.body) if read.tensor not in plan.inner)
    return image


# --- recognition ---------------------------------------------------------------------------------------------------


def _plan(node: Equation, graph: Graph, kept: Collection[str]) -> tuple[Transformed, Read] | None:
    """The fastest way to compute a sum over windows by fewer products, and the read of its filter."""
    body = node.body
    if not isinstance(body, Reduce) or body.op != "sum" or node.dtype != "real":
        return None
    guards, inside = split_guard(body)
    if guards or not isinstance(inside, Apply) or inside.op != "mul" or len(inside.args) != 2:
        return None
    one, other = inside.args
    if not isinstance(one, Read) or not isinstance(other, Read) or (one.tensor in kept) == (other.tensor in kept):
        return None
    image, filter = (other, one) if one.tensor in kept else (one, other)
    if not _is_computed(graph, image.tensor):
        return None
    summed = dict(body.ranges)
    windows = _windows(node, image, summed)
    if windows is None:
        return None
    taps = {tap for _, tap in windows}
    channels = set(summed) - taps
    lanes = free_indices(filter) & set(node.indices)
    if len(channels) != 1 or lanes != {node.indices[-1]} or free_indices(filter) != {*summed, *lanes}:
        return None
    (channel,), (lane,) = channels, lanes
    lanes_extent = node.extents[lane]
    if image.indices[-1] != index(channel) or lane in free_indices(image) or not lanes_extent.is_constant:
        return None
    outer = tuple((i, n) for i, n in node.extents.items() if i != lane and i not in {w for w, _ in windows})
    many, wide = summed[channel].constant, lanes_extent.constant
    if min(many, wide) < LANES or many > DEEP or any(i not in free_indices(image) for i, _ in outer):
        return None
    if any(not n.is_constant for _, n in outer[1:]) or any(any(n.fetches()) or n.indices() for _, n in outer):
        return None
    panel = max(p for p in PANELS if p <= wide)
    plans = [
        Transformed(image, "", panel, chosen, outer, channel, many, lane, wide)
        for chosen in itertools.product(*(_choices(node, i, tap, summed) for i, tap in windows))
    ]
    good = [plan for plan in plans if plan.cycles < GAIN * plan.direct]
    return (min(good, key=lambda plan: plan.cycles), filter) if good else None


def _is_computed(graph: Graph, name: str) -> bool:
    """Whether a tensor keeps its value until the next run: it is given or computed, and not updated."""
    node = graph[name]
    while isinstance(node, View):
        node = graph[node.operand]
    return isinstance(node, Input | Equation) and node.dtype == "real"


def _windows(node: Equation, image: Read, summed: Mapping[str, Int]) -> list[tuple[str, str]] | None:
    """Each output index of the image with the tap that is added to it; None where there is another form."""
    if not all(extent.is_constant for extent in summed.values()):
        return None
    found: list[tuple[str, str]] = []
    count: dict[str, int] = {}
    for place in image.indices:
        if any(place.fetches()):
            return None
        names = place.indices()
        for name in names:
            count[name] = count.get(name, 0) + 1
        if not names & set(summed) or not names & set(node.indices):
            continue
        if len(names) != 2:
            return None
        (tap,), (own,) = names & set(summed), names - set(summed)
        if not (place - index(own) - index(tap)).is_constant:
            return None
        if not node.extents[own].is_constant or summed[tap].constant not in TAPS:
            return None
        found.append((own, tap))
    if not 1 <= len(found) <= DIMENSIONS or any(n > 1 for n in count.values()):
        return None
    order = {name: k for k, name in enumerate(node.indices)}
    return sorted(found, key=lambda pair: order[pair[0]])


def _choices(node: Equation, name: str, tap: str, summed: Mapping[str, Int]) -> Iterable[Window]:
    taps, extent = summed[tap].constant, node.extents[name].constant
    for outputs in range(2, PLACES - taps + 2):
        if outputs <= max(2, extent):
            yield Window(name, extent, tap, minimal(outputs, taps))


# --- the equations -------------------------------------------------------------------------------------------------


@dataclass
class _Windows:
    """Makes the nodes, `made` for the sum at hand; `known` are matrices and wider images by what they are."""

    graph: Graph
    known: dict[object, str] = field(default_factory=dict)
    made: list[Node] = field(default_factory=list)
    origin: Origin = field(default_factory=lambda: Origin(None))

    def __post_init__(self) -> None:
        self.taken = set(self.graph.nodes)

    def nodes(self, node: Equation, plan: Transformed, filter: Read) -> tuple[tuple[Node, ...], Transformed]:
        """The sum and what it is computed from."""
        names = {*node.indices, *(name for name, _ in _ranges(node))}
        places = tuple((_new("s", names), integer(w.by.places)) for w in plan.windows)
        self.origin, self.made = node.origin, list[Node]()
        panels = self._panels(plan, places, filter, names)
        image = self._wide(plan)
        tiles = self._tiles(node, plan, places, image)
        sums = self._sums(node, plan, places, tiles, panels)
        matrices = [self.known[matrix, kind] for w in plan.windows for kind, matrix in _matrices(w)]
        inner = tuple(dict.fromkeys([tiles, *sums.operands, *matrices]))
        return (*self.made, sums), replace(plan, filter=panels, inner=inner)

    def _panels(self, plan: Transformed, places: Places, filter: Read, names: set[str]) -> str:
        """The transformed filter, one dimension after the other, the last time in panels of lanes."""
        panel, lane = _new("panel", names), _new("lane", names)
        channel, lanes = (plan.channel, integer(plan.channels)), [(plan.lane, integer(plan.lanes))]
        number, guard = index(plan.lane), TRUE
        for k, (w, (s, _)) in enumerate(zip(plan.windows, places, strict=True)):
            taps = [(v.tap, integer(v.by.taps)) for v in plan.windows[k + 1 :]]
            indices = (*places[: k + 1], *taps, channel, *lanes)
            if not taps:
                indices = (*places, (panel, integer(plan.pitch // plan.panel)), channel, (lane, integer(plan.panel)))
                number = plan.panel * index(panel) + index(lane)
                guard = at_least_zero(plan.lanes - 1 - number) if plan.pitch != plan.lanes else TRUE
            at = tuple(i.substitute({plan.lane: number}) for i in filter.indices)
            factor = Read(self._matrix("filter", w.by.filter), (index(s), index(w.tap)))
            terms = select(guard, mul(factor, Read(filter.tensor, at)), ZERO)
            body = Reduce("sum", ((w.tap, integer(w.by.taps)),), terms)
            filter = Read(self._add(f"{filter.tensor}.transformed", indices, body), _indices(indices))
        view = self._name(f"{filter.tensor}.panels")
        shape = integer(plan.places), integer(plan.channels * plan.pitch)
        self.made.append(View(view, shape, "real", self.origin, filter.tensor))
        return view

    def _tiles(self, node: Equation, plan: Transformed, places: Places, image: Read) -> str:
        """The transformed tiles of the image."""
        at = substitute(image, {w.index: w.by.outputs * index(w.index) for w in plan.windows})
        factors = [
            Read(self._matrix("image", w.by.image), (index(s), index(w.tap)))
            for w, (s, _) in zip(plan.windows, places, strict=True)
        ]
        body = Reduce("sum", tuple((w.tap, integer(w.by.places)) for w in plan.windows), mul(*factors, at))
        indices = (*places, *plan.rows, (plan.channel, integer(plan.channels)))
        return self._add(f"{node.name}.tiles", indices, body)

    def _sums(self, node: Equation, plan: Transformed, places: Places, tiles: str, panels: str) -> Equation:
        """The sums of the products of tiles and filter."""
        channel, lane = index(plan.channel), index(plan.lane)
        left = Read(tiles, (*_indices(places), *_indices(plan.rows), channel))
        within = (lane // plan.panel * plan.channels + channel) * plan.panel + lane % plan.panel
        right = Read(panels, (place_in(places), within))
        body = Reduce("sum", ((plan.channel, integer(plan.channels)),), mul(left, right))
        products = self._add(f"{node.name}.products", (*places, *plan.rows, (plan.lane, integer(plan.lanes))), body)
        by = {w.index: w.by for w in plan.windows}
        tile = [index(i) // by[i].outputs if i in by else index(i) for i, _ in plan.rows]
        factors = [
            Read(self._matrix("sums", w.by.sums), (index(w.index) % w.by.outputs, index(s)))
            for w, (s, _) in zip(plan.windows, places, strict=True)
        ]
        whole = Read(products, (*_indices(places), *tile, lane))
        return replace(node, body=Reduce("sum", places, mul(*factors, whole)))

    def _wide(self, plan: Transformed) -> Read:
        """The read of an image that has all places of all tiles: a copy with a margin of zeros where it needs one."""
        image = plan.image
        source = self.graph[image.tensor]
        wanted = list(source.shape)
        for k, place in enumerate(image.indices):
            for w in plan.windows:
                if w.index in place.indices():
                    first = (place - index(w.index) - index(w.tap)).constant
                    stop = integer(first + w.by.outputs * (w.tiles - 1) + w.by.places)
                    wanted[k] = wanted[k] if is_nonnegative(wanted[k] - stop) else stop
        if wanted == list(source.shape):
            return image
        key = (image.tensor, *wanted)
        if key not in self.known:
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
            self.known[key] = self._add(f"{image.tensor}.wide", tuple(zip(names, wanted, strict=True)), body)
        return Read(self.known[key], image.indices)

    def _matrix(self, kind: str, values: Matrix) -> str:
        """The name of a matrix of constants."""
        if (values, kind) not in self.known:
            height, width = len(values), len(values[0])
            rows = [_chosen("column", [const(float(value)) for value in row]) for row in values]
            indices = ("row", integer(height)), ("column", integer(width))
            self.known[values, kind] = self._add(f"winograd.{kind}.{height}x{width}", indices, _chosen("row", rows))
        return self.known[values, kind]

    def _add(self, base: str, indices: Places, body: Expr) -> str:
        name = self._name(base)
        shape = tuple(extent for _, extent in indices)
        self.made.append(Equation(name, shape, "real", self.origin, tuple(i for i, _ in indices), body))
        return name

    def _name(self, base: str) -> str:
        return _new(base, self.taken)


def _matrices(w: Window) -> Iterable[tuple[str, Matrix]]:
    """The matrices of which one kernel knows the elements."""
    return ("image", w.by.image), ("sums", w.by.sums)


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


def _ranges(node: Equation) -> Places:
    assert isinstance(node.body, Reduce)
    return node.body.ranges


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
