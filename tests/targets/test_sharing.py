"""Parts of what threads share: each is done once, by any number of threads, early or late."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from netlang.targets.cpu.address import address
from netlang.targets.cpu.native import compile_module
from netlang.targets.cpu.program import _numbers
from netlang.targets.cpu.sharing import OWN, SEVERAL, TEAM

SLOTS = {name: k for k, name in enumerate((*TEAM, "size", "least", "rounds"))}
TEXT = f"""
def work(size: i64, least: i64, counts: i64[:], owners: i64[:], team: i64[:]):
    while another(team, size // least, counts, owners):
        first = share(size, 1, team, 0)
        last = share(size, 1, team, 1)
        for k in range(first, last):
            counts[k] += 1
            owners[k] = team[{SLOTS[OWN]}]


def note(total: i64[:], counts: i64[:], team: i64[:]):
    while alone(team, total, counts):
        total[0] += counts[0]


def run(memory, sizes):
    for r in range(sizes[{SLOTS["rounds"]}]):
        work(sizes[{SLOTS["size"]}], sizes[{SLOTS["least"]}], i64(memory, 0), i64(memory, 1), sizes)
        note(i64(memory, 2), i64(memory, 0), sizes)
"""


def done(threads: int, size: int, least: int, rounds: int, late: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    """How often each unit was done, and by which thread at last; some threads come late."""
    numbers, held = _numbers(SLOTS, threads)
    numbers[:, SLOTS["size"]], numbers[:, SLOTS["least"]], numbers[:, SLOTS["rounds"]] = size, least, rounds
    counts, owners, total = np.zeros(size, np.int64), np.full(size, -1), np.zeros(1, np.int64)
    memory = np.array([address(counts), address(owners), address(total)])
    entry = compile_module(TEXT, ["run"]).entry("run")

    def work(k: int) -> None:
        if k >= threads - late:
            time.sleep(0.05)
        entry(memory, numbers[k])

    own = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for thread in own:
        thread.start()
    for thread in own:
        thread.join()
    del held
    return counts, owners, int(total[0])


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("least", [1, 10**6])
def test_every_unit_is_done_once_in_every_phase(threads: int, size: int, least: int) -> None:
    counts, _, total = done(threads, size, least, rounds=40)
    assert (counts == 40).all()
    assert total == 40 * 41 // 2  # what one thread does comes between the phases


@pytest.mark.parametrize("least", [1, 10**6])
def test_nobody_waits_for_one_that_is_late(least: int) -> None:
    counts, owners, _ = done(3, 100, least, rounds=20, late=2)
    assert (counts == 20).all()
    assert (owners == 0).all()


def test_there_are_several_parts_of_much_and_one_of_little() -> None:
    """Parts of one thread lie side by side, and no thread has more of them than there are."""
    for least, most in ((1, 2 * SEVERAL), (10**6, 2)):
        _, owners, _ = done(2, 1000, least, rounds=1)
        changes = np.flatnonzero(np.diff(owners)) + 1
        assert len(changes) < most
        assert not (changes % (1000 // most)).any()
