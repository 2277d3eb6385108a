"""The Python interface: calls, single examples, gradients, and what it says of wrong arrays."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import netlang

CIRCUIT = """
net Circuit:
    input x, y, z
    q = x + y
    f = q * z
    output f
"""

CLASSIFIER = """
net C:
    input x[3]
    target y: class(2)
    s = x -> dense(2)
    output s
    loss cross_entropy(s, y)
"""


def code(caught: pytest.ExceptionInfo[netlang.NetlangError]) -> str:
    return caught.value.diagnostics[0].code


def test_the_circuit_of_the_lecture() -> None:
    net = netlang.loads(CIRCUIT, dtype="float64")
    assert net.forward(x=-2, y=5, z=-4)["f"] == -12
    value, grads = net.gradients(x=-2, y=5, z=-4, wrt=["x", "y", "z", "q"])
    assert value == -12
    assert {k: float(np.squeeze(v)) for k, v in grads.items()} == {"x": -4, "y": -4, "z": 3, "q": -4}


def test_any_batch_size_and_single_examples() -> None:
    net = netlang.loads(CLASSIFIER)
    x = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    whole = net(x)
    assert whole.shape == (7, 2)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(net(x[:3]), whole[:3], rtol=1e-6)
    np.testing.assert_allclose(net(x[4]), whole[4], rtol=1e-6)
    np.testing.assert_allclose(whole, x @ net.params["dense_1.W"].T + net.params["dense_1.b"], rtol=1e-5, atol=1e-6)


def test_gradients_of_parameters_and_inputs() -> None:
    net = netlang.loads(CLASSIFIER, dtype="float64")
    x, y = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])
    loss, grads = net.gradients(x=x, y=y, wrt=["dense_1.W", "dense_1.b", "x"])
    scores = x @ net.params["dense_1.W"].T + net.params["dense_1.b"]
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    delta = (p - np.eye(2)[y]) / 5
    np.testing.assert_allclose(loss, -np.log(p[np.arange(5), y]).mean(), rtol=1e-12)
    np.testing.assert_allclose(grads["dense_1.W"], delta.T @ x, rtol=1e-12)
    np.testing.assert_allclose(grads["dense_1.b"], delta.sum(0), rtol=1e-12)
    np.testing.assert_allclose(grads["x"], delta @ net.params["dense_1.W"], rtol=1e-12)


def test_losses_and_metrics_of_each_example() -> None:
    text = CLASSIFIER + "    metric right = 1 if argmax(s) == y else 0\n"
    net = netlang.loads(text, dtype="float64")
    net.params["dense_1.W"] = [[1, 0, 0], [0, 1, 0]]
    found = net.losses_and_metrics(x=[[1, 0, 0], [0, 2, 0]], y=[0, 0])
    np.testing.assert_allclose(found["cross_entropy"], [np.log(1 + np.exp(-1)), np.log(1 + np.exp(2))], rtol=1e-14)
    assert found["right"].tolist() == [1, 0]


def test_parameters_can_be_read_changed_and_set() -> None:
    net = netlang.loads(CLASSIFIER)
    net.params["dense_1.W"] = np.ones((2, 3))
    net.params["dense_1.b"][...] = 2
    assert net(np.ones((1, 3))).tolist() == [[5.0, 5.0]]
    with pytest.raises(netlang.NetlangError) as caught:
        net.params["dense_1.W"] = np.ones((3, 2))
    assert code(caught) == "input-shape"
    with pytest.raises(netlang.NetlangError) as caught:
        net.params["dense_1.w"]
    assert code(caught) == "unknown-name"
    assert "did you mean `dense_1.W`?" in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"x": np.zeros((2, 4)), "y": [0, 1]}, "input-shape"),
        ({"x": np.zeros((2, 3)), "y": [0, 1, 1]}, "input-batch"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, "input-batch"),
        ({"x": np.zeros((2, 3)), "y": [0, 2]}, "input-label"),
        ({"x": np.zeros((2, 3)), "y": [0, -1]}, "input-label"),
        ({"x": np.zeros((2, 3)), "y": [0, np.nan]}, "input-not-finite"),
        ({"x": np.zeros((2, 3)), "y": [0, 0.5]}, "input-dtype"),
        ({"x": [["a", "b", "c"]], "y": [0]}, "input-dtype"),
        ({"x": [[1, 2], [3]], "y": [0]}, "input-dtype"),
        ({"x": np.zeros((2, 3), complex), "y": [0, 1]}, "input-dtype"),
        ({"x": np.zeros((2, 3))}, "input-missing"),
        ({"x": np.zeros((2, 3)), "y": [0, 1], "z": 1}, "input-unknown"),
    ],
)
def test_wrong_arrays_are_diagnosed(inputs: dict[str, object], expected: str) -> None:
    net = netlang.loads(CLASSIFIER)
    with pytest.raises(netlang.NetlangError) as caught:
        net.gradients(**inputs)  # type: ignore[arg-type]
    assert code(caught) == expected


def test_initial_values_follow_the_seed() -> None:
    a, b, c = (netlang.loads(CLASSIFIER, seed=s) for s in (1, 1, 2))
    assert a.params["dense_1.W"].tobytes() == b.params["dense_1.W"].tobytes()
    assert a.params["dense_1.W"].tobytes() != c.params["dense_1.W"].tobytes()


def test_places_of_the_largest_may_be_taken_from_each_other() -> None:
    """They are bytes in memory, and their difference may be negative."""
    net = netlang.loads(
        """
