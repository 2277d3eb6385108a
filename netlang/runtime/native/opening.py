"""Opening a native library: what is checked before anything of it is used, and where its values are."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing
from netlang.targets.cpu.address import aligned
from netlang.targets.cpu.library.digest import digest
from netlang.targets.cpu.library.format import FORMAT, MANIFEST, MANIFEST_HEAD, VALUES, VERSION

Array = npt.NDArray[Any]

MANIFEST_LIMIT = 1 << 24
AGAIN = "compile the net again, with `netlang compile --native`"
_MACHINES = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}  # ELF's numbers of architectures


def opened(path: str, place: str) -> ctypes.CDLL:
    if not os.path.exists(place):
        fail("file-not-found", f"there is no file `{path}`", place=path, help="check the path and the current folder")
    spelled = place
    try:
        with open(place, "rb") as file:
            head = file.read(64)
            state = os.fstat(file.fileno())
        if (wanted := _bytes(head)) > state.st_size:
            fail(
                "native-damaged",
                f"the library has {state.st_size:,} bytes of {wanted:,}",
                place=path,
                notes=["it was not copied to its end"],
                help="copy it again, or compile the net again, with `netlang compile --native`",
            )
        spelled = _spelled(place, (state.st_ino, state.st_mtime_ns))
        library = ctypes.CDLL(spelled)
    except OSError as error:
        if isinstance(error, IsADirectoryError | PermissionError):
            fail("cannot-read", f"`{path}` cannot be read", place=path, help="give a library that you may read")
        architecture = _architecture(head)
        if architecture and architecture != platform.machine():
            fail(
                "native-other-machine",
                f"the library is for {architecture}, this machine is {platform.machine()}",
                place=path,
                help="compile the net on a machine of this kind",
            )
        fail(
            "native-not-one",
            "the system does not load this as a shared library",
            place=path,
            notes=[f"the system says: {error}".replace(spelled, path)],
            help=AGAIN,
        )
    return library


def _spelled(place: str, identity: tuple[int, int]) -> str:
    """The path, spelled in a way of its own for this file: systems give the library that they have loaded from an equal
    path, even where another file has taken its place."""
    folder, name = os.path.split(place)
    bits = f"{hash(identity) % 2**64:064b}"
    return folder + "".join("/." if bit == "1" else "/" for bit in bits) + "/" + name


def _architecture(head: bytes) -> str:
    """The architecture that an ELF header states."""
    return _MACHINES.get(int.from_bytes(head[18:20], "little"), "") if head.startswith(b"\x7fELF") else ""


def _bytes(head: bytes) -> int:
    """How many bytes a library has at least, by its ELF header: the table of its sections is the last thing in it.

    A system would load one that is shorter, and end the process where it reads behind the end of the file.
    """
    if not head.startswith(b"\x7fELF") or len(head) < 64:
        return 0
    is_64 = head[4] == 2
    order: Literal["little", "big"] = "little" if head[5] == 1 else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], order)

    start, each, count = (40, 58, 60) if is_64 else (32, 46, 48)
    return number(start, 8 if is_64 else 4) + number(each, 2) * number(count, 2)


def read_manifest(path: str, library: ctypes.CDLL) -> dict[str, Any]:
    """The manifest, which is read without running anything of the library."""
    try:
        head = bytes((ctypes.c_ubyte * MANIFEST_HEAD).in_dll(library, MANIFEST))
    except ValueError:
        fail("native-not-one", "this library was not made by netlang", place=path, help=AGAIN)
    length = int.from_bytes(head[:8], "little")
    if length > MANIFEST_LIMIT:
        fail("native-damaged", "the manifest of the library is damaged", place=path, help=AGAIN)
    text = bytes((ctypes.c_ubyte * (MANIFEST_HEAD + length)).in_dll(library, MANIFEST))[MANIFEST_HEAD:]
    if hashlib.sha256(text).digest() != head[8:]:
        fail("native-damaged", "the manifest of the library is damaged", place=path, help=AGAIN)
    manifest: dict[str, Any] = json.loads(text)
    if (manifest.get("format"), manifest.get("version")) != (FORMAT, VERSION):
        fail(
            "native-version",
            f"the library has format version {manifest.get('version')}, this netlang reads version {VERSION}",
            place=path,
            help=f"use the netlang that made it ({manifest.get('netlang')}), or compile the net again",
        )
    return manifest


def require_features(path: str, manifest: Mapping[str, Any], library: ctypes.CDLL) -> None:
    ask = library[f"{manifest['prefix']}_missing_features"]
    ask.restype, ask.argtypes = ctypes.c_int64, []
    missing = ask()
    lacking = [name for k, name in enumerate(manifest["features"]) if missing >> k & 1]
    if lacking:
        fail(
            "native-other-machine",
            f"the library needs a processor with {listing(lacking)}, which this one lacks",
            place=path,
            help="compile the net on this machine, or for every machine of its kind: `--cpu x86-64-v3`, `--cpu x86-64`",
        )


def read_values(path: str, library: ctypes.CDLL, manifest: Mapping[str, Any], verify: bool) -> Array:
    """The bytes of the net's struct: those in the library as they are, or a copy where they change or lie beside it."""
    facts = manifest["values"]
    if facts["embedded"]:
        address = library[f"{manifest['prefix']}_net"]
        address.restype, address.argtypes = ctypes.c_void_p, []
        embedded = (ctypes.c_ubyte * facts["bytes"]).from_address(address())
        values: Array = np.frombuffer(embedded, np.uint8)
        values.flags.writeable = False
    else:
        values = _beside(os.path.splitext(path)[0] + VALUES, facts["bytes"])
    if verify and digest(values) != facts["digest"]:
        fail("native-damaged", "the values are not those that the library was compiled with", place=path, help=AGAIN)
    changes = any(f["changes"] for f in manifest["functions"].values())
    if not changes:
        return values
    copy = aligned(values.shape, np.uint8)
    copy[...] = values
    return copy


def _beside(path: str, count: int) -> Array:
    try:
        values: Array = np.fromfile(path, np.uint8)
    except OSError:
        fail(
            "file-not-found",
            f"there is no file `{path}`, which has the values of the library",
            place=path,
            help="keep it beside the library",
        )
    if len(values) != count:
        fail("native-damaged", f"the file has {len(values):,} bytes, not {count:,}", place=path, help=AGAIN)
    return values
