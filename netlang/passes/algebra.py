"""Rational simplification: of the equal forms of an expression that these rules reach, the one with the least to do.

    p (1 - p) (-y / p + (1 - y) / (1 - p))   =   p - y

Sums are multiplied out, like terms cancel, and common factors are taken out again; a form is kept where it is smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from netlang.graph.constructors import add, base_and_exponent, const, mul, neg, power, select, sub
from netlang.graph.expression import (
    ONE,
    ZERO,
    Apply,
    AtLeastZero,
    Condition,
    Const,
    Expr,
    IsZero,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.traversal import parts, rewrite, walk

_MOST_TERMS = 24  # of a sum that is multiplied out
_LARGEST = 100.0  # the cost up to which other forms are looked for: their number grows with the square


@lru_cache(maxsize=1 << 14)
def cost(e: Expr | Condition) -> float:
    """The number of operations, weighted: a function counts as several, a read or a constant as less than one."""
    inner = sum(cost(part) for part in parts(e))
    if isinstance(e, Apply):
        if e.op in ("add", "mul"):
            # a sign and a reciprocal are part of the subtraction or the division that they make
            free = e.op == "mul" and e.args[0] == Const(-1.0)
            return inner + len(e.args) - 1 - (1.25 if free else 0)
        if e.op == "pow":
            return inner + (0.25 if e.args[1] == Const(-1.0) else 1)
        return inner + (1 if e.op in ("max", "min", "abs", "sign", "constant") else 5)
    if isinstance(e, Select):
        return inner + 1
    if isinstance(e, Reduce):
        return inner + 10
    if isinstance(e, Read):
        return 0.5
    if isinstance(e, Const | Whole):
        return 0.25
    return inner + 0.5


def rational(e: Expr) -> Expr:
    """The least form that the rules reach, the expression itself where none is smaller."""
    best = rewrite(e, _improved)
    forms = [best]
    if (mirrored := _mirrored(best)) != best:
        forms.append(rewrite(mirrored, _improved))
    # a power of a sum with a common factor is longer as a product of powers
    return min(*forms, e, key=cost)


def _improved(e: Expr) -> Expr | None:
    if not isinstance(e, Apply) or e.op not in ("add", "mul"):
        return None
    if e.op == "mul" and not any(isinstance(f, Apply) and f.op == "add" for f in map(_base, e.args)):
        return None  # a product without sums has one form
    best: Expr = e
    for _ in range(4 if cost(e) <= _LARGEST else 0):
        better = min(_forms(best), key=cost, default=best)
        if cost(better) >= cost(best):
            break
        best = better
    return ordered(_turned(best))


def _base(factor: Expr) -> Expr:
    return factor.args[0] if isinstance(factor, Apply) and factor.op == "pow" else factor


def _turned(e: Expr) -> Expr:
    """A minus in front of a product taken into a difference: `c (p - y)`, not `-c (y - p)`."""
    if isinstance(e, Select):
        return select(e.condition, _turned(e.then), e.otherwise)
    if isinstance(e, Apply) and e.op == "mul" and is_negative(e):
        for factor in e.args:
            if isinstance(factor, Apply) and factor.op == "add" and any(is_negative(t) for t in factor.args):
                turned = ordered(add(*(neg(t) for t in factor.args)))
                return mul(const(-1), *(turned if f is factor else f for f in e.args))
    return e


def _forms(e: Expr) -> Iterator[Expr]:
    if isinstance(e, Select):  # a guard that a product moved outside
        yield from (select(e.condition, form, e.otherwise) for form in _forms(e.then))
        return
    if not isinstance(e, Apply) or e.op not in ("add", "mul"):
        return
    yield factored(e)
    for distributed in _distributed(e):
        yield distributed
        yield factored(distributed)
        expanded = expand(distributed)
        if expanded is not None:
            yield expanded
            yield factored(expanded)
    expanded = expand(e)
    if expanded is not None:
        yield expanded
        yield factored(expanded)


def _distributed(e: Apply) -> Iterator[Expr]:
    """A product with one of its sums multiplied out, which cancels the denominators of that sum's terms."""
    if e.op == "mul":
        for factor in e.args:
            if isinstance(factor, Apply) and factor.op == "add":
                others = [f for f in e.args if f is not factor]
                yield add(*(mul(*others, term) for term in factor.args))
    elif any(isinstance(term, Apply) and term.op == "mul" for term in e.args):
        for k, term in enumerate(e.args):
            if isinstance(term, Apply) and term.op == "mul":
                rest = [t for j, t in enumerate(e.args) if j != k]
                yield from (add(*rest, form) for form in _distributed(term))


def expand(e: Expr) -> Expr | None:
    """The expression as a sum of products, or None where that has too many terms."""
    terms = _terms(e)
    return None if terms is None else add(*terms)


