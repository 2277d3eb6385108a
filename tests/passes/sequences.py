"""Nets over a run-time size T, for the tests of streams."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import netlang
from netlang.graph.integer import size
from netlang.runtime.net import Net
from tests.strategies import Choices

Array = np.ndarray

CAUSAL = {
    "stacked cells": """
net A:
    input x[T, 3]
    output x -> gru(4) -> lstm(3) -> rnn(2)
""",
    "many to one": """
net A:
    input x[T, 3]
    h = x -> lstm(4)
    output last = h[T - 1], first = x[0]
""",
    "convolution": """
net A:
    input x[T, 3]
    param W[2, 3, 3], U[2, 2]
    y[t < T, i] = tanh(sum(k < 3, j) W[i, k, j] * (x[t - k, j] else 0))
    z[t < T, i] = sum(j) U[i, j] * y[t, j] + (y[t - 2, i] else 1) - (y[t - 4, 0] * x[t - 1, 0] else 0)
    output z
""",
    "attention by hand": """
net A(V=7, d=4):
    input text[T]: class(V)
    param E[V, d], P[20, d], Q[d, d], K[d, d], U[d, d]
    require T <= 20, "{T} is too long"
    x[t < T, j] = E[text[t], j] + P[t, j]
    q[t, i] = sum(j) Q[i, j] * x[t, j]
    k[t, i] = sum(j) K[i, j] * x[t, j]
    v[t, i] = sum(j) U[i, j] * x[t, j]
    a[t, s] = sum(j) q[t, j] * k[s, j] / sqrt(d)
    m[t] = max(s) (a[t, s] if s <= t else -inf)
    z[t] = sum(s) (exp(a[t, s] - m[t]) if s <= t else 0)
    y[t, i] = sum(s) (exp(a[t, s] - m[t]) / z[t] * v[s, i] if s <= t else 0)
    output y
""",
    "transformer": """
net A(V=7, d=8):
    input text[T]: class(V)
    h = text -> embedding(d) -> learned_positions(12) -> repeat(2, transformer_encoder(2, causal=true, prenorm=true))
    output h -> dense(V)
""",
    "sequence to sequence": """
net A(V=7, d=8):
    input source[S]: class(V), n: class(S + 1), text[T]: class(V)
    m = source -> embedding(d) -> sinusoidal_positions -> transformer_encoder(2, length=n)
    y = text -> embedding(d) -> sinusoidal_positions
    output transformer_decoder(y, m, 2, length=n) -> dense(V)
""",
    "carried state": """
net A:
    input x[T, 3]
    param U[2, 2], W[2, 3]
    state h0[2] ~ constant(0.5)
    h[t < T] = tanh(U @ (h[t - 1] else h0) + W @ x[t])
    h0 <- h[T - 1]
    output h
""",
    "what all rows decide": """
net A:
    input x[T, 3]
    h = x -> rnn(4)
    e[t] = sum(i) h[t, i]
    w = softmax(e)
    pooled[i] = sum(t) w[t] * h[t, i]
    output pooled, average = mean(t) h[t, 0], rows = mean(t < T) t, largest = argmax(t) e[t]
""",
    "turned around, to one": """
net A:
    input x[T, 3]
    h = x -> rnn(2) -> reverse -> lstm(3)
    output h[T - 1]
""",
    "backwards, to one": """
net A:
    input x[T, 3]
    param U[2, 2], W[2, 3]
    h[t < T] = tanh(U @ (h[t + 1] else 0) + W @ x[t])
    output h[0]
""",
    "pairs of rows": """
net A:
    input x[T, 3], z[3]
    a[t, s] = sum(j) (x[t, j] * x[s, j] if s <= t else 0)
    b[t < T] = sum(s) (x[s, 0] * x[t - s, 1] if s <= t else 0)
    c[t] = sum(s) (a[t, s] * a[s, t] if s < t else 0)
    output a, b, c, twice = 2 * z
""",
    "masked scores": """
