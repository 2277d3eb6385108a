"""Optimizers, schedules, penalties and initializers against their published forms, written once more with NumPy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from netlang.elaboration.modules import standard_library
from tests.library.running import Training, initial, value

Array = NDArray[np.float64]

# The loss 1/2 sum of a w^2 has the gradient a w.
SCALES = np.array([0.5, -2.0, 3.0, 0.0])
START = np.array([1.0, 0.3, -0.7, 2.0])
NET = """net N:
    input a[4]
    param w[4] ~ ones
    loss sum(j) a[j] * w[j]^2 / 2

train N:
"""


def trained(*settings: str) -> Iterator[Array]:
    """The weights after each step from START."""
    training = Training.of(NET + "".join(f"    {line}\n" for line in settings))
    values: dict[str, Array] = {"w": START}
    for step in itertools.count(1):
        values = training.step(values, {"a": SCALES[None]}, step=step, epoch=0, steps=100, epochs=10)
        yield values["w"]


# --- optimizers ----------------------------------------------------------------------------------------------------

Rule = Callable[[Array, Array, int, dict[str, Array]], Array]  # (w, g, step, memory) -> next w


def sgd(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    return w - 0.1 * g


def sgd_momentum(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    memory["v"] = 0.8 * memory.get("v", 0) + g
    return w - 0.1 * memory["v"]


def sgd_nesterov(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    memory["v"] = 0.8 * memory.get("v", 0) + g
    return w - 0.1 * (g + 0.8 * memory["v"])


def nesterov(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    before = memory.get("v", np.zeros(4))
    memory["v"] = 0.8 * before - 0.1 * g
    return w - 0.8 * before + 1.8 * memory["v"]


def adagrad(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    memory["a"] = memory.get("a", 0) + g**2
    return w - 0.1 * g / (np.sqrt(memory["a"]) + 1e-10)


def rmsprop(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    memory["a"] = 0.99 * memory.get("a", 0) + 0.01 * g**2
    return w - 0.1 * g / (np.sqrt(memory["a"]) + 1e-8)


def adadelta(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    memory["a"] = 0.9 * memory.get("a", 0) + 0.1 * g**2
    moved = np.sqrt(memory.get("d", 0) + 1e-6) / np.sqrt(memory["a"] + 1e-6) * g
    memory["d"] = 0.9 * memory.get("d", 0) + 0.1 * moved**2
    return w - moved


def adam(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * g**2
    return w - 0.1 * memory["m"] / (1 - 0.9**step) / (np.sqrt(memory["v"] / (1 - 0.999**step)) + 1e-8)


def adamw(w: Array, g: Array, step: int, memory: dict[str, Array]) -> Array:
    return adam(w * (1 - 0.1 * 0.05), g, step, memory)


OPTIMIZERS: dict[str, Rule] = {
    "sgd(lr=0.1)": sgd,
    "sgd(lr=0.1, momentum=0.8)": sgd_momentum,
    "sgd(lr=0.1, momentum=0.8, nesterov=true)": sgd_nesterov,
    "momentum(lr=0.1, beta=0.8)": sgd_momentum,  # the same while the rate does not change
    "nesterov(lr=0.1, beta=0.8)": nesterov,
    "adagrad(lr=0.1)": adagrad,
    "rmsprop(lr=0.1)": rmsprop,
    "adadelta(lr=1)": adadelta,
    "adam(lr=0.1)": adam,
    "adamw(lr=0.1, decay=0.05)": adamw,
}


@pytest.mark.parametrize("applied", OPTIMIZERS)
def test_three_steps_of_an_optimizer(applied: str) -> None:
    rule, w, memory = OPTIMIZERS[applied], START, dict[str, Array]()
    for step, actual in zip((1, 2, 3), trained(f"optimizer {applied}"), strict=False):
        w = rule(w, SCALES * w, step, memory)
        np.testing.assert_allclose(actual, w, rtol=1e-12, atol=1e-15)


def test_every_definition_is_tested() -> None:
    tested = {
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
        "penalty": PENALTIES,
        "initializer": [*FIXED, *SPREADS, "orthogonal", "identity"],
    }
    for kind, known in tested.items():
        names = {d.name.id for d in standard_library() if d.kind == kind}
        assert names == {applied.partition("(")[0] for applied in known}


# --- schedules -----------------------------------------------------------------------------------------------------

STEPS, EPOCHS = 100, 10

SCHEDULES: dict[str, Callable[[int, int], float]] = {  # of the step, from 1, and the epoch, from 0; the rate is 0.5
    "constant": lambda step, epoch: 0.5,
    "step(every=3, factor=0.2)": lambda step, epoch: 0.5 * 0.2 ** (epoch // 3),
    "exponential(0.3)": lambda step, epoch: 0.5 * math.exp(-0.3 * epoch),
    "inverse(0.3)": lambda step, epoch: 0.5 / (1 + 0.3 * epoch),
    "polynomial(power=2, final=0.1)": lambda step, epoch: 0.1 + 0.4 * (1 - (step - 1) / STEPS) ** 2,
    "cosine": lambda step, epoch: 0.25 * (1 + math.cos(math.pi * (step - 1) / STEPS)),
    "warmup(20)": lambda step, epoch: 0.5 * min(1, step / 20),
    "warmup_cosine(20, final=0.1)": lambda step, epoch: (
        0.5 * step / 20 if step < 20 else 0.1 + 0.2 * (1 + math.cos(math.pi * (step - 20) / 81))
    ),
}


@pytest.mark.parametrize("applied", SCHEDULES)
def test_schedule(applied: str) -> None:
    training = Training.of(NET + f"    optimizer sgd(lr=0.5)\n    schedule {applied}\n")
    for step in (1, 2, 19, 20, 21, 30, 31, 60, 61, 100):
        epoch = (step - 1) * EPOCHS // STEPS
        clocks = {"step": step, "epoch": epoch, "steps": STEPS, "epochs": EPOCHS}
        after = training.step({"w": START}, {"a": np.ones((1, 4))}, **clocks)["w"]
        assert (1 - after / START) == pytest.approx(np.full(4, SCHEDULES[applied](step, epoch)), rel=1e-12)


@pytest.mark.parametrize(
    ("applied", "rate"),
    [("polynomial(power=0.5, final=0.1)", 0.1), ("cosine(final=0.1)", 0.1), ("warmup_cosine(20, final=0.1)", 0.1)],
)
def test_a_schedule_stays_where_its_run_ends(applied: str, rate: float) -> None:
    training = Training.of(NET + f"    optimizer sgd(lr=0.5)\n    schedule {applied}\n")
    clocks = {"step": 3 * STEPS, "epoch": 3 * EPOCHS, "steps": STEPS, "epochs": EPOCHS}
    after = training.step({"w": START}, {"a": np.ones((1, 4))}, **clocks)["w"]
    assert (1 - after / START) == pytest.approx(np.full(4, rate), rel=1e-12)


def test_a_warmup_as_long_as_the_run() -> None:
    training = Training.of(NET + "    optimizer sgd(lr=0.5)\n    schedule warmup_cosine(5)\n")
    for steps, rate in ((4, 0.4), (5, 0.5)):
        clocks = {"step": steps, "epoch": 0, "steps": steps, "epochs": 1}
        after = training.step({"w": START}, {"a": np.ones((1, 4))}, **clocks)["w"]
        assert (1 - after / START) == pytest.approx(np.full(4, rate), rel=1e-12)


# --- penalties -----------------------------------------------------------------------------------------------------

PENALTIES: dict[str, Array] = {  # the gradient of the penalty on START, whose signs are + + - +
    "l1(0.3)": 0.3 * np.sign(START),
    "l2(0.3)": 0.6 * START,
    "elastic_net(0.3, 0.2)": 0.3 * np.sign(START) + 0.4 * START,
}


@pytest.mark.parametrize("applied", PENALTIES)
def test_penalty(applied: str) -> None:
    after = next(trained("optimizer sgd(lr=0.1)", f"penalty {applied} over w"))
    np.testing.assert_allclose(after, START - 0.1 * (SCALES * START + PENALTIES[applied]), rtol=1e-12)


# --- initializers --------------------------------------------------------------------------------------------------

FIXED = {"zeros": 0.0, "ones": 1.0, "constant(0.25)": 0.25}

# W[40, 30, 2]: fan_in = 60, fan_out = 80. A uniform draw has its bound, a normal one none.
SPREADS: dict[str, tuple[float, float | None]] = {
    "xavier": (2 / 140, math.sqrt(6 / 140)),
    "xavier_normal": (2 / 140, None),
    "he": (2 / 60, math.sqrt(6 / 60)),
    "he_normal": (2 / 60, None),
    "lecun_normal": (1 / 60, None),
}
BUILTIN: dict[str, tuple[float, float | None]] = {"normal(0, 0.2)": (0.04, None), "uniform(-0.3, 0.3)": (0.03, 0.3)}


def drawn(initializer: str, dimensions: str = "[40, 30, 2]") -> Array:
    return initial(f"net N:\n    param W{dimensions} ~ {initializer}\n    output y = sum(W)\n")["W"]


@pytest.mark.parametrize("applied", FIXED)
def test_fixed_first_values(applied: str) -> None:
    np.testing.assert_array_equal(drawn(applied), np.full((40, 30, 2), FIXED[applied]))


@pytest.mark.parametrize("applied", [*SPREADS, *BUILTIN])
def test_mean_and_variance_of_first_values(applied: str) -> None:
    variance, bound = (SPREADS | BUILTIN)[applied]
    W = drawn(applied)
    # 2400 draws: the mean is within five of its standard deviations, and so is the variance (kurtosis at most 3)
    assert abs(W.mean()) < 5 * math.sqrt(variance / W.size)
    assert W.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / W.size))
    if bound is not None:
        assert 0.99 * bound < np.abs(W).max() <= bound


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape: tuple[int, int]) -> None:
    W = drawn("orthogonal(gain=2)", str(list(shape)))
    gram = W @ W.T if shape[0] <= shape[1] else W.T @ W
    np.testing.assert_allclose(gram, 4 * np.eye(min(shape)), atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_identity_has_ones_on_the_diagonal(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(drawn("identity(gain=0.5)", str(list(shape))), 0.5 * np.eye(*shape))


def test_two_parameters_have_different_first_values() -> None:
    values = initial("net N:\n    param U[3, 3] ~ he, V[3, 3] ~ he\n    output y = sum(U) + sum(V)\n")
    assert (values["U"] != values["V"]).all()


def test_bias_of_a_layer_that_has_none_reads_as_zero() -> None:
    x = np.array([1.0, 2.0])
    text = "net N:\n    input x[2]\n    output y = x -> dense(2, bias=false)\n"
    np.testing.assert_array_equal(value(text, x=x, **{"dense_1.W": np.eye(2)}), x)
