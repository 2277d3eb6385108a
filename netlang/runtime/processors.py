"""How many threads a net may use."""

from __future__ import annotations

import os
from numbers import Integral

from netlang.diagnostics import fail

VARIABLE = "NETLANG_THREADS"


def thread_count(wanted: object) -> int:
    """That many; for None as many as the environment says, or else one for each processor that the process may use.

    Raises `NetlangError` for what is not a positive whole number.
    """
    if wanted is not None:
        if isinstance(wanted, bool) or not isinstance(wanted, Integral) or wanted < 1:
            fail("bad-setting", f"a number of threads is 1 or more, found {wanted!r}", help="`threads=2`")
        return int(wanted)
    said = os.environ.get(VARIABLE, "").strip()
    if not said:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not said.isdecimal() or int(said) < 1:
        fail("bad-setting", f"{VARIABLE} is `{said}`; a number of threads is 1 or more", help=f"{VARIABLE}=2")
    return int(said)
