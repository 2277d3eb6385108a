"""On which processors threads wake.

A system may wake a thread where another one is busy, to let other processors sleep; virtual machines do. Only after a
tenth of a second does it see that two threads have enough to do for two processors. Those of a run always have: so they
wake on other cores than the caller's, and on those with the same last cache, since each reads what others have written.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

SYSTEM = Path("/sys/devices/system/cpu")  # where Linux describes its processors


def _processor() -> Callable[[], int] | None:
    """The call that tells on which processor a thread is; None where a system has none, or does not move threads."""
    try:
        return ctypes.PyDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
    except (OSError, TypeError, AttributeError):
        return None


_HERE = _processor()


def keep_apart(threads: Mapping[int, int], count: int, before: dict[int, set[int]]) -> None:
    """Have threads that sleep wake on processors of their own: thread k in the k-th of `count` shares of the others.

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
            if share := others(before[thread], here, count)[k::count]:
                os.sched_setaffinity(thread, share)


def allow(before: dict[int, set[int]]) -> None:
    """Let each thread run where it could before, and forget that."""
    for thread in list(before):
        with suppress(OSError):  # one of them may be gone
            os.sched_setaffinity(thread, before[thread])
        del before[thread]


def others(allowed: Iterable[int], here: int, count: int) -> list[int]:
    """Of the processors that are `allowed`, those for `count` threads besides the one that is `here`.

    They are one of each other core with the same last cache, if there are so many of these; else one of each other
    core, all with the same last cache, or all.
    """
    rest = sorted(set(allowed) - {here})
    cores = list({min(core(n).intersection(rest), default=n): None for n in rest if here not in core(n)})
    near = last_cache(here)
    for found in ([n for n in cores if n in near], cores, [n for n in rest if n in near]):
        if len(found) >= count:
            return found
    return rest


@cache
def core(processor: int) -> frozenset[int]:
    """The processors that are one core's."""
    return _numbers(SYSTEM / f"cpu{processor}" / "topology" / "thread_siblings_list") | {processor}


@cache
def last_cache(processor: int) -> frozenset[int]:
    """The processors that share its cache of the last level; itself alone where that is unknown."""
    try:
        caches = [*(SYSTEM / f"cpu{processor}" / "cache").glob("index[0-9]*")]
        last = max(caches, key=lambda each: int((each / "level").read_text()))
    except (OSError, ValueError):
        return frozenset({processor})
    return _numbers(last / "shared_cpu_list") | {processor}


def _numbers(file: Path) -> frozenset[int]:
    """What a file lists, as `0-3,8`; nothing where it cannot be read."""
    found: set[int] = set()
    with suppress(OSError, ValueError):
        for part in file.read_text().strip().split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
