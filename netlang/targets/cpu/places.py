"""On which processors threads wake.

A system may wake a thread where another one is busy, to let other processors sleep; virtual machines do. Only after a
tenth of a second does it see that two threads have enough to do for two processors. Those of a run always have.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress


def _processor() -> Callable[[], int] | None:
    """The call that tells on which processor a thread is; None where a system has none, or does not move threads."""
    try:
        return ctypes.CDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
    except (OSError, TypeError, AttributeError):
        return None


_HERE = _processor()


def keep_apart(thread: int, k: int, count: int, before: dict[int, set[int]]) -> None:
    """Have a thread that sleeps wake in the k-th of `count` shares of all processors but the caller's.

    `thread` is its number for the system. The processors that it was allowed so far go into `before`, which `allow`
    gives back once the thread is awake. Where there are not so many, or the system lets us not, nothing is changed.
    """
    if _HERE is None:
        return
    with suppress(OSError):
        allowed = os.sched_getaffinity(thread)
        if share := sorted(allowed - {_HERE()})[k::count]:
            before[thread] = allowed  # first, so that an interruption leaves no thread where it was put
            os.sched_setaffinity(thread, share)


def allow(before: dict[int, set[int]]) -> None:
    """Let each thread run where it was allowed before."""
    for thread, processors in before.items():
        with suppress(OSError):  # one of them may be gone
            os.sched_setaffinity(thread, processors)
