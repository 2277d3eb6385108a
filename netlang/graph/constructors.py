"""Expressions and conditions in a light normal form: sums and products flat, like terms collected, constants folded.

A guard with a zero alternative stands outside the product that it is a factor of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from netlang.graph.expression import (
    FALSE,
    ONE,
    PLACES,
    TRUE,
    ZERO,
    All,
    Any,
    Apply,
    AtLeastZero,
    Compare,
    Condition,
    Const,
    Expr,
    IsZero,
    Not,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.integer import Int, integer, is_nonnegative


def every(parts: Iterable[Condition]) -> Condition:
    """All of the conditions, flat and without repetition."""
    return _gather(All, Any, parts)


def some(parts: Iterable[Condition]) -> Condition:
    """Any of the conditions, flat and without repetition."""
    return _gather(Any, All, parts)


def _gather(kind: type[All] | type[Any], opposite: type[All] | type[Any], parts: Iterable[Condition]) -> Condition:
    flat: dict[Condition, None] = {}
    for part in parts:
        if isinstance(part, kind):
            flat.update(dict.fromkeys(part.parts))
        elif isinstance(part, opposite) and not part.parts:
            return part  # the absorbing element: false among "all", true among "any"
        else:
            flat[part] = None
    return next(iter(flat)) if len(flat) == 1 else kind(tuple(flat))


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that all hold where it holds."""
    return condition.parts if isinstance(condition, All) else (condition,)


def negate(condition: Condition) -> Condition:
    if condition == TRUE:
        return FALSE
    if condition == FALSE:
        return TRUE
    if isinstance(condition, Not):
        return condition.part
    if isinstance(condition, AtLeastZero):
        return AtLeastZero(-condition.value - 1)
    return Not(condition)


def is_zero(value: Int) -> Condition:
    if value.is_constant:
        return TRUE if value.constant == 0 else FALSE
    if value.terms[0][1] < 0:
        value = -value
    return IsZero(value)


def at_least_zero(value: Int) -> Condition:
    if is_nonnegative(value):
        return TRUE
    if is_nonnegative(-value - 1):
        return FALSE
    return AtLeastZero(value)


def within(value: Int, extent: Int, extents: Mapping[str, Int]) -> Condition:
    """`0 <= value < extent`, without what the ranges of the indices already decide."""
    return every(decide(c, extents) for c in (at_least_zero(value), at_least_zero(extent - 1 - value)))


def decide(condition: Condition, extents: Mapping[str, Int]) -> Condition:
    """The condition, or TRUE or FALSE where the ranges of the indices decide it."""
    if isinstance(condition, AtLeastZero | IsZero):
        ends = condition.value.bounds(extents)
        if ends is None:
            return condition
        if isinstance(condition, AtLeastZero):
            if is_nonnegative(ends[0]):
                return TRUE
            return FALSE if is_nonnegative(-ends[1] - 1) else condition
        if not ends[0].terms and not ends[1].terms:
            return TRUE
        return FALSE if is_nonnegative(ends[0] - 1) or is_nonnegative(-ends[1] - 1) else condition
    if isinstance(condition, All):
        return every(decide(p, extents) for p in condition.parts)
    if isinstance(condition, Any):
        return some(decide(p, extents) for p in condition.parts)
    if isinstance(condition, Not):
        return negate(decide(condition.part, extents))
    return condition


def const(value: float) -> Const:
    return Const(float(value))


def whole(value: Int) -> Expr:
    return const(value.constant) if value.is_constant else Whole(value)


def _coefficient(term: Expr) -> tuple[float, Expr]:
    """Split a term into a constant and the rest (`ONE` for a constant)."""
    if isinstance(term, Const):
        return term.value, ONE
    if isinstance(term, Apply) and term.op == "mul" and isinstance(term.args[0], Const):
        rest = term.args[1:]
        return term.args[0].value, rest[0] if len(rest) == 1 else Apply("mul", rest)
    return 1.0, term


def add(*terms: Expr) -> Expr:
    collected: dict[Expr, float] = {}
    for term in terms:
        for part in term.args if isinstance(term, Apply) and term.op == "add" else (term,):
            c, rest = _coefficient(part)
            collected[rest] = collected.get(rest, 0.0) + c
    # an infinite constant must survive; a vanishing coefficient removes its term
    parts = [_scaled(c, rest) for rest, c in collected.items() if c != 0]
    if not parts:
        return ZERO
    return parts[0] if len(parts) == 1 else Apply("add", tuple(parts))


def _scaled(c: float, rest: Expr) -> Expr:
    if rest == ONE:
        return const(c)
    if c == 1:
        return rest
    factors = rest.args if isinstance(rest, Apply) and rest.op == "mul" else (rest,)
    return Apply("mul", (const(c), *factors))


