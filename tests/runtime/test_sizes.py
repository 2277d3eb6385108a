"""Run-time sizes in unusual places give what the same net gives with the sizes as constants."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.graph.integer import Int, integer, is_nonnegative, size
from netlang.graph.nodes import BATCH
from netlang.passes.objective import NAME as OBJECTIVE
from netlang.runtime.net import Net
from netlang.targets.reference.evaluate import evaluate

Sizes = Mapping[str, int]

NETS = {
    "two sizes": """
        input x[T, 2], z[S, 2]
        target y[T, S]
        a[t, s] = sum(k) x[t, k]*z[s, k]
        output a
        loss mean(t, s) (a[t, s] - y[t, s])^2
    """,
    "in conditions": """
        input x[T]
        target y
        a[t < T] = x[t] if t < T - 1 else 2*x[t]
        b[t < T] = (x[t+1] if t + 1 < T else 0) * 3
        c = sum(t) a[t]*b[t] if T > 3 else sum(t) (a[t] + b[t])
        output a, b, c
        loss (c - y)^2
    """,
    "in arithmetic": """
        input x[T]
        target y
        a[t < T] = x[t]*t/T + 1/T + T/3 + T^2 + t^2/T
        b = sum(t) a[t]*sqrt(T) + T
        d[t < T] = exp(-t/T) + sin(t)*T
        output a, b, d, T
        loss (b - y)^2 + sum(t) d[t]*x[t]
    """,
    "in floors": """
        input x[T]
        target y[T // 2]
        a[t < T // 2] = x[2*t] + x[2*t + 1]
        b[t < (T + 1) // 2] = x[2*t] + (x[2*t + 1] else 0)
        c[t < T] = x[t // 2] + a[T // 2 - 1]
        output a, b, c
        loss sum(t < T // 2) (x[t] - y[t])^2
    """,
    "of an image": """
        input image[2, h, w]
        target y[2]
        a = image -> conv(3, 3, stride=2, pad=1) -> maxpool(2)
        p[k < 2] = mean(i, j) a[k, i, j]
        output p, c = image -> avgpool(2), flat = image -> flatten
        loss sum(k) (p[k] - y[k])^2
    """,
    "recurrence in two dimensions": """
        input x[h, w]
        target y
        param A[3, 3] ~ xavier, B[3, 3] ~ xavier, c[3] ~ xavier
        s[i < h, j < w] = tanh(A @ (s[i-1, j] else 0) + B @ (s[i, j-1] else 0) + c*x[i, j])
        output s[h-1, w-1]
        loss (sum(k) s[h-1, w-1, k] - y)^2
    """,
    "time within time": """
        input x[T, S, 2]
        target y
        param A[3, 3] ~ xavier, B[3, 2] ~ xavier, C[3, 3] ~ xavier
        g[t < T, s < S] = tanh(A @ (g[t, s-1] else (h[t-1] else 0)) + B @ x[t, s])
        h[t < T] = tanh(C @ (h[t-1] else 0) + g[t, S-1])
        output h
        loss (sum(k) h[T-1, k] - y)^2
    """,
    "any axis, both ways": """
        input x[3, T]
        target y
        s[k < 3, t < T] = tanh(0.5*(s[k-1, t] else 1) + x[k, t])
        r[t < T, k < 3] = tanh((r[t+1, k] else 0.3)*x[k, t])
        output s, r
        loss (sum(s) + sum(r) - y)^2
    """,
    "recurrences of each other": """
        input x[T, 3]
        target y
        param U[3, 3] ~ xavier, V[3, 3] ~ xavier
        a[t < T] = tanh(U @ (b[t-1] else 0) + x[t])
        b[t < T] = sigmoid(V @ a[t] + (c[t-1] else 1))
        c[t < T] = a[t]*b[t] - (a[t-2] else 0)
        output a, b, c
        loss (sum(c) - y)^2
    """,
    "reversed within a length": """
        input x[T, 3], length: class(T + 1)
        target y
        param U[3, 3] ~ xavier
        a[t < T] = tanh(U @ (a[t+1] if t + 1 < length else 0) + x[t])
        output a[0]
        loss mean(t < T, k) (a[t, k] if t < length else 0)^2 + sum(k) (a[length - 1, k] else 0) - y
    """,
    "above their input": """
        a[t < T] = x[t] * T
        input x[T, 3]
        output a
    """,
    "of the target alone": """
        input x[3]
        target y[T, 3]
        a[t < T, k] = x[k] * t
        loss mean(t, k) (a[t, k] - y[t, k])^2
        output x
    """,
    "in layers of a loop": """
        input x[T, 3]
        target y[T]
        for k in 0..1:
            h = (h[k-1] else x) -> rnn(3)
        f = rnn(3)
        b = h[1] -> f -> repeat(2, gru(3)) -> f
        s[t] = sum(j) b[t, j]
        output s
        loss mean(t) (s[t] - y[t])^2
    """,
    "of sums": """
        input x[T + S], v[2*T], z[T], w[S]
        c[t < T + S] = z[t] else w[t-T]
        e[t < T] = v[2*t] + v[2*t + 1]
        output c + x, e
    """,
    "in classes": """
        input x[T], y: class(T)
        target z: class(T)
        best = argmax(x)
        a[t < T] = x[t] if t <= best else 0
        output x[y], a, reshape(x, 1, T), x -> softmax, size(x)
        loss cross_entropy(x, z)
        metric accuracy(x, z)
    """,
    "called like functions": """
        input x[tanh, size]
        output tanh(x), a = x -> tanh, b = size(x) + tanh
    """,
    "noise": """
        input x[T, 3]
        noise z[T, 3] ~ normal(0, 1)
        output x + z
    """,
}
MORE = {1: [(0,), (1,), (6,)], 2: [(0, 0), (0, 3), (8, 5)]}  # than the least sizes that a net allows


def text(name: str, sizes: Sizes) -> str:
    body = "".join(f"    {line[8:]}\n" for line in NETS[name].strip("\n").splitlines() if line.strip())
    arguments = ", ".join(f"{size}={value}" for size, value in sizes.items())
    return f"net N({arguments}):\n{body}" if sizes else f"net N:\n{body}"


def given(net: Net, sizes: Sizes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    out = {}
    for node in (*net.inputs, *net.targets):
        shape = (3, *(extent.evaluate(sizes) for extent in node.shape))
        whole = node.classes is not None
        out[node.name] = rng.integers(0, node.classes.evaluate(sizes), shape) if whole else rng.standard_normal(shape)
    return out


def reference(net: Net, wrt: list[str], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs, and the loss and its gradients where there is one, by the reference target."""
    graph = net.model.forward_graph
    known = {**arrays, **net.values}
    found = evaluate(graph, {k: v for k, v in known.items() if k in graph.nodes}, {BATCH: 3}, seed=0, step=0)
    out = {name: found[node] for name, node in graph.outputs.items()}
    if not net.graph.losses:
        return out
    graph = net.model.gradient_graph(tuple(wrt))
    found = evaluate(graph, {k: v for k, v in known.items() if k in graph.nodes}, {BATCH: 3}, seed=0, step=0)
    return out | {f"d {name}": found[node] for name, node in {**graph.objectives, **graph.gradients}.items()}


@pytest.mark.parametrize("name", NETS)
def test_sizes_may_stand_anywhere(name: str) -> None:
    """Native code for run-time sizes agrees with the reference target on the same net with constants."""
    net = netlang.loads(text(name, {}), dtype="float64")
    least = net.summary(format="json")["sizes"]
    wrt = [*net.params, *(i.name for i in net.inputs if i.dtype == "real")]
    for more in MORE[len(least)]:
        sizes = {size: value + k for (size, value), k in zip(least.items(), more, strict=True)}
        constant = netlang.loads(text(name, sizes), dtype="float64")
        for parameter, value in net.params.items():
            constant.params[parameter] = value
        arrays = given(net, sizes)
        found: dict[str, Any] = net.forward(**{i.name: arrays[i.name] for i in net.inputs})
        if net.graph.losses:
            loss, gradients = net.gradients(wrt=wrt, **arrays)
            found |= {f"d {OBJECTIVE}": loss, **{f"d {n}": g for n, g in gradients.items()}}
        expected = reference(constant, wrt, arrays)
        assert found.keys() == expected.keys()
        for what, value in expected.items():
            np.testing.assert_allclose(found[what], value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["input x[x, 3]", "output x"], "`x` is defined by itself: x -> x"),
        (["input x[y], y[x]", "output x"], "`x` is defined by itself: x -> y -> x"),
        (["input x[T], T", "output x"], "must be a whole number, found a scalar"),
        (["input x[training]", "output x"], "must be a whole number, found the truth value"),
        (["input x[relu]", "output x"], "must be a whole number, found the layer `relu`"),
        (["input x[T]", "output x -> repeat(T, dense(3))"], "the count of `repeat` must be a number known"),
        (["input x[3]", "for k in 1..T:", "    h = x", "input z[T]", "output h[1]"], "an end of a range must be"),
        (["input x[T]", "param w[3] ~ ones if T > 2", "output x"], "must be known at compile time"),
        (["input x[T]", "output x -> dense(T)"], "a `param` has constant extents, found T"),
        (["input x[T]", "y[t < T] = x[t+1]", "output y"], "runs from 1 to T, dimension 1 of `x` from 0 to T - 1"),
        (["input x", "input z[T] if false", "output sum(t < T) x"], "`T` is not defined"),
    ],
)
def test_sizes_where_none_can_be(lines: list[str], message: str) -> None:
    with pytest.raises(NetlangError) as caught:
        netlang.loads("net A:\n" + "".join(f"    {line}\n" for line in lines))
    assert message in str(caught.value)


def test_what_the_library_requires_is_said_in_numbers() -> None:
    net = netlang.loads("net A:\n    input image[1, h, w]\n    output image -> conv(1, 3, stride=2) -> maxpool(3)\n")
    with pytest.raises(NetlangError) as caught:
        net(np.zeros((1, 9, 5)))
    assert "a 3x3 window does not fit a padded 4x2 input; here h = 9, w = 5" in str(caught.value)
    assert "maxpool(3)\n" in str(caught.value)


def polynomials() -> Iterator[Int]:
    """Many integer expressions of two sizes, with floors and remainders inside each other."""
    whole = random.Random(1).randint

    def expression(depth: int) -> Int:
        value = integer(whole(-4, 4))
        for _ in range(whole(1, 3)):
            part = size("TS"[whole(0, 1)])
            if depth and whole(0, 2):
                inner, divisor = expression(depth - 1), whole(2, 4)
                part = (inner // divisor if whole(0, 2) else inner % divisor) * (part if not whole(0, 5) else 1)
            value = value + whole(-3, 3) * part
        return value

    return (expression(2) for _ in range(2000))


def test_what_is_proved_of_sizes_is_so() -> None:
    proved = 0
    for value in polynomials():
        if is_nonnegative(value):
            proved += 1
            assert all(value.evaluate({"T": t, "S": s}) >= 0 for t in range(1, 13) for s in range(1, 13)), value
    assert proved > 300
    T = size("T")
    for value in (T - T // 2 - 1, T // 2 * 2 - T + 1, (T + 1) // 2 - T // 2, T - (T + 2) // 3, T - 2 * (T // 3) - 1):
        assert is_nonnegative(value), value
    assert not is_nonnegative(T // 2 - 1)
