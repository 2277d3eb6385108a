"""A vocabulary: the symbols of texts, characters or words, as integers and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail
from netlang.elaboration.recipe import Symbols
from netlang.runtime.sources.text import Text

__all__ = ["END", "START", "UNKNOWN", "Vocabulary"]

UNKNOWN, START, END = "\ufffd", "\x02", "\x03"  # Unicode's replacement character, start of text, end of text

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_CHUNK = 1 << 20  # characters looked at together, so that long texts need little memory besides their own

Place = Callable[[int], str]
"""Where the character at an offset of a text is, for messages."""


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that a net knows; number k stands for `symbols[k]`, which the data have `counts[k]` times.

    `unit` is "characters" or "words". A word is a run of letters, digits and underscores, also with apostrophes inside
    (`don't`); every other visible character is a word of its own; white space separates words and is not kept. With
    `lowercase`, texts are brought to lower case first.

    Three symbols may stand for what is no text: U+FFFD for everything that is not in the vocabulary, U+0002 for the
    start of a text and U+0003 for its end. Where they are there they come first, in this order; the others are sorted
    from the most to the least frequent, and by code points among equals.
    """

    unit: str
    symbols: tuple[str, ...]
    counts: tuple[int, ...]
    lowercase: bool = False

    @classmethod
    def fit(cls, texts: Iterable[str], wanted: Symbols, *, bounded: bool = False) -> Self:
        """The vocabulary of the texts as a `train` section wants it; `bounded` adds the symbols for start and end."""
        found: Counter[str] = Counter()
        rows = 0
        for text in texts:
            rows += 1
            found.update(_counted(text.lower() if wanted.lowercase else text, wanted.unit))
        special = [s for s, there in ((UNKNOWN, wanted.has_unknown), (START, bounded), (END, bounded)) if there]
        unknown = sum(found.pop(s, 0) for s in special)
        ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        kept = [item for item in ranked if item[1] >= wanted.least]
        if wanted.most is not None:
            kept = kept[: max(0, wanted.most - len(special))]
        unknown += sum(found.values()) - sum(count for _, count in kept)
        numbers = {UNKNOWN: unknown, START: rows, END: rows}
        return cls(
            wanted.unit,
            (*special, *(s for s, _ in kept)),
            (*(numbers[s] for s in special), *(count for _, count in kept)),
            wanted.lowercase,
        )

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each symbol."""
        return {symbol: k for k, symbol in enumerate(self.symbols)}

    @property
    def start(self) -> int | None:
        return self.numbers.get(START)

    @property
    def end(self) -> int | None:
        return self.numbers.get(END)

    @property
    def unknown(self) -> int | None:
        """The number of the symbol for all that is not in the vocabulary, if there is one."""
        return self.numbers.get(UNKNOWN)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest dtype that holds every number."""
        return np.min_scalar_type(max(0, len(self.symbols) - 1))

    def encode(self, text: str, origin: str = "the text") -> npt.NDArray[np.int64]:
        """The numbers of a text's symbols, `[symbols]`.

        Raises `NetlangError` (`unknown-symbol`) with line and column of a symbol that is not in the vocabulary, unless
        it has a symbol for these. `origin` is what messages call the text.
        """
        return self.numbered(text, Text(text, origin).place).astype(np.int64)

    def decode(self, numbers: npt.ArrayLike) -> str:
        """The text of numbers; words are joined by spaces. Raises `NetlangError` (`bad-symbol`)."""
        array = np.asarray(numbers)
        outside = array[(array < 0) | (array >= len(self))] if array.dtype.kind in "iu" else array
        if array.ndim > 1 or outside.size:
            fail(
                "bad-symbol",
                f"{outside.flat[0]} is not the number of a symbol" if outside.size else "these are not one text",
                help=f"give a list of whole numbers from 0 to {len(self) - 1}",
            )
        return self.separator.join(self.symbols[k] for k in array.ravel().tolist())

    @property
    def separator(self) -> str:
        return "" if self.unit == "characters" else " "

    def describe(self) -> str:
        """The vocabulary in a line."""
        shown = " ".join(repr(s)[1:-1] if s != " " else "' '" for s in self.symbols[:8])
        more = " ..." if len(self) > 8 else ""
        return f"{len(self)} {self.unit}: {shown}{more}"

    # --- inside ---

    def numbered(self, text: str, place: Place) -> npt.NDArray[Any]:
        """The numbers of a text's symbols in the smallest dtype."""
        if self.lowercase:
            text = text.lower()
        return self._characters(text, place) if self.unit == "characters" else self._words(text, place)

    @cached_property
    def _table(self) -> npt.NDArray[np.int32]:
        """The number of each code point up to the largest; -1 for none; the last place is for all above."""
        codes = [ord(symbol) for symbol in self.symbols]
        table = np.full(max(codes, default=0) + 2, -1 if self.unknown is None else self.unknown, np.int32)
        table[codes] = np.arange(len(codes))
        return table

    def _characters(self, text: str, place: Place) -> npt.NDArray[Any]:
        numbers = np.empty(len(text), self.dtype)
        for start, codes in _code_points(text):
            found = self._table[np.minimum(codes, len(self._table) - 1)]
            missing = np.flatnonzero(found < 0)
            if missing.size:
                offset = start + int(missing[0])
                self._missing(text[offset], place(offset))
            numbers[start : start + len(found)] = found
        return numbers

    def _words(self, text: str, place: Place) -> npt.NDArray[Any]:
        known, unknown = self.numbers, self.unknown

        def number(match: re.Match[str]) -> int:
            found = known.get(match[0], unknown)
            if found is None:
                self._missing(match[0], place(match.start()))
            return found

        return np.fromiter(map(number, _WORD.finditer(text)), self.dtype)

    def _missing(self, symbol: str, place: str) -> NoReturn:
        kind = "character" if self.unit == "characters" else "word"
        fail(
            "unknown-symbol",
            f"the {kind} `{_shown(symbol)}` is not in the vocabulary",
            place=place,
            notes=[f"the vocabulary has {self.describe()}"],
            help=f"leave it out, or train with `vocabulary {self.unit}(unknown=true)`",
        )

    # --- keeping ---

    def to_json(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "lowercase": self.lowercase,
            "symbols": list(self.symbols),
            "counts": list(self.counts),
        }

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Raises `NetlangError` (`preprocess-corrupt`) where the document is not what `to_json` made."""
        try:
            unit, lowercase = document["unit"], document["lowercase"]
            symbols, counts = tuple(document["symbols"]), tuple(document["counts"])
        except (KeyError, TypeError):
            _corrupt()
        sound = unit in ("characters", "words") and isinstance(lowercase, bool) and len(symbols) == len(counts) > 0
        sound = sound and all(isinstance(s, str) and s for s in symbols) and len(set(symbols)) == len(symbols)
        sound = sound and all(type(n) is int and n >= 0 for n in counts)
        if not sound or (unit == "characters" and any(len(s) != 1 for s in symbols)):
            _corrupt()
        return cls(unit, symbols, counts, lowercase)


def _counted(text: str, unit: str) -> Counter[str]:
    if unit == "words":
        return Counter(match[0] for match in _WORD.finditer(text))
    totals: Counter[str] = Counter()
    for _, codes in _code_points(text):
        found, counts = np.unique(codes, return_counts=True)
        totals.update({chr(code): count for code, count in zip(found.tolist(), counts.tolist(), strict=True)})
    return totals


def _code_points(text: str) -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
    """The code points of a text in pieces, each with the offset where it starts."""
    for start in range(0, len(text), _CHUNK):
        piece = text[start : start + _CHUNK].encode("utf-32-le", "surrogatepass")
        yield start, np.frombuffer(piece, np.dtype("<u4"))


def _shown(symbol: str) -> str:
    return symbol if symbol.isprintable() else f"U+{ord(symbol[0]):04X}"


def _corrupt() -> NoReturn:
    fail(
        "preprocess-corrupt",
        "the stored vocabulary is damaged",
        help="save the network again, or take a copy that is whole",
    )
