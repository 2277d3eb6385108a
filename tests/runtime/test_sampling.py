"""Texts that nets say: drawn by their probabilities, the most probable ones, and what is said of what cannot be."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netlang
from netlang.cli import main
from netlang.diagnostics import Diagnostic, NetlangError
from netlang.runtime.net import Net
from netlang.runtime.sampling import Sample, sample
from netlang.runtime.vocabulary import Vocabulary

BIGRAM = """
net Bigram(V=4):
    input  text[T]: class(V)
    target next[T]: class(V)
    param  W[V, V] ~ normal(0, 1)
    scores[t] = W[text[t]]
    output scores
    loss   mean(t) cross_entropy(scores[t], next[t])
"""

# what it says next depends on all that was said before
MEMORY = """
net Memory(V=5, n=3):
    input  text[T]: class(V)
    param  E[V, n] ~ normal(0, 1), U[n, n] ~ normal(0, 1), W[V, n] ~ normal(0, 2)
    h[t < T] = tanh(U @ (h[t-1] else 0) + E[text[t]])
    scores[t] = W @ h[t]
    output scores
"""

PLACES = """
net Places(V=4, L=6):
    input  text[T]: class(V)
    param  W[V, V] ~ normal(0, 2), P[L, V] ~ normal(0, 2)
    require T <= L, "there are {L} places"
    scores[t < T, v] = sum(s < T) (W[text[s], v] * (s + 1) if s <= t else 0) + P[t, v]
    output scores
