"""On which processors threads wake.

A system may wake a thread where another one is busy, to let other processors sleep; virtual machines do. Only after a
tenth of a second does it see that two threads have enough to do for two processors. Those of a run always have.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from contextlib import suppress


def _processor() -> Callable[[], int] | None:
    """The call that tells on which processor a thread is; None where a system has none, or does not move threads."""
    try:
        return ctypes.PyDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
    except (OSError, TypeError, AttributeError):
        return None


_HERE = _processor()


def keep_apart(threads: Mapping[int, int], count: int, before: dict[int, set[int]]) -> None:
    """Have threads that sleep wake on processors of their own: thread k in the k-th of `count` shares of all others.

    `threads` has their numbers for the system by k. The processors that each may use go into `before`, for `allow`.
    Where there are not so many, or the system does not let us, nothing is changed.
    """
    if _HERE is None:
        return
    here = _HERE()
    for k, thread in threads.items():
        with suppress(OSError):
            if thread not in before:
                before[thread] = os.sched_getaffinity(thread)  # an interruption leaves none where it was put
            if share := sorted(before[thread] - {here})[k::count]:
                os.sched_setaffinity(thread, share)


def allow(before: dict[int, set[int]]) -> None:
    """Let each thread run where it could before, and forget that."""
    for thread in list(before):
        with suppress(OSError):  # one of them may be gone
            os.sched_setaffinity(thread, before[thread])
        del before[thread]
