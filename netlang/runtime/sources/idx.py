"""IDX, the format of MNIST (LeCun et al.): a magic number, big-endian dimensions, then the values; perhaps gzipped."""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from typing import NoReturn

import numpy as np

from netlang.diagnostics import fail
from netlang.runtime.data import Array, Dataset
from netlang.runtime.storage import read_bytes

__all__ = ["open_idx", "read_idx"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LIMIT = 8 << 30  # bytes of values
_USAGE = "write `idx:image=train-images-idx3-ubyte.gz,digit=train-labels-idx1-ubyte.gz`"


def open_idx(spec: str, folder: str = "") -> Dataset:
    """The data set of `name=path,name=path`, relative paths from `folder`; values as stored (bytes stay 0 to 255).

    Raises `NetlangError`: `data-source` (the specification), and what `read_idx` raises.
    """
    arrays: dict[str, Array] = {}
    for part in spec.split(","):
        name, equals, path = (text.strip() for text in part.partition("="))
        if not (name and equals and path):
            fail("data-source", f"`{part}` is not of the form `name=path`", place=f"idx:{spec}", help=_USAGE)
        if name in arrays:
            fail("data-source", f"`{name}` is given twice", place=f"idx:{spec}", help=_USAGE)
        arrays[name] = read_idx(os.path.join(folder, path))
    return Dataset(arrays, origin=f"idx:{spec}")


def read_idx(path: str) -> Array:
    """The array in an IDX file, in its own dtype and the machine's byte order.

    Raises `NetlangError`: `data-file` (not IDX, truncated, too long, damaged compression), `file-not-found`,
    `cannot-read`.
    """
    data = read_bytes(path)
    plain = io.BytesIO(data)
    try:
        return _read(path, gzip.GzipFile(fileobj=plain) if data.startswith(b"\x1f\x8b") else plain)
    except (EOFError, zlib.error, OSError) as error:  # OSError: a damaged gzip header or checksum
        _refuse(path, "the compressed data are truncated or damaged", [f"the reader says: {error}"])


def _read(path: str, file: io.BytesIO | gzip.GzipFile) -> Array:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not 1 <= magic[3] <= 8:
        _refuse(path, "this is not an IDX file")
    dtype, rank = np.dtype(_DTYPES[magic[2]]), magic[3]
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        _refuse(path, "the file ends within its header")
    shape = struct.unpack(f">{rank}I", header)
    size = math.prod(shape) * dtype.itemsize
    if size > _LIMIT:
        _refuse(path, f"the header claims {size} bytes, more than {_LIMIT}")
    # One byte more than the header says, and never more, whatever a compressed file could unfold into.
    body = file.read(size + 1)
    if len(body) < size:
        row = len(body) * shape[0] // size
        _refuse(path, f"the file ends in row {row} of {shape[0]}", place=f"{path}:row {row}")
    if len(body) > size:
        _refuse(path, f"the file goes on after its last row, {shape[0] - 1}")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _refuse(path: str, message: str, notes: list[str] | None = None, *, place: str = "") -> NoReturn:
    fail("data-file", message, place=place or path, notes=notes or (), help="take a whole copy of the file")
