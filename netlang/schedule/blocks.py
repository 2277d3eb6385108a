"""The nest of a tiled contraction: copies into panels, products of blocks of rows, and the rest of the group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import dataclass, replace

from netlang.graph.constructors import every, negate
from netlang.graph.expression import TRUE, Const, Read
from netlang.graph.integer import ZERO, Int, index, place_in, product
from netlang.graph.traversal import fresh
from netlang.schedule.collapse import as_one, substituted
from netlang.schedule.nest import loop_nest, scalars_and_stores
from netlang.schedule.order import Group
from netlang.schedule.program import (
    Assign,
    Buffer,
    Guard,
    Loop,
    Multiply,
    Pack,
    Statement,
    Step,
    Store,
    Tensor,
)
from netlang.schedule.tiles import Axis, Tiling, merged, tiling

Body = tuple[Statement, ...]


@dataclass
class Nests:
    """Makes the nests of the groups of one kernel.

    `extents` has every index of the kernel; the tensors that it works in are added to `tensors` and their buffers to
    `scratch`. `before` is what is done once, before all loops over time.
    """

    tensors: MutableMapping[str, Tensor]
    stored: Collection[str]
    extents: dict[str, Int]
    scratch: dict[str, Buffer]
    before: Body = ()

    def nest(self, group: Group) -> Body:
        """The statements of a group, by tiles where that is better."""
        tiled = tiling(group, self.tensors)
        if tiled is None:
            return loop_nest(group, self.tensors, self.stored)
        body = _Tiled(self, group, tiled).body()
        if tiled.enough == TRUE:
            return body
        plain = loop_nest(group, self.tensors, self.stored)
        return Guard(tiled.enough, body), Guard(negate(tiled.enough), plain)

    def index(self, base: str, extent: Int) -> str:
        """A new index."""
        name = fresh(base, self.extents)
        self.extents[name] = extent
        return name

    def matrix(self, base: str, rows: Int, columns: Int) -> str:
        """A new tensor to work in."""
        name = fresh(base, self.tensors)
        self.tensors[name] = Tensor(name, name, name, (rows, columns), "real")
        self.scratch[name] = Buffer(name, (rows, columns), "real", "scratch", slot=name)
        return name


class _Tiled:
    """The nest of one group."""

    def __init__(self, nests: Nests, group: Group, tiled: Tiling) -> None:
        self.nests, self.group, self.tiled = nests, group, tiled
        name = group.members[0].name
        turns = product([tiled.chunk, *(step.counts[0] for step in tiled.steps[1:])])
        self.panels = nests.matrix(f"{name}.panels", tiled.pitch, turns)
        self.sums = nests.matrix(f"{name}.sums", tiled.block, tiled.pitch)

    def body(self) -> Body:
        tiled = self.tiled
        if tiled.is_deep:
            return self._loops(tiled.packed, self._deep())
        inside = self._loops(tiled.around, self._blocks())
        pack = self._pack(ZERO, tiled.steps)
        if not tiled.is_hoisted(self.group):
            return self._loops(tiled.packed, (pack, *inside))
        self.nests.before += (pack,) if tiled.enough == TRUE else (Guard(tiled.enough, (pack,)),)
        return inside

    def _loops(self, ranges: Iterable[tuple[str, Int]], inner: Body) -> Body:
        for name, extent in reversed(list(ranges)):
            inner = (Loop(name, (ZERO,), (extent,), inner),)
        return inner

    def _blocks(self) -> Body:
        """Block by block of the rows: the sums, then what follows on them."""
        tiled = self.tiled
        rows, height = tiled.rows.extent, tiled.block
        if height == rows:
            return (*self._summed(ZERO, tiled.steps, ZERO, (rows,)), *self._rest(ZERO, (rows,)))
        count = (rows + (height - 1)) // height.constant
        block = self.nests.index("block", count)
        first = index(block) * height
        inside = (
            *self._summed(first, tiled.steps, ZERO, (height, rows - first)),
            *self._rest(first, (first + height, rows)),
        )
        return self._loops([(block, count)], inside)

    def _deep(self) -> Body:
        """Chunk by chunk of the steps, all rows; then what follows on the sums."""
        tiled = self.tiled
        step, *inner = tiled.steps
        length = tiled.chunk
        count = (step.counts[0] + (length - 1)) // length.constant
        chunk = self.nests.index("chunk", count)
        first = index(chunk) * length
        counts = (length, *(n - first for n in step.counts))
        steps = (replace(step, counts=counts), *inner)
        rows = tiled.rows.extent
        above = place_in(tiled.around) * rows
        multiply = self._multiply(above, steps, index(chunk), (rows,), _moved(tiled.left, first * step.left))
        inside = (self._pack(first * step.right, steps), *self._loops(tiled.around, (multiply,)))
        sums = self._conditional(self._loops([(chunk, count)], inside), (tiled.block,))
        return (*sums, *self._loops(tiled.around, self._rest(ZERO, (rows,), above)))

    def _pack(self, distance: Int, steps: tuple[Step, ...]) -> Pack:
        lanes = self.tiled.lanes
        steps = merged([replace(step, left=step.right) for step in steps])  # the left factor takes no part in it
        return Pack(self.panels, _moved(self.tiled.right, distance), lanes.extent, lanes.step, steps)

    def _summed(self, first: Int, steps: tuple[Step, ...], start: Int, rows: tuple[Int, ...]) -> Body:
        left = _moved(self.tiled.left, first * self.tiled.rows.step)
        return self._conditional((self._multiply(ZERO, steps, start, rows, left),), rows)

    def _multiply(self, first: Int, steps: tuple[Step, ...], start: Int, rows: tuple[Int, ...], left: Read) -> Multiply:
        tiled = self.tiled
        return Multiply(self.sums, first, rows, left, tiled.rows.step, self.panels, tiled.lanes.extent, steps, start)

    def _conditional(self, body: Body, rows: tuple[Int, ...]) -> Body:
        """The sums where the conditions hold, else zeros."""
        condition = every(self.tiled.conditions)
        if condition == TRUE:
            return body
        row, lane = self.nests.index("row", self.tiled.block), self.nests.index("lane", self.tiled.lanes.extent)
        clear = Store(self.sums, (index(row), index(lane)), Const(0.0))
        inner = Loop(lane, (ZERO,), (self.tiled.lanes.extent,), (clear,))
        return Guard(condition, body), Guard(negate(condition), (Loop(row, (ZERO,), rows, (inner,)),))

    def _rest(self, first: Int, stops: tuple[Int, ...], above: Int = ZERO) -> Body:
        """The group's members on rows `first` to the least of `stops`, for all lanes, with rows of sums `above`."""
        group, tiled = self.group, self.tiled
        reduced = group.members[0]
        place = (above + place_in(tiled.rows.ranges) - first, place_in(tiled.lanes.ranges))
        rest = scalars_and_stores(group, group.members[1:], self.nests.tensors, self.nests.stored, reduced)
        body: Body = (Assign(reduced.name, "real", Read(self.sums, place)), *rest)
        turned = group.indices[-1:] != tiled.lanes.names[-1:] and group.indices[-1:] == tiled.rows.names[-1:]
        if turned:
            return self._axis(tiled.lanes, ZERO, (tiled.lanes.extent,), self._axis(tiled.rows, first, stops, body))
        return self._axis(tiled.rows, first, stops, self._axis(tiled.lanes, ZERO, (tiled.lanes.extent,), body))

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


def _moved(read: Read, distance: Int) -> Read:
    """The element that is so far behind."""
    *rest, last = read.indices
    return Read(read.tensor, (*rest, last + distance))
