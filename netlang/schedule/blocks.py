"""The nest of a tiled contraction: copies into panels, products of blocks of rows, and the rest of the group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from netlang.graph.constructors import at_least_zero, every, negate
from netlang.graph.expression import TRUE, Condition, Const, Read, Select, Whole
from netlang.graph.integer import ONE, ZERO, Int, index, integer, place_in, product
from netlang.graph.traversal import fresh
from netlang.schedule.choices import chosen
from netlang.schedule.collapse import as_one, substituted
from netlang.schedule.nest import guarded, loop_nest, scalars_and_stores
from netlang.schedule.order import Group
from netlang.schedule.program import (
    LANES,
    NARROW,
    Assign,
    Body,
    Buffer,
    Dot,
    Guard,
    Loop,
    Multiply,
    Pack,
    Problem,
    Share,
    Statement,
    Step,
    Store,
    Tensor,
    Turn,
)
from netlang.schedule.results import result
from netlang.schedule.tiles import tilings
from netlang.schedule.tiling import (
    PAGE,
    ROWS,
    Axis,
    Tiling,
    guess,
    in_panels,
    last_tiled,
    merged,
    moved_into,
    round_up,
)

FAR = 2**18  # elements of a matrix that do not stay in a cache of one core


@dataclass
class Nests:
    """Makes the nests of the groups of one kernel.

    `extents` has every index of the kernel; the tensors that it works in are added to `tensors` and their buffers to
    `scratch`. `before` is what is done once, before all loops over time, and `prepared` what is done only where
    parameters have changed: copies, each with the tensor that it is of. There are none unless it `keeps`. Sums of
    products take the tilings of `choices`, and are noted in `problems`.
    """

    tensors: MutableMapping[str, Tensor]
    stored: Collection[str]
    extents: dict[str, Int]
    scratch: dict[str, Buffer]
    choices: Mapping[str, str]
    keeps: bool = True
    before: Body = ()
    prepared: list[tuple[str, Body]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def nest(self, group: Group) -> Body:
        """The statements of a group, by tiles where that is better."""
        body: Body = ()
        rest: list[Condition] = []  # where the tilings before are not good
        choice = partial(chosen, self.tensors, self.choices, self.problems)
        for tiled in tilings(group, self.tensors, choice, keeps=self.keeps):
            body += guarded(every([*rest, tiled.enough]), _Tiled(self, group, tiled).body())
            rest.append(negate(tiled.enough))
            if tiled.enough == TRUE:
                return body
        return body + guarded(every(rest), loop_nest(group, self.tensors, self.stored))

    def index(self, base: str, extent: Int) -> str:
        """A new index."""
        name = fresh(base, self.extents)
        self.extents[name] = extent
        return name

    def matrix(self, base: str, rows: Int, columns: Int, kind: str = "scratch") -> str:
        """A new tensor to work in."""
        name = fresh(base, self.tensors)
        self.tensors[name] = Tensor(name, name, name, (rows, columns), "real")
        self.scratch[name] = Buffer(name, (rows, columns), "real", kind, slot=name)
        return name


class _Tiled:
    """The nest of one group."""

    def __init__(self, nests: Nests, group: Group, tiled: Tiling) -> None:
        self.result = result(group, tiled, nests.tensors, nests.stored)
        tiled = replace(tiled, is_final=self.result is not None)
        self.nests, self.group, self.tiled = nests, group, tiled
        self.first_lane, self.last_lane = ZERO, tiled.lanes.extent
        name = group.members[0].name
        if tiled.panel:
            turns = product([tiled.chunk, *(step.counts[0] for step in tiled.steps[1:])])
        if tiled.is_of_patches:
            self.panels = nests.matrix(f"{name}.patches", turns, tiled.turn)
        elif tiled.panel and not tiled.is_direct:
            self.panels = self._panels(f"{name}.panels", tiled.pitch, turns)
        if tiled.is_narrow:
            self.narrow = self._panels(f"{name}.narrow", integer(NARROW), turns)
        if tiled.is_copied:
            self.left = nests.matrix(f"{name}.left", turns, round_up(self.strip, LANES))
        if self.result is not None:
            self.sums = fresh(f"{name}.rows", nests.tensors)
            nests.tensors[self.sums] = replace(self.result.matrix, name=self.sums)
            return
        # whole squares of them, so that the last rows can be turned as the others
        rows = tiled.block * (self.gathered if tiled.panel and not tiled.is_deep else ONE)
        self.sums = nests.matrix(f"{name}.sums", round_up(rows, LANES), tiled.pitch)

    def _panels(self, name: str, lanes: Int, turns: Int) -> str:
        """Where lanes of the right factor are copied to: where it is kept, for all loops around."""
        if not self.tiled.is_kept:
            return self.nests.matrix(name, lanes, turns)
        copies = product(extent for _, extent in [*self.tiled.packed, *self.chunks])
        return self.nests.matrix(name, copies * lanes, turns, "kept")

    @cached_property
    def chunks(self) -> list[tuple[str, Int]]:
        """The loop over the chunks of the steps, where they are taken in chunks."""
        tiled = self.tiled
        if not tiled.is_deep:
            return []
        steps, length = tiled.steps[0].counts[0], tiled.chunk.constant
        # of no steps at run time there is one chunk too, which makes the sums zero
        count = (steps + (length - 1)) // length if steps.is_constant else steps // length + 1
        return [(self.nests.index("chunk", count), count)]

    @property
    def strip(self) -> Int:
        """How many rows are copied together."""
        tiled, rows = self.tiled, self.tiled.together
        if not tiled.is_deep:
            return tiled.block
        return rows if rows.is_constant and rows.constant <= ROWS else integer(ROWS)

    @property
    def gathered(self) -> Int:
        """How many turns of loops around it have their sums stored together."""
        return product(extent for _, extent in self.tiled.around) if self.tiled.is_gathered else ONE

    @cached_property
    def turned(self) -> str:
        """The sums of a block of rows, turned: its rows are lanes."""
        tiled = self.tiled
        name, rows = f"{self.group.members[0].name}.turned", tiled.pitch * self.gathered
        return self.nests.matrix(name, rows, round_up(self.height, LANES))

    @property
    def height(self) -> Int:
        """How many rows are turned together."""
        tiled, rows = self.tiled, self.tiled.rows.extent
        if not tiled.is_deep and not tiled.spread:
            return tiled.block
        most = ROWS if self.gathered == ONE else 2 * LANES
        return rows if rows.is_constant and rows.constant <= most else integer(most)

    def body(self) -> Body:
        tiled = self.tiled
        if not tiled.panel:
            return self._loops(tiled.outer, (*self._conditional((self._dot(),), (tiled.rows.extent,)), *self._rows()))
        if tiled.by_lanes and not self._is_turned:
            lanes = tiled.lanes.extent
            first, last = self.nests.index("first", lanes), self.nests.index("last", lanes + 1)
            self.first_lane, self.last_lane = index(first), index(last)
            return (Share(first, last, lanes, tiled.panel, self._by_panels()),)
        return self._by_panels()

    def _by_panels(self) -> Body:
        tiled = self.tiled
        if tiled.is_deep:
            return self._loops(tiled.packed, self._deep())
        inside = self._blocks() if tiled.is_gathered else self._loops(tiled.apart, self._blocks())
        pack = self._packed(ZERO, tiled.steps)
        if not tiled.is_hoisted(self.group):
            return self._loops(tiled.packed, (*pack, *inside))
        self.nests.before += guarded(tiled.enough, pack) if pack else ()
        return inside

    def _loops(self, ranges: Iterable[tuple[str, Int]], inner: Body) -> Body:
        for name, extent in reversed(list(ranges if inner else ())):
            inner = (Loop(name, (ZERO,), (extent,), inner),)
        return inner

    def _blocks(self) -> Body:
        """Block by block of the rows: the sums, then what follows on them."""
        tiled = self.tiled
        if tiled.spread:
            sums = self._summed(ZERO, tiled.steps, ZERO, (tiled.together,))
            return (*sums, *self._loops(tiled.spread, self._rows(place_in(tiled.spread) * tiled.rows.extent)))

        def block(first: Int, stops: tuple[Int, ...], begin: Int) -> Body:
            rows = tuple(stop - first for stop in stops)
            if not tiled.is_gathered:
                return (*self._summed(ZERO, tiled.steps, ZERO, rows, first), *self._rest(first, stops))
            above = place_in(tiled.around) * tiled.block
            sums = self._loops(tiled.around, self._summed(above, tiled.steps, ZERO, rows, first))
            return (*sums, *self._rest(first, stops, above))

        return self._by_blocks(tiled.block, block)

    def _by_blocks(self, height: Int, body: Callable[[Int, tuple[Int, ...], Int], Body]) -> Body:
        """The body for blocks of rows: for the first row, the ends of which the least is that of the block, and the
        first row of the first one.

        Where there are no other loops of which threads could do parts, they share the rows.
        """
        rows, nests = self.tiled.rows.extent, self.nests
        if self.tiled.outer or self.first_lane != ZERO:
            return self._blocks_of(ZERO, rows, height, body)
        start, stop = nests.index("first", rows), nests.index("last", rows)
        return (Share(start, stop, rows, 1, self._blocks_of(index(start), index(stop), height, body)),)

    def _blocks_of(self, start: Int, stop: Int, height: Int, body: Callable[[Int, tuple[Int, ...], Int], Body]) -> Body:
        rows = self.tiled.rows.extent
        if height == rows:
            return body(start, (stop,), start)
        block = self.nests.index("block", (rows + (height - 1)) // height.constant)
        first = start + index(block) * height
        count = (stop - start + (height - 1)) // height.constant
        return self._loops([(block, count)], body(first, (first + height, stop), start))

    def _deep(self) -> Body:
        """Chunk by chunk of the steps, all rows; then what follows on the sums.

        Where there are no loops around, that is done block by block with the last chunk, while the sums are in a cache.
        """
        tiled = self.tiled
        step, *inner = tiled.steps
        length = tiled.chunk
        ((chunk, count),) = self.chunks
        first = index(chunk) * length
        counts = (length, *(n - first for n in step.counts))
        steps = (replace(step, counts=counts), *inner)
        rows = tiled.rows.extent
        above = place_in(tiled.around) * rows
        start = place_in(tiled.apart) * tiled.together
        left = moved(tiled.left, first * step.left)

        def block(row: Int, stops: tuple[Int, ...], above: Int) -> Body:
            here, rows = moved(left, row * tiled.rows.step), tuple(stop - row for stop in stops)
            return self._multiply(row, above, steps, index(chunk), rows, here, first * step.right)

        def unfinished(row: Int, stops: tuple[Int, ...], begin: Int) -> Body:
            return block(row, stops, start + row)

        def finished(row: Int, stops: tuple[Int, ...], begin: Int) -> Body:
            keep, above = self._kept_apart(row, begin, count)
            is_last = at_least_zero(index(chunk) - (count - 1))
            return (*keep, *block(row, stops, above), *guarded(is_last, self._rest(row, stops, above)))

        if not tiled.outer and not tiled.conditions:
            blocks = self._by_blocks(self.strip if tiled.is_copied else tiled.near, finished)
            return self._loops([(chunk, count)], (*self._packed(first * step.right, steps), *blocks))
        if tiled.spread or not tiled.is_copied:
            multiplied = block(ZERO, (tiled.together,), start)
        else:
            multiplied = self._blocks_of(ZERO, rows, self.strip, unfinished)
        inside = (*self._packed(first * step.right, steps), *self._loops(tiled.apart, multiplied))
        sums = self._conditional(self._loops([(chunk, count)], inside), (tiled.block,))
        rest = self._rows(above)
        return (*sums, *(rest if tiled.is_gathered else self._loops(tiled.around, rest)))

    def _kept_apart(self, row: Int, begin: Int, chunks: Int) -> tuple[Body, Int]:
        """The row of sums of a block, of those that start at row `begin`, and what says so.

        All blocks of a part use the same rows where there is one chunk at run time: so these stay in a cache.
        """
        if self.result is not None or chunks.is_constant or row == begin:
            return (), row
        several = self.nests.index("several", integer(2))
        value = Select(at_least_zero(chunks - 2), Whole(ONE), Whole(ZERO))
        return (Assign(several, "int", value),), begin + (row - begin) * index(several)

    def _packed(self, distance: Int, steps: tuple[Step, ...]) -> Body:
        """The copy of the right factor, unless it is read where it is; where it is kept, that is done elsewhere."""
        tiled, lane = self.tiled, self.tiled.lanes.step
        if tiled.is_direct:
            return ()
        if tiled.is_of_patches:
            return self._patches(distance, steps)

        def pack(target: str, panel: int, first: Int, lanes: Int) -> Pack:
            moves = moved_into(panel, [(step.counts, step.right) for step in steps])
            source = moved(tiled.right, distance + first * lane)
            return Pack(target, ZERO, panel, source, (lanes,), lane, moves, at=self._at(target).indices[-1])

        whole = tiled.lanes.extent - tiled.rest
        packs = [pack(self.panels, tiled.panel, ZERO, whole)]
        if tiled.is_narrow:
            packs.append(pack(self.narrow, NARROW, whole, tiled.rest))
        if not tiled.is_kept:
            return tuple(packs)
        around = [*tiled.packed, *self.chunks]
        self.nests.prepared += [(each.source.tensor, self._loops(around, (each,))) for each in packs]
        return ()

    def _patches(self, distance: Int, steps: tuple[Step, ...]) -> Body:
        """The copy of the right factor with the lanes of each turn side by side."""
        lanes, nests = self.tiled.lanes, self.nests
        turns = [(nests.index("turn", step.counts[0]), step.counts[0]) for step in steps]
        places = [(nests.index(name, extent), extent) for name, extent in lanes.ranges]
        moves = [*(step.right for step in steps), *lanes.moves]
        distance = sum((index(name) * move for (name, _), move in zip([*turns, *places], moves, strict=True)), distance)
        body: Body = (Store(self.panels, (place_in(turns), place_in(places)), moved(self.tiled.right, distance)),)
        over_turns = [Loop(name, (ZERO,), step.counts, ()) for (name, _), step in zip(turns, steps, strict=True)]
        over_lanes = [Loop(name, (ZERO,), (extent,), ()) for name, extent in places]
        _, extent = lanes.ranges[0]  # mostly the channels
        if not self.tiled.outer:  # there are no other loops of which threads could do parts
            first, last = nests.index("first", extent), nests.index("last", extent)
            over_lanes[0] = replace(over_lanes[0], starts=(index(first),), stops=(index(last),))
        # of an example, channel by channel: a cache holds each while its patches are copied
        for loop in reversed([*over_turns[:1], *over_lanes[:1], *over_turns[1:], *over_lanes[1:]]):
            body = (replace(loop, body=body),)
        return body if self.tiled.outer else (Share(first, last, extent, 1, body),)

    def _at(self, panels: str) -> Read:
        """The element of the copied factor at which the panels of this turn of the loops around begin."""
        if not self.tiled.is_kept:
            return Read(panels, (ZERO, ZERO))
        rows, columns = self.nests.tensors[panels].shape
        around = [*self.tiled.packed, *self.chunks]
        at = place_in(around) * (rows * columns // product(extent for _, extent in around).constant)
        return Read(panels, (ZERO, at))

    def _summed(
        self, above: Int, steps: tuple[Step, ...], start: Int, rows: tuple[Int, ...], first: Int = ZERO
    ) -> Body:
        left = moved(self.tiled.left, first * self.tiled.rows.step)
        return self._conditional(self._multiply(first, above, steps, start, rows, left), rows)

    def _multiply(
        self,
        first: Int,
        above: Int,
        steps: Sequence[Step],
        start: Int,
        rows: tuple[Int, ...],
        left: Read,
        distance: Int = ZERO,
    ) -> Body:
        """The products of a block of rows from `first` on, with rows of sums `above`; its left factor may be copied.

        The first turn of the steps is at a `distance` in the right factor, where that is read where it is.
        """
        tiled, lanes = self.tiled, self.last_lane - self.first_lane - self.tiled.rest
        row, copied = tiled.rows.step, tuple[Statement, ...]()
        if tiled.is_copied:
            panel = round_up(self.strip, LANES).constant
            moves = moved_into(panel, [(step.counts, step.left) for step in steps])
            below, here = place_in(tiled.spread) * tiled.rows.extent, (tiled.rows.extent,) if tiled.spread else rows
            copied = self._loops(tiled.spread, (Pack(self.left, below, panel, left, here, row, moves),))
            left, row = Read(self.left, (ZERO, ZERO)), ONE
            steps = in_panels(panel, [step.counts for step in steps])
        steps = merged([replace(step, right=step.left) for step in steps])  # the right factor goes on with any step
        right = moved(tiled.right, distance) if tiled.is_direct else self._at(self.panels)
        of_right = (right, tiled.panel, lanes, steps, start)
        to = ZERO
        if (of := self.result) is not None:
            above, to = of.row + first, of.lane + self.first_lane
        height, pitch = map(guess, self.nests.tensors[self.sums].shape)
        is_far = pitch >= PAGE and height * pitch > FAR
        whole = Multiply(self.sums, above, rows, left, row, *of_right, to, self.first_lane, tiled.turn, is_far)
        if not tiled.is_narrow:
            return *copied, whole
        narrow = replace(whole, right=self._at(self.narrow), panel=NARROW, lanes=tiled.rest, to=to + lanes)
        return *copied, whole, narrow

    def _dot(self) -> Dot:
        tiled, rows, lanes = self.tiled, self.tiled.rows, self.tiled.lanes
        return Dot(self.sums, rows.extent, tiled.left, rows.step, tiled.right, lanes.step, lanes.extent, tiled.steps)

    def _conditional(self, body: Body, rows: tuple[Int, ...]) -> Body:
        """The sums where the conditions hold, else zeros."""
        condition = every(self.tiled.conditions)
        if condition == TRUE:
            return body
        row, lane = self.nests.index("row", self.tiled.block), self.nests.index("lane", self.tiled.lanes.extent)
        clear = Store(self.sums, (index(row), index(lane)), Const(0.0))
        inner = Loop(lane, (ZERO,), (self.tiled.lanes.extent,), (clear,))
        return Guard(condition, body), Guard(negate(condition), (Loop(row, (ZERO,), rows, (inner,)),))

    def _rows(self, above: Int = ZERO) -> Body:
        """The group's members on all rows, with rows of sums `above`."""
        if self.result is not None:
            return ()
        height = self.height if self._is_turned or self.tiled.is_gathered else self.tiled.rows.extent
        return self._by_blocks(height, lambda first, stops, begin: self._rest(first, stops, above + first))

    @property
    def _is_turned(self) -> bool:
        """Whether neighbours in a column of the sums are neighbours in memory, and not those in a row."""
        last = last_tiled(self.tiled, self.group)
        return bool(self.tiled.panel) and last != self.tiled.lanes.names[-1:] and last == self.tiled.rows.names[-1:]

    def _rest(self, first: Int, stops: tuple[Int, ...], above: Int = ZERO) -> Body:
        """The group's members on rows `first` to the least of `stops`, for all lanes, with rows of sums `above`."""
        if self.result is not None:
            return ()
        group, tiled = self.group, self.tiled
        reduced = group.members[0]
        row, lane, lanes = place_in(tiled.rows.ranges) - first, place_in(tiled.lanes.ranges), tiled.lanes.extent
        rest = scalars_and_stores(group, group.members[1:], self.nests.tensors, self.nests.stored, reduced)
        together = tiled.around if tiled.is_gathered else []
        if not self._is_turned:
            total = Assign(reduced.name, "real", Read(self.sums, (above + row, lane - self.first_lane)))
            body = self._loops(together, (total, *rest))
            body = self._axis(tiled.lanes, self.first_lane, (self.last_lane,), body)
            return self._axis(tiled.rows, first, stops, body)
        rows = tuple(stop - first for stop in stops)
        to = place_in(together) * tiled.pitch
        total = Assign(reduced.name, "real", Read(self.turned, (to + lane, row)))
        body = self._loops(together, (total, *rest))
        body = self._axis(tiled.lanes, ZERO, (lanes,), self._axis(tiled.rows, first, stops, body))
        return (*self._loops(together, (Turn(self.turned, to, self.sums, above, rows, lanes),)), *body)

    def _axis(self, axis: Axis, start: Int, stops: tuple[Int, ...], body: Body) -> Body:
        """A loop over places of an axis."""
        if not axis.ranges:
            return body
        *outer, last = axis.ranges
        loop = Loop(last[0], (ZERO,), (last[1],), body)
        for each in reversed(outer):
            one = as_one(each, (loop.index, loop.stops[0]), loop.body, self.nests.extents, self.nests.tensors)
            if one is None:
                return self._taken_apart(axis, start, stops, body)
            loop = one
        return (replace(loop, starts=(start,), stops=stops),)

    def _taken_apart(self, axis: Axis, start: Int, stops: tuple[Int, ...], body: Body) -> Body:
        """A loop over places of an axis, the indices computed from them."""
        name = self.nests.index("".join(axis.names), axis.extent)
        rest, values = index(name), dict[str, Int]()
        (outermost, _), *inner = axis.ranges
        for within, extent in reversed(inner):
            values[within], rest = rest % extent.constant, rest // extent.constant
        values[outermost] = rest
        return (Loop(name, (start,), stops, substituted(body, values)),)


def moved(read: Read, distance: Int) -> Read:
    """The element that is so far behind."""
    *rest, last = read.indices
    return Read(read.tensor, (*rest, last + distance))
