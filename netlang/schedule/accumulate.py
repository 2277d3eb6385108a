"""Updates of a table in the rows that were read: the gradient of a lookup is added to the table, never made as a whole.

`E' = E - r g` with `g[w, j] = sum(t) (d[t, j] if word[t] == w else 0)` costs a pass over all of `g`, which is zero but
for the words that occur, and one over all of `E`. Where nothing else wants `g`, each `-r d[t, j]` is added to `E`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from netlang.graph.constructors import add, every, mul, select
from netlang.graph.expression import ONE, ZERO, Apply, Condition, Expr, Read, Reduce
from netlang.graph.nodes import Equation
from netlang.graph.traversal import free_indices, fresh, operands, reads, tensor_reads
from netlang.schedule.order import Group, scattered_index, split_guard
from netlang.schedule.program import Buffer, Tensor
from netlang.schedule.recurrence import Recurrence

Groups = list[Group | Recurrence]


@dataclass(frozen=True)
class _Sum:
    """A sum over places that are read, a group of its own, times a number: a term of an update."""

    factor: Expr
    group: Group

    @property
    def name(self) -> str:
        return self.group.members[0].name

    @property
    def body(self) -> Expr:
        """What is added at each place."""
        reduction = self.group.reduction
        assert reduction is not None
        return split_guard(reduction)[1]

    @property
    def conditions(self) -> list[Condition]:
        reduction = self.group.reduction
        assert reduction is not None
        return split_guard(reduction)[0]

    @property
    def places(self) -> set[str]:
        """The indices of the result that are read."""
        return {i for c in self.conditions if operands(c) for i in free_indices(c) if i in self.group.indices}

    def reads_any(self, memory: set[str], tensors: Mapping[str, Tensor]) -> bool:
        return any(tensors[r.tensor].buffer in memory for r in reads(self.body))

    def adding(self, body: Expr) -> Reduce:
        """The sum of something else over the same places."""
        reduction = self.group.reduction
        assert reduction is not None
        return replace(reduction, body=select(every(self.conditions), body, ZERO))


def accumulate_updates(
    groups: Groups, tensors: dict[str, Tensor], buffers: dict[str, Buffer], next_values: Mapping[str, str]
) -> Groups:
    """The groups with such sums added to what they update, where old value and sums are all that the update is.

    The tensors of the sums move to the memory that is updated, and their buffers go.
    """
    changing = set(next_values.values())
    for value, target in next_values.items():
        position, equation = next((k, m) for k, g in enumerate(groups) for m in g.members if m.name == value)
        sums = _update(equation, target, groups)
        here = groups[position]
        if not sums or not isinstance(here, Group):
            continue
        if not _is_alone(equation, target, position, sums, groups, tensors, buffers):
            continue
        if any(s.reads_any(changing, tensors) and s.places & free_indices(s.body) for s in sums):
            continue
        before: dict[int, Group] = {}  # what takes the place of a sum, by the sum's group
        after: list[Group] = []
        for s in sums:
            if s.reads_any(changing, tensors):
                before[id(s.group)], s = _with_terms_apart(s, tensors, buffers)
            after.append(_added(s, equation if len(after) + 1 == len(sums) else None, target, tensors, buffers))
        moved = {id(s.group) for s in sums}
        here = replace(here, members=[m for m in here.members if m != equation])
        parts = [*groups[:position], here, *after, *groups[position + 1 :]]
        parts[:position] = [before.get(id(g), g) for g in groups[:position] if id(g) in before or id(g) not in moved]
        groups = [g for g in parts if g.members]
    return groups


def _update(equation: Equation, target: str, groups: Groups) -> list[_Sum]:
    """The sums that are added to the old value; none where the next value is something else."""
    body, old = equation.body, Read(target, equation.places)
    if not isinstance(body, Apply) or body.op != "add" or body.args.count(old) != 1:
        return []
    return _sums(add(*(term for term in body.args if term != old)), ONE, equation, groups) or []


def _sums(e: Expr, factor: Expr, equation: Equation, groups: Groups) -> list[_Sum] | None:
    """The sums of which the expression is a combination, times `factor`; None where it is not one."""
    if isinstance(e, Read) and e.indices == equation.places:
        found = [g for g in groups if isinstance(g, Group) and [m.name for m in g.members] == [e.tensor]]
        return [_Sum(factor, g) for g in found if scattered_index(g) is not None] or None
    if isinstance(e, Apply) and e.op == "add":
        parts = [_sums(term, factor, equation, groups) for term in e.args]
        return None if None in parts else [s for part in parts for s in part or ()]
    if isinstance(e, Apply) and e.op == "mul":
        varying = [f for f in e.args if free_indices(f)]
        numbers = mul(factor, *(f for f in e.args if not free_indices(f)))
        return _sums(varying[0], numbers, equation, groups) if len(varying) == 1 else None
    return None


def _is_alone(
    equation: Equation,
    target: str,
    position: int,
    sums: Sequence[_Sum],
    groups: Groups,
    tensors: Mapping[str, Tensor],
    buffers: Mapping[str, Buffer],
) -> bool:
    """Whether nothing else reads the sums, and nothing reads the old value later."""
    names = [s.name for s in sums]
    if len(set(names)) < len(names) or any(name not in buffers or buffers[name].kind != "temporary" for name in names):
        return False
    for k, group in enumerate(groups):
        for member in group.members:
            for tensor, _ in tensor_reads(member.body) if member != equation else ():
                if tensors[tensor].source in names or (tensors[tensor].buffer == target and k > position):
                    return False
    return True


def _with_terms_apart(s: _Sum, tensors: dict[str, Tensor], buffers: dict[str, Buffer]) -> tuple[Group, _Sum]:
    """A group that computes what is added from values that are about to change, and the sum that reads it."""
    member, reduction = s.group.members[0], s.group.reduction
    assert reduction is not None
    guard = every(c for c in s.conditions if not free_indices(c) & s.places)
    body = select(guard, s.body, ZERO)
    extents = {name: n for name, n in (*reduction.ranges, *member.extents.items()) if name in free_indices(body)}
    name = fresh(f"{s.name}.terms", tensors)
    terms = Equation(name, tuple(extents.values()), "real", member.origin, tuple(extents), body)
    tensors[name] = Tensor(name, name, name, terms.shape, "real")
    buffers[name] = Buffer(name, terms.shape, "real", "temporary", slot=name)
    summed = replace(member, body=s.adding(Read(name, terms.places)))
    return Group(terms.indices, terms.shape, [terms]), _Sum(s.factor, replace(s.group, members=[summed]))


def _added(
    s: _Sum, next_value: Equation | None, target: str, tensors: dict[str, Tensor], buffers: dict[str, Buffer]
) -> Group:
    """The group of a sum, adding to the memory of the target; the last one is the next value."""
    member = replace(s.group.members[0], body=s.adding(mul(s.factor, s.body)))
    del buffers[member.name]
    if next_value is None:
        tensors[member.name] = replace(tensors[member.name], buffer=target)
    else:
        member = replace(member, name=next_value.name, origin=next_value.origin)
    return replace(s.group, members=[member], accumulates=True)
