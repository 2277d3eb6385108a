"""Modules that are compiled in parts, by several processes: the code is the same whoever compiles it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.diagnostics import InternalError
from netlang.targets.cpu import native, optimize, parts, workers
from netlang.targets.cpu.cache import ObjectCache
from netlang.targets.cpu.intrinsics import blocks_in
from netlang.targets.cpu.native import BlockUnit, NativeModule, Unit, compile_module

COUNT = 7
ENTRIES = ("run", "again")


def text(count: int = COUNT) -> str:
    """Kernels that add `k + 1` times an element to one, and entries that call them all."""
    kernels = [
        f"def add_{k}(n: i64, x: real[:], y: real[:]):\n"
        f"    for i in range(n):\n        y[i] += {k + 1} * x[i] + {k}.5 * (tanh(x[i]) - tanh(x[i]))\n"
        for k in range(count)
    ]
    calls = [f"    add_{k}(sizes[0], real(memory, 0), real(memory, 1))" for k in range(count)]
    entries = [f"def {name}(memory, sizes):\n" + "\n".join(calls) + "\n" for name in ENTRIES]
    return "\n\n".join([*kernels, *entries])


def run(module: NativeModule, entry: str = "run") -> list[float]:
    x, y = np.arange(5, dtype=np.float32), np.zeros(5, np.float32)
    module.entry(entry)(np.array([x.ctypes.data, y.ctypes.data]), np.array([5]))
    return [float(value) for value in y]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few kernels."""
    monkeypatch.setattr(parts, "SIZE", len(text()) // 5)


def test_where_a_module_comes_apart(small: None) -> None:
    found = parts.parts(text(), ENTRIES)
    assert [entries for _, entries in found] == [()] * (len(found) - 1) + [ENTRIES]
    assert len(found) > 2
    written = [line for part, _ in found[:-1] for line in part.splitlines() if line.startswith("def ")]
    assert sorted(written) == [f"def add_{k}(n: i64, x: real[:], y: real[:]):" for k in range(COUNT)]
    assert found[-1][0].count("    ...\n") == COUNT
    assert found == parts.parts(text(), ENTRIES)


def test_what_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parts.parts(text(), ENTRIES) == [(text(), ENTRIES)]
    monkeypatch.setattr(parts, "SIZE", 20)
    calling = text().replace("        y[i] += 7", "        add_5(n, x, y)\n        y[i] += 7")
    assert parts.parts(calling, ENTRIES) == [(calling, ENTRIES)]


@pytest.mark.parametrize("processors", [1, 2, 3])
def test_the_code_is_the_same(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: 1)
    alone = compile_module(text(), ENTRIES, cache=ObjectCache(tmp_path / "alone"))
    monkeypatch.setattr(workers, "_processors", lambda: processors)
    module = compile_module(text(), ENTRIES, cache=ObjectCache(tmp_path / "together"))
    assert module.objects == alone.objects
    assert len(module.objects) > 2
    expected = [28 * k for k in range(5)]
    for entry in ENTRIES:
        assert run(module, entry) == expected
    monkeypatch.setattr(parts, "SIZE", 10**6)
    assert run(compile_module(text(), ENTRIES, cache=ObjectCache(tmp_path / "whole"))) == expected


def test_parts_that_are_kept_are_not_compiled_again(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: 1)
    module = compile_module(text(), ENTRIES, cache=ObjectCache(tmp_path))
    (tmp_path / f"{next(iter(module.objects))}.nlo").unlink()
    compiled: list[Unit] = []
    monkeypatch.setattr(native, "_compiled", lambda units: [compiled.append(u) or u.compiled() for u in units])
    assert compile_module(text(), ENTRIES, cache=ObjectCache(tmp_path)).objects == module.objects
    assert [unit.entries for unit in compiled] == [ENTRIES]


GREETING = """
import sys
from netlang.targets.cpu import native, workers
workers._send(sys.stdout.buffer, native.compiler().encode())
"""
BROKEN = {
    "no interpreter": ("/nowhere/python3", workers.COMMAND),
    "a program with Python inside": ("/bin/false", workers.COMMAND),
    "unknown": (None, workers.COMMAND),
    "ends": (sys.executable, ("-c", "pass")),
    "says something else": (sys.executable, ("-c", "print('x' * 100)")),
    "says nothing": (sys.executable, ("-c", "import time; time.sleep(600)")),
    "ends after its greeting": (sys.executable, ("-c", GREETING)),
    "says nothing after its greeting": (sys.executable, ("-c", GREETING + "import time; time.sleep(600)")),
}


@pytest.mark.parametrize("how", BROKEN)
def test_workers_that_do_not_work(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    executable, command = BROKEN[how]
    monkeypatch.setattr(workers, "_processors", lambda: 2)
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(workers, "COMMAND", command)
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    assert run(compile_module(text(), ENTRIES, cache=ObjectCache(tmp_path))) == [28 * k for k in range(5)]


NET = "net N:\n    input x[40]\n    output x -> dense(48) -> dense(33)\n"


@pytest.fixture(scope="module")
def product() -> tuple[str, dict[str, bytes]]:
    """The source of a program that calls functions on blocks, and its objects."""
    net = netlang.loads(NET)
    return net.program().source, dict(net.program().module.objects)


@pytest.mark.parametrize("ready", [0, 1, len(native.USUAL)])
def test_what_is_compiled_ahead(
    product: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: int
) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: 2)
    cache, end = ObjectCache(tmp_path), time.monotonic() + 60
    with native.ahead(np.dtype("float32"), cache):
        while len(list(tmp_path.glob("*.nlo"))) < ready:
            assert time.monotonic() < end
            time.sleep(0.02)
        module = compile_module(product[0], ["prepare", "run"], cache=cache)
        other = compile_module(text(), ENTRIES, cache=cache)  # by this process alone
    assert module.objects == product[1]
    assert run(other) == [28 * k for k in range(5)]
    called = native.called_blocks(module.object_code)
    assert set(called) & {f"nl_{name}_f32" for name in native.USUAL}
    assert None not in [cache.load(BlockUnit(symbol, module.machine).key) for symbol in called]


@pytest.mark.parametrize("how", [*BROKEN, "it works"])
def test_processes_ahead_that_do_not_work(
    product: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    executable, command = BROKEN.get(how, (sys.executable, workers.COMMAND))
    monkeypatch.setattr(workers, "_processors", lambda: 2)
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(workers, "COMMAND", command)
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    cache = ObjectCache(tmp_path)
    with pytest.raises(ZeroDivisionError), native.ahead(np.dtype("float32"), cache):
        raise ZeroDivisionError
    with native.ahead(np.dtype("float32"), cache):
        pass
    with native.ahead(np.dtype("float32"), cache):
        time.sleep(0.2)
        assert compile_module(product[0], ["prepare", "run"], cache=cache).objects == product[1]


@pytest.mark.parametrize("begun", [0, 1])
def test_threads_that_cannot_begin(
    product: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    """Of helpers, the first one ahead may have begun, and is stopped while it compiles."""
    monkeypatch.setattr(workers, "_processors", lambda: 4)
    start, left = threading.Thread.start, [begun]

    def limited(self: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    cache = ObjectCache(tmp_path)
    with native.ahead(np.dtype("float32"), cache):
        module = compile_module(product[0], ["prepare", "run"], cache=cache)
    assert left == [0]
    assert module.objects == product[1]


def test_a_defect_is_reported_as_by_one_process(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: 3)
    with pytest.raises(InternalError, match="add_3"):
        compile_module(text().replace("y[i] += 4", "y[i] += nothing[4]"), ENTRIES, cache=ObjectCache(tmp_path))


SCRIPT = """
print("once")
from pathlib import Path
from netlang.targets.cpu import parts, workers
from netlang.targets.cpu.cache import ObjectCache
from netlang.targets.cpu.native import compile_module
parts.SIZE = {size}
workers._processors = lambda: 3
print(len(compile_module({text!r}, {entries!r}, cache=ObjectCache(Path({folder!r}))).objects) > 2)
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_on_blocks_are_compiled_beside_what_calls_them(tmp_path: Path, dtype: str) -> None:
    source = netlang.loads(NET).program().source
    called = blocks_in(source, np.dtype(dtype))
    module = compile_module(source, ["prepare", "run"], dtype=dtype, cache=ObjectCache(tmp_path))
    assert called == native.called_blocks(module.object_code) != []
    assert len(module.objects) == 1 + len(called) == len(list(tmp_path.iterdir()))
    again = compile_module(source, ["prepare", "run"], dtype=dtype, cache=ObjectCache(tmp_path))
    assert again.objects == module.objects


def test_a_script_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(size=len(text()) // 5, text=text(), entries=ENTRIES, folder=str(tmp_path / "cache"))
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["once", "True"]
    assert done.stderr == ""


def test_a_unit_without_entries_shows_its_kernels(small: None) -> None:
    (part, _), *_ = parts.parts(text(), ENTRIES)
    unit = Unit(part, (), np.dtype(np.float32), optimize.machine())
    shown = [f.name for f in unit.optimized().functions if not f.is_declaration]
    assert all(name.startswith("kernel_add_") for name in shown)
    assert len(shown) == part.count("def ")
