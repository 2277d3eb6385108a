"""What follows from conditions on indices: whether a read is inside its tensor where its guard holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from netlang.graph.constructors import conjuncts, decide, every, negate
from netlang.graph.expression import TRUE, All, Any, AtLeastZero, Condition, IsZero, Not
from netlang.graph.integer import Index, Int, index, integer, is_nonnegative

MOST_CASES = 64

Facts = tuple[Condition, ...]


def unproved(wanted: Condition, known: Condition, extents: Mapping[str, Int]) -> Condition:
    """The part of `wanted` that does not follow from `known` for indices in `0 <= i < extents[i]`.

    What is known is taken apart into cases; in each, conditions on one index narrow its range, and of the others one at
    a time is used: sound, and complete for the guards that people write.
    """
    cases = [_narrowed(case, extents) for case in _cases(known)]
    return every(part for part in conjuncts(wanted) if not all(case.proves(part) for case in cases))


def _cases(c: Condition) -> list[Facts]:
    """The condition as alternatives of facts that hold together; nothing is known where there are too many."""
    if isinstance(c, All):
        parts = [_cases(p) for p in c.parts]
        count = 1
        for part in parts:
            count *= len(part)
        return [sum(chosen, ()) for chosen in product(*parts)] if count <= MOST_CASES else [()]
    if isinstance(c, Any):
        cases = [case for p in c.parts for case in _cases(p)]
        return cases if len(cases) <= MOST_CASES else [()]
    if isinstance(c, IsZero):
        return [(c, AtLeastZero(c.value), AtLeastZero(-c.value))]
    if isinstance(c, Not):
        if isinstance(c.part, IsZero):
            return [(c, AtLeastZero(c.part.value - 1)), (c, AtLeastZero(-c.part.value - 1))]
        if isinstance(c.part, All):
            return _cases(Any(tuple(negate(p) for p in c.part.parts)))
        if isinstance(c.part, Any):
            return _cases(All(tuple(negate(p) for p in c.part.parts)))
    return [(c,)]


class _Case:
    """Facts over indices with narrowed ranges: each index counts from its least value, in `shifts`."""

    def __init__(self, facts: Facts, shifts: Mapping[str, Int], extents: Mapping[str, Int]) -> None:
        self.facts, self.shifts, self.extents = facts, shifts, extents
        self.bounds = [f.value.substitute(shifts) for f in facts if isinstance(f, AtLeastZero)]
        self.impossible = any(is_nonnegative(-extent) for extent in extents.values()) or any(
            decide(AtLeastZero(-bound - 1), extents) == TRUE for bound in self.bounds
        )

    def proves(self, wanted: Condition) -> bool:
        if self.impossible or wanted in self.facts:
            return True
        if not isinstance(wanted, AtLeastZero):
            return False
        value = wanted.value.substitute(self.shifts)
        return any(decide(AtLeastZero(rest), self.extents) == TRUE for rest in (value, *self._without(value)))

    def _without(self, value: Int) -> Iterator[Int]:
        """The value less a multiple of a bound, such that a term of the bound goes, or less a bound of sizes."""
        terms = dict(value.terms)
        for bound in self.bounds:
            factors = {1} if not bound.indices() else set()
            for monomial, c in bound.terms:
                factor, remainder = divmod(terms.get(monomial, 0), c)
                if monomial and factor > 0 and not remainder:
                    factors.add(factor)
            yield from (value - bound * factor for factor in sorted(factors))


def _narrowed(facts: Facts, extents: Mapping[str, Int]) -> _Case:
    """The case with the ranges of the indices cut by the facts that speak of one index alone."""
    low: dict[str, Int] = {}
    high: dict[str, Int] = {name: extent - 1 for name, extent in extents.items()}
    for fact in facts:
        if not isinstance(fact, AtLeastZero):
            continue
        for name in fact.value.indices() & extents.keys():
            c = fact.value.coefficient(Index(name))
            rest = fact.value - c * index(name)
            if not rest.is_constant and (abs(c) != 1 or rest.indices()):
                continue
            if c > 0:  # name >= -rest / c, rounded up
                least = -(rest // c)
                if is_nonnegative(least - low.get(name, integer(0))):
                    low[name] = least
            elif c < 0:
                greatest = rest // -c
                if is_nonnegative(high[name] - greatest):
                    high[name] = greatest
    shifts = {name: index(name) + least for name, least in low.items()}
    ranges = {name: high[name] - low.get(name, integer(0)) + 1 for name in extents}
    return _Case(facts, shifts, ranges)
