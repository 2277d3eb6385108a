"""Formulas as plain text with Unicode's mathematical signs: `W3ᵀ(p - y) ⊙ σ'(z2) v1ᵀ`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netlang.draw.formula import formula as form
from netlang.draw.formula.binding import ATOM, POWER, PRODUCT, REDUCED, SUM, factors, hadamard, negated, strength, terms
from netlang.draw.formula.signs import REDUCTIONS, RELATIONS, as_ratio, number_text, unicode_name

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def formula_text(formula: form.Formula) -> str:
    """The formula on one line."""
    return _strength(formula)[0]


def adjoint_name(name: str) -> str:
    """A tensor's name under `dL/d`: one with a scope goes into parentheses."""
    return f"({unicode_name(name)})" if "." in name or " " in name else unicode_name(name)


def _wrap(formula: form.Formula, least: int) -> str:
    text, own = _strength(formula)
    return text if own >= least else f"({text})"


def _strength(formula: form.Formula) -> tuple[str, int]:
    return _PRINTERS[type(formula)](formula)


def _number(f: form.Number) -> tuple[str, int]:
    ratio = f.value > 0 and as_ratio(f.value) is not None
    return number_text(f.value), SUM if f.value < 0 else PRODUCT if ratio else ATOM


def _sum(f: form.Sum) -> tuple[str, int]:
    out = ""
    for sign, term, least in terms(f):
        text = _wrap(term, least)
        out = f"{out} {'+' if sign > 0 else '-'} {text}" if out else text if sign > 0 else f"-{text}"
    return out, SUM


def _product(f: form.Product) -> tuple[str, int]:
    if (rest := negated(f)) is not None:
        return f"-{_wrap(rest, REDUCED)}", SUM
    out = ""
    before: form.Formula | None = None
    for factor, least in factors(f, on_one_line=True):
        text = _wrap(factor, least)
        close = text.startswith("(") and isinstance(before, form.Number | form.Transpose | form.Sum | form.Call)
        out += ("" if close or not out else " ") + text
        before = factor
    return out, strength(f)


def _hadamard(f: form.Hadamard) -> tuple[str, int]:
    return " ⊙ ".join(_wrap(factor, least) for factor, least in hadamard(f, on_one_line=True)), PRODUCT


def _fraction(f: form.Fraction) -> tuple[str, int]:
    return f"{_wrap(f.over, PRODUCT)} / {_wrap(f.under, POWER)}", PRODUCT


def _power(f: form.Power) -> tuple[str, int]:
    base = _in_power(f.base)
    if isinstance(f.exponent, form.Number) and float(f.exponent.value).is_integer():
        return base + str(int(f.exponent.value)).translate(_SUPERSCRIPTS), POWER
    return f"{base}^{_wrap(f.exponent, ATOM)}", POWER


def _in_power(base: form.Formula) -> str:
    return f"({formula_text(base)})" if isinstance(base, form.Adjoint) else _wrap(base, ATOM)


def _call(f: form.Call) -> tuple[str, int]:
    inside = ", ".join(formula_text(a) for a in f.args)
    if f.name == "sqrt":
        return f"√({inside})", ATOM
    if f.row and f.name == "abs":
        return f"|{inside}|", ATOM
    if f.row and f.name == "floor":
        return f"⌊{inside}⌋", ATOM
    return f"{unicode_name(f.name)}{chr(39) if f.prime else ''}({inside})", ATOM


def _relation(f: form.Relation) -> tuple[str, int]:
    return f"{formula_text(f.left)} {RELATIONS[f.op]} {formula_text(f.right)}", SUM


def _logic(f: form.Logic) -> tuple[str, int]:
    if f.op == "not":
        return f"not {_wrap(f.parts[0], ATOM)}", SUM
    return f" {f.op} ".join(_wrap(p, ATOM) if isinstance(p, form.Logic) else formula_text(p) for p in f.parts), SUM


def _cases(f: form.Cases) -> tuple[str, int]:
    return f"{_wrap(f.then, REDUCED)} if {formula_text(f.statement)} else {_wrap(f.otherwise, REDUCED)}", SUM


def _reduction(f: form.Reduction) -> tuple[str, int]:
    ranges = ", ".join(name if extent is None else f"{name} < {formula_text(extent)}" for name, extent in f.ranges)
    return f"{REDUCTIONS.get(f.op, f.op)}({ranges}) {_wrap(f.body, REDUCED)}", REDUCED


_PRINTERS: dict[type[form.Formula], Callable[[Any], tuple[str, int]]] = {
    form.Number: _number,
    form.Symbol: lambda f: (unicode_name(f.name), ATOM),
    form.Adjoint: lambda f: (f"d{f.objective}/d{adjoint_name(f.of)}", ATOM),
    form.Element: lambda f: (f"{_wrap(f.base, ATOM)}[{', '.join(map(formula_text, f.indices))}]", ATOM),
    form.Sum: _sum,
    form.Product: _product,
    form.Hadamard: _hadamard,
    form.Fraction: _fraction,
    form.Power: _power,
    form.Column: lambda f: (f"({', '.join(map(formula_text, f.elements))})", ATOM),
    form.Transpose: lambda f: (f"{_in_power(f.base)}ᵀ", POWER),
    form.Norm: lambda f: (f"‖{formula_text(f.base)}‖", ATOM),
    form.Call: _call,
    form.Floor: lambda f: (f"⌊{formula_text(f.base)}⌋", ATOM),
    form.Relation: _relation,
    form.Logic: _logic,
    form.Bracket: lambda f: (f"[{formula_text(f.statement)}]", ATOM),
    form.Cases: _cases,
    form.Reduction: _reduction,
}