net N:
    input x[3], z[3], w[3]
    a = argmax(x)
    b = argmax(z)
    c = argmax(w)
    output d = 0.5*(a - b) + c, e = 1 if c < a - b else 0
"""
    )
    x, z, w = (np.eye(3, dtype=np.float32)[list(rows)] for rows in ((0, 2, 1), (1, 0, 1), (2, 1, 0)))
    found = net.forward(x=x, z=z, w=w)
    assert found["d"].tolist() == [1.5, 2.0, 0.0]
    assert found["e"].tolist() == [0.0, 1.0, 0.0]


def test_equal_outputs_are_computed_once_and_given_twice() -> None:
    net = netlang.loads("net N:\n    input x[2]\n    output a = x + 1, b = 1 + x, k = argmax(x)\n")
    outputs = net([[1, 2], [4, 3]])
    assert outputs["a"].tolist() == outputs["b"].tolist() == [[2, 3], [5, 4]]
    assert outputs["k"].tolist() == [1, 0]


def test_an_output_that_no_example_decides_has_no_batch() -> None:
    net = netlang.loads("net N:\n    input x[2]\n    param w[2] ~ ones\n    output y = w * x, w, two = 1 + 1\n")
    for inputs, shape in (([1, 2], (2,)), ([[1, 2]], (1, 2))):
        outputs = net(inputs)
        assert outputs["y"].shape == shape
        assert outputs["w"].tolist() == [1, 1]
        assert outputs["two"] == 2


def test_gradients_by_an_input_are_those_by_what_is_given_also_where_it_is_normalized() -> None:
    text = """
net N:
    input  x[2], image[2, 3, 4]
    target y
    p = sum(i) x[i]^2 + sum(c, i, j) image[c, i, j]^3
    param  a ~ ones
    output p
    loss   mse(a * p, y)

train N:
    optimizer sgd(lr=0)
    normalize x, image
    epochs    1
