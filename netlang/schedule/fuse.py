"""Which equations share a kernel: elementwise ones over one iteration space, also behind a reduction to a scalar.

Sums over the same places into the same elements of memory, which read the same, go together too, and so do an extreme
and the place where it is.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from netlang.graph.expression import TRUE, Reduce
from netlang.graph.integer import Int, index, product, row_major
from netlang.graph.nodes import Equation
from netlang.graph.traversal import substitute, tensor_reads
from netlang.schedule.extremes import is_place_of
from netlang.schedule.order import Group, best, loop_order, replacement, split_guard
from netlang.schedule.program import Local, Tensor
from netlang.schedule.tiles import tilings

MEMBERS = 16  # beyond this many equations a loop runs out of registers and pointers
NEAR = 8  # how many of the latest groups of a shape may be joined because they read the same memory


def fuse(
    equations: Iterable[Equation],
    tensors: Mapping[str, Tensor],
    times: tuple[str, ...] = (),
    transformed: Container[str] = (),
) -> list[Group]:
    """Group equations, given in an order where each follows its operands; the groups are in such an order too.

    `times` are the indices of the loops around them. Sums that are `transformed` are computed by fewer products.

    An equation joins the group of its latest operand, or a later one that reads the same memory, where it reads what
    the group computes only at the place that is being computed. One that would make a new group waits for the equation
    that reads it, where there is only one, to join that one's group.
    """
    equations = list(equations)
    fusion = _Fusion(tensors, times, transformed)
    readers = {} if times else _only_readers(equations, tensors)
    waiting: dict[str, list[Equation]] = {}  # for the equation that reads them
    for equation in equations:
        before = waiting.pop(equation.name, [])
        position = fusion.position(equation)
        if position is None and equation.name in readers:
            waiting.setdefault(readers[equation.name], []).extend((*before, equation))
            continue
        for each in before:
            position = fusion.add(each, position)
        fusion.add(equation, position)
    return fusion.groups


class _Fusion:
    """The groups so far."""

    def __init__(self, tensors: Mapping[str, Tensor], times: tuple[str, ...], transformed: Container[str]) -> None:
        self.tensors, self.times, self.transformed = tensors, times, transformed
        self.groups: list[Group] = []
        self.made: dict[str, int] = {}  # the group that computes a buffer
        self.touched: list[set[str]] = []  # buffers of more than one element that a group reads or computes
        self.of_shape: dict[tuple[Int, ...], list[int]] = {}
        self.extremes: dict[str, list[int]] = {}  # groups that begin with one, by a tensor that it reads
        self.open: list[bool] = []

    def position(self, equation: Equation) -> int | None:
        """The group that an equation joins; None where it makes a new one."""
        read = self._read(equation)
        latest = max((self.made[b] for b in read if b in self.made), default=-1)
        near = self.of_shape.get(equation.shape, [])
        large = {b for b in read if not _is_scalar(b, self.tensors)}
        if not _is_reduction(equation):
            for k in dict.fromkeys([latest, *reversed(near[-NEAR:])]):
                shares = not equation.shape or k == latest or large & self.touched[k]
                if k >= max(latest, 0) and shares and self._takes(equation, k):
                    return k
        elif not self.times and equation.name not in self.transformed:
            for k in self.extremes.get(next(iter(equation.operands), ""), []):
                if is_place_of(equation, self.groups[k].members[0]):
                    return k
            for k in reversed(near[-NEAR:]):
                if self.groups[k].members[0].name in self.transformed:
                    continue
                if k > latest and large & self.touched[k] and _goes_along(equation, self.groups[k], self.tensors):
                    return k
        return None

    def add(self, equation: Equation, position: int | None) -> int:
        """Let an equation join the group at the position where that takes it, else make a new one; returns where."""
        tensors, read = self.tensors, self._read(equation)
        latest = max((self.made[b] for b in read if b in self.made), default=-1)
        takes = position is None or _is_reduction(equation) or self._takes(equation, position)
        if position is not None and (position < latest or not takes):
            position = self.position(equation)
        if position is None:
            position = len(self.groups)
            times = tuple(i for i in equation.indices if i in self.times)
            group = Group(equation.indices, equation.shape, [equation], fixed=times)
            self.groups.append(group)
            if isinstance(equation.body, Reduce) and equation.body.op in ("max", "min"):
                self.extremes.setdefault(next(iter(equation.operands), ""), []).append(position)
            self.of_shape.setdefault(equation.shape, []).append(position)
            self.touched.append(set())
            takes = equation.name in self.transformed or not _is_reduction(equation)
            self.open.append(takes or _takes_members(group, tensors))
        else:
            group = self.groups[position]
            first, *others = group.members
            if is_place_of(equation, first):
                group.members = [_renamed(equation, group), replace(first, body=Local(best(equation))), *others]
            else:
                group.members.append(_renamed(equation, group))
        self.touched[position] |= {b for b in read if not _is_scalar(b, tensors)}
        if equation.shape:
            self.touched[position].add(tensors[equation.name].buffer)
        self.made[tensors[equation.name].buffer] = position
        return position

    def _takes(self, equation: Equation, position: int) -> bool:
        return self.open[position] and _fits(equation, self.groups[position], self.tensors)

    def _read(self, equation: Equation) -> dict[str, None]:
        return dict.fromkeys(self.tensors[t].buffer for t in equation.operands)


def _only_readers(equations: Sequence[Equation], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For each elementwise equation that may wait for the only one that reads it, at its own place, that one's name.

    One that reads more than one tensor of its size does not wait, so that no more memory is held meanwhile.
    """
    readers: dict[str, list[Equation]] = {}
    for equation in equations:
        for buffer in dict.fromkeys(tensors[t].buffer for t in equation.operands):
            readers.setdefault(buffer, []).append(equation)
    found: dict[str, str] = {}
    for equation in equations:
        buffer, size = tensors[equation.name].buffer, product(equation.shape)
        users = readers.get(buffer, [])
        large = {tensors[t].buffer for t in equation.operands if product(tensors[t].shape) == size}
        if len(users) != 1 or not equation.shape or _is_reduction(equation) or len(large) > 1:
            continue
        (user,) = users
        here = row_major(user.places, user.shape)
        places = [tensors[t].place(i) for t, i in tensor_reads(user.body) if tensors[t].buffer == buffer]
        if not _is_reduction(user) and user.shape == equation.shape and all(place == here for place in places):
            found[equation.name] = user.name
    return found


