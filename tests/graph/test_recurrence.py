"""Recurrences: loops found in a graph, on all targets, with gradients; cycles without a step in time."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.graph.graph import Graph
from netlang.graph.recurrence import Loop
from netlang.runtime.gradcheck import gradcheck
from netlang.schedule.schedule import schedule
from netlang.targets.reference import evaluate


def loops(graph: Graph) -> list[Loop]:
    return [part for part in graph.components if isinstance(part, Loop)]


def agrees(text: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs by the CPU, which are those of the reference."""
    net = netlang.loads(text, dtype="float64")
    graph = net.model.forward_graph
    size = len(next(iter(inputs.values())))
    known = {**net.params, **inputs}
    expected = evaluate(graph, {n: a for n, a in known.items() if n in graph.nodes}, {"batch": size})
    found = net.forward(**inputs)
    for name, node in net.graph.outputs.items():
        np.testing.assert_allclose(found[name], expected[node], rtol=1e-12, atol=1e-12, err_msg=name)
    return found


RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((3, 6, 4))


def test_elman_is_a_loop_forward_and_one_backward_around_single_contractions() -> None:
    net = netlang.loads(
        """
net R(n=5):
    input  x[6, 4]
    param  W[n, 4] ~ xavier, U[n, n] ~ orthogonal, b[n] ~ normal(0, 1)
    h[t < 6] = tanh(U @ (h[t-1] else 0) + W @ x[t] + b)
    output h
    loss   total = sum(h^2)
""",
        dtype="float64",
    )
    (forward,) = loops(net.graph)
    assert not forward.backward
    assert {node.name for node in forward.nodes} == {"h", "h.sum"}  # the product with the input is outside

    graph = net.model.gradient_graph(["W", "U", "b", "x"])
    first, second = loops(graph)
    assert (first.backward, second.backward) == (False, True)
    inside = {node.name for loop in (first, second) for node in loop.nodes}
    weights = {graph.gradients[name] for name in ("W", "U", "b", "x")}
    assert {"d/W", "d/U", "d/x"} <= weights
    assert not inside & {"d/W", "d/U", "d/x"}  # one product over all steps
    kernels = schedule(graph, [*weights]).kernels
    assert [k.kind for k in kernels].count("recurrence") == 2

    h = np.zeros((3, 5))
    expected = []
    for t in range(6):
        h = np.tanh(h @ net.params["U"].T + X[:, t] @ net.params["W"].T + net.params["b"])
        expected.append(h)
    np.testing.assert_allclose(net(X), np.stack(expected, 1), rtol=1e-12)
    assert all(found.error < 1e-6 for found in gradcheck(net))


def test_time_may_run_backwards() -> None:
    out = agrees("net R:\n    input x[6, 4]\n    s[t < 6] = (s[t+1] else 0) / 2 + x[t]\n    output s\n", x=X)
    expected = np.zeros((3, 6, 4))
    following = np.zeros((3, 4))
    for t in reversed(range(6)):
        expected[:, t] = following = following / 2 + X[:, t]
    np.testing.assert_allclose(out["s"], expected, rtol=1e-12)


def test_two_steps_back_and_a_given_start() -> None:
    text = """
net R:
    input x[6, 4], start[4]
    s[t < 6] = (s[t-1] else start) - 0.5 * (s[t-2] else 0) + x[t]
    output s
"""
    start = RANDOM.standard_normal((3, 4))
    out = agrees(text, x=X, start=start)["s"]
    one, two = start, np.zeros((3, 4))
    for t in range(6):
        one, two = one - 0.5 * two + X[:, t], one if t > 0 else np.zeros((3, 4))
        np.testing.assert_allclose(out[:, t], one, rtol=1e-12)


