"""Which equations share a kernel: elementwise ones over one iteration space, also behind a reduction to a scalar.

Sums over the same places into the same elements of memory, which read the same, go together too.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from netlang.graph.expression import TRUE, Reduce
from netlang.graph.integer import Int, index, row_major
from netlang.graph.nodes import Equation
from netlang.graph.traversal import substitute, tensor_reads
from netlang.schedule.order import Group, loop_order, replacement, split_guard
from netlang.schedule.program import Tensor
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
    the group computes only at the place that is being computed.
    """
    groups: list[Group] = []
    made: dict[str, int] = {}  # the group that computes a buffer
    touched: list[set[str]] = []  # buffers of more than one element that a group reads or computes
    of_shape: dict[tuple[Int, ...], list[int]] = {}
    open_: list[bool] = []
    for equation in equations:
        read = dict.fromkeys(tensors[t].buffer for t in equation.operands)
        latest = max((made[b] for b in read if b in made), default=-1)
        near = of_shape.get(equation.shape, [])
        large = {b for b in read if not _is_scalar(b, tensors)}
        position = None
        if not _is_reduction(equation):
            for k in dict.fromkeys([latest, *reversed(near[-NEAR:])]):
                shares = not equation.shape or k == latest or large & touched[k]
                if k >= max(latest, 0) and open_[k] and shares and _fits(equation, groups[k], tensors):
                    position = k
                    break
        elif not times:
            for k in reversed(near[-NEAR:]):
                if k > latest and large & touched[k] and _goes_along(equation, groups[k], tensors):
                    position = k
                    break
        if position is None:
            position = len(groups)
            group = Group(equation.indices, equation.shape, fixed=tuple(i for i in equation.indices if i in times))
            groups.append(group)
            of_shape.setdefault(equation.shape, []).append(position)
            touched.append(set())
            group.members.append(equation)
            takes = equation.name in transformed or not _is_reduction(equation)
            open_.append(takes or _takes_members(group, tensors))
        else:
            group = groups[position]
            group.members.append(_renamed(equation, group))
        touched[position] |= large | ({tensors[equation.name].buffer} if equation.shape else set())
        made[tensors[equation.name].buffer] = position
    return groups


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
