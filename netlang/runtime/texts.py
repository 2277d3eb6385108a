"""Texts as examples: windows of one long text, or the rows of a table, as the inputs and targets of a net have them.

What is a text to a net is read off its declarations: an input or target of symbols is `x[T]: class(V)`. A window of a
text fills the one input of symbols. A target over the same places has the symbols that come next, and a target without
places, `y: class(V)`, the one that comes after the window.

In a table each row is an example, and the texts of a column are filled up to a common length. What the table does not
have is made: an input of symbols over the places of a target has the target's text behind the symbol for the start
(then the target's ends with the symbol for the end), and an input `n: class(T + 1)` the lengths of the texts over T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import Span, fail, listing
from netlang.graph.integer import Int
from netlang.graph.nodes import Input
from netlang.runtime.data import Array, Dataset
from netlang.runtime.sources.text import Rows, Text
from netlang.runtime.vocabulary import Vocabulary

__all__ = ["Reading", "symbol_inputs"]

Codes = npt.NDArray[Any]


def symbol_inputs(nodes: Sequence[Input]) -> list[Input]:
    """The inputs and targets that take a sequence of symbols."""
    return [n for n in nodes if n.classes is not None and n.classes.is_constant and len(n.shape) == 1]


@dataclass(frozen=True)
class Reading:
    """How a net reads texts: its name, its inputs and targets, how many symbols a window has, and how many there are
    from the start of one to the start of the next."""

    net: str
    inputs: Sequence[Input]
    targets: Sequence[Input]
    window: int | None = None
    stride: int | None = None
    span: Span | None = None

    @property
    def names(self) -> list[str]:
        """The names of what may be texts."""
        return [node.name for node in symbol_inputs(self.nodes)]

    @property
    def nodes(self) -> tuple[Input, ...]:
        return (*self.inputs, *self.targets)

    def texts(self, source: Text | Rows) -> Iterator[str]:
        """Every text that the symbols come from, those of one column once."""
        if isinstance(source, Text):
            yield source.text
        else:
            for column in {id(rows): rows for rows in source.texts.values()}.values():
                yield from column

    def bounded(self, source: Text | Rows) -> bool:
        """Whether a text gets symbols for its start and its end, because a net says it symbol by symbol."""
        return isinstance(source, Rows) and bool(self._behind(source))

    def examples(self, source: Text | Rows, vocabulary: Vocabulary) -> Dataset:
        """The data set, its symbols as numbers in the smallest dtype.

        Raises `NetlangError`: `text-inputs` (the net cannot be fed with these), `vocabulary-size` (it tells fewer
        symbols apart), `no-window`, `text-length`, `unknown-symbol`.
        """
        return self._windows(source, vocabulary) if isinstance(source, Text) else self._padded(source, vocabulary)

    # --- one long text ---

    def _windows(self, source: Text, vocabulary: Vocabulary) -> Dataset:
        sequences = symbol_inputs(self.inputs)
        if len(sequences) != 1:
            self._unsuited("a text fills one input of symbols", "declare `input text[T]: class(V)`")
        (given,) = sequences
        following = [t for t in self.targets if t.classes is not None and (not t.shape or t.shape == given.shape)]
        if len(following) > 1:
            self._unsuited("a text fills one target", "declare one target of symbols")
        self._require_room([given, *following], vocabulary)
        numbers = vocabulary.numbered(source.text, source.place)
        length = self._length(given)
        if len(numbers) < length + len(following):
            fail(
                "text-length",
                f"the text has {len(numbers)} symbols, too few for a window of {length}"
                + (" and the symbol after it" if following else ""),
                place=source.origin,
                help="give a longer text or a smaller `window`",
            )
        # a target without places has one symbol to tell for each window, so that each place of the text starts one
        alone = bool(following) and not following[0].shape
        stride = self.stride or (1 if alone else length)
        windows = np.lib.stride_tricks.sliding_window_view(numbers, length)  # without a copy
        arrays: dict[str, Array] = {given.name: windows[: len(windows) - len(following) : stride]}
        for target in following:
            arrays[target.name] = numbers[length::stride] if alone else windows[1::stride]
        examples = len(arrays[given.name])
        arrays |= {node.name: np.full(examples, length) for node in self.nodes if _counts(node, given)}
        return Dataset(arrays, origin=source.origin, ordered=True)

    def _length(self, node: Input) -> int:
        """The length of a window: declared, or the section's."""
        extent = node.shape[0]
        if not extent.is_constant:
            if self.window is None:
                fail(
                    "no-window",
                    f"nothing says how many symbols of a text make an example of `{self.net}`",
                    self.span,
                    help="add `window 64` to the `train` section",
                )
            return self.window
        if self.window not in (None, extent.constant):
            fail(
                "text-length",
                f"`{node.name}` has {extent.constant} symbols, the window {self.window}",
                node.origin.span,
                help="leave out `window`, or declare a length that is known at run time only: "
                f"`{node.name}[T]: class(...)`",
            )
        return extent.constant

    # --- a text for each example ---

    def _padded(self, source: Rows, vocabulary: Vocabulary) -> Dataset:
        given = {node.name: node for node in symbol_inputs(self.nodes) if node.name in source.texts}
        behind = self._behind(source)
        self._require_room([*given.values(), *(node for node, _ in behind)], vocabulary)
        texts = {name: self._numbered(source, name, vocabulary) for name in given}
        for node, target in behind:
            start, end = vocabulary.start, vocabulary.end
            if start is None or end is None:
                self._unsuited(
                    "its vocabulary has no symbols for the start and the end of a text",
                    "train it on a table of texts from the beginning",
                )
            texts[node.name] = [np.insert(row, 0, start) for row in texts[target.name]]
            texts[target.name] = [np.append(row, row.dtype.type(end)) for row in texts[target.name]]
        arrays: dict[str, Array] = dict(source.arrays)
        arrays |= self._lengths(arrays, {name: [len(row) for row in rows] for name, rows in texts.items()})
        tensors = [node for node in self.nodes if node.name in texts]
        for tensor in tensors:
            told = any(_counts(node, tensor) for node in self.nodes if node.name in arrays)
            extent = self._common(tensor, [t for t in tensors if t.shape == tensor.shape], texts, source)
            arrays[tensor.name] = self._filled(tensor, texts[tensor.name], extent, vocabulary, source, told)
        return Dataset(arrays, labels=source.labels, origin=source.origin)

    def _numbered(self, source: Rows, name: str, vocabulary: Vocabulary) -> list[Codes]:
        def place(row: int) -> Callable[[int], str]:
            return lambda _: source.place(row)

        return [vocabulary.numbered(text, place(row)) for row, text in enumerate(source.texts[name])]

    def _behind(self, source: Rows) -> list[tuple[Input, Input]]:
        """The inputs of symbols that the table does not have, each with the target over the same places."""
        told = [node for node in symbol_inputs(self.targets) if node.name in source.texts]
        absent = [n for n in symbol_inputs(self.inputs) if n.name not in source.texts and n.name not in source.arrays]
        pairs = [(node, target) for node in absent for target in told if target.shape == node.shape]
        if len({target.name for _, target in pairs}) < len(pairs) or len({node.name for node, _ in pairs}) < len(pairs):
            self._unsuited(
                f"{listing(node.name for node, _ in pairs)} may have the text of {listing(t.name for _, t in pairs)}",
                "give each a column, or declare sizes that are known at run time: `source[S]`, `given[T]`",
            )
        return pairs

    def _lengths(self, arrays: Mapping[str, Array], texts: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """Arrays for the inputs and targets that have the lengths of texts, from those of the texts by name."""
        tensors = [node for node in self.nodes if node.name in texts]
        found: dict[str, Array] = {}
        for node in self.nodes:
            counted = [t.name for t in tensors if _counts(node, t)]
            if node.name in arrays or not counted:
                continue
            if len({tuple(texts[name]) for name in counted}) > 1:
                self._unsuited(
                    f"`{node.name}` may have the lengths of {listing(counted)}",
                    "give the lengths as a column, or declare sizes that are known at run time: `source[S]`",
                )
            found[node.name] = np.array(texts[counted[0]])
        return found

    def _common(self, tensor: Input, together: Sequence[Input], texts: Mapping[str, list[Codes]], source: Rows) -> int:
        """The extent that all tensors of this shape have in common."""
        extent = tensor.shape[0]
        longest = max((len(row) for t in together for row in texts[t.name]), default=0)
        if not extent.is_constant:
            return max(1, longest)
        for row, codes in enumerate(texts[tensor.name]):
            if len(codes) > extent.constant:
                fail(
                    "text-length",
                    f"the text has {len(codes)} symbols, `{tensor.name}` has {extent.constant} places",
                    place=source.place(row),
                    help="shorten the text, or declare a length that is known at run time only: "
                    f"`{tensor.name}[T]: class(...)`",
                )
        return extent.constant

    def _filled(
        self, tensor: Input, rows: list[Codes], extent: int, vocabulary: Vocabulary, source: Rows, told: bool
    ) -> Array:
        """The texts as an array; what is left is filled with the end, or anything where the net knows the lengths."""
        short = next((k for k, row in enumerate(rows) if len(row) < extent), None)
        if short is not None and not told and vocabulary.end is None:
            fail(
                "text-length",
                f"the text has {len(rows[short])} symbols, the longest {extent}, and nothing tells `{self.net}` where "
                f"the texts of `{tensor.name}` end",
                tensor.origin.span,
                notes=[f"it is at {source.place(short)}"],
                help=f"declare their lengths, `input n: class({tensor.shape[0]} + 1)`, and leave out what is behind",
            )
        filled = np.full((len(rows), extent), vocabulary.end or 0, vocabulary.dtype)
        for row, codes in zip(filled, rows, strict=True):
            row[: len(codes)] = codes
        return filled

    # --- both ---

    def _require_room(self, tensors: Sequence[Input], vocabulary: Vocabulary) -> None:
        for tensor in tensors:
            assert tensor.classes is not None
            if tensor.classes.is_constant and tensor.classes.constant < len(vocabulary):
                fail(
                    "vocabulary-size",
                    f"`{tensor.name}` tells {tensor.classes} symbols apart, the vocabulary has {len(vocabulary)}",
                    tensor.origin.span,
                    notes=[f"it has {vocabulary.describe()}"],
                    help=f"declare `class({len(vocabulary)})`, or keep fewer symbols: "
                    f"`vocabulary {vocabulary.unit}(most={tensor.classes})`",
                )

    def _unsuited(self, why: str, help: str) -> NoReturn:
        fail(
            "text-inputs",
            f"`{self.net}` cannot be fed with this text: {why}",
            self.span,
            notes=[f"it has {listing(node.name for node in self.nodes)}"],
            help=help,
        )


def _counts(node: Input, tensor: Input) -> bool:
    """Whether a declaration, `n: class(T + 1)`, is that of the lengths of a tensor over T."""
    extent: Int = tensor.shape[0]
    return node.classes is not None and not node.shape and node.classes == extent + 1
