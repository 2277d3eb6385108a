"""The pass `proportions`: exponentials by their shares of a sum, where the share is known to be one."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.expression import Apply
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation
from netlang.graph.traversal import walk
from netlang.passes.pipeline import compile_graph
from netlang.targets.reference import evaluate

ATTENTION = """net N:
    input x[4, 3]
    y = attention(reshape(x, 4, 1, 3), reshape(x, 4, 1, 3), reshape(x, 4, 1, 3), causal=true)
    loss l = sum(t, j) sin(y[t, 0, j])
"""
WEIGHTED = "net N:\n    input x[5], w[5]\n    p = softmax(x)\n    loss l = (sum(i) p[i] * w[i])^2\n"


def compiled(text: str, without: tuple[str, ...] = ()) -> Graph:
    module = module_from_text(text)
    return compile_graph(elaborate(module, module.nets()[0], training=True), wrt=["x"], without=without)


def exponentials(graph: Graph, *, backward: bool) -> int:
    nodes = [n for n in graph if isinstance(n, Equation) and n.name.startswith("d/") == backward]
    return sum(isinstance(e, Apply) and e.op == "exp" for n in nodes for e in walk(n.body))


def agree(graph: Graph, plain: Graph) -> None:
    random = np.random.default_rng(0)
    arrays = {n.name: random.normal(size=(2, *(e.constant for e in n.shape[1:]))) for n in graph.inputs("input")}
    found = [evaluate(g, arrays, {"batch": 2}, only=[g.gradients["x"]])[g.gradients["x"]] for g in (graph, plain)]
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("text", [ATTENTION, WEIGHTED])
def test_the_backward_pass_of_a_softmax_has_no_exponential(text: str) -> None:
    graph, plain = compiled(text), compiled(text, ("proportions",))
    assert exponentials(graph, backward=True) == 0 < exponentials(plain, backward=True)
    assert exponentials(graph, backward=False) == exponentials(plain, backward=False)
    agree(graph, plain)


KEPT = {
    "a share that is zero elsewhere": """net N:
    input x[5, 5]
    total[t] = sum(s) (exp(x[t, s]) if s <= t else 0)
    p[t, s] = exp(x[t, s]) / total[t] if s <= t else 0
    q[t, s] = exp(x[t, s] / 2) + exp(x[t, s])
    loss l = sum(t, s) p[t, s] * q[t, s]
""",
    "a ratio that is no share": """net N:
    input x[5], z
    p[i] = exp(x[i]) / z
    q[i] = exp(x[i]) + 1
    loss l = sum(i) p[i] * q[i]^2
""",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_what_stays(text: str) -> None:
    """Exponentials must not be read off another node where that node is zero, or its divisor may be."""
    graph, plain = compiled(text), compiled(text, ("proportions",))
    assert exponentials(graph, backward=False) == exponentials(plain, backward=False)
    agree(graph, plain)
