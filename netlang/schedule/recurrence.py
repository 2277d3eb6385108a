"""A loop over time becomes one kernel: the groups of a step in order, their time fixed by the loop around them all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from netlang.graph.expression import Expr, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import ZERO, Int, index
from netlang.graph.nodes import Equation, Node
from netlang.graph.recurrence import Loop as TimeLoop
from netlang.graph.traversal import fresh, rewrite
from netlang.schedule.blocks import Nests
from netlang.schedule.collapse import substituted
from netlang.schedule.fuse import fuse
from netlang.schedule.order import Group, Ranges
from netlang.schedule.program import Loop, Statement, Tensor


@dataclass(frozen=True)
class Recurrence:
    """The groups of one step of a loop, and the loops inside it; `time` is the index that they share."""

    time: str
    steps: Int
    backward: bool
    body: tuple[Group | Recurrence, ...]

    @property
    def groups(self) -> list[Group]:
        return [g for part in self.body for g in (part.groups if isinstance(part, Recurrence) else [part])]

    @property
    def members(self) -> list[Equation]:
        return [member for group in self.groups for member in group.members]

    @property
    def ranges(self) -> Ranges:
        """Every index of the kernel with its extent; names are unique in it."""
        own = [(self.time, self.steps)]
        for part in self.body:
            own += part.ranges
            if isinstance(part, Group) and part.reduction is not None:
                own += part.reduction.ranges
        return own


def recurrence(
    loop: TimeLoop,
    nodes: Mapping[str, Node],
    tensors: Mapping[str, Tensor],
    taken: set[str],
    times: tuple[str, ...] = (),
) -> Recurrence:
    """The recurrence of a loop. `nodes` has the equations as they are scheduled, `taken` the index names in use.

    `times` are the indices of the loops around it.
    """
    first = loop.nodes[0]
    assert isinstance(first, Equation)
    time = fresh(first.indices[loop.axes[first.name]], taken)
    taken.add(time)
    body: list[Group | Recurrence] = []
    pending: list[Equation] = []

    def close() -> None:
        body.extend(_with_own_indices(group, taken, {*times, time}) for group in fuse(pending, tensors, (*times, time)))
        pending.clear()

    renamed = dict(nodes)
    for node in loop.nodes:
        equation = renamed[node.name]
        if isinstance(equation, Equation):
            renamed[node.name] = _with_time(equation, loop.axes[node.name], time)
    for part in loop.body:
        if isinstance(part, TimeLoop):
            close()
            body.append(recurrence(part, renamed, tensors, taken, (*times, time)))
        elif isinstance(equation := renamed[part.name], Equation):
            pending.append(equation)
    close()
    return Recurrence(time, loop.steps, loop.backward, tuple(body))


def recurrence_nest(part: Recurrence, nests: Nests) -> tuple[Statement, ...]:
    """The loop over time, with the nests of its groups inside."""
    inner: tuple[Statement, ...] = ()
    for each in part.body:
        if isinstance(each, Recurrence):
            inner += recurrence_nest(each, nests)
        else:
            inner += nests.nest(each)
    if part.backward:
        inner = substituted(inner, {part.time: part.steps - 1 - index(part.time)})
    return (Loop(part.time, (ZERO,), (part.steps,), inner),)


def segments(graph: Graph, needed: Collection[str]) -> list[list[Node] | TimeLoop]:
    """The nodes in order, the loops over time between them."""
    out: list[list[Node] | TimeLoop] = [[]]
    for part in graph.components:
        if isinstance(part, TimeLoop):
            if any(node.name in needed for node in part.nodes):
                out += [part, []]
        elif part.name in needed:
            last = out[-1]
            assert isinstance(last, list)
            last.append(part)
    return out


def _with_time(equation: Equation, axis: int, time: str) -> Equation:
    """The equation with its time index renamed, and other indices out of its way."""
    old = equation.indices[axis]
    used = set(equation.indices) | (
        {n for n, _ in equation.body.ranges} if isinstance(equation.body, Reduce) else set()
    )
    names = {old: time}
    if time in used and time != old:
        names[time] = fresh(time, {*used, time})
    return _renamed(equation, names)


def _with_own_indices(group: Group, taken: set[str], times: set[str]) -> Group:
    """The group with index names that no other group of the kernel has, but for the times."""
    names: dict[str, str] = {}
    reduced = [n for n, _ in group.reduction.ranges] if group.reduction is not None else []
    for name in (*group.indices, *reduced):
        if name not in times:
            names[name] = fresh(name, taken)
            taken.add(names[name])
    fixed = tuple(i for i in group.indices if i in times)
    members = [_renamed(member, names) for member in group.members]
    return Group(tuple(names.get(i, i) for i in group.indices), group.shape, members, fixed)


def _renamed(equation: Equation, names: Mapping[str, str]) -> Equation:
    values = {old: index(new) for old, new in names.items() if old != new}

    def ranges(e: Expr) -> Expr | None:
        if not isinstance(e, Reduce):
            return None
        return Reduce(e.op, tuple((names.get(n, n), extent) for n, extent in e.ranges), e.body)

    body = rewrite(equation.body, ranges, lambda value: value.substitute(values)) if values else equation.body
    return replace(equation, indices=tuple(names.get(i, i) for i in equation.indices), body=body)
