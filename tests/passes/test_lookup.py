"""Tables of what is computed of symbols: the same results and gradients, for fewer products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netlang
from netlang.elaboration.modules import module_from_text
from netlang.graph.graph import Graph
from netlang.runtime.model import Model
from netlang.targets.reference import evaluate

TEXT = """
net Text:
    input  text[T]: class({symbols})
    target next[T]: class({symbols})
    x = text -> embedding(4)
    y = x -> {layer}
    scores = y -> dense({symbols})
    output scores
    loss   mean(t) cross_entropy(scores[t], next[t])
"""
LAYERS = ("rnn(3)", "lstm(3)", "gru(3, reset_after=true)", "gru(3)", "dense(3)", "rnn(3) -> dense(4)")


def model(symbols: int = 5, layer: str = "dense(3)", without: Sequence[str] = ()) -> Model:
    module = module_from_text(TEXT.format(symbols=symbols, layer=layer))
    return Model(module, module.nets()[0], {}, without=tuple(without))


def tables(graph: Graph) -> list[str]:
    return [node.name for node in graph if node.name.endswith(".table") and not node.name.startswith("d/")]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(LAYERS), st.integers(2, 300), st.sampled_from(([], ["embedding_1.y"])), st.integers(0, 9))
def test_results_and_gradients_stay(layer: str, symbols: int, others: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    arrays = {name: random.integers(0, symbols, (3, 6)) for name in ("text", "next")}
    found = []
    for each in (model(symbols, layer, ["lookup", "merge"]), model(symbols, layer)):
        wrt = [p.name for p in each.training.params]
        random = np.random.default_rng(seed)
        values = {p.name: random.standard_normal([n.constant for n in p.shape]) for p in each.training.params}
        graph = each.gradient_graph([*wrt, *others])
        results = evaluate(graph, {**values, **arrays}, {"batch": 3, "T": 6})
        found.append({name: results[node] for name, node in {**graph.objectives, **graph.gradients}.items()})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_code_looks_up_too(dtype: str) -> None:
    net = netlang.loads(TEXT.format(symbols=7, layer="lstm(20)"), dtype=dtype, seed=1)
    random = np.random.default_rng(0)
    for batch, length in ((1, 1), (5, 3), (2, 33)):
        given = {name: random.integers(0, 7, (batch, length)) for name in ("text", "next")}
        _, gradients = net.gradients(**given)
        graph = net.model.gradient_graph(list(gradients))
        assert tables(graph)
        expected = evaluate(graph, {**net.params, **given}, {"batch": batch, "T": length})
        for name, value in gradients.items():
            bound = 1e-12 if dtype == "float64" else 2e-5
            np.testing.assert_allclose(value, expected[graph.gradients[name]], rtol=0, atol=bound, err_msg=name)


def test_a_table_is_small() -> None:
    assert len(tables(model(256, "lstm(3)").forward_graph)) == 4
    assert not tables(model(257, "lstm(3)").forward_graph)


def test_what_someone_asks_for_is_read() -> None:
    one = model()
    assert tables(one.gradient_graph(["embedding_1.E"]))
    assert not tables(one.gradient_graph(["embedding_1.y"]))


def test_a_stream_computes_the_table_before_it_begins() -> None:
    parts = model(5, "lstm(3)").streamed()
    assert len(tables(parts.prologue)) == 4
    assert not any("lstm_1.W" in operand for node in parts.step for operand in node.operands)


def test_what_varies_with_the_place_is_no_table() -> None:
    text = (
        "net N:\n    input text[T]: class(3), w[T, 4]\n    param E[3, 4] ~ normal(0, 1)\n"
        "    y[t < T] = sum(k) w[t, k] * E[text[t], k]\n    output y\n"
    )
    module = module_from_text(text)
    assert not tables(Model(module, module.nets()[0], {}).forward_graph)
