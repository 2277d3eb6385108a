"""The pass `recompute`: what pairs places is not kept, everything else is; results stay."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.graph import Graph
from netlang.graph.text import graph_text
from netlang.passes.pipeline import compile_graph
from netlang.schedule.memory import plan
from netlang.schedule.program import Program
from netlang.schedule.schedule import schedule
from netlang.targets.reference import evaluate
from tests.library.running import first_values

BLOCKS = """net Blocks:
    input x[{T}, 8]
    y = x -> repeat({count}, transformer_encoder(2, causal=true, prenorm=true, hidden=8))
    loss value = sum(i, j) y[i, j]^2
"""


def differentiated(text: str, without: tuple[str, ...] = ()) -> Graph:
    module = module_from_text(text)
    plain = elaborate(module, module.nets()[0], training=True)
    return compile_graph(plain, wrt=[p.name for p in plain.params], without=without)


def program(text: str, without: tuple[str, ...] = ()) -> Program:
    graph = differentiated(text, without)
    return schedule(graph, [*graph.objectives.values(), *graph.gradients.values()])


def peak(T: int, count: int, without: tuple[str, ...] = ()) -> int:
    return plan(program(BLOCKS.format(T=T, count=count), without), {"batch": 1}).bytes


def kept(p: Program, least: int) -> set[str]:
    """The buffers of at least so many elements for an example that live from before the objective to after it."""
    (end,) = (k for k, kernel in enumerate(p.kernels) if kernel.name == "objective")
    sizes = {"batch": 1, "T": 64}
    large = [b for b in p.of_kind("temporary") if b.elements.evaluate(sizes) >= least]
    return {b.name for b in large if b.first <= end < b.last}


@pytest.mark.parametrize(("T", "drop"), [(64, ""), ("T", ""), (64, "drop=0.1, ")])
def test_no_scores_are_kept_for_the_backward_pass(T: int | str, drop: str) -> None:
    """Of 64 steps, or of any number, which is taken to be large, and not what is left of them by dropout."""
    text = BLOCKS.format(T=T, count=2).replace("hidden=8", f"{drop}hidden=8")
    assert kept(program(text), 64 * 64) == set()
    assert kept(program(text, ("recompute",)), 64 * 64)


def test_what_a_block_more_takes_grows_as_the_sequence() -> None:
    """And not as its square: twice the length takes twice the memory for each block."""
    each = [peak(T, 2) - peak(T, 1) for T in (128, 256)]
    assert each[1] == pytest.approx(2 * each[0], rel=0.01)
    before = [peak(T, 2, ("recompute",)) - peak(T, 1, ("recompute",)) for T in (128, 256)]
    assert before[1] > 3 * before[0]


def test_gradients_stay() -> None:
    found = []
    for without in ((), ("recompute",)):
        graph = differentiated(BLOCKS.format(T=40, count=1), without)
        assert any(node.name.endswith(".again") for node in graph) is not bool(without)
        values = {**first_values(graph, seed=1), "x": np.random.default_rng(0).normal(size=(2, 40, 8))}
        found.append(evaluate(graph, values, {"batch": 2}, only=graph.gradients.values()))
    for name in graph.gradients.values():
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-12, atol=1e-12)


KEPT = {
    "short sequences": BLOCKS.format(T=8, count=1),
    "wide layers": "net N:\n    input x[4]\n    y = x -> dense(512) -> tanh -> dense(512)\n    loss l = sum(y^2)\n",
    "convolutions": "net N:\n    input x[1, 9, 9]\n    y = x -> conv(64, 3) -> relu\n    loss l = sum(y^2)\n",
    "recurrences": "net N:\n    input x[64, 1]\n    y = x -> lstm(8)\n    loss l = sum(i, j) y[i, j]^2\n",
    "words": "net N:\n    input w[4]: class(9)\n    y = w -> embedding(64)\n    loss l = sum(i, j) y[i, j]^3\n",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_what_is_kept(text: str) -> None:
    assert graph_text(differentiated(text)) == graph_text(differentiated(text, ("recompute",)))
