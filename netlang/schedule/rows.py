"""Updates of a table, and of what an optimizer keeps for it, in the rows whose gradient is not zero.

The gradient of a lookup is zero but in the rows that were read. An update that changes nothing where the gradient is
zero (its states may add up squares; they may not decay) need not pass over the other rows. So the kernel that sums such
a gradient clears the rows that are read only, and that of the update visits these rows only, as often as they were
read: the gradient of a row is cleared after the first visit, so that further ones change nothing.

Whether that is less work depends on how many rows a batch reads, so both ways are in the kernels, under a condition.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from netlang.graph.constructors import at_least_zero, const, negate
from netlang.graph.expression import ZERO, Apply, Compare, Condition, Const, Expr, Read
from netlang.graph.integer import ZERO as NONE
from netlang.graph.integer import Int, index, product
from netlang.graph.scalars import SCALARS
from netlang.graph.traversal import free_indices, fresh, operands, rewrite, rewrite_condition, tensor_reads, walk
from netlang.schedule.nest import loop_nest, loops, scalars_and_stores
from netlang.schedule.order import Group, Ranges, loop_order, scattered_index, split_guard
from netlang.schedule.program import Buffer, Guard, Statement, Store, Tensor
from netlang.schedule.recurrence import Recurrence

VISIT = 2  # what an element costs in a visited row, in elements of a pass over the table


@dataclass(frozen=True)
class Visit:
    """The places of one lookup: `outer` loops under `guards`, the last over the computed index; then those of a row."""

    outer: Ranges
    guards: list[Condition]
    row: Ranges

    @property
    def elements(self) -> Int:
        """How many elements are visited, the loop over the one computed index aside."""
        return product(n for _, n in (*self.outer[:-1], *self.row))

    def __call__(self, inner: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """The statements at every place of the rows."""
        bound = {name for name, _ in self.outer}
        return loops(self.outer, self.guards, loops(self.row, [], inner, bound), set())


@dataclass(frozen=True)
class RowUpdate:
    """An update by the sums `gradients`, which look up at `visits`; its indices are those of no other group."""

    update: Group
    gradients: tuple[str, ...]
    visits: tuple[Visit, ...]

    @property
    def extents(self) -> dict[str, Int]:
        """The extent of every index of the visits."""
        return {name: n for visit in self.visits for name, n in (*visit.outer, *visit.row)}

    def nest(self, group: Group, tensors: Mapping[str, Tensor], stored: Collection[str]) -> tuple[Statement, ...]:
        """The statements of one of the groups: of the update, or of the sum of a gradient."""
        if group.reduction is None:
            inner = scalars_and_stores(self.update, self.update.members, tensors, stored)
            done = tuple(self._zero(gradient) for gradient in self.gradients)
            return self._choice((*inner, *done), loop_nest(group, tensors, stored))
        name = group.members[0].name
        clear = loops(group.ranges, [], (Store(name, group.places, ZERO),), set())
        added = loop_nest(replace(group, accumulates=True), tensors, stored)
        return (*self._choice((self._zero(name),), clear), *added)

    def _zero(self, gradient: str) -> Store:
        return Store(gradient, self.update.places, ZERO)

    def _choice(self, inner: tuple[Statement, ...], whole: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """The statements `inner` at the rows that are read, where these are few, else `whole`."""
        visited = sum((visit.elements for visit in self.visits), NONE)
        few = at_least_zero(product(self.update.shape) - VISIT * visited)
        return Guard(few, tuple(s for visit in self.visits for s in visit(inner))), Guard(negate(few), whole)


def row_updates(
    groups: Sequence[Group | Recurrence],
    tensors: Mapping[str, Tensor],
    buffers: Mapping[str, Buffer],
    stored: Collection[str],
) -> dict[int, RowUpdate]:
    """Such updates by the identity of their groups: those that sum the gradients, and that of the update itself."""
    position = {m.name: k for k, g in enumerate(groups) for m in g.members}
    readers: dict[str, set[int]] = {}
    for k, group in enumerate(groups):
        for member in group.members:
            for tensor, _ in tensor_reads(member.body):
                readers.setdefault(tensors[tensor].source, set()).add(k)
    found: dict[int, RowUpdate] = {}
    for k, group in enumerate(groups):
        if not isinstance(group, Group) or group.reduction is not None or group.fixed:
            continue
        sums: dict[str, Group] = {}
        for tensor in (tensor for member in group.members for tensor, _ in tensor_reads(member.body)):
            made = groups[position[tensor]] if tensor in position else None
            if isinstance(made, Group) and readers[tensor] == {k} and _is_gradient(made, tensor, group, buffers):
                sums[tensor] = made
        if not sums or not _rests(group, set(sums), tensors, buffers, stored):
            continue
        used = {name for g in (group, *sums.values()) for name in g.indices}
        update = _renamed(group, used)
        used |= set(update.indices)
        visits: list[Visit] = []
        for g in sums.values():
            visit = _visit(g, update, used, tensors)
            if visit is not None:
                visits.append(visit)
                used |= {name for name, _ in visit.outer}
        places = {operand for visit in visits for guard in visit.guards for operand in operands(guard)}
        first = min(position[name] for name in sums)
        known = all(position.get(tensors[place].source, -1) < first for place in places)
        if len(visits) == len(sums) and known:
            rows = RowUpdate(update, tuple(sums), tuple(visits))
            found |= {id(g): rows for g in (*sums.values(), group)}
    return found


def _renamed(group: Group, used: Collection[str]) -> Group:
    """The group with other names for its indices."""
    names: list[str] = []
    for name in group.indices:
        names.append(fresh(name, {*used, *names}))
    changes = {old: index(new) for old, new in zip(group.indices, names, strict=True)}
    members = [
        replace(m, indices=tuple(names), body=rewrite(m.body, ints=lambda value: value.substitute(changes)))
        for m in group.members
    ]
    return Group(tuple(names), group.shape, members)


def _is_gradient(group: Group, name: str, update: Group, buffers: Mapping[str, Buffer]) -> bool:
    """Whether a group is a sum into looked up rows of a tensor in the shape of the update, and nothing else."""
    return (
        not group.accumulates
        and group.shape == update.shape
        and [m.name for m in group.members] == [name]
        and name in buffers
        and buffers[name].kind == "temporary"
        and scattered_index(group) is not None
    )


def _rests(
    group: Group,
    gradients: Collection[str],
    tensors: Mapping[str, Tensor],
    buffers: Mapping[str, Buffer],
    stored: Collection[str],
) -> bool:
    """Whether all that the group stores are next values, which are the old ones where the gradients are zero."""
    values: dict[str, Expr] = {}

    def change(e: Expr) -> Expr | None:
        if isinstance(e, Read) and e.tensor in gradients:
            return ZERO if e.indices == group.places else None
        if isinstance(e, Read) and e.indices == group.places:
            return values.get(e.tensor)
        if isinstance(e, Apply) and all(isinstance(a, Const) for a in e.args) and SCALARS[e.op].fold is not None:
            return _folded(e)
        return None

    for member in group.members:
        values[member.name] = rewrite(member.body, change)
        if member.name in stored:
            target = tensors[member.name].buffer
            if target == member.name or buffers[target].kind not in ("param", "state"):
                return False
            if values[member.name] != Read(target, group.places):
                return False
    return all(
        indices == group.places
        for member in group.members
        for tensor, indices in tensor_reads(member.body)
        if tensor in gradients
    )


def _folded(e: Apply) -> Expr | None:
    fold = SCALARS[e.op].fold
    assert fold is not None
    try:
        return const(fold(*(a.value for a in e.args if isinstance(a, Const))))
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def _visit(group: Group, update: Group, used: Collection[str], tensors: Mapping[str, Tensor]) -> Visit | None:
    """The rows that a sum looks up, in the indices of the update and new ones; None where they are not whole rows."""
    reduction, computed = group.reduction, scattered_index(group)
    assert reduction is not None
    order = loop_order(group, tensors).update
    names = [name for name, _ in order]
    split = names.index(computed or "") + 1
    names_here = dict(zip(group.indices, update.indices, strict=True))
    for name, _ in reduction.ranges:
        names_here[name] = fresh(name, {*used, *names_here.values()})
    changes = {old: index(new) for old, new in names_here.items()}
    guards: list[Condition] = []
    for guard in split_guard(reduction)[0]:
        # conditions on values leave rows out whose gradient is then zero; visiting them changes nothing
        if any(isinstance(part, Compare) for part in walk(guard)):
            continue
        if free_indices(guard) & set(names[split:]):
            return None
        guards.append(rewrite_condition(guard, ints=lambda value: value.substitute(changes)))
    renamed = [(names_here[name], n) for name, n in order]
    return Visit(renamed[:split], guards, renamed[split:])
