"""Formulas as plain text with Unicode's mathematical signs: `W3ᵀ(p - y) ⊙ σ'(z2) v1ᵀ`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as Ratio
from typing import Any

from netlang.draw.formula import (
    Adjoint,
    Bracket,
    Call,
    Cases,
    Column,
    Element,
    Floor,
    Formula,
    Fraction,
    Hadamard,
    Logic,
    Norm,
    Number,
    Power,
    Product,
    Reduction,
    Relation,
    Sum,
    Symbol,
    Transpose,
)
from netlang.draw.signs import REDUCTIONS, RELATIONS, unicode_name
from netlang.graph.text import number

# binding strength: what is weaker than its place asks for goes into parentheses
SUM, REDUCED, PRODUCT, POWER, ATOM = range(5)

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def formula_text(formula: Formula) -> str:
    """The formula on one line."""
    return _strength(formula)[0]


def number_text(value: float) -> str:
    """A number as short as it reads back, or its four leading digits where that is long."""
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "-∞"
    text = number(value)
    if len(text) <= 5:
        return text
    ratio = as_ratio(value)
    if ratio is not None:
        return f"{ratio[0]}/{ratio[1]}"
    return text if len(text) <= 8 else f"{value:.4g}"


def as_ratio(value: float) -> tuple[int, int] | None:
    """The numerator and the denominator of a number that is a short fraction but a long decimal."""
    if len(number(value)) <= 5 or not 1e-6 < abs(value) < 1e3:
        return None
    ratio = Ratio(value).limit_denominator(9999)
    return (ratio.numerator, ratio.denominator) if ratio.numerator / ratio.denominator == value else None


def adjoint_name(name: str) -> str:
    """A tensor's name under `dL/d`: one with a scope goes into parentheses."""
    return f"({unicode_name(name)})" if "." in name or " " in name else unicode_name(name)


def is_outer(f: Product) -> bool:
    """True for `a ⊙ b cᵀ`, an outer product by a vector that is itself a product; numbers may stand in front."""
    *numbers, left, right = (Number(1), *f.factors)
    return isinstance(left, Hadamard) and isinstance(right, Transpose) and all(isinstance(n, Number) for n in numbers)


def _wrap(formula: Formula, strength: int) -> str:
    text, own = _strength(formula)
    return text if own >= strength else f"({text})"


def _strength(formula: Formula) -> tuple[str, int]:
    return _PRINTERS[type(formula)](formula)


def _number(f: Number) -> tuple[str, int]:
    ratio = f.value > 0 and as_ratio(f.value) is not None
    return number_text(f.value), SUM if f.value < 0 else PRODUCT if ratio else ATOM


def _sum(f: Sum) -> tuple[str, int]:
    out = ""
    for k, (sign, term) in enumerate(f.terms):
        text = _wrap(term, REDUCED if k == len(f.terms) - 1 else PRODUCT)  # a sum sign reaches to the end
        out = f"{out} {'+' if sign > 0 else '-'} {text}" if out else text if sign > 0 else f"-{text}"
    return out, SUM


def _product(f: Product) -> tuple[str, int]:
    out = ""
    if isinstance(f.factors[0], Number) and f.factors[0].value < 0:
        rest = f.factors[1:] if f.factors[0].value == -1 else (Number(-f.factors[0].value), *f.factors[1:])
        return f"-{_wrap(Product(rest) if len(rest) > 1 else rest[0], REDUCED)}", SUM
    for k, factor in enumerate(f.factors):
        # the transposed vector of an outer product multiplies all that stands before it
        last = k == len(f.factors) - 1
        outer = k == len(f.factors) - 2 and is_outer(f)
        least = PRODUCT if outer or (isinstance(factor, Product | Fraction) and last) else POWER
        text = _wrap(factor, REDUCED if isinstance(factor, Reduction) and last else least)
        before = f.factors[k - 1] if k else None
        close = text.startswith("(") and isinstance(before, Number | Transpose | Sum | Call)
        out += ("" if close or not out else " ") + text
    return out, REDUCED if isinstance(f.factors[-1], Reduction) else PRODUCT


