"""Sums of products by register tiles: which indices can be rows, lanes and steps, and which of these tilings is best.

A contraction `C[outer, rows, lanes] = sum(steps) left[outer, rows, steps] * right[outer, lanes, steps]` is recognised
by its index structure alone. The right factor is copied into panels of lanes (`Pack`), unless its lanes lie side by
side as it is; products of blocks of rows go into a scratch matrix, and the rest of the group follows on it, row by row.
Lanes that do not move as one, as those of the patches of an image, are copied side by side, turn by turn: for few
turns, sums that are stored as they are make up for that. Where there are few rows, any copy would cost more than the
products, and both factors are read where they are (`Dot`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netlang.graph.constructors import at_least_zero, every
from netlang.graph.expression import FALSE, TRUE, Any, Condition, Read
from netlang.graph.integer import ONE, ZERO, Fetch, Index, Int, Size, index, integer, is_nonnegative, product
from netlang.graph.traversal import free_indices
from netlang.schedule.costs import are_many, cost, cost_in_place, few_turns
from netlang.schedule.order import Group, Ranges, contraction, interval, split_guard
from netlang.schedule.program import LANES, NARROW, PANELS, Step, Tensor
from netlang.schedule.tiling import Axis, Tiling, guess, is_size, merged

FEW, FEW_HOISTED = 8, 3  # rows that factors are read in place for, also where the copy of one serves all times
LEAST_LANES, LEAST_ROWS = 4, 4  # with fewer at run time, plain loops are faster
GATHERED = 64  # sums at most that are gathered and stored together
PLAIN = 6  # products that plain loops do in a cycle
COPIES = ((False, False), (False, True), (True, True))  # whether the left factor is copied, and the order of the steps
MOST_KEPT = 2**22  # elements of a factor that is kept in panels where there may be few rows

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
    of_patches = min((t for t in candidates if t.is_of_patches), key=lambda t: t.cost, default=None)
    good = [t for t in candidates if t.cost < 1 / PLAIN and not t.is_of_patches]
    good.sort(key=lambda t: (t.cost, abs(guess(t.rows.step))))
    best = first = next((t for t in good if t.enough == TRUE or t.panel), None)
    if best is not None and best.panel:
        best = choice(group, factors, [t for t in good if t.panel and t.enough == best.enough])
    few = next((t for t in good if t.enough != TRUE and not t.panel), None)
    if few is None or (best is not None and (not best.panel or are_many(best))):
        found = [] if best is None else [best]
    else:
        found = [few] if best is None else [few, replace(best, enough=_enough(best, group, few.rows.extent))]
    if of_patches is not None and best is not None and found == [best] and best.panel and best == first:
        enough = few_turns(of_patches, best, group)
        found = [of_patches] if enough == TRUE else [replace(of_patches, enough=enough), best]
    found = [t for t in found if t.enough != FALSE]
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
        for lanes in [*_axes(right_ranges, right_step), *_patches(right_ranges, right_step)]:
            packed = [*batch, *(r for r in right_ranges if r[0] not in lanes.names)]
            outer = [*packed, *(r for r in left_ranges if r[0] not in rows.names)]
            at = origin | dict.fromkeys((*rows.names, *lanes.names), ZERO)
            found = Tiling(_at(left, at), _at(right, at), outer, packed, rows, lanes, orders[0], summed.conditions)
            found = replace(found, is_kept=keeps and tensors[right.tensor].kept and _can_be_kept(found))
            if found.is_of_patches and (found.is_kept or group.fixed or not rows.extent.is_constant):
                continue
            for panel in PANELS:
                for copied, by_right in COPIES if not found.is_kept or _many_rows(found) else COPIES[:-1]:
                    by_panels = replace(found, panel=panel, is_copied=copied, steps=orders[by_right])
                    is_direct = by_panels.can_be_direct and not found.is_kept and not found.is_hoisted(group)
                    by_panels = replace(by_panels, is_gathered=_is_gathered(found, group), is_direct=is_direct)
                    for is_narrow in (False, True) if _has_narrow_rest(by_panels) else (False,):
                        each = replace(by_panels, is_narrow=is_narrow)
                        yield replace(each, enough=_enough(each, group), cost=cost(each, group))
            few = integer(FEW_HOISTED if found.is_hoisted(group) else FEW) - rows.extent
            if _is_in_place(found) and not found.is_kept and not (few.is_constant and few.constant < 0):
                yield replace(found, enough=every([at_least_zero(few)]), cost=cost_in_place(found))


def _has_narrow_rest(t: Tiling) -> bool:
    """Whether the lanes beyond the last full vector may go into a narrow panel."""
    lanes = t.lanes.extent
    if not lanes.is_constant or lanes.constant < LANES or t.is_copied or t.is_gathered or t.is_deep or t.is_of_patches:
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


def _patches(ranges: Ranges, moves: Mapping[str, Int]) -> list[Axis]:
    """All indices as an axis, where they do not move as one."""
    several = [r for r in ranges if r[1] != ONE]
    if len(_axes(several, moves)) < 2 or not all(extent.is_constant for _, extent in several):
        return []
    return [Axis(tuple(ranges), moves[ranges[-1][0]], tuple(moves[name] for name, _ in ranges))]


def _is_in_place(t: Tiling) -> bool:
    """Whether vectors can be read from both factors where they are: along the lanes, or along the last step."""
    last = t.steps[-1] if t.steps else None
    along_steps = last is not None and last.left == last.right == ONE
    return not t.is_of_patches and (t.lanes.step == ONE or along_steps)


def _is_gathered(t: Tiling, group: Group) -> bool:
    """Whether neighbours in memory are along a few turns of loops that the right factor does not depend on."""
    turns = product(extent for _, extent in t.around)
    return group.indices[-1] in dict(t.around) and turns.is_constant and turns.constant <= GATHERED


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


def _enough(t: Tiling, group: Group, many: Int | None = None) -> Condition:
    """There must be enough rows for a copy that turns the factor, and enough lanes; there are of `many`.

    A number of turns must not be negative, as that of `T - 2` steps of a sequence of one.
    """
    parts = [count for step in t.steps for count in step.counts]
    if t.lanes.step != ONE and not t.is_hoisted(group) and not t.is_kept and t.rows.extent != many:
        parts.append(t.rows.extent - LEAST_ROWS)
    if t.lanes.extent != many:
        parts.append(t.lanes.extent - LEAST_LANES)
    return every(at_least_zero(part) for part in parts if not part.is_constant and not is_nonnegative(part))
