"""Texts from a net that was trained on texts: it says a symbol, reads it, and says the next.

The scores that the net gives for the next symbol are unnormalized log-probabilities. Symbols that stand for no text are
never said, except the one for the end, after which nothing is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing, nearest
from netlang.graph.integer import integer
from netlang.graph.nodes import Input
from netlang.random import derive_key, uniform
from netlang.runtime.texts import symbol_inputs
from netlang.runtime.vocabulary import Vocabulary

if TYPE_CHECKING:
    from netlang.runtime.net import Net
    from netlang.runtime.stream import Stream

__all__ = ["Sample", "sample"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """A text that a net has said: `text` is that of the numbers `symbols`, without the prompt and the end.

    `log_probability` is that of all symbols said (of the end too, where it `ended`), at temperature 1, in nats, among
    the symbols that can be said.
    """

    text: str
    symbols: tuple[int, ...]
    log_probability: float
    ended: bool


def sample(
    net: Net,
    prompt: str = "",
    *,
    length: int = 200,
    temperature: float | None = None,
    seed: int | None = None,
    beam: int | None = None,
    output: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> list[Sample]:
    """What the net says after the prompt: up to `length` symbols.

    Each symbol is drawn by the net's probabilities to the power of 1 / `temperature` (by default 1), normalized; at
    temperature 0 it is the most probable one. The draws are a function of `seed` (by default the net's). With `beam`
    nothing is drawn: the most probable texts are searched for, keeping so many at each symbol, and given from the most
    to the least probable; otherwise the list has one.

    `output` names the output with the scores, where several could be that. `inputs` has what else the net reads, such
    as the text to translate: a string, or an array for one example. The lengths of strings need not be given.

    After an empty prompt the net says the first symbol where its vocabulary has one for the start of a text; otherwise
    it is drawn by how often each symbol is in the text that the net was trained on. A net that has places for so many
    symbols only, as in a table of positions, forgets where they are used up: it goes on from the last half of them. One
    with a window of fixed length, `text[8]`, that scores the symbol after it goes on from the last ones.

    Raises `NetlangError`: `unknown-symbol` (in the prompt, with its place), `no-vocabulary`, `cannot-sample` (the net
    does not say one symbol after another), `text-length` (the prompt is shorter than a window), `bad-setting`, and what
    `net.stream` raises.
    """
    speaker = _Speaker(net, output, {} if inputs is None else inputs)
    length = _whole("length", length, 0)
    if beam is not None:
        if temperature is not None:
            fail("bad-setting", "a beam search draws nothing, so it has no temperature", help="leave one of them out")
        return speaker.search(prompt, length, _whole("beam", beam, 1))
    warmth: Any = 1.0 if temperature is None else temperature
    if isinstance(warmth, bool) or not isinstance(warmth, int | float) or not 0 <= warmth < math.inf:
        fail("bad-setting", f"the temperature is {warmth!r}", help="give a number from 0 up: `temperature=0.8`")
    key = derive_key(net.seed if seed is None else _whole("seed", seed, 0), "sample")
    return [speaker.say(prompt, length, float(warmth), key)]


class _Speaker:
    """A net that says symbols: which input reads them, and which output has the scores of what comes next."""

    def __init__(self, net: Net, output: str | None, inputs: Mapping[str, Any]) -> None:
        if net.vocabulary is None:
            fail(
                "no-vocabulary",
                f"`{net.name}` has no vocabulary, so its numbers stand for no symbols",
                help="train it on texts, with `vocabulary characters` in the `train` section",
            )
        self.net = net
        self.vocabulary: Vocabulary = net.vocabulary
        self.output, self.reader = self._roles(output)
        self.inputs = self._encoded(inputs)
        silent = (self.vocabulary.unknown, self.vocabulary.start)
        self.sayable = np.array([k not in silent for k in range(len(self.vocabulary))])

    def say(self, prompt: str, length: int, temperature: float, key: int) -> Sample:
        reading, scores = self._begin(prompt)
        symbols: list[int] = []
        total, ended = 0.0, False
        for k in range(length):
            symbol = _drawn(scores[0], temperature, float(uniform(key, [k])[0]))
            total += float(scores[0, symbol])
            ended = symbol == self.vocabulary.end
            if ended:
                break
            symbols.append(symbol)
            if k + 1 < length:
                scores = reading.read([symbol])
        return self._sample(symbols, total, ended)

    def search(self, prompt: str, length: int, beam: int) -> list[Sample]:
        reading, scores = self._begin(prompt)
        said: list[list[int]] = [[]]
        totals = np.zeros(1)
        finished: list[Sample] = []
        for k in range(length):
            candidates = totals[:, None] + scores
            parents: list[int] = []
            symbols: list[int] = []
            for place in np.argsort(-candidates, axis=None, kind="stable").tolist():
                parent, symbol = divmod(place, candidates.shape[1])
                if len(parents) == beam or candidates[parent, symbol] == -np.inf:
                    break
                if symbol == self.vocabulary.end:
                    finished.append(self._sample(said[parent], float(candidates[parent, symbol]), True))
                else:
                    parents.append(parent)
                    symbols.append(symbol)
            said = [[*said[p], s] for p, s in zip(parents, symbols, strict=True)]
            totals = candidates[parents, symbols]
            finished = _best(finished, beam)
            beaten = len(finished) == beam and (not said or finished[-1].log_probability >= totals[0])
            if not said or beaten or k + 1 == length:
                break
            reading.select(parents)
            scores = reading.read(symbols)
        return _best([*finished, *(self._sample(s, float(t), False) for s, t in zip(said, totals, strict=True))], beam)

    # --- inside ---

    def _roles(self, wanted: str | None) -> tuple[str, Input]:
        """The output with scores and the input of symbols that it goes on from.

        They are `y[T, V]` over the places of `x[T]`, or `y[V]` for what comes after the window `x[8]`.
        """
        graph = self.net.graph
        found: dict[str, Input] = {}
        for name, node in graph.outputs.items():
            *places, symbols = graph[node].shape or (integer(0),)
            if len(places) > 1 or not symbols.is_constant or symbols.constant < len(self.vocabulary):
                continue
            read = [t for t in symbol_inputs(self.net.inputs) if list(t.shape) == places and not places[0].is_constant]
            if not places:
                read = [t for t in symbol_inputs(self.net.inputs) if t.shape[0].is_constant and t.classes == symbols]
            if len(read) == 1:
                found[name] = read[0]
        if wanted is None and len(found) == 1:
            return next(iter(found.items()))
        if wanted in found:
            return str(wanted), found[str(wanted)]
        if found:
            self._cannot(
                f"the scores may be in {listing(found)}" if wanted is None else f"there are no scores in `{wanted}`",
                f"say which output has them: `output={next(iter(found))!r}`",
            )
        self._cannot(
            "no output has scores for the symbol after each place of a text, or after a window",
            f"declare `input text[T]: class(V)` and `output scores`, of shape [T, V], with V of at least "
            f"{len(self.vocabulary)}",
        )

    def _encoded(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The other inputs, texts as numbers and with their lengths."""
        others = {n.name: n for n in self.net.inputs if n != self.reader}
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name not in others:
                fail(
                    "input-unknown",
                    f"`{self.net.name}` has no input `{name}` besides what it says",
                    help=nearest(name, others) or (f"it has {listing(others)}" if others else "leave it out"),
                )
            found[name] = self.vocabulary.encode(value, f"`{name}`") if isinstance(value, str) else value
            if isinstance(value, str) and len(others[name].shape) == 1:
                extent = others[name].shape[0] + 1
                counts = [
                    n.name for n in others.values() if n.classes == extent and not n.shape and n.name not in given
                ]
                found |= dict.fromkeys(counts, len(found[name]))
        return found

    def _begin(self, prompt: str) -> tuple[_Reading | _Window, Floats]:
        """The net behind the prompt, and the log-probabilities of the next symbol."""
        numbers = self.vocabulary.encode(prompt, "the prompt").tolist()
        if self.vocabulary.start is not None:
            numbers.insert(0, self.vocabulary.start)
        extent = self.reader.shape[0]
        reading: _Reading | _Window
        if extent.is_constant:
            reading = _Window(self)
            if len(numbers) < extent.constant:
                fail(
                    "text-length",
                    f"the prompt has {len(numbers)} symbols, and `{self.net.name}` goes on from the last {extent}",
                    help="give a longer prompt",
                )
        else:
            reading = _Reading(self, self.net.stream(over=str(extent), **self.inputs))
        if not numbers:
            return reading, self.normalized(np.log(np.maximum(self.vocabulary.counts, 1e-300))[None])
        scores = np.zeros((1, 0))
        for number in numbers:
            scores = reading.read([number])
        return reading, scores

    def normalized(self, given: npt.NDArray[Any]) -> Floats:
        """Log-probabilities `[batch, symbols]` of what can be said, from scores."""
        scores = given.astype(np.float64)
        if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-4):
            self._cannot(
                f"`{self.output}` has probabilities, where scores are wanted",
                "output what the softmax is applied to",
            )
        allowed = np.where(self.sayable, scores[:, : len(self.sayable)], -np.inf)
        if not np.isfinite(allowed[:, self.sayable]).all():
            fail(
                "not-finite",
                f"the scores of `{self.net.name}` for the next symbol are not finite",
                help="train it with a lower learning rate or `clip 1`",
            )
        shifted = allowed - allowed.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

    def _sample(self, symbols: Sequence[int], total: float, ended: bool) -> Sample:
        return Sample(self.vocabulary.decode(np.array(symbols, np.int64)), tuple(symbols), total, ended)

    def _cannot(self, why: str, help: str) -> NoReturn:
        fail(
            "cannot-sample",
            f"`{self.net.name}` does not say one symbol after another: {why}",
            self.net.model.net.name.span,
            help=help,
        )


