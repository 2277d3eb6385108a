"""The pieces that a statement is written in: text that stays together, and where lines may be broken between pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from netlang.language import tree

# How good a place for a line break is, best first; brackets around it, and lists, make any place worse.
ITEM, STAGE, EQUALS, CLAUSE, OPERATOR, FACTOR = range(6)
DEEPER = 6


@dataclass(frozen=True)
class Piece:
    """Text that stays together.

    `at` is the offset in the source of what the piece writes (that of its operand for an operator, -1 where it is not
    known) and `space` says that there is a space in front of it. `rank` says how good a place for a line break is in
    front of it (None: none); `kept` that a break which the author has there stays even if the line is short, and
    `forced` that there always is one. A line that starts with the piece starts in the column of piece `under`. `column`
    names the column, shared with the neighbouring lines, that starts here; there is none in brackets and lists.
    """

    text: str
    at: int = -1
    space: bool = False
    rank: int | None = None
    kept: bool = False
    forced: bool = False
    under: int | None = None
    column: str = ""


def joined(pieces: Sequence[Piece]) -> str:
    """Pieces on one line."""
    return "".join((" " if piece.space and k else "") + piece.text for k, piece in enumerate(pieces))


class Pieces:
    """Collects the pieces of a statement."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._depth = 0
        self._tight = False  # whether short products are written without spaces
        self._under: int | None = None  # the first piece in the innermost bracket

    def put(self, text: str, at: int = -1, *, space: bool = False, rank: int | None = None, column: str = "") -> None:
        deep = None if rank is None else rank + DEEPER * self._depth
        column = "" if self._depth else column
        self.pieces.append(Piece(text, at, space, deep, under=self._under, column=column))

    def close(self, text: str, at: int = -1) -> None:
        """Append to the last piece: a comma, a colon, a bracket.

        A closing bracket that is known to be `at` some place in the source is a piece, so that a comment that is in
        front of it there can stay.
        """
        if at >= 0:
            self.put(text, at)
        else:
            self.pieces[-1] = replace(self.pieces[-1], text=self.pieces[-1].text + text)

    def lead(self, text: str, following: tree.Tree, rank: int, *, under: int | None = None, column: str = "") -> None:
        """An operator or a keyword in front of an operand; a break there is the author's to choose, but in brackets."""
        self.put(text, following.span.start, space=True, rank=rank, column=column)
        piece = self.pieces[-1]
        self.pieces[-1] = replace(piece, kept=not self._depth, under=piece.under if under is None else under)

    def line(self, text: str, at: int = -1) -> None:
        """A piece that is a line of its own."""
        self.pieces.append(Piece(text, at, forced=True))

    def allow(self, index: int, rank: int) -> None:
        """Allow a break in front of a piece already written."""
        piece = self.pieces[index]
        rank += DEEPER * self._depth
        self.pieces[index] = replace(piece, rank=rank if piece.rank is None else min(piece.rank, rank))

    def mark(self, index: int, column: str) -> None:
        """Start a column with a piece already written."""
        self.pieces[index] = replace(self.pieces[index], column=column)

    @contextmanager
    def inside(self, *, tight: bool = False) -> Iterator[None]:
        """Within brackets, or a list; `tight` says that short products are written without spaces."""
        before = self._tight, self._under
        self._tight, self._under = tight, len(self.pieces)
        self._depth += 1
        yield
        self._depth -= 1
        self._tight, self._under = before
