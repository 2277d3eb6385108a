"""Convolutions by fewer products: the same results as the plain sums, where it pays, in inference alone."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.graph.graph import Graph
from netlang.graph.verify import verify
from netlang.schedule.factors import with_plain_factors
from netlang.schedule.kept import kept
from netlang.schedule.layouts import with_layouts
from netlang.schedule.program import Program
from netlang.schedule.schedule import schedule
from netlang.schedule.windows import Transformed, with_fewer_products
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.passes.graphs import values

BOUND = {np.float64: 1e-12, np.float32: 1e-5}


def text(layers: str, channels: int = 16, *extents: int) -> str:
    shape = ", ".join(map(str, (channels, *extents)))
    return f"""
net Windows:
    input  x[{shape}]
    y = x -> tanh -> {layers} -> relu
    output y
"""


def graph_of(layers: str, channels: int, *extents: int) -> Graph:
    return netlang.loads(text(layers, channels, *extents)).model.forward_graph


def rewritten(graph: Graph) -> tuple[Graph, dict[str, Transformed]]:
    plain = with_plain_factors(with_layouts(graph, graph.outputs.values()))
    made, plans = with_fewer_products(plain, kept(plain))
    verify(made, "with_fewer_products")
    return made, plans


def programs(graph: Graph) -> tuple[Program, Program]:
    roots = [*graph.outputs.values()]
    return schedule(graph, roots, winograd=True), schedule(graph, roots)


def assert_agrees(graph: Graph, batch: int, threads: int = 1) -> None:
    held, sizes = values(graph, {"batch": batch}), {"batch": batch}
    (root,) = graph.outputs.values()
    expected = evaluate(graph, held, sizes, only=[root])[root]
    scale = np.abs(expected).max()
    for dtype, bound in BOUND.items():
        given = {name: np.ascontiguousarray(value, dtype) for name, value in held.items()}
        for program in programs(graph):
            got = build(program, dtype, threads=threads).run(given, sizes, {})[root]
            assert np.abs(got - expected).max() <= bound * scale


SAMPLES = [
    ("conv(16, 3, pad=1)", 16, (30, 28), 5, [4, 4]),
    ("conv(48, 3, pad=1)", 32, (14, 14), 3, [2, 3]),
    ("conv(35, 3)", 17, (20, 21), 2, [3, 4]),
    ("conv(64, 3, pad=2)", 64, (56, 57), 1, [4, 4]),
    ("conv(32, 5, pad=1)", 32, (24, 24), 2, [2, 2]),
    ("conv(40, 2)", 40, (31, 33), 1, None),
    ("conv1d(64, 3, pad=1)", 64, (203,), 64, [4]),
    ("conv(40, 3, pad=1) -> relu -> conv(32, 3, pad=1)", 32, (28, 27), 1, None),
]


@pytest.mark.parametrize(("layers", "channels", "extents", "batch", "outputs"), SAMPLES)
def test_results_are_those_of_the_plain_sums(
    layers: str, channels: int, extents: tuple[int, ...], batch: int, outputs: list[int] | None
) -> None:
    graph = graph_of(layers, channels, *extents)
    plans = rewritten(graph)[1]
    assert plans
    if outputs is not None:
        assert [[w.by.outputs for w in plan.windows] for plan in plans.values()] == [outputs]
    assert_agrees(graph, batch)


def test_the_equations_say_what_is_computed() -> None:
    graph = graph_of("conv(32, 3, pad=1)", 32, 21, 18)
    made, plans = rewritten(graph)
    assert plans
    held, sizes = values(graph, {"batch": 2}), {"batch": 2}
    (root,) = graph.outputs.values()
    expected, got = (evaluate(g, held, sizes, only=[root])[root] for g in (graph, made))
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("layers", "channels", "extents"),
    [
        ("conv(64, 1)", 64, (28, 28)),
        ("conv(64, 3, 2, pad=1)", 64, (28, 28)),
        ("conv(64, 3, pad=2, dilation=2)", 64, (28, 28)),
        ("conv(64, 3, pad=1, groups=2)", 64, (28, 28)),
        ("conv(64, 7, pad=3)", 64, (28, 28)),
        ("conv(64, 3, pad=1)", 3, (28, 28)),
        ("conv(512, 3, pad=1)", 512, (4, 4)),  # the filter would be most of what comes from memory
        ("conv(64, 3, pad=1)", 16, (3, 3)),
    ],
)
def test_other_sums_stay_as_they_are(layers: str, channels: int, extents: tuple[int, ...]) -> None:
    assert rewritten(graph_of(layers, channels, *extents))[1] == {}


def test_an_image_that_is_added_to_its_result() -> None:
    source = """
