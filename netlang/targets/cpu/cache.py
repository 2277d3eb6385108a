"""Object code and what belongs to it, kept on disk by the hash of what determines it: a second run compiles nothing.

Entries are immutable files named by their key, written whole (temporary file, fsync, rename), so any number of
processes may share a directory. Each carries its length and SHA-256: a damaged entry is discarded and compiled again.
Code from here is executed, so a directory that other users may write is not used.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from netlang.diagnostics import Diagnostic

MAGIC = b"netlang object 1\n"
HEADER = len(MAGIC) + 8 + 32  # magic, length (little-endian), SHA-256
LIMIT = 512 * 2**20
SUFFIX = ".nlo"
ABANDONED = 3600.0  # seconds after which a temporary file has no writer any more

_room: dict[Path, int] = {}  # bytes that this process may store in a folder before it looks at all entries again


def key(parts: Iterable[str]) -> str:
    """The SHA-256, in hexadecimal, of strings; no two different sequences run together."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


@dataclass(frozen=True)
class ObjectCache:
    """The entries of one directory, of about `limit` bytes in all, beyond which the least recently used go."""

    path: Path
    limit: int = LIMIT

    def load(self, key: str) -> bytes | None:
        """What is kept under `key`, or None where there is none (or none that is whole)."""
        place = self._place(key)
        try:
            if not self._trusted():
                return None
            data = place.read_bytes()
        except OSError:
            return None
        payload = _payload(data)
        with suppress(OSError):
            if payload is None:
                place.unlink()
            else:
                os.utime(place)
        return payload

    def store(self, key: str, payload: bytes) -> bool:
        """Keep something; False (after one warning in a process) where the directory cannot be used."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._trusted():
                raise PermissionError("other users may write to it")
            handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=self.path)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(MAGIC + len(payload).to_bytes(8, "little") + hashlib.sha256(payload).digest() + payload)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self._place(key))
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            _warn(str(self.path), error.strerror or str(error))
            return False
        room = _room.get(self.path, 0) - HEADER - len(payload)
        _room[self.path] = room if room >= 0 else self._evict()
        return True

    def _place(self, key: str) -> Path:
        return self.path / (key + SUFFIX)

    def _trusted(self) -> bool:
        """Whether nobody but this user (or the administrator) can write here. Windows protects the user's folder."""
        if not hasattr(os, "geteuid"):
            return True
        found = self.path.stat()
        return found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o002

    def _evict(self) -> int:
        """Remove what is beyond the limit; returns how many bytes to store before looking again, which takes long."""
        entries: list[tuple[float, int, str]] = []
        with suppress(OSError), os.scandir(self.path) as found:
            for entry in found:
                with suppress(OSError):
                    state = entry.stat()
                    if entry.name.endswith(SUFFIX):
                        entries.append((state.st_mtime, state.st_size, entry.path))
                    elif entry.name.endswith(".tmp") and state.st_mtime < time.time() - ABANDONED:
                        os.unlink(entry.path)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries)[:-1]:  # the newest stays, however large
            if total <= self.limit:
                break
            with suppress(OSError):
                os.unlink(path)
                total -= size
        return max(self.limit - total, self.limit // 16)


def _payload(data: bytes) -> bytes | None:
    """What an entry holds, or None if it is not exactly as it was written."""
    payload = data[HEADER:]
    length, digest = data[len(MAGIC) : len(MAGIC) + 8], data[len(MAGIC) + 8 : HEADER]
    whole = (
        data.startswith(MAGIC)
        and int.from_bytes(length, "little") == len(payload)
        and hashlib.sha256(payload).digest() == digest
    )
    return payload if whole else None


@cache
def _warn(path: str, reason: str) -> None:
    message = f"compiled code is not kept: cannot write to `{path}` ({reason})"
    help = "set NETLANG_CACHE to a folder that you alone can write"
    sys.stderr.write(Diagnostic("cache-unwritable", message, help=help, severity="warning").render() + "\n")
