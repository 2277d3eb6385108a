"""What is kept from call to call, and that no change of a parameter is missed, however it is made."""

from __future__ import annotations

import copy
import ctypes
import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import netlang
from netlang.runtime.net import Net

Array = np.ndarray

TEXT = """
net Two(hidden=48):
    input  x[40]
    target t: class(5)
    y = x -> dense(hidden) -> relu -> batchnorm -> dense(5)
    output y
    loss   cross_entropy(y, t)

train Two:
    optimizer sgd(lr=0.1)
    epochs 2
    batch 8
"""
X = np.random.default_rng(1).standard_normal((6, 40))
T = np.arange(6) % 5


@pytest.fixture
def net() -> Net:
    return netlang.loads(TEXT, dtype="float64")


def fresh(net: Net) -> Array:
    """The output of a net that has kept nothing."""
    return np.asarray(copy.copy(net)(X))


def counted(net: Net) -> list[int]:
    """How often what is kept is computed from now on."""
    net(X)
    binding = next(iter(net.compiled("forward").bindings.values()))
    prepare, count = binding._prepare, [0]
    assert prepare is not None

    def call() -> None:
        count[0] += 1
        prepare()

    binding._prepare = call
    return count


def test_panels_are_made_once(net: Net) -> None:
    count = counted(net)
    first = net(X)
    for _ in range(3):
        np.testing.assert_array_equal(net(X), first)
    assert count == [0]
    assert {b.name for b in net.program().program.of_kind("kept")}


HOLDERS: dict[str, Callable[[Array], Any]] = {
    "itself": lambda a: a,
    "slice": lambda a: a[1:],
    "of_slice": lambda a: a[1:][:, ::2].T,
    "element": lambda a: a[0, 0:1].reshape(()),
    "flat": lambda a: a.reshape(-1),
    "bytes": lambda a: a.view(np.uint8),
    "other_class": lambda a: a.view(np.recarray)[1:],
    "memoryview": memoryview,
    "cast": lambda a: memoryview(a).cast("B"),
    "frombuffer": np.frombuffer,
    "ctypes": lambda a: (ctypes.c_double * a.size).from_buffer(a),
    "as_ctypes": np.ctypeslib.as_ctypes,
    "pointer": lambda a: a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    "dlpack": lambda a: np.from_dlpack(a)[1:],
    "iterator": lambda a: a.flat,
    "strided": lambda a: np.lib.stride_tricks.as_strided(a, (2, 2)),
    "method": lambda a: a.fill,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_as_long_as_memory_is_held_every_change_is_seen(net: Net, holder: str) -> None:
    count = counted(net)
    held = HOLDERS[holder](net.params["dense_1.W"])
    for k in range(2):
        net.values["dense_1.W"][0, 0] = float(k)  # behind the back of all but the one who holds it
        np.testing.assert_array_equal(net(X), fresh(net))
    assert count == [2]
    del held
    gc.collect()
    for _ in range(3):
        np.testing.assert_array_equal(net(X), fresh(net))
    assert count == [3]


def test_a_name_gives_the_same_array_as_long_as_it_is_held(net: Net) -> None:
    held = net.params["dense_1.W"]
    assert net.params["dense_1.W"] is held
    assert net.params.get("dense_1.W") is held
    assert dict(net.params)["dense_1.W"] is held
    assert dict(net.params.items())["dense_1.W"] is held


def assigned(net: Net) -> None:
    net.params["dense_1.W"] = np.ones((48, 40))


def in_place(net: Net) -> None:
    net.params["dense_1.W"] *= 2


def an_element(net: Net) -> None:
    net.params["dense_1.W"][3, 4] = 9


def all_of_them(net: Net) -> None:
    for value in net.params.values():
        value += 0.5


def statistics(net: Net) -> None:
    for name in net.state:
        net.state[name] = np.full(net.state[name].shape, 1.5)


def stepped(net: Net) -> None:
    net.step(x=X, t=T)


def trained(net: Net) -> None:
    net.fit({"x": X, "t": T}, validation={"x": X[:4], "t": T[:4]}, patience=1, progress=False)


def begun(net: Net) -> None:
    net.begin()


def elsewhere(net: Net) -> None:
    thread = threading.Thread(target=in_place, args=(net,))
    thread.start()
    thread.join()


CHANGES = (assigned, in_place, an_element, all_of_them, statistics, stepped, trained, begun, elsewhere)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(net: Net, change: Callable[[Net], None]) -> None:
    count = counted(net)
    for use in (net, lambda x: net.losses_and_metrics(x=x, t=T), lambda x: net.gradients(x=x, t=T)[0]):
        use(X)
    change(net)
    np.testing.assert_array_equal(net(X), fresh(net))
    other = copy.copy(net)
    assert net.gradients(x=X, t=T)[0] == other.gradients(x=X, t=T)[0]
    mine, others = (n.losses_and_metrics(x=X, t=T) for n in (net, other))
    for name, value in mine.items():
        np.testing.assert_array_equal(value, others[name])
    net(X)
    assert count[0] <= 1


def test_a_loaded_net_has_kept_nothing_of_its_first_values(net: Net, tmp_path: Any) -> None:
    net.params["dense_1.W"] *= 3
    net.save(tmp_path / "two.netc")
    np.testing.assert_array_equal(netlang.load(tmp_path / "two.netc")(X), net(X))


def test_a_program_with_arrays_of_others_keeps_nothing_for_them(net: Net) -> None:
    expected = net(X)
    program = net.program()
    mine = {name: a.copy() for name, a in net.values.items()}
    mine["dense_1.W"] *= 2
    doubled = copy.copy(net)
    doubled.params["dense_1.W"] *= 2
    for _ in range(2):
        (found,) = program.run({**mine, "x": X}, {"batch": 6}).values()
        np.testing.assert_array_equal(found, doubled(X))
        np.testing.assert_array_equal(net(X), expected)


STREAM = """
net Cell(hidden=32):
    input  x[T, 24]
    h = x -> rnn(hidden)
    output h
"""


def test_the_steps_of_a_stream_see_every_change() -> None:
    net = netlang.loads(STREAM, dtype="float64")
    rows = np.random.default_rng(2).standard_normal((4, 24))
    stream = net.stream()

    def agree() -> None:
        stream.reset()
        fresh = copy.copy(net).stream()
        for row in rows:
            np.testing.assert_array_equal(stream.step(x=row)["h"], fresh.step(x=row)["h"])

    agree()
    for name in net.params:
        net.params[name] *= 0.5
        agree()
        held = net.params[name]
        for _ in range(2):
            held *= 0.9
            agree()
        del held
        agree()
