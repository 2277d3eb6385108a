"""Nets that read texts: trained on one, kept with their vocabulary, and measured on others."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.cli import main
from netlang.diagnostics import NetlangError
from netlang.elaboration.recipe import Symbols
from netlang.runtime.artifact import read_artifact, write_artifact

MODEL = """
net Bigram(V=6, T=4):
    input  text[T]: class(V)
    target next[T]: class(V)
    param  W[V, V] ~ zeros
    scores[t] = W[text[t]]
    output scores
    loss   mean(t) cross_entropy(scores[t], next[t])

train Bigram:
    vocabulary characters
    optimizer  sgd(lr=1)
    epochs     3
    batch      2
"""


def code(error: pytest.ExceptionInfo[NetlangError]) -> str:
    return error.value.diagnostics[0].code


def test_a_net_learns_from_a_text_and_keeps_its_vocabulary(tmp_path: Path) -> None:
    net = netlang.loads(MODEL)
    assert net.vocabulary is None
    history = net.fit("text:abcabcabcabcabcabcabc", progress=False)
    assert history["objective"][-1] < history["objective"][0] < 1.8
    vocabulary = net.vocabulary
    assert vocabulary is not None
    assert vocabulary.symbols == ("a", "b", "c")
    net.save(tmp_path / "m.netc")
    again = netlang.load(tmp_path / "m.netc")
    assert again.vocabulary == vocabulary
    assert copy.copy(again).vocabulary == vocabulary
    assert again.evaluate({"text": "abcab"}) == net.evaluate("text:abcab")
    with pytest.raises(NetlangError) as error:
        again.evaluate("text:abcdefg")
    assert code(error) == "unknown-symbol"
    assert json.loads(read_artifact(tmp_path / "m.netc")["vocabulary.json"])["counts"] == [7, 7, 7]


def test_a_vocabulary_is_that_of_the_first_text() -> None:
    net = netlang.loads(MODEL)
    net.fit("text:abcabcabc", progress=False)
    net.fit("text:ccccc", progress=False)
    assert net.vocabulary is not None
    assert net.vocabulary.symbols == ("a", "b", "c")


def test_a_text_that_does_not_fit_gives_no_vocabulary() -> None:
    net = netlang.loads(MODEL)
    with pytest.raises(NetlangError) as error:
        net.fit("text:abcdefghij")
    assert code(error) == "vocabulary-size"
    assert net.vocabulary is None
    assert "class(10)" in error.value.diagnostics[0].help


def test_the_end_of_the_text_is_held_out() -> None:
    net = netlang.loads(MODEL.replace("epochs     3", "epochs     1\n    validation 0.25"))
    net.params["W"] = 10 * np.eye(6)
    history = net.fit("text:" + "a" * 12 + "bbbbb", progress=False)
    assert net.vocabulary is not None
    a = int(net.vocabulary.encode("a")[0])
    assert (net.params["W"] != 10 * np.eye(6)).any(axis=1).tolist() == [k == a for k in range(6)]  # b was never seen
    assert history[next(iter(net.graph.losses))][-1] < 1e-2


def test_arrays_need_no_vocabulary() -> None:
    net = netlang.loads(MODEL)
    net.fit({"text": [[0, 1, 2, 3]], "next": [[1, 2, 3, 0]]}, progress=False)
    assert net.vocabulary is None


def test_rows_of_texts() -> None:
    net = netlang.loads(
        """
net Speller(V=8):
    input  given[5]: class(V)
    target next[5]: class(V)
    param  W[V, V] ~ zeros
    scores[t] = W[given[t]]
    output scores
    loss   mean(t) cross_entropy(scores[t], next[t])

train Speller:
    vocabulary characters(unknown=true)
    optimizer  sgd(lr=20)
    epochs     30