def _terms(e: Expr) -> list[Expr] | None:
    if isinstance(e, Select) and e.otherwise == ZERO:
        inner = _terms(e.then)
        return None if inner is None else [select(e.condition, t, ZERO) for t in inner]
    if not isinstance(e, Apply):
        return [e]
    if e.op == "add":
        out: list[Expr] = []
        for term in e.args:
            inner = _terms(term)
            if inner is None or len(out) + len(inner) > _MOST_TERMS:
                return None
            out += inner
        return out
    if e.op == "mul":
        products: list[Expr] = [ONE]
        for factor in e.args:
            inner = _terms(factor)
            if inner is None or len(products) * len(inner) > _MOST_TERMS:
                return None
            products = [mul(p, t) for p in products for t in inner]
        return products
    if e.op == "pow" and isinstance(e.args[0], Apply) and e.args[0].op == "add" and e.args[1] in (const(2), const(3)):
        assert isinstance(e.args[1], Const)
        inner = _terms(e.args[0])
        products = [ONE]
        for _ in range(int(e.args[1].value)):
            if inner is None or len(products) * len(inner) > _MOST_TERMS:
                return None
            products = [mul(p, t) for p in products for t in inner]
        return products
    return [e]


def factored(e: Expr) -> Expr:
    """A sum with the factors that its terms have in common taken out, as far as that is smaller."""
    return _factored(e, {})


def _factored(e: Expr, known: dict[Expr, Expr]) -> Expr:
    """`known` has the parts done before, which come again with every other factor that is taken out.

    It lasts for one expression only: equal sums may differ in the order of their terms, and what comes out must not
    depend on what else was compiled before.
    """
    if not isinstance(e, Apply) or e.op != "add":
        return e
    if e in known:
        return known[e]
    best: Expr = e
    counts: dict[Expr, list[Expr]] = {}
    for term in e.args:
        for factor in _factors(term):
            counts.setdefault(factor, []).append(term)
    for factor, terms in sorted(counts.items(), key=lambda found: -len(found[1])):
        if len(terms) < 2:
            break
        if not _may_leave(factor, terms):
            continue
        inner = _factored(add(*(_quotient(term, factor) for term in terms)), known)
        rest = [term for term in e.args if term not in terms]
        grouped = mul(factor, inner)
        candidate = add(grouped, _factored(add(*rest), known)) if rest else grouped
        if cost(candidate) < cost(best):
            best = candidate
            if not rest:
                break
    known[e] = best
    return best


def _may_leave(factor: Expr, terms: Iterable[Expr]) -> bool:
    """Whether the factor may be computed where no guard of the terms holds.

    There a quotient may be undefined, and a read outside its tensor if the guard tests indices.
    """
    if isinstance(factor, Const):
        return True
    guards: list[Condition] = []
    for term in terms:
        if not isinstance(term, Select):
            return True  # it is computed everywhere as it is
        while isinstance(term, Select):
            guards.append(term.condition)
            term = term.then
    tests = (part for guard in guards for part in walk(guard))
    return isinstance(factor, Read) and not any(isinstance(test, IsZero | AtLeastZero) for test in tests)


def _quotient(term: Expr, factor: Expr) -> Expr:
    if not isinstance(factor, Const):
        return mul(term, power(factor, -1))
    if isinstance(term, Select):
        return select(term.condition, _quotient(term.then, factor), ZERO)
    if isinstance(term, Const):
        return const(term.value / factor.value)
    assert isinstance(term, Apply)
    # exactly 1 or -1 is left, which multiplication by a rounded reciprocal would miss
    return mul(*(const(f.value / factor.value) if isinstance(f, Const) else f for f in term.args))


def _factors(term: Expr) -> list[Expr]:
    """What may be taken out of a term: its factors, each to its first power or its reciprocal."""
    if isinstance(term, Select) and term.otherwise == ZERO:
        return _factors(term.then)
    found: list[Expr] = []
    for factor in term.args if isinstance(term, Apply) and term.op == "mul" else (term,):
        if isinstance(factor, Const):
            value = abs(factor.value)  # only one that division takes out without a trace of rounding
            found += [const(value)] if value not in (0.0, 1.0, float("inf")) and value * value**-1 == 1 else []
        else:
            base, exponent = base_and_exponent(factor)
            found.append(factor)
            if exponent.is_integer() and exponent not in (1, -1):
                found.append(power(base, 1 if exponent > 0 else -1))
    return found


def _mirrored(e: Expr) -> Expr:
    """`logistic(-x)` as `1 - logistic(x)`, which lets terms cancel where both occur."""

    def change(part: Expr) -> Expr | None:
        if isinstance(part, Apply) and part.op == "logistic" and is_negative(part.args[0]):
            return sub(ONE, Apply("logistic", (neg(part.args[0]),)))
        return None

    occur = any(isinstance(part, Apply) and part.op == "logistic" for part in walk(e))
    return rewrite(e, change) if occur else e


def is_negative(e: Expr) -> bool:
    """True where the expression is written with a minus in front."""
    if isinstance(e, Apply) and e.op == "mul" and isinstance(e.args[0], Const):
        return e.args[0].value < 0
    if isinstance(e, Apply) and e.op == "add":
        return all(is_negative(term) for term in e.args)
    if isinstance(e, Select) and e.otherwise == ZERO:
        return is_negative(e.then)
    return isinstance(e, Const) and e.value < 0


def ordered(e: Expr) -> Expr:
    """Sums with what is added before what is subtracted: `p - y`, not `-y + p`."""
    if isinstance(e, Apply) and e.op == "add":
        return Apply("add", tuple(sorted(e.args, key=is_negative)))
    return e
