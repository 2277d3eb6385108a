"""The digest by which damage to the values of a library is found: of CRC-32s of their pieces, several made at once.

They may be gigabytes, and are checked before the library is used: a CRC takes a third of the time of a SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib

import numpy as np
import numpy.typing as npt

PIECE = 1 << 22


def digest(values: npt.NDArray[np.uint8]) -> str:
    """The hexadecimal digest of bytes, which is the same for any number of processors."""
    pieces = [values[start : start + PIECE].data for start in range(0, len(values), PIECE)]
    sums = np.zeros(len(pieces), "<u4")
    count = max(1, min(os.cpu_count() or 1, len(pieces)))

    def work(first: int) -> None:
        for k in range(first, len(pieces), count):
            sums[k] = zlib.crc32(pieces[k])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(1, count)]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    return hashlib.sha256(sums.tobytes() + len(values).to_bytes(8, "little")).hexdigest()
