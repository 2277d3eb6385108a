"""Which sums over windows are computed by fewer products, and how."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping

from netlang.graph.expression import Apply, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation, Input, View
from netlang.graph.traversal import free_indices
from netlang.schedule.order import split_guard
from netlang.schedule.program import LANES, NARROW, PANELS
from netlang.schedule.tiling import DEEP
from netlang.schedule.winograd.interpolation import OUTPUTS, TAPS, minimal
from netlang.schedule.winograd.plans import GAIN, Correlated, Factor, Panels, Places, Tiled, Window

EXACT = 6  # places of a tile in a dimension at most that round hardly more than plain sums do
ROUNDED = 1.03  # times fewer cycles that a plan must have for each place more
DIMENSIONS = 2


def planned(node: Equation, graph: Graph, kept: Collection[str]) -> Tiled | Correlated | None:
    """The fastest way to compute a sum by fewer products, where that is faster than the sum as it is.

    Nodes that are `kept` from run to run cost nothing.
    """
    found: list[Tiled | Correlated] = []
    for image, other in _products(node, graph) if node.name not in kept else ():
        found += _tiled(node, image, other, other.tensor in kept)
        found += _correlated(node, image, other)
    best = min(found, key=_cost, default=None)
    return best if best is not None and _cost(best) < GAIN * best.direct else None


def _cost(plan: Tiled | Correlated) -> float:
    """The cycles, of larger tiles some more: they must save something, since they are less exact in float32."""
    return plan.cycles * math.prod(ROUNDED ** max(0, w.by.places - EXACT) for w in plan.windows)


def _products(node: Equation, graph: Graph) -> Iterable[tuple[Read, Read]]:
    """The two factors of a sum of products, in both orders; the first one is no parameter."""
    body = node.body
    if not isinstance(body, Reduce) or body.op != "sum" or node.dtype != "real":
        return
    guards, inside = split_guard(body)
    if guards or not isinstance(inside, Apply) or inside.op != "mul" or len(inside.args) != 2:
        return
    one, other = inside.args
    if isinstance(one, Read) and isinstance(other, Read):
        for image, second in ((one, other), (other, one)):
            if _is_computed(graph, image.tensor):
                yield image, second


def _is_computed(graph: Graph, name: str) -> bool:
    """Whether a tensor keeps its value until the next run: it is given or computed, and not updated."""
    node = graph[name]
    while isinstance(node, View):
        node = graph[node.operand]
    return isinstance(node, Input | Equation) and node.dtype == "real"


def _ranges(node: Equation) -> dict[str, Int]:
    assert isinstance(node.body, Reduce)
    return dict(node.body.ranges)


def _windows(node: Equation, image: Read) -> list[tuple[str, str]]:
    """Each output index of the image with the summed index that is added to it, or taken from it."""
    summed, names = _ranges(node), [name for place in image.indices for name in place.indices()]
    if any(any(place.fetches()) for place in image.indices) or len(names) > len(set(names)):
        return []
    pairs: list[tuple[str, str]] = []
    for place in image.indices:
        taps, own = place.indices() & set(summed), place.indices() & set(node.indices)
        if taps and own:
            if len(taps) != 1 or len(own) != 1:
                return []
            pairs.append((min(own), min(taps)))
    return pairs if len(pairs) <= DIMENSIONS else []


def _with_places(read: Read, values: Mapping[str, Int]) -> Read:
    return Read(read.tensor, tuple(place.substitute(values) for place in read.indices))


def _place(image: Read, name: str) -> Int:
    (place,) = (place for place in image.indices if name in place.indices())
    return place


def _tiled(node: Equation, image: Read, filter: Read, is_kept: bool) -> Iterable[Tiled]:
    """The ways to compute a convolution, or its gradient by the image."""
    summed, pairs = _ranges(node), _windows(node, image)
    owns, taps = [own for own, _ in pairs], [tap for _, tap in pairs]
    channels, lanes = set(summed) - set(taps), free_indices(filter) & set(node.indices)
    if not pairs or len(channels) != 1 or lanes != {node.indices[-1]} or free_indices(filter) != {*summed, *lanes}:
        return
    if not all(n.is_constant for n in [*summed.values(), *(node.extents[i] for i in (*owns, *lanes))]):
        return
    (channel,), (lane,) = channels, lanes
    if image.indices[-1] != index(channel) or lane in free_indices(image):
        return
    many, wide = summed[channel].constant, node.extents[lane].constant
    outer = tuple((i, n) for i, n in node.extents.items() if i != lane and i not in owns)
    if min(many, wide) < LANES or many > DEEP or any(i not in free_indices(image) for i, _ in outer):
        return
    if not _is_plain(outer):
        return
    for own, tap in pairs:
        extent = summed[tap].constant
        if extent not in TAPS:
            return
        if (_place(image, own) - index(own) + index(tap)).is_constant:  # the other way around
            image, filter = (_with_places(read, {tap: extent - 1 - index(tap)}) for read in (image, filter))
        if not (_place(image, own) - index(own) - index(tap)).is_constant:
            return
    for windows in itertools.product(*(_tiles(node.extents[i].constant, i, t, summed[t].constant) for i, t in pairs)):
        for parts in _panels(wide):
            panels = tuple(Panels(filter, windows, channel, many, lane, *part) for part in parts)
            yield Tiled(image, (), panels, is_kept, outer)


def _panels(lanes: int) -> Iterable[list[tuple[int, int, int]]]:
    """The ways to have lanes in panels: of the lanes from the first on, so many, in such panels."""
    yield [(0, lanes, max(p for p in PANELS if p <= lanes))]
    rest = lanes % LANES
    if 0 < rest <= NARROW:
        whole = lanes - rest
        yield [(0, whole, max(p for p in PANELS if whole % p == 0)), (whole, rest, NARROW)]


def _tiles(extent: int, name: str, tap: str, taps: int) -> Iterable[Window]:
    for outputs in OUTPUTS:
        if outputs <= max(2, extent):
            yield Window(name, extent, tap, outputs, minimal(outputs, taps))


def _correlated(node: Equation, image: Read, other: Read) -> Iterable[Correlated]:
    """The ways to compute the gradient of a convolution by its filter."""
    summed, pairs = _ranges(node), _windows(node, image)
    owns, taps = [own for own, _ in pairs], [tap for _, tap in pairs]
    ours, theirs = (free_indices(read) & set(node.indices) for read in (image, other))
    around = tuple((i, n) for i, n in node.extents.items() if i in ours & theirs)
    both = ours & theirs
    ours, theirs = ours - both - set(owns), theirs - both
    if not pairs or len(ours) != 1 or len(theirs) != 1 or {*ours, *theirs, *owns, *both} != set(node.indices):
        return
    (mine,), (its,) = ours, theirs
    if image.indices[-1] != index(mine) or other.indices[-1] != index(its):
        return
    if not all(n.is_constant for n in [*(node.extents[i] for i in (*owns, mine, its)), *(summed[t] for t in taps)]):
        return
    outer = tuple((i, n) for i, n in summed.items() if i not in taps)
    if not free_indices(image) >= set(summed) <= free_indices(other) or not (_is_plain(outer) and _is_plain(around)):
        return
    for own, tap in pairs:
        if node.extents[own].constant not in TAPS or not (_place(image, own) - index(own) - index(tap)).is_constant:
            return
        if any(any(place.fetches()) for place in other.indices):
            return
        if not (_place(other, tap) - index(tap)).is_constant:
            return
    if min(node.extents[i].constant for i in (mine, its)) < LANES:
        return
    choices = (_parts(summed[tap].constant, tap, own, node.extents[own].constant) for own, tap in pairs)
    for windows in itertools.product(*choices):
        factors = [
            Factor(image, mine, node.extents[mine].constant, tuple(owns), tuple(w.by.image for w in windows)),
            Factor(other, its, node.extents[its].constant, tuple(owns), tuple(w.by.filter for w in windows)),
        ]
        for left, right in itertools.permutations(factors):
            panel = max(p for p in PANELS if p <= right.extent)
            is_along = right.index == node.indices[-1]
            yield Correlated(left, right, panel, windows, outer, around, is_along)


def _parts(extent: int, name: str, own: str, outputs: int) -> Iterable[Window]:
    for step in OUTPUTS:
        yield Window(name, extent, own, step, minimal(outputs, step))


def _is_plain(outer: Places) -> bool:
    """Whether only the first extent may be known at run time alone, and all are those of rectangles."""
    if any(not n.is_constant for _, n in outer[1:]):
        return False
    return not any(any(n.fetches()) or n.indices() for _, n in outer)
