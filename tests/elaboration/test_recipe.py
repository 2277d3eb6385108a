"""Training steps: goals with optimizers of their own, schedules, penalties, clipping, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.elaboration.modules import module_from_text
from netlang.runtime.model import load_model
from netlang.targets.reference import evaluate
from tests.elaboration.nets import Array, net

x, t = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([1.0, -1.0])
a, b = np.array([0.5, -0.25]), np.array([1.0, 2.0])

TWO = net(
    "input  x[2]",
    "target t",
    "param  a[2] ~ [0.5, -0.25], b[2] ~ [1, 2]",
    "p = x @ a",
    "q = x @ b",
    "output p, q",
    "loss first = (p - t)^2",
    "loss second = (q - t)^2 / 2",
)
SLOPE_A = (2 * (x @ a - t)) @ x / 2
SLOPE_B = (x @ b - t) @ x / 2


def updated(section: str, before: str = "", **clock: float) -> dict[str, Array]:
    """The next values of parameters and states after one step, by the reference target."""
    text = before + TWO + "train N:\n" + "".join(f"    {line}\n" for line in section.splitlines())
    module = module_from_text(text)
    graph = load_model(module.name, None, {}, module).updated_graph
    first = evaluate(graph, {}, only=graph.initial.values())
    given: dict[str, Any] = {name: first[node] for name, node in graph.initial.items()}
    times = {"step": 1.0, "epoch": 0.0, "steps": 10.0, "epochs": 5.0} | clock
    given |= {f"clock.{name}": np.asarray(value) for name, value in times.items()}
    found = evaluate(graph, given | {"x": x, "t": t}, only=graph.updates.values())
    return {name: found[node] for name, node in graph.updates.items()}


def test_all_losses_are_minimized_together() -> None:
    found = updated("optimizer sgd(lr=0.1)")
    np.testing.assert_allclose(found["a"], a - 0.1 * SLOPE_A)
    np.testing.assert_allclose(found["b"], b - 0.1 * SLOPE_B)


def test_each_goal_has_its_parameters_and_its_optimizer() -> None:
    found = updated("minimize first over a with sgd(lr=0.1)\nminimize second over b with momentum(lr=0.2, beta=0.9)")
    np.testing.assert_allclose(found["a"], a - 0.1 * SLOPE_A)
    np.testing.assert_allclose(found["b"], b - 0.2 * SLOPE_B)
    frozen = updated("minimize first over a\noptimizer sgd(lr=0.1)")
    assert "b" not in frozen
    np.testing.assert_allclose(frozen["a"], a - 0.1 * SLOPE_A)


def test_a_schedule_gives_the_rate() -> None:
    section = "optimizer sgd(lr=0.1)\nschedule slower(k=2)"
    own = "schedule slower(lr, k) = lr / (1 + k * epoch) * step / steps\n"
    found = updated(section, own, epoch=2.0, step=5.0)
    np.testing.assert_allclose(found["a"], a - 0.1 / 5 * 0.5 * SLOPE_A)


def test_penalties_are_over_what_they_name() -> None:
    own = "penalty size2(w[...], s) = s * sum(...) w[...]^2\n"
    found = updated("optimizer sgd(lr=0.1)\npenalty size2(0.5) over a", own)
    np.testing.assert_allclose(found["a"], a - 0.1 * (SLOPE_A + a))
    np.testing.assert_allclose(found["b"], b - 0.1 * SLOPE_B)
    biases = updated("optimizer sgd(lr=0.1)\npenalty size2(0.5)", own)  # vectors are taken for biases
    np.testing.assert_allclose(biases["a"], a - 0.1 * SLOPE_A)


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    norm = np.sqrt(SLOPE_A @ SLOPE_A + SLOPE_B @ SLOPE_B)
    assert norm > 1
    found = updated("optimizer sgd(lr=0.1)\nclip 1")
    np.testing.assert_allclose(found["a"], a - 0.1 * SLOPE_A / norm)
    np.testing.assert_allclose(updated("optimizer sgd(lr=0.1)\nclip 100")["b"], b - 0.1 * SLOPE_B)


def test_clamping_bounds_each_element_of_a_gradient_after_clipping() -> None:
    slopes = np.concatenate([SLOPE_A, SLOPE_B])
    assert slopes.min() < -4 < np.abs(slopes).min() < 4 < slopes.max()
    found = updated("optimizer sgd(lr=0.1)\nclamp 4")
    np.testing.assert_allclose(found["a"], a - 0.1 * SLOPE_A.clip(-4, 4))
    np.testing.assert_allclose(found["b"], b - 0.1 * SLOPE_B.clip(-4, 4))
    both = updated("optimizer sgd(lr=0.1)\nclamp 0.5\nclip 1")
    np.testing.assert_allclose(both["a"], a - 0.1 * (SLOPE_A / np.linalg.norm(slopes)).clip(-0.5, 0.5))


def test_an_optimizer_of_ones_own_keeps_a_state_for_each_weight() -> None:
    own = "optimizer heavy(w, g, lr=1, beta=0.5):\n    state v ~ ones\n    v <- beta * v + g\n    w <- w - lr * v\n"
    found = updated("optimizer heavy(lr=0.1)", own)
    np.testing.assert_allclose(found["a.optimizer.v"], 0.5 + SLOPE_A)
    np.testing.assert_allclose(found["a"], a - 0.1 * (0.5 + SLOPE_A))


@pytest.mark.parametrize(
    ("section", "code"),
    [
        ("batch 4", "no-optimizer"),
        ("optimizer sgd\noptimizer adam", "duplicate-setting"),
        ("optimizer sgdd", "unknown-name"),
        ("optimizer sgd(rate=1)", "unknown-argument"),
        ("optimizer 3", "bad-setting"),
        ("optimizer sgd\nbatch 0", "bad-setting"),
        ("optimizer sgd\nbatch 2.5", "bad-setting"),
        ("optimizer sgd\nspeed 3", "unknown-setting"),
        ("optimizer sgd\nclip -1", "bad-setting"),
        ("optimizer sgd\nclamp 0", "bad-setting"),
        ("optimizer sgd\nvalidation 1.5", "bad-setting"),
        ("optimizer sgd\nnormalize z", "bad-setting"),
        ("minimize third over a with sgd", "unknown-loss"),
        ("minimize first over c with sgd", "unknown-name"),
        ("minimize first over a", "no-optimizer"),
        ("minimize first over a with sgd\nminimize second over a with sgd", "duplicate-setting"),
        ("optimizer sgd\npenalty l2(1) over c", "unknown-name"),
    ],
)
def test_sections_that_are_wrong(section: str, code: str) -> None:
    with pytest.raises(NetlangError) as caught:
        netlang.loads(TWO + "train N:\n" + "".join(f"    {line}\n" for line in section.splitlines()))
    assert caught.value.diagnostics[0].code == code
