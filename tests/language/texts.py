"""The texts that the tests of the language share, and a compact way to show a tree."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from netlang.diagnostics import Source
from netlang.language import tree

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.net"))


def source(text: str, name: str = "test.net") -> Source:
    return Source(name, text)


def shown(node: object, indent: int = 0) -> str:
    """A tree as nested parentheses, small nodes on one line."""
    flat = _flat(node)
    if len(flat) + indent <= 110 or not isinstance(node, tree.Tree | tuple):
        return flat
    pad = "\n" + " " * (indent + 2)
    if isinstance(node, tuple):
        return f"[{''.join(pad + shown(part, indent + 2) for part in node)}]"
    parts = [
        f"{pad}{field.name}={shown(getattr(node, field.name), indent + 2)}"
        for field in dataclasses.fields(node)
        if field.compare and getattr(node, field.name) not in (None, ())
    ]
    return f"({type(node).__name__}{''.join(parts)})"


def _flat(node: object) -> str:
    match node:
        case tree.Name(id=name):
            return name
        case tree.Number(text=text):
            return text
        case tree.Text(value=value):
            return f'"{value}"'
        case tree.Rest():
            return "..."
        case tree.Boolean(value=value):
            return str(value).lower()
        case tree.Binary(op=op, left=left, right=right):
            return f"({op} {_flat(left)} {_flat(right)})"
        case tree.Unary(op=op, operand=operand):
            return f"({op} {_flat(operand)})"
        case tuple():
            return f"[{' '.join(_flat(part) for part in node)}]"
        case tree.Tree():
            parts = [getattr(node, field.name) for field in dataclasses.fields(node) if field.compare]
            return f"({' '.join([type(node).__name__.lower(), *map(_flat, parts)])})"
        case None:
            return "-"
        case _:
            return str(node)
