"""Word vectors: what is near in texts of a known structure, and questions that cannot be answered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.cli import main
from netlang.diagnostics import NetlangError
from netlang.runtime.neighbours import questions
from netlang.runtime.vocabulary import Vocabulary

EXAMPLES = Path(__file__).parents[2] / "examples"
FAMILIES, MEMBERS = 6, 8


def families(words: int) -> str:
    """A text in which a word is followed mostly by words of its family, among words that say nothing."""
    random = np.random.default_rng(0)
    out: list[str] = []
    while len(out) < words:
        family = random.integers(FAMILIES)
        members = random.integers(0, MEMBERS, 10)
        out += [f"f{family}m{m}" if random.uniform() < 0.7 else f"the{m}" for m in members]
    return " ".join(out)


@pytest.mark.parametrize("example", ["skipgram", "skipgram_tree", "cbow", "cbow_tree"])
def test_words_that_occur_together_become_neighbours(example: str) -> None:
    net = netlang.load(EXAMPLES / f"{example}.net", V=FAMILIES * MEMBERS + MEMBERS + 1, n=16, w=3)
    net.fit({"text": families(12_000)}, epochs=3, batch=64, progress=False)
    assert net.vocabulary is not None
    right = total = 0
    for word in net.vocabulary.symbols:
        if word.startswith("f"):
            near = net.neighbours(word, count=3)
            right += sum(n.symbol.startswith(word[:2]) for n in near)
            total += len(near)
    assert total == 3 * FAMILIES * MEMBERS
    assert right > 0.9 * total  # by chance 7 of 55, which is 0.13


def test_analogies_are_differences_of_vectors() -> None:
    """A word rXcY stands beside words that tell X and beside words that tell Y."""
    random = np.random.default_rng(1)
    size = 4
    out: list[str] = []
    for _ in range(2_500):
        row, column, a, b = random.integers(0, size, 4)
        out += [f"row{row}{a}", f"r{row}c{column}", f"column{column}{b}"]
    net = netlang.load(EXAMPLES / "skipgram.net", V=size * size + 2 * size * size + 1, n=16, w=1)
    net.fit({"text": " ".join(out)}, epochs=8, batch=64, progress=False)
    found = []
    for row, column in [(0, 0), (1, 2), (3, 1), (2, 3)]:
        other, across = (row + 1) % size, (column + 1) % size
        question = f"r{row}c{across} - r{other}c{across} + r{other}c{column}"
        found.append(net.neighbours(question, count=1)[0].symbol == f"r{row}c{column}")
    assert sum(found) >= 3  # each is one of 45 words


LOOKUP = """
net Lookup(V=4):
    input  word: class(V)
    param  E[V, 2] ~ [[1, 0], [0, 2], [1, 1], [-3, 0]], F[V, 3] ~ ones, G[2] ~ ones
    {lines}
"""


def lookup(lines: str = "output E[word]") -> netlang.Net:
    net = netlang.loads(LOOKUP.format(lines=lines))
    net.vocabulary = Vocabulary("words", ("east", "north", "between", "west"), (4, 3, 2, 1), lowercase=True)
    return net


def test_neighbours_are_sorted_by_the_cosine() -> None:
    near = lookup().neighbours("East")
    assert [n.symbol for n in near] == ["between", "north", "west"]
    assert [n.cosine for n in near] == pytest.approx([0.5**0.5, 0, -1])
    assert [n.symbol for n in lookup().neighbours("east + north", count=1)] == ["between"]
    assert [n.symbol for n in lookup().neighbours("north - east")] == ["west", "between"]
    zero = lookup()
    zero.params["E"] = np.zeros((4, 2))
    assert [n.cosine for n in zero.neighbours("east")] == [0, 0, 0]


def test_the_table_is_the_one_that_outputs_look_up_in_or_the_one_that_is_named() -> None:
    both = lookup("output E[word], other = F[word]")
    with pytest.raises(NetlangError) as error:
        both.neighbours("east")
    assert error.value.diagnostics[0].code == "no-word-vectors"
    assert "`E`, `F`" in str(error.value.diagnostics[0].help)
    assert both.neighbours("east", table="E")[0].symbol == "between"
    assert lookup("output E[word]\n    loss sum(F[word])").neighbours("east")[0].symbol == "between"


@pytest.mark.parametrize(
    ("question", "options", "code"),
    [
        ("south", {}, "unknown-symbol"),
        ("", {}, "bad-question"),
        ("east north", {}, "bad-question"),
        ("east", {"count": 0}, "bad-setting"),
        ("east", {"count": True}, "bad-setting"),
        ("east", {"table": "G"}, "no-word-vectors"),
        ("east", {"table": "H"}, "no-word-vectors"),
    ],
)
def test_what_cannot_be_answered_is_diagnosed(question: str, options: dict[str, object], code: str) -> None:
    with pytest.raises(NetlangError) as error:
        lookup().neighbours(question, **options)  # type: ignore[arg-type]
    assert error.value.diagnostics[0].code == code


def test_a_net_without_a_vocabulary_is_diagnosed() -> None:
    net = lookup()
    net.vocabulary = None
    with pytest.raises(NetlangError) as error:
        net.neighbours("east")
    assert error.value.diagnostics[0].code == "no-vocabulary"


def test_signs_join_words_and_are_words_elsewhere() -> None:
    assert questions(["a", "b", "-", "c", "+", "d"]) == [[(1, "a")], [(1, "b"), (-1, "c"), (1, "d")]]
    assert questions(["-"]) == [[(1, "-")]]
    assert questions(["a", "+"]) == [[(1, "a")], [(1, "+")]]
    assert questions(["a", "-", "-"]) == [[(1, "a"), (-1, "-")]]


def test_the_command_answers_each_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lookup().save(tmp_path / "m.netc")
    command = ["neighbours", str(tmp_path / "m.netc"), "west", "north", "-", "east", "--count", "1"]
    assert main([*command, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"west": {"north": 0}, "north - east": {"west": pytest.approx(0.5**0.5)}}
    assert main(command) == 0
    assert capsys.readouterr().out == "west\n    north  0.000\nnorth - east\n    west  0.707\n"
    assert main(["neighbours", str(tmp_path / "m.netc"), "noth"]) == 1
    assert "did you mean `north`?" in capsys.readouterr().err
