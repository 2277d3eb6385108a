"""Sums of products by register tiles: which indices are rows, lanes and steps, and the nest around `Multiply`.

A contraction `C[outer, rows, lanes] = sum(steps) left[outer, rows, steps] * right[outer, lanes, steps]` is recognised
by its index structure alone. The right factor is copied into panels of lanes (`Pack`), products of blocks of rows go
into a scratch matrix, and the rest of the group follows on it, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netlang.graph.constructors import at_least_zero, every
from netlang.graph.expression import TRUE, Condition, Read
from netlang.graph.integer import ONE, ZERO, Index, Int, Size, index, integer, is_nonnegative, product
from netlang.graph.traversal import free_indices
from netlang.schedule.order import Group, Ranges, contraction, interval, split_guard
from netlang.schedule.program import PANEL, Step, Tensor

TYPICAL = 64  # what a size that is known at run time only is taken to be
DEEP = 4096  # more turns of the steps than this are taken in chunks
CHUNK = 512  # of about so many turns
ROWS, SCRATCH = 112, 2**16  # at most so many rows in a block, and elements in its scratch matrix
TILE = 14  # rows of a register tile on most machines
FEW_ROWS, FEW_LANES = 4, 16  # with fewer at run time, plain loops are faster
UNSURE = 2  # how much better than others a tiling must be where that depends on run-time sizes


@dataclass(frozen=True)
class Axis:
    """Indices that move as one through a factor: its place is their row-major place times `step`."""

    ranges: tuple[tuple[str, Int], ...]
    step: Int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.ranges)

    @property
    def extent(self) -> Int:
        return product(extent for _, extent in self.ranges)


@dataclass(frozen=True)
class Tiling:
    """How a group's contraction is tiled.

    `outer` are the indices of the loops around it, of which `packed` are those that the right factor depends on.
    `conditions` are those without which the sum is zero; they depend on no index that is tiled. Where `enough` does not
    hold, plain loops are better.
    """

    left: Read
    right: Read
    outer: Ranges
    packed: Ranges
    rows: Axis
    lanes: Axis
    steps: tuple[Step, ...]
    conditions: tuple[Condition, ...]
    enough: Condition
    cost: float = field(compare=False)

    @property
    def is_deep(self) -> bool:
        """Whether the steps take so many turns, or one does not know how many, that they are taken in chunks."""
        turns = product(step.counts[0] for step in self.steps)
        return not turns.is_constant or turns.constant > DEEP

    def is_hoisted(self, group: Group) -> bool:
        """Whether one copy of the right factor serves all times of the recurrence that the group is in."""
        return bool(group.fixed) and not self.packed and not free_indices(self.right) & set(group.fixed)

    @property
    def chunk(self) -> Int:
        """How many turns of the first step make a chunk."""
        count = self.steps[0].counts[0]
        if not self.is_deep:
            return count
        inner = math.prod(guess(step.counts[0]) for step in self.steps[1:])
        return integer(max(1, CHUNK // inner))

    @property
    def pitch(self) -> Int:
        """The lanes of full panels."""
        return (self.lanes.extent + (PANEL - 1)) // PANEL * PANEL

    @property
    def around(self) -> Ranges:
        """The outer indices that the right factor does not depend on."""
        return [r for r in self.outer if r not in self.packed]

    @property
    def block(self) -> Int:
        """How many rows are worked on together: all, where the steps are taken in chunks."""
        rows = self.rows.extent
        if self.is_deep:
            return rows * product(extent for _, extent in self.around)
        most = max(TILE, min(ROWS, SCRATCH // guess(self.pitch) // TILE * TILE))
        return rows if rows.is_constant and rows.constant <= most else integer(most)


def tiling(group: Group, tensors: Mapping[str, Tensor]) -> Tiling | None:
    """The best tiling of the group's reduction, or None where plain loops are as good or the structure does not fit."""
    roles, reduction = contraction(group), group.reduction
    if roles is None or reduction is None or group.members[0].dtype != "real":
        return None
    if not all(map(is_size, [*group.shape, *(extent for _, extent in reduction.ranges)])):
        return None
    guards, body = split_guard(reduction)
    if len(getattr(body, "args", ())) != 2:
        return None
    extents = dict(group.ranges)
    left, right = ([(i, extents[i]) for i in role if i in extents] for role in (roles.left, roles.right))
    batch = [(i, extents[i]) for i in roles.batch if i in extents]
    if len(left) + len(right) + len(batch) != len(extents):
        return None
    factors = [f for f in roles.factors if isinstance(f, Read) and _is_memory(tensors[f.tensor])]
    if len(factors) != 2:
        return None
    summed = _Summed.of(list(reduction.ranges), guards, set(extents))
    if summed is None:
        return None
    both = ((factors[0], left), (factors[1], right))
    candidates: list[Tiling] = []
    for (one, its), (other, others) in (both, both[::-1]):
        candidates += _tilings(group, one, its, other, others, batch, summed, tensors)
    plain = math.prod(map(guess, [e for _, e in group.ranges] + [e for _, e in reduction.ranges])) / 6
    good = [t for t in candidates if t.cost < plain]
    return min(good, key=lambda t: t.cost * (1 if t.enough == TRUE else UNSURE), default=None)


