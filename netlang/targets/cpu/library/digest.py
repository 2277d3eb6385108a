"""The digest of the values of a library: SHA-256 of the SHA-256s of their pieces, several of which are made at once."""

from __future__ import annotations

import hashlib
import os
import threading

import numpy as np
import numpy.typing as npt

PIECE = 1 << 22


def digest(values: npt.NDArray[np.uint8]) -> str:
    """The hexadecimal digest of bytes, which is the same for any number of processors."""
    pieces = [values[start : start + PIECE].data for start in range(0, len(values), PIECE)]
    digests = [b""] * len(pieces)
    count = max(1, min(os.cpu_count() or 1, len(pieces)))

    def work(first: int) -> None:
        for k in range(first, len(pieces), count):
            digests[k] = hashlib.sha256(pieces[k]).digest()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(1, count)]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    return hashlib.sha256(b"".join(digests)).hexdigest()
