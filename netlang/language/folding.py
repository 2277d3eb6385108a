"""From the pieces of a statement to lines: comments end lines, the author's breaks stay, long lines are cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from netlang.language.notation import Piece, joined
from netlang.language.tree import Comment

WIDTH = 100


def fold(pieces: Sequence[Piece], comments: Sequence[Comment], indent: int, step: int = 4) -> list[str]:
    """The lines of a statement with the comments inside it; lines after the first are indented by `step` more.

    A comment at the end of a line ends one here; one on its own line stays on its own line.
    """
    segments = _segments(pieces, comments)
    lines: list[str] = []
    for above, segment, after in segments:
        margin = indent + (step if lines else 0)
        lines += [" " * margin + comment.text for comment in above]
        for k, part in enumerate(_cut(segment, margin, indent + step)):
            lines.append(" " * (indent + step if k or lines else margin) + joined(part))
        if after:
            lines[-1] += "  " + "  ".join(comment.text for comment in after)
    return lines


_Segment = tuple[list[Comment], list[Piece], list[Comment]]


def _segments(pieces: Sequence[Piece], comments: Sequence[Comment]) -> list[_Segment]:
    """Pieces between breaks that must be, each with the comments above it and at its end."""
    segments: list[_Segment] = [([], [], [])]
    written = 0
    for piece in pieces:
        first = written
        while written < len(comments) and comments[written].span.start < piece.at:
            written += 1
        passed = comments[first:written]
        if (passed or piece.broken) and segments[-1][1]:
            segments[-1][2].extend(comment for comment in passed if not comment.alone)
            segments.append(([comment for comment in passed if comment.alone], [], []))
        elif passed:
            segments[-1][0].extend(passed)
        segments[-1][1].append(piece)
    segments[-1][2].extend(comments[written:])
    return segments


def _cut(pieces: Sequence[Piece], margin: int, next_margin: int) -> list[Sequence[Piece]]:
    """Cut pieces that do not fit on one line, at the best places there are and as late as each line allows."""
    ends = list(accumulate((len(piece.text) + piece.space for piece in pieces), initial=0))

    def fits(start: int, end: int) -> bool:
        room = WIDTH - (next_margin if start else margin)
        return ends[end] - ends[start] - pieces[start].space <= room

    lines: list[Sequence[Piece]] = []
    pending = [(0, len(pieces))]
    while pending:
        start, end = pending.pop()
        ranks = [piece.rank for piece in pieces[start + 1 : end] if piece.rank is not None]
        if fits(start, end) or not ranks:
            lines.append(pieces[start:end])
            continue
        best = min(ranks)
        places = [k for k in range(start + 1, end) if pieces[k].rank == best]
        cuts = [start]
        for place, following in pairwise([*places, end]):
            if not fits(cuts[-1], following):
                cuts.append(place)
        cuts.append(end)
        pending += reversed(list(pairwise(cuts)))
    return lines
