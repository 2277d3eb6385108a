"""Sums of products that nothing follows on go where the result lies."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import netlang
from netlang.schedule.program import Alone, Multiply, statements
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate

PRODUCTS = """
net Products(n):
    input x[5, 40, n], w[5, n, 64], v[5, n, 512], u[5, n, 48]
    y{equation}
    output y
"""


@pytest.mark.parametrize(
    ("equation", "is_there"),
    [
        ("[h, i, j] = sum(k) x[h, i, k] * w[h, k, j]", True),
        ("[i, h, j] = sum(k) x[h, i, k] * w[h, k, j]", True),  # rows with others between them
        ("[i, j] = sum(h, k) x[h, i, k] * w[h, k, j]", True),
        ("[h, i, j] = sum(k) x[h, i, k] * v[h, k, j]", False),  # rows at a power of two
        ("[h, i, j] = sum(k) x[h, i, k] * u[h, k, j]", True),  # a panel and a half
        ("[i, h, j] = sum(k) x[h, i, k] * u[h, k, j]", False),  # with others behind it
        ("[h, j, i] = sum(k) x[h, i, k] * w[h, k, j]", False),  # by columns
        ("[h, i, j] = tanh(sum(k) x[h, i, k] * w[h, k, j])", False),  # something follows
        ("[h, i, j] = sum(k) x[h, i, k] * w[h, k, j] if i < h + 8 else 0", False),
    ],
)
@pytest.mark.parametrize("n", [33, 4200])
def test_sums_go_to_the_result(equation: str, is_there: bool, n: int) -> None:
    net = netlang.loads(PRODUCTS.replace("{equation}", equation), n=n)
    graph = net.model.forward_graph
    program = schedule(graph, list(graph.outputs.values()))
    products = [s for kernel in program.kernels for s in statements(kernel.body) if isinstance(s, Multiply)]
    kinds = {program.buffers[program.tensors[s.target].buffer].kind for s in products}
    assert kinds == {"output" if is_there else "scratch"}
    assert not any(isinstance(s, Alone) for kernel in program.kernels for s in kernel.body)  # threads share it
    random = np.random.default_rng(0)
    arrays = {node.name: random.standard_normal((2, *(e.constant for e in node.shape))) for node in net.inputs}
    expected = evaluate(graph, arrays, {"batch": 2})["y"]
    found = [build(program, np.float64, threads=t).run(arrays, {"batch": 2})["y"] for t in (1, 2, 3)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-9)
    assert all(one.tobytes() == other.tobytes() for one, other in pairwise(found))


@pytest.mark.parametrize(("lanes", "is_there"), [(64, True), (48, True), (272, False)])
def test_few_rows_write_no_more(lanes: int, is_there: bool) -> None:
    net = netlang.loads(
        "net Dense(lanes):\n    input x[40]\n    param W[lanes, 40] ~ normal(0, 1)\n"
        "    y[i] = sum(k) x[k] * W[i, k]\n    output y\n",
        lanes=lanes,
    )
    graph = net.model.forward_graph
    program = schedule(graph, ["y"])
    assert any(name.endswith(".rows") for name in program.tensors) == is_there
    compiled, random = build(program, np.float32, threads=2), np.random.default_rng(0)
    for batch in (1, 2, 3, 4, 50):
        given = {"x": random.standard_normal((batch, 40)).astype(np.float32), **net.params}
        memory = np.full(batch * lanes + 256, 7, np.float32)
        there = memory[: batch * lanes].reshape(batch, lanes)
        compiled.run({**given, "y": there}, {"batch": batch})
        np.testing.assert_allclose(there, given["x"] @ net.params["W"].T, rtol=1e-4, atol=1e-5)
        assert (memory[batch * lanes :] == 7).all()
