"""Formulas as MathML Core, which browsers draw by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from netlang.draw.formula import formula as form
from netlang.draw.formula.binding import ATOM, POWER, PRODUCT, REDUCED, SUM, factors, hadamard, negated, strength, terms
from netlang.draw.formula.signs import GREEK, RELATIONS, as_ratio, name_parts, number_text

_REDUCTIONS = {"sum": "∑", "prod": "∏"}
_THIN = '<mspace width="0.17em"></mspace>'
_WIDE = '<mspace width="0.4em"></mspace>'


def formula_mathml(formula: form.Formula) -> str:
    """The formula as a `math` element in display style."""
    return f'<math displaystyle="true">{_strength(formula)[0]}</math>'


def name_mathml(name: str, above: str = "") -> str:
    """A name, its subscripts, and what stands above on the right."""
    base, below = name_parts(name)
    inner = f"<mi>{escape(GREEK.get(base, base))}</mi>"
    if not below:
        return f"<msup>{inner}{above}</msup>" if above else inner
    marks = "<mo>,</mo>".join(f"<mn>{b}</mn>" if b.isdigit() else f"<mtext>{escape(b)}</mtext>" for b in below)
    marked = f"{inner}<mrow>{marks}</mrow>"
    return f"<msubsup>{marked}{above}</msubsup>" if above else f"<msub>{marked}</msub>"


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _sign(sign: str, **attributes: str) -> str:
    return f"<mo{''.join(f' {k}={chr(34)}{v}{chr(34)}' for k, v in attributes.items())}>{escape(sign)}</mo>"


def _fenced(left: str, inside: str, right: str) -> str:
    # without `stretchy` the fences of plain rows keep the height of the text
    tall = "true" if "<mfrac>" in inside or "<munder>" in inside else "false"
    return _row(_sign(left, stretchy=tall), inside, _sign(right, stretchy=tall))


def _strength(formula: form.Formula) -> tuple[str, int]:
    return _PRINTERS[type(formula)](formula)


def _inner(formula: form.Formula) -> str:
    return _strength(formula)[0]


def _wrap(formula: form.Formula, least: int) -> str:
    text, own = _strength(formula)
    return text if own >= least else _fenced("(", text, ")")


def _commas(formulas: Iterable[form.Formula]) -> str:
    return "<mo>,</mo>".join(_inner(f) for f in formulas)


def _sum(f: form.Sum) -> tuple[str, int]:
    out: list[str] = []
    for sign, term, least in terms(f):
        if out or sign < 0:
            out.append(_sign("+" if sign > 0 else "−", **({} if out else {"form": "prefix"})))
        out.append(_wrap(term, least))
    return _row(*out), SUM


def _product(f: form.Product) -> tuple[str, int]:
    if (rest := negated(f)) is not None:
        return _row(_sign("−", form="prefix"), _wrap(rest, REDUCED)), SUM
    return _row(_THIN.join(_wrap(factor, least) for factor, least in factors(f))), strength(f)


def _hadamard(f: form.Hadamard) -> tuple[str, int]:
    return _row(_sign("⊙").join(_wrap(factor, least) for factor, least in hadamard(f))), PRODUCT


def _raised(base: form.Formula, above: str) -> str:
    if isinstance(base, form.Symbol):
        return name_mathml(base.name, above)
    inside = _fenced("(", _inner(base), ")") if isinstance(base, form.Adjoint) else _row(_wrap(base, ATOM))
    return f"<msup>{inside}{above}</msup>"


def _call(f: form.Call) -> tuple[str, int]:
    if f.name == "sqrt":
        return f"<msqrt>{_inner(f.args[0])}</msqrt>", ATOM
    if f.row and f.name == "exp":
        return f"<msup><mi>e</mi>{_inner(f.args[0])}</msup>", POWER
    if f.row and f.name == "abs":
        return _fenced("|", _inner(f.args[0]), "|"), ATOM
    if f.row and f.name == "floor":
        return _fenced("⌊", _inner(f.args[0]), "⌋"), ATOM
    name = f'<mi mathvariant="normal">{escape(GREEK.get(f.name, f.name))}</mi>'
    if f.prime:
        name = f"<msup>{name}<mo>′</mo></msup>"
    if f.row and len(f.args) == 1 and isinstance(f.args[0], form.Symbol | form.Element):
        return _row(name, "<mo>&#x2061;</mo>", _THIN, _inner(f.args[0])), POWER
    return _row(name, "<mo>&#x2061;</mo>", _fenced("(", _commas(f.args), ")")), ATOM


def _relation(f: form.Relation) -> tuple[str, int]:
    sign = f"{_WIDE}<mtext>mod</mtext>{_WIDE}" if f.op == "mod" else _sign(RELATIONS[f.op])
    return _row(_inner(f.left), sign, _inner(f.right)), SUM


def _logic(f: form.Logic) -> tuple[str, int]:
    if f.op == "not":
        return _row("<mtext>not</mtext>", _WIDE, _wrap(f.parts[0], ATOM)), SUM
    word = f"{_WIDE}<mtext>{f.op}</mtext>{_WIDE}"
    return _row(word.join(_wrap(p, ATOM) if isinstance(p, form.Logic) else _inner(p) for p in f.parts)), SUM


def _cases(f: form.Cases) -> tuple[str, int]:
    rows = [
        f"<mtr><mtd>{_inner(f.then)}</mtd><mtd><mtext>if </mtext>{_inner(f.statement)}</mtd></mtr>",
        f"<mtr><mtd>{_inner(f.otherwise)}</mtd><mtd><mtext>else</mtext></mtd></mtr>",
    ]
    return _row(_sign("{", stretchy="true"), f"<mtable>{''.join(rows)}</mtable>"), ATOM


def _reduction(f: form.Reduction) -> tuple[str, int]:
    bounds = ("" if extent is None else f"{_sign('<')}{_inner(extent)}" for _, extent in f.ranges)
    ranges = "<mo>,</mo>".join(name_mathml(n) + bound for (n, _), bound in zip(f.ranges, bounds, strict=True))
    large = f.op in _REDUCTIONS
    sign = _sign(_REDUCTIONS.get(f.op, f.op), **({"movablelimits": "false"} if large else {}))
    return _row(f"<munder>{sign}{_row(ranges)}</munder>", _THIN, _wrap(f.body, REDUCED)), REDUCED


def _element(f: form.Element) -> tuple[str, int]:
    return _row(_wrap(f.base, ATOM), _fenced("[", _commas(f.indices), "]")), ATOM


def _adjoint(f: form.Adjoint) -> tuple[str, int]:
    over, under = (_row("<mo>∂</mo>", name_mathml(name)) for name in (f.objective, f.of))
    return f"<mfrac>{over}{under}</mfrac>", ATOM


def _number(f: form.Number) -> tuple[str, int]:
    ratio = as_ratio(f.value)
    if ratio is not None and f.value > 0:
        return f"<mfrac><mn>{ratio[0]}</mn><mn>{ratio[1]}</mn></mfrac>", ATOM
    text = number_text(abs(f.value))
    if f.value < 0:
        return _row(_sign("−", form="prefix"), f"<mn>{text}</mn>"), SUM
    return f"<mn>{text}</mn>", ATOM


_PRINTERS: dict[type[form.Formula], Callable[[Any], tuple[str, int]]] = {
    form.Number: _number,
    form.Symbol: lambda f: (name_mathml(f.name), ATOM),
    form.Adjoint: _adjoint,
    form.Element: _element,
    form.Sum: _sum,
    form.Product: _product,
    form.Hadamard: _hadamard,
    form.Fraction: lambda f: (f"<mfrac>{_row(_inner(f.over))}{_row(_inner(f.under))}</mfrac>", PRODUCT),
    form.Power: lambda f: (_raised(f.base, _row(_inner(f.exponent))), POWER),
    form.Column: lambda f: (_fenced("(", _commas(f.elements), ")"), ATOM),
    form.Transpose: lambda f: (_raised(f.base, "<mo>⊤</mo>"), POWER),
    form.Norm: lambda f: (_fenced("‖", _inner(f.base), "‖"), ATOM),
    form.Call: _call,
    form.Floor: lambda f: (_fenced("⌊", _inner(f.base), "⌋"), ATOM),
    form.Relation: _relation,
    form.Logic: _logic,
    form.Bracket: lambda f: (_fenced("[", _inner(f.statement), "]"), ATOM),
    form.Cases: _cases,
    form.Reduction: _reduction,
}
