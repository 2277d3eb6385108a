"""Large arguments neither overflow nor cancel, and nothing changes elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.graph.constructors import add, at_least_zero, const, div, mul, neg, power, read, select, sub
from netlang.graph.expression import ONE, ZERO, Apply
from netlang.graph.graph import Graph
from netlang.graph.integer import fetch, integer
from netlang.graph.verify import verify
from netlang.passes.derive import derive
from netlang.passes.prune import prune
from netlang.passes.share import share
from netlang.passes.stabilize import stabilize
from netlang.targets.reference import evaluate
from tests.passes.graphs import check_gradients, equation, given, graph, i, param, total, values


def exp(x):
    return Apply("exp", (x,))


def log(x):
    return Apply("log", (x,))


def sigmoid(x):
    return div(ONE, add(ONE, exp(neg(x))))


X = read("x", i("j"))


def stable(g: Graph, result: str, wrt: str = "x") -> Graph:
    out = share(prune(stabilize(g), [result]))
    verify(out, "stabilize")
    return derive(out, result, [wrt])


def elementwise(body):
    y = equation("y", {"j": 4}, body)
    return graph(param("x", 4), y, equation("L", {}, total("sum", {"j": 4}, read("y", i("j")))))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (sigmoid(X), Apply("logistic", (X,))),
        (mul(X, sigmoid(X)), mul(X, Apply("logistic", (X,)))),
        (div(exp(X), add(ONE, exp(X))), Apply("logistic", (X,))),
        (log(add(ONE, exp(X))), Apply("log1pexp", (X,))),
        (log(sigmoid(X)), neg(Apply("log1pexp", (neg(X),)))),
        (log(sub(ONE, sigmoid(X))), neg(Apply("log1pexp", (X,)))),
        (log(exp(X)), X),
        (log(add(X, const(2))), None),
        (power(X, -1), None),
    ],
)
def test_rules(body, expected):
    g = elementwise(body)
    node = stabilize(g)["y"]
    assert node.body == (body if expected is None else expected)
    arrays = {"x": np.array([0.3, 0.1, 1.2, 2.0])}
    np.testing.assert_allclose(evaluate(stabilize(g), arrays)["L"], evaluate(g, arrays)["L"], rtol=1e-12)


def cross_entropy(c: int = 4) -> Graph:
    s = equation("S", {}, total("sum", {"j": c}, exp(read("x", i("j")))))
    loss = equation("L", {}, sub(log(read("S")), read("x", fetch("t", (), integer(c)))))
    return graph(param("x", c), given("t", classes=c), s, loss)


def softmax_and_log(c: int = 4) -> Graph:
    s = equation("S", {}, total("sum", {"j": c}, exp(read("x", i("j")))))
    p = equation("p", {"j": c}, div(exp(read("x", i("j"))), read("S")))
    loss = equation("L", {}, neg(log(read("p", fetch("t", (), integer(c))))))
    return graph(param("x", c), given("t", classes=c), s, p, loss)


@pytest.mark.parametrize("make", [cross_entropy, softmax_and_log])
def test_cross_entropy_of_large_scores(make):
    g = stable(make(), "L")
    out = evaluate(g, {"x": np.array([1000.0, -1000.0, 0.0, 998.0]), "t": np.array(2)})
    assert out["L"] == pytest.approx(1000 + np.log1p(np.exp(-2)))
    softmax = np.array([1 / (1 + np.exp(-2)), 0, 0, np.exp(-2) / (1 + np.exp(-2))])
    np.testing.assert_allclose(out["d/x"], softmax - [0, 0, 1, 0], atol=1e-15)
    check_gradients(make(), ["x"], derived=stable(make(), "L"))


def test_softmax_of_large_scores():
    g = stabilize(softmax_and_log())
    out = evaluate(g, {"x": np.array([1000.0, -1000.0, 0.0, 998.0]), "t": np.array(0)})
    np.testing.assert_allclose(out["p"], [1 / (1 + np.exp(-2)), 0, 0, np.exp(-2) / (1 + np.exp(-2))])
    assert [n for n in g.nodes if n.startswith("S.")] == ["S.max", "S.shifted"]


def test_masked_softmax_through_named_exponentials():
    t = 3
    e = equation("e", {"t": t, "s": t}, select(at_least_zero(i("t") - i("s")), exp(read("x", i("t"), i("s"))), ZERO))
    z = equation("z", {"t": t}, total("sum", {"s": t}, read("e", i("t"), i("s"))))
    a = equation("a", {"t": t, "s": t}, div(read("e", i("t"), i("s")), read("z", i("t"))))
    loss = equation("L", {}, total("sum", {"t": t, "s": t}, mul(read("a", i("t"), i("s")), read("w", i("t"), i("s")))))
    g = graph(param("x", t, t), param("w", t, t), e, z, a, loss)
    arrays = values(g)
    expected = evaluate(g, arrays)["a"]
    np.testing.assert_allclose(evaluate(stabilize(g), arrays)["a"], expected, rtol=1e-12)
    assert np.isfinite(evaluate(stabilize(g), arrays | {"x": arrays["x"] * 1000})["a"]).all()
    check_gradients(g, ["x"], derived=stable(g, "L"))


@pytest.mark.parametrize("scale", [1.0, 500.0])
def test_binary_cross_entropy_from_probabilities(scale):
    p = equation("p", {"j": 4}, sigmoid(X))
    q = read("p", i("j"))
    y = read("y", i("j"))
    body = neg(add(mul(y, log(q)), mul(sub(ONE, y), log(sub(ONE, q)))))
    g = graph(param("x", 4), given("y", 4), p, equation("L", {}, total("sum", {"j": 4}, body)))
    arrays = {"x": scale * np.array([-1.0, 0.5, 1.5, 3.0]), "y": np.array([1.0, 0.0, 0.0, 1.0])}
    out = evaluate(stable(g, "L"), arrays)
    x = arrays["x"]
    logistic = np.exp(-np.logaddexp(0, -x))
    np.testing.assert_allclose(out["L"], (np.logaddexp(0, x) - arrays["y"] * x).sum(), rtol=1e-12)
    np.testing.assert_allclose(out["d/x"], logistic - arrays["y"], rtol=1e-12, atol=1e-15)


def test_a_maximum_subtracted_by_hand_is_left():
    m = equation("m", {}, total("max", {"j": 4}, X))
    s = equation("S", {}, total("sum", {"j": 4}, exp(sub(X, read("m")))))
    y = equation("y", {"j": 4}, div(exp(sub(X, read("m"))), read("S")))
    g = graph(param("x", 4), m, s, y)
    assert stabilize(g).nodes == g.nodes
