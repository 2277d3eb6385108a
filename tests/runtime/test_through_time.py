"""Gradients through time: closed forms, and finite differences of what is added to a state."""

from __future__ import annotations

import numpy as np
import pytest

import netlang

LINEAR = """
net Linear(gain=1.5):
    input  x[T, 3], w[3]
    h = x -> rnn(3, activation=linear, recurrent=orthogonal(gain=gain))
    loss   value = sum(i) w[i] * h[T-1, i]
"""


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_of_a_linear_recurrence_they_are_powers_of_its_gain(gain: float) -> None:
    """dL/dh[t] is w times the (T - 1 - t)-th power of an orthogonal matrix times its gain."""
    net = netlang.loads(LINEAR, gain=gain, dtype="float64")
    random = np.random.default_rng(1)
    x, w = random.standard_normal((4, 12, 3)), random.standard_normal((4, 3))
    found = net.gradients_through_time(x=x, w=w)
    assert list(found) == ["rnn_1.h"]
    expected = np.linalg.norm(w, axis=1).mean() * gain ** np.arange(11, -1, -1.0)
    np.testing.assert_allclose(found["rnn_1.h"], expected, rtol=1e-12)
    alone = net.gradients_through_time(x=x[0], w=w[0])
    np.testing.assert_allclose(alone["rnn_1.h"], np.linalg.norm(w[0]) * gain ** np.arange(11, -1, -1.0), rtol=1e-12)


@pytest.mark.parametrize("order", ["t-1", "t+1"])
def test_they_are_differences_of_what_is_added_to_a_state(order: str) -> None:
    text = f"""
net Added:
    input x[5, 2], e[5, 3]
    param U[3, 3] ~ orthogonal, W[3, 2] ~ xavier
    h[t < 5] = tanh(U @ (h[{order}] else 0) + W @ x[t]) + e[t]
    loss  value = sum(sin(3*h))
"""
    net = netlang.loads(text, dtype="float64")
    random = np.random.default_rng(2)
    x, e, step = random.standard_normal((5, 2)), np.zeros((5, 3)), 1e-5
    slopes = np.zeros((5, 3))
    for place in np.ndindex(5, 3):
        moved = np.zeros((5, 3))
        moved[place] = step
        up, down = (net.gradients(wrt=(), x=x, e=sign * moved)[0] for sign in (1, -1))
        slopes[place] = (up - down) / (2 * step)
    found = net.gradients_through_time(x=x, e=e)
    np.testing.assert_allclose(found["h"], np.linalg.norm(slopes, axis=1), rtol=1e-8)


def test_every_state_of_every_recurrence_is_followed_and_no_other_tensor() -> None:
    net = netlang.loads(
        "net N:\n    input x[6, 2]\n    y = x -> lstm(3) -> gru(2)\n    z = y -> bidirectional(rnn(2), rnn(2))\n"
        "    loss value = sum(z[0])\n"
    )
    found = net.gradients_through_time(x=np.ones((3, 6, 2)))
    inner = [f"bidirectional_1.rnn_{k}.h" for k in (1, 2)]
    assert set(found) == {"lstm_1.h", "lstm_1.c", "gru_1.h", *inner}
    assert all(norms.shape == (6,) and np.isfinite(norms).all() for norms in found.values())
    assert (found[inner[0]][1:] == 0).all()  # the loss is of the first step: later states do not reach it
    assert (found[inner[1]] > 0).all()  # read from the other end, the first step is the last


def test_a_recurrence_in_two_directions_is_followed_along_the_first() -> None:
    net = netlang.loads(
        "net N:\n    input x[4, 5]\n    h[i < 4, j < 5] = tanh((h[i-1, j] else 0) + (h[i, j-1] else 0) + x[i, j])\n"
        "    loss value = h[3, 4]\n",
        dtype="float64",
    )
    found = net.gradients_through_time(x=np.zeros((4, 5)))
    # where every tanh is the identity, the derivative by h[i, j] is the number of ways from there to the end
    ways = [[1.0, 4, 10, 20, 35], [1, 3, 6, 10, 15], [1, 2, 3, 4, 5], [1, 1, 1, 1, 1]]
    np.testing.assert_allclose(found["h"], np.linalg.norm(ways, axis=1), rtol=1e-12)


def test_a_net_without_a_recurrence_has_none() -> None:
    net = netlang.loads("net N:\n    input x[2]\n    loss sum(x)\n")
    assert dict(net.gradients_through_time(x=[1, 2])) == {}


def test_they_are_drawn() -> None:
    net = netlang.loads(LINEAR)
    found = net.gradients_through_time(x=np.ones((3, 3)), w=np.ones(3))
    assert ">rnn_1.h</text>" in found.draw()
    assert found._repr_svg_() == found.draw()
