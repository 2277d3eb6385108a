"""Files that are whole or absent: a write goes to a neighbour first and takes the name only when it is on the disk."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from netlang.diagnostics import fail

__all__ = ["read_bytes", "replacing"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing (and seeking) that becomes `path` when the block ends, at once and durably.

    The bytes go to a hidden neighbour, are flushed to the disk (fsync), and are then renamed over `path`, after which
    the directory is flushed too. Whatever stops the block, the previous content of `path` stays and the neighbour goes.
    A symbolic link is followed, so that the link survives.

    Raises `NetlangError` (`cannot-write`) where the system refuses.
    """
    target = Path(os.path.realpath(path))
    neighbour = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    renamed = False
    try:
        # O_EXCL and 0o666 rather than `tempfile`: the umask then gives the file the permissions of any other.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(neighbour, flags, 0o666), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(neighbour, target)
        renamed = True
        _flush_directory(target.parent)
    except OSError as error:
        fail(
            "cannot-write",
            f"`{os.fspath(path)}` cannot be written: {_reason(error)}",
            place=os.fspath(path),
            help="choose a folder that exists, that you may write to, and that has room",
        )
    finally:
        if not renamed:
            with contextlib.suppress(OSError):
                neighbour.unlink(missing_ok=True)


def read_bytes(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """The whole content of a file.

    Raises `NetlangError`: `file-not-found`, `cannot-read` (a folder, no permission), `file-too-large` (more than
    `limit` bytes).
    """
    place = os.fspath(path)
    try:
        with open(path, "rb") as file:
            if limit is None:
                return file.read()
            data = file.read(limit + 1)
    except FileNotFoundError:
        fail("file-not-found", f"there is no file `{place}`", place=place, help="check the path and the current folder")
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        fail("cannot-read", f"`{place}` cannot be read: {_reason(error)}", place=place, help="give a readable file")
    if len(data) > limit:
        fail("file-too-large", f"`{place}` has more than {limit} bytes", place=place, help="give a smaller file")
    return data


def _flush_directory(folder: Path) -> None:
    """Make the rename itself durable; systems that cannot open a folder (Windows) do that on their own."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse; the file's own content is flushed already
    finally:
        os.close(descriptor)


def _reason(error: OSError | ValueError) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]