"""
    net = netlang.loads(text, dtype="float64")
    random = np.random.default_rng(0)
    data = {
        "x": random.normal(5, [2, 30], (40, 2)),
        "image": random.normal(-3, 10, (40, 2, 3, 4)),
        "y": random.normal(size=40),
    }
    net.fit(data)
    one = {name: array[0] for name, array in data.items()}
    _, gradients = net.gradients(wrt=["x", "image"], **one)
    for name in ("x", "image"):
        slopes = np.zeros_like(one[name])
        for place in np.ndindex(slopes.shape):
            step = np.zeros_like(slopes)
            step[place] = 1e-5
            right, left = (net.gradients(wrt=[], **one | {name: one[name] + sign * step})[0] for sign in (1, -1))
            slopes[place] = (right - left) / 2e-5
        np.testing.assert_allclose(gradients[name], slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("widths", [[1, 2], (1, 2), np.array([1, 2])])
def test_arguments_of_a_net_may_be_those_of_numpy(widths: object) -> None:
    text = "net N(n=1, widths=[0]):\n    input x[n]\n    param w[n] ~ widths\n    output w * x\n"
    assert netlang.loads(text, n=np.int64(2), widths=widths)([10, 10]).tolist() == [10, 20]


def test_other_arguments_are_diagnosed() -> None:
    with pytest.raises(netlang.NetlangError) as caught:
        netlang.loads("net N(n=1):\n    input x[n]\n    output x\n", n=None)
    assert caught.value.diagnostics[0].message == "the argument `n` cannot be a `NoneType`"


def test_an_unknown_format_of_the_summary_is_diagnosed() -> None:
    with pytest.raises(netlang.NetlangError) as caught:
        netlang.loads(CIRCUIT).summary("yaml")
    assert code(caught) == "unknown-format"


def test_only_inputs_can_be_normalized() -> None:
    text = "train C:\n    optimizer sgd\n"
    with pytest.raises(netlang.NetlangError) as caught:
        netlang.loads(CLASSIFIER + text).fit({"x": np.ones((4, 3)), "y": [0, 1, 0, 1]}, normalize=["z"])
    assert caught.value.diagnostics[0].message == "there is no `z` to normalize"


# --- values of Python that no net can use --------------------------------------------------------------------------

LINE = "net Line(n=2):\n    input x[n]\n    target y: class(2)\n    s = x -> dense(2)\n    loss cross_entropy(s, y)\n"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"dtype": "int8"}, "bad-dtype"),
        ({"dtype": "floaty"}, "bad-dtype"),
        ({"dtype": None}, "bad-dtype"),
        ({"seed": 1.5}, "bad-setting"),
        ({"seed": "a"}, "bad-setting"),
        ({"n": float("nan")}, "bad-extent"),
        ({"n": float("inf")}, "bad-extent"),
    ],
)
def test_settings_that_are_not_are_diagnosed(options: dict[str, Any], code: str) -> None:
    with pytest.raises(netlang.NetlangError) as error:
        netlang.loads(LINE, **options)
    assert error.value.diagnostics[0].code == code


def test_names_and_values_of_any_kind() -> None:
    net = netlang.loads(LINE)
    assert net.params.get("dense_1.c", 7) == 7
    assert net.params.get("dense_1.b") is net.params["dense_1.b"]
    for act in (lambda: net.params[3], lambda: net.gradients(x=[1, 2], y=0, wrt=[3])):
        with pytest.raises(netlang.NetlangError):
            act()
    with pytest.raises(netlang.NetlangError) as error:
        net.params["dense_1.b"] = np.array([1, 2j])
    assert error.value.diagnostics[0].code == "input-dtype"
    with pytest.raises(netlang.NetlangError) as error:
        net.gradients(x=np.ones((2, 2)), y=np.array([0, 1e30]))
    assert error.value.diagnostics[0].code == "input-label"
    assert "1000000000000000019884624838656 at [1]" in error.value.diagnostics[0].message


def test_a_copy_shares_nothing_that_changes() -> None:
    net = netlang.loads(LINE)
    net.params["dense_1.b"] = [1, 2]
    for other in (copy.copy(net), copy.deepcopy(net)):
        assert other.params["dense_1.b"].tolist() == [1, 2]
        other.params["dense_1.b"] = [3, 4]
        assert net.params["dense_1.b"].tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"net\.save"):
        pickle.dumps(net)


# --- numbers at the edge -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", [0, 1])
def test_probabilities_in_another_shape_are_computed_from_their_logits(target: int, dtype: str) -> None:
    net = netlang.loads(
        """
net Decoder:
    input x[4]
    target y[1, 2, 2]
    p = reshape(x -> sigmoid, 1, 2, 2)
    output p
    loss binary_cross_entropy(p, y)
""",
        dtype=dtype,
    )
    x = np.array([[-800, -1, 2, 800]])
    loss, gradients = net.gradients(x=x, y=np.full((1, 1, 2, 2), target), wrt=["x"])
    logits = x if target else -x
    assert loss == pytest.approx(np.logaddexp(0, -logits).mean(), rel=1e-6)
    np.testing.assert_allclose(
        gradients["x"], (1 / (1 + np.exp(-x.clip(-700, 700))) - target) / 4, rtol=1e-5, atol=1e-30
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("formula", ["1 / sqrt(x)", "1 / x", "x^-0.5"])
def test_division_has_its_limits(formula: str, dtype: str) -> None:
    net = netlang.loads(f"net A:\n    input x\n    output {formula}\n", dtype=dtype)
    with np.errstate(divide="ignore"):
        y = net(np.tile([0.0, np.inf, 4.0], 11))  # as many as vector instructions take, and some more
    assert np.isposinf(y[::3]).all()
    assert (y[1::3] == 0).all()
    np.testing.assert_allclose(y[2::3], 0.25 if formula == "1 / x" else 0.5, rtol=1e-6)
