"""Run-time sizes and states that are carried for each example of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime.data import Dataset
from netlang.runtime.gradcheck import gradcheck
from netlang.runtime.net import Net

TAGGER = """
net Tagger(n=5, classes=3):
    input x[T, 4]
    target y[T]: class(classes)
    scores = x -> lstm(n) -> dense(classes)
    output scores
    loss mean(t) cross_entropy(scores[t], y[t])

train Tagger:
    optimizer adam(lr=0.05)
    batch 4
"""

LAST = """
net Last(n=5):
    input x[T, 4], length: class(T + 1)
    param W[n, 4] ~ xavier, U[n, n] ~ orthogonal
    h[t < T] = tanh(U @ (h[t-1] else 0) + W @ x[t])
    output (h[length - 1] else 0)
"""

STREAM = """
net Stream(n=5):
    input x[T, 4]
    target y[T, n]
    state before[n] ~ ones
    param W[n, 4] ~ xavier, U[n, n] ~ orthogonal
    h[t < T] = tanh(U @ (h[t-1] else before) + W @ x[t])
    before <- h[T-1]
    output h
    loss mean(t, k) (h[t, k] - y[t, k])^2

train Stream:
    optimizer sgd(lr=0.1)
    batch 4
    shuffle false
"""

Load = Callable[[str], Net]
random = np.random.default_rng(7)
x = random.standard_normal((4, 9, 4))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Net:
        path = tmp_path / "a.net"
        path.write_text(text)
        return netlang.load(path, dtype="float64")

    return load


def test_any_length_is_computed_by_one_program(load: Load) -> None:
    net = load(TAGGER)
    whole = net(x)
    assert whole.shape == (4, 9, 3)
    program = net.program()
    for length in (1, 2, 5, 9):
        np.testing.assert_allclose(net(x[:, :length]), whole[:, :length], rtol=1e-12)
    assert net.program() is program
    assert net(x[0]).shape == (9, 3)


def test_gradients_for_any_length(load: Load) -> None:
    net = load(TAGGER)
    for length in (1, 2, 6):
        assert all(c.error < 1e-6 for c in gradcheck(net, sizes={"T": length}))


def test_training_on_sequences(load: Load) -> None:
    net = load(TAGGER)
    data = {"x": x, "y": (x[..., 0] > 0).astype(int)}
    before = net.evaluate(data)["loss"]
    net.fit(data, epochs=60)
    assert net.evaluate(data)["loss"] < before / 2


def test_the_arrays_of_a_call_agree_on_a_size(load: Load) -> None:
    net = load(TAGGER)
    with pytest.raises(NetlangError, match=r"`y` takes \[T\].*\n.*`x` says that T is 9"):
        net.step(x=x, y=np.zeros((4, 8), int))
    with pytest.raises(NetlangError, match="input-shape"):
        net(x[:, :0])
    with pytest.raises(NetlangError, match="data-shape"):
        net.fit({"x": x, "y": np.zeros((4, 8), int)})


def test_a_size_that_no_array_says(load: Load) -> None:
    net = load("net A:\n    input x, z[T]\n    output sum(t < T) x*t\n")
    with pytest.raises(NetlangError, match="says how much `T` is"):
        net.forward(x=1)
    assert net.forward(x=2, z=[0, 0, 0]) == {"output": 6}


def test_padding_changes_nothing(load: Load) -> None:
    net = load(LAST)
    lengths = np.array([9, 4, 1, 0])
    found = net(x, lengths)
    for k, length in enumerate(lengths):
        alone = net(x[k, :length], length) if length else np.zeros(5)
        np.testing.assert_allclose(found[k], alone, rtol=1e-12)
    np.testing.assert_array_equal(net(x + 1000 * (np.arange(9)[:, None] >= lengths[:, None, None]), lengths), found)
    with pytest.raises(NetlangError, match="input-label"):
        net(x, lengths + 1)


def test_extents_that_may_be_too_small_are_checked_at_the_call(load: Load) -> None:
    net = load("net A:\n    input x[T]\n    y[t < T - 2] = x[t] + x[t+2]\n    output y\n")
    np.testing.assert_array_equal(net([1, 2, 3, 4]), [4, 6])
    with pytest.raises(NetlangError, match=r"requirement.*at least 1; here T = 2"):
        net([1, 2])
    assert net.summary(format="json")["sizes"] == {"T": 3}
    net = load("net A:\n    input image[1, h, w]\n    output image -> conv(2, 3, stride=2)\n")
    assert net(np.ones((1, 8, 5))).shape == (2, 3, 2)
    with pytest.raises(NetlangError, match="does not fit"):
        net(np.ones((1, 8, 2)))


def test_what_is_required_of_a_size_is_known_below(load: Load) -> None:
    """A table of 3 rows is read inside it where no sequence is longer."""
    head = "net A:\n    input x[T]\n    param p[3] ~ ones\n"
    text = head + '    require T <= 3, "{T} is too many"\n    y[t < T] = x[t] * p[t]\n    output y\n'
    net = load(text)
    assert net([1, 2, 3]).tolist() == [1, 2, 3]
    with pytest.raises(NetlangError, match="4 is too many; here T = 4"):
        net([1, 2, 3, 4])
    with pytest.raises(NetlangError, match="read-outside"):
        load(text.replace("T <= 3", "T <= 4"))


def test_what_the_library_requires_is_said_where_it_is_applied(load: Load) -> None:
    net = load("net A:\n    input x[T, 2]\n    output x -> learned_positions(3)\n")
    assert net(np.ones((3, 2))).shape == (3, 2)
    with pytest.raises(NetlangError, match="longer than the 3 positions that are learned; here T = 4") as caught:
        net(np.ones((4, 2)))
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert (span.line, span.text) == (3, "learned_positions(3)")


@pytest.mark.parametrize("line", ["param W[T]", "state s[T] ~ zeros"])
def test_what_is_kept_has_constant_extents(load: Load, line: str) -> None:
    with pytest.raises(NetlangError, match="constant extents"):
        load(f"net A:\n    input x[T]\n    {line}\n    output x\n")


def test_a_size_is_no_batch(load: Load) -> None:
    with pytest.raises(NetlangError):
        load("net A:\n    input x[batch]\n    output x\n")


# --- carried states ---------------------------------------------------------------------------------------------------


def test_parts_of_a_sequence_give_what_the_whole_gives(load: Load) -> None:
    net = load(STREAM)
    whole = net(x)
    np.testing.assert_array_equal(net.state["before"], whole[:, -1])
    for cut in (1, 4, 8):
        net.reset()
        parts = [net(x[:, :cut]), net(x[:, cut:])]
        np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-12)


def test_a_batch_of_another_size_is_no_continuation(load: Load) -> None:
    net = load(STREAM)
    net(x)
    with pytest.raises(NetlangError, match="state-batch"):
        net(x[:2])
    net.reset()
    net(x[:2])
    net.reset()
    assert net(x[0]).shape == (9, 5)


def test_truncated_training(load: Load) -> None:
    """Steps on windows are steps of plain nets that get the last state of the window before."""
    net = load(STREAM)
    plain = load(STREAM.replace("state before[n] ~ ones", "input before[n]").replace("    before <- h[T-1]\n", ""))
    y = random.standard_normal((4, 9, 5))
    before = np.ones((4, 5))
    for start in (0, 3, 6):
        part = {"x": x[:, start : start + 3], "y": y[:, start : start + 3]}
        hidden = plain.forward(x=part["x"], before=before)["h"]
        losses = [net.step(**part), plain.step(before=before, **part)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
        before = hidden[:, -1]
        np.testing.assert_allclose(net.state["before"], before, rtol=1e-12)
    for name in net.params:
        np.testing.assert_allclose(net.params[name], plain.params[name], rtol=1e-12)


def test_fit_carries_within_an_epoch_and_validation_apart(load: Load) -> None:
    windows = {"x": x.reshape(4, 3, 3, 4).swapaxes(0, 1).reshape(12, 3, 4), "y": np.zeros((12, 3, 5))}
    net, other = load(STREAM), load(STREAM)
    net.fit(windows, epochs=2, validation=windows)
    for _ in range(2):
        other.reset()
        for start in (0, 4, 8):
            other.step(**{name: array[start : start + 4] for name, array in windows.items()})
    for name in net.params:
        np.testing.assert_array_equal(net.params[name], other.params[name])
    np.testing.assert_array_equal(net.state["before"], other.state["before"])
    with pytest.raises(NetlangError, match="carried-shuffled"):
        load(STREAM.replace("    shuffle false\n", "")).fit(windows)


def test_a_text_is_read_in_streams(load: Load) -> None:
    """Minibatches continue each other, though the section shuffles by default; the end that fills no window is left."""
    net = load(
        "net Letters(n=4):\n    input text[T]: class(3)\n    target next[T]: class(3)\n    state before[n] ~ zeros\n"
        "    x = text -> embedding(n)\n    param U[n, n] ~ orthogonal\n"
        "    h[t < T] = tanh(U @ (h[t-1] else before) + x[t])\n    before <- h[T-1]\n    scores = h -> dense(3)\n"
        "    output scores\n    loss mean(t) cross_entropy(scores[t], next[t])\n\n"
        "train Letters:\n    optimizer sgd(lr=0.1)\n    batch 2\n"
    )
    symbols = random.integers(0, 3, 2 * 3 * 5 + 1)
    ordered = Dataset({"text": symbols[:-1].reshape(6, 5), "next": symbols[1:].reshape(6, 5)}, ordered=True)
    streams = {"text": symbols[:-1].reshape(2, 15), "next": symbols[1:].reshape(2, 15)}
    assert net.evaluate(ordered)["loss"] == pytest.approx(net.evaluate(streams)["loss"], rel=1e-12)
    other = copy.copy(net)
    net.fit(ordered, epochs=1)
    for k in range(3):
        other.step(**{name: array[:, 5 * k : 5 * k + 5] for name, array in streams.items()})
    for name in net.params:
        np.testing.assert_array_equal(net.params[name], other.params[name])


def test_examples_that_fill_no_whole_minibatches(load: Load) -> None:
    net = load(STREAM)
    data = {"x": x[[0, 1, 2, 3, 0, 1]], "y": np.zeros((6, 9, 5))}
    for run in (net.fit, net.evaluate):
        with pytest.raises(NetlangError, match="`before` is carried from batch to batch, but 6 examples"):
            run(data)
    net.evaluate({name: array[:3] for name, array in data.items()})
    net.evaluate(data, batch=3)


@pytest.mark.parametrize("mode", ["training", "not training"])
def test_a_state_is_carried_in_both_modes(load: Load, mode: str) -> None:
    with pytest.raises(NetlangError, match="carried-in-one-mode") as caught:
        load(STREAM.replace("before <- h[T-1]", f"before <- h[T-1] when {mode}"))
    assert "before <- h[T-1] when" in str(caught.value)


def test_states_of_each_other_and_of_the_batch(load: Load) -> None:
    """A step takes old values everywhere, for every example; what is a statistic or a count stays one number."""
    net = load(
        "net Two(n=3):\n    input x[T, n]\n    target z\n    param v ~ ones\n"
        "    state a[n] ~ zeros, b[n] ~ ones, count ~ zeros, m[n] ~ zeros\n"
        "    h[t < T] = tanh((h[t-1] else a) + 0.5 * (g[t-1] else b) + x[t])\n"
        "    g[t < T] = 0.5 * h[t] + 0.3 * (g[t-1] else a)\n"
        "    s[k] = mean(batch) x[0, k]\n    first = a\n    m <- 0.9*m + 0.1*s\n"
        "    a <- h[T-1] + b\n    b <- g[T-1] - first\n    count <- count + 1 when training\n"
        "    output h, g\n    loss (sum(h)*v - z)^2\n\ntrain Two:\n    optimizer sgd(lr=0.01)\n"
    )
    inputs = x[..., :3]
    a, b = np.zeros((4, 3)), np.ones((4, 3))
    for _ in range(3):
        found = net.forward(x=inputs)
        a, b = found["h"][:, -1] + b, found["g"][:, -1] - a
        np.testing.assert_array_equal(net.state["a"], a)
        np.testing.assert_array_equal(net.state["b"], b)
    net.step(x=inputs, z=np.ones(4))
    assert net.state["count"] == 1
    assert net.state["m"].shape == (3,)


def test_states_of_layers(load: Load) -> None:
    """Each application carries a state of its own; an instance that is applied twice has one, which both go on with."""
    text = (
        "layer cell(x[T, d], n):\n    state before[n] ~ zeros\n    param U[n, n] ~ orthogonal, W[n, d] ~ xavier\n"
        "    h[t < T] = tanh(U @ (h[t-1] else before) + W @ x[t])\n    before <- h[T-1]\n    return h\n\n"
        "net Cells(n=4):\n    input x[T, 4]\n    output x -> STAGE\n"
    )
    net = load(text.replace("STAGE", "repeat(2, cell(n)) -> cell(n)"))
    whole = net(x)
    assert list(net.state) == [f"cell_{k}.before" for k in (1, 2, 3)]
    net.reset()
    np.testing.assert_allclose(np.concatenate([net(x[:, :2]), net(x[:, 2:])], 1), whole, rtol=1e-12)
    shared = load(
        text.replace("x -> STAGE", "a, b = f(a)").replace("    output", "    f = cell(n)\n    a = f(x)\n    output")
    )
    found = shared.forward(x=x)
    np.testing.assert_array_equal(shared.state["f.before"], found["b"][:, -1])
    one = load(text.replace("STAGE", "cell(n)"))
    for name in ("U", "W"):
        one.params[f"cell_1.{name}"] = shared.params[f"f.{name}"]
    np.testing.assert_allclose(one(x), found["a"], rtol=1e-12)
    np.testing.assert_allclose(one(found["a"]), found["b"], rtol=1e-12)


def test_a_run_is_resumed_and_a_net_is_copied(load: Load, tmp_path: Path) -> None:
    data = {"x": np.concatenate([x, x + 1]), "y": np.zeros((8, 9, 5))}
    whole, part = load(STREAM), load(STREAM)
    whole.fit(data, epochs=3)
    part.fit(data, epochs=1)
    part.save(tmp_path / "part.netc", training=True)
    resumed = netlang.load(tmp_path / "part.netc")
    resumed.fit(data, epochs=3, resume=True)
    for name, value in whole.params.items():
        np.testing.assert_array_equal(resumed.params[name], value)
    other = copy.deepcopy(whole)
    expected = whole(x)
    np.testing.assert_array_equal(other(x), expected)
    whole.reset()
    assert other.carried
    assert not whole.carried
    loss, _ = other.gradients(x=x, y=data["y"][:4])
    assert other.gradients(x=x, y=data["y"][:4])[0] == loss  # nothing is updated
