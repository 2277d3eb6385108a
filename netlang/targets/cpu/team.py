"""Threads that help the caller's with a run.

A thread that has come to the end of a run looks for the next one for a while, so that runs which follow each other cost
no call of the operating system; then it sleeps. Each has a mailbox: its state, and the call that it is to make.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.cache import cache_folder
from netlang.targets.cpu import optimize
from netlang.targets.cpu.cache import ObjectCache, key
from netlang.targets.cpu.optimize import Machine
from netlang.targets.cpu.places import allow, keep_apart
from netlang.targets.cpu.sharing import MOST, PHASE, TEAM, waiting

Array = npt.NDArray[np.int64]
BOX = 16  # numbers in a mailbox: a pair of cache lines
LOOKS = 8192  # of a thread that has nothing to do, before it sleeps

ASLEEP, WAITING, POSTED, WORKING = range(4)


class Team:
    """The threads. They help with one run at a time."""

    def __init__(self) -> None:
        code = _code()
        self._serve = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.addresses["nl_serve"])
        arguments = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self._launch = ctypes.CFUNCTYPE(ctypes.c_int64, *arguments)(code.addresses["nl_launch"])
        boxes = np.zeros(MOST * BOX, np.int64)
        skipped = -boxes.ctypes.data // 8 % BOX
        self._first = boxes.ctypes.data + 8 * skipped
        self._states = memoryview(boxes)[skipped : skipped + (MOST - 1) * BOX : BOX]  # type: ignore[arg-type]
        self._helpers: list[tuple[threading.Event, threading.Thread]] = []
        self._places: dict[int, set[int]] = {}  # where helpers may be that have been woken elsewhere
        self._lock = threading.Lock()
        self._code = code
        self._current: Any = None
        self._previous: list[Any] = []  # what threads that are late may still be looking at

    def bind(self, function: int, memory: Array, numbers: Array, held: Any) -> Callable[[], None]:
        """The call of an entry with as many helpers as `numbers` has rows, less two: the last is for a run alone.

        Runs alone are those that start while the team helps another thread. `held` is what a helper may use.
        """
        helpers = len(numbers) - 2
        tables = numbers.ctypes.data + numbers.strides[0] * np.arange(len(numbers), dtype=np.int64)
        entry = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(function)
        arguments = (self._first, helpers, function, memory.ctypes.data, tables.ctypes.data)
        alone = (memory.ctypes.data, int(tables[-1]))
        kept = (held, memory, numbers, tables)

        def call() -> None:
            if not self._lock.acquire(False):  # by name it takes twice as long
                entry(*alone)
                return
            try:
                if len(self._helpers) < helpers and not self._grow(helpers):
                    entry(*alone)
                    return
                if self._current is not kept:
                    self._previous.append(self._current)
                    self._current = kept
                sleeping = [k for k in range(helpers) if self._states[k] == ASLEEP]
                if sleeping:
                    keep_apart({k: self._helpers[k][1].native_id or -1 for k in sleeping}, helpers, self._places)
                    self._wake(sleeping)
                # posts and runs in one call: an interruption comes before or after the run, never into it
                asleep = self._launch(*arguments)
                if asleep:  # just then, or still; what they were given is done
                    self._wake(k for k in range(helpers) if asleep >> k & 1)
                if self._previous and max(self._states) < POSTED:
                    self._previous.clear()
            finally:
                try:
                    if self._places:
                        allow(self._places)
                finally:
                    self._lock.release()

        return call

    def _wake(self, helpers: Iterable[int]) -> None:
        for k in helpers:
            self._helpers[k][0].set()

    def _grow(self, wanted: int) -> bool:
        """Have at least so many threads; False where the system gives no more."""
        while len(self._helpers) < wanted:
            wake = threading.Event()
            box = self._first + 8 * BOX * len(self._helpers)
            thread = threading.Thread(target=self._work, args=(wake, box), name="netlang", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._helpers.append((wake, thread))
        return True

    def _work(self, wake: threading.Event, box: int) -> None:
        while True:
            wake.wait()
            wake.clear()
            self._serve(box, LOOKS)


@cache
def _team(process: int) -> Team:
    return Team()


def team() -> Team:
    """The threads of this process; a process that was forked has new ones."""
    return _team(os.getpid())


def _code() -> Any:
    """The native code of the mailboxes, compiled or from the cache."""
    machine = optimize.machine()
    text, exported = _text(machine), ("nl_serve", "nl_launch")
    store, name = ObjectCache(cache_folder()), key((text, machine.triple, machine.cpu, optimize.versions()))
    code = store.load(name)
    if code is None:
        code = optimize.object_code(optimize.optimized([text], exported, machine), machine)
        store.store(name, code)
    return optimize.load([code], exported, machine)


def _text(machine: Machine) -> str:
    """`nl_serve(box, looks)` does what comes into a mailbox until it has looked that often in vain.

    `nl_launch(boxes, count, function, memory, tables)` posts `function(memory, tables[k])` to the mailboxes 1 to
    `count` whose threads are free, in the phase of the caller's, and calls `function(memory, tables[0])`. It returns
    which of the threads slept, a bit each.
    """
    phase = 8 * TEAM.index(PHASE)
    return f"""
{waiting(machine)}