def _is_memory(tensor: Tensor) -> bool:
    return not tensor.draws and tensor.dtype == "real"


@dataclass(frozen=True)
class _Summed:
    """The summed indices: where each starts, how many turns it takes at most, and the conditions on none of them."""

    starts: Mapping[str, int]
    counts: Mapping[str, tuple[Int, ...]]
    conditions: tuple[Condition, ...]

    @staticmethod
    def of(ranges: Ranges, guards: Iterable[Condition], outputs: set[str]) -> _Summed | None:
        """None where a guard says more than that one summed index has constant ends."""
        starts = {name: [0] for name, _ in ranges}
        stops = {name: [extent] for name, extent in ranges}
        conditions = []
        for guard in guards:
            names = free_indices(guard)
            inside = names & starts.keys()
            if names & outputs or len(inside) > 1:
                return None
            if not inside:
                conditions.append(guard)
                continue
            (name,) = inside
            ends = interval(guard, name)
            if ends is None or any(not s.is_constant for s in ends[0]) or any(any(s.fetches()) for s in ends[1]):
                return None
            starts[name] += [s.constant for s in ends[0]]
            stops[name] += ends[1]
        first = {name: max(each) for name, each in starts.items()}
        counts = {name: tuple(dict.fromkeys(s - first[name] for s in _least(stops[name]))) for name, _ in ranges}
        return _Summed(first, counts, tuple(conditions))


def _least(ends: Sequence[Int]) -> list[Int]:
    """The ends without those that are not the least."""
    kept: list[Int] = []
    for end in dict.fromkeys(ends):
        if not any(is_nonnegative(end - other) for other in kept):
            kept = [other for other in kept if not is_nonnegative(other - end)] + [end]
    return kept


def _tilings(
    group: Group,
    left: Read,
    left_ranges: Ranges,
    right: Read,
    right_ranges: Ranges,
    batch: Ranges,
    summed: _Summed,
    tensors: Mapping[str, Tensor],
) -> Iterable[Tiling]:
    """The tilings with rows from the left and lanes from the right factor."""
    tiled = {*summed.counts, *(n for n, _ in (*left_ranges, *right_ranges))}
    left_step = _moves(tensors[left.tensor].place(left.indices), tiled)
    right_step = _moves(tensors[right.tensor].place(right.indices), tiled)
    if left_step is None or right_step is None:
        return
    steps = tuple(
        Step(summed.counts[n], left_step[n], right_step[n])
        for n in sorted(summed.counts, key=lambda n: -guess(right_step[n]))
    )
    origin = {name: integer(start) for name, start in summed.starts.items()}
    for rows in _axes(left_ranges, left_step) or [Axis((), ZERO)]:
        for lanes in _axes(right_ranges, right_step):
            packed = [*batch, *(r for r in right_ranges if r[0] not in lanes.names)]
            outer = [*packed, *(r for r in left_ranges if r[0] not in rows.names)]
            at = origin | dict.fromkeys((*rows.names, *lanes.names), ZERO)
            found = Tiling(
                _at(left, at), _at(right, at), outer, packed, rows, lanes, merged(steps), summed.conditions, TRUE, 0.0
            )
            yield replace(found, enough=_enough(found, group), cost=_cost(found, group))


