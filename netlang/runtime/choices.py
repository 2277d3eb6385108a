"""Tilings that were timed as the fastest: choices for problems, in a file beside the compiled code.

See `netlang.schedule.choices`. They are those of a processor and a precision. They decide how fast a program is and in
which order its sums are added, nothing else, so a file that is not ours is as good as none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netlang.cache import cache_folder
from netlang.runtime.storage import replacing
from netlang.targets.cpu.optimize import machine

FILE = "tilings.json"

Choices = Mapping[str, str]


def remembered(dtype: npt.DTypeLike) -> Choices:
    """The choices for this processor and a precision."""
    return _table().get(_place(dtype), {})


def remember(choices: Choices, dtype: npt.DTypeLike) -> None:
    """Add choices for this processor."""
    table = dict(_table())
    place = _place(dtype)
    table[place] = {**table.get(place, {}), **choices}
    file = cache_folder() / FILE
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(file) as out:
        out.write(json.dumps(table, indent=1).encode())


def _place(dtype: npt.DTypeLike) -> str:
    target = machine()
    return f"{target.triple} {target.cpu} {np.dtype(dtype).name}"


_read: dict[Path, tuple[int, Mapping[str, Choices]]] = {}  # with the time of its last change


def _table() -> Mapping[str, Choices]:
    """What the file says; nothing where there is none, or where it is not one of ours."""
    with suppress(OSError, ValueError, RuntimeError, TypeError, AttributeError):
        file = cache_folder() / FILE
        changed = os.stat(file).st_mtime_ns
        if _read.get(file, (None,))[0] != changed:
            found = json.loads(file.read_text(encoding="utf-8"))
            _read[file] = (
                changed,
                {str(place): {str(k): str(v) for k, v in choices.items()} for place, choices in dict(found).items()},
            )
        return _read[file][1]
    return {}