define void @nl_serve(ptr %box, i64 %most) {{
entry:
  %awake = cmpxchg ptr %box, i64 {ASLEEP}, i64 {WAITING} seq_cst seq_cst
  br label %look
look:
  %looks = phi i64 [ 0, %entry ], [ %more, %wait ], [ 0, %leave ], [ 0, %work ]
  %state = load atomic i64, ptr %box seq_cst, align 8
  %posted = icmp eq i64 %state, {POSTED}
  br i1 %posted, label %work, label %idle
idle:
  %more = add i64 %looks, 1
  %patient = icmp slt i64 %looks, %most
  br i1 %patient, label %wait, label %leave
wait:
  call void @nl_look_again(i64 %looks)
  br label %look
leave:
  %swap = cmpxchg ptr %box, i64 {WAITING}, i64 {ASLEEP} seq_cst seq_cst
  %left = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %left, label %end, label %look
work:
  store atomic i64 {WORKING}, ptr %box seq_cst, align 8
  %function.at = getelementptr i64, ptr %box, i64 1
  %memory.at = getelementptr i64, ptr %box, i64 2
  %table.at = getelementptr i64, ptr %box, i64 3
  %function = load ptr, ptr %function.at
  %memory = load ptr, ptr %memory.at
  %table = load ptr, ptr %table.at
  %status = call i32 %function(ptr %memory, ptr %table)
  store atomic i64 {WAITING}, ptr %box seq_cst, align 8
  br label %look
end:
  ret void
}}

define i64 @nl_launch(ptr %boxes, i64 %count, ptr %function, ptr %memory, ptr %tables) {{
entry:
  %first = load ptr, ptr %tables
  %phase.at = getelementptr i8, ptr %first, i64 {phase}
  %phase = load i64, ptr %phase.at
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %number, %post ], [ %number, %choose ]
  %asleep = phi i64 [ 0, %entry ], [ %sleeping, %post ], [ %asleep, %choose ]
  %some = icmp slt i64 %k, %count
  br i1 %some, label %choose, label %all
choose:
  %number = add i64 %k, 1
  %place = mul i64 %k, {BOX}
  %box = getelementptr i64, ptr %boxes, i64 %place
  %state = load atomic i64, ptr %box seq_cst, align 8
  %free = icmp slt i64 %state, {POSTED}
  br i1 %free, label %post, label %next
post:
  %function.at = getelementptr i64, ptr %box, i64 1
  %memory.at = getelementptr i64, ptr %box, i64 2
  %table.at = getelementptr i64, ptr %box, i64 3
  %table.in = getelementptr ptr, ptr %tables, i64 %number
  %table = load ptr, ptr %table.in
  %its.phase = getelementptr i8, ptr %table, i64 {phase}
  store i64 %phase, ptr %its.phase
  store ptr %function, ptr %function.at
  store ptr %memory, ptr %memory.at
  store ptr %table, ptr %table.at
  %before = atomicrmw xchg ptr %box, i64 {POSTED} seq_cst
  %slept = icmp eq i64 %before, {ASLEEP}
  %one = zext i1 %slept to i64
  %bit = shl i64 %one, %k
  %sleeping = or i64 %asleep, %bit
  br label %next
all:
  %status = call i32 %function(ptr %memory, ptr %first)
  ret i64 %asleep
}}
"""
