"""From text to syntax tree and back: the parser, the tree, the formatter."""

from netlang.language.formatter import format
from netlang.language.notation import expression_text
from netlang.language.parser import Entry, decode, index_definitions, parse, parse_definition

__all__ = ["Entry", "decode", "expression_text", "format", "index_definitions", "parse", "parse_definition"]
