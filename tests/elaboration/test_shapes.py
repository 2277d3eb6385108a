"""Elaboration of whole tensors: broadcasting, products, partial indexing, `...`, reductions and integer tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from netlang.graph.nodes import Equation
from tests.elaboration.nets import Array, graph, net, place, values, wrong

random = np.random.default_rng(3)
ARRAYS = {
    "X": random.normal(size=(3, 4)),
    "Y": random.normal(size=(4, 2)),
    "T": random.normal(size=(2, 3, 4)),
    "r": random.normal(size=4),
    "u": random.normal(size=3),
    "c": random.normal(size=(3, 1)),
    "o": random.normal(size=1),
    "s": random.normal(),
}
INPUTS = "input X[3, 4], Y[4, 2], T[2, 3, 4], r[4], u[3], c[3, 1], o[1], s"

Numpy = Callable[..., Array]


def one(equation: str, before: str = "") -> Array:
    return values(net(INPUTS, equation, "output y", before=before), **ARRAYS)["y"]


@pytest.mark.parametrize("op", ["+", "-", "*", "/"])
@pytest.mark.parametrize(
    ("left", "right"),
    [(a, b) for a in ("X", "T", "r", "c", "o", "s") for b in ("X", "r", "c", "o", "s")],
)
def test_trailing_dimensions_broadcast(left: str, right: str, op: str) -> None:
    expected = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[op](ARRAYS[left], ARRAYS[right])
    found = one(f"y = {left} {op} {right}")
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("left", "right"), [("X", "u"), ("T", "Y"), ("u", "r"), ("X", "T[0] @ Y")])
def test_shapes_that_do_not_go_together(left: str, right: str) -> None:
    found = wrong(net(INPUTS, f"y = {left} * ({right})", "output y"))
    assert place(found) == ("shape-mismatch", 3, 9)


@pytest.mark.parametrize(
    ("left", "right"),
    [("X", "r"), ("u", "X"), ("X", "Y"), ("r", "r"), ("r", "Y"), ("T", "r"), ("T", "Y"), ("c", "o"), ("o", "o")],
)
def test_products_contract_the_last_dimension_with_the_first(left: str, right: str) -> None:
    np.testing.assert_allclose(one(f"y = {left} @ {right}"), ARRAYS[left] @ ARRAYS[right], rtol=1e-12)


@pytest.mark.parametrize(("left", "right"), [("X", "X"), ("X", "u"), ("X", "s"), ("s", "s"), ("r", "T")])
def test_products_that_do_not_exist(left: str, right: str) -> None:
    assert place(wrong(net(INPUTS, f"y = {left} @ {right}", "output y"))) == ("shape-mismatch", 3, 9)


def test_a_product_of_sums_is_made_of_two_contractions() -> None:
    net_graph = graph(net(INPUTS, "y = u @ X @ r", "output y"))
    assert [n.name for n in net_graph if isinstance(n, Equation)] == ["y.sum", "y"]


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y = X[1]", lambda X, **_: X[1]),
        ("y = X[1, 2]", lambda X, **_: X[1, 2]),
        ("y[t] = X[t]", lambda X, **_: X),
        ("y[t] = sum(X[t])", lambda X, **_: X.sum(1)),
        ("y[t] = X[t] @ r", lambda X, r, **_: X @ r),
        ("y[t] = tanh(X[t]) * r", lambda X, r, **_: np.tanh(X) * r),
        ("y[t < 2] = X[t + 1] - X[t]", lambda X, **_: np.diff(X, axis=0)),
        ("y[t < 3] = X[2 - t]", lambda X, **_: X[::-1]),
        ("y = T[1, 2]", lambda T, **_: T[1, 2]),
        ("y[b] = T[b, 0] + u[0]", lambda T, u, **_: T[:, 0] + u[0]),
        ("y[b, j] = T[b, 0, j]", lambda T, **_: T[:, 0]),
        ("y = (X + 1)[2]", lambda X, **_: X[2] + 1),
        ("y = (X @ Y)[0, 1]", lambda X, Y, **_: (X @ Y)[0, 1]),
        ("y = X[1][2]", lambda X, **_: X[1, 2]),
        ("y[t] = softmax(X[t])", lambda X, **_: np.exp(X) / np.exp(X).sum(1, keepdims=True)),
    ],
)
def test_fewer_indices_than_dimensions_read_a_part(equation: str, expected: Numpy) -> None:
    np.testing.assert_allclose(one(equation), expected(**ARRAYS), rtol=1e-12)


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y = sum(X)", lambda X, **_: X.sum()),
        ("y = mean(X)", lambda X, **_: X.mean()),
        ("y = prod(X)", lambda X, **_: X.prod()),
        ("y = max(X)", lambda X, **_: X.max()),
        ("y = min(X)", lambda X, **_: X.min()),
        ("y = argmax(X)", lambda X, **_: X.argmax()),
        ("y = argmin(X)", lambda X, **_: X.argmin()),
        ("y = argmax(i, j) X[i, j]", lambda X, **_: X.argmax()),
        ("y = argmin(j, i) X[i, j]", lambda X, **_: X.T.argmin()),
        ("y[i] = argmax(j) X[i, j]", lambda X, **_: X.argmax(1)),
        ("y[j] = mean(i) X[i, j]", lambda X, **_: X.mean(0)),
        ("y = max(i) X[i]", lambda X, **_: X.max(0)),
        ("y = sum(i) (max(j) X[i, j]) * u[i]", lambda X, u, **_: X.max(1) @ u),
        ("y = max(sum(X), s)", lambda X, s, **_: max(X.sum(), s)),
        ("y[i] = max(X[i, 0], 0)", lambda X, **_: X[:, 0].clip(0)),
        ("y = sum(s)", lambda s, **_: s),
        ("y = mean(s)", lambda s, **_: s),
        ("y = size(T)", lambda **_: 24),
        ("y = sum(i < 3) i", lambda **_: 3),
        ("y = sum(i < 3, j < 2) 1", lambda **_: 6),
    ],
)
def test_reductions(equation: str, expected: Numpy) -> None:
    np.testing.assert_allclose(one(equation), expected(**ARRAYS), rtol=1e-12)


def test_ties_go_to_the_first_index() -> None:
    found = values(
        net("input x[2, 3]", "a = argmax(x)", "b = argmin(x)", "c[i] = argmax(j) x[i, j]", "output a, b, c"),
        x=[[0, 5, 5], [0, 0, 0]],
    )
    assert (found["a"], found["b"], [*found["c"]]) == (1, 0, [1, 0])


REST = """\
layer doubled(x[c, ...]):
    y[k, ...] = 2 * x[k, ...]
    return y
