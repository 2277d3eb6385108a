"""The tables of a vocabulary that nets read: counts, and the ways down a Huffman tree of the symbols."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail
from netlang.graph.nodes import Input

if TYPE_CHECKING:
    from netlang.runtime.vocabulary import Vocabulary

__all__ = ["huffman", "symbol_tables"]

Array = npt.NDArray[Any]


def symbol_tables(nodes: Iterable[Input], vocabulary: Vocabulary | None, dtype: npt.DTypeLike) -> dict[str, Array]:
    """The values of the tables among the inputs of a net, reals in `dtype`; without a vocabulary all symbols count 1.

    Symbols that the net could tell apart and the vocabulary has not count 0 and have no code.

    Raises `NetlangError`: `vocabulary-size` (the vocabulary has more symbols), `code-length` (a code is longer).
    """
    found: dict[str, Array] = {}
    codes: dict[int, tuple[Array, Array]] = {}
    for node in nodes:
        table, symbols = node.name.partition(".")[0], node.shape[0].constant
        counts = (1,) * symbols if vocabulary is None else vocabulary.counts
        if len(counts) > symbols:
            fail(
                "vocabulary-size",
                f"`{table}` is for {symbols} symbols, the vocabulary has {len(counts)}",
                node.origin.span,
                help=f"tell {len(counts)} symbols apart, or keep fewer: `vocabulary words(most={symbols})`",
            )
        if table == "symbol_counts":
            found[node.name] = np.zeros(symbols, dtype)
            found[node.name][: len(counts)] = counts
            continue
        if symbols not in codes:
            codes[symbols] = huffman(counts)
        inner, turns = codes[symbols]
        depth = node.shape[1].constant
        if turns.shape[1] > depth:
            fail(
                "code-length",
                f"the longest code of the {len(counts)} symbols has {turns.shape[1]} turns, "
                f"`{table}({symbols}, {depth})` has room for {depth}",
                help=f"write `{table}({symbols}, {turns.shape[1]})`, or keep fewer symbols",
            )
        values = inner if table == "symbol_nodes" else turns
        padded = np.zeros((symbols, depth), np.int64 if table == "symbol_nodes" else dtype)
        padded[: len(values), : values.shape[1]] = values
        found[node.name] = padded
    return found


def huffman(counts: Sequence[int]) -> tuple[Array, Array]:
    """The Huffman code (1952) of symbols that occur `counts` times: `inner` and `turns`, both [symbols, longest code].

    Row k has the inner nodes of the tree on the way from its root, number 0, to symbol k, and at each the turn: 1 to
    the side that is rarer, -1 to the other; both are 0 behind the end of the code. Of equal counts the symbols come
    before the inner nodes, which keeps the longest code as short as it can be.
    """
    symbols = len(counts)
    nodes = 2 * symbols - 1
    parent, turn = np.full(nodes, -1), np.zeros(nodes, np.int8)
    heap = [(count, k) for k, count in enumerate(counts)]
    heapq.heapify(heap)
    for made in range(symbols, nodes):
        (few, rarer), (many, other) = heapq.heappop(heap), heapq.heappop(heap)
        parent[[rarer, other]] = made
        turn[[rarer, other]] = 1, -1
        heapq.heappush(heap, (few + many, made))
    # from every symbol up to the root at once; the root's number is the largest, and becomes 0
    at = np.arange(symbols)
    inner, turns = [], []
    while (parent[at] >= 0).any():
        moving = parent[at] >= 0
        turns.append(np.where(moving, turn[at], 0))
        at = np.where(moving, parent[at], at)
        inner.append(np.where(moving, nodes - 1 - at, 0))
    if not turns:
        return np.zeros((symbols, 0), np.int64), np.zeros((symbols, 0), np.int8)
    upwards = np.stack(turns, axis=1)
    depth = np.count_nonzero(upwards, axis=1)
    order = np.maximum(depth[:, None] - 1 - np.arange(len(turns)), 0)
    there = np.arange(len(turns)) < depth[:, None]
    down = [np.where(there, np.take_along_axis(a, order, axis=1), 0) for a in (np.stack(inner, axis=1), upwards)]
    return down[0].astype(np.int64), down[1]