"""
    )
    net.fit({"next": ["abcd", "bcd", "cd"]}, progress=False)
    vocabulary = net.vocabulary
    assert vocabulary is not None
    assert vocabulary.symbols[:3] == ("\ufffd", "\x02", "\x03")
    following = {s: vocabulary.symbols[net.params["W"][vocabulary.numbers[s]].argmax()] for s in "abcd\x03"}
    assert following == {"a": "b", "b": "c", "c": "d", "d": "\x03", "\x03": "\x03"}


def test_a_damaged_vocabulary(tmp_path: Path) -> None:
    net = netlang.loads(MODEL)
    net.fit("text:abcabcabc", progress=False)
    net.save(tmp_path / "m.netc")
    for damage in (b"{", b"[]", b'{"unit": "characters"}'):
        members = {**read_artifact(tmp_path / "m.netc"), "vocabulary.json": damage}
        write_artifact(tmp_path / "damaged.netc", members)
        with pytest.raises(NetlangError) as error:
            netlang.load(tmp_path / "damaged.netc")
        assert code(error) in ("artifact-member", "preprocess-corrupt")


def test_the_summary_has_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = netlang.loads(MODEL)
    net.fit("text:abcabcabc", progress=False)
    path = str(tmp_path / "m.netc")
    net.save(path)
    assert main(["summary", path]) == 0
    assert capsys.readouterr().out.endswith("\nvocabulary   3 characters: a b c\n")
    assert main(["summary", path, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["vocabulary"] == {"unit": "characters", "symbols": 3}


def test_from_a_file_to_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files are found beside the net's, from any folder."""
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "book.txt").write_text("abcd\n" * 40, encoding="utf-8")
    text = MODEL.replace("T=4", "n=8").replace("train Bigram:\n", 'train Bigram:\n    data "book.txt"\n    window 7\n')
    text = text.replace("epochs     3", "epochs     20\n    validation 0.2").replace("sgd(lr=1)", "adam(lr=0.5)")
    (tmp_path / "nets" / "m.net").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "nets/m.net"]) == 0
    assert main(["evaluate", "m.netc", "--data", "nets/book.txt"]) == 0
    capsys.readouterr()
    assert main(["sample", "m.netc", "--prompt", "ab", "--length", "8", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "abcd\nabcd\n\n"
    assert main(["evaluate", "m.netc", "--data", "text:abxabcdabcd"]) == 1
    assert "text:1:3" in capsys.readouterr().err


# --- the settings ----------------------------------------------------------------------------------------------------


def section(lines: str) -> str:
    return MODEL.replace("    vocabulary characters\n", "".join(f"    {line}\n" for line in lines.splitlines()))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vocabulary words", Symbols("words")),
        ("vocabulary characters(lowercase=true)", Symbols("characters", lowercase=True)),
        ("vocabulary words(least=2, unknown=true)", Symbols("words", least=2, unknown=True)),
        ("vocabulary words(most=V)", Symbols("words", most=6)),
    ],
)
def test_settings_of_a_vocabulary(line: str, expected: Symbols) -> None:
    recipe = netlang.loads(section(f"{line}\nwindow 4")).model.require_recipe()
    assert recipe.vocabulary == expected
    assert recipe.window == 4


@pytest.mark.parametrize(
    "line",
    [
        "vocabulary letters",
        "vocabulary 3",
        "vocabulary characters, words",
        "vocabulary words(3)",
        "vocabulary words(smallest=3)",
        "vocabulary words(least=0)",
        "vocabulary words(least=true)",
        "vocabulary words(most=1)",
        "vocabulary words(most=2.5)",
        "vocabulary words(unknown=1)",
        "vocabulary words(least=2, least=3)",
        "window 0",
        "window many",
    ],
)
def test_bad_settings_of_a_vocabulary(line: str) -> None:
    with pytest.raises(NetlangError) as error:
        netlang.loads(section(line))
    assert code(error) in ("bad-setting", "repeated-argument", "unknown-name")
    assert error.value.diagnostics[0].span is not None


# --- carried states --------------------------------------------------------------------------------------------------

CARRIED = """
net Carried(V=4, n=3):
    input  text[T]: class(V)
    target next[T]: class(V)
    state  before[n] ~ ones
    param  E[V, n] ~ normal(0, 1), U[n, n] ~ normal(0, 1), W[V, n] ~ normal(0, 1)
    h[t < T] = tanh(U @ (h[t-1] else before) + E[text[t]])
    before <- h[T-1]
    scores[t] = W @ h[t]
    output scores
    loss   nats = mean(t) cross_entropy(scores[t], next[t])

train Carried:
    vocabulary characters
    window     WINDOW
    batch      3
    optimizer  sgd(lr=0.1)
"""


