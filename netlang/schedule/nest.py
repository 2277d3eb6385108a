"""A fused group of equations becomes a loop nest: bounds that absorb guards, accumulators, named scalars, stores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from netlang.graph.constructors import conjuncts, every, negate
from netlang.graph.expression import FALSE, TRUE, Condition, Const, Expr, Read, Reduce, Whole
from netlang.graph.integer import ZERO, Atom, Fetch, Int, index, integer, place_in
from netlang.graph.nodes import Equation
from netlang.graph.traversal import free_indices, fresh, operands, rewrite, substitute, walk
from netlang.schedule.order import (
    NEUTRAL,
    Group,
    Order,
    Ranges,
    best,
    interior,
    interval,
    loop_order,
    replacement,
    split_guard,
)
from netlang.schedule.program import (
    Assign,
    Combine,
    Extreme,
    Guard,
    Local,
    Loop,
    Search,
    Statement,
    Store,
    Tensor,
)

TOGETHER = 8  # terms that are added up before a sum in memory is


def loop_nest(group: Group, tensors: Mapping[str, Tensor], stored: Collection[str]) -> tuple[Statement, ...]:
    """The statements of a group's kernel; `stored` names the members that something outside the group reads."""
    reduction, first = group.reduction, group.members[0]
    if reduction is None:
        guards, members = _replaced(group, tensors)
        return loops(group.ranges, guards, scalars_and_stores(group, members, tensors, stored), set(group.fixed))
    if reduction.op == "search":
        ((middle, extent),) = reduction.ranges
        found = Search(scalar(first), middle, extent, reduction.body)
        rest = scalars_and_stores(group, group.members[1:], tensors, stored, first)
        return loops(group.ranges, [], (found, *rest), set(group.fixed))
    order = loop_order(group, tensors)
    if order.in_memory:
        return _accumulate_in_memory(group, reduction, order)
    guards, body = split_guard(reduction)
    inner: tuple[Statement, ...]
    start: tuple[Statement, ...]
    neutral = Const(NEUTRAL[reduction.op])
    if reduction.op in ("argmax", "argmin"):
        inner = (Extreme(scalar(first), best(first), reduction.op, body, place_in(reduction.ranges)),)
        start = (Assign(best(first), "real", neutral), Assign(scalar(first), "int", Const(0.0)))
    else:
        inner = (Combine(first.name, reduction.op, body),)
        start = (Assign(first.name, "real", neutral),)
    around = set(group.indices)
    rest = scalars_and_stores(group, group.members[1:], tensors, stored, first)

    def nest(conditions: list[Condition], guards: list[Condition]) -> tuple[Statement, ...]:
        reduced = loops(order.update, guards, inner, around)
        return loops(group.ranges, conditions, (*start, *reduced, *rest), set(group.fixed))

    inside = interior(group, guards)
    if inside is None or FALSE in inside:
        return nest([], guards)
    return (*nest(inside, []), *nest([negate(every(inside))], guards))  # windows of one size first, then at the edges


def _replaced(group: Group, tensors: Mapping[str, Tensor]) -> tuple[list[Condition], list[Equation]]:
    """The conditions outside which memory holds already what the group stores, and its members inside them."""
    found = [replacement(member) for member in group.members]
    conditions = {body.condition for body, _ in filter(None, found)}
    if None in found or len(conditions) > 1:
        return [], group.members
    members: list[Equation] = []
    for member, (body, tensor) in zip(group.members, filter(None, found), strict=True):
        if tensors[member.name].buffer != tensors[tensor].buffer:
            return [], group.members
        members.append(replace(member, body=body.then))
    return list(conjuncts(conditions.pop())), members


def scalars_and_stores(
    group: Group,
    members: Sequence[Equation],
    tensors: Mapping[str, Tensor],
    stored: Collection[str],
    reduced: Equation | None = None,
) -> tuple[Statement, ...]:
    """Every member as a named scalar, then the stores; a scalar that is stored and not read again stays unnamed."""
    owners = {m.name: m for m in group.members}
    bodies = {m.name: _localized(m.body, group, tensors, owners) for m in members}
    used = {part.name for body in bodies.values() for part in walk(body) if isinstance(part, Local)}
    used |= {m.name for m in members if m.dtype == "int" and any(scalar(m) in free_indices(b) for b in bodies.values())}
    out: list[Statement] = []
    stores: list[Statement] = []
    if reduced is not None and reduced.name in stored:
        stores.append(Store(reduced.name, group.places, local(reduced)))
    # all scalars come before all stores, which may overwrite what the scalars are computed from
    for m in members:
        if m.name in used or m is not members[-1] or stores:
            out.append(Assign(scalar(m), m.dtype, bodies[m.name]))
            if m.name in stored:
                stores.append(Store(m.name, group.places, local(m)))
        else:
            stores.append(Store(m.name, group.places, bodies[m.name]))
    return (*out, *stores)