def test_tensors_that_refer_to_each_other() -> None:
    text = """
net R:
    input  x[6]
    a[t < 6] = x[t] + 0.5 * (b[t-1] else 1)
    b[t < 6] = a[t] * x[t] - (a[t-1] else 0)
    output a, b
"""
    x = X[:, :, 0].copy()
    out = agrees(text, x=x)
    a = b = None
    for t in range(6):
        before_a, before_b = (np.zeros(3), np.ones(3)) if a is None or b is None else (a, b)
        a = x[:, t] + 0.5 * before_b
        b = a * x[:, t] - before_a
        np.testing.assert_allclose(out["a"][:, t], a, rtol=1e-12)
        np.testing.assert_allclose(out["b"][:, t], b, rtol=1e-12)


def test_a_recurrence_over_two_indices() -> None:
    text = """
net R:
    input x[6, 4]
    s[i < 6, j < 4] = x[i, j] + 0.5 * (s[i-1, j] else 0) - 0.25 * (s[i, j-1] else 0)
    output s
    loss total = sum(s^2)
"""
    net = netlang.loads(text, dtype="float64")
    (outer,) = loops(net.graph)
    assert any(isinstance(part, Loop) for part in outer.body)
    out = agrees(text, x=X)["s"]
    expected = np.zeros((3, 6, 4))
    for i in range(6):
        for j in range(4):
            above = expected[:, i - 1, j] if i else 0
            left = expected[:, i, j - 1] if j else 0
            expected[:, i, j] = X[:, i, j] + 0.5 * above - 0.25 * left
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert all(found.error < 1e-6 for found in gradcheck(net))


@pytest.mark.parametrize(
    ("line", "cycle"),
    [
        ("s[t < 6] = s[t] + x[t]", "s -> s"),
        ("s[t < 6] = x[t] + sum(k < 6) s[k]", "s -> s.sum -> s"),
        ("s[t < 6] = x[t] + (s[t-1] else 0) + (s[t+1] else 0)", "s -> s"),
    ],
)
def test_a_cycle_without_a_step_in_time_is_an_error(line: str, cycle: str) -> None:
    with pytest.raises(netlang.NetlangError) as caught:
        netlang.loads(f"net R:\n    input x[6]\n    {line}\n    output s\n")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "cyclic-definition"
    assert cycle in diagnostic.message


def test_recurrent_nets_train() -> None:
    text = """
net R(n=8):
    input  x[6, 4]
    target y: class(2)
    h = x -> lstm(n)
    s = h[5] -> dense(2)
    output s
    loss   cross_entropy(s, y)
    metric accuracy(s, y)

train R:
    optimizer adam(lr=0.02)
    batch     16
    epochs    40
"""
    net = netlang.loads(text)
    x = RANDOM.standard_normal((64, 6, 4)).astype(np.float32)
    y = (x[:, 0, 0] > 0).astype(int)  # to be remembered from the first step
    net.fit({"x": x, "y": y})
    assert net.evaluate({"x": x, "y": y})["accuracy"] > 0.95


def test_a_recurrent_net_is_counted_drawn_and_derived() -> None:
    net = netlang.loads(
        """
net R(n=3):
    input  x[6, 4]
    param  W[n, 4] ~ xavier, U[n, n] ~ orthogonal
    h[t < 6] = tanh(U @ (h[t-1] else 0) + W @ x[t])
    output h
    loss   total = sum(h^2)
"""
    )
    counted = net.summary("json")
    assert counted["parameters"] == 3 * 4 + 3 * 3
    assert counted["macs"] == 6 * (3 * 4 + 3 * 3)
    for view in ("layers", "graph", "backward"):
        assert net.draw(view=view).startswith("digraph")
    assert "dL/dh[t, i] = 2 h[t, i] + Σ(i2 < 3) " in net.derive()  # the adjoint runs backwards in time
    assert "[t + 1, i2] U[i2, i]" in net.derive()


def test_a_tensor_that_reads_only_itself_elementwise_is_derived() -> None:
    net = netlang.loads(
        "net R:\n    input x[6]\n    param w\n    c[t < 6] = tanh(w * (c[t-1] else 0)) + x[t]\n    loss l = sum(c)\n"
    )
    assert "dL/dc[t] = 1 + " in net.derive()
