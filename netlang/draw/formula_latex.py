r"""Formulas as LaTeX, for amsmath: `W_{3}^{\top} (p - y) \odot \sigma'(z_{2}) \, v_{1}^{\top}`."""

from __future__ import annotations

import re
from collections.abc import Callable
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
from netlang.draw.formula_text import ATOM, POWER, PRODUCT, REDUCED, SUM, as_ratio, is_outer, number_text
from netlang.draw.signs import GREEK, name_parts
from netlang.graph.scalars import SCALARS

_RELATIONS = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", "mod": r"\bmod"}
_REDUCTIONS = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min"}
_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip
_BARE = re.compile(r" \{0\}$")  # a row whose argument stands beside its name, as in `\log {0}`


def formula_latex(formula: Formula) -> str:
    """The formula in mathematical mode."""
    return _strength(formula)[0]


def escaped(text: str) -> str:
    """Text outside mathematical mode."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def name_latex(name: str) -> str:
    base, below = name_parts(name)
    inner = f"\\{base}" if base in GREEK else base if len(base) == 1 else f"\\mathit{{{escaped(base)}}}"
    marks = ",".join(b if b.isdigit() else f"\\text{{{escaped(b)}}}" for b in below)
    return f"{inner}_{{{marks}}}" if marks else inner


def _strength(formula: Formula) -> tuple[str, int]:
    return _PRINTERS[type(formula)](formula)


def _wrap(formula: Formula, strength: int) -> str:
    text, own = _strength(formula)
    return text if own >= strength else _fenced(text)


def _fenced(inside: str) -> str:
    tall = any(word in inside for word in (r"\frac", r"\sum", r"\prod", r"\max", r"\min", r"\begin"))
    return f"\\left({inside}\\right)" if tall else f"({inside})"


def _number(f: Number) -> tuple[str, int]:
    ratio = as_ratio(f.value)
    if ratio is not None and f.value > 0:
        return f"\\frac{{{ratio[0]}}}{{{ratio[1]}}}", ATOM
    text = number_text(f.value).replace("∞", r"\infty")
    if "e" in text and "infty" not in text:
        digits, exponent = text.split("e")
        text = f"{digits} \\cdot 10^{{{int(exponent)}}}"
    return text, ATOM if f.value >= 0 else SUM


def _sum(f: Sum) -> tuple[str, int]:
    out = ""
    for k, (sign, term) in enumerate(f.terms):
        text = _wrap(term, REDUCED if k == len(f.terms) - 1 else PRODUCT)
        out = f"{out} {'+' if sign > 0 else '-'} {text}" if out else text if sign > 0 else f"-{text}"
    return out, SUM


def _product(f: Product) -> tuple[str, int]:
    first, *rest = f.factors
    if isinstance(first, Number) and first.value < 0:
        left = rest if first.value == -1 else [Number(-first.value), *rest]
        return f"-{_wrap(Product(tuple(left)) if len(left) > 1 else left[0], REDUCED)}", SUM
    parts = []
    for k, factor in enumerate(f.factors):
        last = k == len(f.factors) - 1
        outer = k == len(f.factors) - 2 and is_outer(f)
        least = PRODUCT if outer or isinstance(factor, Fraction) else POWER
        parts.append(_wrap(factor, REDUCED if isinstance(factor, Reduction) and last else least))
    return r" \, ".join(parts), REDUCED if isinstance(f.factors[-1], Reduction) else PRODUCT


def _hadamard(f: Hadamard) -> tuple[str, int]:
    def factor(part: Formula) -> str:
        outer = isinstance(part, Product) and isinstance(part.factors[-1], Transpose)
        return _wrap(part, POWER if outer else PRODUCT)

    return r" \odot ".join(factor(part) for part in f.factors), PRODUCT


def _power(f: Power) -> tuple[str, int]:
    return f"{_in_power(f.base)}^{{{formula_latex(f.exponent)}}}", POWER


def _in_power(base: Formula) -> str:
    if isinstance(base, Symbol):
        return name_latex(base.name)
    inside = _fenced(formula_latex(base)) if isinstance(base, Adjoint) else _wrap(base, ATOM)
    return f"{{{inside}}}"


def _call(f: Call) -> tuple[str, int]:
    args = [formula_latex(a) for a in f.args]
    if f.name == "sqrt":
        return f"\\sqrt{{{args[0]}}}", ATOM
    template = SCALARS[f.name].latex if f.row and f.name in SCALARS else ""
    if template:
        if _BARE.search(template):
            return template.format(_wrap(f.args[0], ATOM)), POWER
        return template.format(*args), POWER
    name = f"\\{f.name}" if f.name in GREEK else f"\\operatorname{{{escaped(f.name)}}}"
    mark = "'" if f.prime else ""
    return f"{name}{mark}{_fenced(', '.join(args))}", ATOM


def _relation(f: Relation) -> tuple[str, int]:
    return f"{formula_latex(f.left)} {_RELATIONS.get(f.op, f.op)} {formula_latex(f.right)}", SUM


def _logic(f: Logic) -> tuple[str, int]:
    if f.op == "not":
        return f"\\text{{not }} {_wrap(f.parts[0], ATOM)}", SUM
    word = f" \\text{{ {f.op} }} "
    return word.join(_wrap(p, ATOM) if isinstance(p, Logic) else formula_latex(p) for p in f.parts), SUM


def _cases(f: Cases) -> tuple[str, int]:
    then, otherwise = formula_latex(f.then), formula_latex(f.otherwise)
    where = formula_latex(f.statement)
    return f"\\begin{{cases}} {then} & \\text{{if }} {where} \\\\ {otherwise} & \\text{{else}} \\end{{cases}}", ATOM


def _reduction(f: Reduction) -> tuple[str, int]:
    bounds = ("" if extent is None else f" < {formula_latex(extent)}" for _, extent in f.ranges)
    ranges = r",\, ".join(name_latex(name) + bound for (name, _), bound in zip(f.ranges, bounds, strict=True))
    sign = _REDUCTIONS.get(f.op, f"\\operatorname*{{{f.op}}}")
    return f"{sign}_{{{ranges}}} {_wrap(f.body, REDUCED)}", REDUCED


def _element(f: Element) -> tuple[str, int]:
    return f"{_wrap(f.base, ATOM)}[{', '.join(formula_latex(i) for i in f.indices)}]", ATOM


def _adjoint(f: Adjoint) -> tuple[str, int]:
    return f"\\frac{{\\partial {name_latex(f.objective)}}}{{\\partial {name_latex(f.of)}}}", ATOM


_PRINTERS: dict[type[Formula], Callable[[Any], tuple[str, int]]] = {
    Number: _number,
    Symbol: lambda f: (name_latex(f.name), ATOM),
    Adjoint: _adjoint,
    Element: _element,
    Sum: _sum,
    Product: _product,
    Hadamard: _hadamard,
    Fraction: lambda f: (f"\\frac{{{formula_latex(f.over)}}}{{{formula_latex(f.under)}}}", PRODUCT),
    Power: _power,
    Column: lambda f: (_fenced(r",\, ".join(map(formula_latex, f.elements))), ATOM),
    Transpose: lambda f: (f"{_in_power(f.base)}^{{\\top}}", POWER),
    Norm: lambda f: (f"\\left\\lVert {formula_latex(f.base)} \\right\\rVert", ATOM),
    Call: _call,
    Floor: lambda f: (f"\\left\\lfloor {formula_latex(f.base)} \\right\\rfloor", ATOM),
    Relation: _relation,
    Logic: _logic,
    Bracket: lambda f: (f"\\left[{formula_latex(f.statement)}\\right]", ATOM),
    Cases: _cases,
    Reduction: _reduction,
}
