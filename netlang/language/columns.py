"""Columns: parts of consecutive lines that stand under one another, as in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from netlang.language.folding import WIDTH, Line
from netlang.language.pieces import joined

SUBJECT = "subject"  # what follows a keyword
DRAWN = "drawn"  # the `~` of a line that declares one tensor
NEXT = "next"  # the `<-` of an update
BODY = "body"  # the `=` of a definition in one line
CONDITION = "condition"  # the `if` or `when` at the end of such a line
_COMMENT = "comment"


@dataclass(frozen=True)
class _Row:
    """A line on its way: what is aligned already, what is to come by the name of its column, all the names."""

    text: str
    rest: tuple[tuple[str, str], ...]
    names: frozenset[str]


def aligned(lines: Sequence[Line]) -> list[str]:
    """The text of consecutive one-line statements.

    A column is aligned in each stretch of lines that have it, unless a line would become too long so. A stretch of `~`
    and `<-` shares the column of its conditions, two spaces behind the longest line that has one or a `~`.
    """
    rows = [_row(line) for line in lines]
    for name, member in _COLUMNS:
        rows = [row for stretch in _stretches(rows, member) for row in _align(stretch, name, member)]
    return [row.text for row in rows]


_Member = Callable[[_Row], bool]


def _has(*names: str) -> _Member:
    return lambda row: not row.names.isdisjoint(names)


_COLUMNS: tuple[tuple[str, _Member], ...] = (
    *((name, _has(name)) for name in (SUBJECT, DRAWN, NEXT, BODY)),
    (CONDITION, _has(DRAWN, NEXT)),
    (_COMMENT, _has(_COMMENT)),
)


def _row(line: Line) -> _Row:
    marks = [0, *(k for k, piece in enumerate(line.pieces) if piece.column), len(line.pieces)]
    parts = [
        (line.pieces[first].column, joined(line.pieces[first:last])) for first, last in pairwise(marks) if first < last
    ]
    if line.comment:
        parts.append((_COMMENT, line.comment))
    (_, text), *rest = parts
    return _Row(" " * line.indent + text, tuple(rest), frozenset(name for name, _ in rest))


def _stretches(rows: Sequence[_Row], member: _Member) -> Iterator[list[_Row]]:
    """The rows in stretches of members; each other row by itself."""
    for inside, stretch in groupby(rows, member):
        if inside:
            yield list(stretch)
        else:
            yield from ([row] for row in stretch)


def _align(rows: list[_Row], name: str, member: _Member) -> list[_Row]:
    """Move on by one column: write what stands in it."""
    gap = 2 if name == _COMMENT or (name == CONDITION and len(rows) > 1) else 1
    start = max((len(row.text) for row in rows if row.names & {name, DRAWN}), default=0) + gap
    if name != _COMMENT and any(start + _length(row) > WIDTH for row in rows if name in row.names):
        return [_moved(row, name, len(row.text) + 1) for row in rows]
    return [_moved(row, name, start) for row in rows]


def _length(row: _Row) -> int:
    """How long the columns that are still to be written are, at the least."""
    parts = [text for name, text in row.rest if name != _COMMENT]
    return sum(map(len, parts)) + len(parts) - 1


def _moved(row: _Row, name: str, start: int) -> _Row:
    if not row.rest or row.rest[0][0] != name:
        return row
    return _Row(row.text.ljust(start) + row.rest[0][1], row.rest[1:], row.names)
