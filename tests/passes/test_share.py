"""The pass `share`: equal nodes become one, also where a loop over time reads them before they are computed."""

from __future__ import annotations

import numpy as np

from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.expression import Reduce, Select
from netlang.graph.nodes import Equation
from netlang.graph.traversal import walk
from netlang.graph.verify import verify
from netlang.passes.share import share
from netlang.runtime.model import Model
from netlang.targets.reference import evaluate


def test_a_node_of_a_loop_reads_what_is_left_of_two_that_come_after_it() -> None:
    module = module_from_text(
        "net N:\n    input x[4]\n    h[t < 4] = x[t] + (a[t-1] else 0) + (b[t-1] else 1)\n"
        "    a[t < 4] = exp(-h[t])\n    b[t < 4] = exp(-h[t])\n    output h\n"
    )
    plain = elaborate(module, module.nets()[0], training=False)
    shared = share(plain)
    verify(shared, "share")
    assert len(shared.nodes) == len(plain.nodes) - 1
    x = np.array([1.0, 2.0, -1.0, 0.5])
    assert (evaluate(shared, {"x": x})["h"] == evaluate(plain, {"x": x})["h"]).all()


def test_equal_nodes_before_differentiation_have_one_gradient() -> None:
    text = (
        "net N:\n    input x[4], g[3]\n    param W[3, 4] ~ normal(0, 1), b[3] ~ zeros\n"
        "    y = gelu(W @ x + b)\n    loss sum(i) y[i] * g[i]\n"
    )
    module = module_from_text(text)
    products = []
    for without in ((), ("merge",)):
        graph = Model(module, module.nets()[0], {}, without=without).gradient_graph(["W", "x"])
        reduced = [n for n in graph if isinstance(n, Equation) and isinstance(n.body, Reduce)]
        products.append(sum("W" in n.operands for n in reduced))
    assert products == [2, 3]  # W @ x and the gradient by x; without, the latter twice


def test_what_a_sum_reads_already_is_not_computed_again() -> None:
    text = (
        "net N:\n    input x[4]\n    param W[3, 4] ~ normal(0, 1), b[3] ~ zeros\n"
        "    y = tanh(W @ x + b)\n    z = y * y\n    loss sum(i) z[i] * y[i]\n"
    )
    module = module_from_text(text)
    graph = Model(module, module.nets()[0], {}).gradient_graph(["W", "b"])
    bias = graph[graph.gradients["b"]]
    weights = graph[graph.gradients["W"]]
    assert isinstance(bias, Equation)
    assert len(bias.operands) == 1
    assert set(bias.operands) < set(weights.operands)
    random = np.random.default_rng(0)
    arrays = {"x": random.standard_normal((5, 4)), "W": random.standard_normal((3, 4)), "b": random.standard_normal(3)}
    plain = Model(module, module.nets()[0], {}, without=("share",)).gradient_graph(["W", "b"])
    found, expected = (evaluate(g, arrays, {"batch": 5}) for g in (graph, plain))
    for name in ("W", "b"):
        np.testing.assert_allclose(found[graph.gradients[name]], expected[plain.gradients[name]], rtol=1e-12)


def test_what_a_condition_leaves_is_read_where_a_sum_reads_it_already() -> None:
    text = (
        "net N:\n    input x[4]\n    param V[4, 4] ~ normal(0, 1), W[4, 4] ~ normal(0, 1)\n"
        "    h = V @ x\n    y = relu(W @ h + h)\n    loss sum(i) y[i] * y[i]\n"
    )
    module = module_from_text(text)
    random = np.random.default_rng(0)
    arrays = {"x": random.standard_normal((5, 4)), **{name: random.standard_normal((4, 4)) for name in "VW"}}
    graphs = [
        Model(module, module.nets()[0], {}, without=without).gradient_graph(["V", "W"]) for without in ((), ("share",))
    ]
    selections = [
        sum(isinstance(p, Select) for n in g if isinstance(n, Equation) for p in walk(n.body)) for g in graphs
    ]
    assert selections == [1, 2]  # the gradient by W @ h, which that by h is a sum of
    found, expected = (evaluate(g, arrays, {"batch": 5}) for g in graphs)
    for name in ("V", "W"):
        np.testing.assert_allclose(found[graphs[0].gradients[name]], expected[graphs[1].gradients[name]], rtol=1e-12)
