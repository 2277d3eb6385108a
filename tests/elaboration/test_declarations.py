"""Elaboration of what a net declares and gives: arguments, parameters, states, noise, initial values, objectives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from netlang.graph.nodes import Random
from netlang.graph.text import graph_text
from netlang.targets.reference import evaluate
from tests.elaboration.nets import Array, graph, net, place, values, wrong

x = np.array([1.0, -2.0, 0.5, 3.0])


# --- arguments of a net, and what is known at compile time ---


def test_arguments_of_a_net_are_numbers_texts_and_truth_values() -> None:
    text = """\
net N(n=3, m=n * 2, scale=0.5, mode="a", flag=true):
    input x[m]
    y = x * scale if flag and mode == "a" else n * x
    output y
"""
    assert graph_text(graph(text)).splitlines()[1:3] == ["  input x[6]", "  y[i < 6] = 0.5 * x[i]"]
    assert graph_text(graph(text, n=5, flag=False)).splitlines()[1:3] == ["  input x[10]", "  y[i < 10] = 5 * x[i]"]
    assert wrong(text, width=3).code == "unknown-argument"
    assert wrong("net N(n):\n    input x[n]\n    output x\n").code == "missing-argument"
    assert [wrong(text, n=n).code for n in (0, 2.25)] == ["bad-extent"] * 2


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 % 4", 3),
        ("-7 % 4", 1),
        ("10 / 4", 2.5),
        ("10 / 5", 2),
        ("2 ^ 10", 1024),
        ("2 ^ -1", 0.5),
        ("-2 ^ 2", -4),
        ("1e3", 1000),
        ("sqrt(16) + exp(0) + abs(-2)", 7),
        ("max(3, 4) - min(3, 4)", 1),
        ("pi", np.pi),
        ("[1, 2, 4][2]", 4),
        ("1 if 2 < 3 and not 3 < 2 else 0", 1),
        ("1 if training else 2", 2),
    ],
)
def test_arithmetic_at_compile_time(expression: str, value: float) -> None:
    np.testing.assert_allclose(values(net("input x[4]", f"y = {expression}", "output y"), x=x)["y"], value)


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("1 / 0", "division-by-zero"),
        ("1 // 0", "division-by-zero"),
        ("sqrt(-1)", "bad-value"),
        ("log(0)", "bad-value"),
        ("x / 0", "division-by-zero"),
        ("x[0] / (2 - 2.0)", "division-by-zero"),
        ("(-8) ^ 0.5", "bad-value"),
        ("2 ^ 63", "number-too-large"),
        ("4611686018427387904 * 4", "number-too-large"),
        ("true + 1", "type-mismatch"),
        ('"a" * 2', "type-mismatch"),
        ("dense + 1", "type-mismatch"),
        ('1 if "a" < "b" else 0', "type-mismatch"),
        ("1 if x else 0", "type-mismatch"),
        ("x % 2", "type-mismatch"),
        ("max(x, 0, 1)", "wrong-arity"),
        ("exp()", "wrong-arity"),
    ],
)
def test_what_cannot_be_computed(expression: str, code: str) -> None:
    assert wrong(net("input x[4]", f"y = {expression}", "output y")).code == code


# --- conditions ---


def test_conditions_are_decided_or_computed() -> None:
    lines = (
        "a = x if training else 2 * x",
        "b = 1 if training and x[0] > 0 else 0",
        "c = x if x > 0 else 0",
        "d = x > 0",
        "e = not (x[0] > 0)",
        "f[i] = 1 if x[i] > 0 and i > 1 else (2 if i == 0 or x[i] < 0 else 3)",
        "g = x == x[3]",
        "h = 1 if not training or x[0] > 5 else 0",
    )
    text = net("input x[4]", *lines, "output a, b, c, d, e, f, g, h")
    found = values(text, x=x)
    expected = [2 * x, 0, x.clip(0), x > 0, 0, [2, 2, 1, 1], [0, 0, 0, 1], 1]
    for name, value in zip("abcdefgh", expected, strict=True):
        np.testing.assert_allclose(found[name], value, err_msg=name)
    in_training = values(text, training=True, x=x)
    np.testing.assert_allclose(in_training["a"], x)
    assert (in_training["b"], in_training["h"]) == (1, 0)


# --- parameters and their first values ---


def initial(declaration: str, before: str = "") -> Array:
    found = graph(net("input x[4]", f"param {declaration}", "output x", before=before))
    node = found.initial["A"]
    return evaluate(found, {}, only=[node])[node]


@pytest.mark.parametrize(
    ("declaration", "value"),
    [
        ("A[3] ~ zeros", np.zeros(3)),
        ("A[3] ~ constant(2)", np.full(3, 2)),
        ("A[2, 3] ~ 0.5", np.full((2, 3), 0.5)),
        ("A ~ 3", 3),
        ("A[3] ~ [1, 2, 3]", [1, 2, 3]),
        ("A[3] ~ [2]", [2, 2, 2]),
        ("A[2, 3] ~ [1, 2, 3]", [[1, 2, 3]] * 2),
        ("A[2, 3] ~ [[1, 2, 3], [4, 5, 6]]", [[1, 2, 3], [4, 5, 6]]),
        ("A[2, 2, 2] ~ [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]", np.arange(1, 9).reshape(2, 2, 2)),
        ("A[2, 3] ~ fans", np.full((2, 3), 23)),
        (
            "A[16, 16] ~ [" + ", ".join(str([*range(16 * k, 16 * k + 16)]) for k in range(16)) + "]",
            np.arange(256).reshape(16, 16),
        ),
    ],
)
def test_first_values(declaration: str, value: Array) -> None:
    found = initial(declaration, before="initializer fans() = fan_in + 10 * fan_out\n")
    np.testing.assert_array_equal(found, value)


def test_random_first_values() -> None:
    own = "initializer mine(a=2):\n    s = sqrt(a / fan_in)\n    return 3 + s * uniform(-1, 1)\n"
    A = initial("A[100, 200] ~ mine(a=8)", own)
    assert abs(A.mean() - 3) < 0.01
    assert np.abs(A - 3).max() <= 0.2
    assert np.abs(A - 3).max() > 0.199
    B = initial("A[100, 200] ~ he_normal")
    np.testing.assert_allclose(B.std(), 0.1, rtol=0.02)
    Q = initial("A[5, 3] ~ orthogonal(gain=2)")
    np.testing.assert_allclose(Q.T @ Q, 4 * np.eye(3), atol=1e-12)
    np.testing.assert_allclose(initial("A[200, 100]").std(), 0.1, rtol=0.02)


def test_a_first_value_may_be_named() -> None:
    found = graph(net("input x[4]", "ramp[i < 4] = i / 4", "param A[4] ~ ramp", "output x"))
    np.testing.assert_array_equal(evaluate(found, {}, only=["A.initial"])["A.initial"], [0, 0.25, 0.5, 0.75])


@pytest.mark.parametrize(
    ("declaration", "code"),
    [
        ("param A[2, 3] ~ [1, 2]", "shape-mismatch"),
        ("param A[2] ~ [[1, 2], [3]]", "shape-mismatch"),
        ("param A[2] ~ [1, true]", "type-mismatch"),
        ("param A[2] ~ normal(0)", "wrong-arity"),
        ("param A[2] ~ normal(0, -1)", "bad-value"),
        ("param A[2] ~ bernoulli(2)", "bad-value"),
        ("param A[2] ~ haar()", "bad-value"),
        ("param A[2] ~ gauss", "unknown-name"),
        ("param A[2] ~ dense(3)", "unknown-name"),
        ("param A[4] ~ x", "bad-value"),
        ("param A[4], B[4] ~ 2 * A", "bad-value"),
        ("noise z[4] ~ normal(0, 1)\n    param A[4] ~ z", "bad-value"),
        ("param A[2]: class(3)", "bad-declaration"),
        ("input A ~ zeros", "bad-declaration"),
        ("noise A[3]", "missing-initializer"),
        ("param A[2] ~ zeros if x[0] > 0", "bad-value"),
    ],
)
def test_declarations_that_are_wrong(declaration: str, code: str) -> None:
    assert wrong(net("input x[4]", declaration, "output x")).code == code


def test_a_layer_says_how_its_parameters_begin() -> None:
    layer = "layer f(x[d]):\n    param W[d]\n    return W * x\n"
    assert wrong(net("input x[4]", "output x -> f", before=layer)).code == "missing-initializer"


def test_an_absent_parameter_reads_as_zero() -> None:
    layer = """\
