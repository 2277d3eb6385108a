"""The `.netc` container: a zip of text, JSON and safetensors members with a manifest of sizes and SHA-256 hashes.

Members are stored, not compressed, so no file can unfold into more than its own size, and equal members give equal
bytes. Reading runs nothing and unpickles nothing: it returns named bytes, or a diagnostic. The hashes find damage and
edits that forgot the manifest; they are not a signature, so they do not say who wrote the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import NoReturn

from netlang.diagnostics import InternalError, fail
from netlang.runtime.storage import read_bytes, replacing

__all__ = ["FORMAT_VERSION", "MANIFEST", "read_artifact", "write_artifact"]

FORMAT = "netlang-artifact"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

SIZE_LIMIT = 8 << 30
"""Bytes of a whole artifact; a larger file is refused before it is read."""
MEMBER_LIMIT = 1024
MANIFEST_LIMIT = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can say: equal members must give equal bytes
_AGAIN = "save the network again, or take a copy that is whole"


def write_artifact(path: str | os.PathLike[str], members: Mapping[str, bytes]) -> None:
    """Write the members (names such as `graph.json` or `params/main.safetensors`) to `path`, whole or not at all.

    Raises `NetlangError` (`cannot-write`) where the system refuses; the previous file then stays.
    """
    for name in members:
        if name == MANIFEST or not _well_named(name):
            raise InternalError("write_artifact", f"`{name}` cannot be the name of a member")
    manifest = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "members": {name: {"size": len(members[name]), "sha256": _digest(members[name])} for name in sorted(members)},
    }
    contents = {MANIFEST: json.dumps(manifest, indent=1).encode(), **{name: members[name] for name in sorted(members)}}
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)


def read_artifact(path: str | os.PathLike[str]) -> Mapping[str, bytes]:
    """The verified members of an artifact by name (without the manifest), in sorted order.

    Raises `NetlangError`, its place naming the file and the member:
    `file-not-found`, `cannot-read`, `file-too-large`, `artifact-not-one` (not a zip), `artifact-truncated`,
    `artifact-manifest` (absent or malformed), `artifact-version`, `artifact-member` (an unsafe name, a duplicate, a
    compressed or encrypted member), `artifact-missing`, `artifact-extra` and `artifact-tampered`.
    """
    return _Reader(os.fspath(path)).members()


class _Reader:
    """One reading of one artifact; each step trusts only what the steps before it have checked."""

    def __init__(self, path: str) -> None:
        self.path = path

    def members(self) -> dict[str, bytes]:
        data = read_bytes(self.path, SIZE_LIMIT)
        if not data.startswith(b"PK\x03\x04"):
            self.refuse(
                "artifact-not-one",
                "this is not a netlang artifact",
                help="artifacts are made by `netlang compile`, `netlang train` or `net.save`",
            )
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                entries = self.entries(archive, len(data))
                declared = self.manifest(archive, entries)
                self.same_names(entries, declared)
                return {name: self.member(archive, entries[name], declared[name]) for name in sorted(declared)}
        except (
            zipfile.BadZipFile,
            EOFError,
            ValueError,
            LookupError,
            struct.error,
            NotImplementedError,
            OSError,
        ) as error:
            self.refuse(
                "artifact-truncated",
                "the artifact is truncated or damaged",
                notes=[f"the reader says: {error}"],
            )

    def entries(self, archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
        """The directory of the zip, its names and sizes checked before any member is read."""
        entries: dict[str, zipfile.ZipInfo] = {}
        if len(archive.infolist()) > MEMBER_LIMIT:
            self.refuse("artifact-member", f"the artifact has more than {MEMBER_LIMIT} members")
        for entry in archive.infolist():
            name = entry.filename
            if not _well_named(entry.orig_filename):
                self.refuse(
                    "artifact-member", f"{entry.orig_filename!r:.80} is not a name that a member may have", name
                )
            if name in entries:
                self.refuse("artifact-member", f"two members are called `{name}`", name)
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                self.refuse("artifact-member", f"member `{name}` is compressed or encrypted", name)
            entries[name] = entry
        if sum(entry.file_size for entry in entries.values()) > size:
            self.refuse("artifact-member", "the members claim more bytes than the file has")
        return entries

    def manifest(self, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> dict[str, tuple[int, str]]:
        """Size and hash of each member, as declared."""
        if MANIFEST not in entries:
            self.refuse("artifact-manifest", f"the artifact has no `{MANIFEST}`", MANIFEST)
        if entries[MANIFEST].file_size > MANIFEST_LIMIT:
            self.refuse("artifact-manifest", f"the manifest has more than {MANIFEST_LIMIT} bytes", MANIFEST)
        try:
            document = json.loads(self.bytes_of(archive, entries[MANIFEST]))
            if document["format"] != FORMAT:
                raise ValueError(f"the format is {document['format']!r:.80}")
            version = document["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self.refuse("artifact-manifest", "the manifest is not one that netlang wrote", MANIFEST)
        if version != FORMAT_VERSION or isinstance(version, bool):
            self.refuse(
                "artifact-version",
                f"the artifact has format version {version!r:.40}, this netlang reads version {FORMAT_VERSION}",
                MANIFEST,
                help="use the netlang that wrote it, or compile the `.net` file again",
            )
        try:
            declared = {name: (fact["size"], fact["sha256"]) for name, fact in document["members"].items()}
            if not all(type(size) is int and type(digest) is str for size, digest in declared.values()):
                raise TypeError("sizes are integers and hashes are strings")
        except (KeyError, TypeError, AttributeError):
            self.refuse("artifact-manifest", "the manifest does not list the members", MANIFEST)
        return declared

    def same_names(self, entries: Mapping[str, zipfile.ZipInfo], declared: Mapping[str, tuple[int, str]]) -> None:
        present = entries.keys() - {MANIFEST}
        for name in sorted(declared.keys() - present):
            self.refuse("artifact-missing", f"member `{name:.80}` is missing", name[:80])
        for name in sorted(present - declared.keys()):
            self.refuse("artifact-extra", f"member `{name}` is not in the manifest", name)

    def member(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, declared: tuple[int, str]) -> bytes:
        data = self.bytes_of(archive, entry)
        if (len(data), _digest(data)) != declared:
            self.refuse("artifact-tampered", f"member `{entry.filename}` is not what the manifest says", entry.filename)
        return data

    def bytes_of(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
        try:
            return archive.read(entry)
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, zlib.error) as error:
            self.refuse(
                "artifact-tampered",
                f"member `{entry.filename}` is damaged",
                entry.filename,
                notes=[f"the reader says: {error}"],
            )

    def refuse(
        self, code: str, message: str, member: str = "", *, notes: list[str] | None = None, help: str = _AGAIN
    ) -> NoReturn:
        fail(code, message, place=f"{self.path}!{member}" if member else self.path, notes=notes or (), help=help)


def _well_named(name: str) -> bool:
    """Whether a member's name is a plain relative path: no drive, no `..`, no hidden or absolute part."""
    return len(name) <= 200 and _NAME.fullmatch(name) is not None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
