"""Object code is compiled once, found again by any process, and never trusted when damaged."""

import ast
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netlang.cache import cache_folder
from netlang.targets.cpu import native, optimize
from netlang.targets.cpu.cache import HEADER, ObjectCache, key

SOURCE = """
def entry(memory, sizes):
    i64(memory, 0)[0] = sizes[0] + 1
"""

PROCESS = """
import sys
import numpy as np
from netlang.targets.cpu.native import compile_module
module = compile_module({source!r}, ["entry"])
x = np.zeros(1, np.int64)
module.entry("entry")(np.array([x.ctypes.data]), np.array([41]))
print(x[0], "numba" in sys.modules)
"""


def process(path, **environment):
    code = textwrap.dedent(PROCESS.format(source=SOURCE))
    environment = {**os.environ, "NETLANG_CACHE": str(path), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def test_a_second_process_does_not_import_numba(tmp_path):
    assert process(tmp_path / "c").stdout.split() == ["42", "True"]
    assert process(tmp_path / "c").stdout.split() == ["42", "False"]
    [entry] = (tmp_path / "c").iterdir()
    assert entry.suffix == ".nlo"


def test_code_compiled_by_an_older_compiler_is_not_found():
    here = Path(native.__file__).parent
    package = here.parents[1]
    found, waiting = set(), [here / name for name in ("lower.py", "blocks.py", "elementary.py", "sharing.py")]
    while waiting:
        file = waiting.pop()
        if file not in found and {here, package / "schedule"} & {*file.parents} and file.name != "__init__.py":
            found.add(file)
            names = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
            modules = [m for n in names for m in (n.module or "", *(f"{n.module}.{a.name}" for a in n.names))]
            files = [
                package.joinpath(*m.split(".")[1:]).with_suffix(".py") for m in modules if m.startswith("netlang.")
            ]
            waiting += [each for each in files if each.exists()]
    assert len(found) > 10
    assert found <= {(here / name).resolve() for name in native.COMPILER}


def test_equal_source_gives_equal_code(tmp_path):
    for seed in "12":
        process(tmp_path / seed, PYTHONHASHSEED=seed)
    [first], [second] = ((tmp_path / seed).iterdir() for seed in "12")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_a_damaged_entry_is_compiled_again(tmp_path):
    cache = ObjectCache(tmp_path)
    whole = native.compile_module(SOURCE, ["entry"], cache=cache).object_code
    [place] = tmp_path.iterdir()
    data = place.read_bytes()
    flipped = bytearray(data)
    flipped[HEADER + 5] ^= 1
    for damaged in (b"", data[:-1], data + b"\0", data[:10], bytes(flipped), b"x" * len(data)):
        place.write_bytes(damaged)
        assert cache.load(place.stem) is None
        assert native.compile_module(SOURCE, ["entry"], cache=cache).object_code == whole
        assert place.read_bytes() == data


def test_the_key_depends_on_everything(tmp_path):
    machine = optimize.machine()
    base = native.Unit(SOURCE, ("entry",), native.np.dtype("float32"), machine)
    others = [
        native.Unit(SOURCE + "\n", base.entries, base.dtype, machine),
        native.Unit(SOURCE, ("other",), base.dtype, machine),
        native.Unit(SOURCE, base.entries, native.np.dtype("float64"), machine),
        native.Unit(SOURCE, base.entries, base.dtype, optimize.machine("generic")),
    ]
    assert len({u.key for u in (base, *others)}) == 5
    assert key(["ab", "c"]) != key(["a", "bc"]) != key(["abc"])
    assert key([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_unusable_directory_costs_one_warning(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for _ in range(2):
        assert native.compile_module(SOURCE, ["entry"], cache=ObjectCache(blocked)).object_code
    shown = capsys.readouterr().err
    assert shown.count("warning[cache-unwritable]: compiled code is not kept: cannot write to") == 1
    assert "NETLANG_CACHE" in shown


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX systems")
def test_a_directory_that_others_may_write_is_not_used(tmp_path, capsys):
    cache = ObjectCache(tmp_path / "open")
    assert cache.store("k", b"code")
    (tmp_path / "open").chmod(0o777)
    assert cache.load("k") is None
    assert not cache.store("k", b"code")
    assert "other users may write to it" in capsys.readouterr().err


def test_the_least_recently_used_entries_go_first(tmp_path):
    cache = ObjectCache(tmp_path, limit=3 * (HEADER + 100))
    for k in range(3):
        cache.store(f"k{k}", bytes(100))
        os.utime(tmp_path / f"k{k}.nlo", (k, k))
    assert cache.load("k0") == bytes(100)  # used now, so k1 is the oldest
    cache.store("k3", bytes(100))
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["k0", "k2", "k3"]
    cache.store("large", bytes(10_000))
    assert [p.stem for p in tmp_path.iterdir()] == ["large"]


def test_abandoned_temporary_files_are_removed(tmp_path):
    (tmp_path / "old.tmp").write_bytes(b"")
    os.utime(tmp_path / "old.tmp", (1, 1))
    (tmp_path / "new.tmp").write_bytes(b"")
    ObjectCache(tmp_path).store("k", b"code")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.nlo", "new.tmp"]


def test_concurrent_writers_leave_a_whole_entry(tmp_path):
    cache = ObjectCache(tmp_path)
    payload = bytes(range(256)) * 4000
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: cache.store("k", payload), range(40)))
    assert cache.load("k") == payload
    assert [p.name for p in tmp_path.iterdir()] == ["k.nlo"]


def test_the_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NETLANG_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("NETLANG_CACHE")
    if sys.platform not in ("win32", "darwin"):
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert str(cache_folder()) == "/somewhere/netlang"
