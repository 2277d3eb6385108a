"""What is predicted of the memory of a net is what its runs take."""

from __future__ import annotations

import json

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime.memory import predicted
from netlang.runtime.synthetic import random_inputs

TEXT = """
net Small:
    input x[T, 6]
    target y: class(4)
    h = x -> lstm(5)
    scores = h[T-1] -> dense(4)
    output scores
    loss cross_entropy(scores, y)
"""
RECIPE = "\ntrain Small:\n    optimizer adam(lr=0.1)\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7), (40, 2)])
def test_it_is_what_runs_take(dtype: str, batch: int, length: int) -> None:
    net = netlang.loads(TEXT + RECIPE, dtype=dtype)
    found = predicted(net.model, batch, {"T": length}, dtype)
    data = random_inputs(net, batch, {"T": length}, np.random.default_rng(0))
    scores = net.forward(x=data["x"])["scores"]
    net.step(**data)
    real = np.dtype(dtype).itemsize
    params = sum(a.nbytes for a in net.params.values())
    owned = {
        "forward": data["x"].nbytes + scores.nbytes + params,
        "step": data["x"].nbytes + data["y"].nbytes + sum(a.nbytes for a in net.values.values()) + real,
    }
    for use, bytes in owned.items():
        arena = len(net.program(use)._arena)
        clock = 0 if use == "forward" else real  # the number of the step, which Adam reads
        assert found[use] == bytes + arena + clock


def test_a_net_without_training_has_no_step() -> None:
    assert predicted(netlang.loads(TEXT).model, 2).keys() == {"forward"}


def test_summaries_have_it_for_a_batch() -> None:
    net = netlang.loads(TEXT + RECIPE)
    assert "memory" not in net.summary() + json.dumps(net.summary("json"))
    found = predicted(net.model, 8, {"T": 30})
    facts = net.summary("json", {"T": 30}, batch=8)["memory"]
    wanted = {"batch": 8, "dtype": "float32", "forward_bytes": found["forward"], "step_bytes": found["step"]}
    assert facts == wanted
    assert " for inference and " in net.summary(batch=8)
    assert "with one example in float32" in netlang.loads(TEXT).summary(batch=1)


def test_sizes_that_there_are_not() -> None:
    with pytest.raises(NetlangError, match="size-unknown"):
        predicted(netlang.loads(TEXT).model, 1, {"S": 3})
