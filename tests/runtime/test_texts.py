"""Texts as examples: windows in their order, rows of a table filled up, and what is made of what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.elaboration.recipe import Symbols
from netlang.graph.integer import integer, size
from netlang.graph.nodes import Input, Origin
from netlang.runtime.data import Dataset
from netlang.runtime.preprocess import Minibatches, Split
from netlang.runtime.sources import open_data, open_texts
from netlang.runtime.sources.text import Rows, Text
from netlang.runtime.texts import Reading
from netlang.runtime.vocabulary import Vocabulary

CHARACTERS = Symbols("characters")


def sequence(name: str, extent: str | int = "T", classes: int = 200, role: str = "input") -> Input:
    shape = size(extent) if isinstance(extent, str) else integer(extent)
    return Input(name, (shape,), "int", Origin(None), role, integer(classes))


def number(name: str, classes: Any = 200, role: str = "input") -> Input:
    return Input(name, (), "int", Origin(None), role, classes if not isinstance(classes, int) else integer(classes))


TEXT, NEXT = sequence("text"), sequence("next", role="target")
MODEL = Reading("Model", [TEXT], [NEXT], window=4)
S, T = size("S"), size("T")
PAIRS = Reading(
    "Pairs",
    [sequence("source", "S"), number("n", S + 1), sequence("given")],
    [sequence("next", role="target"), number("m", T + 1, "target")],
)


def read(reading: Reading, source: Text | Rows) -> tuple[Dataset, Vocabulary]:
    vocabulary = Vocabulary.fit(reading.texts(source), CHARACTERS, bounded=reading.bounded(source))
    return reading.examples(source, vocabulary), vocabulary


def decoded(data: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, list[str]]:
    return {
        name: [vocabulary.decode(row).replace("\x02", "<").replace("\x03", ">") for row in array]
        for name, array in data.items()
        if array.ndim == 2
    }


def refusal(reading: Reading, source: Text | Rows) -> Diagnostic:
    with pytest.raises(NetlangError) as error:
        read(reading, source)
    [found] = error.value.diagnostics
    assert found.help
    return found


# --- windows -------------------------------------------------------------------------------------------------------


def test_windows_and_the_symbols_after_them() -> None:
    data, vocabulary = read(MODEL, Text("abcdefghijk"))
    assert decoded(data, vocabulary) == {"text": ["abcd", "efgh"], "next": ["bcde", "fghi"]}
    assert data.ordered
    assert data["text"].dtype == np.uint8
    assert data["text"].base is not None  # a view, not a copy


def test_the_last_symbol_is_a_target_only() -> None:
    data, vocabulary = read(MODEL, Text("abcdefghi"))
    assert decoded(data, vocabulary)["next"] == ["bcde", "fghi"]
    assert read(MODEL, Text("abcdefgh"))[0].examples == 1


def test_a_target_of_one_symbol_has_a_window_for_each_place() -> None:
    reading = Reading("N", [sequence("text", 3)], [number("next", role="target")])
    data, vocabulary = read(reading, Text("abcdef"))
    assert decoded(data, vocabulary)["text"] == ["abc", "bcd", "cde"]
    assert vocabulary.decode(data["next"]) == "def"


def test_a_net_without_targets_has_the_windows() -> None:
    data, vocabulary = read(Reading("N", [TEXT], [], window=3), Text("abcdefgh"))
    assert decoded(data, vocabulary) == {"text": ["abc", "def"]}


def test_windows_have_the_declared_length_and_lengths_where_they_are_wanted() -> None:
    reading = Reading("N", [sequence("text", 3), number("n", 4)], [sequence("next", 3, role="target")])
    data, _ = read(reading, Text("abcdefgh"))
    assert data["text"].shape == (2, 3)
    assert data["n"].tolist() == [3, 3]


@given(st.text("abc", min_size=2, max_size=60), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_windows_cover_the_text_once(text: str, window: int) -> None:
    if len(text) <= window:
        return
    data, vocabulary = read(Reading("N", [TEXT], [NEXT], window), Text(text))
    covered = "".join(decoded(data, vocabulary)["text"])
    assert text.startswith(covered)
    assert len(text) - len(covered) <= window
    assert "".join(decoded(data, vocabulary)["next"]) == text[1 : len(covered) + 1]


def test_texts_that_do_not_fit_windows() -> None:
    found = refusal(MODEL, Text("abcd", "t.txt"))
    assert (found.code, found.place) == ("text-length", "t.txt")
    assert found.message == "the text has 4 symbols, too few for a window of 4 and the symbol after it"
    assert refusal(MODEL, Text("")).code == "text-length"
    assert refusal(Reading("N", [TEXT], [NEXT]), Text("abcd")).code == "no-window"
    found = refusal(Reading("N", [sequence("text", 3)], [], window=4), Text("abcd"))
    assert (found.code, found.message) == ("text-length", "`text` has 3 symbols, the window 4")
    assert refusal(Reading("N", [TEXT, sequence("more")], [], 2), Text("abcd")).code == "text-inputs"
    assert refusal(Reading("N", [TEXT], [NEXT, number("y", role="target")], 2), Text("abcd")).code == "text-inputs"
    assert refusal(Reading("N", [number("x")], [], 2), Text("abcd")).code == "text-inputs"


def test_more_symbols_than_classes() -> None:
    found = refusal(Reading("N", [TEXT], [sequence("next", classes=5, role="target")], 2), Text("abcdef"))
    assert found.code == "vocabulary-size"
    assert found.message == "`next` tells 5 symbols apart, the vocabulary has 6"
    assert found.help.startswith("declare `class(6)`")


def test_what_the_vocabulary_does_not_have_is_named_with_its_place() -> None:
    vocabulary = Vocabulary.fit(["abc"], CHARACTERS)
    with pytest.raises(NetlangError) as error:
        MODEL.examples(Text("abc\nab", "t.txt"), vocabulary)
    assert error.value.diagnostics[0].place == "t.txt:1:4"
    with pytest.raises(NetlangError) as error:
        Reading("N", [TEXT], []).examples(Rows({"text": ["abc", "abd"]}, origin="t.tsv", lines=[2, 7]), vocabulary)
    assert error.value.diagnostics[0].place == "t.tsv:7"


# --- order ---------------------------------------------------------------------------------------------------------


def test_the_end_of_a_stream_is_held_out() -> None:
    data, vocabulary = read(MODEL, Text("abcdefghijklmnopqrstuvwxyz"))
    training, held = Split(0.3, seed=5).apply(data)
    assert decoded(training, vocabulary)["text"] == ["abcd", "efgh", "ijkl", "mnop"]
    assert decoded(held, vocabulary)["text"] == ["qrst", "uvwx"]
    assert training.ordered
    assert held.ordered
    assert not data.take(np.array([1, 0])).ordered


@given(st.integers(1, 40), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_each_batch_goes_on_where_the_one_before_ended(examples: int, batch: int) -> None:
    over = Minibatches(batch, continued=True).over({"k": np.arange(examples)}, epoch=3)
    batches = [b["k"].copy() for b in over]
    streams = np.array(batches).T
    assert streams.shape == (min(batch, examples), max(1, examples // batch))
    assert (np.diff(streams, axis=1) == 1).all()
    assert streams.ravel().tolist() == list(range(streams.size))
    assert examples - streams.size < batch
    assert len(batches) == Minibatches(batch, continued=True).count(examples)


def test_batches_have_integers_as_programs_read_them() -> None:
    (batch,) = Minibatches(4).over({"k": np.arange(3, dtype=np.uint8)}, epoch=0)
    assert batch["k"].dtype == np.int64


# --- tables --------------------------------------------------------------------------------------------------------


def test_pairs_get_starts_ends_lengths_and_are_filled_up() -> None:
    data, vocabulary = read(PAIRS, Rows({"source": ["ab", "abc", ""], "next": ["x", "", "xyz"]}))
    assert decoded(data, vocabulary) == {
        "source": ["ab>", "abc", ">>>"],
        "given": ["<x>>", "<>>>", "<xyz"],
        "next": ["x>>>", ">>>>", "xyz>"],
    }
    assert data["n"].tolist() == [2, 3, 0]
    assert data["m"].tolist() == [2, 1, 4]
    assert not data.ordered
    assert vocabulary.symbols[:2] == ("\x02", "\x03")


def test_fixed_lengths() -> None:
    reading = Reading("N", [sequence("given", 5)], [sequence("next", 5, role="target")])
    data, vocabulary = read(reading, Rows({"next": ["ab", "abcd"]}))
    assert decoded(data, vocabulary) == {"given": ["<ab>>", "<abcd"], "next": ["ab>>>", "abcd>"]}
    found = refusal(reading, Rows({"next": ["ab", "abcde"]}, origin="t.tsv", lines=[1, 2]))
    assert (found.code, found.place) == ("text-length", "t.tsv:2")
    assert found.message == "the text has 6 symbols, `given` has 5 places"


def test_texts_with_labels() -> None:
    reading = Reading("N", [TEXT, number("n", T + 1)], [number("kind", 2, "target")])
    data, vocabulary = read(reading, Rows({"text": ["good", "bad"]}, {"kind": np.array([1, 0])}, {"kind": ("-", "+")}))
    assert len(vocabulary) == len(set("goodbad"))
    assert data["n"].tolist() == [4, 3]
    assert vocabulary.decode(data["text"][1][:3]) == "bad"
    assert data["kind"].tolist() == [1, 0]
    assert data.labels == {"kind": ("-", "+")}


def test_lengths_that_nobody_tells() -> None:
    found = refusal(Reading("N", [TEXT], []), Rows({"text": ["abc", "ab"]}))
    assert found.code == "text-length"
    assert found.notes == ("it is at row 1 of the data",)
    assert read(Reading("N", [TEXT], []), Rows({"text": ["abc", "abd"]}))[0]["text"].shape == (2, 3)
    told = Rows({"text": ["abc", "ab"]}, {"n": np.array([3, 2])})
    assert read(Reading("N", [TEXT, number("n", T + 1)], []), told)[0]["n"].tolist() == [3, 2]


def test_pairs_that_could_be_read_in_two_ways() -> None:
    both = Reading("N", [sequence("a"), sequence("b")], [NEXT])
    assert refusal(both, Rows({"next": ["x"]})).code == "text-inputs"
    lengths = Reading("N", [sequence("a", 4), sequence("b", 4), number("n", 5)], [])
    found = refusal(lengths, Rows({"a": ["xxx", "xx"], "b": ["xx", "xxx"]}))
    assert found.code == "text-inputs"
    assert "`n` may have the lengths of `a`, `b`" in found.message


def test_a_vocabulary_of_windows_has_no_start() -> None:
    with pytest.raises(NetlangError) as error:
        PAIRS.examples(Rows({"source": ["a"], "next": ["a"]}), Vocabulary.fit(["a"], CHARACTERS))
    assert error.value.diagnostics[0].code == "text-inputs"


@given(st.lists(st.tuples(st.text("ab", max_size=5), st.text("ab", max_size=5)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_what_is_filled_up_is_the_text_again(pairs: Sequence[tuple[str, str]]) -> None:
    data, vocabulary = read(PAIRS, Rows({"source": [a for a, _ in pairs], "next": [b for _, b in pairs]}))
    for k, (source, told) in enumerate(pairs):
        n, m = int(data["n"][k]), int(data["m"][k])
        assert vocabulary.decode(data["source"][k][:n]) == source
        assert vocabulary.decode(data["next"][k][:m]) == told + "\x03"
        assert vocabulary.decode(data["given"][k][:m]) == "\x02" + told
        assert set(data["next"][k][m:].tolist()) <= {vocabulary.end}


# --- sources -------------------------------------------------------------------------------------------------------

NAMES = ["source", "next"]


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffone\r\ntwo\rthr\u00e9e\n".encode())
    found = open_texts("t.txt", NAMES, folder=str(tmp_path))
    assert found == Text("one\ntwo\nthr\u00e9e\n", str(tmp_path / "t.txt"))


def test_bytes_that_are_no_text_have_a_place(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffone\ntw\u00f6".encode() + b"\xe9 three")
    with pytest.raises(NetlangError) as error:
        open_texts(tmp_path / "t.txt", NAMES)
    [found] = error.value.diagnostics
    assert (found.code, found.message) == ("data-file", "the byte 0xe9 is not UTF-8 text")
    assert found.place == f"{tmp_path / 't.txt'}:2:4"


def test_texts_without_a_file() -> None:
    assert open_texts("text:hello", NAMES) == Text("hello")
    topics = open_texts("python:topics", NAMES)
    assert isinstance(topics, Text)
    assert topics.text.startswith('The "assert" statement\n')
    assert len(topics.text) > 400_000
    assert topics == open_texts("python:topics", NAMES)
    with pytest.raises(NetlangError) as error:
        open_texts("python:topic", NAMES)
    assert error.value.diagnostics[0].code == "data-source"


def test_tables_of_texts(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('he said "hi"\til dit "salut"\n1\tun\n\nx\t\n')
    found = open_texts("t.tsv", NAMES, columns={"source": "0", "next": "1"}, folder=str(tmp_path))
    assert isinstance(found, Rows)
    assert found.texts == {"source": ['he said "hi"', "1", "x"], "next": ['il dit "salut"', "un", ""]}
    assert found.place(2).endswith("t.tsv:4")
    (tmp_path / "t.csv").write_text('source,next,k\n"a,b",c,1\nd,e,2\n')
    found = open_texts(tmp_path / "t.csv", NAMES)
    assert isinstance(found, Rows)
    assert found.texts == {"source": ["a,b", "d"], "next": ["c", "e"]}
    assert found.arrays["k"].tolist() == [1, 2]


def test_texts_in_memory() -> None:
    assert open_texts({"text": "abc"}, ["text"]) == Text("abc", "`text`")
    with pytest.raises(NetlangError) as error:
        open_texts({"k": [1, 2], "text": "abc"}, ["text"])
    assert error.value.diagnostics[0].code == "data-source"
    assert open_texts({"source": np.array(["a", "bc"])}, ["source"]) == Rows({"source": ["a", "bc"]})
    found = open_texts({"source": ["a", "b"], "kind": ["x", "y"], "k": [1, 2]}, ["source"])
    assert isinstance(found, Rows)
    assert found.texts == {"source": ["a", "b"]}
    assert found.arrays["kind"].tolist() == [0, 1]
    assert open_texts({"source": [1, 2]}, ["source"]) is None
    assert open_texts(Dataset.from_arrays(x=[1]), ["x"]) is None
    assert open_texts("digits.npz", ["x"]) is None


@pytest.mark.parametrize("source", ["t.txt", "text:hello", "python:topics"])
def test_a_text_is_no_data_set(source: str) -> None:
    with pytest.raises(NetlangError) as error:
        open_data(source)
    assert error.value.diagnostics[0].code == "no-vocabulary"
