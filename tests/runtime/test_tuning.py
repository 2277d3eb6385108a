"""Tilings by timing: the fastest is remembered and taken by what is compiled later, for this precision alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netlang
from netlang.cli import main
from netlang.runtime import choices, tuning
from netlang.runtime.choices import remember, remembered
from netlang.runtime.tuning import tune

TEXT = """
net Small:
    input x[40]
    target t: class(20)
    y = x -> dense(20)
    output y
    loss cross_entropy(y, t)

train Small:
    optimizer sgd(lr=0.1)
    batch 8
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETLANG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(choices, "FILE", "tilings.json")
    return tmp_path / "cache"


def last_is_fastest(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    for call in calls.values():
        call()
    return {name: float(len(calls) - k) for k, name in enumerate(calls)}


def test_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = netlang.loads(TEXT).model, np.random.default_rng(0).standard_normal((8, 40))
    before = netlang.loads(TEXT)
    monkeypatch.setattr(tuning, "medians", last_is_fastest)
    found = list(tune(model, ("forward", "step"), batch=8))
    assert {t.use for t in found} == {"forward", "step"}
    assert all(t.after == 1.0 < t.before for t in found)
    chosen = {key: tiling for t in found for key, tiling in t.choices.items()}
    assert remembered(np.float32) == chosen
    assert remembered(np.float64) == {}
    after = netlang.loads(TEXT)
    taken = {p.key: p.taken for k in after.program().program.kernels for p in k.problems}
    assert taken
    assert taken.items() <= chosen.items()
    first = {p.key: p.taken for k in before.program().program.kernels for p in k.problems}
    assert first == taken  # a net that compiles later takes what is remembered, whenever it was loaded
    np.testing.assert_allclose(after(x), netlang.loads(TEXT, dtype="float64")(x), rtol=1e-4, atol=1e-5)


def test_a_gain_within_the_noise_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "medians", lambda calls, _: {name: 1.0 - 0.001 * k for k, name in enumerate(calls)})
    for found in tune(netlang.loads(TEXT).model, batch=8):
        assert found.before == found.after
    assert all(p.taken == p.tilings[0] for k in netlang.loads(TEXT).program().program.kernels for p in k.problems)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {"b": null}}', "\0\1"])
def test_a_file_of_another_kind_is_as_good_as_none(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "tilings.json").write_text(content, encoding="utf-8")
    assert remembered(np.float32) == {}
    netlang.loads(TEXT)(np.zeros(40))
    remember({"key": "tiling"}, np.float32)
    assert remembered(np.float32) == {"key": "tiling"}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "small.net"
    text.write_text(TEXT, encoding="utf-8")
    output = tmp_path / "small.netc"
    assert main(["compile", str(text), "--tune", "--batch", "8", "-o", str(output)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "8 examples" in shown[0]
    assert any("forward" in line for line in shown)
    assert any("step" in line for line in shown)
    assert remembered(np.float32)
    assert netlang.load(str(output))(np.zeros(40)).shape == (20,)
