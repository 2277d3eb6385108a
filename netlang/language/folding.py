"""From the pieces of a statement to lines: comments end lines, the author's breaks stay, long lines are cut."""

from __future__ import annotations

from collections.abc import Sequence

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
    waiting = list(comments)
    for piece in pieces:
        passed = [comment for comment in waiting if comment.span.start < piece.at]
        waiting = waiting[len(passed) :]
        if (passed or piece.broken) and segments[-1][1]:
            segments[-1][2].extend(comment for comment in passed if not comment.alone)
            segments.append(([comment for comment in passed if comment.alone], [], []))
        elif passed:
            segments[-1][0].extend(passed)
        segments[-1][1].append(piece)
    segments[-1][2].extend(waiting)
    return segments


def _cut(pieces: Sequence[Piece], margin: int, next_margin: int) -> list[list[Piece]]:
    """Cut pieces that do not fit on one line, at the best places there are and as late as each line allows."""
    lines: list[list[Piece]] = []
    pending = [list(pieces)]
    while pending:
        part = pending.pop()
        room = WIDTH - (next_margin if lines else margin)
        places = [k for k, piece in enumerate(part) if k and piece.rank is not None]
        if len(joined(part)) <= room or not places:
            lines.append(part)
            continue
        best = min(part[k].rank or 0 for k in places)
        good = [k for k in places if part[k].rank == best]
        fitting = [k for k in good if len(joined(part[:k])) <= room]
        place = fitting[-1] if fitting else good[0]
        pending += [part[place:], part[:place]]
    return lines
