"""Vocabularies: which symbols they have, texts to numbers and back, and what is said of bad ones."""

from __future__ import annotations

import json
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.elaboration.recipe import Symbols
from netlang.runtime import vocabulary as module
from netlang.runtime.vocabulary import END, START, UNKNOWN, Vocabulary

CHARACTERS, WORDS = Symbols("characters"), Symbols("words")


def refusal(call: Any, *arguments: Any) -> Diagnostic:
    with pytest.raises(NetlangError) as error:
        call(*arguments)
    [found] = error.value.diagnostics
    assert found.help
    return found


def test_characters_are_sorted_by_frequency_and_then_by_code_point() -> None:
    found = Vocabulary.fit(["hello"], CHARACTERS)
    assert found.symbols == ("l", "e", "h", "o")
    assert found.counts == (2, 1, 1, 1)
    assert found.encode("hello").tolist() == [2, 1, 0, 0, 3]
    assert found.encode("hello").dtype == np.int64
    assert found.decode([2, 1, 0, 0, 3]) == "hello"
    assert (found.unknown, found.start, found.end) == (None, None, None)
    assert found.describe() == "4 characters: l e h o"


def test_words_keep_punctuation_and_apostrophes_inside() -> None:
    text = "Don't stop, d'accord? (no: it's 3.5 o’clock)\n\n'quoted' a_b"
    found = Vocabulary.fit([text], WORDS)
    words = [found.symbols[k] for k in found.encode(text)]
    assert " ".join(words) == "Don't stop , d'accord ? ( no : it's 3 . 5 o’clock ) ' quoted ' a_b"
    assert found.decode(found.encode("stop, no")) == "stop , no"


def test_lower_case() -> None:
    found = Vocabulary.fit(["The the THE end"], Symbols("words", lowercase=True))
    assert found.symbols == ("the", "end")
    assert found.encode("tHe End").tolist() == [0, 1]


def test_rare_symbols_are_unknown() -> None:
    found = Vocabulary.fit(["a a a b b c d"], Symbols("words", least=2))
    assert found.symbols == (UNKNOWN, "a", "b")
    assert found.counts == (2, 3, 2)
    assert found.encode("b c zebra a").tolist() == [2, 0, 0, 1]
    assert found.decode([2, 0]) == f"b {UNKNOWN}"


def test_the_most_frequent_symbols_count_the_special_ones() -> None:
    found = Vocabulary.fit(["abcabc", "aab"], Symbols("characters", most=5), bounded=True)
    assert found.symbols == (UNKNOWN, START, END, "a", "b")
    assert found.counts == (2, 2, 2, 4, 3)
    assert (found.unknown, found.start, found.end) == (0, 1, 2)
    assert len(found) == 5


def test_special_symbols_in_a_text_are_themselves() -> None:
    found = Vocabulary.fit([f"a{UNKNOWN}b"], Symbols("characters", unknown=True), bounded=True)
    assert found.symbols == (UNKNOWN, START, END, "a", "b")
    assert found.encode(f"{START}a{UNKNOWN}x{END}").tolist() == [1, 3, 0, 0, 2]


def test_an_unknown_symbol_is_named_with_its_place() -> None:
    found = refusal(Vocabulary.fit(["hello\n"], CHARACTERS).encode, "hell\nole\u00fc", "prompt")
    assert (found.code, found.place) == ("unknown-symbol", "prompt:2:4")
    assert found.message == "the character `\u00fc` is not in the vocabulary"
    assert found.notes == (r"the vocabulary has 5 characters: l \n e h o",)
    words = Vocabulary.fit(["to be or not"], WORDS)
    found = refusal(words.encode, "to be\n or what")
    assert (found.message, found.place) == ("the word `what` is not in the vocabulary", "the text:2:5")
    assert refusal(words.encode, "to\x07").message == "the word `U+0007` is not in the vocabulary"


def test_long_texts_are_encoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    text = string.printable * 7
    whole = Vocabulary.fit([text], CHARACTERS)
    monkeypatch.setattr(module, "_CHUNK", 13)
    assert Vocabulary.fit([text], CHARACTERS) == whole
    assert whole.decode(whole.encode(text)) == text
    assert refusal(whole.encode, text + "\u1234").place == "the text:8:4"


@pytest.mark.parametrize("numbers", [[4], [-1], [0.5], ["a"], [[0, 1]]])
def test_numbers_of_no_symbol(numbers: Any) -> None:
    assert refusal(Vocabulary.fit(["hello"], CHARACTERS).decode, numbers).code == "bad-symbol"


def test_numbers_are_kept_in_few_bytes() -> None:
    text = "".join(map(chr, range(33, 400)))
    found = Vocabulary.fit([text], CHARACTERS)
    assert found.dtype == np.uint16
    assert found.numbered(text, str).dtype == np.uint16
    assert found.decode(found.numbered(text, str)) == text
    assert Vocabulary.fit(["ab"], CHARACTERS).dtype == np.uint8


@given(st.text(min_size=1))
@settings(max_examples=60, deadline=None)
def test_characters_to_numbers_and_back(text: str) -> None:
    found = Vocabulary.fit([text], CHARACTERS)
    assert found.decode(found.encode(text)) == text
    assert sum(found.counts) == len(text)


@given(st.text(min_size=1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_words_to_numbers_and_back(text: str, lowercase: bool) -> None:
    """Words joined by spaces are the same words again."""
    found = Vocabulary.fit([text], Symbols("words", lowercase=lowercase))
    numbers = found.encode(text)
    assert found.encode(found.decode(numbers)).tolist() == numbers.tolist()
    assert found.decode(numbers).split() == [found.symbols[k] for k in numbers]


@given(st.lists(st.text(), min_size=1), st.sampled_from(["characters", "words"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_json_and_back(texts: list[str], unit: str, bounded: bool) -> None:
    found = Vocabulary.fit(texts, Symbols(unit, unknown=True), bounded=bounded)
    assert Vocabulary.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "letters"},
        {"lowercase": 1},
        {"symbols": ["a", "a"]},
        {"symbols": ["a", "bc"]},
        {"symbols": ["a", ""]},
        {"symbols": ["a", 3]},
        {"symbols": 3},
        {"counts": [1]},
        {"counts": [1, -1]},
        {"counts": [1, True]},
    ],
)
def test_damaged_json(change: dict[str, Any]) -> None:
    document = {"unit": "characters", "lowercase": False, "symbols": ["a", "b"], "counts": [2, 1]}
    assert Vocabulary.from_json(document).symbols == ("a", "b")
    assert refusal(Vocabulary.from_json, document | change).code == "preprocess-corrupt"
    assert refusal(Vocabulary.from_json, [document]).code == "preprocess-corrupt"
