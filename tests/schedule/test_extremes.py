"""Extremes: with the place where they are, read under the condition of a place, and places that a byte holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

import netlang
from netlang.graph.constructors import add, compare, const, every, is_zero, mul, read, select
from netlang.graph.expression import Whole
from netlang.graph.graph import Graph
from netlang.graph.integer import fetch, index, integer, size
from netlang.graph.verify import verify
from netlang.schedule.extremes import with_known_extremes
from netlang.schedule.program import Program
from netlang.schedule.schedule import schedule
from netlang.schedule.signs import with_known_signs
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.passes.graphs import equation, given, graph, total
from tests.targets.test_generate import agree

B = size("batch")
b, i, j, k, p, q = map(index, ["b", "i", "j", "k", "p", "q"])


def pooled(high: int, wide: int, window: str, layers: str = "relu -> maxpool") -> str:
    return f"""
net Pooled:
    input  x[3, {high}, {wide}]
    target kind: class(4)
    scores = x -> conv(17, 3, pad=1) -> {layers}({window}) -> flatten -> dense(4)
    output scores
    loss cross_entropy(scores, kind)
"""


def scheduled(graph: Graph) -> Program:
    return schedule(graph, [*graph.outputs.values(), *graph.gradients.values()])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (pooled(8, 6, "2"), True),
        (pooled(9, 6, "3"), True),
        (pooled(8, 7, "2"), True),  # a column is in no window
        (pooled(8, 9, "3, stride=2"), False),  # windows overlap
        (pooled(8, 6, "2", "tanh -> maxpool"), False),  # nothing asks for what stands there
        (pooled(8, 6, "2", "relu -> avgpool"), False),
    ],
)
def test_gradients_ask_the_maximum_of_a_window(text: str, told: bool) -> None:
    net = netlang.loads(text)
    made = with_known_signs(net.model.gradient_graph(["conv_1.W", "x"]))
    rewritten = with_known_extremes(made)
    verify(rewritten, "with_known_extremes")
    assert (rewritten is not made and [n for n in rewritten if n != made[n.name]] != []) == told
    random, model = np.random.default_rng(0), net.model.gradient_graph(["conv_1.W", "x"])
    shape = tuple(n.evaluate({"batch": 3}) for n in model["x"].shape)
    x = np.round(random.standard_normal(shape), 1)  # with what is equal
    x[0, 0, 0, 0] = np.nan
    arrays = {"x": x, "kind": random.integers(0, 4, 3), **{n: v.astype(np.float64) for n, v in net.params.items()}}
    expected = evaluate(model, arrays, {"batch": 3})
    for root, value in build(scheduled(model), np.float64).run(arrays, {"batch": 3}).items():
        np.testing.assert_allclose(value, expected[root], rtol=1e-11, atol=1e-11, err_msg=root)


def test_the_larger_tensor_is_not_kept() -> None:
    program = scheduled(netlang.loads(pooled(8, 6, "2")).model.gradient_graph(["conv_1.W"]))
    first, last = (program.buffers["relu_1"].first, program.buffers["relu_1"].last)
    assert last == first + 1  # it is read by the pool alone
    assert program.buffers["maxpool_1.y"].last > last + 1


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("order", [("y", "at"), ("at", "y")])
def test_an_extreme_and_its_place_are_found_together(op: str, order: tuple[str, str]) -> None:
    x = np.array([[1.0, 5, 5, -2, -2], [np.nan, 1, np.nan, 0, 9], [-math.inf] * 5, [math.inf] * 5, [0, 0, -0.0, 0, 0]])
    made = {
        "y": equation("y", {"b": B}, total(op, {"i": 5}, read("x", b, i))),
        "at": equation("at", {"b": B}, total(f"arg{op}", {"j": 5}, read("x", b, j)), "int"),
    }
    test = graph(given("x", B, 5), *(made[name] for name in order))
    agree(test, ["y", "at"], arrays={"x": x}, sizes={"batch": 5})
    together = schedule(test, ["y", "at"])
    assert len(together.kernels) == (1 if order == ("y", "at") else 2)


def test_others_are_not_taken_for_it() -> None:
    """The place of another extreme, over other terms, or in another order."""
    test = graph(
        given("x", B, 4, 4),
        equation("y", {"b": B}, total("max", {"i": 4, "j": 4}, read("x", b, i, j))),
        equation("least", {"b": B}, total("argmin", {"i": 4, "j": 4}, read("x", b, i, j)), "int"),
        equation("turned", {"b": B}, total("argmax", {"i": 4, "j": 4}, read("x", b, j, i)), "int"),
        equation("twice", {"b": B}, total("argmax", {"i": 4, "j": 4}, mul(const(2.0), read("x", b, i, j))), "int"),
    )
    agree(test, ["y", "least", "turned", "twice"])
    assert len(schedule(test, ["y", "least", "turned", "twice"]).kernels) == 4


@pytest.mark.parametrize(("places", "dtype"), [(256, "byte"), (257, "int")])
def test_places_below_256_take_a_byte(places: int, dtype: str) -> None:
    at = fetch("at", (b,), integer(places))
    test = graph(
        given("x", B, places),
        equation("at", {"b": B}, total("argmax", {"i": places}, read("x", b, i)), "int"),
        equation("top", {"b": B}, read("x", b, at)),
        equation("y", {"b": B, "j": places}, select(is_zero(at - j), read("top", b), Whole(at - j))),
    )
    x = np.random.default_rng(0).standard_normal((3, places))
    x[0, -1] = 9  # the largest place
    agree(test, ["y"], arrays={"x": x})
    assert schedule(test, ["y"]).buffers["at"].dtype == dtype
    assert schedule(test, ["y", "at"]).buffers["at"].dtype == "int"  # of the caller
    agree(test, ["y", "at"], arrays={"x": x})


def test_another_place_of_the_window_is_not_the_extreme() -> None:
    """A read beside the place that the condition is about stays."""
    at = fetch("at", (b, i // 2), integer(2))
    there = every([is_zero(i % 2 - at), compare("<", const(0.0), read("x", b, (i + 1) % 8))])
    test = graph(
        given("x", B, 8),
        equation("top", {"b": B, "k": 4}, total("max", {"p": 2}, read("x", b, 2 * k + p))),
        equation("at", {"b": B, "k": 4}, total("argmax", {"p": 2}, read("x", b, 2 * k + p)), "int"),
        equation("y", {"b": B, "i": 8}, select(there, add(read("x", b, i), read("top", b, i // 2)), const(0.0))),
    )
    made = with_known_extremes(test)
    assert made["y"] == test["y"]
    agree(test, ["y"])