@pytest.mark.parametrize("window", [1, 2, 4, 12])
def test_a_text_in_windows_is_the_text_as_a_whole(window: int) -> None:
    """Three streams of 24 symbols give the same, however long the windows are that they are cut into."""
    text = "".join("abcd"[k] for k in np.random.default_rng(1).integers(0, 4, 3 * 24 + 1))
    whole = netlang.loads(CARRIED.replace("WINDOW", "24"), dtype="float64")
    parts = netlang.loads(CARRIED.replace("WINDOW", str(window)), dtype="float64")
    expected = whole.evaluate({"text": text})["nats"]
    assert parts.evaluate({"text": text})["nats"] == pytest.approx(expected, rel=1e-12)
    other = parts.evaluate({"text": text}, batch=2)["nats"]  # streams with other beginnings
    assert other != pytest.approx(expected, rel=1e-6)
    plain = netlang.loads(CARRIED.replace("WINDOW", str(window)).replace("    before <- h[T-1]\n", ""), dtype="float64")
    assert plain.evaluate({"text": text})["nats"] != pytest.approx(expected, rel=1e-6)


def test_a_state_is_not_carried_through_windows_that_overlap() -> None:
    net = netlang.loads(CARRIED.replace("WINDOW", "4\n    stride 2"))
    for call in (net.fit, net.evaluate):
        with pytest.raises(NetlangError) as error:
            call({"text": "abcd" * 8})
        assert code(error) == "carried-shuffled"


def test_a_resumed_run_on_a_text_ends_like_one_that_was_not_interrupted(tmp_path: Path) -> None:
    text = {"text": "abcd" * 20 + "dcba" * 20}
    whole, first = (netlang.loads(CARRIED.replace("WINDOW", "5")) for _ in range(2))
    whole.fit(text, epochs=3, validation=0.2, progress=False)
    first.fit(text, epochs=1, validation=0.2, progress=False, checkpoint=tmp_path / "c.netc")
    resumed = netlang.load(tmp_path / "c.netc")
    resumed.fit(text, epochs=3, validation=0.2, progress=False, resume=True)
    assert resumed.vocabulary == whole.vocabulary
    assert all((resumed.params[name] == whole.params[name]).all() for name in whole.params)
    assert resumed.history["nats"] == whole.history["nats"]


# --- perplexity ------------------------------------------------------------------------------------------------------

LENGTHS = """
net Padded(V=5):
    input  text[T]: class(V), n: class(T + 1)
    target next[T]: class(V)
    param  W[V, V] ~ normal(0, 1)
    scores[t] = W[text[t]]
    output scores
    loss   nats = mean(t) cross_entropy(scores[t], next[t])
    metric perplexity(scores, next), bits(scores, next), masked = perplexity(scores, next, n)

train Padded:
    optimizer sgd(lr=0.1)
    epochs    1
"""


def test_perplexity_is_that_of_the_whole_data_however_they_are_cut() -> None:
    net = netlang.loads(LENGTHS, dtype="float64")
    random = np.random.default_rng(0)
    data = {
        "text": random.integers(0, 5, (7, 6)),
        "next": random.integers(0, 5, (7, 6)),
        "n": np.array([6, 1, 2, 0, 3, 6, 4]),
    }
    scores = net.forward(text=data["text"])["scores"]
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    nats = -np.log(np.take_along_axis(p, data["next"][..., None], -1)[..., 0])
    inside = np.arange(6) < data["n"][:, None]
    for batch in (1, 3, 7):
        found = net.evaluate(data, batch=batch)
        assert list(found) == ["nats", "perplexity", "bits", "masked"]
        assert found["perplexity"] == pytest.approx(np.exp(nats.mean()), rel=1e-12)
        assert found["bits"] == pytest.approx(nats.mean() / np.log(2), rel=1e-12)
        assert found["masked"] == pytest.approx(np.exp(nats[inside].mean()), rel=1e-12)
    history = net.fit(data, validation=data, progress=False)
    assert history["perplexity"][-1] == pytest.approx(np.exp(history["nats"][-1]), rel=1e-12)