def _at(read: Read, values: Mapping[str, Int]) -> Read:
    return Read(read.tensor, tuple(i.substitute(values) for i in read.indices))


def _moves(place: Int, names: set[str]) -> dict[str, Int] | None:
    """How far each index moves a place that is linear in them all, None where it is not."""
    nowhere = dict.fromkeys(names, ZERO)
    origin = place.substitute(nowhere)
    moves = {name: place.substitute(nowhere | {name: ONE}) - origin for name in names}
    total = origin
    for name, move in moves.items():
        if move.indices() or any(move.fetches()):
            return None
        total = total + move * index(name)
    return moves if total == place else None


def _axes(ranges: Ranges, moves: Mapping[str, Int]) -> list[Axis]:
    """Neighbours that move as one, each group as an axis."""
    out: list[Axis] = []
    for name, extent in reversed(ranges):
        # inner extents are constant so that a place can be taken apart again
        if out and out[-1].extent.is_constant and moves[name] == out[-1].step * out[-1].extent:
            out[-1] = Axis(((name, extent), *out[-1].ranges), out[-1].step)
        else:
            out.append(Axis(((name, extent),), moves[name]))
    return out


def merged(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, neighbours that move as one through both factors as one step."""
    out: list[Step] = []
    for step in reversed(steps):
        if out and len(out[-1].counts) == 1:
            (count,) = out[-1].counts
            if step.left == out[-1].left * count and step.right == out[-1].right * count:
                out[-1] = Step(tuple(n * count for n in step.counts), out[-1].left, out[-1].right)
                continue
        out.append(step)
    return tuple(reversed(out))


# --- what is best --------------------------------------------------------------------------------------------------


def is_size(extent: Int) -> bool:
    """Whether an extent is known before the program runs, and not read from a tensor."""
    return not any(extent.fetches()) and not extent.indices()


def guess(value: Int) -> int:
    """A value with every run-time size, and every index of a loop around it, typical."""
    return value.rewrite(lambda atom: integer(TYPICAL) if isinstance(atom, Size | Index) else None).constant


def _cost(t: Tiling, group: Group) -> float:
    """Cycles for vectors of 16 lanes: of the products, the copies into panels, and the group's own loops."""
    rows, lanes = guess(t.rows.extent), guess(t.lanes.extent)
    turns = math.prod(min(map(guess, step.counts)) for step in t.steps)
    around = math.prod(guess(e) for _, e in t.outer)
    packs = math.prod(guess(e) for _, e in t.packed)
    tiles = rows // TILE * TILE + sum(max(4, h) for h in (8, 4, 2, 1) if rows % TILE & h)
    panels = math.ceil(lanes / PANEL)
    last_step = merged([replace(step, left=step.right) for step in t.steps])[-1]
    turned = last_step.right == ONE and min(map(guess, last_step.counts)) >= 16
    copied = lanes * turns * (0.3 if t.lanes.step == ONE or turned else 1.5)
    if t.is_hoisted(group):
        copied /= TYPICAL
    last = group.indices[-1] if group.indices else ""
    stored = rows * lanes * (0.3 if last in t.lanes.names or not t.lanes.names else 4.0)
    run = min(16, *map(guess, t.steps[-1].counts)) if abs(guess(t.steps[-1].left)) == 1 else 1
    far = rows * turns / run / 2 if guess(t.rows.step) > 16 else 0.0  # cache lines of the left factor
    return around * (tiles * panels * (turns + 8) + far + stored + 40) + packs * (copied + 40)


def _enough(t: Tiling, group: Group) -> Condition:
    """There must be enough rows for a copy that turns the factor, and enough lanes to fill a panel."""
    parts = []
    if t.lanes.step != ONE and not t.is_hoisted(group) and not t.rows.extent.is_constant:
        parts.append(t.rows.extent - FEW_ROWS)
    if not t.lanes.extent.is_constant:
        parts.append(t.lanes.extent - FEW_LANES)
    return every(at_least_zero(part) for part in parts if not is_nonnegative(part))
