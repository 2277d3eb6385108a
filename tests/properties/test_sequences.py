"""Random recurrent networks, and the cells of the library, through the whole pipeline.

Those of fixed seeds go through native code; what Hypothesis draws is computed by the reference target.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netlang
from netlang.graph.nodes import BATCH, is_batched
from netlang.targets.reference import evaluate
from tests.properties.checks import OPTIONAL, Compiled, Values, assert_close, dump, formatted, wrong_slopes
from tests.sequences import (
    padded_network,
    padded_networks,
    recurrent_network,
    recurrent_networks,
    stream_network,
    stream_networks,
)
from tests.strategies import LAYERS, Network, Seeded

BATCH_SIZE = 3
SEEDS = range(4)
EXAMPLES = settings(max_examples=8, deadline=None, derandomize=True)
Arrays = dict[str, np.ndarray]


@cache
def compiled(kind: str, seed: int) -> Compiled:
    make = {"recurrent": recurrent_network, "stream": stream_network, "padded": padded_network}[kind]
    return Compiled(make(Seeded(seed)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["recurrent", "stream", "padded"])
def test_gradients_are_slopes(kind: str, seed: int) -> None:
    one = compiled(kind, seed)
    for length in (1, 4):
        wrong, _ = wrong_slopes(one, one.network.arrays(BATCH_SIZE, T=length), BATCH_SIZE)
        assert not wrong, "\n".join([*wrong, one.network.text])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["recurrent", "padded"])
def test_no_pass_and_no_target_changes_a_result(kind: str, seed: int) -> None:
    """Nor does it matter whether the length is known at compile time."""
    one = compiled(kind, seed)
    program = one.program("float64") if seed < 2 else None
    for length in (1, 2, 5):
        arrays = one.network.arrays(BATCH_SIZE, T=length)
        expected = one.reference(arrays, BATCH_SIZE)
        plain = Compiled(one.network, OPTIONAL).reference(arrays, BATCH_SIZE)
        assert_close(plain, expected, 1e-10, one.network.text)
        text = one.network.text.replace("net Random:", f"net Random(T={length}):", 1)
        constant = Compiled(Network(text, 1, False, False)).reference(arrays, BATCH_SIZE)
        # what reads outside in every step of so short a sequence may depend on no input: then it is there once
        whole = {name: np.broadcast_to(value, expected[name].shape) for name, value in constant.items()}
        assert_close(whole, expected, 1e-10, text)
        if program is not None:
            assert_close(one.run(program, arrays, BATCH_SIZE), expected, 1e-12, one.network.text)


@EXAMPLES
@given(recurrent_networks(), st.permutations(range(4)))
def test_the_order_of_a_batch_is_nothing(network: Network, order: list[int]) -> None:
    one = Compiled(network)
    arrays = network.arrays(4, T=3)
    whole = one.reference(arrays, 4)
    shuffled = one.reference(one.part(arrays, np.array(order)), 4)
    assert_close(shuffled, {k: v[order] if one.is_batched(k) else v for k, v in whole.items()}, 1e-12, network.text)


@EXAMPLES
@given(padded_networks(), st.integers(0, 4), st.integers(0, 3))
def test_padding_is_nothing(network: Network, length: int, more: int) -> None:
    """Neither what stands beyond a length nor how much of it changes results and gradients of parameters."""
    one = Compiled(network)
    arrays = network.arrays(2, T=4)
    arrays["length"] = np.array([length, 4])
    whole = one.reference(arrays, 2)
    other = dict(arrays)
    rest = np.full((2, more, arrays["x"].shape[2]), 1e3)
    beyond = np.arange(4) >= arrays["length"][:, None]
    other["x"] = np.concatenate([np.where(beyond[..., None], -7.0, arrays["x"]), rest], axis=1)
    padded = one.reference(other, 2)
    grown = padded.pop("gradient x")
    assert not grown[:, 4:].any()
    assert not grown[:, :4][beyond].any()
    np.testing.assert_allclose(grown[:, :4], whole.pop("gradient x"), atol=1e-12)
    assert_close(padded, whole, 1e-12, network.text)


def halves(network: Network, arrays: Arrays, cuts: list[int]) -> tuple[Values, Values]:
    """Outputs and states of the whole sequence, and of its parts one after the other."""
    graph = network.model().forward_graph
    kept = {name: arrays[name] for name in graph.nodes if name in arrays and name != "x"}

    def run(x: np.ndarray, given: Arrays) -> Values:
        found = evaluate(graph, {**given, "x": x}, {BATCH: len(x), "T": x.shape[1]})
        return {name: found[node] for name, node in {**graph.outputs, **graph.updates}.items()}

    whole = run(arrays["x"], kept)
    bounds = [0, *sorted(cuts), arrays["x"].shape[1]]
    parts = []
    for start, stop in pairwise(bounds):
        parts.append(run(arrays["x"][:, start:stop], kept))
        kept |= {name: parts[-1][name] for name in graph.updates}
    joined = {name: np.concatenate([p[name] for p in parts], axis=1) for name in graph.outputs if name != "last"}
    return whole, {**{name: parts[-1][name] for name in whole}, **joined}


@EXAMPLES
@given(stream_networks(), st.sets(st.integers(1, 5), max_size=5))
def test_a_sequence_in_parts_is_the_whole(network: Network, cuts: set[int]) -> None:
    arrays = network.arrays(2, T=6)
    assert all(is_batched(state) for state in network.model().forward_graph.states)
    whole, parts = halves(network, arrays, list(cuts))
    assert_close(parts, whole, 1e-12, network.text)


CELLS = {
    "rnn(4)": ["h0"],
    "lstm(4)": ["h0", "c0"],
    "lstm(4, peepholes=true)": ["h0", "c0"],
    "gru(4)": ["h0"],
    "gru(4, reset_after=true)": ["h0"],
    "mut1(4)": ["h0"],
    "mut2(4)": ["h0"],
    "mut3(4)": ["h0"],
}


def cell(stage: str) -> tuple[Network, Network]:
    """A cell of the library that carries its states, and one that takes padded sequences, from both ends."""
    states = CELLS[stage]
    names = ["h", "c"][: len(states)]
    lines = ["input x[T, 4]", f"state {', '.join(f'{s}[4] ~ zeros' for s in states)}"]
    given = ", ".join(f"{s}={s}" for s in states)
    lines += [f"{', '.join(names)} = x -> {stage[:-1]}, {given})"]
    lines += [f"{s} <- {name}[T-1]" for s, name in zip(states, names, strict=True)]
    lines += ["output h", "loss probe(h)"]
    stream = "net Random:\n" + "".join(f"    {line}\n" for line in lines) + LAYERS
    lines = ["input x[T, 4], length: class(T + 1)", f"b = x -> bidirectional({stage}, {stage}, length=length)"]
    lines += ["y = (b[length - 1] else 0)", "m = sum(t < T) (b[t] if t < length else 0)"]
    lines += ["output y, m", "loss a = probe(y), b = probe(m)"]
    padded = "net Random:\n" + "".join(f"    {line}\n" for line in lines) + LAYERS
    return Network(stream, 1, False, False), Network(padded, 1, False, False)


@pytest.mark.parametrize("stage", CELLS)
def test_a_cell_in_parts_and_padded(stage: str) -> None:
    stream, padded = cell(stage)
    arrays = stream.arrays(2, T=6)
    for cuts in ([3], [1, 2, 5]):
        whole, parts = halves(stream, arrays, cuts)
        assert_close(parts, whole, 1e-12)
    one = Compiled(padded)
    arrays = padded.arrays(3, T=5)
    arrays["length"] = np.array([5, 2, 0])
    whole = one.reference(arrays, 3)
    other = dict(arrays)
    beyond = np.arange(7) >= arrays["length"][:, None]
    other["x"] = np.where(beyond[..., None], 50.0, np.pad(arrays["x"], ((0, 0), (0, 2), (0, 0))))
    found = one.reference(other, 3)
    assert not found["gradient x"][beyond].any()
    np.testing.assert_allclose(found.pop("gradient x")[:, :5], whole.pop("gradient x"), atol=1e-12)
    assert_close(found, whole, 1e-12)
    order = np.array([2, 0, 1])
    assert_close(
        one.reference(one.part(arrays, order), 3),
        {k: v[order] if one.is_batched(k) else v for k, v in one.reference(arrays, 3).items()},
        1e-12,
    )


@pytest.mark.parametrize("seed", range(12))
def test_formatting_keeps_the_graph(seed: int) -> None:
    text = recurrent_network(Seeded(1000 + seed)).text
    once, twice = formatted(text)
    assert once == twice
    assert dump(once) == dump(text)


def test_streams_run_natively() -> None:
    """The same through `Net`, which holds the states."""
    for seed in range(2):
        text = stream_network(Seeded(100 + seed)).text
        net = netlang.loads(text, dtype="float64")
        x = np.random.default_rng(seed).standard_normal((3, 7, net.inputs[0].shape[1].constant))
        whole = net.forward(x=x)
        states = {name: value.copy() for name, value in net.state.items()}
        net.reset()
        parts = [net.forward(x=part) for part in (x[:, :1], x[:, 1:4], x[:, 4:])]
        for name, value in whole.items():
            if name != "last":
                np.testing.assert_allclose(np.concatenate([p[name] for p in parts], 1), value, rtol=1e-10, atol=1e-12)
        for name, value in net.state.items():
            np.testing.assert_allclose(value, states[name], rtol=1e-10, atol=1e-12)