class _Reading:
    """What the net has read, for each of the texts that are said side by side."""

    def __init__(self, speaker: _Speaker, stream: Stream) -> None:
        self.speaker, self.stream = speaker, stream
        self.past: list[npt.NDArray[np.int64]] = []  # where the net may have to read it again

    def read(self, symbols: Sequence[int]) -> Floats:
        """Read one more symbol of each text; returns the log-probabilities of the next ones."""
        limit, speaker = self.stream.limit, self.speaker
        if limit is not None:
            if self.stream.length == limit:
                self.stream.reset()
                self.past = self.past[len(self.past) - limit // 2 :]
                for earlier in self.past:
                    self.stream.step(**{speaker.reader.name: earlier})
            self.past.append(np.array(symbols))
        outputs = self.stream.step(**{speaker.reader.name: np.array(symbols)})
        return speaker.normalized(outputs[speaker.output].reshape(len(symbols), -1))

    def select(self, rows: Sequence[int]) -> None:
        """Text k goes on from what text `rows[k]` was."""
        self.stream.select(rows)
        self.past = [symbols[list(rows)] for symbols in self.past]


class _Window:
    """The last symbols of each text, for a net that reads so many of them."""

    def __init__(self, speaker: _Speaker) -> None:
        self.speaker = speaker
        self.past = np.zeros((1, 0), np.int64)

    def read(self, symbols: Sequence[int]) -> Floats:
        """As `_Reading.read`; there are no log-probabilities before the window is full."""
        speaker, length = self.speaker, self.speaker.reader.shape[0].constant
        self.past = np.column_stack([self.past, symbols])[:, -length:]
        if self.past.shape[1] < length:
            return np.zeros((1, 0))
        others = {name: np.stack([np.asarray(value)] * len(symbols)) for name, value in speaker.inputs.items()}
        outputs = speaker.net.forward(**others, **{speaker.reader.name: self.past})
        return speaker.normalized(outputs[speaker.output])

    def select(self, rows: Sequence[int]) -> None:
        self.past = self.past[list(rows)]


def _drawn(scores: Floats, temperature: float, number: float) -> int:
    """The symbol where the cumulated probabilities pass a number from 0 to 1; at temperature 0 the most probable."""
    if temperature == 0:
        return int(scores.argmax())
    with np.errstate(over="ignore"):
        cumulated = np.cumsum(np.exp((scores - scores.max()) / temperature))
    return int(np.searchsorted(cumulated, number * cumulated[-1], side="right"))


def _best(samples: list[Sample], count: int) -> list[Sample]:
    return sorted(samples, key=lambda s: -s.log_probability)[:count]


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        fail("bad-setting", f"`{name}` is {value!r}", help=f"give a whole number from {least} up: `{name}={least + 9}`")
    return int(value)
