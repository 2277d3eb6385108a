"""Shared libraries: their symbols and header, what C sees of them, where their temporaries lie, how they are linked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netlang
from netlang.diagnostics import NetlangError
from netlang.schedule.memory import ALIGNMENT
from netlang.schedule.program import Program
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.library import link
from netlang.targets.cpu.library.interface import c_names
from netlang.targets.cpu.library.layout import regions
from netlang.targets.cpu.optimize import LIBRARY

EXAMPLES = Path(__file__).parents[2] / "examples"
CC = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
needs_cc = pytest.mark.skipif(CC is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Libraries of examples, with training."""
    if CC is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("libraries")
    for name in ("xor", "digits"):
        netlang.save_native(netlang.load(EXAMPLES / f"{name}.net"), folder / f"{name}.so", training=True)
    return folder


def ran(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# --- what is in a library ------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("nm") is None, reason="there is no nm")
def test_a_library_needs_the_c_library_alone(folder: Path) -> None:
    """And not all of that: nothing that allocates, prints, or has state."""
    for line in ran(["nm", "-D", "--undefined-only", "digits.so"], folder).splitlines():
        kind, symbol = line.split()
        assert kind == "w" or symbol.partition("@")[0] in LIBRARY


@pytest.mark.skipif(shutil.which("nm") is None, reason="there is no nm")
def test_a_library_shows_its_interface_alone(folder: Path) -> None:
    shown = {line.split()[-1] for line in ran(["nm", "-D", "--defined-only", "digits.so"], folder).splitlines()}
    functions = ("forward", "gradients", "step")
    own = {*functions, *(f"{f}_workspace" for f in functions), "net", "manifest", "missing_features"}
    assert shown == {"netlang_manifest", *(f"Digits_{name}" for name in own)}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="there is no readelf")
def test_no_memory_is_written_and_executed(folder: Path) -> None:
    text = ran(["readelf", "-lW", "digits.so"], folder)
    assert "RWE" not in text
    assert re.search(r"GNU_STACK.* RW ", text)


def test_equal_nets_make_equal_libraries(folder: Path, tmp_path: Path) -> None:
    netlang.save_native(netlang.load(EXAMPLES / "xor.net"), tmp_path / "xor.so", training=True)
    assert (tmp_path / "xor.so").read_bytes() == (folder / "xor.so").read_bytes()
    assert (tmp_path / "xor.h").read_bytes() == (folder / "xor.h").read_bytes()


# --- from C --------------------------------------------------------------------------------------------------------


def compiled(folder: Path, source: str, library: str, *options: str) -> str:
    assert CC is not None
    (folder / "main.c").write_text(source)
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-I."]
    ran([CC, *strict, *options, "main.c", library, "-Wl,-rpath,.", "-o", "main"], folder)
    return ran(["./main"], folder)


def test_the_example_in_c(folder: Path) -> None:
    """The steps in C are those of Python, and the net learns."""
    printed = compiled(folder, (EXAMPLES / "xor.c").read_text(), "xor.so", "-std=c99").splitlines()
    net = netlang.load(EXAMPLES / "xor.net")
    a, b, y = [0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]
    for _ in range(500):
        objective = net.step(a=a, b=b, y=y)
    assert printed[0] == f"500 steps, objective {objective:.4f}"
    assert [round(float(line.split("=")[1])) for line in printed[1:]] == y


