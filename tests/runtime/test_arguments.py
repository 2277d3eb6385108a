"""A call that can be taken as it is comes to what one that is looked at comes to, and refuses the same."""

from __future__ import annotations

import copy
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime.native import NativeNet
from netlang.runtime.preprocess import Normalization
from netlang.targets.cpu.program import CpuProgram

LINKS = any(map(shutil.which, ("cc", "gcc", "clang"))) or importlib.util.find_spec("ziglang") is not None

TEXT = """
net Reader(classes=4):
    input  x[T, 3], w[2], note
    target digit: class(classes), goal
    pooled[i < 3] = mean(t < T) x[t, i]
    both = concat(pooled, w) -> dropout(0.4) -> dense(5) -> tanh
    scores = both -> dense(classes)
    guess = both -> dense(1)
    output scores, w
    loss   cross_entropy(scores, digit)
    loss   mse(guess[0], goal)

train Reader:
    optimizer adam(lr=0.1)
    schedule  step(every=2, factor=0.5)
"""

Given = dict[str, Any]


def examples(random: np.random.Generator, batch: int, steps: int, dtype: str) -> Given:
    """Arrays that can be taken as they are."""
    return {
        "x": random.normal(size=(batch, steps, 3)).astype(dtype),
        "w": random.normal(size=(batch, 2)).astype(dtype),
        "digit": random.integers(0, 4, batch),
        "goal": random.normal(size=batch).astype(dtype),
    }


class Strange(np.ndarray):
    """An array of a class of its own."""


CHANGES: dict[str, Callable[[Given, np.random.Generator], Given]] = {
    "none": lambda g, r: {},
    "all lack the batch": lambda g, r: {name: value[0] for name, value in g.items()},
    "one lacks the batch": lambda g, r: {"w": g["w"][0]},
    "a scalar for all": lambda g, r: {"goal": np.float32(1)},
    "lists": lambda g, r: {name: value.tolist() for name, value in g.items()},
    "another dtype": lambda g, r: {"x": g["x"].astype("float64" if g["x"].dtype == np.float32 else "float32")},
    "integers": lambda g, r: {"w": np.ones_like(g["w"], int)},
    "small labels": lambda g, r: {"digit": g["digit"].astype(np.uint8)},
    "labels as reals": lambda g, r: {"digit": g["digit"].astype(np.float64)},
    "another layout": lambda g, r: {"x": np.asfortranarray(g["x"])},
    "other byte order": lambda g, r: {"x": g["x"].astype(g["x"].dtype.newbyteorder())},
    "another class": lambda g, r: {"x": g["x"].view(Strange)},
    "only to be read": lambda g, r: {"x": _frozen(g["x"])},
    "not at a multiple": lambda g, r: {"x": _shifted(g["x"])},
    "reals may be infinite": lambda g, r: {"x": g["x"] * np.inf},
    "one that is not read": lambda g, r: {"note": np.zeros(len(g["w"]), np.float32)},
    "one that is not read, and does not fit": lambda g, r: {"note": np.zeros((7, 1))},
    "a label too large": lambda g, r: {"digit": _with(g["digit"], r, 4)},
    "a label too small": lambda g, r: {"digit": _with(g["digit"], r, -1)},
    "a label that wraps": lambda g, r: {"digit": _with(g["digit"], r, -(2**63))},
    "half a label": lambda g, r: {"digit": _with(g["digit"].astype(float), r, 0.5)},
    "no label": lambda g, r: {"digit": _with(g["digit"].astype(float), r, np.nan)},
    "an infinite target": lambda g, r: {"goal": _with(g["goal"], r, np.inf)},
    "no target": lambda g, r: {"goal": _with(g["goal"], r, np.nan)},
    "a target too many": lambda g, r: {"goal": np.append(g["goal"], g["goal"][:1])},
    "no examples": lambda g, r: {name: value[:0] for name, value in g.items()},
    "no steps": lambda g, r: {"x": g["x"][:, :0]},
    "another shape": lambda g, r: {"x": g["x"][..., :2]},
    "another rank": lambda g, r: {"w": g["w"][..., None]},
    "text": lambda g, r: {"w": "dark"},
    "complex numbers": lambda g, r: {"w": g["w"] + 1j},
    "an unknown name": lambda g, r: {"picture": g["w"]},
    "one missing": lambda g, r: {"x": None},
}


def _with(array: Any, random: np.random.Generator, value: Any) -> Any:
    changed = array.copy()
    changed[random.integers(len(array))] = value
    return changed


