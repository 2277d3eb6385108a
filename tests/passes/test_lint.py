"""Lints: what is likely a mistake is found by its structure, at its place, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from netlang.diagnostics import Diagnostic
from netlang.elaboration.modules import load_module, module_from_text
from netlang.passes.check import check_module

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.net"))


def found(text: str) -> list[Diagnostic]:
    return check_module(module_from_text(text, "a.net"))


def codes(text: str) -> list[tuple[str, str]]:
    """Code and marked text of each diagnostic."""
    return [(d.code, d.span.text if d.span else "") for d in found(text)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_are_clean(path: Path) -> None:
    assert check_module(load_module(str(path))) == []


# --- unused --------------------------------------------------------------------------------------------------------


def test_a_chain_of_dead_tensors_is_reported_at_its_end() -> None:
    text = "net A:\n    input x[3]\n    a = 2 * x\n    b = a + 1\n    c = b -> dense(2)\n    output x\n"
    assert codes(text) == [("dead-tensor", "c")]


def test_a_dead_layer_in_a_pipeline_takes_its_parameters_along() -> None:
    text = "net A:\n    input x[3]\n    h = x -> dense(2) -> relu\n    output x\n"
    assert codes(text) == [("dead-tensor", "h")]


def test_what_only_training_uses_is_used() -> None:
    text = (
        "net A:\n    input x[3]\n    state s[3] ~ zeros\n    param w[3] ~ ones\n    s <- mean(batch) x when training\n"
        "    y = w * x if training else s * x\n    output y\n"
    )
    assert codes(text) == []


def test_what_only_a_metric_uses_is_used() -> None:
    text = "net A:\n    input x[3]\n    target y[3]\n    output x\n    metric mae(x, y)\n"
    assert codes(text) == []


def test_a_dead_equation_inside_a_layer_is_reported_once() -> None:
    text = (
        "layer f(x[d]):\n    a[i] = 2 * x[i]\n    b[i] = 3 * x[i]\n    return b\n"
        "net A:\n    input x[3]\n    output f(x) + f(x) + f(x)\n"
    )
    assert codes(text) == [("dead-tensor", "a")]


def test_an_unused_result_of_a_library_layer_is_not_the_users_concern() -> None:
    text = "net A:\n    input x[2, 4, 4]\n    output x -> batchnorm\n"
    assert codes(text) == []


def test_of_several_results_the_last_counts() -> None:
    text = (
        "layer pair(x[d]):\n    return 2 * x, 3 * x\n"
        "net A:\n    input x[3]\n    a, b = pair(x)\n    output a\n"
        "net B:\n    input x[3]\n    a, b = pair(x)\n    output b\n"
    )
    assert codes(text) == [("dead-tensor", "b")]


def test_a_dead_application_of_the_users_own_layer_is_marked_where_it_is_applied() -> None:
    layer = "layer f(x[d]):\n    return 2 * x\n"
    assert codes(layer + "net A:\n    input x[3]\n    output f(x)\n    loss mean(f(x) -> f)\n") == []
    loop = "net A:\n    input x[3]\n    for k in 1..2:\n        a = x -> f\n    output a[1]\n"
    assert codes(layer + loop) == [("dead-tensor", "f")]


def test_names_in_the_message_of_a_requirement_are_used() -> None:
    text = 'layer f(x[d], most=3):\n    require d > 0, "no more than {most}"\n    return x\n'
    assert codes(text) == []


def test_arguments_that_only_the_train_section_uses_are_used() -> None:
    text = (
        "net A(rate=0.1):\n    input x[3]\n    target y[2]\n    loss mse(x -> dense(2), y)\n"
        "train A:\n    optimizer sgd(lr=rate)\n"
    )
    assert codes(text) == []


def test_unused_arguments_of_every_kind_of_definition() -> None:
    text = "fn f(x, k=2) = x\nloss g(p[...], y[...], w=1) = mean(...) (p[...] - y[...])^2\n"
    assert codes(text) == [("unused-argument", "k"), ("unused-argument", "w")]


def test_an_error_hides_the_warnings_that_follow_from_it() -> None:
    text = "net A(n=3):\n    input x[3], z\n    output y\n"
    assert codes(text) == [("unknown-name", "y")]


# --- double softmax and sigmoid ------------------------------------------------------------------------------------

CLASSIFIER = "net A:\n    input x[4]\n    target y: class(3)\n    s = x -> dense(3)\n{}    output s\n"


@pytest.mark.parametrize(
    ("lines", "marked"),
    [
        ("    p = softmax(s)\n    loss cross_entropy(p, y)\n", "p = softmax(s)"),
        ("    p = s -> softmax\n    loss cross_entropy(p, y)\n", "softmax"),
        ("    loss cross_entropy(s -> softmax, y)\n", "softmax"),
        ("    loss cross_entropy(softmax(s), y)\n", "loss cross_entropy(softmax(s), y)"),
        ("    z = sum(exp(s))\n    p[i] = exp(s[i]) / z\n    loss cross_entropy(p, y)\n", "p[i] = exp(s[i]) / z"),
        ("    p = s -> softmax\n    q = reshape(p, 3)\n    loss cross_entropy(q, y)\n", "softmax"),
        ("    p = s -> softmax\n    loss log(sum(j) exp(p[j])) - p[y]\n", "softmax"),
    ],
)  # fmt: skip
def test_a_softmax_before_a_softmax(lines: str, marked: str) -> None:
    diagnostics = [(c, m) for c, m in codes(CLASSIFIER.format(lines)) if c != "dead-tensor"]
    assert diagnostics == [("double-softmax", marked)]


@pytest.mark.parametrize(
    "lines",
    [
        "    loss cross_entropy(s, y)\n",
        "    p = softmax(s)\n    loss -log(p[y])\n    loss again = cross_entropy(s, y)\n",
        "    p = sigmoid(s)\n    loss cross_entropy(p, y)\n",
        "    p = log_softmax(s)\n    loss nll(p, y)\n",
    ],
)
def test_no_softmax_before_a_softmax(lines: str) -> None:
    assert codes(CLASSIFIER.format(lines)) == []


def test_a_sigmoid_of_the_users_own_before_a_loss_from_logits() -> None:
    text = (
        "fn squash(v) = 1 / (1 + exp(-v))\n"
        "net A:\n    input x[4]\n    target y[1]\n    p = x -> dense(1) -> squash\n    output p\n"
        "    loss binary_cross_entropy_logits(p, y)\n"
    )
    assert codes(text) == [("double-sigmoid", "squash")]
    text = text.replace("binary_cross_entropy_logits", "binary_cross_entropy")
    assert codes(text) == []


# --- a bias before a normalization -----------------------------------------------------------------------------------

IMAGE = "net A:\n    input x[2, 6, 6]\n    output x -> {}\n"


@pytest.mark.parametrize(
    ("pipeline", "marked"),
    [
        ("conv(4, 3) -> batchnorm", "conv(4, 3)"),
        ("conv(4, 3) -> instancenorm", "conv(4, 3)"),
        ("flatten -> dense(4) -> batchnorm -> relu -> dense(2)", "dense(4)"),
    ],
)
def test_a_bias_that_the_mean_takes_away(pipeline: str, marked: str) -> None:
    assert codes(IMAGE.format(pipeline)) == [("cancelled-bias", marked)]


@pytest.mark.parametrize(
    "pipeline",
    [
        "conv(4, 3, bias=false) -> batchnorm",
        "conv(4, 3) -> relu -> batchnorm",
        "batchnorm -> conv(4, 3)",
        "flatten -> dense(4) -> layernorm",  # its mean is over the features, which the bias tells apart
        "conv(4, 3) -> groupnorm(2)",  # likewise: its mean is over several channels
    ],
)
def test_a_bias_that_matters(pipeline: str) -> None:
    assert codes(IMAGE.format(pipeline)) == []


def test_a_bias_that_something_else_reads_too() -> None:
    text = "net A:\n    input x[2, 6, 6]\n    h = x -> conv(4, 3)\n    output h -> batchnorm, h -> relu\n"
    assert codes(text) == []


def test_a_normalization_of_the_users_own() -> None:
    text = (
        "layer centre(x[d]):\n    m[i] = mean(batch) x[i]\n    return x - m\n"
        "net A:\n    input x[4]\n    output x -> dense(3) -> centre\n"
    )
    assert codes(text) == [("cancelled-bias", "dense(3)")]


# --- sections without a net ----------------------------------------------------------------------------------------


def test_a_train_section_of_no_net() -> None:
    text = "net A:\n    input x\n    output x\ntrain B:\n    optimizer sgd(lr=0.1)\n"
    (diagnostic,) = found(text)
    assert (diagnostic.code, diagnostic.message) == ("unknown-name", "no net is called `B`")
    assert str(diagnostic.span) == "a.net:4:7"
