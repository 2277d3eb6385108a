"""The signs of mathematics that names and operators are printed with: Greek letters, relations, large operators."""

from __future__ import annotations

import re

from netlang.graph.scalars import SCALARS

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
