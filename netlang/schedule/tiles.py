"""Sums of products by register tiles: which indices are rows, lanes and steps, and the nest around `Multiply`.

A contraction `C[outer, rows, lanes] = sum(steps) left[outer, rows, steps] * right[outer, lanes, steps]` is recognised
by its index structure alone. The right factor is copied into panels of lanes (`Pack`), unless its lanes lie side by
side as it is; products of blocks of rows go into a scratch matrix, and the rest of the group follows on it, row by row.
Where there are few rows, the copy would cost more than the products, and both factors are read where they are (`Dot`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netlang.graph.constructors import at_least_zero, every
from netlang.graph.expression import TRUE, Any, Condition, Read
from netlang.graph.integer import ONE, ZERO, Fetch, Index, Int, Size, index, integer, is_nonnegative, product
from netlang.graph.traversal import free_indices
from netlang.schedule.order import Group, Ranges, contraction, interval, split_guard
from netlang.schedule.program import LANES, NARROW, PANELS, SUMS, Step, Tensor

TYPICAL = 64  # what a size that is known at run time only is taken to be
DEEP = 4096  # more turns of the steps than this are taken in chunks
CHUNK = 512  # of about so many turns
ROWS, SCRATCH = 112, 2**16  # at most so many rows in a block, and elements in its scratch matrix
FEW, FEW_HOISTED = 8, 3  # rows that factors are read in place for, also where the copy of one serves all times
LEAST_LANES, LEAST_ROWS = 4, 4  # with fewer at run time, plain loops are faster
NEAR_SUMS = 2**14  # elements of a scratch matrix that stay in the nearest caches
LEFT = 2**16  # elements at most of a block of rows of the left factor, where sums go to the result
COPIED = 2**17  # elements at most of a block of rows that is copied
CACHED = 2**18  # elements of panels that stay in a cache
NEAR, PAGE = 512, 512  # distances in elements: multiples of the one compete for places in a cache
GATHERED = 64  # sums at most that are gathered and stored together
SHARED = 4  # panels that threads may share
UNSURE = 2.0  # how much better a tiling must be that takes rows or lanes of which there may be few
RUN = 4  # cycles that a tile takes for a run of its innermost loop besides the turns
PLAIN = 6  # products that plain loops do in a cycle
COPIES = ((False, False), (False, True), (True, True))  # whether the left factor is copied, and the order of the steps
MOST_KEPT = 2**22  # elements of a factor that is kept in panels where there may be few rows


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
    `conditions` are those without which the sum is zero; they depend on no index that is tiled. `panel` is how many
    lanes go into a panel, 0 where the factors are read in place. Where it `is_narrow`, the lanes beyond the last full
    vector go into a narrow panel. Where it `is_gathered`, neighbours in memory are along the loops `around`, and
    their sums are stored together. Where it `is_copied`, blocks of rows of the left factor are copied side by side, as
    the lanes of the right one. Where it `is_kept`, the panels of the right factor are there from run to run. Where it
    `is_direct`, there are none: the right factor is read where it is. Where `is_final`, sums are stored where the
    result lies. It is good where `enough` holds, and takes about `cost` cycles for a product.
    """

    left: Read
    right: Read
    outer: Ranges
    packed: Ranges
    rows: Axis
    lanes: Axis
    steps: tuple[Step, ...]
    conditions: tuple[Condition, ...]
    panel: int = 0
    is_narrow: bool = False
    is_gathered: bool = False
    is_copied: bool = False
    is_kept: bool = False
    is_direct: bool = False
    is_final: bool = field(default=False, compare=False)
    enough: Condition = TRUE
    cost: float = field(default=0.0, compare=False)

    @property
    def is_deep(self) -> bool:
        """Whether the steps take so many turns, or one does not know how many, that they are taken in chunks."""
        turns = product(step.counts[0] for step in self.steps)
        return not turns.is_constant or turns.constant > DEEP

    def is_hoisted(self, group: Group) -> bool:
        """Whether one copy of the right factor serves all times of the recurrence that the group is in."""
        return bool(group.fixed) and not self.packed and not free_indices(self.right) & set(group.fixed)

    @property
    def turn(self) -> Int:
        """How far each turn of the steps moves in the right factor, where that is read where it is; else 0."""
        return self._turns[0].right if self.is_direct else ZERO

    @property
    def can_be_direct(self) -> bool:
        """Whether lanes, which fill vectors, lie side by side in the right factor, and turns at one distance, at which
        they do not compete for places in a cache."""
        lanes = self.lanes.extent
        if self.lanes.step != ONE or not lanes.is_constant or lanes.constant % LANES or len(self._turns) != 1:
            return False
        turn = self._turns[0].right
        return turn.is_constant and turn.constant % NEAR != 0

    @property
    def _turns(self) -> tuple[Step, ...]:
        """The steps, those that move as one through the right factor as one."""
        return merged([replace(step, left=step.right) for step in self.steps])

    @property
    def chunk(self) -> Int:
        """How many turns of the first step make a chunk."""
        count = self.steps[0].counts[0]
        if not self.is_deep:
            return count
        inner = math.prod(_number(step.counts[0]) for step in self.steps[1:])
        return integer(CHUNK // inner + 1)  # not a power of two, so that few sums end with a chunk of nothing

    @property
    def pitch(self) -> Int:
        """The lanes of full panels, or of full vectors."""
        return round_up(self.lanes.extent, self.panel or LANES)

    @property
    def rest(self) -> Int:
        """The lanes that go into a narrow panel, behind the others."""
        return self.lanes.extent % LANES if self.is_narrow else ZERO

    @property
    def by_lanes(self) -> bool:
        """Whether threads share the lanes, so that each reads panels of its own: where these are more than the rows."""
        if not self.is_kept or self.packed or self.is_gathered or self.is_narrow:
            return False
        rows = guess(self.rows.extent * product(extent for _, extent in self.around), 1)
        return self.lanes.extent.constant >= max(rows, SHARED * self.panel)

    @property
    def around(self) -> Ranges:
        """The outer indices that the right factor does not depend on."""
        return [r for r in self.outer if r not in self.packed]

    @property
    def spread(self) -> Ranges:
        """The innermost loops around it whose rows are copied together, where one turn has few of them."""
        rows, out = self.rows.extent, Ranges()
        for name, extent in reversed(self.around if self.is_copied and not self.is_gathered else []):
            rows = rows * extent
            if not rows.is_constant or rows.constant > ROWS:
                break
            out.insert(0, (name, extent))
        return out

    @property
    def apart(self) -> Ranges:
        """The other loops around it."""
        return self.around[: len(self.around) - len(self.spread)]

    @property
    def together(self) -> Int:
        """The rows of all turns of the loops that it is spread over."""
        return self.rows.extent * product(extent for _, extent in self.spread)

    @property
    def block(self) -> Int:
        """How many rows are worked on together: all, where the steps are taken in chunks."""
        rows = self.together
        if not self.panel:
            return rows
        if self.is_deep:
            return rows * product(extent for _, extent in self.apart)
        if self.spread:
            return rows
        turns = math.prod(_number(step.counts[0]) for step in self.steps)
        together = _number(self.pitch * (product(extent for _, extent in self.around) if self.is_gathered else ONE))
        most = LEFT // turns if self.is_final else min(ROWS, SCRATCH // together)
        if self.is_copied:
            most = min(most, ROWS, COPIED // turns)
        most = max(self.height, most // self.height * self.height)
        return rows if rows.is_constant and rows.constant <= most else integer(most)

    @property
    def near(self) -> Int:
        """How many rows have sums that stay in the nearest caches; all rows are that many, but for a few."""
        rows, most = self.rows.extent, max(1, NEAR_SUMS // _number(self.pitch) // self.height) * self.height
        if not rows.is_constant:
            return integer(min(ROWS, most))
        blocks = math.ceil(rows.constant / min(ROWS, most))
        return integer(math.ceil(rows.constant / blocks))

    @property
    def height(self) -> int:
        """The most rows of a register tile."""
        return SUMS * LANES // self.panel


def round_up(extent: Int, unit: int) -> Int:
    """The least multiple of the unit that is not below the extent."""
    return (extent + (unit - 1)) // unit * unit


Choice = Callable[[Group, Sequence[Read], Sequence[Tiling]], Tiling]
"""Of a group, the factors of its sum and the tilings that it may take, the one that it takes."""


def tilings(
    group: Group,
    tensors: Mapping[str, Tensor],
    choice: Choice = lambda group, factors, found: found[0],
    *,
    keeps: bool = True,
) -> tuple[Tiling, ...]:
    """The best tilings of the group's reduction; the first one that is `enough` is to be taken, else plain loops.

    None are found where plain loops are as good, or the structure does not fit. By default the `choice` is that of the
    least cost. None has kept panels unless it `keeps`.
    """
    roles, reduction = contraction(group), group.reduction
    if roles is None or reduction is None or group.members[0].dtype != "real":
        return ()
    if not all(map(is_size, [*group.shape, *(extent for _, extent in reduction.ranges)])):
        return ()
    guards, body = split_guard(reduction)
    guards, idle = _without_idle(guards)
    if len(getattr(body, "args", ())) != 2:
        return ()
    extents = dict(group.ranges)
    left, right = ([(i, extents[i]) for i in role if i in extents] for role in (roles.left, roles.right))
    batch = [(i, extents[i]) for i in roles.batch if i in extents]
    if len(left) + len(right) + len(batch) != len(extents):
        return ()
    factors = [f for f in roles.factors if isinstance(f, Read) and _is_memory(tensors[f.tensor])]
    if len(factors) != 2:
        return ()
    summed = _Summed.of(list(reduction.ranges), guards, set(extents))
    if summed is None:
        return ()
    both = ((factors[0], left), (factors[1], right))
    candidates: list[Tiling] = []
    for (one, its), (other, others) in (both, both[::-1]):
        candidates += _tilings(group, one, its, other, others, batch, summed, tensors, keeps)
    good = [t for t in candidates if t.cost < 1 / PLAIN]
    good.sort(key=lambda t: (t.cost, abs(guess(t.rows.step))))
    best = next((t for t in good if t.enough == TRUE or t.panel), None)
    if best is not None and best.panel:
        best = choice(group, factors, [t for t in good if t.panel and t.enough == best.enough])
    few = next((t for t in good if t.enough != TRUE and not t.panel), None)
    if few is None or (best is not None and (not best.panel or _are_many(best))):
        found = [] if best is None else [best]
    else:
        found = [few] if best is None else [few, replace(best, enough=_enough(best, group, few.rows.extent))]
    return tuple(replace(t, enough=every([t.enough, *idle])) for t in found)


def _without_idle(guards: Iterable[Condition]) -> tuple[list[Condition], list[Condition]]:
    """The guards but for those that hold everywhere if a condition on no index holds; and these conditions."""
    kept: list[Condition] = []
    idle: list[Condition] = []
    for guard in guards:
        parts = guard.parts if isinstance(guard, Any) else ()
        found = next((part for part in parts if not free_indices(part)), None)
        (kept if found is None else idle).append(guard if found is None else found)
    return kept, idle


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
    keeps: bool,
) -> Iterable[Tiling]:
    """The tilings with rows from the left and lanes from the right factor."""
    tiled = {*summed.counts, *(n for n, _ in (*left_ranges, *right_ranges))}
    left_step = _moves(tensors[left.tensor].place(left.indices), tiled)
    right_step = _moves(tensors[right.tensor].place(right.indices), tiled)
    if left_step is None or right_step is None:
        return
    steps = [Step(count, left_step[n], right_step[n]) for n, count in summed.counts.items() if count != (ONE,)]
    if sum(len(step.counts) > 1 for step in steps) > 1:
        return
    orders = [_in_order(steps, by_right) for by_right in (False, True)]
    origin = {name: integer(start) for name, start in summed.starts.items()}
    for rows in _axes(left_ranges, left_step) or [Axis((), ZERO)]:
        for lanes in _axes(right_ranges, right_step):
            packed = [*batch, *(r for r in right_ranges if r[0] not in lanes.names)]
            outer = [*packed, *(r for r in left_ranges if r[0] not in rows.names)]
            at = origin | dict.fromkeys((*rows.names, *lanes.names), ZERO)
            found = Tiling(_at(left, at), _at(right, at), outer, packed, rows, lanes, orders[0], summed.conditions)
            found = replace(found, is_kept=keeps and tensors[right.tensor].kept and _can_be_kept(found))
            for panel in PANELS:
                for copied, by_right in COPIES if not found.is_kept or _many_rows(found) else COPIES[:-1]:
                    by_panels = replace(found, panel=panel, is_copied=copied, steps=orders[by_right])
                    is_direct = by_panels.can_be_direct and not found.is_kept and not found.is_hoisted(group)
                    by_panels = replace(by_panels, is_gathered=_is_gathered(found, group), is_direct=is_direct)
                    for is_narrow in (False, True) if _has_narrow_rest(by_panels) else (False,):
                        each = replace(by_panels, is_narrow=is_narrow)
                        yield replace(each, enough=_enough(each, group), cost=_cost(each, group))
            few = integer(FEW_HOISTED if found.is_hoisted(group) else FEW) - rows.extent
            if _is_in_place(found) and not found.is_kept and not (few.is_constant and few.constant < 0):
                yield replace(found, enough=every([at_least_zero(few)]), cost=_cost_in_place(found))


def _has_narrow_rest(t: Tiling) -> bool:
    """Whether the lanes beyond the last full vector may go into a narrow panel."""
    lanes = t.lanes.extent
    if not lanes.is_constant or lanes.constant < LANES or t.is_copied or t.is_gathered or t.is_deep:
        return False
    return 0 < lanes.constant % LANES <= NARROW and t.steps[-1].left == ONE


def _in_order(steps: Sequence[Step], by_right: bool) -> tuple[Step, ...]:
    """The steps, the smallest of one factor last; a count that is the least of several comes first."""

    def place(step: Step) -> tuple[bool, int, int]:
        left, right = -abs(guess(step.left)), -abs(guess(step.right))
        return (len(step.counts) == 1, right, left) if by_right else (len(step.counts) == 1, left, right)

    return merged(sorted(steps, key=place)) or (Step((ONE,), ZERO, ZERO),)


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


def in_panels(panel: int, counts: Sequence[tuple[Int, ...]]) -> list[Step]:
    """Steps, given by their counts, through what has been copied into panels."""
    out: list[Step] = []
    distance = integer(panel)
    for each in reversed(counts):
        out.append(Step(each, distance, distance))
        distance = distance * each[0]
    return out[::-1]


def moved_into(panel: int, steps: Sequence[tuple[tuple[Int, ...], Int]]) -> tuple[Step, ...]:
    """The steps of a copy into panels, given by their counts and how far each moves in the source."""
    targets = in_panels(panel, [counts for counts, _ in steps])
    moves = [replace(step, right=move) for step, (_, move) in zip(targets, steps, strict=True)]
    return merged(sorted(moves, key=lambda step: -abs(guess(step.right))))


# --- what is best --------------------------------------------------------------------------------------------------


def is_size(extent: Int) -> bool:
    """Whether an extent is known before the program runs, and not read from a tensor."""
    return not any(extent.fetches()) and not extent.indices()


def guess(value: Int, typical: int = TYPICAL) -> int:
    """A value with every run-time size, and every index of a loop around it, typical."""
    return value.rewrite(lambda atom: integer(typical) if isinstance(atom, Size | Index) else None).constant


def _is_in_place(t: Tiling) -> bool:
    """Whether vectors can be read from both factors where they are: along the lanes, or along the last step."""
    last = t.steps[-1] if t.steps else None
    return t.lanes.step == ONE or (last is not None and last.left == last.right == ONE)


def _number(value: Int) -> int:
    """A typical count of turns, at least one."""
    return max(1, guess(value))


def _is_gathered(t: Tiling, group: Group) -> bool:
    """Whether neighbours in memory are along a few turns of loops that the right factor does not depend on."""
    turns = product(extent for _, extent in t.around)
    return group.indices[-1] in dict(t.around) and turns.is_constant and turns.constant <= GATHERED


def _is_far(t: Tiling) -> bool:
    """Whether what a tile reads of the left factor is so far apart, or at such distances, that caches serve it badly.

    Lines at a distance of a power of two compete for few places in a cache, and neighbours on other pages come late.
    """
    row, step = abs(guess(t.rows.step)), min(abs(guess(s.left)) for s in t.steps)
    return row % NEAR == 0 or step >= PAGE


def last_tiled(t: Tiling, group: Group) -> tuple[str, ...]:
    """The last index of the group, but for those that sums are gathered along."""
    return tuple(i for i in group.indices if not (t.is_gathered and i in dict(t.around)))[-1:]


def _many_rows(t: Tiling) -> bool:
    """Whether there are many rows for a copy of the right factor, whatever the sizes at run time are."""
    return guess(t.rows.extent * product(extent for _, extent in t.around), 1) > FEW


def _can_be_kept(t: Tiling) -> bool:
    """Whether panels of the right factor can be made before the sizes at run time are known, and are worth the memory.

    A large factor that few rows may want to read in place is not copied.
    """
    names = {name for name, _ in t.packed}
    numbers = [*t.right.indices, t.lanes.step, t.lanes.extent, *(extent for _, extent in t.packed)]
    numbers += [n for step in t.steps for n in (*step.counts, step.right)]
    atoms = [atom for n in numbers for atom in n.atoms()]
    if any(isinstance(a, Size | Fetch) or (isinstance(a, Index) and a.name not in names) for a in atoms):
        return False
    elements = product([t.lanes.extent, *(step.counts[0] for step in t.steps)])
    return _many_rows(t) or elements.constant <= MOST_KEPT


def _cost(t: Tiling, group: Group) -> float:
    """Cycles for a product, for vectors of 16 lanes: with the copies into panels, and the group's own loops."""
    rows, lanes = _number(t.together), _number(t.lanes.extent)
    turns = math.prod(min(map(_number, step.counts)) for step in t.steps)
    around = math.prod(_number(e) for _, e in (*t.packed, *t.apart))
    packs = math.prod(_number(e) for _, e in t.packed)
    panels = math.ceil(lanes / t.panel)
    last_step = moved_into(t.panel, [(step.counts, step.right) for step in t.steps])[-1]
    beside = t.lanes.step == ONE or (last_step.right == ONE and min(map(_number, last_step.counts)) >= LANES)
    copied = lanes * turns * ((0.3 if lanes * turns < COPIED else 1.0) if beside else 1.5)
    if t.is_kept or t.is_direct:
        copied = 0.0
    elif t.is_hoisted(group):
        copied /= TYPICAL
    run = max((min(LANES, *map(_number, s.counts)) for s in t.steps if abs(guess(s.left)) == 1), default=1)
    beside_rows = min(LANES, rows) if guess(t.rows.step) == 1 else 1
    far = rows * turns / max(run, beside_rows) / 2  # cache lines of the left factor
    if t.is_copied:
        near: float = 0.3 if around * rows * turns < COPIED else 1.0
        far += (
            rows * turns * (near if max(run, beside_rows) == LANES else 2 * near if max(run, beside_rows) > 1 else 1.5)
        )
        far += 100 * len(t.spread)
    elif _is_far(t):
        far += (0.2 if min(rows, ROWS) * turns <= COPIED else 0.8) * panels * rows * turns
    elif abs(guess(t.steps[-1].left)) != 1 and beside_rows == 1:
        far += 0.02 * panels * rows * turns  # another line at every turn
    at_once = lanes * (CHUNK if t.is_deep else turns)
    streamed = lanes * turns / LANES * (4.0 if at_once > CACHED else 0.5)  # cache lines of the panels
    stored = rows * lanes * _stored(t, group)
    cycles = around * (_products(t, rows) + far + streamed + stored + 40) + packs * (copied + 40)
    is_sure = _are_many(t)
    return cycles / (around * rows * lanes * turns) * (1 if is_sure else UNSURE)


def _products(t: Tiling, rows: int) -> float:
    """The cycles of the products of so many rows: for each tile its turns, runs of the innermost loop, and stores."""
    tiles = math.ceil(rows / t.height)
    low, higher = divmod(rows, tiles)
    turns = math.prod(min(map(_number, step.counts)) for step in t.steps)
    run = min(map(_number, t.steps[-1].counts))
    rest = t.rest.constant
    full, last = divmod(_number(t.lanes.extent) - rest, t.panel)
    total = 0.0
    for height, count in ((low + 1, higher), (low, tiles - higher)):
        for vectors, panels in ((t.panel // LANES, full), (math.ceil(last / LANES), min(last, 1))):
            tile = turns * _turn(height, vectors) + turns / run * RUN + 2 * height * vectors + 10
            total += count * panels * tile
        if rest:
            together = turns / run * math.ceil(run * NARROW / LANES)  # vectors, of several turns each
            total += count * (together * (0.75 * height + 1) + turns / run * RUN + 5 * height + 10)
    return total


def _are_many(t: Tiling) -> bool:
    """Whether there are rows and lanes enough, or as many as one knows of, whatever the sizes at run time are."""
    return all(e.is_constant or guess(e, 1) >= LANES for e in (t.rows.extent, t.lanes.extent))


def _turn(height: int, vectors: int) -> float:
    """The cycles of a tile for a turn: half of one an operation, a little more a load, four to wait for a sum."""
    return max(height * vectors / 2, height * 0.55 + vectors / 2, 4.0)


def _stored(t: Tiling, group: Group) -> float:
    """The cycles to store a sum: neighbours of a row, neighbours of a column, which are turned, or none."""
    last = last_tiled(t, group)
    if t.is_gathered:
        return 1.5
    if not last or last[0] in t.lanes.names or not t.lanes.names:
        return 0.3
    return 0.6 if last[0] in t.rows.names else 5.0


def _cost_in_place(t: Tiling) -> float:
    """Cycles for a product of one row."""
    lanes = _number(t.lanes.extent)
    turns = math.prod(min(map(_number, step.counts)) for step in t.steps)
    if t.lanes.step == ONE:
        cycles: float = turns * (math.ceil(lanes / LANES) + 3) + lanes
    else:
        run = min(map(_number, t.steps[-1].counts))
        cycles = lanes * (turns / run * (math.ceil(run / LANES) + 2) + 5)
    return (cycles + 40) / (lanes * turns)


def _enough(t: Tiling, group: Group, many: Int | None = None) -> Condition:
    """There must be enough rows for a copy that turns the factor, and enough lanes; there are of `many`."""
    parts = []
    if t.lanes.step != ONE and not t.is_hoisted(group) and not t.is_kept and t.rows.extent != many:
        parts.append(t.rows.extent - LEAST_ROWS)
    if t.lanes.extent != many:
        parts.append(t.lanes.extent - LEAST_LANES)
    return every(at_least_zero(part) for part in parts if not part.is_constant and not is_nonnegative(part))
