"""Invariants outside of sums: batch normalization's backward pass comes out as in the textbooks."""

from __future__ import annotations

import numpy as np

from netlang.graph.constructors import add, const, mul, power, read, select, sub, whole
from netlang.graph.constructors import at_least_zero as nonnegative
from netlang.graph.expression import ZERO, Apply, Reduce
from netlang.graph.integer import integer, size
from netlang.graph.nodes import BATCH, Equation
from netlang.graph.text import expression_text
from netlang.passes.hoist import hoist
from netlang.passes.pipeline import compile_graph
from netlang.passes.prune import prune
from netlang.passes.share import share
from netlang.targets.reference import evaluate
from tests.passes.graphs import equation, given, graph, i, param, total, values


def test_invariant_factors_come_out_of_sums():
    body = total("sum", {"j": 4}, mul(const(2), read("x", i("k"), i("j")), read("g", i("k"))))
    g = hoist(graph(param("x", 3, 4), param("g", 3), equation("y", {"k": 3}, body), outputs={"y": "y"}))
    assert expression_text(g["y.sum"].body) == "sum(j < 4) x[k, j]"
    assert expression_text(g["y"].body) == "2 * g[k] * y.sum[k]"


def test_constants_stay_in_contractions():
    body = total("sum", {"j": 4}, mul(const(2), read("x", i("k"), i("j")), read("g", i("j"))))
    g = graph(param("x", 3, 4), param("g", 4), equation("y", {"k": 3}, body), outputs={"y": "y"})
    assert hoist(g) is g


def test_invariant_functions_become_nodes():
    s = power(add(read("v", i("k")), const(1e-3)), -0.5)
    body = mul(read("g", i("k")), s, read("x", i("n"), i("k")))
    y = equation("y", {"n": 5, "k": 3}, body)
    g = graph(param("x", 5, 3), param("v", 3), param("g", 3), y, outputs={"y": "y"})
    arrays = values(g) | {"v": np.ones(3)}
    hoisted = hoist(g)
    assert expression_text(hoisted["y"].body) == "y.factor[k] * x[n, k]"
    np.testing.assert_allclose(evaluate(hoisted, arrays)["y"], evaluate(g, arrays)["y"], rtol=1e-14)


def test_reads_under_a_guard_stay_there():
    e = Apply("exp", (read("v", i("k") - 1),))
    y = equation("y", {"n": 5, "k": 3}, select(nonnegative(i("k") - 1), mul(e, read("x", i("n"), i("k"))), ZERO))
    g = graph(param("x", 5, 3), param("v", 2), y, outputs={"y": "y"})
    assert hoist(g) is g


def normalized():
    n, h = size(BATCH), 2
    x, count = read("x", i("k"), i("p")), power(whole(n * h), -1)
    m, v = read("m", i("k")), read("v", i("k"))
    y = mul(read("gamma", i("k")), sub(x, m), power(add(v, const(1e-3)), -0.5))
    return graph(
        given("x", 3, h),
        param("gamma", 3),
        param("beta", 3),
        equation("m.sum", {"k": 3}, total("sum", {BATCH: n, "p": h}, x)),
        equation("m", {"k": 3}, mul(count, read("m.sum", i("k")))),
        equation("v.sum", {"k": 3}, total("sum", {BATCH: n, "p": h}, power(sub(x, m), 2))),
        equation("v", {"k": 3}, mul(count, read("v.sum", i("k")))),
        equation("y", {"k": 3, "p": h}, add(y, read("beta", i("k")))),
        equation("z", {"k": 3, "p": h}, Apply("sin", (read("y", i("k"), i("p")),))),
        equation("L", {}, total("sum", {"k": 3, "p": h}, mul(read("z", i("k"), i("p")), read("x", i("k"), i("p"))))),
        outputs={"y": "y"},
        losses={"loss": "L"},
    )


def test_batch_normalization_has_two_sums_backward():
    g = normalized()
    compiled = compile_graph(g, wrt=["gamma", "beta", "x"])
    backward = [
        n for n in compiled if n.name.startswith("d/") and isinstance(n, Equation) and isinstance(n.body, Reduce)
    ]
    assert len(backward) == 2  # of d/y, and of d/y times the deviation
    arrays = {"x": np.random.default_rng(0).standard_normal((4, 3, 2)), "gamma": np.ones(3), "beta": np.zeros(3)}
    plain = compile_graph(g, wrt=["gamma", "beta", "x"], without=["hoist", "simplify", "share"])
    for name in ("gamma", "beta", "x"):
        np.testing.assert_allclose(
            evaluate(compiled, arrays)[compiled.gradients[name]],
            evaluate(plain, arrays)[plain.gradients[name]],
            rtol=1e-11,
            atol=1e-14,
        )


def test_sums_that_are_no_deviations_stay():
    n = integer(4)
    s = equation("s", {}, total("sum", {"j": 4}, read("x", i("j"))))
    y = equation("y", {}, total("sum", {"j": n}, sub(read("x", i("j")), mul(const(0.5), read("s")))))
    g = graph(param("x", 4), s, y, outputs={"y": "y"})
    assert evaluate(prune(share(hoist(g))), {"x": np.arange(4.0)})["y"] == -6
