"""What netlang says when something is wrong: spans of source text, coded diagnostics, and the errors that carry them.

This module imports nothing of ours, so every other module may use it.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn


@dataclass(frozen=True, eq=False)
class Source:
    """A named text that spans point into; `name` is what messages print (usually the path as the user gave it)."""

    name: str
    text: str

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        return (0, *(k + 1 for k, c in enumerate(self.text) if c == "\n"))

    def place(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of a character offset."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        start = self.line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)]


@dataclass(frozen=True)
class Span:
    """The characters `start <= k < end` of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.place(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.place(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def __repr__(self) -> str:
        return f"<{self}>"


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong, where, why, and the way out.

    `code` is stable and documented by `netlang explain CODE`; `label` is printed under the marked text; `place` stands
    in for `span` where there is no netlang text to point at (a member of an artifact, a row of a data file).
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str = ""
    severity: str = "error"
    place: str = ""

    def render(self) -> str:
        """The diagnostic as a person reads it: header, place, the marked line, notes, help."""
        lines = [f"{self.severity}[{self.code}]: {self.message}"]
        margin = "  "
        if self.span is not None:
            number, column = self.span.line, self.span.column
            margin = " " * (len(str(number)) + 1)
            marked = self.span.source.line(number)
            width = max(1, min(self.span.end - self.span.start, len(marked) - column + 1))
            shown, column, width = _window(_printable(marked), column, width)
            lines += [
                f"{margin[:-1]}--> {self.span}",
                f"{margin}|",
                f"{number} | {shown}",
                f"{margin}| {' ' * (column - 1)}{'^' * width} {self.label}".rstrip(),
            ]
        elif self.place:
            lines.append(f" --> {self.place}")
        extra = [f"{margin}= note: {note}" for note in self.notes]
        extra += [f"{margin}= help: {self.help}"] if self.help else []
        if extra and self.span is not None:
            lines.append(f"{margin}|")
        return "\n".join(lines + extra)

    def as_json(self) -> dict[str, object]:
        """The diagnostic as a JSON-ready dictionary (the same facts `render` shows)."""
        where: dict[str, object] = {}
        if self.span is not None:
            end_line, end_column = self.span.source.place(self.span.end)
            where = {
                "file": self.span.source.name,
                "line": self.span.line,
                "column": self.span.column,
                "end_line": end_line,
                "end_column": end_column,
            }
        elif self.place:
            where = {"place": self.place}
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            **where,
            "label": self.label,
            "notes": list(self.notes),
            "help": self.help,
        }


class NetlangError(Exception):
    """Raised for anything the user can mend; carries one or more diagnostics, errors first."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        return "\n\n".join(d.render() for d in self.diagnostics)


class InternalError(Exception):
    """A defect of netlang itself: names the pass and the node, so that a wrong answer never leaves the compiler."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"internal error in {where}: {message}. This is a defect of netlang; please report it")


def fail(
    code: str,
    message: str,
    span: Span | None = None,
    *,
    label: str = "",
    notes: Iterable[str] = (),
    help: str = "",
    place: str = "",
) -> NoReturn:
    """Raise a `NetlangError` with one diagnostic."""
    raise NetlangError(Diagnostic(code, message, span, label, tuple(notes), help, place=place))


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the closest known word, or an empty string where none is close."""
    names = list(dict.fromkeys(known))
    word = str(word)  # names from Python may be anything
    close = [n for n in names if n.lower() == word.lower()] or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""


def listing(words: Iterable[str], most: int = 12) -> str:
    """Names as a readable list: `a`, `b`, `c` and 3 more."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) > most:
        return ", ".join(quoted[:most]) + f" and {len(quoted) - most} more"
    return ", ".join(quoted) if quoted else "none"


@dataclass
class Warnings:
    """Collects what a pass noticed without stopping (lints)."""

    found: list[Diagnostic] = field(default_factory=list)

    def add(self, code: str, message: str, span: Span | None = None, *, label: str = "", help: str = "") -> None:
        diagnostic = Diagnostic(code, message, span, label, (), help, "warning")
        if diagnostic not in self.found:
            self.found.append(diagnostic)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _window(text: str, column: int, width: int, limit: int = 140) -> tuple[str, int, int]:
    """Cut a long line to the part around the marked columns."""
    if len(text) <= limit:
        return text, column, width
    start = max(0, column - 1 - limit // 3)
    cut = text[start : start + limit]
    lead = "..." if start else ""
    tail = "..." if start + limit < len(text) else ""
    column = column - start + len(lead)
    return lead + cut + tail, column, max(1, min(width, len(lead + cut) - column + 1))