layer last(x[..., d]):
    y[...] = sum(j) x[..., j]
    return y
layer middle(x[a, ..., d]):
    y[j, ...] = x[0, ..., j]
    return y
layer plus(x[...]):
    y[...] = x[...] + 1
    return y
layer channels(x[c, ...]):
    m[k] = mean(...) x[k, ...]
    return m
fn dot(x[...], y[...]) = sum(...) x[...] * y[...]
"""


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y = T -> doubled", lambda T, **_: 2 * T),
        ("y = r -> doubled", lambda r, **_: 2 * r),
        ("y = T -> last", lambda T, **_: T.sum(-1)),
        ("y = r -> last", lambda r, **_: r.sum()),
        ("y = T -> middle", lambda T, **_: T[0].T),
        ("y = X -> middle", lambda X, **_: X[0]),
        ("y = T -> plus", lambda T, **_: T + 1),
        ("y = s -> plus", lambda s, **_: s + 1),
        ("y = T -> channels", lambda T, **_: T.mean((1, 2))),
        ("y = r -> channels", lambda r, **_: r),
        ("y = dot(T, T)", lambda T, **_: (T * T).sum()),
        ("y = dot(s, s)", lambda s, **_: s * s),
    ],
)
def test_the_rest_of_the_dimensions(equation: str, expected: Numpy) -> None:
    np.testing.assert_allclose(one(equation, REST), expected(**ARRAYS), rtol=1e-12)


@pytest.mark.parametrize(
    ("equation", "code"),
    [
        ("y = dot(T, X)", "shape-mismatch"),
        ("y = s -> doubled", "shape-mismatch"),
        ("y = r -> middle", "shape-mismatch"),
        ("y[...] = X[...]", "misplaced-rest"),
        ("y = sum(...) X[...]", "misplaced-rest"),
        ("y = X[..., 0]", "misplaced-rest"),
    ],
)
def test_where_there_is_no_rest(equation: str, code: str) -> None:
    assert wrong(net(INPUTS, equation, "output y", before=REST)).code == code


def test_statistics_of_the_batch_bind_its_index() -> None:
    text = net(
        "input x[2, 3]",
        "output x -> centered",
        before="layer centered(x[c, ...]):\n    m[k] = mean(batch, ...) x[k, ...]\n    y[k, ...] = x[k, ...] - m[k]\n"
        "    return y\n",
    )
    body = graph(text)["centered_1.m.sum"]
    assert isinstance(body, Equation)
    assert body.body.key == "sum(batch < |batch|, r < 3) x[k, r]"
    assert wrong(net("input x[3]", "y[batch] = x[0]", "output y")).code == "misplaced-batch"


# --- whole numbers ---

LABELS = "input x[4], E[20, 2], w[3]: class(5), k: class(4), X[4, 4]"
NUMBERS = {"x": random.normal(size=4), "E": random.normal(size=(20, 2)), "w": np.array([1, 0, 4]), "k": 3}
NUMBERS["X"] = random.normal(size=(4, 4))


@pytest.mark.parametrize(
    ("equation", "expected", "dtype"),
    [
        ("y = x[k]", lambda x, k, **_: x[k], "real"),
        ("y[t, j] = E[w[t], j]", lambda E, w, **_: E[w], "real"),
        ("y[t] = E[w[t]]", lambda E, w, **_: E[w], "real"),
        ("y[t] = E[2 * w[t] + k, 0]", lambda E, w, k, **_: E[2 * w + k, 0], "real"),
        ("y = x[k // 2] + x[(k + 1) % 4] + x[3 - k]", lambda x, **_: x[1] + x[0] + x[0], "real"),
        ("y = x[k / 3] else 0", lambda x, **_: x[1], "real"),
        ("y = x[k / 2] else 7", lambda **_: 7, "real"),
        ("y[i < 4] = 1 if i == k else 0", lambda **_: [0, 0, 0, 1], "real"),
        ("y = k == 3", lambda **_: 1, "real"),
        ("y = sum(t) w[t]", lambda **_: 5, "real"),
        ("y = w + 1", lambda w, **_: w + 1, "int"),
        ("y = 2 * w - w", lambda w, **_: w, "int"),
        ("y[t] = w[t] * 2 + k", lambda w, k, **_: 2 * w + k, "int"),
        ("y[i < 3] = i", lambda **_: [0, 1, 2], "int"),
        ("y[i < 3] = 2 * i - 1", lambda **_: [-1, 1, 3], "real"),
        ("y[t < 3] = w[t] if t > 0 else k", lambda **_: [3, 0, 4], "int"),
        ("y[i < 4] = 0 if i == 0 else argmax(j) X[i - 1, j]", lambda X, **_: [0, *X.argmax(1)[:3]], "int"),
        ("y = w / 2", lambda w, **_: w / 2, "real"),
        ("y = w * 0.5", lambda w, **_: w / 2, "real"),
        ("y = argmax(x)", lambda x, **_: x.argmax(), "int"),
    ],
)
def test_whole_numbers(equation: str, expected: Numpy, dtype: str) -> None:
    text = net(LABELS, equation, "output y")
    np.testing.assert_allclose(values(text, **NUMBERS)["y"], expected(**NUMBERS))
    assert graph(text)["y"].dtype == dtype


@pytest.mark.parametrize(
    ("line", "places"),
    [
        ("a[i] = argmax(j) X[i, j]", lambda X, **_: X.argmax(1)),
        ("a[i < 4] = 0 if i == 0 else argmax(j) X[i - 1, j]", lambda X, **_: [0, *X.argmax(1)[:3]]),
        ("a = 2 * w + k", lambda w, k, **_: 2 * w + k),
        ("a[i < 3] = i", lambda **_: [0, 1, 2]),
    ],
)
def test_a_named_tensor_of_whole_numbers_is_an_index(line: str, places: Numpy) -> None:
    found = values(net(LABELS, line, "y[i] = E[a[i]]", "output y"), **NUMBERS)["y"]
    np.testing.assert_array_equal(found, NUMBERS["E"][places(**NUMBERS)])


def test_a_label_beyond_the_tensor_is_outside() -> None:
    found = wrong(net("input x[4], w: class(5)", "y = x[w]", "output y"))
    assert place(found) == ("read-outside", 3, 11)
    assert found.label == "needs w <= 3"