def mul(*factors: Expr) -> Expr:
    c = 1.0
    powers: dict[Expr, float] = {}
    guards: list[Condition] = []
    queue = list(reversed(factors))
    while queue:
        factor = queue.pop()
        if isinstance(factor, Apply) and factor.op == "mul":
            queue.extend(reversed(factor.args))
        elif isinstance(factor, Const):
            c *= factor.value
        elif isinstance(factor, Select) and factor.otherwise == ZERO:
            guards.append(factor.condition)
            queue.append(factor.then)
        else:
            base, exponent = base_and_exponent(factor)
            powers[base] = powers.get(base, 0.0) + exponent
    if c == 0:
        return ZERO
    parts = [part for base, exponent in powers.items() if (part := power(base, exponent)) != ONE]
    if any(isinstance(p, Const) for p in parts):  # a power that folded
        c *= math.prod(p.value for p in parts if isinstance(p, Const))
        parts = [p for p in parts if not isinstance(p, Const)]
    if c == -1 and len(parts) == 1 and isinstance(parts[0], Apply) and parts[0].op == "add":
        value = add(*(mul(const(-1), t) for t in parts[0].args))
    elif not parts:
        value = const(c)
    elif c != 1:
        value = Apply("mul", (const(c), *parts))
    else:
        value = parts[0] if len(parts) == 1 else Apply("mul", tuple(parts))
    return select(every(guards), value, ZERO) if guards else value


def base_and_exponent(e: Expr) -> tuple[Expr, float]:
    """The base and the exponent of a power by a constant; what is none is its own first power."""
    if isinstance(e, Apply) and e.op == "pow" and isinstance(e.args[1], Const):
        return e.args[0], e.args[1].value
    return e, 1.0


def power(base: Expr, exponent: float) -> Expr:
    """`base ^ exponent` for a constant exponent."""
    if exponent == 0:
        return ONE
    if exponent == 1:
        return base
    is_whole = float(exponent).is_integer()  # which no infinity is
    if isinstance(base, Const) and (base.value > 0 or (base.value < 0 and is_whole)):
        try:
            return const(base.value**exponent)
        except OverflowError:
            pass
    if isinstance(base, Apply) and is_whole:
        if base.op == "pow" and isinstance(base.args[1], Const):
            return power(base.args[0], base.args[1].value * exponent)
        if base.op == "mul":
            return mul(*(power(f, exponent) for f in base.args))
    return Apply("pow", (base, const(exponent)))


def neg(value: Expr) -> Expr:
    return mul(const(-1), value)


def sub(left: Expr, right: Expr) -> Expr:
    return add(left, neg(right))


def div(left: Expr, right: Expr) -> Expr:
    if isinstance(right, Const) and right.value == 0:
        return Apply("mul", (left, Apply("pow", (right, const(-1)))))
    return mul(left, power(right, -1))


def select(condition: Condition, then: Expr, otherwise: Expr) -> Expr:
    if condition == TRUE or then == otherwise:
        return then
    if condition == FALSE:
        return otherwise
    if isinstance(then, Select) and then.otherwise == otherwise:
        return select(every([condition, then.condition]), then.then, otherwise)
    return Select(condition, then, otherwise)


def read(tensor: str, *indices: Int) -> Read:
    return Read(tensor, indices)


def reduce(op: str, ranges: Iterable[tuple[str, Int]], body: Expr) -> Expr:
    ranges = tuple(ranges)
    if not ranges and op not in PLACES:
        return body
    return Reduce(op, ranges, body)


def compare(op: str, left: Expr, right: Expr) -> Condition:
    """`left op right` for any of < <= > >= == !=, folded where both sides are constant."""
    if op in (">", ">="):
        op, left, right = ("<" if op == ">" else "<="), right, left
    if isinstance(left, Const) and isinstance(right, Const):
        a, b = left.value, right.value
        return TRUE if {"<": a < b, "<=": a <= b, "==": a == b, "!=": a != b}[op] else FALSE
    a_int, b_int = as_integer(left), as_integer(right)
    if a_int is not None and b_int is not None:
        difference = b_int - a_int
        if op == "<":
            return at_least_zero(difference - 1)
        if op == "<=":
            return at_least_zero(difference)
        return is_zero(difference) if op == "==" else negate(is_zero(difference))
    return Compare(op, left, right)


def as_integer(value: Expr) -> Int | None:
    """The integer expression that a number is; None for one that may not be whole."""
    if isinstance(value, Whole):
        return value.value
    if isinstance(value, Const) and float(value.value).is_integer():
        return integer(int(value.value))
    return None


def apply(op: str, *args: Expr) -> Expr:
    """A scalar function by name, through the constructor of its normal form where there is one."""
    if op == "add":
        return add(*args)
    if op == "mul":
        return mul(*args)
    if op == "pow" and isinstance(args[1], Const):
        return power(args[0], args[1].value)
    return Apply(op, args)
