"""The reference target against plain NumPy, on graphs built by hand."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from netlang.diagnostics import InternalError, NetlangError
from netlang.graph.constructors import add, at_least_zero, const, div, every, mul, read, reduce, select, sub, within
from netlang.graph.expression import ZERO, Apply, Compare, Expr, IsZero, Not, Whole
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, fetch, index, integer, size
from netlang.graph.nodes import Equation, Input, Node, Origin, Param, Random, View
from netlang.graph.verify import verify
from netlang.targets.reference import evaluate
from netlang.targets.reference.evaluate import orthonormal

HERE = Origin(None)


def dims(*extents: Int | int) -> tuple[Int, ...]:
    return tuple(integer(extent) for extent in extents)


def tensor(name: str, *extents: Int | int, dtype: str = "real") -> Input:
    return Input(name, dims(*extents), dtype, HERE)


def equation(name: str, ranges: dict[str, Int | int], body: Expr, dtype: str = "real") -> Equation:
    return Equation(name, dims(*ranges.values()), dtype, HERE, tuple(ranges), body)


def graph_of(*nodes: Node, lifted: bool = True) -> Graph:
    graph = Graph.build("test", nodes, lifted=lifted)
    verify(graph, "test")
    return graph


def ranges(**extents: Int | int) -> list[tuple[str, Int]]:
    return [(name, integer(extent)) for name, extent in extents.items()]


i, j, k, m, p, q, b = (index(name) for name in ("i", "j", "k", "m", "p", "q", "batch"))


def conv_graph(stride: int, pad: int) -> Graph:
    """A batched cross-correlation of 3 channels of 6x7 with 4 kernels of 3x3."""
    high, wide = (6 + 2 * pad - 3) // stride + 1, (7 + 2 * pad - 3) // stride + 1
    row, column = i * stride + p - pad, j * stride + q - pad
    extents = dict(ranges(batch=size("batch"), i=high, j=wide, m=3, p=3, q=3))
    guard = every([within(row, integer(6), extents), within(column, integer(7), extents)])
    pixel = select(guard, read("x", b, m, row, column), ZERO)
    body = reduce("sum", ranges(m=3, p=3, q=3), mul(read("W", k, m, p, q), pixel))
    return graph_of(
        tensor("x", size("batch"), 3, 6, 7),
        Param("W", dims(4, 3, 3, 3), "real", HERE),
        equation("y", {"batch": size("batch"), "k": 4, "i": high, "j": wide}, body),
    )


def correlate(x: np.ndarray, w: np.ndarray, stride: int, pad: int) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nmijpq,kmpq->nkij", windows, w)


@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("direct", [True, False])
def test_convolution(stride: int, pad: int, direct: bool) -> None:
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(2, 3, 6, 7)), generator.normal(size=(4, 3, 3, 3))
    y = evaluate(conv_graph(stride, pad), {"x": x, "W": w}, direct=direct)["y"]
    np.testing.assert_allclose(y, correlate(x, w, stride, pad), rtol=1e-13, atol=1e-13)


def test_blocks_do_not_change_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    arrays = {"x": generator.normal(size=(3, 3, 6, 7)), "W": generator.normal(size=(4, 3, 3, 3))}
    graph = conv_graph(1, 1)
    whole = evaluate(graph, arrays)["y"]
    for block in (1, 100, 5000):
        monkeypatch.setattr(sys.modules[evaluate.__module__], "BLOCK", block)
        assert np.array_equal(evaluate(graph, arrays)["y"], whole)


def test_max_pooling_pads_with_minus_infinity() -> None:
    x = -np.random.default_rng(2).random((2, 5, 5))
    row, column = i * 2 + p - 1, j * 2 + q - 1
    extents = dict(ranges(i=3, j=3, p=3, q=3))
    guard = every([within(row, integer(5), extents), within(column, integer(5), extents)])
    body = reduce("max", ranges(p=3, q=3), select(guard, read("x", k, row, column), const(-math.inf)))
    y = evaluate(graph_of(tensor("x", 2, 5, 5), equation("y", {"k": 2, "i": 3, "j": 3}, body)), {"x": x})["y"]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-math.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_array_equal(y, windows.max((-1, -2)))


def test_softmax_cross_entropy_of_a_batch_with_labels() -> None:
    n = size("batch")
    graph = graph_of(
        tensor("s", n, 5),
        tensor("label", n, dtype="int"),
        equation("z", {"batch": n}, reduce("sum", ranges(j=5), Apply("exp", (read("s", b, j),)))),
        equation(
            "loss",
            {"batch": n},
            sub(Apply("log", (read("z", b),)), read("s", b, fetch("label", (b,), integer(5)))),
        ),
        equation("guess", {"batch": n}, reduce("argmax", ranges(j=5), read("s", b, j)), "int"),
        equation("right", {"batch": n}, select(IsZero(_label("guess") - _label("label")), const(1), ZERO)),
        equation("mean", {}, reduce("sum", ranges(batch=n), div(read("loss", b), Whole(n)))),
        equation("label_as_number", {"batch": n}, Whole(_label("label") * 2 + 1)),
    )
    scores, labels = np.random.default_rng(3).normal(size=(7, 5)), np.array([0, 4, 2, 2, 1, 3, 0])
    values = evaluate(graph, {"s": scores, "label": labels})
    expected = np.log(np.exp(scores).sum(1)) - scores[np.arange(7), labels]
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-13)
    np.testing.assert_allclose(values["mean"], expected.mean(), rtol=1e-13)
    assert values["mean"].shape == ()
    assert values["guess"].dtype == np.int64
    np.testing.assert_array_equal(values["guess"], scores.argmax(1))
    np.testing.assert_array_equal(values["right"], scores.argmax(1) == labels)
    np.testing.assert_array_equal(values["label_as_number"], 2 * labels + 1)
    assert values["loss"].dtype == np.float64


def _label(name: str) -> Int:
    return fetch(name, (b,), integer(5))


def test_argument_of_an_extreme_is_the_first_in_row_major_order() -> None:
    x = np.array([[1.0, 3.0, 2.0], [3.0, 0.0, 0.0]])
    graph = graph_of(
        tensor("x", 2, 3),
        equation("high", {}, reduce("argmax", ranges(i=2, j=3), read("x", i, j)), "int"),
        equation("low", {}, reduce("argmin", ranges(i=2, j=3), read("x", i, j)), "int"),
        equation("transposed", {}, reduce("argmax", ranges(j=3, i=2), read("x", i, j)), "int"),
    )
    values = evaluate(graph, {"x": x})
    assert (values["high"], values["low"], values["transposed"]) == (1, 4, 1)


def test_reductions_repeat_what_does_not_depend_on_their_index() -> None:
    graph = graph_of(
        tensor("x", 3),
        equation("total", {"i": 2}, reduce("sum", ranges(j=3, k=4), read("x", j))),
        equation("power", {}, reduce("prod", ranges(j=3, k=2), read("x", j))),
        equation("low", {}, reduce("min", ranges(j=3), read("x", j))),
        equation("same", {"i": 2}, reduce("sum", ranges(j=3, k=4), mul(read("x", j), read("total", integer(1))))),
    )
    for direct in (True, False):
        values = evaluate(graph, {"x": np.array([2.0, -1.0, 5.0])}, direct=direct)
        np.testing.assert_array_equal(values["total"], [24, 24])
        np.testing.assert_array_equal(values["same"], [24 * 24, 24 * 24])
        assert values["power"] == 100
        assert values["low"] == -1


def test_index_arithmetic_floors_and_remainders() -> None:
    graph = graph_of(
        tensor("x", 6),
        equation("reversed", {"i": 6}, read("x", 5 - i)),
        equation("floored", {"i": 6}, Whole((i - 3) // 2)),
        equation("rest", {"i": 6}, Whole((i - 3) % 4)),
        equation("square", {"i": 6}, Whole(i * i + size("batch"))),
        equation("upsampled", {"i": 12}, select(IsZero(i % 2), read("x", i // 2), const(0))),
    )
    x = np.arange(6.0) ** 2
    values = evaluate(graph, {"x": x}, {"batch": 3})
    np.testing.assert_array_equal(values["reversed"], x[::-1])
    np.testing.assert_array_equal(values["floored"], [-2, -1, -1, 0, 0, 1])
    np.testing.assert_array_equal(values["rest"], [1, 2, 3, 0, 1, 2])
    np.testing.assert_array_equal(values["square"], np.arange(6) ** 2 + 3)
    np.testing.assert_array_equal(values["upsampled"], np.stack([x, 0 * x], 1).ravel())


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("exp", np.exp),
        ("log", np.log),
        ("sin", np.sin),
        ("cos", np.cos),
        ("tanh", np.tanh),
        ("erf", np.vectorize(math.erf)),
        ("abs", np.abs),
        ("sign", np.sign),
        ("floor", np.floor),
        ("logistic", lambda x: 1 / (1 + np.exp(-x))),
        ("log1pexp", lambda x: np.log(1 + np.exp(x))),
    ],
)
def test_scalar_functions(op: str, expected: object) -> None:
    x = np.array([0.3, 1.0, 2.5, 4.75])
    graph = graph_of(tensor("x", 4), equation("y", {"i": 4}, Apply(op, (read("x", i),))))
    assert callable(expected)
    np.testing.assert_allclose(evaluate(graph, {"x": x})["y"], expected(x), rtol=1e-14)


def test_scalar_functions_of_two_arguments() -> None:
    x, y = np.array([2.0, -1.0, 3.0]), np.array([3.0, 2.0, -0.5])
    pair = (read("x", i), read("y", i))
    graph = graph_of(
        tensor("x", 3),
        tensor("y", 3),
        *(equation(op, {"i": 3}, Apply(op, pair)) for op in ("add", "mul", "pow", "max", "min")),
        equation("ordered", {"i": 3}, select(Not(Compare("<", *pair)), *pair)),
    )
    values = evaluate(graph, {"x": x, "y": y})
    for op, expected in {"add": x + y, "mul": x * y, "pow": x**y, "max": [3, 2, 3], "min": [2, -1, -0.5]}.items():
        np.testing.assert_allclose(values[op], expected, rtol=1e-15)
    np.testing.assert_array_equal(values["ordered"], [3, 2, 3])


def test_stable_functions_do_not_overflow() -> None:
    x = np.array([-1000.0, 0.0, 1000.0])
    graph = graph_of(
        tensor("x", 3), *(equation(f, {"i": 3}, Apply(f, (read("x", i),))) for f in ("logistic", "log1pexp"))
    )
    values = evaluate(graph, {"x": x})
    np.testing.assert_array_equal(values["logistic"], [0, 0.5, 1])
    np.testing.assert_allclose(values["log1pexp"], [0, math.log(2), 1000], rtol=1e-15)


def test_a_read_outside_that_no_guard_excludes_is_a_defect() -> None:
    unguarded = graph_of(tensor("x", 4), equation("y", {"i": 4}, read("x", i - 1)))
    with pytest.raises(InternalError, match="`y` reads `x` outside at i - 1"):
        evaluate(unguarded, {"x": np.zeros(4)})
    guarded = select(at_least_zero(i - 1), read("x", i - 1), const(9))
    graph = graph_of(tensor("x", 4), equation("y", {"i": 4}, guarded))
    np.testing.assert_array_equal(evaluate(graph, {"x": np.arange(4.0)})["y"], [9, 0, 1, 2])


def test_a_guard_covers_the_comparisons_beside_it() -> None:
    condition = every([Compare("<", ZERO, read("x", i - 1)), at_least_zero(i - 1)])
    graph = graph_of(tensor("x", 4), equation("y", {"i": 4}, select(condition, const(1), const(0))))
    np.testing.assert_array_equal(evaluate(graph, {"x": np.array([1.0, -1, 1, 1])})["y"], [0, 1, 0, 1])


def test_the_branch_not_taken_neither_warns_nor_spreads() -> None:
    body = select(Compare("<", ZERO, read("x", i)), Apply("log", (read("x", i),)), const(0))
    graph = graph_of(tensor("x", 2), equation("y", {"i": 2}, body))
    np.testing.assert_allclose(evaluate(graph, {"x": np.array([0.0, 2.0])})["y"], [0, math.log(2)])


def test_views_keep_row_major_order() -> None:
    n = size("batch")
    graph = graph_of(tensor("x", n, 2, 3), View("y", dims(n, 6), "real", HERE, "x"))
    x = np.arange(24.0).reshape(4, 2, 3)
    np.testing.assert_array_equal(evaluate(graph, {"x": x})["y"], x.reshape(4, 6))


def test_only_what_is_asked_for_is_evaluated_and_given_values_are_kept() -> None:
    graph = graph_of(
        tensor("x", 2),
        tensor("unused", 3),
        equation("y", {"i": 2}, mul(const(2), read("x", i))),
        equation("z", {"i": 2}, add(const(1), read("y", i))),
        equation("w", {"i": 3}, read("unused", i)),
    )
    assert list(evaluate(graph, {"x": np.ones(2)}, only=["z"])) == ["x", "y", "z"]
    np.testing.assert_array_equal(evaluate(graph, {"y": np.array([5.0, 6.0])}, only=["z"])["z"], [6, 7])


def test_single_precision() -> None:
    graph = graph_of(tensor("x", 3), equation("y", {"i": 3}, mul(const(0.1), read("x", i), Whole(i + (1 << 24) + 1))))
    y = evaluate(graph, {"x": np.ones(3)}, dtype=np.float32)["y"]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, 0.1 * (np.arange(3) + 2.0**24 + 1), rtol=1e-6)


def test_a_graph_of_one_example_is_a_batch_of_one() -> None:
    body = reduce("sum", ranges(batch=size("batch")), read("x", k))
    graph = graph_of(tensor("x", 2), equation("y", {"k": 2}, body), lifted=False)
    np.testing.assert_array_equal(evaluate(graph, {"x": np.array([3.0, 4.0])})["y"], [3, 4])


def test_wrong_arrays_are_diagnosed() -> None:
    n = size("batch")
    graph = graph_of(tensor("x", n, 2), tensor("y", n), equation("z", {"i": n + 1}, Whole(i)))

    def code(arrays: dict[str, np.ndarray], **options: list[str]) -> str:
        with pytest.raises(NetlangError) as caught:
            evaluate(graph, arrays, **options)
        return caught.value.diagnostics[0].code

    assert code({"x": np.ones((3, 2))}) == "array-missing"
    assert code({"x": np.ones((3, 2)), "y": np.ones(4)}) == "array-shape"
    assert code({"x": np.ones(3), "y": np.ones(3)}) == "array-shape"
    assert code({}) == "size-unknown"
    assert code({}, only=["zz"]) == "unknown-name"
    graph = graph_of(Input("label", dims(n), "int", HERE, "target", integer(4)))
    for labels in ([0, 4], [-1, 0], [0.5, 1.0], [math.nan, 1.0]):
        assert code({"label": np.array(labels)}) == "array-label"
    assert evaluate(graph, {"label": np.array([3.0, 0.0])})["label"].dtype == np.int64


def test_equal_seeds_give_equal_draws_and_streams_are_independent() -> None:
    pytest.importorskip("netlang.random")
    n = size("batch")
    graph = graph_of(
        tensor("x", n),
        Random("u", dims(n, 2000), "real", HERE, "uniform", "first"),
        Random("v", dims(n, 2000), "real", HERE, "uniform", "second"),
        Random("g", dims(n, 2000), "real", HERE, "normal", "third"),
    )
    x = np.zeros(4)
    first, again = evaluate(graph, {"x": x}, seed=1, step=5), evaluate(graph, {"x": x}, seed=1, step=5)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["u"], first["v"])
    assert not np.array_equal(first["u"], evaluate(graph, {"x": x}, seed=1, step=6)["u"])
    assert not np.array_equal(first["u"], evaluate(graph, {"x": x}, seed=2, step=5)["u"])
    # a draw depends on its place alone, not on the size of the batch
    np.testing.assert_array_equal(evaluate(graph, {"x": x[:2]}, seed=1, step=5)["u"], first["u"][:2])
    assert first["u"].min() >= 0
    assert first["u"].max() < 1
    np.testing.assert_allclose([first["u"].mean(), first["u"].var()], [1 / 2, 1 / 12], atol=0.02)
    np.testing.assert_allclose([first["g"].mean(), first["g"].var()], [0, 1], atol=0.06)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (2, 3, 4)])
def test_haar_matrices_are_orthonormal(shape: tuple[int, ...]) -> None:
    pytest.importorskip("netlang.random")
    graph = graph_of(Random("w", dims(*shape), "real", HERE, "haar", "s", per_example=False))
    w = evaluate(graph, {})["w"]
    assert w.shape == shape
    flat = w.reshape(shape[0], -1)
    small = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-14)


def test_orthonormal_matrices_are_uniform_over_signs() -> None:
    generator = np.random.default_rng(4)
    traces = [np.trace(orthonormal(generator.normal(size=(3, 3)))) for _ in range(3000)]
    # of the orthogonal group the trace has mean 0 and variance 1; without the sign fix the mean is far below 0
    np.testing.assert_allclose([np.mean(traces), np.var(traces)], [0, 1], atol=0.08)
