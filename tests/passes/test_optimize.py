"""Optimizers and goals that cannot be meant are diagnosed."""

from __future__ import annotations

import pytest

import netlang

NET = """
net N:
    input x[3]
    first = dense(2)
    second = dense(2)
    a = x -> first
    b = x -> second
    output a + b
    loss   one = sum(i) a[i]^2, two = sum(i) b[i]^2

train N:
"""


def said(text: str) -> tuple[str, str]:
    with pytest.raises(netlang.NetlangError) as caught:
        netlang.loads(text)
    return caught.value.diagnostics[0].code, caught.value.diagnostics[0].message


def test_an_optimizer_takes_a_weight_and_its_gradient() -> None:
    text = "optimizer shrink(w):\n    w <- 0.9 * w\n" + NET + "    optimizer shrink\n"
    assert said(text) == ("missing-argument", "`shrink` needs a weight and its gradient as its first arguments")


def test_an_optimizer_changes_the_weight() -> None:
    text = "optimizer idle(w, g):\n    state v ~ zeros\n    v <- v + g\n" + NET + "    optimizer idle\n"
    assert said(text) == ("missing-return", "`idle` never gives `w` its next value")


def test_a_parameter_minimizes_one_loss() -> None:
    text = NET + "    minimize one over first with sgd\n    minimize two over second, first.b with adam\n"
    assert said(text) == ("duplicate-setting", "`first.b` is changed to minimize `one` and `two`")


def test_losses_and_metrics_have_different_names() -> None:
    text = NET.replace("\ntrain N:\n", "    metric one = sum(i) a[i]\n")
    assert said(text) == ("duplicate-name", "`one` names a loss and a metric")
