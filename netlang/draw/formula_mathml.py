"""Formulas as MathML Core, which browsers draw by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
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
from netlang.draw.signs import GREEK, RELATIONS, name_parts

_REDUCTIONS = {"sum": "∑", "prod": "∏"}
_THIN = '<mspace width="0.17em"></mspace>'
_WIDE = '<mspace width="0.4em"></mspace>'


def formula_mathml(formula: Formula) -> str:
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


def _strength(formula: Formula) -> tuple[str, int]:
    return _PRINTERS[type(formula)](formula)


def _inner(formula: Formula) -> str:
    return _strength(formula)[0]


def _wrap(formula: Formula, strength: int) -> str:
    text, own = _strength(formula)
    return text if own >= strength else _fenced("(", text, ")")


def _commas(formulas: Iterable[Formula]) -> str:
    return "<mo>,</mo>".join(_inner(f) for f in formulas)


def _sum(f: Sum) -> tuple[str, int]:
    out: list[str] = []
    for k, (sign, term) in enumerate(f.terms):
        if out or sign < 0:
            out.append(_sign("+" if sign > 0 else "−", **({} if out else {"form": "prefix"})))
        out.append(_wrap(term, REDUCED if k == len(f.terms) - 1 else PRODUCT))
    return _row(*out), SUM


def _product(f: Product) -> tuple[str, int]:
    first, *rest = f.factors
    if isinstance(first, Number) and first.value < 0:
        left = rest if first.value == -1 else [Number(-first.value), *rest]
        inner = Product(tuple(left)) if len(left) > 1 else left[0]
        return _row(_sign("−", form="prefix"), _wrap(inner, REDUCED)), SUM
    parts = []
    for k, factor in enumerate(f.factors):
        last = k == len(f.factors) - 1
        outer = k == len(f.factors) - 2 and is_outer(f)
        least = PRODUCT if outer or isinstance(factor, Fraction) else POWER
        parts.append(_wrap(factor, REDUCED if isinstance(factor, Reduction) and last else least))
    return _row(_THIN.join(parts)), REDUCED if isinstance(f.factors[-1], Reduction) else PRODUCT


def _hadamard(f: Hadamard) -> tuple[str, int]:
    def factor(part: Formula) -> str:
        outer = isinstance(part, Product) and isinstance(part.factors[-1], Transpose)
        return _wrap(part, POWER if outer else PRODUCT)

    return _row(_sign("⊙").join(factor(part) for part in f.factors)), PRODUCT


def _raised(base: Formula, above: str) -> str:
    if isinstance(base, Symbol):
        return name_mathml(base.name, above)
    inside = _fenced("(", _inner(base), ")") if isinstance(base, Adjoint) else _row(_wrap(base, ATOM))
    return f"<msup>{inside}{above}</msup>"


def _call(f: Call) -> tuple[str, int]:
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
    if f.row and len(f.args) == 1 and isinstance(f.args[0], Symbol | Element):
        return _row(name, "<mo>&#x2061;</mo>", _THIN, _inner(f.args[0])), POWER
    return _row(name, "<mo>&#x2061;</mo>", _fenced("(", _commas(f.args), ")")), ATOM


def _relation(f: Relation) -> tuple[str, int]:
    sign = f"{_WIDE}<mtext>mod</mtext>{_WIDE}" if f.op == "mod" else _sign(RELATIONS[f.op])
    return _row(_inner(f.left), sign, _inner(f.right)), SUM


def _logic(f: Logic) -> tuple[str, int]:
    if f.op == "not":
        return _row("<mtext>not</mtext>", _WIDE, _wrap(f.parts[0], ATOM)), SUM
    word = f"{_WIDE}<mtext>{f.op}</mtext>{_WIDE}"
    return _row(word.join(_wrap(p, ATOM) if isinstance(p, Logic) else _inner(p) for p in f.parts)), SUM


def _cases(f: Cases) -> tuple[str, int]:
    rows = [
        f"<mtr><mtd>{_inner(f.then)}</mtd><mtd><mtext>if </mtext>{_inner(f.statement)}</mtd></mtr>",
        f"<mtr><mtd>{_inner(f.otherwise)}</mtd><mtd><mtext>else</mtext></mtd></mtr>",
    ]
    return _row(_sign("{", stretchy="true"), f"<mtable>{''.join(rows)}</mtable>"), ATOM


def _reduction(f: Reduction) -> tuple[str, int]:
    bounds = ("" if extent is None else f"{_sign('<')}{_inner(extent)}" for _, extent in f.ranges)
    ranges = "<mo>,</mo>".join(name_mathml(n) + bound for (n, _), bound in zip(f.ranges, bounds, strict=True))
    large = f.op in _REDUCTIONS
    sign = _sign(_REDUCTIONS.get(f.op, f.op), **({"movablelimits": "false"} if large else {}))
    return _row(f"<munder>{sign}{_row(ranges)}</munder>", _THIN, _wrap(f.body, REDUCED)), REDUCED


def _element(f: Element) -> tuple[str, int]:
    return _row(_wrap(f.base, ATOM), _fenced("[", _commas(f.indices), "]")), ATOM


def _adjoint(f: Adjoint) -> tuple[str, int]:
    over, under = (_row("<mo>∂</mo>", name_mathml(name)) for name in (f.objective, f.of))
    return f"<mfrac>{over}{under}</mfrac>", ATOM


def _number(f: Number) -> tuple[str, int]:
    ratio = as_ratio(f.value)
    if ratio is not None and f.value > 0:
        return f"<mfrac><mn>{ratio[0]}</mn><mn>{ratio[1]}</mn></mfrac>", ATOM
    text = number_text(abs(f.value))
    if f.value < 0:
        return _row(_sign("−", form="prefix"), f"<mn>{text}</mn>"), SUM
    return f"<mn>{text}</mn>", ATOM


_PRINTERS: dict[type[Formula], Callable[[Any], tuple[str, int]]] = {
    Number: _number,
    Symbol: lambda f: (name_mathml(f.name), ATOM),
    Adjoint: _adjoint,
    Element: _element,
    Sum: _sum,
    Product: _product,
    Hadamard: _hadamard,
    Fraction: lambda f: (f"<mfrac>{_row(_inner(f.over))}{_row(_inner(f.under))}</mfrac>", PRODUCT),
    Power: lambda f: (_raised(f.base, _row(_inner(f.exponent))), POWER),
    Column: lambda f: (_fenced("(", _commas(f.elements), ")"), ATOM),
    Transpose: lambda f: (_raised(f.base, "<mo>⊤</mo>"), POWER),
    Norm: lambda f: (_fenced("‖", _inner(f.base), "‖"), ATOM),
    Call: _call,
    Floor: lambda f: (_fenced("⌊", _inner(f.base), "⌋"), ATOM),
    Relation: _relation,
    Logic: _logic,
    Bracket: lambda f: (_fenced("[", _inner(f.statement), "]"), ATOM),
    Cases: _cases,
    Reduction: _reduction,
}
