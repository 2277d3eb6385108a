"""Long, deep and growing nets: elaboration takes time in proportion to the text, and says where it ends."""

from __future__ import annotations

import time

import numpy as np
import pytest

from netlang.passes.pipeline import compile_graph
from tests.elaboration.nets import graph, net, values, wrong

x = np.array([0.5, -1.0])


def chain(kind: str, n: int) -> str:
    lines = {
        "pipeline": ["y = x", *["    -> dense(2) -> relu"] * n],
        "repeat": [f"y = x -> repeat({n}, dense(2))"],
        "shared": ["d = dense(2)", f"y = x -> repeat({n}, d)"],
        "lines": ["v0 = x", *(f"v{k + 1} = relu(v{k}) + x" for k in range(n)), f"y = v{n}"],
        "for": [f"for k in 1..{n}:", "    s = (s[k-1] else x) -> dense(2) -> tanh", f"y = s[{n}]"],
        "arguments": [*(f"v{k} = (x + {k}) -> dense(2)" for k in range(n)), f"y = v{n - 1}"],
    }[kind]
    return net("input x[2]", *lines, "output y")


@pytest.mark.parametrize("kind", ["pipeline", "repeat", "shared", "lines", "for", "arguments"])
def test_time_grows_with_the_number_of_layers(kind: str) -> None:
    def seconds(n: int) -> float:
        text = chain(kind, n)
        start = time.process_time()
        graph(text)
        return time.process_time() - start

    few = min(seconds(100) for _ in range(3))
    assert seconds(1000) < 30 * few  # ten times the text; quadratic growth would take a hundred times as long


DEEP = {
    "brackets": lambda n: "(" * n + "x * w" + ")" * n,
    "sums": lambda n: "(x + " * n + "x * w" + ")" * n,
    "left": lambda n: "x * w" + " + x" * n,
    "functions": lambda n: "tanh(" * n + "x * w" + ")" * n,
    "library": lambda n: "relu(" * n + "x * w" + ")" * n,
    "signs": lambda n: "-" * n + "(x * w)",
    "conditions": lambda n: "(x if x[0] > 0 else " * n + "x * w" + ")" * n,
}


@pytest.mark.parametrize("form", DEEP)
def test_expressions_nest_deeply_through_all_passes(form: str) -> None:
    for depth, wrt in ((180, ()), (50, ("w",))):  # the derivative of a nest is larger than the nest
        text = net("input x[2]", "param w[2]", f"y = {DEEP[form](depth)}", "output y", "loss sum(y)")
        assert tuple(compile_graph(graph(text), wrt=wrt).gradients) == wrt


@pytest.mark.parametrize("form", DEEP)
def test_deeper_expressions_are_refused(form: str) -> None:
    assert wrong(net("input x[2]", "param w[2]", f"y = {DEEP[form](1000)}", "output y")).code == "too-deep"


def test_a_deep_expression_has_its_value() -> None:
    n = 90
    found = values(net("input x[2]", f"y = {'(1 + 0.5 * ' * n}x{')' * n}", "output y"), x=x)["y"]
    np.testing.assert_allclose(found, np.full(2, 2 * (1 - 0.5**n) + x * 0.5**n))


def test_growth_is_refused_while_it_grows() -> None:
    doubling = "".join(f"fn f{k + 1}(x) = f{k}(x) * f{k}(x + 1)\n" for k in range(30))
    text = net("input x[2]", "output f30(x)", before="fn f0(x) = x + 1\n" + doubling)
    assert wrong(text).code == "expression-too-large"
