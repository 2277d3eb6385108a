"""Named arrays as bytes and back, in the safetensors format: a JSON header and raw little-endian numbers, no code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from netlang.diagnostics import InternalError, fail, listing

__all__ = ["pack_tensors", "unpack_tensors"]

Array = NDArray[np.generic]

STORED = {np.dtype(kind).str: np.dtype(kind) for kind in ("<f4", "<f8", "<i8", "<u8")}


def pack_tensors(tensors: Mapping[str, Array]) -> bytes:
    """The tensors (float32, float64, int64 or uint64, any shape) as one safetensors blob.

    Equal tensors give equal bytes, whatever their order in the mapping or in memory.
    """
    packed: dict[str, Array] = {}
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        kind = array.dtype.newbyteorder("<")
        if kind.str not in STORED:
            raise InternalError("pack_tensors", f"tensor `{name}` has dtype {array.dtype}, which is not stored")
        # The writer reads raw memory, so the array must be contiguous; `ascontiguousarray` would turn () into (1,).
        packed[name] = np.array(array, dtype=kind, order="C", copy=True)
    return save(packed)


def unpack_tensors(data: bytes, place: str = "tensors") -> dict[str, Array]:
    """The tensors of a safetensors blob, by name in sorted order; fresh arrays that may be written to.

    Raises `NetlangError` (`tensors-corrupt`) with `place` where the blob is truncated, inconsistent, or holds a dtype
    that netlang does not store.
    """
    try:
        loaded = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        fail(
            "tensors-corrupt",
            "the tensors cannot be read: the safetensors data are truncated or damaged",
            place=place,
            notes=[f"the reader says: {error}"],
            help="save the file again, or take a copy that is whole",
        )
    foreign = [name for name, array in sorted(loaded.items()) if array.dtype.str not in STORED]
    if foreign:
        fail(
            "tensors-corrupt",
            f"tensor `{foreign[0]}` has dtype {loaded[foreign[0]].dtype}, which netlang does not store",
            place=place,
            help=f"tensors are one of {listing(kind.name for kind in STORED.values())}",
        )
    return {name: np.array(loaded[name], order="C", copy=True) for name in sorted(loaded)}
