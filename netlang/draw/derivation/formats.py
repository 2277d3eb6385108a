"""The formats of a derivation, by name; a writer is imported when it is asked for."""

from __future__ import annotations

from netlang.diagnostics import fail, listing, nearest
from netlang.draw.derivation.steps import Derivation

FORMATS = ("text", "latex", "html")


def write_derivation(derivation: Derivation, format: str = "text") -> str:
    """The derivation as `text`, `latex` (a document of its own) or `html` (one file, its mathematics in MathML).

    Raises `unknown-format`.
    """
    if format == "text":
        from netlang.draw.derivation.text import derivation_text

        return derivation_text(derivation)
    if format == "latex":
        from netlang.draw.derivation.latex import derivation_latex

        return derivation_latex(derivation)
    if format == "html":
        from netlang.draw.derivation.html import derivation_html

        return derivation_html(derivation)
    fail(
        "unknown-format",
        f"there is no format `{format}` of a derivation",
        help=nearest(format, FORMATS) or f"there are {listing(FORMATS)}",
    )