def test_the_struct_is_laid_out_as_the_library_has_it(folder: Path) -> None:
    facts = netlang.load_native(folder / "digits.so").manifest
    names = c_names(t["name"] for t in facts["values"]["tensors"])
    checks = "".join(
        f"check(offsetof(struct Digits, {names[t['name']]}) == {t['offset']});\n" for t in facts["values"]["tensors"]
    )
    gradients = "".join(
        f"check(offsetof(struct Digits_gradients, {names[t['name']]}) == {t['offset']});\n"
        for t in facts["gradients"]["tensors"]
    )
    source = f"""
        #include <stddef.h>
        #include <stdio.h>
        #include "digits.h"
        static int wrong;
        static void check(int holds) {{ wrong += !holds; }}
        int main(void) {{
            check(sizeof(struct Digits) == {facts["values"]["bytes"]});
            check(sizeof(struct Digits_gradients) == {facts["gradients"]["bytes"]});
            check(sizeof((struct Digits *)0)->conv_1_W == 16 * 1 * 3 * 3 * sizeof(float));
            {checks}{gradients}
            printf("%d %.1s", wrong, Digits_manifest());
            return 0;
        }}"""
    assert compiled(folder, source, "digits.so", "-std=c11") == "0 {"


@pytest.mark.skipif(not shutil.which("g++") and not shutil.which("clang++"), reason="there is no C++ compiler")
def test_the_header_is_cpp_too(folder: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++") or ""
    (folder / "all.cpp").write_text('#include "xor.h"\n#include "digits.h"\n')
    ran([compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "all.cpp"], folder)


@needs_cc
def test_names_that_c_has_other_uses_for(tmp_path: Path) -> None:
    text = """
net double(n=2):
    input  int[n], gradients, workspace, batch_1, int_2, σ
    param  while[n] ~ ones, float ~ zeros, steps_done ~ ones
    output sum(i) int[i] * while[i] + gradients + workspace + batch_1 + int_2 + float + σ + steps_done
"""
    net = netlang.loads(text)
    netlang.save_native(net, tmp_path / "names.so")
    compiled(tmp_path, '#include "names.h"\nint main(void) { return 0; }\n', "names.so", "-std=c99")
    assert netlang.load_native(tmp_path / "names.so")([1, 2], 3, 4, 5, 6, 7) == 29


class Called:
    """`Digits_step` by ctypes, on arguments of which some are wrong."""

    def __init__(self, folder: Path) -> None:
        native = netlang.load_native(folder / "digits.so")
        self.values = native._values
        function = native._functions["step"]
        self.call, self.workspace = function.function, function.workspace

    def status(self, batch: int = 2, labels: Any = (0, 1), **wrong: Any) -> int:
        image, objective = np.zeros((2, 1, 8, 8), np.float32), np.zeros(1, np.float32)
        digit, work = np.array(labels), np.empty(max(1, self.workspace(2)) + 1, np.uint8)
        given = {"net": self.values, "image": image, "digit": digit, "objective": objective, "workspace": work[1:]}
        places = {name: array.ctypes.data for name, array in given.items()} | wrong
        result: int = self.call(places.pop("net"), batch, *places.values())
        return result


def test_a_call_that_fits_at_any_alignment(folder: Path) -> None:
    called = Called(folder)
    before = called.values[:8].view(np.int64)[0]
    assert called.status() == 0
    assert called.values[:8].view(np.int64)[0] == before + 1


@pytest.mark.parametrize("name", ["net", "image", "digit", "objective", "workspace"])
def test_a_null_pointer_is_refused(folder: Path, name: str) -> None:
    assert Called(folder).status(**{name: None}) == 1


@pytest.mark.parametrize("batch", [0, -1, -(2**63), 2**31, 2**40, 2**63 - 1])
def test_a_size_that_cannot_be_is_refused(folder: Path, batch: int) -> None:
    called = Called(folder)
    assert called.status(batch) == 2
    assert called.workspace(batch) == -1


@pytest.mark.parametrize("digit", [(0, 10), (-1, 0), (2**62, 0), (0, -(2**63))])
def test_a_class_that_there_is_not_is_refused_before_anything_changes(folder: Path, digit: tuple[int, int]) -> None:
    called = Called(folder)
    before = called.values.copy()
    assert called.status(labels=digit) == 3
    assert (called.values == before).all()


def test_nothing_but_the_workspace_is_written(folder: Path) -> None:
    """A call stays within the bytes that it asked for."""
    called = Called(folder)
    for batch in (1, 2, 5, 64):
        count = called.workspace(batch)
        room = np.full(count + 4096, 0xA5, np.uint8)
        image, objective = np.ones((batch, 1, 8, 8), np.float32), np.zeros(1, np.float32)
        digit = np.zeros(batch, np.int64)
        places = [a.ctypes.data for a in (image, digit, objective)]
        assert called.call(called.values.ctypes.data, batch, *places, room.ctypes.data) == 0
        assert (room[count:] == 0xA5).all()
        assert np.isfinite(objective).all()


# --- where temporaries lie -----------------------------------------------------------------------------------------


def programs() -> list[Program]:
    found = []
    for name in ("digits", "hello", "iris_mlp"):
        graph = netlang.load(EXAMPLES / f"{name}.net").model.step_graph
        found.append(schedule(graph, graph.objectives.values(), graph.updates))
    return found


PROGRAMS = programs()


@given(st.sampled_from(PROGRAMS), st.integers(1, 70), st.sampled_from([4, 8]))
@settings(max_examples=40, deadline=None)
def test_temporaries_that_live_together_lie_apart(program: Program, batch: int, itemsize: int) -> None:
    sizes = dict.fromkeys(program.sizes, batch)
    places: dict[str, int] = {}
    start = 0
    for region in regions(program, itemsize):
        unit = region.unit.evaluate(sizes)

        def at(bytes: int, lines: int, unit: int = unit) -> int:
            return -(-bytes * unit // ALIGNMENT) * ALIGNMENT + lines * ALIGNMENT

        places |= {name: start + at(*place) for name, place in region.places.items()}
        start += at(region.bytes, region.lines)
    buffers = program.temporaries
    assert places.keys() == {b.name for b in buffers}
    ends = {b.name: b.elements.evaluate(sizes) * b.itemsize(itemsize) for b in buffers}
    for name, size in ends.items():
        assert places[name] % ALIGNMENT == 0
        assert places[name] + size <= start
    for k, one in enumerate(buffers):
        for other in buffers[:k]:
            if one.slot != other.slot and one.first <= other.last and other.first <= one.last:
                apart = places[one.name] + ends[one.name] <= places[other.name]
                assert apart or places[other.name] + ends[other.name] <= places[one.name]


# --- linking -------------------------------------------------------------------------------------------------------


def code(error: pytest.ExceptionInfo[NetlangError]) -> str:
    return error.value.diagnostics[0].code


def test_without_a_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(link.shutil, "which", lambda name: None)
    monkeypatch.setattr(link.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NetlangError) as error:
        netlang.save_native(netlang.load(EXAMPLES / "circuit.net"), tmp_path / "a.so")
    assert code(error) == "no-linker"
    monkeypatch.setattr(link.importlib.util, "find_spec", lambda name: name == "ziglang" or None)
    assert link.linker()[1:] == ["-m", "ziglang", "cc"]


@pytest.mark.parametrize("command", ["false", "no-such-compiler"])
def test_a_linker_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str) -> None:
    monkeypatch.setenv("CC", command)
    with pytest.raises(NetlangError) as error:
        netlang.save_native(netlang.load(EXAMPLES / "circuit.net"), tmp_path / "a.so")
    assert code(error) == "link-failed"
    assert not (tmp_path / "a.so").exists()


def test_unknown_processors_and_places(tmp_path: Path) -> None:
    net = netlang.load(EXAMPLES / "circuit.net")
    for options, wanted in (({"cpu": "pentium"}, "unknown-processor"), ({"weights": "outside"}, "bad-setting")):
        with pytest.raises(NetlangError) as error:
            netlang.save_native(net, tmp_path / "a.so", **options)  # type: ignore[arg-type]
        assert code(error) == wanted
    with pytest.raises(NetlangError) as error:
        netlang.save_native(net, tmp_path / "a.so", training=True)
    assert code(error) == "no-training"
