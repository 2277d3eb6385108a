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

import netlang


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


def texts(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """What the net trains on. The decoder is shown the right answer, one symbol late: `before` is made of `after`."""
    return {"source": [question for question, _ in pairs], "after": [answer for _, answer in pairs]}


def answer(net: Any, question: str) -> str:
    """What the net writes by itself: each symbol is the likeliest after those that it has written."""
    return str(net.sample(inputs={"source": question}, length=12, temperature=0))


def right(net: Any, pairs: Sequence[tuple[str, str]]) -> float:
    """The fraction of questions that get their answer, to the last symbol."""
    return sum(answer(net, question) == expected for question, expected in pairs) / len(pairs)


def main(task: str = "reverse") -> None:
    count, epochs = {"reverse": (6_000, 4), "add": (41_000, 12)}[task]
    pairs = questions(task, count, np.random.default_rng(0))
    seen, unseen = pairs[:-1000], pairs[-1000:]
    net = netlang.load(Path(__file__).with_name("seq2seq.net"))
    net.fit(texts(seen), validation=texts(unseen), epochs=epochs)
    for question, _ in unseen[:5]:
        print(f"{question} -> {answer(net, question)}")
    print(f"{right(net, unseen):.1%} of {len(unseen)} questions not seen before are answered right")


if __name__ == "__main__":
    main(*sys.argv[1:])
