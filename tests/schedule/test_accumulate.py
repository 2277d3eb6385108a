"""Tables are updated in the rows that were read, where that is all the update is, else as a whole; to equal values."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.elaboration.modules import module_from_text
from netlang.runtime.model import Model
from netlang.schedule.program import Program, Store, statements
from netlang.schedule.schedule import schedule

NET = """net N(V=50):
    input  word[T]: class(V), other[S]: class(V)
    target y[3]
    table = embedding(3)
    a = word -> table
    b = other -> table
    p[j] = {prediction}
    output p
    loss mse(p, y)

train N:
    {settings}
"""
ONE = "sum(t) tanh(a[t, j])"
TWO = "sum(t) tanh(a[t, j]) + sum(s) b[s, j]^2"
DOT = "a[0, j] * b[0, j]"  # each row's gradient is the other row, which changes too

word = np.array([[3, 3, 7, 0], [49, 3, 0, 1]])
other = np.array([[3, 8], [8, 8]])
y = np.array([[0.5, -1.0, 2.0], [0.0, 1.0, 1.0]])


def text(prediction: str, settings: str) -> str:
    return NET.format(prediction=prediction, settings=settings)


def step_program(source: str) -> Program:
    module = module_from_text(source)
    graph = Model(module, module.nets()[0], {}).step_graph
    return schedule(graph, graph.objectives.values(), graph.updates)


def whole_passes(program: Program) -> int:
    """How many kernels store every element of the table, or of a tensor of its size."""
    found = 0
    for kernel in program.kernels:
        stores = [s for s in statements(kernel.body) if isinstance(s, Store)]
        large = [s for s in stores if str(program.buffers[program.tensors[s.tensor].buffer].elements) == "150"]
        found += bool(large) and not all(s.op for s in large)
    return found


@pytest.mark.parametrize(
    ("prediction", "settings", "passes"),
    [
        (ONE, "optimizer sgd(lr=0.5)", 0),
        (TWO, "optimizer sgd(lr=0.5)", 0),
        (TWO, "optimizer sgd(lr=0.5)\n    schedule exponential(0.1)", 0),
        (DOT, "optimizer sgd(lr=0.5)", 0),
        (TWO, "optimizer sgd(lr=0.5, momentum=0.9)", 2),
        (ONE, "optimizer sgd(lr=0.5)\n    clip 0.1", 2),
        (ONE, "optimizer sgd(lr=0.5)\n    penalty l2(0.1)", 2),
    ],
)
def test_rows_or_the_whole(prediction: str, settings: str, passes: int) -> None:
    source = text(prediction, settings)
    assert (whole_passes(step_program(source)) > 0) == (passes > 0)
    net = netlang.loads(source, dtype="float64")
    before = net.params["table.E"].copy()
    _, gradients = net.gradients(word=word, other=other, y=y)
    net.step(word=word, other=other, y=y)
    moved = net.params["table.E"] - before
    gradient = gradients["table.E"]
    if "clip" in settings:
        gradient = gradient * min(1, 0.1 / np.sqrt((gradient**2).sum()))
    if "l2" in settings:
        gradient = gradient + 0.2 * before
    np.testing.assert_allclose(moved, -0.5 * gradient, rtol=1e-12, atol=1e-14)
    rows = {ONE: word, TWO: np.concatenate([word, other], axis=1), DOT: np.stack([word[:, 0], other[:, 0]])}
    read = np.isin(np.arange(50), rows[prediction])
    assert (moved != 0).any(axis=1).tolist() == (read | ("l2" in settings)).tolist()


def test_two_tables_that_are_each_others_gradients() -> None:
    source = """net W(V=40):
    input  word: class(V), context: class(V)
    param  E[V, 4] ~ normal(0, 1), C[V, 4] ~ normal(0, 1)
    p = sum(j) E[word, j] * C[context, j]
    output p
    loss   surprise = -log(sigmoid(p))

train W:
    optimizer sgd(lr=1)
"""
    net = netlang.loads(source, dtype="float64")
    E, C = net.params["E"].copy(), net.params["C"].copy()
    net.step(word=[3], context=[5])
    rate = 1 / (1 + np.exp(E[3] @ C[5]))
    np.testing.assert_allclose(net.params["E"] - E, rate * np.outer(np.arange(40) == 3, C[5]), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(net.params["C"] - C, rate * np.outer(np.arange(40) == 5, E[3]), rtol=1e-12, atol=1e-15)
    program = step_program(source)
    assert not any("160" in str(b.elements) for b in program.of_kind("temporary"))


def test_padding_is_not_read_where_a_gradient_is_set_apart() -> None:
    source = """net P(V=40):
    input  word[T]: class(V), length: class(T + 1)
    target y[2]
    param  E[V, 2] ~ normal(0, 1), C[V, 2] ~ normal(0, 1)
    p[j] = sum(t) (E[word[t], j] * C[word[t - 1], j] if t >= 1 and t < length else 0)
    output p
    loss   mse(p, y)

train P:
    optimizer sgd(lr=1)
"""
    net = netlang.loads(source, dtype="float64")
    arrays = {"word": np.array([[3, 4, 3, 9]]), "length": [3], "y": [[0.5, 1.0]]}
    before = {name: value.copy() for name, value in net.params.items()}
    _, gradients = net.gradients(**arrays)
    net.step(**arrays)
    for name, value in net.params.items():
        np.testing.assert_allclose(value - before[name], -gradients[name], rtol=1e-12, atol=1e-15)