def _hadamard(f: Hadamard) -> tuple[str, int]:
    return " ⊙ ".join(_factor_of_hadamard(factor) for factor in f.factors), PRODUCT


def _factor_of_hadamard(factor: Formula) -> str:
    outer = isinstance(factor, Product) and isinstance(factor.factors[-1], Transpose)
    return _wrap(factor, POWER if outer or isinstance(factor, Fraction) else PRODUCT)


def _fraction(f: Fraction) -> tuple[str, int]:
    return f"{_wrap(f.over, PRODUCT)} / {_wrap(f.under, POWER)}", PRODUCT


def _power(f: Power) -> tuple[str, int]:
    base = _in_power(f.base)
    if isinstance(f.exponent, Number) and f.exponent.value == int(f.exponent.value):
        return base + str(int(f.exponent.value)).translate(_SUPERSCRIPTS), POWER
    return f"{base}^{_wrap(f.exponent, ATOM)}", POWER


def _in_power(base: Formula) -> str:
    return f"({formula_text(base)})" if isinstance(base, Adjoint) else _wrap(base, ATOM)


def _call(f: Call) -> tuple[str, int]:
    inside = ", ".join(formula_text(a) for a in f.args)
    if f.name == "sqrt":
        return f"√({inside})", ATOM
    if f.row and f.name == "abs":
        return f"|{inside}|", ATOM
    if f.row and f.name == "floor":
        return f"⌊{inside}⌋", ATOM
    return f"{unicode_name(f.name)}{chr(39) if f.prime else ''}({inside})", ATOM


def _relation(f: Relation) -> tuple[str, int]:
    return f"{formula_text(f.left)} {RELATIONS[f.op]} {formula_text(f.right)}", SUM


def _logic(f: Logic) -> tuple[str, int]:
    if f.op == "not":
        return f"not {_wrap(f.parts[0], ATOM)}", SUM
    return f" {f.op} ".join(_wrap(p, ATOM) if isinstance(p, Logic) else formula_text(p) for p in f.parts), SUM


def _cases(f: Cases) -> tuple[str, int]:
    return f"{_wrap(f.then, REDUCED)} if {formula_text(f.statement)} else {_wrap(f.otherwise, REDUCED)}", SUM


def _reduction(f: Reduction) -> tuple[str, int]:
    ranges = ", ".join(name if extent is None else f"{name} < {formula_text(extent)}" for name, extent in f.ranges)
    return f"{REDUCTIONS.get(f.op, f.op)}({ranges}) {_wrap(f.body, REDUCED)}", REDUCED


_PRINTERS: dict[type[Formula], Callable[[Any], tuple[str, int]]] = {
    Number: _number,
    Symbol: lambda f: (unicode_name(f.name), ATOM),
    Adjoint: lambda f: (f"d{f.objective}/d{adjoint_name(f.of)}", ATOM),
    Element: lambda f: (f"{_wrap(f.base, ATOM)}[{', '.join(map(formula_text, f.indices))}]", ATOM),
    Sum: _sum,
    Product: _product,
    Hadamard: _hadamard,
    Fraction: _fraction,
    Power: _power,
    Column: lambda f: (f"({', '.join(map(formula_text, f.elements))})", ATOM),
    Transpose: lambda f: (f"{_in_power(f.base)}ᵀ", POWER),
    Norm: lambda f: (f"‖{formula_text(f.base)}‖", ATOM),
    Call: _call,
    Floor: lambda f: (f"⌊{formula_text(f.base)}⌋", ATOM),
    Relation: _relation,
    Logic: _logic,
    Bracket: lambda f: (f"[{formula_text(f.statement)}]", ATOM),
    Cases: _cases,
    Reduction: _reduction,
}
