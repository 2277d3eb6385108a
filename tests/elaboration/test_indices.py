"""Elaboration of indices: extents, reads outside, guards, and the proof that a read is inside."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.runtime.gradcheck import gradcheck
from tests.elaboration.nets import net, place, values, wrong

x = np.array([3.0, -1.0, 4.0, 1.0, -5.0])
X = np.arange(12.0).reshape(3, 4) % 7 - 2
INPUTS = "input x[5], X[3, 4], s, k: class(7), m[3]: class(9)"


def one(equation: str) -> np.ndarray:
    """The value of `y` as an equation defines it."""
    return values(net(INPUTS, equation, "output y"), x=x, X=X, s=2.0, k=6, m=[1, 7, 4])["y"]


def shifted(by: int, length: int, outside: float) -> list[float]:
    return [x[i - by] if 0 <= i - by < 5 else outside for i in range(length)]


# --- extents ---


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y[i < 3] = x[i]", x[:3]),
        ("y[i] = x[i]", x),
        ("y[i, j] = X[i, j]", X),
        ("y[j, i] = X[i, j]", X.T),
        ("y[i] = sum(j) X[i, j]", X.sum(1)),
        ("y[j] = sum(i < 2) X[i, j]", X[:2].sum(0)),
        ("y[i] = x[i] + (x[i + 1] else 0)", x + np.append(x[1:], 0)),
        ("y[i] = (x[i] else 0) + (x[i - 1] else 0)", x + np.append(0, x[:-1])),
        ("y[i] = max(j) X[i, j] - X[i, 0]", X.max(1) - X[:, 0]),
    ],
)
def test_extents_follow_from_bare_uses_and_are_written(equation: str, expected: np.ndarray) -> None:
    np.testing.assert_allclose(one(equation), expected)


@pytest.mark.parametrize(
    ("equation", "code"),
    [
        ("y[i] = x[i + 1]", "unknown-extent"),
        ("y[i] = 2", "unknown-extent"),
        ("y[i] = sum(i) x[i]", "unknown-extent"),
        ("y[i] = x[i] + X[i, 0]", "extent-conflict"),
        ("y = sum(i) X[i, i]", "extent-conflict"),
        ("y[i < 6] = x[i]", "read-outside"),
        ("y[i < 0] = x[i]", "bad-extent"),
        ("y[i < 2.5] = x[i]", "bad-extent"),
        ("y = sum(i < 9) x[i]", "read-outside"),
        ("y = x[5]", "read-outside"),
        ("y = x[-1]", "read-outside"),
        ("y = x[1, 2]", "rank-mismatch"),
        ("y = x[s]", "index-arithmetic"),
        ("y = x[0.5]", "index-arithmetic"),
        ("y[i < 9] = x[i / 2]", "read-outside"),
        ("y[i < 4] = x[i // 0]", "index-arithmetic"),
        ("y[i < 2, j < 2] = x[i / j]", "index-arithmetic"),
    ],
)
def test_what_indices_cannot_be(equation: str, code: str) -> None:
    assert wrong(net(INPUTS, equation, "output y")).code == code


# --- else ---


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y[i < 5] = x[i - 1] else 0", shifted(1, 5, 0)),
        ("y[i < 7] = x[i - 1] else -inf", shifted(1, 7, -np.inf)),
        ("y[i < 10] = x[i] else x[i - 5]", [*x, *x]),
        ("y[i < 8] = x[i] else (X[0, i - 5] else 9)", [*x, *X[0, :3]]),
        ("y[i < 11] = x[i] else (X[0, i - 5] else 9)", [*x, *X[0], 9, 9]),
        ("y[i < 11] = (x[i] else X[0, i - 5]) else 9", [*x, *X[0], 9, 9]),
        ("y[i < 9] = x[i / 2] else 0", [3, 0, -1, 0, 4, 0, 1, 0, -5]),
        ("y[i < 9] = x[(i + 1) / 3] else 0", [0, 0, -1, 0, 0, 4, 0, 0, 1]),
        ("y[i] = x[i] - (x[i - 1] else x[i])", np.diff(x, prepend=x[0])),
        ("y[i < 5] = (x[i - 1] * x[i + 1]) else x[i]", [3, 12, -1, -20, -5]),
        ("y[i < 5] = sum(j < 3) (x[i + j - 1] else 0)", np.convolve(x, np.ones(3), "same")),
        ("y[i < 3] = max(j < 3) (x[2*i + j - 1] else -inf)", [3, 4, 1]),
        ("y[i < 3] = min(j < 3) (x[2*i + j - 1] else inf)", [-1, -1, -5]),
        ("y[i < 2] = prod(j < 3) (x[3*i + j] else 1)", [-12, -5]),
        ("y = x[7] else 2", 2),
        ("y = x[k] else 2", 2),
        ("y[t < 3] = x[m[t] - 1] else 0", [3, 0, 1]),
        ("y[t < 4] = X[t - 1] else X[0]", X[[0, 0, 1, 2]]),
        ("y[i < 4] = x[i % 2] + x[i // 2]", [6, 2, 2, -2]),
    ],
)
def test_else_gives_the_value_outside(equation: str, expected: np.ndarray) -> None:
    np.testing.assert_allclose(one(equation), expected)


def test_an_else_must_stand_inside_the_reduction_whose_index_it_guards() -> None:
    found = wrong(net(INPUTS, "y[i < 5] = (sum(j < 3) x[i + j - 1]) else 0", "output y"))
    assert place(found) == ("read-outside", 3, 30)
    assert "inside the `sum`" in found.help


def test_a_guard_around_a_sum_stays_with_the_sum() -> None:
    np.testing.assert_allclose(one("y[i < 4] = (sum(j) X[i - 1, j]) else 7"), [7, *X.sum(1)])


def test_the_message_says_what_is_needed_and_not_known() -> None:
    found = wrong(net("input x[5]", "y[i < 7] = x[i - 2] if i > 0 and i < 6 else 0", "output y"))
    assert place(found) == ("read-outside", 3, 18)
    assert found.label == "needs 2 <= i"


# --- conditions prove reads ---


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y[i < 5] = x[i - 1] if i > 0 else 0", shifted(1, 5, 0)),
        ("y[i < 5] = x[i - 1] if i >= 1 else 0", shifted(1, 5, 0)),
        ("y[i < 5] = x[i - 1] if 0 < i else 0", shifted(1, 5, 0)),
        ("y[i < 5] = 0 if i == 0 else x[i - 1]", shifted(1, 5, 0)),
        ("y[i < 5] = x[i - 1] if i != 0 else 0", shifted(1, 5, 0)),
        ("y[i < 5] = 0 if not i != 0 else x[i - 1]", shifted(1, 5, 0)),
        ("y[i < 7] = x[i - 1] if i > 0 and i <= 5 else 0", shifted(1, 7, 0)),
        ("y[i < 7] = 0 if i < 1 or i > 5 else x[i - 1]", shifted(1, 7, 0)),
        ("y[i < 7] = 0 if not (i >= 1 and i <= 5) else x[i - 1]", shifted(1, 7, 0)),
        ("y[i < 5] = 8 if i == 0 else (9 if i == 1 else x[i - 2])", [8, 9, *x[:3]]),
        ("y[i < 5] = x[2*i - 4] if i >= 2 and i < 5 else 0", [0, 0, 3, 4, -5]),
        ("y[i < 5] = x[i - 1] else (x[i] if i == 0 else 7)", [3, *x[:4]]),
        (
            "y[i < 5, j < 5] = x[i - j] if i >= j else 0",
            [[x[i - j] if i >= j else 0 for j in range(5)] for i in range(5)],
        ),
        (
            "y[i < 5, j < 5] = x[2*(i - j)] if i >= j and i - j <= 2 else 0",
            [[x[2 * (i - j)] if 0 <= i - j <= 2 else 0 for j in range(5)] for i in range(5)],
        ),
        (
            "y[i < 3, j < 4] = X[i - j + 1, j] if j >= 1 and i >= j else 0",
            [[X[i - j + 1, j] if i >= j >= 1 else 0 for j in range(4)] for i in range(3)],
        ),
        ("y = x[k] if k < 5 else 0", 0),
        ("y[t] = x[m[t]] if m[t] < 5 else 0", [-1, 0, -5]),
        ("y[i < 9] = x[i / 2] if i % 2 == 0 else 0", [3, 0, -1, 0, 4, 0, 1, 0, -5]),
    ],
)
def test_a_condition_proves_the_reads_of_its_branches(equation: str, expected: np.ndarray) -> None:
    np.testing.assert_allclose(one(equation), expected)


@pytest.mark.parametrize(
    "equation",
    [
        "y[i < 5] = x[i - 2] if i > 0 else 0",
        "y[i < 5] = x[i - 1] if i > 0 or s > 0 else 0",
        "y[i < 5] = x[i - 1] if s > 0 else 0",
        "y[i < 5] = x[i - 1] if i < 3 else 0",
        "y[i < 5] = 0 if i > 0 else x[i - 1]",
        "y[i < 7] = 0 if i < 1 and i > 5 else x[i - 1]",
        "y[i < 5, j < 5] = x[i - j] if i + 1 >= j else 0",
        "y[i < 5, j < 5] = x[i - j] if j >= 1 else 0",
        "y[t] = x[m[t]] if m[0] < 5 else 0",
    ],
)
def test_a_condition_that_does_not_suffice(equation: str) -> None:
    assert wrong(net(INPUTS, equation, "output y")).code == "read-outside"


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y[i < 4] = sum(j) X[i - 1, j] if i > 0 else 0", [0, *X.sum(1)]),
        ("y[i < 4] = 0 if i == 0 else sum(j) X[i - 1, j]", [0, *X.sum(1)]),
        ("y[i < 4] = 0 if i == 0 else max(j) X[i - 1, j]", [0, *X.max(1)]),
        ("y[i < 4] = 9 if i == 0 else argmax(j) X[i - 1, j]", [9, *X.argmax(1)]),
        ("y[i < 4] = argmin(j) X[i - 1, j] if i > 0 else 9", [9, *X.argmin(1)]),
        ("y[i < 4] = 5 if i == 0 else sum(j < 4) (X[i - 1, j - 1] if j > 0 else 1)", [5, *(X[:, :3].sum(1) + 1)]),
        (
            "y[i < 3, j < 3] = 0 if j == 0 else (sum(q) X[i - j, q] if i >= j else 0)",
            [[0, 0, 0], [0, X[0].sum(), 0], [0, X[1].sum(), X[0].sum()]],
        ),
    ],
)
def test_a_reduction_under_a_condition_reads_where_it_holds(equation: str, expected: np.ndarray) -> None:
    np.testing.assert_allclose(one(equation), expected)


def test_guards_of_every_form_run_natively_and_have_gradients() -> None:
    lines = (
        "a[i < 5] = 0 if i == 0 else w[i - 1] * x[i]",
        "b[i < 7] = 0 if i < 1 or i > 5 else w[i - 1]",
        "c[i < 4] = 0 if i == 0 else sum(j) V[i - 1, j] * X[i - 1, j]",
        "d[i < 4] = 3 if i == 0 else max(j) V[i - 1, j]",
        "e[i < 5] = sum(j < 5) (w[i - j] * x[j] if i >= j else 0)",
        "f[t] = w[m[t]] if m[t] < 5 else 0",
        "g[i < 5] = w[i - 1] else (1 if i == 0 else w[i - 1])",
        "h[i < 5] = 8 if i == 0 else (9 if i == 1 else w[i - 2] * x[i])",
    )
    names = [line[0] for line in lines]
    terms = " + ".join(f"sum(sin({name}))" for name in names)
    text = net(INPUTS, "param w[5], V[3, 4]", *lines, f"output {', '.join(names)}", f"loss {terms}")
    compiled = netlang.loads(text, dtype="float64")
    one_example = {"x": x, "X": X, "s": 2.0, "k": 6, "m": np.array([1, 7, 4])}
    found = compiled.forward(**{name: np.asarray(array)[None] for name, array in one_example.items()})
    expected = values(text, **one_example, **compiled.params)
    for name in names:
        np.testing.assert_allclose(np.ravel(found[name]), expected[name], rtol=1e-12)
    assert max(checked.error for checked in gradcheck(compiled)) < 1e-6
