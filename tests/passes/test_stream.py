"""The pass `stream`: which rows a step keeps, and what no step can compute."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.graph.graph import Graph
from netlang.graph.verify import verify
from netlang.passes.pipeline import PREPARE, run_passes
from netlang.passes.rows import NOW
from netlang.passes.stream import Streamed, stream
from netlang.targets.reference import evaluate
from tests.passes.sequences import CAUSAL, drawn, expected, inputs


def lifted(text: str) -> Graph:
    return run_passes(netlang.loads(text).model.inference, PREPARE)


def streamed(text: str, over: str | None = None) -> Streamed:
    parts = stream(lifted(text), over)
    verify(parts.prologue, "stream")
    verify(parts.step, "stream")
    return parts


def kept(parts: Streamed) -> dict[str, str]:
    """The states of the step with their shapes."""
    return {s.name: ", ".join(map(str, s.shape)) for s in parts.step.states}


@pytest.mark.parametrize("name", CAUSAL)
def test_steps_evaluate_to_the_whole(name: str) -> None:
    """By the reference target, before any optimization, with more room than there are rows."""
    net = drawn(CAUSAL[name])
    parts = streamed(CAUSAL[name])
    rows, others = inputs(net, {"T": 5, "S": 4}, batch=2)
    sizes = {"batch": 2, "T": 7, "S": 4}
    known = {**net.values, **others}
    known |= {n.name: np.repeat(net.values[n.name][None], 2, 0) for n in parts.step.states if n.name in net.values}
    known |= {n: v for n, v in evaluate(parts.prologue, known, sizes).items() if n in parts.prologue.outputs}
    for state in parts.step.updates:
        known[state] = np.zeros([extent.evaluate(sizes) for extent in parts.step[state].shape])
    for t in range(5):
        values = evaluate(parts.step, known | {n: rows[n][:, t] for n in parts.rows} | {NOW: np.array(t)}, sizes)
        known |= {state: values[value] for state, value in parts.step.updates.items()}
        for output, wanted in expected(net, rows, others, t + 1).items():
            found = values[parts.step.outputs[output]]
            found = found[:, : t + 1] if found.shape != wanted.shape else found
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12, err_msg=f"{output} at {t}")


def test_a_cell_keeps_one_row_and_no_step_knows_how_long_the_sequence_is() -> None:
    parts = streamed("net A:\n    input x[T, 3]\n    output x -> lstm(4)\n")
    assert kept(parts) == {"lstm_1.h.before": "batch, 4", "lstm_1.c.before": "batch, 4"}
    assert not any("T" in str(extent) for node in parts.step for extent in node.shape)
    assert parts.rows == ("x",)
    assert not parts.limits
    assert not parts.prologue.outputs


def test_attention_keeps_keys_and_values() -> None:
    parts = streamed("net A:\n    input x[T, 4]\n    output x -> transformer_encoder(2, causal=true)\n")
    assert list(kept(parts).values()) == ["batch, T, 4", "batch, T, 4"]


def test_rows_a_few_steps_back_take_turns() -> None:
    parts = streamed(CAUSAL["convolution"])
    assert kept(parts) == {
        "x.last3": "batch, 3, 3",
        "y.last2": "batch, 2, 2",
        "y.last4": "batch, 4, 2",
        "x.before": "batch, 3",
    }


def test_attention_to_a_window_keeps_the_window() -> None:
    y = "y[t < T, i] = sum(k < 5) (x[t, k % 4] * x[t - k, i] if k <= t else 0)"
    assert kept(streamed(f"net A:\n    input x[T, 4]\n    {y}\n    output y\n")) == {"x.last5": "batch, 5, 4"}


def test_an_encoder_is_of_the_prologue() -> None:
    parts = streamed(CAUSAL["sequence to sequence"])
    assert parts.size == "T"
    assert len(parts.prologue.outputs) == 2  # keys and values of the memory
    assert "source" not in parts.step.nodes
    assert {"text", "n"} <= parts.step.nodes.keys()


def test_limits() -> None:
    (limit,) = streamed(CAUSAL["transformer"]).limits
    assert (limit.room.constant, limit.each) == (12, 1)
    limits = streamed(
        'net A:\n    input x[T], y[S]\n    require 2 * T <= S, "too long"\n    output 2 * x\n', "T"
    ).limits
    assert [(str(limit.room), limit.each) for limit in limits] == [("S", 2)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y[t < T, i] = (x[t + 1, i] else 0)", "`y` reads `x` at `t + 1`, a row that may come after the step"),
        ("y[t < T, i] = x[T - 1 - t, i]", "`y` depends on how long the whole sequence is"),
        ("y[t, i] = x[t, i] / T", "`y` depends on how long the whole sequence is"),
        ("y[t, i] = x[t, i] - mean(t) x[t, i]", "`y.sum` takes together all rows of the sequence"),
        ("y[t < T, i] = sum(s) (x[s, i] if s <= t + 1 else 0)", "`y` takes together all rows of the sequence"),
        ("y[t < T, i] = max(s) (x[s, i] if s <= t else 0)", "`y` takes together all rows of the sequence"),
        ("h[t < T, i] = x[t, i] + (h[t + 1, i] else 0)\n    y = 2 * h", "`h` reads `h` at `t + 1`, a row"),
        ("z[t < T] = sum(s) (x[s, 0] if s <= t else 0)\n    y[t] = sum(s) x[s, 0] * z[t]", "`y` takes together"),
        ("y[t < T, i] = (x[3, i] else 0)", "`y` depends on how long the whole sequence is"),
    ],
)
def test_what_is_not_causal(body: str, message: str) -> None:
    with pytest.raises(NetlangError) as error:
        streamed(f"net A:\n    input x[T, 3]\n    {body}\n    output y\n")
    (found,) = error.value.diagnostics
    assert found.code == "not-causal"
    assert message in found.message
    assert found.span is not None
    assert found.span.line in (3, 4)
    assert found.help


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("    input x[3]\n    output x", "`A` has no run-time size to stream over"),
        ("    input x[T], y[S]\n    a[t, s] = x[t] * y[s]\n    output a", "`A` has the run-time sizes `T`, `S`"),
        ("    input x[T, 3]\n    output reshape(x, 3 * T)", "has 3*T places for a sequence of T"),
        ("    input x[T, 3]\n    y[t < T - 2] = x[t + 2, 0]\n    output y", "not for every number of rows"),
        ("    input x[T]\n    noise z[T] ~ normal(0, 1)\n    output x + z", "is not known row by row"),
        ("    input x[T, T]\n    output x[0]", "is not known row by row"),
        ("    input x[T, 2]\n    loss mean(x)", "`A` has no output to stream"),
    ],
)
def test_what_is_no_stream(text: str, message: str) -> None:
    with pytest.raises(NetlangError) as error:
        streamed(f"net A:\n{text}\n")
    (found,) = error.value.diagnostics
    assert found.code == "no-stream"
    assert message in found.message
    assert found.help


def test_the_size_can_be_chosen() -> None:
    text = "net A:\n    input x[T], y[S]\n    output sum(x), sum(y)\n"
    assert streamed(text.replace("sum(x), sum(y)", "a = sum(x), b = sum(y)"), "S").rows == ("y",)
    with pytest.raises(NetlangError) as error:
        streamed(text.replace("sum(x), sum(y)", "a = sum(x), b = sum(y)"), "U")
    assert error.value.diagnostics[0].code == "no-stream"
