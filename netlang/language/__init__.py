"""From text to syntax tree and back: the parser, the tree, the formatter."""

from netlang.diagnostics import Source
from netlang.language import tree
from netlang.language.parser import Entry, decode, index_definitions, parse, parse_definition

__all__ = ["Entry", "decode", "expression_text", "format", "index_definitions", "parse", "parse_definition"]


def expression_text(expression: tree.Expression) -> str:
    """The canonical text of an expression, on one line."""
    from netlang.language import notation

    return notation.expression_text(expression)


def format(source: Source) -> str:
    """The text of a file in the canonical layout; its tree is the same.

    Four spaces for each level, one blank line between definitions, lines of up to 120 characters, columns aligned in
    consecutive lines; comments stay where they are. Raises `NetlangError` where the file does not parse.
    """
    from netlang.language import formatter  # few commands need it

    return formatter.format(source)
