"""NumPy's `.npz` archives, read without pickle; every damaged member is a diagnostic that names it."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib

import numpy as np

from netlang.diagnostics import fail
from netlang.runtime.data import Array, Dataset
from netlang.runtime.storage import read_bytes

__all__ = ["open_npz"]

_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, TypeError, NotImplementedError,
    RuntimeError, OverflowError, SyntaxError, tokenize.TokenError, LookupError, struct.error,
)  # fmt: skip


def open_npz(path: str) -> Dataset:
    """The arrays of the file by name.

    Raises `NetlangError`: `data-file` (not an archive, a damaged or pickled member, too large for the memory),
    `file-not-found`, `cannot-read`.
    """
    data = read_bytes(path)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _DAMAGE as error:
        fail(
            "data-file",
            f"`{path}` is not a whole `.npz` archive",
            place=path,
            notes=[f"the reader says: {error}"],
            help="write it with `numpy.savez(path, image=images, digit=labels)`",
        )
    with archive:
        members = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
        arrays = {entry.filename.removesuffix(".npy"): _member(path, archive, entry) for entry in members}
    return Dataset.labelled(arrays, origin=path)


def _member(path: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    try:
        with archive.open(entry) as file:
            # The header is checked against the declared size first, so that a lie costs no memory.
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(file)
            count = int(np.prod([int(n) for n in shape], dtype=object))
            if not dtype.hasobject and count * dtype.itemsize > entry.file_size:
                raise ValueError("the array is larger than its member")
        with archive.open(entry) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (*_DAMAGE, MemoryError) as error:
        fail(
            "data-file",
            f"array `{entry.filename.removesuffix('.npy')}` cannot be read",
            place=f"{path}!{entry.filename}",
            notes=[f"the reader says: {error}"],
            help="netlang reads plain arrays of numbers, never pickled objects; write the file again",
        )
