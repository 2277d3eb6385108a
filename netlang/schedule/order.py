"""In which order the loops of a reduction run, scored by the strides of all accesses; which sums are contractions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netlang.graph.constructors import at_least_zero, conjuncts, every, select
from netlang.graph.expression import (
    PLACES,
    Apply,
    AtLeastZero,
    Compare,
    Condition,
    Const,
    Expr,
    IsZero,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.integer import Index, Int, fetch, index, integer
from netlang.graph.nodes import Equation
from netlang.graph.traversal import free_indices, operands, tensor_reads, walk
from netlang.schedule.program import Contraction, Tensor

NEUTRAL = {"sum": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf, "argmax": -math.inf, "argmin": math.inf}
NEUTRAL |= {"search": -math.inf}
LANES = 16
UNROLLED = 16  # a window of at most this many places is unrolled by LLVM, and the loop around it vectorized
Ranges = list[tuple[str, Int]]


@dataclass
class Group:
    """Equations over one iteration space, renamed to one set of indices; a reduction may come first.

    `fixed` are the indices that loops around the group run over: the times of a recurrence. A group that `accumulates`
    is a reduction that is added to what its memory holds.
    """

    indices: tuple[str, ...]
    shape: tuple[Int, ...]
    members: list[Equation] = field(default_factory=list)
    fixed: tuple[str, ...] = ()
    accumulates: bool = False

    @property
    def ranges(self) -> Ranges:
        """The indices that the group itself runs over, with their extents."""
        return [(i, n) for i, n in zip(self.indices, self.shape, strict=True) if i not in self.fixed]

    @property
    def places(self) -> tuple[Int, ...]:
        return tuple(index(i) for i in self.indices)

    @property
    def reduction(self) -> Reduce | None:
        body = self.members[0].body
        return body if isinstance(body, Reduce) else None


def best(place: Equation) -> str:
    """The name of the extreme itself, while its place is looked for."""
    return f"{place.name}.best"


# --- guards as bounds


def split_guard(reduction: Reduce) -> tuple[list[Condition], Expr]:
    """The conditions outside which a place adds nothing to the reduction, and what it adds inside them.

    Comparisons of reals, which a vector has an answer of for each lane, stay in what is added.
    """
    body = reduction.body
    if isinstance(body, Select) and body.otherwise == Const(NEUTRAL[reduction.op]):
        parts = conjuncts(body.condition)
        compared = [part for part in parts if isinstance(part, Compare)]
        return [part for part in parts if part not in compared], select(every(compared), body.then, body.otherwise)
    return [], body


def interval(condition: Condition, name: str) -> tuple[list[Int], list[Int]] | None:
    """The starts and stops that a condition gives to an index, where it is linear in it; None where it is not."""
    if not isinstance(condition, AtLeastZero | IsZero) or not condition.value.is_linear_in(name):
        return None
    c = condition.value.coefficient(Index(name))
    rest = condition.value - c * index(name)
    if isinstance(condition, AtLeastZero):
        return ([-(rest // c)], []) if c > 0 else ([], [rest // -c + 1])
    value = -rest * c
    return ([value], [value + 1]) if abs(c) == 1 else None


def replacement(equation: Equation) -> tuple[Select, str] | None:
    """The body, where it repeats a tensor at the equation's own places but for those of one number; and that tensor.

    Where both are one memory, there is nothing to do but at these places.
    """
    body = equation.body
    if not isinstance(body, Select):
        return None
    for tensor, indices in tensor_reads(body.otherwise):
        repeats = body.otherwise in (Read(tensor, indices), Whole(fetch(tensor, indices, integer(0))))
        tests = [c for c in conjuncts(body.condition) if isinstance(c, IsZero)]
        if repeats and indices == equation.places and any(interval(c, i) for c in tests for i in equation.indices):
            return body, tensor
    return None


# --- loop order ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """How a reduction runs: into a scalar, or `in_memory` with the output's own loops among those of `update`.

    In memory, the loops of `shared` are outside both the pass that sets the neutral element and the update.
    """

    in_memory: bool
    shared: Ranges
    update: Ranges


def loop_order(group: Group, tensors: Mapping[str, Tensor]) -> Order:
    """Choose the innermost loop by the strides of all accesses, and the order of the others around it."""
    reduction = group.reduction
    assert reduction is not None
    outputs, reduced = group.ranges, list(reduction.ranges)
    guards, body = split_guard(reduction)
    scatter = _scattered(group, guards, {n for n, _ in reduced})
    if reduction.op in PLACES or group.members[0].dtype == "int" or not reduced:
        return Order(False, [], reduced)
    if scatter is not None:
        return scatter
    window = math.prod(e.constant if e.is_constant else UNROLLED + 1 for _, e in reduced)
    if (window <= UNROLLED and not _is_tested(guards, {n for n, _ in reduced})) or not outputs:
        return Order(False, [], _inner_last(reduced, _best(group, reduced, guards, body, tensors)))
    best = _best(group, [*reduced, *outputs], guards, body, tensors)
    if best in dict(reduced):
        return Order(False, [], _inner_last(reduced, best))
    shared = [r for r in outputs if r[0] != best]
    # loops that bound the innermost one go outside those that do not, which leaves the latter free for unrolling
    binding = {n for g in guards if best in free_indices(g) for n in free_indices(g)}
    reduced = [r for r in reduced if r[0] in binding] + [r for r in reduced if r[0] not in binding]
    return Order(True, shared, [*reduced, *(r for r in outputs if r[0] == best)])


def _is_tested(guards: Iterable[Condition], reduced: set[str]) -> bool:
    """Whether places of a window are tested by a condition that is no bound of a loop, but the same for many elements.

    Such tests are made once for all of these, in loops outside theirs.
    """
    for guard in guards:
        names = free_indices(guard) & reduced
        if names and not operands(guard) and all(interval(guard, name) is None for name in names):
            return True
    return False


def interior(group: Group, guards: Iterable[Condition]) -> list[Condition] | None:
    """The conditions on a reduction's outputs under which all of its guards hold.

    None where the guards say nothing else, or conditions on them would break the innermost loop apart.
    """
    reduction = group.reduction
    assert reduction is not None
    extents = dict(reduction.ranges)
    found: list[Condition] = []
    for guard in guards:
        if not isinstance(guard, AtLeastZero) or operands(guard) or not free_indices(guard) & extents.keys():
            return None
        least = guard.value
        for name in guard.value.indices() & extents.keys():
            if not least.is_linear_in(name):
                return None
            rising = least.coefficient(Index(name)) > 0
            least = least.substitute({name: integer(0) if rising else extents[name] - 1})
        found.append(at_least_zero(least))
    name, extent = group.ranges[-1] if group.ranges else ("", integer(0))
    if not found or not extent.is_constant or extent.constant < LANES or any(name in free_indices(c) for c in found):
        return None
    return found


def _inner_last(ranges: Ranges, name: str) -> Ranges:
    return [r for r in ranges if r[0] != name] + [r for r in ranges if r[0] == name]


def _best(group: Group, candidates: Ranges, guards: list[Condition], body: Expr, tensors: Mapping[str, Tensor]) -> str:
    """The candidate that makes the cheapest innermost loop.

    The cost is that of one turn, in loads: an access that moves by one element costs its share of a vector, one that
    moves by more costs a load, or more where every element is in another cache line; so does a test in the loop.
    """
    read = dict.fromkeys(
        tensors[e.tensor].place(e.indices) for e in walk(body) if isinstance(e, Read) and not tensors[e.tensor].draws
    )
    written = Tensor("", "", "", group.shape, "real").place(group.places)
    outputs = set(group.indices)

    def cost(candidate: tuple[str, Int]) -> float:
        name, extent = candidate
        n = max(1, extent.constant if extent.is_constant else 4 * LANES)
        share = math.ceil(n / LANES) / n
        total = share + 2 / n  # the arithmetic, and the loop itself
        total += sum(_access_cost(place, name, share) for place in read)
        if name in outputs:
            total += 2 * _access_cost(written, name, share)
        return total + sum(2.0 for g in guards if name in free_indices(g) and interval(g, name) is None)

    return min(candidates, key=cost)[0]


def _access_cost(place: Int, name: str, share: float) -> float:
    if name not in place.indices():
        return 0.0
    step = abs(place.coefficient(Index(name))) if place.is_linear_in(name) else LANES
    return share if step == 1 else 1.0 if step < LANES else 1.5


def scattered_index(group: Group) -> str | None:
    """The index that a guard computes, where the group is a sum into such places: the gradient of a lookup."""
    reduction = group.reduction
    if reduction is None or reduction.op != "sum" or group.members[0].dtype != "real":
        return None
    found = _computed(group, split_guard(reduction)[0], {n for n, _ in reduction.ranges})
    return found[0] if found is not None else None


def _scattered(group: Group, guards: list[Condition], reduced: set[str]) -> Order | None:
    """The order that computes an output index from the others, where a guard says what it equals: a scatter-add."""
    reduction, found = group.reduction, _computed(group, guards, reduced)
    assert reduction is not None
    if found is None:
        return None
    name, sources = found
    first = [r for r in group.ranges if r[0] in sources] + list(reduction.ranges)
    last = [r for r in group.ranges if r[0] not in sources and r[0] != name]
    return Order(True, [], [*first, (name, dict(group.ranges)[name]), *last])


def _computed(group: Group, guards: list[Condition], reduced: set[str]) -> tuple[str, frozenset[str]] | None:
    """An output index that a guard says in terms of others, some of them reduced; and these others."""
    for guard in guards:
        if not isinstance(guard, IsZero) or any(interval(guard, r) for r in reduced):
            continue
        for name in group.indices:
            sources = free_indices(guard) - {name}
            if interval(guard, name) is not None and sources & reduced:
                return name, sources
    return None


# --- recognition ---------------------------------------------------------------------------------------------------


def contraction(group: Group) -> Contraction | None:
    """The roles of the indices, where the group starts with a sum of a product of at least two reads."""
    reduction = group.reduction
    if reduction is None or reduction.op != "sum":
        return None
    _, body = split_guard(reduction)
    if not isinstance(body, Apply) or body.op != "mul":
        return None
    factors = [a for a in body.args if isinstance(a, Read)]
    if len(factors) < 2:
        return None
    left, right = (free_indices(f) for f in factors[:2])
    return Contraction(
        (factors[0], factors[1]),
        tuple(i for i in group.indices if i in left and i in right),
        tuple(i for i in group.indices if i in left and i not in right),
        tuple(i for i in group.indices if i in right and i not in left),
        tuple(name for name, _ in reduction.ranges),
    )
