"""The access turned inside out: which places of an equation read a given element of a tensor.

`Y[I] = ... X[a(I, R)] ...` reads `X` at `a(I, R)`. The element `X[J]` is read by every `(I, R)` in range with
`a(I, R) = J`. `invert` solves these equations for as many of the indices as it can; an index that it cannot solve stays
to be summed over, under a guard that holds where the equation does, so the answer is right for every access.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from netlang.graph.constructors import at_least_zero, conjuncts, decide, every, is_zero, select
from netlang.graph.expression import ZERO, Condition, Expr, IsZero, Select
from netlang.graph.integer import Floor, Index, Int, Modulo, index, integer, is_nonnegative, reduce_ranges
from netlang.graph.traversal import fresh, rewrite_condition, substitute, within_ranges

# for the choice between two indices to eliminate only: the longer range is eliminated, and a range that is known at run
# time only is taken to be long
_LONG = 1 << 16

Ranges = dict[str, Int]


@dataclass(frozen=True)
class Inverse:
    """The solution: `values` of the solved indices, the `ranges` left to sum over, and when the solution is one.

    The values and the guards speak of the places `J` and of the indices in `ranges`.
    """

    values: Mapping[str, Int]
    ranges: Mapping[str, Int]
    guard: Condition


def invert(
    access: Sequence[Int], places: Sequence[Int], ranges: Mapping[str, Int], outer: Mapping[str, Int]
) -> Inverse:
    """Solve `access = places` for the indices in `ranges`; `outer` gives the extents of the indices in `places`."""
    system = _System(access, places, ranges, outer)
    while system.equations and (
        system.solve_alone() or system.split_floors() or system.split_digits() or system.solve_longest()
    ):
        pass
    return system.solution()


class _System:
    """Integer equations `e == 0` under solution; each step below solves or rewrites one of them."""

    def __init__(
        self, access: Sequence[Int], places: Sequence[Int], ranges: Mapping[str, Int], outer: Mapping[str, Int]
    ) -> None:
        self.equations = [a - j for a, j in zip(access, places, strict=True)]
        self.outer = outer
        self.unknown: Ranges = dict(ranges)
        self.names = {*ranges, *outer}
        self.values: dict[str, Int] = {}
        self.guards: list[Condition] = []
        self.stuck: list[Int] = []  # equations that stay as guards

    @property
    def extents(self) -> Ranges:
        return {**self.outer, **self.unknown}

    def solution(self) -> Inverse:
        extents = self.extents
        guards = [*self.guards, *(is_zero(e) for e in (*self.equations, *self.stuck))]
        guard = decide(rewrite_condition(every(guards), ints=lambda v: reduce_ranges(v, extents)), extents)
        values = {name: reduce_ranges(value, extents) for name, value in self.values.items()}
        return Inverse(values, dict(self.unknown), guard)

    def bind(self, name: str, value: Int) -> None:
        """`name` is `value`, where that is in the range of `name`."""
        extent = self.unknown.pop(name)
        self.guards += [at_least_zero(value), at_least_zero(extent - 1 - value)]
        known = {name: value}
        self.values = {n: v.substitute(known) for n, v in self.values.items()} | known
        self.guards = [rewrite_condition(g, ints=lambda v: v.substitute(known)) for g in self.guards]
        extents = self.extents
        self.equations = [reduce_ranges(e.substitute(known), extents) for e in self.equations]
        self.stuck = [reduce_ranges(e.substitute(known), extents) for e in self.stuck]

    def introduce(self, base: str, extent: Int) -> str:
        name = fresh(base, self.names)
        self.names.add(name)
        self.unknown[name] = extent
        return name

    def linear(self, equation: Int) -> list[tuple[str, int]]:
        """The unknown indices that occur once and linearly, with their coefficients, the longest range first."""
        names = [n for n in self.unknown if equation.is_linear_in(n)]
        return [(n, equation.coefficient(Index(n))) for n in sorted(names, key=lambda n: -_weight(self.unknown[n]))]

    def unknown_in(self, value: Int) -> frozenset[str]:
        return value.indices() & self.unknown.keys()

    # --- the steps, in the order of preference -----------------------------------------------------------------------

    def solve_alone(self) -> bool:
        """An equation without unknowns is a guard; one with a single unknown and coefficient +-1 gives its value."""
        for k, equation in enumerate(self.equations):
            unknown = self.unknown_in(equation)
            if not unknown:
                self.guards.append(is_zero(equation))
            elif len(unknown) == 1 and (found := self.linear(equation)) and abs(found[0][1]) == 1:
                del self.equations[k]
                self.bind(*_isolated(equation, *found[0]))
                return True
            else:
                continue
            del self.equations[k]
            return True
        return False

    def split_floors(self) -> bool:
        """`u // d` and `u % d` of an unknown: `u = d*q + r` with `0 <= r < d` makes both linear."""
        for equation in self.equations:
            for atom in _divisions(equation):
                found = [(n, c) for n, c in self.linear(atom.value) if abs(c) == 1]
                ends = atom.value.bounds(self.extents)
                if not found or ends is None:
                    continue
                name, c = found[0]
                low, high = ends[0] // atom.divisor, ends[1] // atom.divisor
                q = self.introduce(name, high - low + 1)
                r = self.introduce(name, integer(atom.divisor))
                rest = atom.value - c * index(name)
                self.bind(name, c * (atom.divisor * (index(q) + low) + index(r) - rest))
                return True
        return False

    def split_digits(self) -> bool:
        """`c*v + u = s` with `0 <= u < c`: the digits of `s` in base `c`, `v = s // c` and `u = s % c`.

        Solves windows that do not overlap, reshapes by index arithmetic, and groups.
        """
        for k, equation in enumerate(self.equations):
            for name, c in sorted(self.linear(equation), key=lambda found: -abs(found[1])):
                signed = equation if c > 0 else -equation
                c = abs(c)
                unknown = Int({m: a for m, a in signed.terms if self.unknown_in(Int({m: 1}))}) - c * index(name)
                ends = unknown.bounds(self.extents)
                if unknown.is_constant or c == 1 or ends is None or not is_nonnegative(c - 1 - (ends[1] - ends[0])):
                    continue
                place = unknown + c * index(name) - signed - ends[0]
                self.equations[k] = unknown - ends[0] - place % c
                self.bind(name, place // c)
                return True
        return False

    def solve_longest(self) -> bool:
        """Eliminate the index with the longest range, by exact division where its coefficient asks for it."""
        for k, equation in enumerate(self.equations):
            del self.equations[k]
            found = self.linear(equation)
            if found:
                name, c = max(found, key=lambda f: (_weight(self.unknown[f[0]]), abs(f[1]) == 1))
                if abs(c) != 1:
                    self.guards.append(is_zero((equation - c * index(name)) % abs(c)))
                self.bind(*_isolated(equation, name, c))
            else:
                self.stuck.append(equation)
            return True
        return False


def _isolated(equation: Int, name: str, c: int) -> tuple[str, Int]:
    """`name` and its value by `equation == 0`; where |c| > 1 the value is right where the division is exact."""
    rest = equation - c * index(name)
    return name, (-rest if c > 0 else rest) // abs(c)


def _divisions(value: Int) -> Iterator[Floor | Modulo]:
    """Floors and remainders, innermost first; not those inside a read of a tensor, whose value is not known here."""
    for monomial, _ in value.terms:
        for atom in monomial:
            if isinstance(atom, Floor | Modulo):
                yield from _divisions(atom.value)
                yield atom


def _weight(extent: Int) -> int:
    sizes = _AllLong()
    return extent.evaluate(sizes)


class _AllLong(dict[str, int]):
    def __missing__(self, _: str) -> int:
        return _LONG


# --- sums under an equality ------------------------------------------------------------------------------------------


def collapse(ranges: Mapping[str, Int], body: Expr, outer: Mapping[str, Int]) -> tuple[Ranges, Expr]:
    """A sum over an index that an equality in its guard fixes has one term: `sum(j) (f[j] if j == y else 0)` is `f[y]`.

    Also drops what the ranges decide. Returns the ranges left and the body.
    """
    left = dict(ranges)
    body = within_ranges(body, {**outer, **left})
    while isinstance(body, Select) and body.otherwise == ZERO:
        found = _fixed(body.condition, left)
        if found is None:
            break
        equality, name, c = found
        extent = left.pop(name)
        _, value = _isolated(equality.value, name, c)
        conditions = [p for p in conjuncts(body.condition) if p != equality]
        conditions += [at_least_zero(value), at_least_zero(extent - 1 - value)]
        if abs(c) != 1:
            conditions.append(is_zero((equality.value - c * index(name)) % abs(c)))
        guarded = select(every(conditions), body.then, ZERO)
        body = within_ranges(substitute(guarded, {name: value}), {**outer, **left})
    return left, body


def _fixed(condition: Condition, ranges: Mapping[str, Int]) -> tuple[IsZero, str, int] | None:
    """An equality that fixes an index of the ranges, the longest first, with that index and its coefficient."""
    found = [
        (part, name, part.value.coefficient(Index(name)))
        for part in conjuncts(condition)
        if isinstance(part, IsZero)
        for name in ranges
        if part.value.is_linear_in(name)
    ]
    return max(found, key=lambda f: (abs(f[2]) == 1, _weight(ranges[f[1]])), default=None)
