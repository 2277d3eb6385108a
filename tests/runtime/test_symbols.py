"""What nets know of their vocabularies: counts, Huffman codes, draws in proportion, windows that overlap."""

from __future__ import annotations

import heapq
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.elaboration.recipe import Symbols
from netlang.runtime.symbols import huffman
from netlang.runtime.vocabulary import Vocabulary
from netlang.targets.reference.evaluate import evaluate

LINKS = any(map(shutil.which, ("cc", "gcc", "clang"))) or importlib.util.find_spec("ziglang") is not None


def code(error: pytest.ExceptionInfo[NetlangError]) -> str:
    return error.value.diagnostics[0].code


def codes(counts: list[int]) -> list[tuple[int, ...]]:
    _, turns = huffman(counts)
    return [tuple(int(turn) for turn in row if turn) for row in turns]


def least_total(counts: list[int]) -> int:
    """The total length of the best code: the sum of the counts of all inner nodes."""
    heap, total = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        total += pair
        heapq.heappush(heap, pair)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_codes_are_the_shortest_that_tell_symbols_apart(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = [int(n) for n in random.zipf(1.5, random.integers(2, 60)) % 1000]
    found = codes(counts)
    assert sum(len(code) * count for code, count in zip(found, counts, strict=True)) == least_total(counts)
    assert sum(2.0 ** -len(code) for code in found) == 1  # Kraft (1949), so that no code begins another ...
    for one in found:
        assert not any(other[: len(one)] == one for other in found if other is not one)  # ... which is checked too


def test_a_way_down_the_tree_names_the_node_of_each_turn() -> None:
    inner, turns = huffman([5, 2, 1, 1])
    assert turns.tolist() == [[-1, 0, 0], [1, 1, 0], [1, -1, 1], [1, -1, -1]]
    nodes: dict[tuple[int, ...], int] = {}
    for row, way in zip(inner.tolist(), turns.tolist(), strict=True):
        for depth, turn in enumerate(way):
            if turn:
                assert nodes.setdefault(tuple(way[:depth]), row[depth]) == row[depth]
    assert sorted(nodes.values()) == [0, 1, 2]
    assert nodes[()] == 0


def test_one_symbol_has_no_code() -> None:
    assert huffman([3])[1].shape == (1, 0)


TABLES = """
net Tables(V=6, D=5):
    input  w: class(V)
    output count = symbol_counts(V)[w], turn = symbol_turns(V, D)[w], node = symbol_nodes(V, D)[w]
"""


def test_tables_are_those_of_the_vocabulary() -> None:
    net = netlang.loads(TABLES)
    assert net(np.arange(6))["count"].tolist() == [1] * 6  # without one, all symbols are alike
    net.vocabulary = Vocabulary("words", tuple("abcd"), (5, 2, 1, 1))
    out = net(np.arange(6))
    inner, turns = huffman([5, 2, 1, 1])
    assert out["count"].tolist() == [5, 2, 1, 1, 0, 0]
    assert (out["turn"][:4, :3] == turns).all()
    assert (out["node"][:4, :3] == inner).all()
    assert not out["turn"][4:].any()
    assert not out["turn"][:, 3:].any()
    net.vocabulary = Vocabulary("words", tuple("abcd"), (1, 1, 1, 1))  # another one has other tables
    assert net(0)["count"] == 1


def test_too_many_symbols_and_too_long_codes_are_diagnosed() -> None:
    net = netlang.loads(TABLES)
    net.vocabulary = Vocabulary("words", tuple("abcdefg"), (1,) * 7)
    with pytest.raises(NetlangError) as error:
        net(0)
    assert code(error) == "vocabulary-size"
    net.vocabulary = Vocabulary("words", tuple("abcdef"), (32, 16, 8, 4, 2, 1))
    net(0)
    short = netlang.loads(TABLES, D=4)
    short.vocabulary = net.vocabulary
    with pytest.raises(NetlangError) as error:
        short(0)
    assert code(error) == "code-length"
    assert "has 5 turns" in error.value.diagnostics[0].message


DRAWS = """
net Draws(n=2000):
    input  p[5]
    noise  k[n]: class(5) ~ categorical(p)
    noise  m[2, n]: class(5) ~ categorical(p + 1)
    count[v < 5] = sum(i) (1 if k[i] == v else 0)
    other[v < 5] = sum(i, j) (1 if m[i, j] == v else 0)
    output count, other, k
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_classes_are_drawn_in_proportion_to_their_weights(dtype: str) -> None:
    net = netlang.loads(DRAWS, dtype=dtype, seed=3)
    p = np.array([[1, 0, 4, 5, 0], [0, 0, 0, 0.5, 0], [1, 1, 1, 1, 1], [0, 3, 0, 0, 0]])
    out = net(p)
    for row, (weights, drawn) in enumerate(zip(p, out["count"], strict=True)):
        expected = 2000 * weights / weights.sum()
        assert (drawn[weights == 0] == 0).all()
        there = weights > 0
        # the 0.999 quantile of the chi-squared distribution with four degrees of freedom
        assert ((drawn - expected)[there] ** 2 / expected[there]).sum() < 18.5, row
    expected = 4000 * (p + 1) / (p + 1).sum(axis=1, keepdims=True)
    assert ((out["other"] - expected) ** 2 / expected).sum(axis=1).max() < 18.5
    graph = net.model.forward_graph
    reference = evaluate(graph, {"p": p}, seed=3, dtype=dtype)
    assert (reference[graph.outputs["k"]] == out["k"]).all()


def test_weights_that_say_nothing_give_a_class_all_the_same() -> None:
    net = netlang.loads(DRAWS)
    drawn = net([[0, 0, 0, 0, 0], [-1, 2, -3, 0, 0], [np.nan] * 5])["k"]
    assert set(drawn[1].tolist()) == {1}
    assert drawn.min() >= 0
    assert drawn.max() <= 4


def test_draws_are_new_in_every_step_and_the_same_for_the_same_seed() -> None:
    text = DRAWS + "    loss l = sum(v) count[v]^2 * w\n    param w ~ zeros\ntrain Draws:\n    optimizer sgd\n"
    net, other = netlang.loads(text, n=20), netlang.loads(text, n=20)
    first = net(np.ones(5))["k"]
    assert (first == other(np.ones(5))["k"]).all()
    net.step(p=np.ones((1, 5)))
    assert (first != net(np.ones(5))["k"]).any()


# --- windows that overlap ------------------------------------------------------------------------------------------

WINDOWS = """
net Windows(V=9):
    input  text[3]: class(V)
    {target}
    param  w[V] ~ zeros
    output w[text[0]]
    loss   sum(t) w[text[t]]^2

train Windows:
    vocabulary characters
    optimizer  sgd
    {stride}
"""


def windows(text: str, target: str = "", stride: str = "") -> dict[str, list[object]]:
    from netlang.runtime.training import read

    net = netlang.loads(WINDOWS.format(target=target, stride=stride))
    data = read(net, {"text": text})
    assert net.vocabulary is not None
    symbols = net.vocabulary.symbols
    return {n: ["".join(symbols[k] for k in np.atleast_1d(row)) for row in a] for n, a in data.items()}


def test_windows_start_where_the_stride_says() -> None:
    assert windows("abcdefgh")["text"] == ["abc", "def"]
    assert windows("abcdefgh", stride="stride 1")["text"] == ["abc", "bcd", "cde", "def", "efg", "fgh"]
    assert windows("abcdefgh", stride="stride 2")["text"] == ["abc", "cde", "efg"]
    assert windows("abcdefgh", stride="stride 5")["text"] == ["abc", "fgh"]


def test_targets_follow_windows_that_overlap() -> None:
    both = windows("abcdefgh", "target next[3]: class(V)", "stride 2")
    assert both == {"text": ["abc", "cde", "efg"], "next": ["bcd", "def", "fgh"]}
    one = windows("abcdefgh", "target next: class(V)")
    assert one == {"text": ["abc", "bcd", "cde", "def", "efg"], "next": list("defgh")}
    some = windows("abcdefgh", "target next: class(V)", "stride 3")
    assert some == {"text": ["abc", "def"], "next": ["d", "g"]}


def test_windows_that_overlap_are_not_copied() -> None:
    from netlang.runtime.sources.text import Text
    from netlang.runtime.texts import Reading

    net = netlang.loads(WINDOWS.format(target="", stride=""))
    vocabulary = Vocabulary.fit(["abcd" * 1000], Symbols("characters"))
    data = Reading("Windows", net.inputs, net.targets, stride=1).examples(Text("abcd" * 1000), vocabulary)
    assert data["text"].strides == (1, 1)


# --- elsewhere -----------------------------------------------------------------------------------------------------

LEARNS = """
net Learns(V=8, D=7):
    input text[2]: class(V)
    noise k[3]: class(V) ~ categorical(symbol_counts(V)^0.75)
    param E[V, 3] ~ normal(0, 1), C[V, 3] ~ normal(0, 1), T[V - 1, 3] ~ normal(0, 1)
    x = E[text[0]]
    s = sum(i) C[text[1], i] * x[i]
    t[j] = sum(i) C[k[j], i] * x[i]
    a[d < D] = sum(i) T[symbol_nodes(V, D)[text[1], d], i] * x[i]
    turn[d < D] = symbol_turns(V, D)[text[1], d]
    output x
    loss negative_sampling(s, t), hierarchical_softmax(a, turn)

train Learns:
    vocabulary characters
    stride     1
    optimizer  sgd(lr=0.1)
    epochs     2
"""


def test_gradients_through_draws_and_trees_are_right() -> None:
    from netlang.runtime.gradcheck import gradcheck

    net = netlang.loads(LEARNS, dtype="float64")
    net.vocabulary = Vocabulary("characters", tuple("abcdefgh"), (40, 20, 9, 5, 3, 2, 1, 1))
    assert max(c.error for c in gradcheck(net)) < 1e-6


def test_a_vocabulary_kept_with_a_net_goes_on_to_say_how_often_symbols_occur(tmp_path: Path) -> None:
    net = netlang.loads(LEARNS)
    net.fit({"text": "abacabadabacabae"}, progress=False)
    net.save(tmp_path / "m.netc")
    again = netlang.load(tmp_path / "m.netc")
    again.steps_done = net.steps_done
    x = np.array([[0, 1], [2, 0]])
    for name, values in net.losses_and_metrics(text=x).items():
        assert (again.losses_and_metrics(text=x)[name] == values).all()


@pytest.mark.skipif(not LINKS, reason="there is nothing that links a shared library")
def test_a_native_library_has_the_tables_in_it(tmp_path: Path) -> None:
    net = netlang.loads(LEARNS)
    net.fit({"text": "abacabadabacabae"}, progress=False)
    netlang.save_native(net, tmp_path / "learns.so", training=True)
    native = netlang.load_native(tmp_path / "learns.so")
    x = np.array([[0, 1], [2, 0], [1, 4]])
    assert native.step(text=x) == pytest.approx(net.step(text=x), rel=1e-6)
    np.testing.assert_allclose(native.params["C"], net.params["C"], rtol=1e-6)
