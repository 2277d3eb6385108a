r"""Formulas as LaTeX, for amsmath: `W_{3}^{\top} (p - y) \odot \sigma'(z_{2}) \, v_{1}^{\top}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from netlang.draw.formula import formula as form
from netlang.draw.formula.binding import ATOM, POWER, PRODUCT, REDUCED, SUM, factors, hadamard, negated, strength, terms
from netlang.draw.formula.signs import GREEK, as_ratio, name_parts, number_text
from netlang.graph.scalars import SCALARS

_RELATIONS = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", "mod": r"\bmod"}
_REDUCTIONS = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min"}
_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip
_BARE = re.compile(r" \{0\}$")  # a row whose argument stands beside its name, as in `\log {0}`


def formula_latex(formula: form.Formula) -> str:
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


def _strength(formula: form.Formula) -> tuple[str, int]:
    return _PRINTERS[type(formula)](formula)


def _wrap(formula: form.Formula, least: int) -> str:
    text, own = _strength(formula)
    return text if own >= least else _fenced(text)


def _fenced(inside: str) -> str:
    tall = any(word in inside for word in (r"\frac", r"\sum", r"\prod", r"\max", r"\min", r"\begin"))
    return f"\\left({inside}\\right)" if tall else f"({inside})"


def _number(f: form.Number) -> tuple[str, int]:
    ratio = as_ratio(f.value)
    if ratio is not None and f.value > 0:
        return f"\\frac{{{ratio[0]}}}{{{ratio[1]}}}", ATOM
    text = number_text(f.value).replace("∞", r"\infty")
    if "e" in text and "infty" not in text:
        digits, exponent = text.split("e")
        text = f"{digits} \\cdot 10^{{{int(exponent)}}}"
    return text, ATOM if f.value >= 0 else SUM


def _sum(f: form.Sum) -> tuple[str, int]:
    out = ""
    for sign, term, least in terms(f):
        text = _wrap(term, least)
        out = f"{out} {'+' if sign > 0 else '-'} {text}" if out else text if sign > 0 else f"-{text}"
    return out, SUM


def _product(f: form.Product) -> tuple[str, int]:
    if (rest := negated(f)) is not None:
        return f"-{_wrap(rest, REDUCED)}", SUM
    return r" \, ".join(_wrap(factor, least) for factor, least in factors(f)), strength(f)


def _hadamard(f: form.Hadamard) -> tuple[str, int]:
    return r" \odot ".join(_wrap(factor, least) for factor, least in hadamard(f)), PRODUCT


def _power(f: form.Power) -> tuple[str, int]:
    return f"{_in_power(f.base)}^{{{formula_latex(f.exponent)}}}", POWER


def _in_power(base: form.Formula) -> str:
    if isinstance(base, form.Symbol):
        return name_latex(base.name)
    inside = _fenced(formula_latex(base)) if isinstance(base, form.Adjoint) else _wrap(base, ATOM)
    return f"{{{inside}}}"


def _call(f: form.Call) -> tuple[str, int]:
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


def _relation(f: form.Relation) -> tuple[str, int]:
    return f"{formula_latex(f.left)} {_RELATIONS.get(f.op, f.op)} {formula_latex(f.right)}", SUM


def _logic(f: form.Logic) -> tuple[str, int]:
    if f.op == "not":
        return f"\\text{{not }} {_wrap(f.parts[0], ATOM)}", SUM
    word = f" \\text{{ {f.op} }} "
    return word.join(_wrap(p, ATOM) if isinstance(p, form.Logic) else formula_latex(p) for p in f.parts), SUM


def _cases(f: form.Cases) -> tuple[str, int]:
    then, otherwise = formula_latex(f.then), formula_latex(f.otherwise)
    where = formula_latex(f.statement)
    return f"\\begin{{cases}} {then} & \\text{{if }} {where} \\\\ {otherwise} & \\text{{else}} \\end{{cases}}", ATOM


def _reduction(f: form.Reduction) -> tuple[str, int]:
    bounds = ("" if extent is None else f" < {formula_latex(extent)}" for _, extent in f.ranges)
    ranges = r",\, ".join(name_latex(name) + bound for (name, _), bound in zip(f.ranges, bounds, strict=True))
    sign = _REDUCTIONS.get(f.op, f"\\operatorname*{{{f.op}}}")
    return f"{sign}_{{{ranges}}} {_wrap(f.body, REDUCED)}", REDUCED


def _element(f: form.Element) -> tuple[str, int]:
    return f"{_wrap(f.base, ATOM)}[{', '.join(formula_latex(i) for i in f.indices)}]", ATOM


def _adjoint(f: form.Adjoint) -> tuple[str, int]:
    return f"\\frac{{\\partial {name_latex(f.objective)}}}{{\\partial {name_latex(f.of)}}}", ATOM


_PRINTERS: dict[type[form.Formula], Callable[[Any], tuple[str, int]]] = {
    form.Number: _number,
    form.Symbol: lambda f: (name_latex(f.name), ATOM),
    form.Adjoint: _adjoint,
    form.Element: _element,
    form.Sum: _sum,
    form.Product: _product,
    form.Hadamard: _hadamard,
    form.Fraction: lambda f: (f"\\frac{{{formula_latex(f.over)}}}{{{formula_latex(f.under)}}}", PRODUCT),
    form.Power: _power,
    form.Column: lambda f: (_fenced(r",\, ".join(map(formula_latex, f.elements))), ATOM),
    form.Transpose: lambda f: (f"{_in_power(f.base)}^{{\\top}}", POWER),
    form.Norm: lambda f: (f"\\left\\lVert {formula_latex(f.base)} \\right\\rVert", ATOM),
    form.Call: _call,
    form.Floor: lambda f: (f"\\left\\lfloor {formula_latex(f.base)} \\right\\rfloor", ATOM),
    form.Relation: _relation,
    form.Logic: _logic,
    form.Bracket: lambda f: (f"\\left[{formula_latex(f.statement)}\\right]", ATOM),
    form.Cases: _cases,
    form.Reduction: _reduction,
}
