"""Training: reproducible to the bit, resumable to the bit, stopped with a cause when it diverges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.runtime.history import Epoch
from netlang.runtime.net import Net
from netlang.runtime.preprocess import Minibatches

TEXT = """
net Small(hidden=8):
    input  x[4]
    target y: class(3)
    scores = x -> dense(hidden) -> tanh -> dropout(0.2) -> batchnorm -> dense(3)
    output scores
    loss cross_entropy(scores, y)
    metric accuracy(scores, y)

train Small:
    data "sklearn:iris"
    validation 0.2
    normalize x
    optimizer adam(lr=0.02)
    schedule cosine
    penalty l2(1e-4)
    batch 16
    epochs 6
    seed 3
"""


def values(net: Net) -> dict[str, np.ndarray]:
    return {**net.params, **net.state}


def assert_same_bits(left: Net, right: Net) -> None:
    a, b = values(left), values(right)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def test_training_learns_and_evaluates() -> None:
    net = netlang.loads(TEXT)
    history = net.fit(epochs=30)
    assert len(history.epochs) == 30
    assert history["objective"][-1] < 0.5 * history["objective"][0]
    scores = net.evaluate("sklearn:iris")
    assert scores["accuracy"] > 0.93
    assert scores.keys() == {"cross_entropy", "accuracy"}


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not() -> None:
    first, second, third = netlang.loads(TEXT), netlang.loads(TEXT), netlang.loads(TEXT, seed=4)
    for net in (first, second, third):
        net.fit()
    assert_same_bits(first, second)
    assert any(values(first)[n].tobytes() != values(third)[n].tobytes() for n in values(first))


class StoppedError(Exception):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = netlang.loads(TEXT)
    expected = whole.fit(patience=5)
    path = tmp_path / "run.netc"

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        netlang.loads(TEXT).fit(checkpoint=path, patience=5, report=stop)
    resumed = netlang.load(path)
    assert resumed.epochs_done == 2
    history = resumed.fit(resume=True, patience=5)
    assert_same_bits(whole, resumed)
    assert history == expected


def test_a_second_fit_is_a_run_of_its_own() -> None:
    net = netlang.loads(TEXT)
    net.fit(epochs=2)
    before = net.params["dense_1.W"].copy()
    history = net.fit(epochs=2)
    assert [e.number for e in history.epochs] == [1, 2]
    assert not np.array_equal(before, net.params["dense_1.W"])


def test_step_and_fit_do_the_same() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 4)).astype(np.float32), rng.integers(0, 3, 40)
    fitted, stepped = netlang.loads(TEXT), netlang.loads(TEXT)
    before = fitted.params["dense_2.W"].copy()
    fitted.fit({"x": x, "y": y}, validation=0.0, epochs=1, batch=16, normalize=())
    stepped.total_steps, stepped.total_epochs = 3, 1
    for part in Minibatches(16, stepped.seed).over({"x": x, "y": y}, epoch=0):
        stepped.step(**part)
    assert_same_bits(fitted, stepped)
    assert not np.array_equal(before, fitted.params["dense_2.W"])


def test_inputs_that_do_not_fit_are_no_step() -> None:
    net = netlang.loads(TEXT)
    with pytest.raises(netlang.NetlangError):
        net.step(x=np.zeros((2, 5)), y=[0, 1])
    assert net.steps_done == 0


def test_steps_of_a_run_without_end_have_the_first_rate() -> None:
    text = "net A:\n    input x\n    param a ~ zeros\n    loss -a * x\n\ntrain A:\n    optimizer sgd(lr=0.5)\n"
    net = netlang.loads(text + "    schedule cosine\n")
    for _ in range(3):
        net.step(x=[1.0])
    assert net.params["a"] == 1.5


@pytest.mark.parametrize("setting", [{"epochs": 1.5}, {"epochs": "3"}, {"batch": 0}, {"batch": True}, {"patience": -1}])
def test_counts_that_are_not_are_diagnosed(setting: dict[str, object]) -> None:
    net = netlang.loads(TEXT)
    with pytest.raises(netlang.NetlangError) as caught:
        net.fit(**setting)
    assert caught.value.diagnostics[0].code == "bad-setting"
    with pytest.raises(netlang.NetlangError) as caught:
        net.evaluate("sklearn:iris", batch=0)
    assert caught.value.diagnostics[0].code == "bad-setting"


def test_early_stopping_restores_the_best() -> None:
    net = netlang.loads(TEXT.replace("adam(lr=0.02)", "sgd(lr=1.5)"))
    history = net.fit(epochs=60, patience=3)
    assert len(history.epochs) < 60
    losses = [e.validation["cross_entropy"] for e in history.epochs]
    assert history.best == int(np.argmin(losses)) + 1


def test_divergence_is_diagnosed_and_undone(tmp_path: Path) -> None:
    net = netlang.loads(TEXT.replace("adam(lr=0.02)", "sgd(lr=1e30)").replace("-> batchnorm", "-> dense(4)"))
    start = {n: v.copy() for n, v in net.params.items()}
    with pytest.raises(netlang.NetlangError) as caught:
        net.fit(checkpoint=tmp_path / "c.netc")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "not-finite"
    assert "at step" in diagnostic.message
    assert any("the first tensor that is not finite is `" in note for note in diagnostic.notes)
    assert net.epochs_done == 0
    for name, value in start.items():
        assert np.array_equal(net.params[name], value), name


def test_a_last_update_that_diverges_is_diagnosed() -> None:
    net = netlang.loads(TEXT.replace("adam(lr=0.02)", "sgd(lr=1e39)"))
    with pytest.raises(netlang.NetlangError) as caught:
        net.fit(epochs=1, batch=1000)  # one step, whose loss is finite
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "not-finite"
    assert diagnostic.message == "the parameters of `Small` are not finite at step 1, in epoch 1"
    assert all(np.isfinite(value).all() for value in net.params.values())


def test_artifacts_keep_values_and_answers(tmp_path: Path) -> None:
    net = netlang.loads(TEXT)
    net.fit(epochs=2)
    x = np.random.default_rng(1).standard_normal((5, 4))
    net.save(tmp_path / "a.netc")
    again = netlang.load(tmp_path / "a.netc")
    assert again(x).tobytes() == net(x).tobytes()
    assert again.history == net.history
    assert not (tmp_path / "a.netc").read_bytes().count(b"pickle")


def test_a_net_without_a_train_section_says_so() -> None:
    net = netlang.loads("net N:\n    input x[2]\n    y = x -> dense(1)\n    output y\n")
    with pytest.raises(netlang.NetlangError) as caught:
        net.step(x=np.zeros((1, 2)))
    assert caught.value.diagnostics[0].code == "no-training"


def test_an_interrupted_epoch_is_undone_and_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = netlang.loads(TEXT)
    whole.fit()
    net = netlang.loads(TEXT)
    run, calls = Net.run_steps, 0

    def interrupted(self: Net, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 20:  # in the middle of an epoch
            raise KeyboardInterrupt
        return run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr("netlang.runtime.training.MOST", 1.0)  # a step in each call
    monkeypatch.setattr(Net, "run_steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.fit()
    assert net.steps_done == net.epochs_done * 8  # 120 examples in steps of 16
    monkeypatch.undo()
    net.fit(resume=True)
    assert_same_bits(whole, net)
