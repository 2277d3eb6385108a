"""Recurrent cells: equal to PyTorch's with the same weights, to their papers' formulas, and the laws of sequences."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netlang.diagnostics import NetlangError
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.passes.pipeline import compile_graph
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.library.cells_by_torch import (
    BATCH,
    BLOCKS,
    CASES,
    FILE,
    LENGTHS,
    Case,
    N,
    T,
    by_torch,
    inputs,
    parameters,
)
from tests.library.running import first_values, graph_of, initial, value
from tests.library.test_gradients import compare

Array = NDArray[Any]


# --- equal to PyTorch -----------------------------------------------------------------------------------------------

CELLS = {
    "rnn": f"rnn({N})",
    "relu": f"rnn({N}, activation=relu)",
    "lstm": f"lstm({N})",
    "gru": f"gru({N}, reset_after=true)",
}


def text_of(case: Case) -> str:
    """The net of a case, with the cotangents as inputs."""
    cell = CELLS[case.cell]
    if case.given:
        cell = cell.replace(")", "".join(f", {name}={name}" for name in case.states) + ")")
    if case.bidirectional:
        cell = f"bidirectional({cell}, {cell}{', length=n' if case.padded else ''})"
    cells = case.cell == "lstm" and len(case.suffixes) == 1
    shapes = {name: array.shape[1:] for name, array in inputs(case).items()}
    lines = [
        f"input {', '.join(f'{name}{list(shape)}' for name, shape in shapes.items())}, n: class({T + 1})",
        f"{'y, c' if cells else 'y'} = x -> repeat({case.layers}, {cell})",
        f"output y, n, e{f', last = c[{T - 1}]' if cells else ''}",
        f"loss value = {BATCH} * (sum(t < {T}) (sum(y[t] * g[t]) if t < n else 0)"
        f"{f' + sum(c[{T - 1}] * e)' if cells else ''})",
    ]
    return "net N:\n" + "".join(f"    {line}\n" for line in lines)


def places(case: Case) -> dict[str, list[tuple[str, slice]]]:
    """For each of our parameters the parts of PyTorch's tensors of which it is the sum."""
    word = "rnn" if case.cell == "relu" else case.cell
    found = {}
    for k, suffix in enumerate(case.suffixes):
        layer, direction = divmod(k, 2) if case.bidirectional else (k, 0)
        scope = f"bidirectional_{layer + 1}.{word}_{direction + 1}" if case.bidirectional else f"{word}_{layer + 1}"
        for block, gate in enumerate(BLOCKS[case.cell]):
            rows = slice(block * N, (block + 1) * N)
            apart = case.cell == "gru" and not gate  # the candidate keeps its two biases apart
            found[f"{scope}.W{gate}"] = [(f"weight_ih_{suffix}", rows)]
            found[f"{scope}.U{gate}"] = [(f"weight_hh_{suffix}", rows)]
            found[f"{scope}.b{gate}"] = [(f"bias_{k}_{suffix}", rows) for k in (("ih",) if apart else ("ih", "hh"))]
            if apart:
                found[f"{scope}.c"] = [(f"bias_hh_{suffix}", rows)]
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equal_to_torch(case: Case) -> None:
    """In float32: outputs to 1e-5, gradients by all parameters and inputs to 1e-4."""
    with np.load(FILE) as kept:
        expected = {key.partition(":")[2]: kept[key] for key in kept.files if key.partition(":")[0] == case.name}
    ours, weights = places(case), parameters(case)
    arrays = {name: sum(weights[part][rows] for part, rows in parts) for name, parts in ours.items()}
    arrays |= {**inputs(case), "n": LENGTHS if case.padded else np.full(BATCH, T)}
    wrt = [*ours, "x", *case.states]
    plain = elaborate(module := module_from_text(text_of(case)), module.nets()[0], training=True)
    assert {p.name for p in plain.params} == set(ours)
    graph = compile_graph(plain, wrt=wrt)
    roots = [*graph.outputs.values(), *(graph.gradients[name] for name in wrt)]
    found = build(schedule(graph, roots), np.float32).run(arrays, {"batch": BATCH}, {})

    valid = np.arange(T)[None, :, None] < arrays["n"][:, None, None]
    np.testing.assert_allclose(found[graph.outputs["y"]] * valid, expected["y"], rtol=0, atol=1e-5)
    if "c" in expected:
        np.testing.assert_allclose(found[graph.outputs["last"]], expected["c"], rtol=0, atol=1e-5)
    for name in wrt:
        # of biases that are added, each has the gradient of the sum
        part, rows = ours[name][0] if name in ours else (name, slice(None))
        np.testing.assert_allclose(found[graph.gradients[name]], expected[part][rows], rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_file_is_what_torch_gives(case: Case) -> None:
    pytest.importorskip("torch")
    with np.load(FILE) as kept:
        for name, array in by_torch(case).items():
            np.testing.assert_allclose(kept[f"{case.name}:{name}"], array, rtol=0, atol=1e-5, err_msg=name)


# --- the formulas of the papers -------------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class Formula:
    """A cell, how wide its input is, and a step from its parameters, the input and the state to the next state."""

    cell: str
    width: int
    step: Callable[[Namespace, Array, tuple[Array, ...]], tuple[Array, ...]]
    states: tuple[str, ...] = ("h0",)


def elman(p: Namespace, x: Array, s: tuple[Array, ...]) -> tuple[Array, ...]:
    return (np.maximum(p.U @ s[0] + p.W @ x + p.b, 0),)


def jordan(p: Namespace, x: Array, s: tuple[Array, ...]) -> tuple[Array, ...]:
    return (sigmoid(p.V @ np.tanh(p.U @ s[0] + p.W @ x + p.b) + p.c),)


def peepholes(p: Namespace, x: Array, s: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = s
    i = sigmoid(p.Wi @ x + p.Ui @ h + p.vi * c + p.bi)
    f = sigmoid(p.Wf @ x + p.Uf @ h + p.vf * c + p.bf)
    c = f * c + i * np.tanh(p.Wg @ x + p.Ug @ h + p.bg)
    return sigmoid(p.Wo @ x + p.Uo @ h + p.vo * c + p.bo) * np.tanh(c), c


def reset_before(p: Namespace, x: Array, s: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = s
    z, r = sigmoid(p.Wz @ x + p.Uz @ h + p.bz), sigmoid(p.Wr @ x + p.Ur @ h + p.br)
    return (z * h + (1 - z) * np.tanh(p.W @ x + p.U @ (r * h) + p.b),)


def mut1(p: Namespace, x: Array, s: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = s
    z, r = sigmoid(p.Wz @ x + p.bz), sigmoid(p.Wr @ x + p.Ur @ h + p.br)
    return (np.tanh(p.U @ (r * h) + np.tanh(x) + p.b) * z + h * (1 - z),)


def mut2(p: Namespace, x: Array, s: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = s
    z, r = sigmoid(p.Wz @ x + p.Uz @ h + p.bz), sigmoid(x + p.Ur @ h + p.br)
    return (np.tanh(p.U @ (r * h) + p.W @ x + p.b) * z + h * (1 - z),)


def mut3(p: Namespace, x: Array, s: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = s
    z, r = sigmoid(p.Wz @ x + p.Uz @ np.tanh(h) + p.bz), sigmoid(p.Wr @ x + p.Ur @ h + p.br)
    return (np.tanh(p.U @ (r * h) + p.W @ x + p.b) * z + h * (1 - z),)


FORMULAS = [
    Formula("rnn(3, activation=relu, recurrent=identity, {})", 2, elman),
    Formula("jordan(4, 3, readout=sigmoid, {})", 2, jordan, ("y0",)),
    Formula("lstm(3, peepholes=true, {})", 2, peepholes, ("h0", "c0")),
    Formula("gru(3, {})", 2, reset_before),
    Formula("mut1(3, {})", 3, mut1),
    Formula("mut2(3, {})", 3, mut2),
    Formula("mut3(3, {})", 2, mut3),
]


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda f: f.cell.partition("(")[0])
def test_a_cell_is_its_paper_s_formula(formula: Formula) -> None:
    random = np.random.default_rng(7)
    states = {name: random.standard_normal(3) for name in formula.states}
    cell = formula.cell.format(", ".join(f"{name}={name}" for name in states))
    text = (
        f"net N:\n    input x[5, {formula.width}], {', '.join(f'{s}[3]' for s in states)}\n    output y = x -> {cell}\n"
    )
    params = {name: random.normal(size=first.shape) for name, first in initial(text).items()}
    x = random.standard_normal((5, formula.width))
    p = Namespace(**{name.partition(".")[2]: array for name, array in params.items()})
    state, expected = tuple(states.values()), []
    for row in x:
        state = formula.step(p, row, state)
        expected.append(state[0])
    np.testing.assert_allclose(value(text, x=x, **states, **params), expected, rtol=1e-12, atol=1e-14)


def test_mutations_that_add_the_input_to_the_state_say_how_wide_it_must_be() -> None:
    for cell in ("mut1", "mut2"):
        with pytest.raises(NetlangError, match=f"`{cell}` adds its input to its state: 2 features do not go with 3"):
            initial(f"net N:\n    input x[5, 2]\n    output x -> {cell}(3)\n")


# --- sequences of any length: gradients, padding, parts ---------------------------------------------------------------

FORMS = [
    "rnn(3)",
    "jordan(4, 3)",
    "lstm(3, peepholes=true)",
    "gru(3)",
    "gru(3, reset_after=true)",
    "mut1(3)",
    "mut2(3)",
    "mut3(3)",
    "repeat(2, lstm(3))",
    "repeat(2, shortcut(gru(3)))",
    "bidirectional(lstm(2), gru(3), length=n)",
    "repeat(2, bidirectional(rnn(3), rnn(2), length=n))",
]


def padded(form: str) -> str:
    """A form over sequences of any length T with n steps that count."""
    return (
        f"net N:\n    input x[T, 3], n: class(T + 1)\n    y = x -> {form}\n    output y, last = y[n-1] else 0\n"
        "    loss value = sum(t < T) (sum(sin(3 * y[t] + t)) if t < n else 0)\n"
    )


def some(steps: int) -> dict[str, Array]:
    """A batch of three sequences with padding, one of them all padding."""
    x = np.random.default_rng([8, steps]).standard_normal((3, steps, 3))
    return {"x": x, "n": np.array([steps, steps // 2, 0])}


@pytest.mark.parametrize(("form", "steps"), [*((form, 4) for form in FORMS), ("lstm(3)", 1), (FORMS[-1], 1)])
def test_gradients_of_masked_sequences_of_any_length(form: str, steps: int) -> None:
    plain = elaborate(module := module_from_text(padded(form)), module.nets()[0], training=True)
    params = first_values(plain, seed=4)
    compare(plain, {**params, **some(steps)}, ["x", *params], {"batch": 3, "T": steps})


def test_gradients_with_a_carried_state_stop_at_it() -> None:
    """Truncated backpropagation: what was carried into a window counts as given."""
    text = (
        "net N:\n    input x[T, 3]\n    state h0[4] ~ zeros, c0[4] ~ zeros\n    h, c = x -> lstm(4, h0=h0, c0=c0)\n"
        "    h0 <- h[T-1]\n    c0 <- c[T-1]\n    loss value = sum(sin(3*h))\n"
    )
    plain = elaborate(module := module_from_text(text), module.nets()[0], training=True)
    params = first_values(plain, seed=4)
    carried = {name: np.random.default_rng(9).normal(size=(3, 4)) for name in ("h0", "c0")}
    names = [name for name in params if name not in carried]
    compare(plain, {**params, **carried, "x": some(4)["x"]}, ["x", *names], {"batch": 3, "T": 4})


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_neither_padding_nor_the_order_of_the_batch_changes_a_result(form: str, data: st.DataObject) -> None:
    graph = graph_of(padded(form))
    roots, params = [*graph.outputs.values(), *graph.losses.values()], first_values(graph, seed=4)
    lengths = np.array(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=4)))
    batch, steps, more = len(lengths), max(1, lengths.max()), data.draw(st.integers(1, 4))
    order = data.draw(st.permutations(range(batch)))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = random.standard_normal((batch, steps, 3))
    longer = np.concatenate([x, random.standard_normal((batch, more, 3))], axis=1)
    hidden = np.arange(steps + more) >= lengths[:, None]
    longer[hidden] = random.uniform(-9, 9, (hidden.sum(), 3))

    one = evaluate(graph, {**params, "x": x, "n": lengths}, {"batch": batch, "T": steps}, only=roots)
    moved = {"x": longer[order], "n": lengths[order]}
    other = evaluate(graph, {**params, **moved}, {"batch": batch, "T": steps + more}, only=roots)
    for k, example in enumerate(order):
        rows = slice(lengths[example])
        y, wanted = other[graph.outputs["y"]][k, rows], one[graph.outputs["y"]][example, rows]
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-14)
    for root in (graph.outputs["last"], *graph.losses.values()):
        np.testing.assert_allclose(other[root], one[root][order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["rnn(3, {})", "lstm(3, {})", "gru(3, {})", "mut3(3, {})", "jordan(4, 3, {})"])
@settings(max_examples=8, deadline=None)
@given(steps=st.integers(2, 9), data=st.data())
def test_two_parts_from_the_state_between_are_the_whole(cell: str, steps: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, steps - 1))
    states = {"lstm": ("h", "c"), "jordan": ("y",)}.get(cell.partition("(")[0], ("h",))
    given = ", ".join(f"{s}0={s}0" for s in states)
    results = ", ".join(states)
    text = (
        f"net N:\n    input x[T, 3], {', '.join(f'{s}0[3]' for s in states)}\n"
        f"    {results} = x -> {cell.format(given)}\n    output {results}\n"
    )
    graph = graph_of(text)
    params, x = first_values(graph, seed=4), some(steps)["x"]

    def run(rows: Array, before: Mapping[str, Array]) -> dict[str, Array]:
        values = evaluate(graph, {**params, "x": rows, **before}, {"batch": 3, "T": rows.shape[1]})
        return {name: values[node] for name, node in graph.outputs.items()}

    start = {f"{s}0": np.zeros((3, 3)) for s in states}
    whole, first = run(x, start), run(x[:, :cut], start)
    second = run(x[:, cut:], {f"{s}0": first[s][:, -1] for s in states})
    for s in states:
        np.testing.assert_allclose(np.concatenate([first[s], second[s]], axis=1), whole[s], rtol=1e-13, atol=1e-15)


def test_products_with_the_input_and_gradients_of_weights_are_contractions_outside_the_loops() -> None:
    text = "net N:\n    input x[T, 8]\n    h = x -> lstm(16)\n    loss value = sum(sin(3*h))\n"
    plain = elaborate(module := module_from_text(text), module.nets()[0], training=True)
    graph = compile_graph(plain, wrt=[p.name for p in plain.params])
    program = schedule(graph, list(graph.gradients.values()))
    inside = "\n".join(line for k in program.kernels if k.kind == "recurrence" for line, _ in k.sources)
    assert [k.kind for k in program.kernels].count("recurrence") == 2  # forwards and backwards in time
    for gate in "ifog":
        assert f"lstm_1.U{gate}[" in inside
        assert f"lstm_1.W{gate}[" not in inside
    assert "x[" not in inside
    contracted = [line for k in program.kernels if k.kind == "contraction" for line, _ in k.sources]
    computed = {line.partition("[")[0] for line in contracted}
    assert computed >= {f"d/lstm_1.{weight}{gate}" for weight in "WU" for gate in "ifog"}
    assert sum("x[batch, t" in line and "lstm_1.W" in line.partition("=")[2] for line in contracted) == 4
