"""Units compiled by several processes at the same time, where there are several units and processors.

A worker is a Python process of its own that runs `serve` and nothing of the program that asks for it. Whatever keeps
one from working only means that this process compiles more itself.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from netlang.garbage import no_collection
from netlang.targets.cpu.native import Compilable, compiler

MOST = 8  # processes, this one among them
ENOUGH = 3  # units, for which other processes are worth their start
COMMAND = ("-P", "-c", "from netlang.targets.cpu.workers import serve; serve()")
FRAME = 8  # bytes of the length before what is sent
PATIENCE = 60.0  # seconds for the last unit of a worker, when there is nothing else to do
LARGEST = 1 << 30  # bytes that are sent


@contextmanager
def ahead(units: Sequence[Compilable], keep: Callable[[str, bytes], object]) -> Iterator[None]:
    """While the body works out what it wants compiled, another process compiles units that it may want.

    They are kept one by one. When the body wants units (see `compiled`), the process goes on with these.
    """
    if _processors() < 2:
        yield
        return
    ours = _Ahead(units, keep)
    token = _AHEAD.set(ours)
    try:
        yield
    finally:
        _AHEAD.reset(token)
        ours.end()


def compiled(units: Sequence[Compilable]) -> list[bytes]:
    """The object code of each unit. Raises `InternalError`."""
    work = _Work(units)
    helpers = [] if (before := _AHEAD.get()) is None else before.taken_over(work)
    most = min(_processors(), MOST, len(units)) if len(units) >= ENOUGH else 1
    helpers += [_Helper(work) for _ in range(most - 1 - len(helpers))]
    try:
        for helper in helpers:
            helper.start()
        work.do()
        for helper in helpers:
            if helper in work.busy:
                helper.join(PATIENCE)
            helper.end()
        work.do()  # what a helper has left
    finally:
        for helper in helpers:
            helper.end()
    return [code for code in work.found if code is not None]


class _Work:
    """Units that wait, the code of those that are compiled, and the helpers that are busy with one."""

    def __init__(self, units: Sequence[Compilable]) -> None:
        self.units = units
        self.waiting = deque(range(len(units)))
        self.found: list[bytes | None] = [None] * len(units)
        self.busy: set[_Helper] = set()

    def next(self) -> int | None:
        try:
            return self.waiting.popleft()
        except IndexError:
            return None

    def do(self) -> None:
        """All that waits, in this process."""
        while (k := self.next()) is not None:
            self.found[k] = self.units[k].compiled()

    def done(self, k: int, code: bytes | None) -> None:
        """Code for a unit, or none, so that it waits again."""
        self.found[k] = code
        if code is None:
            self.waiting.append(k)


class _Helper:
    """A process that compiles, and a thread that talks to it."""

    def __init__(self, work: _Work, before: Callable[[], None] = lambda: None, process: _Process | None = None) -> None:
        self.work, self.before, self.process = work, before, process or _Process()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        with suppress(RuntimeError):  # there may be no more threads
            self.thread.start()

    def join(self, seconds: float | None = None) -> None:
        if self.thread.is_alive():  # one that was never begun is not
            self.thread.join(seconds)

    def end(self) -> None:
        self.process.end()
        self.join()
        self.process.close()

    def _run(self) -> None:
        self.before()
        work = self.work
        with suppress(OSError, ValueError, EOFError):
            while self.process.greets() and (k := work.next()) is not None:
                code = None
                work.busy.add(self)
                try:
                    code = self.process.compiled(work.units[k])
                finally:
                    work.done(k, code)
                    work.busy.discard(self)


class _Ahead:
    """A helper with units that may be wanted."""

    def __init__(self, units: Sequence[Compilable], keep: Callable[[str, bytes], object]) -> None:
        self.work = _Likely(units, keep)
        self.helper: _Helper | None = _Helper(self.work)
        self.helper.start()

    def taken_over(self, work: _Work) -> list[_Helper]:
        """The helper for work that is wanted, which has what this one has done; no other work can take it over."""
        if (first := self.helper) is None:
            return []
        self.helper, ours = None, self.work
        left = set(iter(ours.next, None))
        begun = {unit.key: k for k, unit in enumerate(ours.units) if k not in left}
        places = {k: begun[unit.key] for k, unit in enumerate(work.units) if unit.key in begun}
        work.waiting = deque(k for k in work.waiting if k not in places)

        def before() -> None:
            first.join()
            for k, place in places.items():
                if work.found[k] is None:
                    work.done(k, ours.found[place])
            work.busy.discard(second)

        second = _Helper(work, before, first.process)
        for k, place in places.items():
            work.found[k] = ours.found[place]
        if any(work.found[k] is None for k in places):  # one that is being compiled
            work.busy.add(second)
        return [second]

    def end(self) -> None:
        if self.helper is not None:
            self.helper.end()


class _Likely(_Work):
    """Units that are kept when they are compiled."""

    def __init__(self, units: Sequence[Compilable], keep: Callable[[str, bytes], object]) -> None:
        super().__init__(units)
        self.keep = keep

    def done(self, k: int, code: bytes | None) -> None:
        self.found[k] = code
        if code is not None:
            self.keep(self.units[k].key, code)


_AHEAD: ContextVar[_Ahead | None] = ContextVar("ahead", default=None)


class _Process:
    """A Python process that runs `serve`; none where that cannot be."""

    def __init__(self) -> None:
        self.popen: subprocess.Popen[bytes] | None = None
        self.is_known: bool | None = None
        if _is_interpreter(sys.executable):
            path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
            with suppress(OSError):
                self.popen = subprocess.Popen(
                    [sys.executable, *COMMAND],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path},
                )

    def greets(self) -> bool:
        """Whether it is one that compiles as this process would; it says so once."""
        if self.is_known is None:
            self.is_known = self.popen is not None and _received(self.popen.stdout) == compiler().encode()
        return self.is_known

    def compiled(self, unit: Compilable) -> bytes:
        if self.popen is None:
            raise EOFError
        _send(self.popen.stdin, pickle.dumps(unit))
        return _received(self.popen.stdout)

    def end(self) -> None:
        if self.popen is not None:
            with suppress(OSError):
                self.popen.kill()
            self.popen.wait()

    def close(self) -> None:
        for pipe in () if self.popen is None else (self.popen.stdin, self.popen.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()


def serve() -> None:
    """Compile what comes in through the standard input, until it ends."""
    given, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is no answer
    _send(out, compiler().encode())
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            unit = pickle.loads(_received(given))  # noqa: S301 - from the process that began this one
            with no_collection():
                code = unit.compiled()
            _send(out, code)


def _send(file: IO[bytes] | None, content: bytes) -> None:
    if file is None:
        raise EOFError
    file.write(len(content).to_bytes(FRAME, "little") + content)
    file.flush()


def _received(file: IO[bytes] | None) -> bytes:
    """Raises EOFError where the other side is gone, or says what none of ours would."""
    if file is None:
        raise EOFError
    length = int.from_bytes(file.read(FRAME), "little")
    content = file.read(length) if 0 < length < LARGEST else b""
    if not content or len(content) < length:
        raise EOFError
    return content


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_interpreter(path: str | None) -> bool:
    """Whether it is Python that runs, and not a program that has Python inside."""
    return path is not None and Path(path).stem.startswith("python") and not getattr(sys, "frozen", False)
