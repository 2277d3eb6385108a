"""Units compiled by several processes at the same time, where there are several units and processors; or before it is
known which are wanted.

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
from queue import SimpleQueue
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

    Each is kept when it is there. When the body wants units (see `compiled`), the process goes on with these.
    """
    helpers: list[_Helper] = []
    token = _AHEAD.set(helpers)
    try:
        if _processors() > 1:
            helpers.append(_Helper(_Work(units, keep)))
        yield
    finally:
        _AHEAD.reset(token)
        for helper in helpers:
            helper.end()


def compiled(units: Sequence[Compilable]) -> list[bytes]:
    """The object code of each unit. Raises `InternalError`."""
    helpers: list[_Helper] = []
    wanted, begun = {unit.key for unit in units}, list[dict[str, bytes | None]]()

    def are_pending() -> bool:
        return any(code is None and name in wanted for codes in begun for name, code in codes.items())

    try:
        if before := _AHEAD.get():
            helpers.append(before.pop())
            begun.append(helpers[0].work.stopped())
        work = _Work([unit for unit in units if not any(unit.key in codes for codes in begun)])
        begun.append(work.codes)
        most = min(_processors(), MOST, len(work.waiting)) - 1 if len(work.waiting) >= ENOUGH else 0
        for helper in helpers:
            helper.do(work)
        while len(helpers) < most:
            helpers.append(_Helper(work))
        for helper in helpers:
            helper.do(None)
        while (unit := work.next()) is not None:
            work.codes[unit.key] = unit.compiled()
        for helper in helpers:
            if are_pending():
                helper.join(PATIENCE)
            helper.end()
    finally:
        for helper in helpers:
            helper.end()
    found = {name: code for codes in begun for name, code in codes.items() if code is not None}
    return [found.get(unit.key) or unit.compiled() for unit in units]


class _Work:
    """Units that wait, and the code of each that is begun by its key: None as long as it is not there."""

    def __init__(self, units: Sequence[Compilable], keep: Callable[[str, bytes], object] | None = None) -> None:
        self.waiting, self.keep = deque(units), keep
        self.codes: dict[str, bytes | None] = {}
        self.lock = threading.Lock()

    def next(self) -> Compilable | None:
        with self.lock:
            if not self.waiting:
                return None
            unit = self.waiting.popleft()
            self.codes[unit.key] = None
            return unit

    def stopped(self) -> dict[str, bytes | None]:
        """What is begun; nothing more will be."""
        with self.lock:
            self.waiting.clear()
            return self.codes


class _Helper:
    """A process that compiles, and the thread that talks to it, for one work after another until that is None."""

    def __init__(self, work: _Work) -> None:
        self.work, self.process = work, _Process()
        self.works: SimpleQueue[_Work | None] = SimpleQueue()
        self.works.put(work)
        self.thread = threading.Thread(target=self._run, daemon=True)
        with suppress(RuntimeError):  # there may be no more threads
            self.thread.start()

    def do(self, work: _Work | None) -> None:
        self.works.put(work)

    def join(self, seconds: float | None = None) -> None:
        if self.thread.is_alive():  # one that was never begun is not
            self.thread.join(seconds)

    def end(self) -> None:
        self.do(None)
        self.process.end()
        self.join()
        self.process.close()

    def _run(self) -> None:
        for work in iter(self.works.get, None):
            try:
                while self.process.is_ours() and (unit := work.next()) is not None:
                    code = work.codes[unit.key] = self.process.compiled(unit)
                    if work.keep is not None:
                        work.keep(unit.key, code)
            except (OSError, ValueError, EOFError):
                self.process.is_known = False


_AHEAD: ContextVar[list[_Helper] | None] = ContextVar("ahead", default=None)


class _Process:
    """A Python process that runs `serve`; none where that cannot be."""

    def __init__(self) -> None:
        self.popen: subprocess.Popen[bytes] | None = None
        self.is_known: bool | None = None  # to be ours; None until it has said who it is
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

    def is_ours(self) -> bool:
        """Whether it compiles as this process would; it says so once."""
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
