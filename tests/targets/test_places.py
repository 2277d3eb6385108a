"""Threads that sleep wake on processors of their own, and may run anywhere afterwards."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.runtime.net import Net
from netlang.targets.cpu import places
from netlang.targets.cpu.places import allow, core, keep_apart, last_cache, others
from netlang.targets.cpu.team import ASLEEP, team

PROCESSORS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
needs_two = pytest.mark.skipif(len(PROCESSORS) < 2, reason="there is one processor, or none may be chosen")


@needs_two
@pytest.mark.parametrize("here", sorted(PROCESSORS)[:2])
def test_a_thread_wakes_on_another_processor(here: int) -> None:
    wake, awake, end, seen = threading.Event(), threading.Event(), threading.Event(), list[int]()

    def sleeper() -> None:
        wake.wait()
        assert places._HERE is not None
        seen.append(places._HERE())
        awake.set()
        end.wait()

    thread = threading.Thread(target=sleeper)
    thread.start()
    number, before = thread.native_id or 0, dict[int, set[int]]()
    os.sched_setaffinity(0, {here})  # of this thread
    try:
        keep_apart({0: number}, 1, before)
        wake.set()
        awake.wait()
        assert os.sched_getaffinity(number) == set(others(PROCESSORS, here, 1))
        assert seen[0] in PROCESSORS - {here}
        keep_apart({0: number}, 1, before)  # twice is as once
        allow(before)
        assert not before
        assert os.sched_getaffinity(number) == PROCESSORS
    finally:
        os.sched_setaffinity(0, PROCESSORS)
        end.set()
        thread.join()
    keep_apart({0: number}, 1, before)  # it is gone
    allow(before)


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder where a system describes its processors, empty."""
    monkeypatch.setattr(places, "SYSTEM", tmp_path)
    for known in (core, last_cache):
        known.cache_clear()
    yield tmp_path
    for known in (core, last_cache):
        known.cache_clear()


def describe(folder: Path, count: int, cores: int, per_cache: int) -> None:
    """So many processors: n is the core n % cores, and so many cores have a last cache together."""
    for n in range(count):
        first = n % cores // per_cache * per_cache
        texts = {
            "topology/thread_siblings_list": ",".join(str(k) for k in range(count) if k % cores == n % cores),
            "cache/index0/level": "1",
            "cache/index0/shared_cpu_list": str(n),
            "cache/index3/level": "3",
            "cache/index3/shared_cpu_list": ",".join(f"{k}-{k + per_cache - 1}" for k in range(first, count, cores)),
        }
        for name, text in texts.items():
            file = folder / f"cpu{n}" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("here", "count", "expected"),
    [
        (2, 1, [0, 1, 3]),  # cores with the same cache, one processor of each
        (2, 3, [0, 1, 3]),
        (10, 3, [0, 1, 3]),  # that is the same core
        (5, 2, [4, 6, 7]),
        (2, 4, [0, 1, 3, 4, 5, 6, 7]),  # more than these: all other cores
        (2, 7, [0, 1, 3, 4, 5, 6, 7]),
        (2, 8, [*range(2), *range(3, 16)]),  # more than there are
        (2, 99, [*range(2), *range(3, 16)]),
    ],
)
def test_threads_wake_on_other_cores_and_near(here: int, count: int, expected: list[int], described: Path) -> None:
    describe(described, 16, cores=8, per_cache=4)
    assert others(range(16), here, count) == expected


def test_only_processors_that_may_be_used(described: Path) -> None:
    describe(described, 16, cores=8, per_cache=4)
    assert others({2, 9, 10, 11, 12}, 2, 2) == [9, 11]
    assert others({2, 10}, 2, 1) == [10]  # its own core is better than none
    assert others({2}, 2, 1) == []


@pytest.mark.parametrize("text", ["", "none", "0-", "0-x,3"])
def test_processors_that_the_system_does_not_describe(text: str, described: Path) -> None:
    assert others(range(4), 1, 2) == [0, 2, 3]
    describe(described, 4, cores=4, per_cache=2)
    for file in described.glob("**/*_list"):
        file.write_text(text)
    for file in described.glob("**/level"):
        file.write_text("high")
    assert others(range(4), 1, 2) == [0, 2, 3]


class System:
    """Processors 0 to 7, all of which may be used; the caller is on 2."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: dict[int, set[int]] = {}
        monkeypatch.setattr(places, "_HERE", lambda: 2)
        monkeypatch.setattr(os, "sched_getaffinity", lambda thread: set(range(8)), raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", self.put, raising=False)

    def put(self, thread: int, processors: set[int]) -> None:
        self.given[thread] = set(processors)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
@pytest.mark.usefixtures("described")
def test_each_thread_has_a_share_of_its_own(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    system, before = System(monkeypatch), dict[int, set[int]]()
    threads = {k: 100 + k for k in range(count)}
    keep_apart(threads, count, before)
    shares = list(system.given.values())
    assert set.union(*shares) == set(range(8)) - {2}
    assert sum(map(len, shares)) == 7
    assert len(shares) == min(count, 7)  # where there are more threads than processors, some wake anywhere
    allow(before)
    assert system.given == {thread: set(range(8)) for thread in threads.values()}


def test_a_system_that_does_not_move_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    system, before = System(monkeypatch), dict[int, set[int]]()
    monkeypatch.setattr(places, "_HERE", None)
    keep_apart({0: 100}, 1, before)
    assert system.given == before == {}


def large() -> tuple[Net, np.ndarray]:
    text = "net Large:\n    input x[512]\n    y = x -> dense(512)\n    output y\n"
    return netlang.loads(text, threads=2), np.ones((512, 512), np.float32)


def helpers() -> list[int]:
    return [thread.native_id or 0 for thread in threading.enumerate() if thread.name == "netlang"]


def wait_until_they_sleep() -> None:
    while any(state != ASLEEP for state in team()._states):
        time.sleep(0.001)


@needs_two
def test_after_a_run_threads_may_be_anywhere() -> None:
    net, x = large()
    for _ in range(3):
        net(x)
        wait_until_they_sleep()  # and are woken by the next one
    assert helpers()
    assert all(os.sched_getaffinity(helper) == PROCESSORS for helper in helpers())


@needs_two
def test_an_interruption_leaves_no_thread_where_it_was_put(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = large()
    expected = net(x)
    wait_until_they_sleep()
    put, calls = os.sched_setaffinity, list[int]()

    def interrupted(thread: int, processors: set[int]) -> None:
        calls.append(thread)
        if len(calls) == 2:  # when it is to be let go
            raise KeyboardInterrupt
        put(thread, processors)

    monkeypatch.setattr(os, "sched_setaffinity", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net(x)
    assert os.sched_getaffinity(calls[0]) < PROCESSORS
    assert net(x).tobytes() == expected.tobytes()  # with threads again
    assert not team()._lock.locked()
    assert all(os.sched_getaffinity(helper) == PROCESSORS for helper in helpers())
