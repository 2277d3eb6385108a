"""Masked sums of products by tiles: the same numbers, whatever the mask, and no condition left where none is needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlang.elaboration.modules import module_from_text
from netlang.graph.expression import Any, Reduce
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation
from netlang.runtime.model import Model
from netlang.schedule import threads
from netlang.schedule.masks import with_whole_sums
from netlang.schedule.order import split_guard
from netlang.schedule.program import Alone, Guard, Multiply, Share, statements
from netlang.schedule.schedule import schedule
from netlang.targets.cpu import program as cpu
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate

TEXT = """
net Masked:
    input q[T, {width}], k[T, {width}], v[T, {width}], n: class(9)
    e[t, s] = sum(j) ({scale} * q[t, j] * k[s, j] if {mask} else 0)
    p[t, s] = {weight}
    y[t, j] = sum(s) (p[t, s] * v[s, j] if {mask} else 0)
    output y
    loss sum(t, j) y[t, j]^2
"""
MASKS = ("s <= t", "t <= s", "s <= t + 2 and t <= s + 1", "s < n", "s <= t and s < n", "s != t")
WEIGHTS = ("tanh(e[t, s])", "tanh(e[t, s]) if {mask} else 0", "exp(e[t, s])", "1 + e[t, s]", "-3 * e[t, s]")


def gradients(mask: str, weight: str, scale: str = "0.3", width: int = 24) -> Graph:
    text = TEXT.format(mask=mask, weight=weight.format(mask=mask), scale=scale, width=width)
    module = module_from_text(text)
    return Model(module, module.nets()[0], {}).gradient_graph(["q", "k", "v"])


def arrays(batch: int, length: int, width: int = 24) -> dict[str, np.ndarray]:
    random = np.random.default_rng(length)
    given = {name: 0.3 * random.standard_normal((batch, length, width)) for name in "qkv"}
    return given | {"n": random.integers(0, 9, batch)}


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(MASKS), st.sampled_from(WEIGHTS), st.sampled_from(("1", "0.3")))
def test_no_result_changes(mask: str, weight: str, scale: str) -> None:
    graph = gradients(mask, weight, scale)
    whole = with_whole_sums(graph)
    for length in (1, 5):
        given = arrays(2, length)
        sizes = {"batch": 2, "T": length}
        plain, found = (evaluate(g, given, sizes) for g in (graph, whole))
        for name in graph.gradients.values():
            np.testing.assert_allclose(found[name], plain[name], rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("cpu", ["native", "x86-64-v3"])
@pytest.mark.parametrize(("mask", "weight"), [("s <= t", WEIGHTS[0]), ("s <= t and s < n", WEIGHTS[1])])
def test_compiled(mask: str, weight: str, cpu: str) -> None:
    graph = gradients(mask, weight)
    program = schedule(graph, graph.gradients.values())
    products = [s for kernel in program.kernels for s in statements(kernel.body) if isinstance(s, Multiply)]
    assert len({s.target for s in products}) >= 6  # two forward, four backward
    compiled = build(program, np.float64, cpu=cpu)
    for batch, length in ((1, 1), (3, 7), (2, 33), (1, 130)):
        given = arrays(batch, length)
        expected = evaluate(graph, given, {"batch": batch, "T": length})
        found = compiled.run(given, {"batch": batch, "T": length})
        for name in graph.gradients.values():
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_hidden_cannot_leak_be_it_not_a_number(bad: float) -> None:
    module = module_from_text(TEXT.format(mask="s <= t", weight=WEIGHTS[1].format(mask="s <= t"), scale="1", width=24))
    graph = Model(module, module.nets()[0], {}).forward_graph
    program = build(schedule(graph, graph.outputs.values()), np.float64)
    given = arrays(2, 40)
    seen = program.run(given, {"batch": 2, "T": 40})["y"]
    assert np.isfinite(seen).all()
    for name in "qkv":
        given[name][:, 30:] = bad
    hidden = program.run(given, {"batch": 2, "T": 40})["y"]
    np.testing.assert_allclose(hidden[:, :30], seen[:, :30], rtol=1e-12, atol=1e-14)
    assert np.isnan(hidden[:, 30:]).all()


@pytest.mark.parametrize("width", [24, 32])
def test_threads_share_what_depends_on_what_is_in_memory(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all of `v` is finite: there are two kernels in one, and each part looks which of them it is."""
    monkeypatch.setattr(cpu, "ENOUGH", 1)
    monkeypatch.setattr(threads, "PIECE", 1)
    graph = gradients("s <= t", WEIGHTS[1].format(mask="s <= t"), width=width)
    program = schedule(graph, graph.gradients.values())
    every = [s for kernel in program.kernels for s in statements(kernel.body)]
    asking = [s.body for s in every if isinstance(s, Share) and any(isinstance(inside, Guard) for inside in s.body)]
    assert len(asking) >= 4
    left = [s for alone in every if isinstance(alone, Alone) for s in statements(alone.body)]
    assert not any(isinstance(s, Multiply) for s in left)
    given = arrays(5, 70, width)
    several = [build(program, np.float64, threads=n) for n in (1, 2, 3, 4)]
    for end in (70, 60):
        given["v"][:, end:] = np.inf
        found = [b"".join(a.tobytes() for a in each.run(given, {"batch": 5, "T": 70}).values()) for each in several]
        assert len(set(found)) == 1


def guarded(graph: Graph, name: str) -> bool:
    node = graph[name]
    assert isinstance(node, Equation)
    assert isinstance(node.body, Reduce)
    return not all(isinstance(guard, Any) for guard in split_guard(node.body)[0])


def test_only_what_is_zero_elsewhere_is_summed_whole() -> None:
    for weight, needed in zip(WEIGHTS, (False, False, True, True, False), strict=True):
        assert guarded(with_whole_sums(gradients("s <= t", weight)), "y") == needed, weight


def test_what_would_read_outside_keeps_its_condition() -> None:
    text = (
        "net N:\n    input x[T, 24], w[24, 40]\n"
        "    y[t < T, i < 40] = sum(j) (x[t - 1, j] * w[j, i] if t >= 1 else 0)\n    output y\n"
    )
    module = module_from_text(text)
    graph = Model(module, module.nets()[0], {}).forward_graph
    assert with_whole_sums(graph).nodes == graph.nodes
