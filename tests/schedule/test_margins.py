"""Margins and signs: images are computed with the zeros around them, and gradients read what is in memory anyway."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.graph.verify import verify
from netlang.runtime.net import Net
from netlang.runtime.synthetic import random_inputs
from netlang.schedule.program import Program, statements
from netlang.schedule.schedule import schedule
from netlang.schedule.signs import with_known_signs
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate

BLOCKS = """
net Blocks(c=16, pad=1):
    input  x[3, 9, 7]
    target kind: class(5)
    a = x -> conv(c, 3, pad=pad, bias=false) -> batchnorm -> relu
    b = a -> residual(c) -> residual(2 * c, 2)
    scores = b -> global_avgpool -> dense(5)
    output scores
    loss cross_entropy(scores, kind)
"""


def program_of(net: Net) -> Program:
    graph = net.model.gradient_graph([*net.params])
    return schedule(graph, [*graph.outputs.values(), *graph.gradients.values()])


def assert_agrees(net: Net, batch: int, spoil: float | None = None, threads: int = 1) -> dict[str, np.ndarray]:
    """The outputs and gradients in float64 and by the reference, with a value somewhere in the first input."""
    graph = net.model.gradient_graph([*net.params])
    roots = [*graph.outputs.values(), *graph.gradients.values()]
    data = random_inputs(net, batch, {}, np.random.default_rng(batch))
    if spoil is not None:
        data["x"][batch - 1, 0, 4, 3] = spoil
    arrays = {n: np.asarray(a) for n, a in {**net.values, **data}.items() if n in graph.nodes}
    real = {n: np.array(a, np.int64 if a.dtype.kind in "iu" else np.float64, order="C") for n, a in arrays.items()}
    expected = evaluate(graph, real, {"batch": batch}, only=roots)
    found = build(schedule(graph, roots), np.float64, threads=threads).run(real, {"batch": batch})
    for root in roots:
        scale = max(1e-3, float(np.abs(expected[root])[np.isfinite(expected[root])].max(initial=0)))
        np.testing.assert_allclose(found[root], expected[root], rtol=0, atol=1e-9 * scale, err_msg=root)
    return found


def test_an_image_is_in_memory_once() -> None:
    program = program_of(netlang.loads(BLOCKS))
    names = {b.name for b in program.temporaries}
    kept = {"a", "b", "relu_1", "residual_1.relu_1", "residual_1.y", "d/residual_1.conv_2.y"}
    assert not names & kept, "copies with margins take their places"
    assert {"relu_1.padded", "residual_1.relu_1.padded", "d/residual_1.conv_2.y.padded"} <= names
    assert not any(name.endswith("batchnorm_1.y") and not name.startswith("d/") for name in names)


def test_an_output_stays_as_it_is() -> None:
    text = BLOCKS.replace("    output scores", "    output a\n    output scores")
    program = program_of(netlang.loads(text))
    assert "a" in program.outputs or "relu_1" in program.outputs
    assert any(b.name.endswith(".padded") for b in program.temporaries)
    assert_agrees(netlang.loads(text), 2)


@pytest.mark.parametrize("batch", [1, 5, 17])
@pytest.mark.parametrize("pad", [1, 2])
def test_networks_with_margins_agree_with_the_reference(batch: int, pad: int) -> None:
    assert_agrees(netlang.loads(BLOCKS, pad=pad), batch)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_goes_where_it_goes_in_the_reference(spoil: float) -> None:
    text = BLOCKS.replace("batchnorm -> relu", "relu").replace("residual(c) -> residual(2 * c, 2)", "conv(c, 3, pad=1)")
    with np.errstate(all="ignore"):
        assert_agrees(netlang.loads(text), 2, spoil)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_bits(threads: int) -> None:
    net = netlang.loads(BLOCKS, seed=0)
    one, more = assert_agrees(net, 17), assert_agrees(net, 17, threads=threads)
    assert all(one[name].tobytes() == more[name].tobytes() for name in one)


SIGNS = """
net Signs(n):
    input x[n], z[n]
    param w[n] ~ normal(0, 1)
    y[i] = {body}
    output y
    loss sum(i) y[i] * y[i]
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("max(0, w[i] * x[i] + z[i])", True),
        ("max(0.5, w[i] * x[i] + z[i])", True),
        ("max(z[i], w[i] * x[i])", False),
        ("min(0, w[i] * x[i] + z[i])", False),
    ],
)
def test_a_gradient_asks_the_maximum(body: str, told: bool) -> None:
    net = netlang.loads(SIGNS.replace("{body}", body), n=7)
    graph = net.model.gradient_graph(["w"])
    made = with_known_signs(graph)
    verify(made, "with_known_signs")
    assert ([n for n in made if n != graph[n.name]] != []) == told
    program = schedule(graph, [*graph.outputs.values(), *graph.gradients.values()])
    random = np.random.default_rng(0)
    arrays = {"x": random.standard_normal((3, 7)), "z": random.standard_normal((3, 7)), "w": net.values["w"] * 1.0}
    arrays = {name: np.asarray(a, np.float64) for name, a in arrays.items()}
    arrays["x"][0, 0] = np.nan
    expected = evaluate(graph, arrays, {"batch": 3})
    found = build(program, np.float64).run(arrays, {"batch": 3})
    for root, value in found.items():
        np.testing.assert_allclose(value, expected[root], rtol=1e-12, err_msg=root)


def test_long_products_into_few_elements_are_taken_example_by_example() -> None:
    text = """
net Long(c):
    input  x[c, 32, 32]
    target kind: class(5)
    scores = x -> conv(c, 3, pad=1, bias=false) -> relu -> conv(c, 3, pad=1, bias=false) -> global_avgpool -> dense(5)
    output scores
    loss cross_entropy(scores, kind)
"""
    net = netlang.loads(text, c=16, seed=0)
    program = program_of(net)
    parts = next(k for k in program.kernels if k.name == "d/conv_2.W.parts")
    assert not any(getattr(s, "index", "") == "chunk" for s in statements(parts.body))
    one, more = assert_agrees(net, 5), assert_agrees(net, 5, threads=3)
    assert all(one[name].tobytes() == more[name].tobytes() for name in one)
