"""The check of derived gradients: it passes what is right, finds what is wrong, and leaves the net as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime.gradcheck import gradcheck

SMOOTH = "net A:\n    input x[4]\n    target y[2]\n    p = x -> dense(3) -> tanh -> dense(2)\n    loss mse(p, y)\n"


def net(text: str) -> netlang.Net:
    return netlang.loads(text, dtype="float64")


def test_right_gradients_pass() -> None:
    results = {r.name: r for r in gradcheck(net(SMOOTH), samples=5)}
    assert list(results) == ["dense_1.W", "dense_1.b", "dense_2.W", "dense_2.b", "x"]
    assert results["dense_1.W"].checked == 5
    assert results["dense_1.b"].checked == 3
    assert all(r.error < 1e-7 and r.kinks == 0 for r in results.values())


def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = net(SMOOTH)
    right = subject.gradients

    def wrong(**arguments: Any) -> tuple[float, dict[str, Any]]:
        loss, gradients = right(**arguments)
        if "dense_1.W" in gradients:
            gradients["dense_1.W"] = gradients["dense_1.W"] * 1.001
        return loss, gradients

    monkeypatch.setattr(subject, "gradients", wrong)
    results = {r.name: r.error for r in gradcheck(subject)}
    assert results["dense_1.W"] == pytest.approx(1e-3, rel=1e-2)
    assert results["dense_2.W"] < 1e-7


def test_a_gradient_that_is_zero_passes() -> None:
    text = (
        "net A:\n    input x[4]\n    target y[2]\n    p = x -> dense(3) -> batchnorm -> dense(2)\n    loss mse(p, y)\n"
    )
    results = {r.name: r for r in gradcheck(net(text))}
    assert results["dense_1.b"].checked == 3  # differences of it are rounding and nothing else
    assert all(r.error < 1e-6 for r in results.values())


def test_parameters_are_as_before() -> None:
    subject = net(SMOOTH)
    before = {name: value.copy() for name, value in subject.params.items()}
    gradcheck(subject)
    for name, value in subject.params.items():
        np.testing.assert_array_equal(value, before[name])


def test_kinks_are_left_out() -> None:
    results = gradcheck(net("net A:\n    input x[3]\n    loss sum(i) abs(x[i])\n"), inputs={"x": np.zeros((1, 3))})
    assert [(r.name, r.checked, r.kinks) for r in results] == [("x", 0, 3)]


def test_masks_are_the_same_for_every_difference() -> None:
    text = "net A:\n    input x[20]\n    target y[2]\n    p = x -> dropout(0.5) -> dense(2)\n    loss mse(p, y)\n"
    assert all(r.error < 1e-7 for r in gradcheck(net(text)))


def test_a_loss_that_is_not_finite() -> None:
    with pytest.raises(NetlangError) as error:
        gradcheck(net("net A:\n    input x[3]\n    loss sum(i) log(x[i])\n"), inputs={"x": -np.ones((2, 3))})
    assert error.value.diagnostics[0].code == "not-finite"
