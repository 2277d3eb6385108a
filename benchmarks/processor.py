"""What a machine can do: multiply-adds in registers, on one processor, and on all of them at the same time.

Virtual processors may at times be one core's, or wanted by others: then all of them together do no more than one does,
and what is timed meanwhile says little of a machine with so many processors. Or they may be cores with caches of their
own, between which a number goes several times as long as within one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from netlang.targets.cpu import optimize
from netlang.targets.cpu.native import ENTRY, Entry

CHAINS = 24  # independent sums, enough to hide the latency of a multiply-add
ROUNDS = 200_000  # of these, in a call
CALLS = 16  # in which a speed is measured: some hundredths of a second, longer than a system's slices of time
EXCHANGES = 1000  # in a call
LOOKS = 10_000_000  # of a thread for a number that does not come, before it gives up


def multiply_adds(count: int = 1) -> tuple[list[Callable[[], Any]], float]:
    """Calls for so many threads, as many multiply-adds in registers as a core can do; and how many 10^9 operations."""
    target = optimize.machine()
    lanes = (target.vector_bits or 256) // 32
    vector = f"<{lanes} x float>"
    phis = "\n".join(f"%a{k} = phi {vector} [zeroinitializer, %start], [%b{k}, %loop]" for k in range(CHAINS))
    calls = "\n".join(
        f"%b{k} = call {vector} @llvm.fma({vector} %a{k}, {vector} %x, {vector} %a{k})" for k in range(CHAINS)
    )
    sums = "\n".join(f"%s{k + 1} = fadd {vector} %s{k}, %b{k}" for k in range(CHAINS))
    text = f"""
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})
define i32 @nl_peak(ptr %memory, ptr %sizes) {{
start:
  %count = load i64, ptr %sizes
  %x = load {vector}, ptr %memory, align 8
  br label %loop
loop:
  %n = phi i64 [0, %start], [%next, %loop]
  {phis}
  {calls.replace("@llvm.fma(", f"@llvm.fma.v{lanes}f32(")}
  %next = add i64 %n, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %end
end:
  %s0 = fadd {vector} %x, %x
  {sums}
  store {vector} %s{CHAINS}, ptr %memory, align 8
  ret i32 0
}}
"""
    entry = _entry("peak", text)
    calls = [entry.bind(np.zeros(lanes, np.int64), np.array([ROUNDS])) for _ in range(count)]
    return calls, 2e-9 * CHAINS * lanes * ROUNDS


def exchanges() -> tuple[np.ndarray, list[Callable[[], Any]]]:
    """A number, to be 0 before, and the calls of two threads that raise it by one in turns."""
    text = """
define i32 @nl_exchange(ptr %number, ptr %sizes) {
start:
  %count = load i64, ptr %sizes
  %mine.at = getelementptr i64, ptr %sizes, i64 1
  %mine = load i64, ptr %mine.at
  %looks = getelementptr i64, ptr %sizes, i64 2
  %most = load i64, ptr %looks
  br label %look
look:
  %n = phi i64 [%mine, %start], [%n, %again], [%next, %raise]
  %left = phi i64 [%most, %start], [%less, %again], [%left, %raise]
  %found = load atomic i64, ptr %number seq_cst, align 8
  %is.mine = icmp eq i64 %found, %n
  br i1 %is.mine, label %raise, label %again
again:
  %less = sub i64 %left, 1
  %some = icmp sgt i64 %less, 0
  br i1 %some, label %look, label %end
raise:
  %raised = add i64 %n, 1
  store atomic i64 %raised, ptr %number seq_cst, align 8
  %next = add i64 %n, 2
  %more = icmp slt i64 %next, %count
  br i1 %more, label %look, label %end
end:
  ret i32 0
}
"""
    number, entry = np.zeros(16, np.int64), _entry("exchange", text)
    return number, [entry.bind(number, np.array([2 * EXCHANGES, mine, LOOKS])) for mine in range(2)]


def _entry(name: str, text: str) -> Entry:
    target, symbol = optimize.machine(), f"nl_{name}"
    code = optimize.object_code(optimize.optimized([text], [symbol], target), target)
    loaded = optimize.load([code], [symbol], target)
    return Entry(name, ENTRY(loaded.addresses[symbol]), loaded)


class Processors:
    """All processors that this process may use, where the system has it so each with a thread that stays on it."""

    def __init__(self, numbers: Sequence[int] = ()) -> None:
        """`numbers` are those of the processors; all where there are none."""
        numbers = numbers or places()
        self._calls, self._work = multiply_adds(len(numbers))
        self._start = threading.Barrier(len(numbers))
        self._threads = [ThreadPoolExecutor(1) for _ in numbers]
        if hasattr(os, "sched_setaffinity"):
            for thread, number in zip(self._threads, numbers, strict=True):
                thread.submit(os.sched_setaffinity, 0, {number}).result()
        self._number, self._raise = exchanges()
        self._two = threading.Barrier(2)
        self._one = max(self._alone() for _ in range(3))

    def exchange(self) -> float | None:
        """The nanoseconds in which a number goes from the first to the second one and back.

        None of one processor, or where one of them was not there.
        """
        if len(self._threads) < 2:
            return None
        return min(filter(None, (self._exchanged() for _ in range(3))), default=None)

    def _exchanged(self) -> float | None:
        self._number[:] = 0
        runs = [t.submit(self._raised, call) for t, call in zip(self._threads, self._raise, strict=False)]
        took = max(run.result() for run in runs)
        return took / EXCHANGES * 1e9 if self._number[0] == 2 * EXCHANGES else None

    def _raised(self, call: Callable[[], Any]) -> float:
        """How long it took from when both began."""
        self._two.wait()
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def share(self) -> float:
        """What all of them do at the same time, of their number times the most that one has done alone."""
        self._one = max(self._one, self._alone())
        runs = [t.submit(self._together, call) for t, call in zip(self._threads, self._calls, strict=True)]
        starts, ends = zip(*(run.result() for run in runs), strict=True)
        # from the first that began to the last that came to its end: one that waits for its turn counts
        return CALLS * self._work / (max(ends) - min(starts)) / self._one

    def _alone(self) -> float:
        """GFLOP/s of one."""
        start, end = _timed(self._calls[0])
        return CALLS * self._work / (end - start)

    def _together(self, call: Callable[[], Any]) -> tuple[float, float]:
        self._start.wait()
        return _timed(call)


def places() -> Sequence[int]:
    """The numbers of the processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """When some calls began, and when they came to their end."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return start, time.perf_counter()
