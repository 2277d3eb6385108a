"""The batch made explicit, and the objective over it."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.diagnostics import NetlangError
from netlang.graph.constructors import mul, power, read, sub, whole
from netlang.graph.integer import fetch, integer, size
from netlang.graph.nodes import BATCH, Equation, Random, State, is_batched
from netlang.graph.verify import verify
from netlang.passes.lift import lift
from netlang.passes.objective import objective
from netlang.targets.reference import evaluate
from tests.passes.graphs import NOWHERE, equation, given, graph, i, param, total


def nodes():
    x = read("x", i("j"))
    return [
        given("x", 3),
        given("t", classes=3, role="target"),
        given("epoch", role="clock"),
        param("w", 3),
        State("mu", (integer(3),), "real", NOWHERE),
        equation("scale", {"j": 3}, mul(read("w", i("j")), read("epoch"))),
        equation("m.sum", {"j": 3}, total("sum", {"batch": size(BATCH)}, x)),
        equation("m", {"j": 3}, mul(read("m.sum", i("j")), power(whole(size(BATCH)), -1))),
        equation("y", {"j": 3}, mul(sub(x, read("m", i("j"))), read("scale", i("j")))),
        equation("loss", {}, mul(read("y", fetch("t", (), integer(3))), read("y", integer(0)))),
    ]


def test_the_batch_comes_first_in_what_depends_on_the_example():
    g = lift(graph(*nodes(), losses={"loss": "loss"}, updates={"mu": "m"}))
    verify(g, "lift")
    batched = {n.name for n in g if n.shape and n.shape[0] == size(BATCH)}
    assert batched == {"x", "t", "y", "loss"}
    loss = g["loss"]
    assert isinstance(loss, Equation)
    assert loss.indices == (BATCH,)
    assert read("y", i(BATCH), fetch("t", (i(BATCH),), integer(3))).key in loss.body.key
    assert lift(g) is g


def test_values_over_a_batch():
    g = objective(lift(graph(*nodes(), losses={"loss": "loss"})))
    rng = np.random.default_rng(0)
    x, t, w = rng.standard_normal((4, 3)), np.array([0, 2, 1, 1]), rng.standard_normal(3)
    out = evaluate(g, {"x": x, "t": t, "w": w, "epoch": 2.0, "mu": np.zeros(3)})
    y = (x - x.mean(0)) * w * 2
    np.testing.assert_allclose(out[g.objectives["objective"]], np.mean(y[range(4), t] * y[:, 0]))


def test_draws_for_each_example_are_batched():
    once = Random("once", (integer(2),), "real", NOWHERE, "normal", "a", per_example=False)
    each = Random("each", (integer(2),), "real", NOWHERE, "normal", "b")
    g = lift(graph(once, each))
    assert (len(g["once"].shape), len(g["each"].shape)) == (1, 2)


def test_a_state_whose_update_is_of_one_example_has_a_value_for_each():
    g = lift(graph(*nodes(), updates={"mu": "y"}))
    assert is_batched(g["mu"])
    assert is_batched(g["y"])
    assert not is_batched(lift(graph(*nodes()))["mu"])


def test_objectives_by_group_and_penalties():
    l2 = equation("l2", {}, total("sum", {"j": 3}, power(read("w", i("j")), 2)))
    square = equation("square", {}, power(read("loss"), 2))
    g = lift(graph(*nodes(), square, l2, losses={"a": "loss", "b": "square"}))
    arrays = {"x": np.eye(3), "t": np.array([0, 1, 2]), "w": np.ones(3), "epoch": 1.0, "mu": np.zeros(3)}
    out = evaluate(objective(g, penalties=["l2"]), arrays)
    assert out["objective"] == pytest.approx(out["loss"].mean() + out["square"].mean() + 3)
    both = objective(g, {"first": ["a"], "second": ["b"]})
    assert dict(both.objectives) == {"first": "first", "second": "second"}
    assert evaluate(both, arrays)["second"] == pytest.approx(out["square"].mean())


def test_a_loss_must_be_a_number():
    g = lift(graph(*nodes(), losses={"loss": "y"}))
    with pytest.raises(NetlangError, match=r"loss-not-scalar.*the loss `loss` has shape \[3\]"):
        objective(g)
    with pytest.raises(NetlangError, match="unknown-loss"):
        objective(lift(graph(*nodes(), losses={"loss": "loss"})), {"o": ["los"]})
    with pytest.raises(NetlangError, match="no-loss"):
        objective(graph(*nodes()))
