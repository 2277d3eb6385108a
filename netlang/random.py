"""Counter-based randomness: number n of a stream is a function of the stream's key and n, with no state to carry.

So draws can be made in any order, on any number of threads, or again in the backward pass, and are the same draws. The
CPU target computes the same numbers inside kernels: bit for bit for `uniform`, to rounding for `normal`.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
MULTIPLY_2 = np.uint64(0x94D049BB133111EB)


def derive_key(seed: int, *parts: int | str) -> int:
    """The key of an independent stream, from a seed and what the stream is for; 0 <= key < 2**63.

    Texts are hashed with the seed, integers mixed in afterwards, one by one: a program that counts steps needs no hash.

    >>> derive_key(0, "dropout", 1) == derive_key(0, "dropout", 1) != derive_key(0, "dropout", 2)
    True
    """
    key = base_key(seed, *("" if isinstance(part, int) else part for part in parts))
    for part in parts:
        if isinstance(part, int):
            key = _mixed((key + part * int(GOLDEN)) % 2**64)
    return key >> 1


@lru_cache(maxsize=1024)
def base_key(seed: int, *texts: str) -> int:
    """What `derive_key` mixes its integers into, each of which stands as `""` among the texts; 0 <= key < 2**64."""
    digest = hashlib.sha256()
    for encoded in (str(seed).encode(), *(text.encode() for text in texts)):
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return int.from_bytes(digest.digest()[:8], "little")


def _mixed(z: int) -> int:
    """SplitMix64's output function of a 64-bit state."""
    z = (z ^ (z >> 30)) * int(MULTIPLY_1) % 2**64
    z = (z ^ (z >> 27)) * int(MULTIPLY_2) % 2**64
    return z ^ (z >> 31)


def uniform(key: int, counters: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Numbers uniform on (0, 1), one for each counter (int64, any shape): never 0 or 1, and exact in float32.

    SplitMix64's output function (Steele, Lea and Flood, 2014) of `key + counter * golden`, in 64-bit arithmetic that
    wraps; of its top 23 bits, `(bits + 1/2) / 2**23`.
    """
    z = np.asarray(counters, np.int64).astype(np.uint64) * GOLDEN + np.uint64(key % 2**64)
    z = (z ^ (z >> np.uint64(30))) * MULTIPLY_1
    z = (z ^ (z >> np.uint64(27))) * MULTIPLY_2
    z = z ^ (z >> np.uint64(31))
    bits: npt.NDArray[Any] = z >> np.uint64(41)
    return (bits.astype(np.float64) + 0.5) * 2.0**-23


def normal(key: int, counters: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Standard normal numbers, one for each counter n: Box and Muller's (1958) cosine on uniforms 2n and 2n + 1."""
    n = np.asarray(counters, np.int64)
    radius = np.sqrt(-2.0 * np.log(uniform(key, 2 * n)))
    angle = 2.0 * np.pi * uniform(key, 2 * n + 1)
    return np.asarray(radius * np.cos(angle))
