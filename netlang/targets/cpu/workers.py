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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from netlang.targets.cpu.native import Compilable, compiler

MOST = 8  # processes, this one among them
COMMAND = ("-P", "-c", "from netlang.targets.cpu.workers import serve; serve()")
FRAME = 8  # bytes of the length before what is sent
PATIENCE = 60.0  # seconds for the last unit of a worker, when there is nothing else to do
LARGEST = 1 << 30  # bytes that are sent


def compiled(units: Sequence[Compilable]) -> list[bytes]:
    """The object code of each unit. Raises `InternalError`."""
    found: list[bytes | None] = [None] * len(units)
    waiting = deque(range(len(units)))
    workers = [_Worker() for _ in range(min(_processors(), MOST, len(units)) - 1)]
    threads = [threading.Thread(target=w.work, args=(units, waiting, found), daemon=True) for w in workers]
    try:
        with suppress(RuntimeError):  # there may be no more threads
            for thread in threads:
                thread.start()
        _work(units, waiting, found)
        for worker, thread in zip(workers, threads, strict=True):
            if worker.is_busy:
                thread.join(PATIENCE)
            worker.end()
            _join(thread)
        _work(units, waiting, found)  # what a worker has left
    finally:
        for worker, thread in zip(workers, threads, strict=True):
            worker.end()
            _join(thread)
            worker.close()
    return [code for code in found if code is not None]


def _join(thread: threading.Thread) -> None:
    if thread.is_alive():  # one that was never begun is not
        thread.join()


def _work(units: Sequence[Compilable], waiting: deque[int], found: list[bytes | None]) -> None:
    while (k := _next(waiting)) is not None:
        found[k] = units[k].compiled()


def _next(waiting: deque[int]) -> int | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


class _Worker:
    """A process that compiles, and the thread that talks to it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.is_busy = False
        if _is_interpreter(sys.executable):
            path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
            with suppress(OSError):
                self.process = subprocess.Popen(
                    [sys.executable, *COMMAND],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path},
                )

    def work(self, units: Sequence[Compilable], waiting: deque[int], found: list[bytes | None]) -> None:
        process = self.process
        if process is None or process.stdin is None or process.stdout is None:
            return
        with suppress(OSError, ValueError, EOFError):
            if _received(process.stdout) != compiler().encode():
                return
            while (k := _next(waiting)) is not None:
                self.is_busy = True
                try:
                    _send(process.stdin, pickle.dumps(units[k]))
                    found[k] = _received(process.stdout)
                finally:
                    if found[k] is None:
                        waiting.append(k)
                    self.is_busy = False

    def end(self) -> None:
        if self.process is not None:
            with suppress(OSError):
                self.process.kill()
            self.process.wait()

    def close(self) -> None:
        for pipe in () if self.process is None else (self.process.stdin, self.process.stdout):
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
            _send(out, unit.compiled())


def _send(file: IO[bytes], content: bytes) -> None:
    file.write(len(content).to_bytes(FRAME, "little") + content)
    file.flush()


def _received(file: IO[bytes]) -> bytes:
    """Raises EOFError where the other side is gone, or says what none of ours would."""
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
