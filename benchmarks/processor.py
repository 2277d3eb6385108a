"""What a machine can do: multiply-adds in registers, on one processor, and on all of them at the same time.

Virtual processors may at times be one core's, or wanted by others: then all of them together do no more than one does,
and what is timed meanwhile says little of a machine with so many processors.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from netlang.targets.cpu import optimize
from netlang.targets.cpu.native import ENTRY, Entry

CHAINS = 24  # independent sums, enough to hide the latency of a multiply-add
ROUNDS = 200_000  # of these, in a call
CALLS = 3  # that a rate is measured over
TRIES = 3  # the best of which counts


def multiply_adds() -> tuple[Callable[[], Any], float]:
    """As many multiply-adds as a core can do at once, in registers; and the 10^9 operations of a call, two for each."""
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
    code = optimize.object_code(optimize.optimized([text], ["nl_peak"], target), target)
    loaded = optimize.load([code], ["nl_peak"], target)
    entry = Entry("peak", ENTRY(loaded.addresses["nl_peak"]), loaded)
    return entry.bind(np.zeros(lanes, np.int64), np.array([ROUNDS])), 2e-9 * CHAINS * lanes * ROUNDS


class Processors:
    """All processors that this process may use, each with a thread that stays on it; `one` is in GFLOP/s."""

    def __init__(self) -> None:
        has_affinity = hasattr(os, "sched_getaffinity")
        places = sorted(os.sched_getaffinity(0)) if has_affinity else range(os.cpu_count() or 1)
        self.count = len(places)
        self.one = 0.0
        self._calls, (self._work, *_) = zip(*(multiply_adds() for _ in places), strict=True)
        self._start = threading.Barrier(self.count)
        self._threads = [ThreadPoolExecutor(1) for _ in places]
        for thread, place in zip(self._threads, places if has_affinity else (), strict=has_affinity):
            thread.submit(os.sched_setaffinity, 0, {place}).result()

    def share(self) -> float:
        """What all of them do at the same time, of their number times the most that one has done alone."""
        self.one = max(self.one, *(self._timed(self._calls[0]) for _ in range(TRIES)))
        return max(self._all() for _ in range(TRIES)) / (self.count * self.one)

    def _all(self) -> float:
        """GFLOP/s."""
        runs = [t.submit(self._together, call) for t, call in zip(self._threads, self._calls, strict=True)]
        return sum(run.result() for run in runs)

    def _together(self, call: Callable[[], Any]) -> float:
        self._start.wait()
        return self._timed(call)

    def _timed(self, call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        return CALLS * self._work / (time.perf_counter() - start)
