"""Plain texts: UTF-8 files, a text written in place, and a text that comes with Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netlang.diagnostics import Source, fail, listing, nearest
from netlang.runtime.data import Array
from netlang.runtime.storage import read_bytes

__all__ = ["TEXTS", "Rows", "Text", "decoded", "open_bundled_text", "open_text"]

TEXTS = ("topics",)


@dataclass(frozen=True)
class Text:
    """One long text; `origin` is what messages call it (a path)."""

    text: str
    origin: str = "the text"

    def place(self, offset: int) -> str:
        """Where a character is, for messages."""
        line, column = Source(self.origin, self.text).place(offset)
        return f"{self.origin}:{line}:{column}"


@dataclass(frozen=True)
class Rows:
    """Columns of short texts, one for each example, and arrays of what else the examples have, all by name.

    `lines` has the line of each example, where it was read from a file.
    """

    texts: Mapping[str, Sequence[str]]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origin: str = "the data"
    lines: Sequence[int] = ()

    def place(self, row: int) -> str:
        """Where an example is, for messages."""
        return f"{self.origin}:{self.lines[row]}" if self.lines else f"row {row} of {self.origin}"


def open_text(path: str) -> Text:
    """The text of a UTF-8 file, its line ends as line feeds, without a byte order mark.

    Raises `NetlangError`: `data-file` (with line and column of what is not UTF-8), `file-not-found`, `cannot-read`.
    """
    return Text(decoded(path, read_bytes(path)).replace("\r\n", "\n").replace("\r", "\n"), path)


def decoded(path: str, data: bytes) -> str:
    """The text of the bytes of a file. Raises `NetlangError` (`data-file`)."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # offsets are those after a byte order mark, which is gone from the object that the error has
        line_start = error.object.rfind(b"\n", 0, error.start) + 1
        line = error.object.count(b"\n", 0, error.start) + 1
        column = len(error.object[line_start : error.start].decode("utf-8")) + 1
        fail(
            "data-file",
            f"the byte 0x{error.object[error.start]:02x} is not UTF-8 text",
            place=f"{path}:{line}:{column}",
            help="save the file as UTF-8",
        )


def open_bundled_text(name: str) -> Text:
    """`topics`: the help texts of Python, in the sorted order of their names, as the running version has them.

    Raises `NetlangError` (`data-source`) for another name.
    """
    origin = f"python:{name}"
    if name not in TEXTS:
        fail(
            "data-source",
            f"there is no text `{origin}`",
            place=origin,
            help=nearest(name, TEXTS) or f"there is {listing(f'python:{text}' for text in TEXTS)}",
        )
    from pydoc_data.topics import topics

    return Text("\n".join(topics[topic] for topic in sorted(topics)), origin)
