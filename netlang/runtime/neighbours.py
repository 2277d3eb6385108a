"""Which words a net takes for similar: the nearest rows of its table of word vectors, and analogies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing, nearest
from netlang.graph.integer import Fetch
from netlang.graph.nodes import Equation, Input, Param
from netlang.graph.traversal import tensor_reads
from netlang.runtime.vocabulary import END, START, UNKNOWN, Vocabulary

if TYPE_CHECKING:
    from netlang.runtime.net import Net

__all__ = ["Neighbour", "neighbours", "questions"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Neighbour:
    """A symbol, and the cosine of its vector with that of the question, from -1 to 1."""

    symbol: str
    cosine: float


def neighbours(net: Net, question: str, *, count: int = 10, table: str | None = None) -> list[Neighbour]:
    """The symbols whose vectors are nearest to the question's by the cosine, the nearest first.

    The question is a symbol, or several with `+` and `-` between them: "king - man + woman" asks for the vector of king
    less that of man and with that of woman, each brought to length 1 (Mikolov et al., 2013). The answer has none of the
    question's symbols, nor those that stand for what is no text. `table` names the parameter whose row k is the vector
    of symbol k; without it, the one from which the net's outputs look symbols up.

    Raises `NetlangError`: `bad-question`, `unknown-symbol`, `no-word-vectors`, `no-vocabulary`, `bad-setting`.
    """
    given: object = count
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
        fail("bad-setting", f"`count` is {given!r}", help="give a whole number from 1 up: `count=10`")
    asked = questions(question.split())
    if len(asked) != 1:
        _unclear(question)
    vocabulary = net.vocabulary
    if vocabulary is None:
        fail(
            "no-vocabulary",
            f"`{net.name}` has no vocabulary, so that its vectors have no names",
            help="train it on a text first, with a `vocabulary` line in its `train` section",
        )
    terms = [(sign, _number(word, vocabulary)) for sign, word in asked[0]]
    vectors = _vectors(net, vocabulary, table)
    wanted = sum((sign * vectors[k] for sign, k in terms), np.zeros(vectors.shape[1]))
    cosines = vectors @ _unit(wanted)
    left_out = {k for _, k in terms} | {vocabulary.numbers[s] for s in (UNKNOWN, START, END) if s in vocabulary.numbers}
    found = [int(k) for k in np.argsort(-cosines, kind="stable") if int(k) not in left_out]
    return [Neighbour(vocabulary.symbols[k], float(cosines[k])) for k in found[:count]]


def questions(words: Sequence[str]) -> list[list[tuple[int, str]]]:
    """Words as questions, each a list of signs and symbols: `a b - c + d` asks for a, and for b - c + d.

    A `+` or `-` between two words joins them; elsewhere it is a symbol as any other. Raises `NetlangError`
    (`bad-question`) where there are no words.
    """
    if not words:
        _unclear("")
    out: list[list[tuple[int, str]]] = []
    sign, joined = 1, False
    for k, word in enumerate(words):
        if word in ("+", "-") and out and not joined and k + 1 < len(words):
            sign, joined = (1 if word == "+" else -1), True
        elif joined:
            out[-1].append((sign, word))
            joined = False
        else:
            out.append([(1, word)])
    return out


def _unclear(question: str) -> NoReturn:
    fail(
        "bad-question",
        f"`{question}` is not one question" if question else "there is no word to find neighbours of",
        help='give a word, or words with `+` and `-` between them: "king - man + woman"',
    )


def _number(word: str, vocabulary: Vocabulary) -> int:
    word = word.lower() if vocabulary.lowercase else word
    if word not in vocabulary.numbers:
        fail(
            "unknown-symbol",
            f"the {vocabulary.unit.removesuffix('s')} `{word}` is not in the vocabulary",
            notes=[f"the vocabulary has {vocabulary.describe()}"],
            help=nearest(word, vocabulary.symbols) or "ask for one that the net was trained on often enough",
        )
    return vocabulary.numbers[word]


def _vectors(net: Net, vocabulary: Vocabulary, table: str | None) -> Array:
    """The vectors of all symbols, `[symbols, n]` in float64, each of length 1 (or zero, if it is)."""
    fits = {p.name: p for p in net.graph.params if len(p.shape) == 2 and p.shape[0].constant >= len(vocabulary)}
    looked_up = [name for name in fits if name in _looked_up(net)]
    if table is None and len(looked_up) == 1:
        table = looked_up[0]
    if table not in fits:
        known = looked_up if table is None and looked_up else list(fits)
        fail(
            "no-word-vectors",
            f"`{table}` is no parameter with a row for each symbol"
            if table is not None
            else f"nothing says which parameter of `{net.name}` has the vectors of its symbols",
            help=f"name one: {listing(known)}"
            if known
            else f"they are a parameter [V, n] with V of at least {len(vocabulary)}, `param E[V, n]`",
        )
    return _unit(net.params[table][: len(vocabulary)].astype(np.float64))


def _looked_up(net: Net) -> set[str]:
    """Parameters that the outputs depend on and that are read at a row which a symbol of an input says."""
    graph = net.graph
    needed = graph.ancestors(graph.outputs.values())
    symbols = {n.name for n in graph if isinstance(n, Input) and n.per_example and n.classes is not None}
    return {
        tensor
        for node in graph
        if isinstance(node, Equation) and node.name in needed
        for tensor, indices in tensor_reads(node.body)
        if isinstance(graph[tensor], Param)
        and any(isinstance(atom, Fetch) and atom.tensor in symbols for atom in indices[0].atoms())
    }


def _unit(vectors: Array) -> Array:
    length = np.sqrt(np.sum(vectors * vectors, axis=-1, keepdims=True))
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0))