def scalar(member: Equation) -> str:
    """The name of a member's scalar; an integer one is an index, and must differ from those of the loops."""
    return f"{member.name}." if member.dtype == "int" else member.name


def local(member: Equation) -> Expr:
    return Whole(index(scalar(member))) if member.dtype == "int" else Local(member.name)


def _localized(body: Expr, group: Group, tensors: Mapping[str, Tensor], owners: Mapping[str, Equation]) -> Expr:
    """The body with reads of members at the place that is being computed replaced by the members' scalars."""

    def owner(tensor: str, indices: Iterable[Int]) -> Equation | None:
        member = owners.get(tensors[tensor].source)
        here = tensors[member.name].place(group.places) if member is not None else None
        return member if here is not None and tensors[tensor].place(indices) == here else None

    def change(e: Expr) -> Expr | None:
        if isinstance(e, Read) and (member := owner(e.tensor, e.indices)) is not None:
            return local(member)
        return None

    def atom(a: Atom) -> Int | None:
        if isinstance(a, Fetch) and (member := owner(a.tensor, a.indices)) is not None:
            return index(scalar(member))
        return None

    return rewrite(body, change, lambda value: value.rewrite(atom))


def loops(
    order: Ranges, guards: list[Condition], inner: tuple[Statement, ...], bound: set[str]
) -> tuple[Statement, ...]:
    """Loops in order around `inner`; a guard is a bound of a loop where it can be, else a test as far out as it can."""
    ready = [g for g in guards if free_indices(g) <= bound]
    pending = [g for g in guards if g not in ready]
    body = inner
    if order:
        (name, extent), *rest = order
        starts, stops, kept = [ZERO], [extent], []
        for guard in pending:
            ends = interval(guard, name) if free_indices(guard) <= bound | {name} else None
            if ends is None:
                kept.append(guard)
            else:
                starts += ends[0]
                stops += ends[1]
        body = (Loop(name, tuple(starts), tuple(stops), loops(rest, kept, inner, bound | {name})),)
    # tests that fetch come last: those before them keep the fetch inside its tensor
    ready.sort(key=lambda g: bool(operands(g)))
    return guarded(every(ready), body)


def guarded(condition: Condition, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The statements where the condition holds."""
    if condition == FALSE or not body:
        return ()
    return body if condition == TRUE else (Guard(condition, body),)


def _accumulate_in_memory(group: Group, reduction: Reduce, order: Order) -> tuple[Statement, ...]:
    guards, _ = split_guard(reduction)
    targets = {m.name: split_guard(m.body)[1] for m in group.members if isinstance(m.body, Reduce)}
    shared = {name for name, _ in order.shared} | set(group.fixed)
    set_neutral = tuple(Store(target, group.places, Const(NEUTRAL[reduction.op])) for target in targets)
    cleared = [r for r in group.ranges if r[0] not in shared]
    clear = () if group.accumulates else loops(cleared, [], set_neutral, shared)
    several = _several(group, reduction, order, guards)
    if several is None:
        stores = tuple(Store(target, group.places, body, reduction.op) for target, body in targets.items())
        update = loops(order.update, guards, stores, shared)
    else:
        name, part = several
        *outer, (_, extent), last = order.update
        places = {name: TOGETHER * index(name) + index(part)}
        start = tuple(Assign(target, "real", Const(0.0)) for target in targets)
        terms = tuple(Combine(target, "sum", substitute(body, places)) for target, body in targets.items())
        added = tuple(Store(target, group.places, Local(target), "sum") for target in targets)
        inner: tuple[Statement, ...] = (*start, Loop(part, (ZERO,), (integer(TOGETHER),), terms), *added)
        update = loops([*outer, (name, extent // TOGETHER), last], guards, inner, shared)
    return loops(order.shared, [], (*clear, *update), set(group.fixed))


def _several(group: Group, reduction: Reduce, order: Order, guards: Sequence[Condition]) -> tuple[str, str] | None:
    """The summed index of which several turns are added up before memory is, and a name for the turn among these.

    A sum in memory waits for the one before it.
    """
    if reduction.op != "sum" or len(order.update) < 2 or group.fixed:
        return None
    (name, extent), (last, _) = order.update[-2:]
    if name not in dict(reduction.ranges) or last not in group.indices or any(name in free_indices(g) for g in guards):
        return None
    if not extent.is_constant or extent.constant % TOGETHER or any(operands(g) for g in guards):
        return None
    return name, fresh(f"{name}_", {*group.indices, *(n for n, _ in reduction.ranges)})
