"""Whole epochs in native code: the same bits as one call for each step, whatever is copied, counted or drawn."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

import netlang
from netlang.runtime.net import Net
from netlang.runtime.training import _Run
from netlang.targets.cpu.epochs import kind_of

NOISY = """
net Noisy(hidden=8):
    input  x[4]
    target y: class(3)
    scores = x -> dense(hidden) -> tanh -> dropout(0.2) -> batchnorm -> dropout(0.1) -> dense(3)
    output scores
    loss cross_entropy(scores, y), size = 1e-3*sum(k) scores[k]^2

train Noisy:
    optimizer adam(lr=0.02)
    schedule cosine
    penalty l2(1e-4)
    batch 16
    epochs 4
"""
STREAM = """
net Stream(n=5):
    input  x[T, 2]
    target y[T, 1]
    state  h0[n] ~ zeros, c0[n] ~ zeros
    h, c = x -> lstm(n, h0=h0, c0=c0)
    h0 <- h[T-1]
    c0 <- c[T-1]
    scores = h -> dense(1)
    output scores
    loss mse(scores, y)

train Stream:
    optimizer sgd(lr=0.1)
    shuffle false
    batch 4
    epochs 2
"""
WIDE = """
net Wide:
    input  image[3, 12, 12]
    target y: class(7)
    scores = image -> conv(24, 3) -> relu -> maxpool(2) -> flatten -> dense(7)
    output scores
    loss cross_entropy(scores, y)

train Wide:
    optimizer momentum(lr=0.02)
    batch 32
    epochs 2
"""
FAR = """
net N:
    input x[1]
    y = x -> dense(1)
    output y
    loss far = mean(batch) (y[0] + 3e38 * x[0]^2)

train N:
    optimizer sgd(lr=0.1)
    shuffle false
    batch 16
"""
RANDOM = np.random.default_rng(0)
EXAMPLES = {
    NOISY: {"x": RANDOM.standard_normal((75, 4)), "y": RANDOM.integers(0, 3, 75)},
    STREAM: {"x": RANDOM.standard_normal((24, 6, 2)), "y": RANDOM.standard_normal((24, 6, 1))},
    WIDE: {"image": RANDOM.standard_normal((100, 3, 12, 12)), "y": RANDOM.integers(0, 7, 100)},
}


def fitted(text: str, data: dict[str, Any], **options: Any) -> Net:
    net = netlang.loads(text, **options)
    net.fit(data)
    return net


def bits(net: Net) -> dict[str, bytes]:
    history = np.array(net.history["objective"])
    return {name: value.tobytes() for name, value in {**net.params, **net.state, "history": history}.items()}


def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each call of native code does from now on."""
    found: list[int] = []
    run = Net.run_steps

    def counted(self: Net, compiled: Any, examples: Any, order: Any, sizes: Any) -> Any:
        found.append(len(order) // sizes["batch"])
        return run(self, compiled, examples, order, sizes)

    monkeypatch.setattr(Net, "run_steps", counted)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", EXAMPLES, ids=["noise, schedule, a rest", "carried states", "threads"])
def test_the_same_bits_as_one_by_one(text: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "are_copied", lambda self, step: False)
        expected = bits(fitted(text, EXAMPLES[text], dtype=dtype))
    steps = calls(monkeypatch)
    for threads in (1, 2, 3):
        assert bits(fitted(text, EXAMPLES[text], dtype=dtype, threads=threads)) == expected
    assert max(steps) > 1


def test_how_many_steps_a_call_does_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = bits(fitted(NOISY, EXAMPLES[NOISY]))
    steps = calls(monkeypatch)
    monkeypatch.setattr("netlang.runtime.training.MOST", 1.0)
    assert bits(fitted(NOISY, EXAMPLES[NOISY])) == expected
    assert steps == [1] * 16


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64"])
def test_labels_of_any_width(dtype: str) -> None:
    order = np.random.default_rng(1).permutation(75)[:64]
    found = []
    for labels in (EXAMPLES[NOISY]["y"], EXAMPLES[NOISY]["y"].astype(dtype)):
        net = netlang.loads(NOISY)
        data = {"x": EXAMPLES[NOISY]["x"].astype(np.float32), "y": labels}
        found.append(net.run_steps(net.compiled("step"), data, order, {"batch": 16}).tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("examples", [np.zeros(4, np.int8), np.zeros(4, ">f4"), np.zeros((4, 4), np.float32)[:, ::2]])
def test_what_cannot_be_copied(examples: np.ndarray) -> None:
    assert kind_of(examples) is None


def test_the_step_that_is_not_finite_is_named() -> None:
    net = netlang.loads(FAR)
    x = np.zeros((96, 1), np.float32)
    x[70] = 30  # in the fifth step of six
    with pytest.raises(netlang.NetlangError, match="the objective of `N` is inf at step 5, in epoch 1"):
        net.fit({"x": x}, epochs=1)
    assert net.steps_done == 0


def test_an_interruption_comes_soon_and_undoes_the_epoch() -> None:
    net = netlang.loads(WIDE)
    count = 20_000
    data = {"image": np.zeros((count, 3, 12, 12), np.float32), "y": np.zeros(count, np.int64)}
    net.fit({name: array[:64] for name, array in data.items()}, epochs=1)  # compiled
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    timer = threading.Timer(0.2, _thread.interrupt_main)
    try:
        timer.start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            net.fit(data, epochs=200)
        assert time.perf_counter() - start < 15
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert net.steps_done == net.epochs_done * count // 32
