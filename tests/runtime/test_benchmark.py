"""What `benchmark` says about a net: counts that can be counted by hand, times that were measured."""

from __future__ import annotations

import itertools

import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime import benchmark as module
from netlang.runtime.benchmark import benchmark, medians

TEXT = """
net Tagger(n=5):
    input x[T, 4]
    target y[T]: class(3)
    param W[3, 4] ~ xavier
    scores[t, k] = sum(j) W[k, j] * x[t, j]
    output scores
    loss mean(t) cross_entropy(scores[t], y[t])
"""
RECIPE = "\ntrain Tagger:\n    optimizer sgd(lr=0.1)\n    batch 4\n"


def test_the_counts_are_those_of_the_equations() -> None:
    net = netlang.loads(TEXT + RECIPE)
    before = net.params["W"].copy()
    found = benchmark(net, batch=6, sizes={"T": 7}, seconds=0.01)
    assert (found.net, found.batch, found.sizes, found.dtype) == ("Tagger", 6, {"T": 7}, "float32")
    macs = 6 * 7 * 3 * 4  # and once more for the gradient by W
    assert found.forward_gflops == pytest.approx(2e-6 * macs / found.forward_ms)
    assert found.step_ms is not None
    assert found.gflops == found.step_gflops == pytest.approx(2e-6 * 2 * macs / found.step_ms)
    assert (net.params["W"] == before).all()
    assert net.steps_done == 0
    scores, x, y, W = 4 * 6 * 7 * 3, 4 * 6 * 7 * 4, 8 * 6 * 7, 4 * 3 * 4
    assert x + y + W < found.peak_bytes < x + y + W + 8 * scores + 1000


def test_a_net_without_training_is_timed_forward() -> None:
    found = benchmark(netlang.loads(TEXT), batch=2, seconds=0.01)
    assert found.sizes == {"T": 1}
    assert found.step_ms is None
    assert found.as_json()["gflops"] == found.forward_gflops


def test_sizes_that_there_are_not() -> None:
    with pytest.raises(NetlangError, match="size-unknown"):
        benchmark(netlang.loads(TEXT), sizes={"S": 3})


def test_medians_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that the calls advance: the medians are what they take, and they take turns."""
    state = {"now": 0.0}
    order: list[str] = []
    takes = {"slow": itertools.cycle([3.0, 5.0, 40.0]), "fast": itertools.repeat(1.0)}

    def call(name: str) -> None:
        order.append(name)
        state["now"] += next(takes[name])

    monkeypatch.setattr(module.time, "perf_counter", lambda: state["now"])
    found = medians({"slow": lambda: call("slow"), "fast": lambda: call("fast")}, seconds=50)
    assert found == {"slow": 5000, "fast": 1000}
    assert order[: 2 * module.WARM_UP] == ["slow"] * module.WARM_UP + ["fast"] * module.WARM_UP
    turns = order[2 * module.WARM_UP :]
    assert turns == ["slow", "fast"] * (len(turns) // 2)