layer f(x[d], n, bias=true):
    param W[n, d] ~ ones
    param b[n] ~ ones if bias
    u[i < n] = b[i] * 2 + W[i, 0]
    return (W @ x + b) * u + sum(b) + (b @ W)
"""
    text = net("input x[4]", "a = x -> f(4)", "b = x -> f(4, bias=false)", "output a, b", before=layer)
    found = values(text, x=x)
    np.testing.assert_allclose(found["a"], np.full(4, (x.sum() + 1) * 3 + 8))
    np.testing.assert_allclose(found["b"], np.full(4, x.sum()))
    assert [p.name for p in graph(text).params] == ["f_1.W", "f_1.b", "f_2.W"]


# --- states and noise ---


def test_a_state_reads_as_updated_from_the_line_of_its_update_on() -> None:
    text = net(
        "input x[4]",
        "state s ~ constant(5), m[4] ~ ones",
        "a = s + 1",
        "s <- s + 2",
        "b = s + 1",
        "s <- s * 10 when training",
        "m <- x + m when not training",
        "c = m + s",
        "output a, b, c",
    )
    found = values(text, x=x)
    assert (found["a"], found["b"], found["s"]) == (6, 8, 7)
    np.testing.assert_allclose(found["c"], x + 1 + 7)
    np.testing.assert_allclose(found["m"], x + 1)
    in_training = values(text, training=True, x=x)
    assert in_training["s"] == 70
    np.testing.assert_allclose(in_training["c"], np.full(4, 71))
    assert "m" not in graph(text, training=True).updates


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["y = x", "y <- x"], "not-a-state"),
        (["param w[4]", "w <- x"], "not-a-state"),
        (["q <- x"], "unknown-name"),
        (["state s[2] ~ zeros", "s <- x"], "shape-mismatch"),
        (["state s[4]", "s <- x"], "missing-initializer"),
        (["state s[4] ~ zeros", "s <- x when x[0] > 0"], "bad-value"),
    ],
)
def test_updates_that_are_wrong(lines: list[str], code: str) -> None:
    assert wrong(net("input x[4]", *lines, "output x")).code == code


def test_noise_is_drawn_for_each_example_and_scaled_by_equations() -> None:
    text = net(
        "noise z[3] ~ normal(1, 2), u ~ uniform(-1, 1), k[2, 2] ~ bernoulli(0.3), q[3] ~ 0.5 * normal(0, 1) + u",
        "output z, u, k, q",
    )
    draws = [n for n in graph(text) if isinstance(n, Random)]
    assert [(n.name, n.distribution, n.per_example) for n in draws] == [
        ("z.normal", "normal", True),
        ("u.uniform", "uniform", True),
        ("k.uniform", "uniform", True),
        ("q.normal", "normal", True),
    ]
    assert graph(text).outputs == {"z": "z", "u": "u", "k": "k", "q": "q"}
    assert "  z[i < 3] = 1 + 2 * z.normal[i]" in graph_text(graph(text))


def test_noise_in_a_layer_may_be_for_training_only() -> None:
    text = net("input x[4]", "y = x -> dropout(0.5)", "output y")
    assert graph(text).outputs == {"y": "x"}
    kept = values(text, training=True, x=x)["y"]
    assert set(np.abs(kept / x)) <= {0.0, 2.0}


# --- outputs, losses, metrics ---


def test_objectives_have_names() -> None:
    text = net(
        "input x[4], t[4]",
        "y = x -> dense(4)",
        "loss a = mse(y, t)",
        "loss mse(x, t)",
        "loss b = mse(y, t) + 1",
        "loss y -> sum",
        "metric off = mse(y, t)",
        "metric m = sum(abs(y))",
        "output y",
        "output mse(y, t)",
        "output z = y -> relu",
        "output x, t",
    )
    found = graph(text)
    assert list(found.losses) == ["a", "mse", "b", "sum"]
    assert list(found.metrics) == ["off", "m"]
    assert list(found.outputs) == ["y", "mse", "z", "x", "t"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["loss mse(x, x)", "loss mse(x, x)"], ("duplicate-name", 4, 5)),
        (["loss x"], ("loss-not-scalar", 3, 10)),
        (["metric m = x"], ("loss-not-scalar", 3, 16)),
        (["output dense"], ("type-mismatch", 3, 12)),
        (['output "a"'], ("type-mismatch", 3, 12)),
        (["y = x"], ("nothing-computed", 1, 5)),
    ],
)
def test_objectives_that_are_wrong(lines: list[str], expected: tuple[str, int, int]) -> None:
    assert place(wrong(net("input x[4]", *lines))) == expected


# --- unusual nets ---

Numpy = Callable[..., Array]
CUBE = np.arange(12.0).reshape(2, 1, 3, 1, 2)


@pytest.mark.parametrize(
    ("lines", "arrays", "expected"),
    [
        (["input x", "y = x"], {"x": 2.0}, lambda x: x),
        (["input x", "param w ~ 3", "y = w * x + w"], {"x": 2.0}, lambda x: 9.0),
        (["input x[1]", "param w[1] ~ ones", "y = (w @ x) * w"], {"x": [4.0]}, lambda x: x),
        (["param w[3] ~ [1, 2, 3]", "y = w"], {}, lambda: np.array([1, 2, 3])),
        (["input x[1, 1, 1, 1, 1]", "y = x * x + sum(x)"], {"x": np.full((1,) * 5, 3.0)}, lambda x: x * x + 3),
        (["input x[2, 1, 3, 1, 2]", "y[a, b, c < 3] = x[a, b, 2 - c]"], {"x": CUBE}, lambda x: x[:, :, ::-1]),
        ([f"input x[{', '.join('1' * 30)}]", "y = sum(2 * x)"], {"x": np.full((1,) * 30, 3.0)}, lambda x: 6),
        (["input x[2]", "y = 7"], {"x": [1.0, 2.0]}, lambda x: 7),
    ],
)  # fmt: skip
def test_unusual_nets(lines: list[str], arrays: dict[str, Array], expected: Numpy) -> None:
    found = values(net(*lines, "output y"), **arrays)["y"]
    np.testing.assert_allclose(found, expected(**{k: np.asarray(v) for k, v in arrays.items()}))
