"""From the pieces of a statement to lines: comments end lines, the author's breaks stay, long lines are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from netlang.language.pieces import DEEPER, EQUALS, Piece, joined
from netlang.language.tree import Comment

WIDTH = 120

_FARTHEST = WIDTH // 2
"""A line does not start farther to the right than this to stand under something."""


@dataclass(frozen=True)
class Line:
    """A line of the result: pieces, a comment, or pieces with a comment behind them."""

    indent: int
    pieces: Sequence[Piece]
    comment: str = ""

    def __str__(self) -> str:
        return " " * self.indent + "  ".join(text for text in (joined(self.pieces), self.comment) if text)


def fold(pieces: Sequence[Piece], comments: Sequence[Comment], source: str, indent: int, step: int = 4) -> list[Line]:
    """The lines of a statement with the comments in it; a line with nothing to stand under is indented by `step` more.

    A comment at the end of a line ends one here, and one on its own line stays on its own line; a statement with a
    comment inside keeps all the breaks that the author has. Where a line that results would be written differently the
    next time, as its breaks are the author's then, that is done at once.
    """
    above, after = _placed(pieces, comments)
    breaks = _author_breaks(pieces, source)
    must = {k for k in range(1, len(pieces)) if k in above or k in after or pieces[k].forced}
    folder = _Folder(pieces, indent, step)
    commented = bool(above) or any(k < len(pieces) for k in after)
    starts: set[int] = set()
    while starts != breaks:
        breaks = starts or breaks
        starts = folder.starts(must | {k for k in breaks if pieces[k].kept or commented}, breaks)
    lines: list[Line] = []
    for start, end in pairwise([*sorted(starts), len(pieces)]):
        margin = folder.margin(start)
        lines += [Line(margin, (), comment.text) for comment in above.get(start, ())]
        lines.append(Line(margin, pieces[start:end], after.get(end, "")))
    return lines


def _placed(
    pieces: Sequence[Piece], comments: Sequence[Comment]
) -> tuple[dict[int, Sequence[Comment]], dict[int, str]]:
    """The comments above the line that starts with a piece, and at the end of the line before it."""
    above: dict[int, Sequence[Comment]] = {}
    after: dict[int, str] = {}
    written = 0
    for k, piece in enumerate(pieces):
        first = written
        while written < len(comments) and comments[written].span.start < piece.at:
            written += 1
        passed = comments[first:written]
        if passed and k and not passed[0].alone:
            after[k] = passed[0].text
            passed = passed[1:]
        if passed:
            above[k] = passed
    for comment in comments[written:]:
        after[len(pieces)] = comment.text
    return above, after


def _author_breaks(pieces: Sequence[Piece], source: str) -> set[int]:
    """The places for a break at which the source has one; the start of the first line is one."""
    found = {0}
    previous = pieces[0].at
    for k, piece in enumerate(pieces):
        if piece.at >= 0:
            if k and piece.rank is not None and "\n" in source[previous : piece.at]:
                found.add(k)
            previous = piece.at
    return found


class _Folder:
    def __init__(self, pieces: Sequence[Piece], indent: int, step: int) -> None:
        self._pieces = pieces
        self._indent, self._step = indent, step
        self._ends = list(accumulate((len(piece.text) + piece.space for piece in pieces), initial=0))
        self._columns = [0] * len(pieces)

    def margin(self, start: int) -> int:
        """The column of a line that starts with a piece; those before it have been placed."""
        under = self._pieces[start].under
        if start and under is not None and under != start and self._columns[under] <= _FARTHEST:
            return self._columns[under]
        return self._indent + (self._step if start else 0)

    def starts(self, must: set[int], may: set[int]) -> set[int]:
        """Where lines start: at what `must`, at what `may` if that is in a line too long, and where lines are cut."""
        found: set[int] = set()
        for start, end in pairwise([*sorted(must | {0}), len(self._pieces)]):
            if self._fits(start, end):
                self._place(start, end, found)
                continue
            inner = [k for k in range(start + 1, end) if k in may]
            for first, last in pairwise([start, *inner, end]):
                self._cut(first, last, found)
        return found

    def _cut(self, start: int, end: int, found: set[int]) -> None:
        """Cut pieces that do not fit on one line, at the best places there are and as late as each line allows."""
        pending: list[tuple[int, int, Sequence[int]]] = [(start, end, ())]
        while pending:
            start, end, places = pending.pop()
            if self._fits(start, end):
                self._place(start, end, found)
                continue
            places = places or self._best(start, end)
            if not places:
                self._place(start, end, found)
                continue
            k = 0
            while k + 1 < len(places) and self._fits(start, places[k + 1]):
                k += 1
            pending.append((places[k], end, places[k + 1 :]))
            pending.append((start, places[k], ()))

    def _best(self, start: int, end: int) -> Sequence[int]:
        """The best places for a break between two pieces."""
        ranks: dict[int, list[int]] = {}
        for k in range(start + 1, end):
            rank = self._pieces[k].rank
            if rank is not None:
                ranks.setdefault(rank, []).append(k)
        for place in ranks.get(EQUALS, ()):
            # what is one term all the same, and too long for a line, is better broken where it stands
            room = WIDTH - self._indent - self._step
            if self._length(place, end) > room and not any(EQUALS < rank < DEEPER for rank in ranks):
                del ranks[EQUALS]
                break
        return ranks[min(ranks)] if ranks else ()

    def _fits(self, start: int, end: int) -> bool:
        return self.margin(start) + self._length(start, end) <= WIDTH

    def _length(self, start: int, end: int) -> int:
        return self._ends[end] - self._ends[start] - self._pieces[start].space

    def _place(self, start: int, end: int, found: set[int]) -> None:
        found.add(start)
        offset = self.margin(start) - self._ends[start] - self._pieces[start].space
        for k in range(start, end):
            self._columns[k] = offset + self._ends[k] + self._pieces[k].space
