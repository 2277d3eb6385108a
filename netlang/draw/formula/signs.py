"""The signs of mathematics that names, numbers and operators are printed with, from Greek letters to fractions."""

from __future__ import annotations

import re
from fractions import Fraction

from netlang.graph.scalars import SCALARS
from netlang.graph.text import number

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "pi": "π",
}  # fmt: skip

RELATIONS = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "=": "=", "!=": "≠", "mod": "mod"}

REDUCTIONS = {"sum": "Σ", "prod": "Π"}

_NUMBERED = re.compile(r"([A-Za-z]+)_?(\d+)")

# of a row of the table of scalar functions whose LaTeX is a single sign in front of the argument, as `\sigma({0})`
_SIGN = re.compile(r"\\(\w+)\(\{0\}\)")


def row_sign(row: str) -> str | None:
    """The Greek name of the sign that a scalar function is conventionally written with, where it has one."""
    found = _SIGN.fullmatch(SCALARS[row].latex) if row in SCALARS else None
    return found[1] if found and found[1] in GREEK else None


def name_parts(name: str) -> tuple[str, tuple[str, ...]]:
    """A name as a base and its subscripts: `W1` is W with 1, `conv_1.W` is W with `conv_1`."""
    scope, _, last = name.rpartition(".")
    numbered = _NUMBERED.fullmatch(last)
    base, below = (numbered[1], [numbered[2]]) if numbered else (last, [])
    return base, (*below, *([scope] if scope else []))


def unicode_name(name: str) -> str:
    """A name with a Greek letter for the word: `sigma` is σ, `batchnorm_1.gamma` is batchnorm_1.γ."""
    head, dot, last = name.rpartition(".")
    return head + dot + GREEK.get(last, last)


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
    ratio = Fraction(value).limit_denominator(9999)
    return (ratio.numerator, ratio.denominator) if ratio.numerator / ratio.denominator == value else None
