"""Sums of what goes to one place of each window: over windows, where these cover every place once."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.graph.constructors import const, is_zero, mul, read, select
from netlang.graph.expression import Expr, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, fetch, index, integer, size
from netlang.graph.nodes import Equation
from netlang.graph.verify import verify
from netlang.schedule.extremes import with_known_extremes
from netlang.schedule.pools import with_sums_by_window
from netlang.schedule.schedule import schedule
from netlang.schedule.signs import with_known_signs
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.passes.graphs import equation, given, graph, total
from tests.schedule.test_extremes import pooled

B = size("batch")
b, i, j, p, q = map(index, ["b", "i", "j", "p", "q"])


def terms(graph: Graph, name: str) -> int:
    """How many terms of an example a sum has."""
    node = graph[name]
    assert isinstance(node, Equation)
    assert isinstance(node.body, Reduce)
    return int(np.prod([extent.evaluate({"batch": 1}) for _, extent in node.body.ranges]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (pooled(8, 6, "2"), 12),
        (pooled(9, 6, "3"), 6),
        (pooled(8, 6, "2", "tanh -> maxpool"), 48),  # the derivative is in between
        (pooled(8, 6, "2", "maxpool"), 12),
        (pooled(8, 7, "2"), 56),  # a column is in no window
        (pooled(8, 9, "3, stride=2"), 72),  # windows overlap
        (pooled(8, 6, "2, stride=3"), 48),  # places are in no window
        (pooled(8, 6, "2", "relu -> avgpool"), 48),
    ],
)
def test_the_gradient_of_a_bias(text: str, expected: int) -> None:
    model = netlang.loads(text).model.gradient_graph(["conv_1.b", "conv_1.W"])
    made = with_sums_by_window(with_known_extremes(with_known_signs(model)))
    verify(made, "with_sums_by_window")
    assert terms(made, made.gradients["conv_1.b"]) == expected
    random = np.random.default_rng(0)
    shape = tuple(n.evaluate({"batch": 3}) for n in model["x"].shape)
    x = np.round(random.standard_normal(shape), 1)  # with what is equal
    x[0, 0, 0, 0] = np.nan
    params = netlang.loads(text).params
    arrays = {"x": x, "kind": random.integers(0, 4, 3), **{n: v.astype(np.float64) for n, v in params.items()}}
    roots = [*model.gradients.values()]
    expected_values = evaluate(model, arrays, {"batch": 3})
    for root, value in build(schedule(model, roots), np.float64).run(arrays, {"batch": 3}).items():
        np.testing.assert_allclose(value, expected_values[root], rtol=1e-11, atol=1e-11, err_msg=root)


PLACE = Reduce("argmax", (("p", integer(3)), ("q", integer(2))), read("x", b, 3 * i + p, 2 * j + q))
HERE = fetch("at", (b, i // 3, j // 2), integer(6))


def scattered(at: Int, value: Expr) -> Graph:
    """The sum of `value` where `at` is zero; `at` are the places of the maxima in windows of 3 x 2."""
    return graph(
        given("x", B, 6, 4),
        given("d", B, 2, 2),
        equation("at", {"b": B, "i": 2, "j": 2}, PLACE, dtype="int"),
        equation("u", {"b": B, "i": 6, "j": 4}, select(is_zero(at), value, const(0))),
        equation("y", {"b": B}, total("sum", {"i": 6, "j": 4}, read("u", b, i, j))),
    )


@pytest.mark.parametrize(
    ("at", "value", "few"),
    [
        (2 * (i % 3) + j % 2 - HERE, read("d", b, i // 3, j // 2), True),
        (HERE - 2 * (i % 3) - j % 2, read("d", b, i // 3, j // 2), True),
        (2 * (i % 3) + j % 2 - HERE, read("x", b, i, j), False),  # differs in a window
        (2 * (i % 3) + j % 2 - HERE, select(is_zero(i % 3 - 1), read("d", b, i // 3, j // 2), const(0)), False),
        (2 * (i % 3) + j % 2 - HERE, mul(read("d", b, i // 3, j // 2), read("d", b, i // 3, (j + 1) // 3)), False),
        (3 * (j % 2) + i % 3 - HERE, read("d", b, i // 3, j // 2), False),  # in another order
        (2 * (i % 3) - HERE, read("d", b, i // 3, j // 2), False),  # in no place of some windows
        (2 * (i % 3) + j % 2 + 1 - HERE, read("d", b, i // 3, j // 2), False),
        (2 * (i % 3) + j % 2 - fetch("at", (b, i // 3, (j + 1) // 3), integer(6)), read("d", b, i // 3, j // 2), False),
    ],
)
def test_only_what_is_once_in_each_window(at: Int, value: Expr, few: bool) -> None:
    test = scattered(at, value)
    made = with_sums_by_window(test)
    assert terms(made, "y") == (4 if few else 24)
    random = np.random.default_rng(1)
    arrays = {"x": random.standard_normal((5, 6, 4)), "d": random.standard_normal((5, 2, 2))}
    np.testing.assert_allclose(evaluate(made, arrays, {"batch": 5})["y"], evaluate(test, arrays, {"batch": 5})["y"])
