"""How a sum over windows is computed by fewer products: its tiles, its factors, and what they cost.

A sum `y[b, i, j, k] = sum(m, p, q) x[b, i + p, j + q, m] * W[k, m, p, q]` becomes, for tiles of its results,

    tiles[s, t, b, i, j, m]    = sum(p, q) B[s, p] * B[t, q] * x[b, 4*i + p, 4*j + q, m]
    products[s, t, b, i, j, k] = sum(m) tiles[s, t, b, i, j, m] * U[s, t, m, k]
    y[b, i, j, k]              = sum(s, t) A[i % 4, s] * A[j % 4, t] * products[s, t, b, i // 4, j // 4, k]

where U depends on W alone: with tiles of 4 x 4 and windows of 3 x 3 these are 36 products for 16 results instead of 144
(Lavin and Gray, Fast algorithms for convolutional neural networks, 2016). The gradient by the filter is a sum over
windows too, `dW[k, p, q, m] = sum(b, i, j) x[b, i + p, j + q, m] * dy[b, i, j, k]`: its results are the 3 x 3 places of
the filter, and its windows are tiles of `dy`,

    products[s, t, k, m] = sum(b, i, j) D[s, t, b, i, j, k] * tiles[s, t, b, i, j, m]
    dW[k, p, q, m]       = sum(s, t) A[p, s] * A[q, t] * products[s, t, k, m]

where D are transformed tiles of `dy` as U is a transformed filter. `minimal` has the matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from netlang.graph.expression import Read
from netlang.graph.integer import Int, integer
from netlang.schedule.program import LANES
from netlang.schedule.tiling import guess
from netlang.schedule.winograd.interpolation import Matrix, Minimal

BANDWIDTH = 5  # bytes that come from memory in a cycle
WIDENED = 1.5  # what a product costs of which a vector has several turns
MOVED = 0.4  # cycles for an element of the tiles or the products, to compute, to store and to load it
SCATTERED = 2.0  # cycles for a result whose neighbours among the lanes are not side by side
FILTERED = 2.0  # cycles for an element of a transformed filter
STRIP = 16  # channels of the left factor of a gradient, of which one thread has all sums, at most
BATCH = 16  # examples that a step of training is taken to have at least
GAIN = 0.9  # how many of the cycles of the plain sum it may take

Places = tuple[tuple[str, Int], ...]


@dataclass(frozen=True)
class Window:
    """A dimension of the image, `index + tap`: of the values of `index` some are taken together, as a tile.

    These are results of a convolution, or what is summed in the gradient by its filter; `step` is how many.
    """

    index: str
    extent: int
    tap: str
    step: int
    by: Minimal

    @property
    def tiles(self) -> int:
        return -(-self.extent // self.step)


@dataclass(frozen=True)
class Panels:
    """A transformed filter, for each place of a tile in panels of `panel` lanes: U above.

    These are `lanes` of its lanes, from `first` on. `inner` are the nodes that are never in memory: the matrices that
    transform it.
    """

    filter: Read
    windows: tuple[Window, ...]
    channel: str
    channels: int
    lane: str
    first: int
    lanes: int
    panel: int
    inner: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[Read, ...]:
        return (self.filter,)

    @property
    def pitch(self) -> int:
        """The lanes of full panels."""
        return -(-self.lanes // self.panel) * self.panel

    @property
    def elements(self) -> int:
        return places(self.windows) * self.channels * self.pitch

    @property
    def vectors(self) -> float:
        """How many vectors of products there are for a row and a channel."""
        return self.pitch / LANES if self.panel >= LANES else WIDENED * self.pitch / LANES


@dataclass(frozen=True)
class Tiled:
    """A sum over windows by fewer products.

    `image` is the read of the image at a place of a tile, where taps are places; `filters` are the names of the parts
    of the transformed filter, and `panels` how they are computed, in each run unless it `is_kept`. `outer` are the
    other indices of image and result. `inner` are the nodes that are never in memory as such: the transformed tiles,
    the products, and their matrices.
    """

    image: Read
    filters: tuple[str, ...]
    panels: tuple[Panels, ...]
    is_kept: bool
    outer: Places
    tiles: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[Read, ...]:
        return self.image, *(Read(name, ()) for name in self.filters)

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.panels[0].windows

    @property
    def channels(self) -> int:
        return self.panels[0].channels

    @property
    def lanes(self) -> int:
        return sum(p.lanes for p in self.panels)

    @property
    def pitch(self) -> int:
        """The lanes of full panels, and of full vectors."""
        last = self.panels[-1]
        return -(-(last.first + last.pitch) // LANES) * LANES

    @property
    def elements(self) -> int:
        """Of the transformed filter."""
        return sum(p.elements for p in self.panels)

    @property
    def vectors(self) -> float:
        """How many vectors of products there are for a row and a channel."""
        return sum(p.vectors for p in self.panels)

    @property
    def rows(self) -> Places:
        """All indices of tiles."""
        return _rows(self.outer, self.windows)

    @property
    def cycles(self) -> float:
        """With what comes from memory; where the filter is kept, for as few results as there may be."""
        count = _count(self.outer, 1 if self.is_kept else BATCH) * math.prod(w.tiles for w in self.windows)
        turns = places(self.windows) * self.channels * self.vectors / 2
        moved = MOVED * places(self.windows) * count * (self.channels + self.pitch)
        filter = 0 if self.is_kept else FILTERED * self.elements
        return turns * max(count, 4) + 4 * self.elements / BANDWIDTH + moved + filter

    @property
    def direct(self) -> float:
        """The cycles of the plain sum."""
        results = _count(self.outer, 1 if self.is_kept else BATCH) * math.prod(w.extent for w in self.windows)
        terms = self.channels * math.prod(w.by.taps for w in self.windows)
        return terms * (self.vectors * max(results, 4) / 2 + 4 * self.pitch / BANDWIDTH)


@dataclass(frozen=True)
class Factor:
    """A factor of a gradient by a filter: the read at a place of a tile, and the index that no other factor has.

    `taps` are the indices of the places of a tile in it, `matrices` what transforms each of them.
    """

    read: Read
    index: str
    extent: int
    taps: tuple[str, ...]
    matrices: tuple[Matrix, ...]

    @property
    def transform(self) -> tuple[Read, tuple[str, ...], tuple[Matrix, ...]]:
        """What is transformed, along what, and with what."""
        return self.read, self.taps, self.matrices


@dataclass(frozen=True)
class Correlated:
    """The gradient by a filter, or another sum over windows that are as large as the image, by fewer products.

    `left` and `right` are its factors, the lanes are of the right one. `outer` are the other indices that are summed,
    `around` the indices of factors and results. Whether the results of lanes lie side by side says `is_along`.
    """

    left: Factor
    right: Factor
    panel: int
    windows: tuple[Window, ...]
    outer: Places
    around: Places
    is_along: bool = True
    tiles: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[Read, ...]:
        return self.left.read, self.right.read

    @property
    def strip(self) -> int:
        """Channels of the left factor of which one thread has all sums: as equal parts as can be."""
        strips = -(-self.left.extent // STRIP)
        return -(-self.left.extent // strips)

    @property
    def rows(self) -> Places:
        """All indices of tiles, over which is summed."""
        return _rows(self.outer, self.windows)

    @property
    def pitch(self) -> int:
        """The lanes of full panels."""
        return -(-self.right.extent // self.panel) * self.panel

    @property
    def cycles(self) -> float:
        count = _count(self.outer) * math.prod(w.tiles for w in self.windows)
        results = self.left.extent * self.pitch
        moved = MOVED * (count * (self.left.extent + self.pitch) + results)
        stored = 0 if self.is_along else SCATTERED * results * math.prod(w.by.outputs for w in self.windows)
        return _count(self.around) * (places(self.windows) * (count * results / (2 * LANES) + moved) + stored)

    @property
    def direct(self) -> float:
        """The cycles of the plain sum."""
        terms = _count(self.around) * _count(self.outer) * math.prod(w.extent * w.by.outputs for w in self.windows)
        return terms * self.left.extent * self.pitch / (2 * LANES)


Plan = Tiled | Correlated | Panels


def places(windows: Iterable[Window]) -> int:
    """The places of a tile."""
    return math.prod(w.by.places for w in windows)


def _rows(outer: Places, windows: Iterable[Window]) -> Places:
    """All indices of tiles."""
    return (*outer, *((w.index, integer(w.tiles)) for w in windows))


def _count(outer: Places, typical: int = BATCH) -> int:
    return math.prod(guess(extent, typical) for _, extent in outer)