"""


def speaking(text: str, symbols: str = "abcd", *, seed: int = 0, **options: Any) -> Net:
    net = netlang.loads(text, seed=seed, dtype="float64", **options)
    net.vocabulary = Vocabulary("characters", tuple(symbols), tuple(range(len(symbols), 0, -1)))
    return net


def log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(scores - np.log(np.exp(scores).sum(-1, keepdims=True)))


def said(net: Net, prompt: Sequence[int], symbols: Sequence[int], allowed: Sequence[int]) -> float:
    """The log-probability of symbols after a prompt, from one call of the net."""
    scores = net.forward(text=[*prompt, *symbols])["scores"][len(prompt) - 1 :]
    masked = np.full_like(scores, -np.inf)
    masked[:, allowed] = scores[:, allowed]
    return float(sum(log_softmax(masked)[k, s] for k, s in enumerate(symbols)))


def refusal(net: Net, *arguments: Any, **options: Any) -> Diagnostic:
    with pytest.raises(NetlangError) as error:
        sample(net, *arguments, **options)
    [found] = error.value.diagnostics
    assert found.help
    return found


# --- draws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_symbols_are_drawn_by_their_probabilities(temperature: float) -> None:
    net = speaking(BIGRAM)
    net.params["W"] = np.tile([0.0, 1.0, -1.0, 0.5], (4, 1))
    [found] = sample(net, "a", length=4000, temperature=temperature, seed=1)
    expected = np.exp(log_softmax(net.params["W"][0] / temperature))
    measured = np.bincount(found.symbols, minlength=4) / 4000
    assert np.abs(measured - expected).max() < 4 * math.sqrt(0.25 / 4000)


def test_a_seed_decides_and_the_rest_of_a_text_does_not_change_its_beginning() -> None:
    net = speaking(MEMORY, "abcde")
    texts = [net.sample("ab", length=40, seed=seed) for seed in range(5)]
    assert texts == [net.sample("ab", length=40, seed=seed) for seed in range(5)]
    assert len(set(texts)) == 5
    assert net.sample("ab", length=10, seed=3) == texts[3][:10]
    assert net.sample("ab", length=40) == net.sample("ab", length=40, seed=net.seed)


def test_at_temperature_zero_the_most_probable_symbol_is_said() -> None:
    net = speaking(MEMORY, "abcde")
    text = "ab"
    for _ in range(12):
        scores = net.forward(text=net.vocabulary.encode(text))["scores"]  # type: ignore[union-attr]
        text += "abcde"[int(scores[-1].argmax())]
    assert net.sample("ab", length=12, temperature=0) == text[2:]
    assert net.sample("ab", length=12, temperature=1e-9) == text[2:]
    assert net.sample("ab", length=12, beam=1) == text[2:]


def test_the_log_probability_is_that_of_one_call() -> None:
    net = speaking(MEMORY, "abcd")  # one class more than there are symbols
    for options in ({"seed": 4}, {"temperature": 3.0}, {"beam": 3}):
        for found in sample(net, "bad", length=7, **options):
            assert len(found.text) == 7
            expected = said(net, [1, 0, 3], found.symbols, range(4))
            assert found.log_probability == pytest.approx(expected, rel=1e-9)


def test_lengths_of_none_and_one() -> None:
    net = speaking(MEMORY, "abcde")
    assert sample(net, "ab", length=0) == [Sample("", (), 0.0, False)]
    assert sample(net, "ab", length=0, beam=3) == [Sample("", (), 0.0, False)]
    assert net.sample("ab", length=1) == net.sample("ab", length=9)[0]
    assert len(sample(net, "ab", length=1, beam=9)) == 5


def test_words_are_joined_by_spaces() -> None:
    net = speaking(BIGRAM)
    net.vocabulary = Vocabulary("words", ("to", "be", "or", "not"), (1, 1, 1, 1))
    net.params["W"] = 50 * np.eye(4)[[1, 2, 3, 0]]
    assert net.sample("to be", length=4) == "or not to be"


# --- beginnings ------------------------------------------------------------------------------------------------------


def test_without_a_prompt_the_first_symbol_is_as_frequent_as_in_the_text() -> None:
    net = speaking(BIGRAM)  # counts 4, 3, 2, 1
    first = [sample(net, "", length=1, seed=seed)[0] for seed in range(400)]
    measured = np.bincount([s.symbols[0] for s in first], minlength=4) / 400
    assert np.abs(measured - [0.4, 0.3, 0.2, 0.1]).max() < 0.08
    assert first[0].log_probability == pytest.approx(math.log((4 - first[0].symbols[0]) / 10))
    assert net.sample("", length=1, temperature=0) == "a"


def test_with_a_symbol_for_the_start_the_net_says_the_first() -> None:
    net = speaking(BIGRAM, "\x02\x03ab")
    net.params["W"] = [[0, 0, 0, 50], [0] * 4, [0, 50, 0, 0], [0, 0, 50, 0]]  # start, b, a, end
    assert sample(net, "", length=9) == [Sample("ba", (3, 2), pytest.approx(0, abs=1e-9), True)]
    assert sample(net, "", length=2)[0].ended is False
    assert sample(net, "b", length=9)[0].text == "a"
    assert sample(net, "", length=9, beam=2)[0] == Sample("ba", (3, 2), pytest.approx(0, abs=1e-9), True)


def test_unknown_symbols_and_starts_are_never_said() -> None:
    net = speaking(BIGRAM, "\ufffd\x02ab")
    net.params["W"] = np.tile([50.0, 50.0, 0.0, 0.0], (4, 1))
    assert set(net.sample("?", length=50)) == {"a", "b"}


def test_a_prompt_with_an_unknown_symbol() -> None:
    found = refusal(speaking(MEMORY, "abcd"), "ab\nc")
    assert (found.code, found.place) == ("unknown-symbol", "the prompt:1:3")


# --- beams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbols", ["abc", "\x02\x03abc"])
def test_a_wide_beam_finds_the_most_probable_texts(symbols: str) -> None:
    for seed in range(4):
        net = speaking(MEMORY, symbols, seed=seed)
        ended = "\x03" in symbols
        prompt = [0, symbols.index("a")] if ended else [0]
        letters = [k for k, s in enumerate(symbols) if s.isalpha()]
        allowed = [*letters, 1] if ended else letters
        texts = [t for n in range(4) for t in itertools.product(letters, repeat=n) if n == 3 or ended]
        scored = {(t, len(t) < 3): said(net, prompt, [*t, 1] if len(t) < 3 else t, allowed) for t in texts}
        best = sorted(scored, key=lambda key: -scored[key])[:5]
        found = sample(net, "a", length=3, beam=200)
        assert [(s.symbols, s.ended) for s in found[:5]] == best
        assert [s.log_probability for s in found[:5]] == pytest.approx([scored[key] for key in best])
        narrow = sample(net, "a", length=3, beam=2)
        assert len(narrow) == 2
        assert narrow[0].log_probability <= found[0].log_probability + 1e-12


# --- tables of positions ---------------------------------------------------------------------------------------------


def test_a_net_with_so_many_places_goes_on_from_the_last_half() -> None:
    net = speaking(PLACES)
    context, text = [1, 0], []
    for _ in range(20):
        if len(context) > 6:
            context = [*context[-4:-1], context[-1]]
        scores = net.forward(text=context)["scores"]
        text.append(int(scores[-1].argmax()))
        context.append(text[-1])
    assert sample(net, "ba", length=20, temperature=0)[0].symbols == tuple(text)
    assert sample(net, "ba", length=20, beam=1)[0].symbols == tuple(text)
    assert len(net.sample("abcdabcdabcd", length=5)) == 5
    assert [len(s.text) for s in sample(net, "ba", length=20, beam=3)] == [20, 20, 20]
    assert len(speaking(PLACES, L=1).sample("ba", length=5)) == 5


# --- windows ---------------------------------------------------------------------------------------------------------

WINDOW = """
net Window(V=4, N=3):
    input  text[N]: class(V), shift
    target next: class(V)
    param  W[N, V, V] ~ normal(0, 1)
    scores[v] = sum(k < N) W[k, text[k], v] + (shift if v == 0 else 0)
    output scores
