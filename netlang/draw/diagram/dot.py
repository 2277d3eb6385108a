"""DOT text: statements in the order they are added, with every name and label escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from netlang.draw.diagram.style import FONT, INK, MUTED, SMALL, TEXT, WIRE

_PLAIN = re.compile(r"[^\W\d]\w*|-?\d+(\.\d+)?", re.ASCII)
_SPACES = "\n\N{NO-BREAK SPACE}"
_ENTITY = re.compile(r"&(?=#?\w+;)")  # Graphviz reads entities in plain labels too
_KEYWORDS = frozenset(("node", "edge", "graph", "digraph", "subgraph", "strict"))


@dataclass(frozen=True)
class Markup:
    """An HTML-like label; build it with the functions below, which escape the text they are given."""

    text: str


Value = str | int | float | Markup


def printable(text: str) -> str:
    """Text without what XML or DOT cannot hold: control characters and lone surrogates become U+FFFD."""
    return "".join(c if c.isprintable() or c in _SPACES else "\N{REPLACEMENT CHARACTER}" for c in text)


def escape(text: str) -> str:
    """Text inside an HTML-like label; newlines become line breaks.

    Backslashes are doubled: Graphviz replaces `\\N` and its like in HTML-like labels too.
    """
    text = printable(text).replace("\\", "\\\\")
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(plain, entity)
    return text.replace("\n", "<BR/>")


def quote(value: Value) -> str:
    """A DOT identifier or attribute value; plain words and numbers stay bare."""
    if isinstance(value, Markup):
        return f"<{value.text}>"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _KEYWORDS:
        return text
    text = _ENTITY.sub("&amp;", printable(text)).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def font(text: str, *, size: int = TEXT, color: str = INK, bold: bool = False) -> str:
    """Escaped text as markup."""
    inner = escape(text)
    inner = f"<B>{inner}</B>" if bold else inner
    return f'<FONT POINT-SIZE="{size}" COLOR="{color}">{inner}</FONT>' if text else ""


def small(text: str, color: str = MUTED) -> str:
    return font(text, size=SMALL, color=color)


def lines(*parts: str, align: str = "CENTER") -> Markup:
    """Markup lines one below the other; empty ones are left out. A table, because Graphviz centres tables only."""
    cells = "".join(f'<TR><TD ALIGN="{align}">{part}</TD></TR>' for part in parts if part)
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">'
    # Graphviz sets text high in its row; the empty row evens that out
    return Markup(f'{table}<TR><TD HEIGHT="3"></TD></TR>{cells}</TABLE>' if cells else " ")


@dataclass
class Dot:
    """A directed graph as DOT text, written statement by statement."""

    name: str
    attributes: dict[str, Value] = field(default_factory=dict)
    _body: list[str] = field(default_factory=list)
    _depth: int = 1

    def node(self, name: str, label: str | Markup, **attributes: Value) -> None:
        self._add(f"{quote(name)} {_attributes({'label': label, **attributes})}")

    def edge(self, tail: str, head: str, **attributes: Value) -> None:
        listed = f" {_attributes(attributes)}" if attributes else ""
        self._add(f"{quote(tail)} -> {quote(head)}{listed}")

    def same_rank(self, *names: str) -> None:
        self._add(f"{{rank=same; {'; '.join(quote(n) for n in names)}}}")

    @contextmanager
    def cluster(self, name: str, label: str | Markup, **attributes: Value) -> Iterator[None]:
        """The statements added inside are drawn in a frame."""
        self._add(f"subgraph {quote(f'cluster {name}')} {{")
        self._depth += 1
        for key, value in {"label": label, **attributes}.items():
            self._add(f"{key}={quote(value)}")
        yield
        self._depth -= 1
        self._add("}")

    def text(self) -> str:
        """The whole file; equal calls give equal text."""
        head: dict[str, Value] = {"fontname": FONT, "fontcolor": INK, "bgcolor": "white", "pad": 0.25}
        node: dict[str, Value] = {"fontname": FONT, "fontsize": TEXT, "fontcolor": INK}
        edge: dict[str, Value] = {"fontname": FONT, "fontsize": SMALL, "fontcolor": MUTED, "color": WIRE}
        node |= {"shape": "box", "style": "rounded,filled", "penwidth": 1.1, "margin": "0.14,0.07", "height": 0.3}
        edge |= {"arrowsize": 0.6, "penwidth": 1.1}
        return "\n".join(
            [
                f"digraph {quote(self.name)} {{",
                f"  graph {_attributes(head | self.attributes)}",
                f"  node {_attributes(node)}",
                f"  edge {_attributes(edge)}",
                *self._body,
                "}",
                "",
            ]
        )

    def _add(self, statement: str) -> None:
        self._body.append("  " * self._depth + statement)


def _attributes(attributes: dict[str, Value]) -> str:
    return "[" + ", ".join(f"{key}={quote(value)}" for key, value in attributes.items()) + "]"
