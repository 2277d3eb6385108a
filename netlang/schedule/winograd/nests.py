"""The nests of sums over windows by fewer products.

Of a convolution, tiles are worked on in blocks: the image's are transformed, then come their products with the filter,
and the sums of these. Where the filter is small, each thread does blocks of its own, of which the transformed image and
the products stay in its cache; where it is large, blocks are large, and threads share each of the parts.

Of the gradient by a filter, some chunks of tiles are worked on after others: threads share the tiles of one factor,
which are transformed, then strips of the channels of the other one, which are multiplied with them. Where there are few
strips, and so few products that there is room for more than one sum of each, threads share parts of all tiles instead:
what one transforms, no other one reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from netlang.graph.constructors import at_least_zero
from netlang.graph.expression import Read, Whole
from netlang.graph.integer import ONE, ZERO, Int, index, integer, product
from netlang.graph.traversal import substitute
from netlang.schedule.blocks import Nests
from netlang.schedule.collapse import substituted
from netlang.schedule.nest import scalars_and_stores
from netlang.schedule.order import Group
from netlang.schedule.program import (
    LANES,
    SUMS,
    Assign,
    Body,
    Guard,
    Loop,
    Multiply,
    Share,
    Statement,
    Step,
    Store,
    Transform,
)
from netlang.schedule.tiling import round_up
from netlang.schedule.winograd.interpolation import Matrix
from netlang.schedule.winograd.plans import STRIP, Correlated, Panels, Places, Plan, Tiled, Window, places

CACHE = 2**17  # elements of tiles and products that stay in a cache of one thread
SMALL = 2**20  # of a filter that is read again for every such block
TOGETHER = 2**21  # of tiles and products that stay in the cache of all threads
CHUNK = 64  # tiles over which is summed at a time
GROUP = 2**19  # elements of transformed tiles of the right factor that stay in the cache of all threads
PARTS = 8  # of all tiles, each with sums of its own
SUMMED = 2**21  # elements of such sums
APART = 1  # rows between places: at distances of powers of two they would compete for few lines of a cache
LONG = CHUNK + APART


def nest(nests: Nests, group: Group, plan: Plan) -> Body:
    """The statements of a group that begins with such a sum."""
    match plan:
        case Tiled():
            return _Tiled(nests, group, plan).body()
        case Correlated():
            return _Correlated(nests, group, plan).body()
        case Panels():
            return _Panels(nests, group, plan).body()


class _Nest:
    """What the nests have in common."""

    def __init__(self, nests: Nests, group: Group, windows: Sequence[Window]) -> None:
        self.nests, self.group, self.windows = nests, group, windows
        self.name, self.places = group.members[0].name, places(windows)

    def _shared(self, extent: Int, body: Callable[[Int, tuple[Int, ...]], Body]) -> Body:
        """A loop of which threads share the turns."""
        first, last = self.nests.index("first", extent), self.nests.index("last", extent)
        return (Share(first, last, extent, 1, body(index(first), (index(last),))),)

    def _tile(self, rows: Places, number: Int) -> tuple[Body, dict[str, Int]]:
        """Names for the indices of a tile."""
        values: dict[str, Int] = {}
        out: list[Statement] = []
        (outermost, _), *inner = rows
        for name, extent in reversed(inner):
            values[name], number = number % extent.constant, number // extent.constant
        values[outermost] = number
        for name, extent in rows:
            own = self.nests.index(name, extent)
            out.append(Assign(own, "int", Whole(values[name])))
            values[name] = index(own)
        return tuple(out), values

    def _transform(
        self,
        read: Read,
        taps: Sequence[str],
        matrices: Sequence[Matrix],
        known: dict[str, Int],
        lane: tuple[str, tuple[Int, ...]],
        target: tuple[str, tuple[Int, ...], Int],
    ) -> Transform:
        """What a read is at the places of a tile, transformed: for some lanes, to a place, the next ones far apart."""
        tensor, (name, lanes), (to, first, apart) = self.nests.tensors[read.tensor], lane, target
        here = dict.fromkeys((*taps, name), ZERO) | known

        def at(**other: Int) -> Read:
            found = substitute(read, here | other)
            assert isinstance(found, Read)
            return found

        start = tensor.place(at().indices)

        def move(index: str) -> Int:
            return tensor.place(at(**{index: here[index] + ONE}).indices) - start

        sizes = tuple((len(matrix), len(matrix[0])) for matrix in matrices)
        return Transform(to, first, apart, at(), tuple(map(move, taps)), move(name), lanes, sizes)

    def _results(self, products: str, row: Callable[[int], Int], lanes: int) -> tuple[str, Transform]:
        """The results from the products of one tile, and of each lane, in the rows of a matrix."""
        pitch = self.nests.tensors[products].shape[1]
        results = self.nests.matrix(
            f"{self.name}.results", integer(math.prod(w.by.outputs for w in self.windows)), pitch
        )
        places = [w.by.places for w in self.windows]
        moves = tuple((row(math.prod(places[k + 1 :])) - row(0)) * pitch for k in range(len(places)))
        sizes = tuple((w.by.outputs, w.by.places) for w in self.windows)
        source = Read(products, (row(0), ZERO))
        return results, Transform(results, (ZERO, ZERO), pitch, source, moves, ONE, (integer(lanes),), sizes)

    def _rest(self, results: str, at: Int, lane: str, lanes: int, known: dict[str, Int]) -> Body:
        """What follows on the results."""
        reduced = self.group.members[0]
        rest = scalars_and_stores(self.group, self.group.members[1:], self.nests.tensors, self.nests.stored, reduced)
        own = self.nests.index(lane, integer(lanes))
        total = Assign(reduced.name, "real", Read(results, (at, index(own))))
        body = (total, *substituted(rest, known | {lane: index(own)}))
        return (Loop(own, (ZERO,), (integer(lanes),), body),)


class _Tiled(_Nest):
    def __init__(self, nests: Nests, group: Group, plan: Tiled) -> None:
        super().__init__(nests, group, plan.windows)
        self.plan = plan
        self.rows = product(extent for _, extent in plan.rows)
        self.is_own, self.block = self._block()
        height = self.places * (self.block + APART)
        self.tiles = nests.matrix(f"{self.name}.tiles", height, round_up(integer(plan.channels), LANES))
        self.products = nests.matrix(f"{self.name}.products", height, integer(plan.pitch))

    def _block(self) -> tuple[bool, Int]:
        """Whether each thread has blocks of its own, and how many tiles are in a block."""
        plan, height = self.plan, SUMS * LANES // self.plan.panels[0].panel
        each = self.places * (plan.channels + plan.pitch)
        if each * height > CACHE:
            height //= 2  # a lower register tile rather than what does not stay in the cache
        many = height * max(1, CACHE // (each * height))
        is_own = plan.elements <= SMALL and not (self.rows.is_constant and self.rows.constant < 4 * many)
        if not is_own:
            many = height * max(4, TOGETHER // (each * height))
        return is_own, self.rows if self.rows.is_constant and self.rows.constant <= many else integer(many)

    def body(self) -> Body:
        rows, block = self.rows, self.block
        if block == rows:
            return self._parts(ZERO)
        count = (rows + (block - 1)) // block.constant
        number = self.nests.index("block", count)
        inner = self._parts(index(number) * block)
        if not self.is_own:
            return (Loop(number, (ZERO,), (count,), inner),)
        return self._shared(count, lambda first, ends: (Loop(number, (first,), ends, inner),))

    def _parts(self, start: Int) -> Body:
        """What is done for the tiles from `start` on."""

        def of_rows(body: Callable[[Int], Body]) -> Body:
            row = self.nests.index("row", self.block)
            inner = body(index(row))
            return self._each(self.block, lambda first, ends: (Loop(row, (first,), (*ends, self.rows - start), inner),))

        plan, part = self.plan, self.nests.index("part", integer(self.places))
        above = index(part) * (self.block + APART)

        def multiply(filter: str, panels: Panels) -> Multiply:
            return Multiply(
                target=self.products,
                first=above,
                rows=(self.block, self.rows - start)[: 1 if self.block == self.rows else 2],
                left=Read(self.tiles, (above, ZERO)),
                row=self.nests.tensors[self.tiles].shape[1],
                right=Read(filter, (ZERO, index(part) * (panels.channels * panels.pitch))),
                panel=panels.panel,
                lanes=integer(panels.lanes),
                steps=(Step((integer(panels.channels),), ONE, ONE),),
                start=ZERO,
                to=integer(panels.first),
            )

        each = tuple(map(multiply, plan.filters, plan.panels))
        products = self._each(integer(self.places), lambda first, ends: (Loop(part, (first,), ends, each),))
        return (
            *of_rows(lambda row: self._image(start, row)),
            *products,
            *of_rows(lambda row: self._sums(start, row)),
        )

    def _each(self, extent: Int, body: Callable[[Int, tuple[Int, ...]], Body]) -> Body:
        """A loop of which threads share the turns, unless each has blocks of its own."""
        return body(ZERO, (extent,)) if self.is_own else self._shared(extent, body)

    def _image(self, start: Int, row: Int) -> Body:
        """The transformed tile of each channel."""
        plan, channels = self.plan, (self.plan.panels[0].channel, (integer(self.plan.channels),))
        names, tile = self._tile(plan.rows, start + row)
        taps, matrices = [w.tap for w in self.windows], [w.by.image for w in self.windows]
        target = self.tiles, (row, ZERO), (self.block + APART) * self.nests.tensors[self.tiles].shape[1]
        return (*names, self._transform(plan.image, taps, matrices, tile, channels, target))

    def _sums(self, start: Int, row: Int) -> Body:
        """The results of a tile, of each lane, and what follows on them."""
        lane, lanes = self.plan.panels[0].lane, self.plan.lanes
        results, transform = self._results(self.products, lambda place: place * (self.block + APART) + row, lanes)
        names, tile = self._tile(self.plan.rows, start + row)
        at, known = ZERO, dict(tile)
        loops: list[tuple[str, tuple[Int, ...]]] = []
        for w in self.windows:
            name = self.nests.index(f"{w.index}_", integer(w.step))
            first = tile[w.index] * w.step
            at, known[w.index] = at * w.step + index(name), first + index(name)
            loops.append((name, (integer(w.step), w.extent - first)[: 1 if w.extent % w.step == 0 else 2]))
        rest = self._rest(results, at, lane, lanes, known)
        for name, stops in reversed(loops):
            rest = (Loop(name, (ZERO,), stops, rest),)
        return (*names, transform, *rest)


class _Correlated(_Nest):
    def __init__(self, nests: Nests, group: Group, plan: Correlated) -> None:
        super().__init__(nests, group, plan.windows)
        self.plan = plan
        self.rows = product(extent for _, extent in plan.rows)
        self.panels, self.strips = plan.pitch // plan.panel, -(-plan.left.extent // plan.strip)
        self.chunks = (self.rows + (CHUNK - 1)) // CHUNK
        self.wide = plan.strip + APART
        self.high = self.places * self.wide  # rows of products of a strip
        rows = self.strips * self.high
        self.parts = PARTS if not plan.around and PARTS * rows * plan.pitch <= SUMMED else 1
        self.products = nests.matrix(f"{self.name}.products", integer(self.parts * rows), integer(plan.pitch))
        self.together = 1 if self.parts > 1 else max(1, GROUP // (self.places * LONG * plan.pitch))
        if self.chunks.is_constant:
            self.together = min(self.together, self.chunks.constant)
        rows = self.places * self.panels * self.together
        self.right = nests.matrix(f"{self.name}.right", integer(rows), integer(LONG * plan.panel))
        self.left = nests.matrix(f"{self.name}.left", integer(self.places * LONG), integer(STRIP))
        self.around = {name: self.nests.index(name, extent) for name, extent in plan.around}
        self.known = {name: index(own) for name, own in self.around.items()}

    def body(self) -> Body:
        return self._in_parts() if self.parts > 1 else self._in_groups()

    def _in_groups(self) -> Body:
        """Some chunks after others; of each the right factor, then all strips; at last the results of each strip."""
        plan, strips = self.plan, integer(self.strips)
        count = (self.chunks + (self.together - 1)) // self.together
        group = self.nests.index("group", count)
        before = index(group) * self.together
        rows, chunk = integer(self.together * CHUNK), self.nests.index("chunk", integer(self.together))
        row, strip, last = (self.nests.index(*each) for each in (("row", rows), ("strip", strips), ("strip", strips)))

        def right(first: Int, ends: tuple[Int, ...]) -> Body:
            inner = self._right(before * CHUNK + index(row), index(row) // CHUNK, index(row) % CHUNK)
            return (Loop(row, (first,), (*ends, self.rows - before * CHUNK), inner),)

        def products(first: Int, ends: tuple[Int, ...]) -> Body:
            number = before + index(chunk)
            rows = integer(CHUNK), self.rows - number * CHUNK
            inner = self._strip(number * CHUNK, rows, index(chunk), index(strip), index(strip) * self.high, number)
            over_chunks = Loop(chunk, (ZERO,), (integer(self.together), self.chunks - before), inner)
            return (Loop(strip, (first,), ends, (over_chunks,)),)

        def results(first: Int, ends: tuple[Int, ...]) -> Body:
            return (Loop(last, (first,), ends, self._sums(index(last))),)

        def each(extent: Int, body: Callable[[Int, tuple[Int, ...]], Body]) -> Body:
            return body(ZERO, (extent,)) if plan.around else self._shared(extent, body)

        inner = (*each(rows, right), *each(strips, products))
        whole: Body = (Loop(group, (ZERO,), (count,), inner), *each(strips, results))
        if not plan.around:
            return whole
        (name, many), *others = plan.around
        for other, extent in reversed(others):
            whole = (Loop(self.around[other], (ZERO,), (extent,), whole),)
        return self._shared(many, lambda first, ends: (Loop(self.around[name], (first,), ends, whole),))

    def _in_parts(self) -> Body:
        """Part by part of the tiles, with sums of its own; then strip by strip these sums, and the results."""
        strips, parts = integer(self.strips), integer(self.parts)
        each = (self.rows + (self.parts - 1)) // self.parts  # tiles of a part; the last parts may have none
        part, chunk = self.nests.index("part", parts), self.nests.index("chunk", (each + (CHUNK - 1)) // CHUNK)
        row, strip = self.nests.index("row", integer(CHUNK)), self.nests.index("strip", strips)
        last = self.nests.index("strip", strips)
        begin, before = index(part) * each, index(chunk) * CHUNK
        first, left = begin + before, self.rows - begin
        rows = integer(CHUNK), each - before, left - before
        above = (index(part) * self.strips + index(strip)) * self.high
        right = self._right(first + index(row), ZERO, index(row))
        products = self._strip(first, rows, ZERO, index(strip), above, index(chunk))
        of_chunk = (Loop(row, (ZERO,), rows, right), Loop(strip, (ZERO,), (strips,), products))
        chunks = tuple((tiles + (CHUNK - 1)) // CHUNK for tiles in (each, left))
        of_part = (Loop(chunk, (ZERO,), chunks, of_chunk),)
        of_strip = (*self._added(index(last), each), *self._sums(index(last)))
        return (
            *self._shared(parts, lambda begin, ends: (Loop(part, (begin,), ends, of_part),)),
            *self._shared(strips, lambda begin, ends: (Loop(last, (begin,), ends, of_strip),)),
        )

    def _added(self, strip: Int, each: Int) -> Body:
        """The sums of the other parts added to those of the first one, where they have some of the tiles."""
        part, place = self.nests.index("part", integer(self.parts)), self.nests.index("place", integer(self.places))
        channel = self.nests.index(self.plan.left.index, integer(self.plan.strip))
        lane = self.nests.index("lane", integer(self.plan.pitch))
        here = strip * self.high + index(place) * self.wide + index(channel)
        other = Read(self.products, (index(part) * (self.strips * self.high) + here, index(lane)))
        add: Body = (Store(self.products, (here, index(lane)), other, "sum"),)
        _, channels = self._channels(strip)
        for name, stops in (
            (lane, (integer(self.plan.pitch),)),
            (channel, channels),
            (place, (integer(self.places),)),
        ):
            add = (Loop(name, (ZERO,), stops, add),)
        has_some = at_least_zero(self.rows - 1 - index(part) * each)
        return (Loop(part, (ONE,), (integer(self.parts),), (Guard(has_some, add),)),)

    def _right(self, number: Int, chunk: Int, row: Int) -> Body:
        """A tile of the right factor, transformed, in panels: its row of those of a chunk."""
        plan, factor = self.plan, self.plan.right
        names, tile = self._tile(plan.rows, number)

        def some(panel: Int, lanes: int) -> Body:
            known = self.known | tile | {factor.index: panel * plan.panel}
            to = chunk * (self.places * self.panels) + panel, row * plan.panel
            target = self.right, to, integer(self.panels * LONG * plan.panel)
            return (self._transform(*factor.transform, known, (factor.index, (integer(lanes),)), target),)

        return (*names, *self._by_panels(some))

    def _by_panels(self, body: Callable[[Int, int], Body]) -> Body:
        """The body for each panel: its number, and how many lanes it has."""
        plan = self.plan
        whole, rest = divmod(plan.right.extent, plan.panel)
        panel = self.nests.index("panel", integer(self.panels))
        return (
            Loop(panel, (ZERO,), (integer(whole),), body(index(panel), plan.panel)),
            *(body(integer(whole), rest) if rest else ()),
        )

    def _channels(self, strip: Int) -> tuple[Int, tuple[Int, ...]]:
        """The first channel of a strip, and how many there are."""
        most, extent = self.plan.strip, self.plan.left.extent
        first = strip * most
        return first, (integer(most), extent - first)[: 1 if extent % most == 0 else 2]

    def _strip(self, tile: Int, rows: tuple[Int, ...], chunk: Int, strip: Int, above: Int, start: Int) -> Body:
        """The products of some channels of the left factor and all of the right one, for the chunk from a tile on.

        They go to the rows from `above` on, and are added to what is there where `start` is not 0. The right factor's
        tiles are those of a `chunk` there.
        """
        plan, factor = self.plan, self.plan.left
        first, channels = self._channels(strip)
        row = self.nests.index("row", integer(CHUNK))
        names, places = self._tile(plan.rows, tile + index(row))
        known = self.known | places | {factor.index: first}
        target = self.left, (index(row), ZERO), integer(LONG * STRIP)
        transform = self._transform(*factor.transform, known, (factor.index, channels), target)
        place = self.nests.index("place", integer(self.places))

        def multiply(panel: Int, lanes: int) -> Body:
            at = ((chunk * self.places + index(place)) * self.panels + panel) * (LONG * plan.panel)
            each = Multiply(
                target=self.products,
                first=above + index(place) * self.wide,
                rows=channels,
                left=Read(self.left, (index(place) * LONG, ZERO)),
                row=ONE,
                right=Read(self.right, (ZERO, at)),
                panel=plan.panel,
                lanes=integer(lanes),
                steps=(Step(rows, integer(STRIP), integer(STRIP)),),
                start=start,
                to=panel * plan.panel,
            )
            return (each,)

        return (
            Loop(row, (ZERO,), rows, (*names, transform)),
            Loop(place, (ZERO,), (integer(self.places),), self._by_panels(multiply)),
        )

    def _sums(self, strip: Int) -> Body:
        """The results of a strip, and what follows on them."""
        plan, lane, lanes = self.plan, self.plan.right.index, self.plan.right.extent
        first, channels = self._channels(strip)
        channel = self.nests.index(plan.left.index, integer(plan.strip))
        above = strip * self.high + index(channel)
        results, transform = self._results(self.products, lambda place: place * self.wide + above, lanes)
        known = self.known | {plan.left.index: first + index(channel)}
        at = ZERO
        for w in self.windows:
            own = self.nests.index(w.tap, integer(w.by.outputs))
            at, known[w.tap] = at * w.by.outputs + index(own), index(own)
        rest = self._rest(results, at, lane, lanes, known)
        for w in reversed(self.windows):
            (own,) = known[w.tap].indices()
            rest = (Loop(own, (ZERO,), (integer(w.by.outputs),), rest),)
        return (Loop(channel, (ZERO,), channels, (transform, *rest)),)


class _Panels(_Nest):
    def __init__(self, nests: Nests, group: Group, plan: Panels) -> None:
        super().__init__(nests, group, plan.windows)
        self.plan = plan

    def body(self) -> Body:
        """All places of each channel and each lane, which are as independent as can be."""
        plan = self.plan
        panels = plan.pitch // plan.panel
        channel, panel = (
            self.nests.index(i, integer(n)) for i, n in ((plan.channel, plan.channels), ("panel", panels))
        )
        taps, matrices = [w.tap for w in self.windows], [w.by.filter for w in self.windows]
        first = index(panel) * plan.panel
        lanes = plan.lane, (integer(plan.panel), plan.lanes - first)[: 1 if plan.pitch == plan.lanes else 2]
        to = (*[ZERO] * len(taps), index(panel), index(channel), ZERO)
        target = self.name, to, integer(plan.channels * plan.pitch)
        known = {plan.channel: index(channel), plan.lane: plan.first + first}
        body = (self._transform(plan.filter, taps, matrices, known, lanes, target),)
        inner = (Loop(panel, (ZERO,), (integer(panels),), body),)
        return self._shared(integer(plan.channels), lambda first, ends: (Loop(channel, (first,), ends, inner),))
