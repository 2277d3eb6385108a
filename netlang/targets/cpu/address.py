"""Where the elements of an array are, in a tenth of a microsecond: `array.ctypes` takes eight times as long to say."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

# An array of NumPy's C interface begins with what every object begins with, and the pointer to its elements is next.
_POINTER = object.__basicsize__
_word = ctypes.c_int64.from_address


def _read(array: npt.NDArray[Any]) -> int:
    return _word(id(array) + _POINTER).value


def _asked(array: npt.NDArray[Any]) -> int:
    return array.ctypes.data


_probe = np.empty(1)
address = _read if sys.implementation.name == "cpython" and _read(_probe) == _asked(_probe) else _asked
"""The address of the first element of an array; it holds as long as the array lives."""
