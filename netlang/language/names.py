"""The names that a part of a syntax tree refers to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields

from netlang.language import tree


def names_in(nodes: Iterable[tree.Tree]) -> Iterator[str]:
    """The names that are referred to, by a walk without recursion: an expression may be deep."""
    stack: list[object] = list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, tree.Name):
            yield node.id
        elif isinstance(node, tree.Require):
            yield from FILLED.findall(node.message.value)
            stack.append(node.condition)
        elif isinstance(node, tuple):
            stack.extend(node)
        elif isinstance(node, tree.Tree):
            skipped = _DEFINED.get(type(node), ())
            stack.extend(getattr(node, f.name) for f in fields(node) if f.name not in skipped)


FILLED = re.compile(r"\{(\w+)\}")  # a name in the message of a `require`

# where a name stands for itself rather than for what it means elsewhere
_DEFINED: dict[type, tuple[str, ...]] = {
    tree.Definition: ("name",),
    tree.Assign: ("names",),
    tree.Equation: ("name",),
    tree.Setting: ("keyword",),
}
