"""Trains `seq2seq.net` to reverse digit strings or to add numbers, and counts right answers to unseen questions.

python examples/seq2seq.py reverse
python examples/seq2seq.py add
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import netlang

SYMBOLS = "0123456789+."
END = len(SYMBOLS) - 1

Array = NDArray[Any]


def questions(task: str, count: int, random: np.random.Generator) -> list[tuple[str, str]]:
    """Different questions with their answers."""
    found: dict[str, str] = {}
    while len(found) < count:
        if task == "reverse":
            text = "".join(random.choice(list("0123456789"), random.integers(1, 9)))
            found[text] = text[::-1]
        else:
            a, b = random.integers(0, 10 ** random.integers(1, 4, 2))
            found[f"{a}+{b}"] = str(a + b)
    return list(found.items())


def rows(texts: Sequence[str]) -> tuple[Array, Array]:
    """The texts as numbers, filled up to the longest, and their lengths."""
    lengths = np.array([len(text) for text in texts])
    filled = np.full((len(texts), lengths.max()), END)
    for row, text in zip(filled, texts, strict=True):
        row[: len(text)] = [SYMBOLS.index(symbol) for symbol in text]
    return filled, lengths


def arrays(pairs: Sequence[tuple[str, str]]) -> dict[str, Array]:
    """What the net takes: the decoder is shown the right answer, one symbol late (teacher forcing)."""
    source, length = rows([question for question, _ in pairs])
    after, count = rows([answer + "." for _, answer in pairs])
    before = np.concatenate([np.full((len(pairs), 1), END), after[:, :-1]], axis=1)
    return {"source": source, "length": length, "before": before, "after": after, "count": count}


def answers(net: Any, texts: Sequence[str], longest: int = 12) -> list[str]:
    """What the net writes by itself: each symbol is the likeliest after those that it has written."""
    source, length = rows(texts)
    written = np.full((len(texts), 1), END)
    for _ in range(longest):
        scores = net.forward(source=source, length=length, before=written)["scores"]
        written = np.concatenate([written, scores[:, -1:].argmax(axis=-1)], axis=1)
    return ["".join(SYMBOLS[k] for k in row[1:]).partition(".")[0] for row in written]


def right(net: Any, pairs: Sequence[tuple[str, str]]) -> float:
    """The fraction of questions that get their answer, to the last symbol."""
    given = answers(net, [question for question, _ in pairs])
    return float(np.mean([answer == expected for answer, (_, expected) in zip(given, pairs, strict=True)]))


def main(task: str = "reverse") -> None:
    count, epochs = {"reverse": (6_000, 4), "add": (41_000, 12)}[task]
    pairs = questions(task, count, np.random.default_rng(0))
    seen, unseen = pairs[:-1000], pairs[-1000:]
    net = netlang.load(Path(__file__).with_name("seq2seq.net"))
    net.fit(arrays(seen), validation=arrays(unseen), epochs=epochs)
    examples = [question for question, _ in unseen[:5]]
    print(
        *(f"{question} -> {answer}" for question, answer in zip(examples, answers(net, examples), strict=True)),
        sep="\n",
    )
    print(f"{right(net, unseen):.1%} of {len(unseen)} questions not seen before are answered right")


if __name__ == "__main__":
    main(*sys.argv[1:])