def _frozen(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def _shifted(array: Any) -> Any:
    """The same numbers at an address that is no multiple of their size."""
    room = np.empty(array.nbytes + 1, np.uint8)[1:]
    moved = room.view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def outcome(call: Callable[[], Any]) -> Any:
    """What a call comes to: bytes by name, or what is refused."""
    try:
        found = call()
    except NetlangError as error:
        return [(d.code, d.message, d.notes) for d in error.diagnostics]
    if isinstance(found, tuple):
        found = {"": found[0], **found[1]}
    return {name: (np.shape(value), np.asarray(value).tobytes()) for name, value in found.items()}


def unbound(program: CpuProgram) -> CpuProgram:
    return CpuProgram(program.outline, program.dtype, program.module, lambda: program.program)


@pytest.fixture(scope="module", params=["float32", "float64"])
def net(request: pytest.FixtureRequest) -> netlang.Net:
    return netlang.loads(TEXT, dtype=request.param, seed=1)


@pytest.mark.parametrize("use", ["forward", "losses_and_metrics", "gradients", "step_losses"])
@pytest.mark.parametrize("change", CHANGES)
def test_met_before_or_not(net: netlang.Net, change: str, use: str) -> None:
    random = np.random.default_rng(0)
    names = ("x", "w", "note", "picture") if use == "forward" else ("x", "w", "digit", "goal", "note", "picture")
    for batch, steps in ((1, 1), (3, 2), (3, 4)):
        good = examples(random, batch, steps, net.dtype.name)
        given = {n: v for n, v in (good | CHANGES[change](good, random)).items() if n in names and v is not None}
        getattr(net, use)(**{n: v for n, v in good.items() if n in names})  # from now on its shapes are known
        fresh = copy.copy(net)
        fresh._compiled = {
            key: replace(compiled, program=unbound(compiled.program), bindings={})
            for key, compiled in net._compiled.items()
        }
        assert outcome(partial(getattr(net, use), **given)) == outcome(partial(getattr(fresh, use), **given))
        assert net.steps_done == fresh.steps_done
        assert outcome(lambda: net.values) == outcome(partial(dict, fresh.values))


@pytest.fixture(scope="module")
def native(net: netlang.Net, tmp_path_factory: pytest.TempPathFactory) -> NativeNet:
    if not LINKS:
        pytest.skip("there is nothing that links a shared library")
    path = tmp_path_factory.mktemp("native") / f"{net.dtype}.so"
    netlang.save_native(net, path, training=True)
    return netlang.load_native(path)


@pytest.mark.parametrize("use", ["forward", "gradients"])
@pytest.mark.parametrize("change", CHANGES)
def test_libraries_refuse_the_same_met_before_or_not(
    net: netlang.Net, native: NativeNet, change: str, use: str
) -> None:
    random = np.random.default_rng(0)
    names = ("x", "w", "note", "picture") if use == "forward" else ("x", "w", "digit", "goal", "note", "picture")
    good = examples(random, 3, 2, net.dtype.name)
    given = {n: v for n, v in (good | CHANGES[change](good, random)).items() if n in names and v is not None}
    getattr(native, use)(**{n: v for n, v in good.items() if n in names})
    known = outcome(partial(getattr(native, use), **given))
    fresh = outcome(partial(getattr(netlang.load_native(native.path), use), **given))
    wanted = outcome(partial(getattr(net, use), **given))
    assert known == fresh
    if isinstance(wanted, list):
        assert fresh == wanted
    else:
        assert {name: value[0] for name, value in fresh.items()} == {name: value[0] for name, value in wanted.items()}


def test_outputs_are_the_callers() -> None:
    net = netlang.loads("net A:\n    input x[2]\n    output x -> dense(2)\n")
    x = np.ones((3, 2), np.float32)
    kept = [net(x) for _ in range(4)]
    assert len({array.ctypes.data for array in kept}) == 4
    first = kept[0].copy()
    kept[1][...] = 0
    net(2 * x)
    np.testing.assert_array_equal(kept[0], first)


def test_what_changes_between_calls_counts() -> None:
    net = netlang.loads("net A:\n    input x[2]\n    param w[2] ~ ones\n    y[i] = w[i] * x[i]\n    output y\n")
    x = np.array([[1.0, 2.0]], np.float32)
    assert net(x).tolist() == [[1, 2]]
    net.params["w"] = [3, 4]
    assert net(x).tolist() == [[3, 8]]
    net.params["w"][0] = 5
    assert net(x).tolist() == [[5, 8]]
    net.normalization = Normalization.fit({"x": np.array([[0.0, 0], [2, 8]])}, ["x"])
    assert net(x).tolist() == [[0, -2]]
    assert net(x[0]).tolist() == [0, -2]
    assert net(np.repeat(x, 2, axis=0)).tolist() == [[0, -2], [0, -2]]
    with pytest.raises(TypeError):
        net.values["w"] = np.zeros(2)  # type: ignore[index]


def test_more_shapes_than_are_remembered() -> None:
    net = netlang.loads("net A:\n    input x[T]\n    output s = sum(t < T) x[t]\n")
    for length in [*range(1, 150), *range(1, 150)]:
        assert net(np.ones((1, length), np.float32)) == length
