"""What the length of a sequence costs: memory, and how long the program is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from netlang.elaboration.modules import module_from_text
from netlang.graph.integer import size
from netlang.graph.nodes import Equation
from netlang.graph.recurrence import Loop
from netlang.passes.cost import is_contraction
from netlang.runtime.model import Model
from netlang.schedule.memory import plan
from netlang.schedule.schedule import schedule
from netlang.schedule.text import program_text
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate

SEQUENCES = """
net Sequence(n=6):
    input  x[T, 4]
    target y[T]: class(3)
    scores = x -> lstm(n) -> dense(3)
    output scores
    loss mean(t) cross_entropy(scores[t], y[t])

train Sequence:
    optimizer sgd(lr=0.1)
"""


def test_memory_is_linear_in_the_length_of_a_sequence() -> None:
    """An LSTM's training step: one program for every length, whose bytes are on a line."""
    module = module_from_text(SEQUENCES)
    model = Model(module, module.nets()[0])
    step = model.step_graph
    program = schedule(step, step.objectives.values(), step.updates)
    assert "T" in program.sizes
    lengths = [64 * k for k in range(1, 7)]  # whole alignments: no rounding
    taken = [plan(program, {"batch": 16, "T": length}).bytes for length in lengths]
    assert set(np.diff(taken)) == {taken[1] - taken[0]}
    assert 0 < (taken[1] - taken[0]) / 64 / 16 < 4 * 25 * 6  # bytes a step and example: a number of vectors of n
    assert plan(program, {"batch": 16, "T": 64 * 10**4}).bytes == taken[0] + (10**4 - 1) * (taken[1] - taken[0])


def test_a_longer_sequence_is_not_a_longer_program() -> None:
    """The length is nowhere in the program, and a constant one is a number in it and no more."""

    def text(net: str) -> str:
        module = module_from_text(net)
        step = Model(module, module.nets()[0]).step_graph
        return program_text(schedule(step, step.objectives.values(), step.updates))

    fixed = SEQUENCES.replace("mean", "sum")
    constant = [text(fixed.replace("(n=6)", f"(n=6, T={length})")) for length in (1000, 1800)]
    shorter = re.sub(r"\b(1800|179[89])\b", lambda number: str(int(number[0]) - 800), constant[1])
    assert constant[0] == re.sub(r"\b225\b", "125", shorter)  # both in eights
    assert "1000" not in text(SEQUENCES)


def test_products_of_inputs_and_weight_gradients_are_outside_of_the_time() -> None:
    """Of an LSTM's training step only the products with the state before are in the loops over time."""
    module = module_from_text(SEQUENCES)
    step = Model(module, module.nets()[0]).step_graph
    loops = [component for component in step.components if isinstance(component, Loop)]
    inside = {node.name for loop in loops for node in loop.nodes}
    products = [node for node in step if isinstance(node, Equation) and is_contraction(node.body)]
    sequential = {node.operands for node in products if node.name in inside}
    assert sequential == {(f"lstm_1.U{gate}", "lstm_1.h") for gate in "ifog"} | {
        (f"d/lstm_1.{gate}.sum2", f"lstm_1.U{gate}") for gate in "ifog"
    }
    free = {node.operands for node in products if node.name not in inside}
    for gate in "ifog":
        assert (f"lstm_1.W{gate}", "x") in free
        assert {(f"d/lstm_1.{gate}.sum2", "x"), (f"d/lstm_1.{gate}.sum2", "lstm_1.h")} <= free
    assert [loop.backward for loop in loops] == [False, True]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_only_its_own_step_reads_has_memory_for_one_step(dtype: type) -> None:
    text = (
        "net N:\n    input x[T, 6]\n    param V[20, 20] ~ normal(0, 0.3)\n"
        "    h[t < T] = tanh(a[t] * b[t] + a[t])\n    a[t < T] = V @ (h[t-1] else 0) + sum(k) x[t, k]\n"
        "    b[t < T] = sin(V @ cos(a[t]))\n    output h\n    loss sum(t, i) h[t, i]^2\n"
    )
    module = module_from_text(text)
    graph = Model(module, module.nets()[0], {}).gradient_graph(["V", "x"])
    roots = [*graph.objectives.values(), *graph.gradients.values()]
    program = schedule(graph, roots)
    passing = {t.name for t in program.tensors.values() if t.passing >= 0}
    assert passing
    for name in passing:
        assert size("T") not in program.buffers[name].shape
    compiled = build(program, dtype)
    for batch, length in ((1, 1), (5, 2), (3, 9)):
        random = np.random.default_rng(length)
        arrays = {"x": random.standard_normal((batch, length, 6)), "V": 0.3 * random.standard_normal((20, 20))}
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}
        expected = evaluate(graph, arrays, {"batch": batch, "T": length})
        found = compiled.run(arrays, {"batch": batch, "T": length})
        for root in roots:
            scale = np.abs(expected[root]).max() * (1e-13 if dtype is np.float64 else 1e-4)
            np.testing.assert_allclose(found[root], expected[root], rtol=0, atol=scale, err_msg=root)
