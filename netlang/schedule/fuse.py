"""Which equations share a kernel: elementwise ones over one iteration space, also behind a reduction to a scalar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netlang.graph.expression import TRUE, Reduce
from netlang.graph.integer import Int, index, row_major
from netlang.graph.nodes import Equation
from netlang.graph.traversal import substitute, tensor_reads
from netlang.schedule.order import Group, loop_order, replacement
from netlang.schedule.program import Tensor
from netlang.schedule.tiles import tilings

MEMBERS = 16  # beyond this many equations a loop runs out of registers and pointers
NEAR = 8  # how many of the latest groups of a shape may be joined because they read the same memory


def fuse(equations: Iterable[Equation], tensors: Mapping[str, Tensor], times: tuple[str, ...] = ()) -> list[Group]:
    """Group equations, given in an order where each follows its operands; the groups are in such an order too.

    `times` are the indices of the loops around them.

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
        if position is None:
            position = len(groups)
            group = Group(equation.indices, equation.shape, fixed=tuple(i for i in equation.indices if i in times))
            groups.append(group)
            of_shape.setdefault(equation.shape, []).append(position)
            touched.append(set())
            group.members.append(equation)
            open_.append(not _is_reduction(equation) or _takes_members(group, tensors))
        else:
            group = groups[position]
            names = {i: index(j) for i, j in zip(equation.indices, group.indices, strict=True) if i != j}
            body = substitute(equation.body, names)
            group.members.append(
                Equation(equation.name, equation.shape, equation.dtype, equation.origin, group.indices, body)
            )
        touched[position] |= large | ({tensors[equation.name].buffer} if equation.shape else set())
        made[tensors[equation.name].buffer] = position
    return groups


def _takes_members(group: Group, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the loops of a group's reduction leave the place for members that follow on each of its elements."""
    always = any(tiled.enough == TRUE for tiled in tilings(group, tensors))
    return always or not loop_order(group, tensors).in_memory


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
