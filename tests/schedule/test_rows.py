"""Updates that change nothing where the gradient is zero visit the rows that were read; to the values of all rows."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.elaboration.modules import module_from_text
from netlang.graph.nodes import BATCH
from netlang.runtime.model import Model
from netlang.schedule.program import Alone, Guard, Program, Share, Statement
from netlang.schedule.schedule import schedule
from netlang.targets.reference.evaluate import evaluate

NET = """net N(V=40):
    input  word[T]: class(V), other[S]: class(V), length: class(T + 1)
    target y[3]
    param  table[V, 3] ~ normal(0, 1), bias[V] ~ zeros
    p[j] = {prediction}
    output p
    loss mse(p, y)

train N:
    {settings}

optimizer squares(w, g, lr=0.1):
    "A step whose state grows only where there is a gradient."
    state a ~ ones
    a <- a + g^2
    w <- w - lr * g / sqrt(a)

optimizer signs(w, g, lr=0.1):
    w <- w - lr * sign(g) * max(abs(g), 0)

optimizer decaying(w, g, lr=0.1):
    state a ~ zeros
    a <- 0.5*a + g
    w <- w - lr * a

optimizer shrinking(w, g, lr=0.1):
    w <- 0.99*w - lr * sign(g)
"""
ONE = "sum(t) tanh(table[word[t], j] + bias[word[t]])"
TWO = "sum(t) tanh(table[word[t], j]) + sum(s) table[other[s], j]^2 * bias[other[s]]"
MASKED = "sum(t) (tanh(table[word[t], j] + bias[word[t]]) if t < length else 0)"
CHOSEN = "sum(t) (tanh(table[word[t], j] + bias[word[t]]) if t != 1 and table[word[t], 0] > 0 else 0)"
MATRIX = "sum(t) table[word[t], j] + sum(v) table[v, j] * bias[v]"


def text(prediction: str, settings: str) -> str:
    return NET.format(prediction=prediction, settings=settings)


def step_program(source: str) -> Program:
    module = module_from_text(source)
    graph = Model(module, module.nets()[0], {}).step_graph
    return schedule(graph, graph.objectives.values(), graph.updates)


def by_rows(program: Program) -> int:
    """How many kernels have two ways, of which a condition on sizes takes one."""
    return sum(sum(isinstance(s, Guard) for s in without_threads(kernel.body)) == 2 for kernel in program.kernels)


def without_threads(body: tuple[Statement, ...]) -> list[Statement]:
    return [s for each in body for s in (without_threads(each.body) if isinstance(each, Share | Alone) else [each])]


@pytest.mark.parametrize("prediction", [ONE, TWO, MASKED, CHOSEN])
@pytest.mark.parametrize("settings", ["squares", "signs", "squares\n    schedule exponential(0.1)", "adagrad"])
def test_updates_that_rest_without_a_gradient_are_by_rows(prediction: str, settings: str) -> None:
    found = by_rows(step_program(text(prediction, f"optimizer {settings}")))
    sums = 3 if prediction == TWO else 2  # of the gradients of the table and of the bias
    assert found == sums + 2


@pytest.mark.parametrize(
    ("prediction", "settings"),
    [
        (ONE, "optimizer decaying"),
        (ONE, "optimizer shrinking"),
        (ONE, "optimizer adam"),
        (ONE, "optimizer squares\n    penalty l2(0.1) over table, bias"),
        (ONE, "optimizer squares\n    clip 1"),
        (MATRIX, "optimizer squares"),
    ],
)
def test_others_are_of_the_whole(prediction: str, settings: str) -> None:
    assert by_rows(step_program(text(prediction, settings))) == 0


@pytest.mark.parametrize("prediction", [ONE, TWO, MASKED, CHOSEN])
@pytest.mark.parametrize("optimizer", ["squares", "signs"])
@pytest.mark.parametrize("batch", [1, 2, 30])
def test_rows_and_the_whole_come_to_the_same(prediction: str, optimizer: str, batch: int) -> None:
    """Few examples take the way by rows, many the other; words repeat in both."""
    net = netlang.loads(text(prediction, f"optimizer {optimizer}"), dtype="float64")
    graph = net.model.step_graph
    random = np.random.default_rng(0)
    for step in range(4):
        arrays = {
            "word": random.integers(0, 12, (batch, 4)),
            "other": random.integers(6, 40, (batch, 2)),
            "length": random.integers(0, 5, batch),
            "y": random.normal(size=(batch, 3)),
        }
        given = {name: value for name, value in arrays.items() if name in graph.nodes}
        net.steps_done = step
        bound = {
            name: value.copy()
            for name, value in net.bound(given, graph.inputs("vocabulary")).items()
            if name in graph.nodes
        }
        values = evaluate(graph, bound, {BATCH: batch, "T": 4, "S": 2})
        net.step(**arrays)
        for name, node in graph.updates.items():
            np.testing.assert_allclose(net.values[name], values[node], rtol=1e-12, atol=1e-15, err_msg=name)


def test_a_gradient_that_is_asked_for_is_whole() -> None:
    net = netlang.loads(text(ONE, "optimizer squares"), dtype="float64")
    arrays = {"word": [[3, 3, 7, 0]], "other": [[3]], "length": [2], "y": np.ones((1, 3))}
    net.step(**arrays)
    _, gradients = net.gradients(**arrays)
    assert np.flatnonzero(np.abs(gradients["table"]).sum(axis=1)).tolist() == [0, 3, 7]