net A:
    input x[T, 3]
    a[t, s] = sum(j) x[t, j] * x[s, j]
    w[t, s] = a[t, s] if s <= t else -inf
    p[t] = softmax(w[t])
    y[t, j] = sum(s) p[t, s] * x[s, j]
    output y
""",
    "padding": """
net A:
    input x[T, 3]
    param W[2, 3, 3]
    padded[t < T + 2, j] = x[t - 2, j] else 0.5
    y[t < T, i] = tanh(sum(k < 3, j) W[i, k, j] * padded[t + k, j])
    output y
""",
    "heads": """
net A:
    input x[T, 4]
    h = reshape(x, T, 2, 2)
    m[t < T, a, j] = sum(s) (h[s, a, j] * (t - s + 1) if s <= t else 0)
    output reshape(m, T, 4)
""",
    "labels": """
net A:
    input x[T, 3]
    k[t] = argmax(j) x[t, j]
    param E[3, 2]
    y[t, i] = E[k[t], i] + sum(s) (E[k[s], i] if s <= t else 0) + (E[k[t - 1], i] else 0)
    output y, k
""",
}


def drawn(text: str, dtype: str = "float64", seed: int = 0) -> Net:
    """The net with parameters drawn from a normal distribution."""
    net = netlang.loads(text, dtype=dtype)
    rng = np.random.default_rng(seed)
    for name in net.params:
        net.params[name] = rng.normal(0, 0.5, net.params[name].shape)
    return net


def inputs(net: Net, sizes: Mapping[str, int], batch: int, seed: int = 0) -> tuple[dict[str, Array], dict[str, Array]]:
    """Random inputs of a net: those over T, whose first dimension after the batch that is, and the others."""
    rng = np.random.default_rng(seed)
    rows: dict[str, Array] = {}
    others: dict[str, Array] = {}
    for node in net.inputs:
        shape = [batch, *(extent.evaluate(sizes) for extent in node.shape)]
        drawn = rng.normal(size=shape)
        if node.classes is not None:
            drawn = rng.integers(0, node.classes.evaluate(sizes), shape)
        (rows if size("T") in node.shape else others)[node.name] = drawn
    return rows, others


def expected(net: Net, rows: Mapping[str, Array], others: Mapping[str, Array], length: int) -> dict[str, Array]:
    """What a stream gives after so many rows: the last rows of the outputs over T, others as they are."""
    net.reset()
    values = net.forward(**others, **{name: array[:, :length] for name, array in rows.items()})
    over = {name: net.graph[node].shape[:1] == (size("T"),) for name, node in net.graph.outputs.items()}
    return {name: value[:, -1] if over[name] else value for name, value in values.items()}


# --- random ones ----------------------------------------------------------------------------------------------------

# rows of x[T, {d}] to rows of y[T, {n}]; each result is of the order of 1
STAGES = (
    "y = x -> rnn({n})",
    "y = x -> lstm({n})",
    "y = x -> gru({n})",
    "y = x -> dense({n}) -> tanh",
    "param W[{n}, {k}, {d}] ~ ones\n    y[t < T, i] = tanh(sum(k < {k}, j) W[i, k, j] * (x[t - {m} * k, j] else 0.5))",
    "param W[{n}, {k}, {d}] ~ ones\n"
    "    y[t < T, i] = tanh(sum(k < {k}, j) W[i, k, j] * (x[t - 1 - k, j] if k < t else 0))",
    "y[t < T, i < {n}] = sin(x[t, i % {d}] + (x[t - {m}, 0] else 0.3) * (x[t - 1, i % {d}] else 1))",
    "y[t < T, i < {n}] = sum(s) (x[s, i % {d}] if s <= t else 0) / (t + 1)",
    "y[t < T, i < {n}] = tanh(sum(s) (x[s, i % {d}] * x[t - s, 0] if s <= t and t - s < {k} else 0))",
    "y[t < T, i < {n}] = max(s) (x[s, i % {d}] if s < t else -inf) if t > 0 else cos(i)",
    "y[t < T, i < {n}] = x[t, 0] * (x[t - t % {k}, i % {d}] else 0)",
    "y = x -> dense(4) -> transformer_encoder(2, causal=true) -> dense({n}) -> tanh",
    "y = x -> sinusoidal_positions -> dense({n}) -> tanh",
    "y = x -> learned_positions(30) -> dense({n}) -> tanh",
    "k[t] = argmax(j) x[t, j]\n    param E[{d}, {n}] ~ ones\n    y[t < T, i] = E[k[t], i] - (E[k[t - {m}], i] else 0)",
    "param U[{n}, {n}] ~ ones\n    state h0[{n}] ~ constant(0.5)\n"
    "    h[t < T] = tanh(U @ (h[t - 1] else h0) + x[t, 0])\n    h0 <- h[T - 1]\n    y = h",
    "a[t, s] = sum(j) x[t, j] * x[s, j]\n    w[t, s] = a[t, s] if s <= t else -inf\n    p[t] = softmax(w[t])\n"
    "    y[t < T, i < {n}] = sum(s) p[t, s] * x[s, i % {d}]",
    "h[t < T, i < {n}] = sin(x[t, i % {d}] + (h[t - {m}, i] else 0) + 0.5 * (h[t - 1, i] else 1))\n    y = h",
)
# the same, where each row may depend on all
WHOLE = (
    "y[t < T, i < {n}] = x[t, i % {d}] - mean(s) x[s, i % {d}]",
    "h[t < T, i < {n}] = sin(x[t, i % {d}] + (h[t + 1, i] else {m}))\n    y = h",
    "y = x -> reverse -> gru({n})",
    "y = x -> bidirectional(rnn({n}), lstm(2)) -> dense({n})",
    "y = x -> dense(4) -> transformer_encoder(2) -> dense({n})",
    "y[t < T, i < {n}] = (x[t + {m}, i % {d}] else 1) + (x[t - 1, 0] else 2) * (t + 1) / T",
)
RESULTS = (
    "x[T - 1]",
    "x[0]",
    "mean(t) x[t, 0]",
    "sum(i) x[T - 1, i] / T",
    "max(x)",
    "argmax(t) x[t, 0]",
    "(x[T - 3, 0] else 2)",
    "(sum(t) exp(x[t, 0]) * x[t, 0]) / sum(t) exp(x[t, 0])",
)


def sequence(choices: Choices, most: int = 5, causal: bool = True) -> str:
    """A random net over T: layers one after the other, some with a way around, and a result of all rows.

    A causal one has the rows of the last layer as an output too; another one is causal up to some layer at least.
    """
    widths = [choices.whole(2, 3)]
    layers: list[str] = []
    lines = [f"net A:\n    input x0[T, {widths[0]}]"]
    for k in range(choices.whole(1, most)):
        d, n = widths[-1], choices.whole(1, 4)
        stages = STAGES if causal or choices.whole(0, 1) else WHOLE
        stage = stages[choices.whole(0, len(stages) - 1)]
        text = stage.format(d=d, n=n, k=choices.whole(2, 4), m=choices.whole(1, 3))
        layers.append(f"layer stage{k}(x[T, d]):\n    {text}\n    return y\n")
        around = f" + x{choices.whole(0, k)}[t, i % {{}}]" if choices.whole(0, 2) == 0 else ""
        source = int(around[4:].split("[")[0]) if around else 0
        lines.append(f"    y{k} = x{k} -> stage{k}")
        lines.append(f"    x{k + 1}[t < T, i < {n}] = y{k}[t, i]{around.format(widths[source])}")
        widths.append(n)
    last = f"x{len(widths) - 1}"
    result = RESULTS[choices.whole(0, len(RESULTS) - 1)].replace("x[", f"{last}[").replace("(x)", f"({last})")
    output = f"{last}, result = {result}" if causal else f"result = {result}"
    return "\n".join([*layers, *lines, f"    output {output}", ""])
