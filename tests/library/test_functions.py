"""Activations, losses, metrics and penalties against their closed forms, written once more with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from netlang.elaboration.modules import standard_library
from tests.library.running import value

Array = NDArray[np.float64]

X = np.array([-40.0, -3.5, -1.0, -0.3, 0.0, 0.2, 1.0, 2.5, 7.0, 40.0])


def erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0, 1)


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "leaky_relu(slope=0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": elu,
    "elu(alpha=0.5)": lambda x: elu(x, 0.5),
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x * sigmoid(x),
    "hard_swish": lambda x: x * hard_sigmoid(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu(approximate=true)": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "softmax": lambda x: np.exp(log_softmax(x)),
    "log_softmax": log_softmax,
}


@pytest.mark.parametrize("applied", ACTIVATIONS)
def test_activation(applied: str) -> None:
    expected = ACTIVATIONS[applied](X)
    actual = value(f"net N:\n    input x[10]\n    output y = x -> {applied}\n", x=X)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15)


def test_every_function_has_a_closed_form() -> None:
    known = {applied.partition("(")[0] for applied in (*ACTIVATIONS, *LOSSES, *METRICS)}
    known |= {"visible"}  # what attention is masked by, tested with its layers
    assert {d.name.id for d in standard_library() if d.kind in ("fn", "loss", "metric")} == known


P = np.array([0.2, 0.7, 0.5, 0.9])
Q = np.array([0.1, 0.4, 0.3, 0.2])
S = np.array([1.5, -0.4, 2.2, 0.1])
T = np.array([1.0, 0.0, 1.0, 0.0])
SIGN = 2 * T - 1

SEQUENCE = np.array([S, Q, P])
SYMBOLS = np.array([3, 0, 1])
ENTROPY = -log_softmax(SEQUENCE)[[0, 1, 2], SYMBOLS]

OVER_TIME = "input a[3, 4]\n    target b[3]: class(4)"
REAL = "input a[4]\n    target b[4]"
CLASS = "input a[4]\n    target b: class(4)"

LOSSES: dict[str, tuple[str, object, object, float]] = {
    "mse": (REAL, S, P, float(((S - P) ** 2).mean())),
    "mae": (REAL, S, P, float(np.abs(S - P).mean())),
    "huber": (REAL, S, P, float(np.mean([0.8, 0.6, 1.2, 0.32]))),  # |d| = 1.3, 1.1, 1.7, 0.8
    "huber(delta=2)": (REAL, S, P, float(((S - P) ** 2).mean() / 2)),
    "binary_cross_entropy": (REAL, P, T, float(-np.log([0.2, 0.3, 0.5, 0.1]).mean())),
    "binary_cross_entropy_logits": (REAL, S, T, float(-np.log(sigmoid(SIGN * S)).mean())),
    "hinge": (REAL, S, SIGN, float(np.maximum(0, 1 - SIGN * S).mean())),
    "perceptron": (REAL, S, SIGN, float(np.maximum(0, -SIGN * S).mean())),
    "cross_entropy": (CLASS, S, 3, float(-log_softmax(S)[3])),
    "soft_cross_entropy": (REAL, S, Q, float(-(Q * log_softmax(S)).sum())),
    "nll": (CLASS, S, 1, 0.4),
    "svm": (CLASS, S, 0, 1.7),  # margins -0.9, 1.7, -0.4
    "squared_hinge": (CLASS, S, 0, 1.7**2),
    "negative_sampling": (
        "input a[4]\n    target b[4, 2]",
        S,
        np.stack([P, Q], axis=1),
        float(-np.log(sigmoid(S)).sum() - np.log(sigmoid(-P)).sum() - np.log(sigmoid(-Q)).sum()),
    ),
    "hierarchical_softmax": (REAL, S, np.array([1.0, -1, 1, 0]), float(-np.log(sigmoid(SIGN * S))[:3].sum())),
    "kl": (REAL, Q, P, float((P * np.log(P / Q)).sum())),
    "kl_normal": (REAL, S, Q, float((np.exp(Q) + S**2 - 1 - Q).sum() / 2)),
}

METRICS: dict[str, tuple[str, object, object, float]] = {
    "accuracy": (CLASS, S, 2, 1.0),
    "error": (CLASS, S, 2, 0.0),
    "top_k(k=2)": (CLASS, S, 0, 1.0),
    "top_k(k=1)": (CLASS, S, 0, 0.0),
    "binary_accuracy": (REAL, P, np.array([0.0, 1.0, 1.0, 0.0]), 0.5),  # 0.5 is on neither side
    "binary_accuracy(threshold=0)": (REAL, S, T, 0.75),
    "bits": (OVER_TIME, SEQUENCE, SYMBOLS, float(ENTROPY.mean() / math.log(2))),
    "perplexity": (OVER_TIME, SEQUENCE, SYMBOLS, float(np.exp(ENTROPY.mean()))),
    "perplexity(2)": (OVER_TIME, SEQUENCE, SYMBOLS, float(np.exp(ENTROPY[:2].mean()))),
    "sign_accuracy": (REAL, S, SIGN, 0.75),
}


def call(applied: str) -> str:
    name, _, rest = applied.partition("(")
    return f"{name}(a, b, {rest}" if rest else f"{name}(a, b)"


@pytest.mark.parametrize("applied", [*LOSSES, *METRICS])
def test_loss_and_metric(applied: str) -> None:
    declared, a, b, expected = (LOSSES | METRICS)[applied]
    actual = value(f"net N:\n    {declared}\n    output y = {call(applied)}\n", a=a, b=b)
    assert actual == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("label", "right"), [(0, True), (1, False)], ids=["the first of equal scores", "the second of equal scores"]
)
def test_ties_go_to_the_first_class(label: int, right: bool) -> None:
    tied = np.array([2.0, 2.0, -1.0, 0.0])
    for applied, expected in (("accuracy", right), ("error", not right), ("top_k(k=1)", right), ("top_k(k=2)", True)):
        assert value(f"net N:\n    {CLASS}\n    output y = {call(applied)}\n", a=tied, b=label) == expected


@pytest.mark.parametrize("scale", [30.0, 1000.0])
def test_losses_from_logits_are_finite_and_exact_far_out(scale: float) -> None:
    scores = np.array([scale, -scale, 0.0, 0.0])
    far = {"cross_entropy": (CLASS, 1, 2 * scale), "binary_cross_entropy_logits": (REAL, 1 - T, scale / 2)}
    for applied, (declared, target, expected) in far.items():
        scores_here = scores if declared is CLASS else scores * np.array([1.0, 1.0, 0.0, 0.0])
        actual = value(f"net N:\n    {declared}\n    output y = {call(applied)}\n", a=scores_here, b=target)
        if declared is REAL:  # two elements are wrong by `scale`, two are undecided
            expected = (2 * scale + 2 * math.log(2)) / 4
        assert actual == pytest.approx(expected, rel=1e-12)


def test_kl_takes_zero_log_zero_as_zero() -> None:
    p = np.array([0.0, 1.0, 0.0, 0.0])
    actual = value(f"net N:\n    {REAL}\n    output y = kl(a, b)\n", a=np.full(4, 0.25), b=p)
    assert actual == pytest.approx(math.log(4), rel=1e-12)
