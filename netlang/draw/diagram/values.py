"""The values of a circuit as written on a command line: `x=-2,y=5` or `W=[[0.1, 0.5], [-0.3, 0.8]],x=[0.2, 0.4]`."""

from __future__ import annotations

import json
import re

import numpy as np
from numpy.typing import NDArray

from netlang.diagnostics import fail

_NAME = re.compile(r"\s*([^\W\d][\w.]*)\s*=", re.ASCII)
_NUMERIC = re.compile(r"[-+\d.eE,\[\]\s]+", re.ASCII)
_HELP = "write `x=-2,y=5`, and nested lists for tensors: `W=[[1, 2], [3, 4]]`"
_LONGEST = 100_000  # characters


def read_values(text: str) -> dict[str, NDArray[np.float64]]:
    """Names and float64 arrays from text; numbers and (nested) lists in JSON's notation, a leading `+` or `.5` as well.

    Raises NetlangError (`bad-value`).

    >>> read_values("x=-2, w=[1, 0.5]")["w"]
    array([1. , 0.5])
    """
    values: dict[str, NDArray[np.float64]] = {}
    for piece in _pieces(text):
        found = _NAME.match(piece)
        if found is None:
            fail("bad-value", f"`{piece.strip()[:60]}` is not `name=value`", help=_HELP)
        name, written = found[1], piece[found.end() :].strip()
        if name in values:
            fail("bad-value", f"`{name}` is given twice", help="give each name one value")
        values[name] = _array(name, written)
    return values


def _pieces(text: str) -> list[str]:
    """The parts between commas that are outside brackets."""
    if len(text) > _LONGEST:
        fail("bad-value", f"the values are {len(text)} characters long", help=f"give at most {_LONGEST} characters")
    pieces, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def _array(name: str, written: str) -> NDArray[np.float64]:
    if not _NUMERIC.fullmatch(written):
        fail("bad-value", f"the value of `{name}` is not a number or a list of numbers: `{written[:60]}`", help=_HELP)
    plain = re.sub(r"(?<![\w.])\+(?=[\d.])", "", written)
    plain = re.sub(r"(?<![\w.])\.(?=\d)", "0.", plain)
    try:
        array = np.asarray(json.loads(plain, parse_int=float), dtype=np.float64)
    except (ValueError, TypeError, RecursionError):  # what is no JSON, no numbers, a ragged list, too deep
        fail("bad-value", f"the value of `{name}` is not a number or a list of numbers: `{written[:60]}`", help=_HELP)
    if not np.isfinite(array).all():
        fail("bad-value", f"the value of `{name}` is not finite: `{written[:60]}`", help=_HELP)
    return array