net Residual:
    input  x[32, 18, 18]
    a = x -> tanh
    z = a -> conv(32, 3)
    y[k < 32, i < 16, j < 16] = a[k, i, j] + z[k, i, j]
    w = y -> conv(32, 3, pad=1)
    r = y + w
    output r
"""
    graph = netlang.loads(source).model.forward_graph
    assert_agrees(graph, 3)


def test_a_step_of_training_has_plain_sums() -> None:
    recipe = "    loss sum(k) y[k]^2\n\ntrain Windows:\n    optimizer sgd(lr=0.1)\n"
    net = netlang.loads(text("conv(32, 3, pad=1) -> global_avgpool", 32, 28, 28) + recipe)
    x = np.random.default_rng(0).standard_normal((2, 32, 28, 28)).astype(np.float32)
    net.step(x=x)
    assert not any("winograd" in b for b in net.compiled("step").program.program.tensors)
    net.forward(x=x)
    assert any("winograd" in b for b in net.compiled("forward").program.program.tensors)


def test_changed_parameters_are_seen() -> None:
    net = netlang.loads(text("conv(32, 3, pad=1, bias=false)", 32, 28, 28))
    x = np.random.default_rng(0).standard_normal((1, 32, 28, 28)).astype(np.float32)
    before = net(x)
    net.params["conv_1.W"] = 2 * net.params["conv_1.W"]
    np.testing.assert_allclose(net(x), 2 * before, rtol=1e-6)


@pytest.mark.parametrize(("channels", "extent", "batch"), [(64, 28, 1), (32, 56, 5)])
def test_any_number_of_threads_gives_the_same_bits(channels: int, extent: int, batch: int) -> None:
    source = text(f"conv({channels}, 3, pad=1)", channels, extent, extent)
    x = np.random.default_rng(0).standard_normal((batch, channels, extent, extent)).astype(np.float32)
    alone, *others = (netlang.loads(source, threads=threads)(x) for threads in (1, 2, 3, 4))
    for other in others:
        np.testing.assert_array_equal(other, alone)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_tiles_and_its_example(value: float) -> None:
    source = text("conv(32, 3, pad=1, bias=false)", 32, 28, 28).replace("x -> tanh", "x -> relu")
    x = np.random.default_rng(0).standard_normal((2, 32, 28, 28)).astype(np.float32)
    net = netlang.loads(source)
    plain = net(x)
    x[1, 5, 9, 10] = value
    got = net(x)
    far = np.ones(got.shape, bool)
    far[1, :, 4:16, 4:16] = False  # tiles of 4 x 4 that read it
    np.testing.assert_array_equal(got[far], plain[far])
    assert not np.isfinite(got[1, :, 9, 10]).any()


def test_errors_are_a_few_times_those_of_plain_sums() -> None:
    graph = graph_of("conv(64, 3, pad=1)", 64, 56, 56)
    held, sizes = values(graph, {"batch": 1}), {"batch": 1}
    (root,) = graph.outputs.values()
    given = {name: np.ascontiguousarray(value, np.float32) for name, value in held.items()}
    held = {name: value.astype(np.float64) for name, value in given.items()}
    expected = evaluate(graph, held, sizes, only=[root])[root]
    fewer, plain = (
        float(np.sqrt(np.mean((build(p, np.float32).run(given, sizes, {})[root] - expected) ** 2)))
        for p in programs(graph)
    )
    assert fewer < 5 * plain
    assert fewer < 2e-6 * expected.std()


def test_the_environment_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((1, 32, 28, 28), np.float32)
    source = text("conv(32, 3, pad=1)", 32, 28, 28)
    monkeypatch.setenv("NETLANG_WINOGRAD", "0")
    net = netlang.loads(source)
    net(x)
    assert not any("winograd" in b for b in net.compiled("forward").program.program.tensors)
    monkeypatch.setenv("NETLANG_WINOGRAD", "perhaps")
    with pytest.raises(NetlangError, match="must be 0 or 1"):
        netlang.loads(source)(x)