"""


def test_a_net_with_a_window_goes_on_from_the_last_symbols() -> None:
    net = speaking(WINDOW)
    context: list[int] = [3, 1, 0, 2]
    for _ in range(9):
        context.append(int(net.forward(text=context[-3:], shift=-1)["scores"].argmax()))
    given = {"inputs": {"shift": -1}}
    assert sample(net, "dbac", length=9, temperature=0, **given)[0].symbols == tuple(context[4:])
    assert sample(net, "dbac", length=9, beam=1, **given)[0].symbols == tuple(context[4:])
    texts = list(itertools.product(range(4), repeat=2))
    scored = {
        (a, b): log_softmax(net.forward(text=[1, 0, 2], shift=-1)["scores"])[a]
        + log_softmax(net.forward(text=[0, 2, a], shift=-1)["scores"])[b]
        for a, b in texts
    }
    found = sample(net, "bac", length=2, beam=99, **given)
    assert [s.symbols for s in found] == sorted(scored, key=lambda t: -scored[t])
    assert [s.log_probability for s in found] == pytest.approx(sorted(scored.values(), reverse=True))
    assert refusal(net, "ab", **given).code == "text-length"
    assert refusal(net, "abc").code == "input-missing"


# --- other inputs ----------------------------------------------------------------------------------------------------

REPLY = """
net Reply(V=6):
    input  source[S]: class(V), n: class(S + 1), given[T]: class(V)
    param  W[V, V] ~ zeros
    last = sum(s) (source[s] if s == n - 1 else 0)
    scores[t, v] = (50 if v == last else 0) if t == 0 else (50 if v == 1 else 0) + W[given[t], v]
    output scores
"""


def test_other_texts_that_the_net_reads() -> None:
    net = speaking(REPLY, "\x02\x03abcd")
    assert sample(net, inputs={"source": "abd"})[0].text == "d"
    assert sample(net, inputs={"source": [2, 3], "n": 1})[0].text == "a"
    assert sample(net, inputs={"source": "abd"}, beam=2)[0].text == "d"
    assert refusal(net, inputs={"sauce": "a"}).code == "input-unknown"
    assert refusal(net, inputs={"given": "a"}).code == "input-unknown"
    assert refusal(net, inputs={"source": "xyz"}).place == "`source`:1:1"
    assert refusal(net).code == "input-missing"


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"length": -1},
        {"length": 2.5},
        {"length": True},
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "hot"},
        {"beam": 0},
        {"beam": 2, "temperature": 1.0},
        {"seed": -1},
        {"seed": 0.5},
    ],
)
def test_bad_settings(options: dict[str, Any]) -> None:
    assert refusal(speaking(BIGRAM), "a", **options).code == "bad-setting"


def test_nets_that_do_not_say_symbols() -> None:
    assert refusal(netlang.loads(BIGRAM), "a").code == "no-vocabulary"
    two = BIGRAM.replace("output scores", "output scores, more = 2 * scores")
    assert refusal(speaking(two), "a").code == "cannot-sample"
    assert sample(speaking(two), "a", length=9, output="scores") == sample(speaking(BIGRAM), "a", length=9)
    assert refusal(speaking(two), "a", output="score").code == "cannot-sample"
    assert refusal(speaking(BIGRAM.replace("output scores", "output scores[0]")), "a").code == "cannot-sample"
    assert refusal(speaking(BIGRAM.replace("output scores", "output scores[0, 0]")), "a").code == "cannot-sample"
    assert refusal(speaking(BIGRAM.replace("[T]", "[3]")), "a").code == "cannot-sample"
    chances = BIGRAM.replace("output scores", "p[t] = softmax(scores[t])\n    output p")
    found = refusal(speaking(chances), "a")
    assert found.code == "cannot-sample"
    assert "probabilities" in found.message
    backwards = BIGRAM.replace("W[text[t]]", "W[text[T - 1 - t]]").replace("scores[t]", "scores[t < T]", 1)
    assert refusal(speaking(backwards), "a").code == "not-causal"


def test_scores_that_are_not_finite() -> None:
    net = speaking(BIGRAM)
    net.params["W"] = np.full((4, 4), np.nan)
    assert refusal(net, "a").code == "not-finite"


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = speaking(MEMORY, "abcde")
    path = str(tmp_path / "m.netc")
    net.save(path)
    assert main(["sample", path, "--prompt", "ab", "--length", "5", "--seed", "3", "--temperature", "0.5"]) == 0
    assert capsys.readouterr().out == "ab" + net.sample("ab", length=5, seed=3, temperature=0.5) + "\n"
    assert main(["sample", path, "--prompt", "ab", "--length", "5", "--beam", "2", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [s["text"] for s in shown["samples"]] == [s.text for s in sample(net, "ab", length=5, beam=2)]
    assert main(["sample", path, "--prompt", "abx"]) == 1
    assert "unknown-symbol" in capsys.readouterr().err
    assert main(["sample", str(tmp_path / "m.net")]) == 1
    assert "file-not-found" in capsys.readouterr().err
    assert main(["sample", path, "--input", "source"]) == 1
    assert "bad-setting-value" in capsys.readouterr().err


def test_a_sentence_of_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = speaking(BIGRAM)
    net.vocabulary = Vocabulary("words", ("to", "be", "or", "not"), (1, 1, 1, 1))
    net.params["W"] = 50 * np.eye(4)[[1, 2, 3, 0]]
    net.save(tmp_path / "m.netc")
    assert main(["sample", str(tmp_path / "m.netc"), "--prompt", "to be", "--length", "2"]) == 0
    assert capsys.readouterr().out == "to be or not\n"