def _takes_members(group: Group, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the loops of a group's reduction leave the place for members that follow on each of its elements."""
    always = any(tiled.enough == TRUE for tiled in tilings(group, tensors))
    return always or not loop_order(group, tensors).in_memory


def _renamed(equation: Equation, group: Group) -> Equation:
    """The equation in the indices of a group."""
    names = dict(zip(equation.indices, group.indices, strict=True))
    body = equation.body
    if isinstance(body, Reduce) and group.reduction is not None:
        names |= {i: j for (i, _), (j, _) in zip(body.ranges, group.reduction.ranges, strict=True)}
        body = body.body
    body = substitute(body, {i: index(j) for i, j in names.items() if i != j})
    if isinstance(equation.body, Reduce) and group.reduction is not None:
        body = Reduce(equation.body.op, group.reduction.ranges, body)
    return Equation(equation.name, equation.shape, equation.dtype, equation.origin, group.indices, body)


def _goes_along(equation: Equation, group: Group, tensors: Mapping[str, Tensor]) -> bool:
    """Whether an equation is a sum over the same places as those of a group, and all are in memory as they grow."""
    ours, theirs = equation.body, group.reduction
    if not isinstance(ours, Reduce) or theirs is None or len(group.members) >= MEMBERS:
        return False
    if ours.op != "sum" or theirs.op != "sum" or equation.dtype != "real" or group.members[0].dtype != "real":
        return False
    if group.shape != equation.shape or [n for _, n in ours.ranges] != [n for _, n in theirs.ranges]:
        return False
    if not all(isinstance(m.body, Reduce) for m in group.members) or split_guard(ours)[0] or split_guard(theirs)[0]:
        return False
    alone = Group(group.indices, group.shape, [_renamed(equation, group)])
    orders = [loop_order(g, tensors) for g in (group, alone)]
    return orders[0].in_memory and orders[0] == orders[1] and not any(tilings(g, tensors) for g in (group, alone))


def _is_reduction(equation: Equation) -> bool:
    return isinstance(equation.body, Reduce)


def _is_scalar(buffer: str, tensors: Mapping[str, Tensor]) -> bool:
    return buffer in tensors and not tensors[buffer].shape


def _fits(equation: Equation, group: Group, tensors: Mapping[str, Tensor]) -> bool:
    if group.shape != equation.shape or len(group.members) >= MEMBERS:
        return False
    if (replacement(equation) is None) != (replacement(group.members[0]) is None):
        return False  # a loop over all places for one that is over a few
    inside = {tensors[m.name].buffer for m in group.members}
    here = row_major(equation.places, equation.shape)
    for tensor, indices in tensor_reads(equation.body):
        if tensors[tensor].buffer in inside and tensors[tensor].place(indices) != here:
            return False
    return True
