"""Convolutions and their gradients by fewer products: the same results as the plain sums, where it pays."""

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
from netlang.schedule.program import NARROW, Multiply, Program, statements
from netlang.schedule.schedule import schedule
from netlang.schedule.winograd.equations import with_fewer_products
from netlang.schedule.winograd.plans import Plan, Tiled
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.passes.graphs import values
from tests.rounding import float32_bounds

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


def rewritten(graph: Graph) -> tuple[Graph, dict[str, Plan]]:
    plain = with_plain_factors(with_layouts(graph, graph.outputs.values()))
    made, plans = with_fewer_products(plain, kept(plain))
    verify(made, "with_fewer_products")
    return made, plans


def programs(graph: Graph) -> tuple[Program, Program]:
    roots = [*graph.outputs.values()]
    return schedule(graph, roots, winograd=True), schedule(graph, roots)


def assert_agrees(graph: Graph, batch: int, float32: float = BOUND[np.float32]) -> None:
    held, sizes = values(graph, {"batch": batch}), {"batch": batch}
    (root,) = graph.outputs.values()
    expected = evaluate(graph, held, sizes, only=[root])[root]
    scale = np.abs(expected).max()
    for dtype, bound in (BOUND | {np.float32: float32}).items():
        given = {name: np.ascontiguousarray(value, dtype) for name, value in held.items()}
        got = build(schedule(graph, [root], winograd=True), dtype).run(given, sizes, {})[root]
        assert np.abs(got - expected).max() <= bound * scale


SAMPLES = [
    ("conv(16, 3, pad=1)", 16, (30, 28), 2, [5, 4]),
    ("conv(48, 3, pad=1)", 32, (14, 14), 3, [2, 3]),
    ("conv(35, 3)", 17, (20, 21), 2, [3, 4]),
    ("conv(64, 3, pad=2)", 64, (28, 29), 1, None),
    ("conv(32, 5, pad=1)", 32, (24, 24), 2, [4, 4]),  # 25 places for 22 would save little
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
        assert [[w.by.outputs for w in plan.windows] for plan in plans.values() if isinstance(plan, Tiled)] == [outputs]
    assert_agrees(graph, batch)


def test_the_largest_tiles_round_more() -> None:
    graph = graph_of("conv(32, 5, pad=2)", 20, 40, 45)
    assert [[w.by.outputs for w in p.windows] for p in rewritten(graph)[1].values() if isinstance(p, Tiled)] == [[5, 5]]
    assert_agrees(graph, 3, 2e-5)


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


TRAINED = """
    loss sum(k) y[k]^2

train Windows:
    optimizer sgd(lr=0.1)
"""


def trained(layers: str, channels: int, *extents: int) -> str:
    head = f"y = x -> tanh -> conv({channels}, 1, bias=false) -> tanh -> {layers} -> tanh -> global_avgpool"
    return f"net Windows:\n    input  x[{', '.join(map(str, (channels, *extents)))}]\n    {head}\n    output y{TRAINED}"


STEPS = [
    ("conv(16, 3, pad=1)", 16, (34, 34), "parts", True),
    ("conv(35, 3)", 40, (15, 12), "d/conv_2.W", False),
    ("conv(48, 3, pad=1)", 32, (14, 14), "d/conv_2.W", False),
    ("conv(50, 5, pad=2)", 20, (14, 14), "d/conv_2.W", True),
    ("conv(17, 5)", 33, (13, 14), "d/conv_2.W", False),
    ("conv(32, 3, pad=1) -> relu -> conv(32, 3, pad=1)", 32, (9, 8), "d/conv_3.W", False),
]


@pytest.mark.parametrize(("layers", "channels", "extents", "gradient", "rounded"), STEPS)
def test_steps_are_those_of_the_plain_sums(
    layers: str, channels: int, extents: tuple[int, ...], gradient: str, rounded: bool
) -> None:
    """In float64, and where it says so in float32."""
    batch = 3
    graph, roots = netlang.loads(trained(layers, channels, *extents)).model.computed("step")
    fewer, plain = (schedule(graph, roots.values(), graph.updates, winograd=w) for w in (True, False))
    names = [tensor for tensor in fewer.tensors if ".transformed" in tensor or tensor.endswith(".left")]
    assert sum(".transformed" in name for name in names) >= 2  # of the convolution, and of its gradient by the image
    assert any(gradient in name for name in names)
    held = values(graph, {"batch": batch}, scale=0.1)
    for dtype, bound in [*BOUND.items()][: 2 if rounded else 1]:
        found = []
        for program, threads in ((plain, 1), (fewer, 1), (fewer, 3)):
            given = {n: np.array(v, np.int64 if graph[n].dtype == "int" else dtype) for n, v in held.items()}
            out = build(program, dtype, threads=threads).run(given, {"batch": batch}, {})
            found.append({**{name: given[name] for name in graph.updates if name.startswith("conv")}, **out})
        expected, one, three = found
        for name, value in expected.items():
            np.testing.assert_array_equal(one[name], three[name])
            change = np.abs(value - held[name]).max() if name in held else np.abs(value).max()
            unit = np.finfo(dtype).eps * np.abs(value).max()
            assert np.abs(one[name] - value).max() <= 10 * bound * change + unit, name


@pytest.mark.parametrize("batch", [1, 9, 70])  # chunks of tiles for one part, for a few, and several for each
def test_the_gradient_by_a_small_filter_is_summed_in_parts(batch: int) -> None:
    """Each of its own tiles, so that threads need nothing of each other's until the sums of the parts are added."""
    graph, _ = netlang.loads(trained("conv(24, 3, pad=1)", 40, 18, 16)).model.computed("step")
    roots = {"conv_2.W": graph.updates["conv_2.W"]}
    fewer, plain = (schedule(graph, [], roots, winograd=winograd) for winograd in (True, False))
    (name,) = (t for t in fewer.tensors if t.startswith("d/conv_2.W.products") and t in fewer.buffers)
    (left,) = (t for t in fewer.tensors if t.startswith("d/conv_2.W.left") and t in fewer.buffers)
    assert fewer.buffers[left].private
    assert not fewer.buffers[name].private
    held = values(graph, {"batch": batch}, scale=0.1)
    found = []
    for program, threads in ((plain, 1), (fewer, 1), (fewer, 2), (fewer, 5)):
        given = {n: np.array(v, np.float64) for n, v in held.items() if n in program.buffers}
        build(program, np.float64, threads=threads).run(given, {"batch": batch}, {})
        found.append(given["conv_2.W"])
    expected, one, *others = found
    assert np.abs(one - expected).max() <= 1e-12 * np.abs(expected - held["conv_2.W"]).max()
    for other in others:
        np.testing.assert_array_equal(other, one)


def test_few_lanes_are_computed_for_nothing() -> None:
    graph, roots = netlang.loads(trained("conv(50, 5, pad=2)", 20, 14, 14)).model.computed("step")
    program = schedule(graph, roots.values(), graph.updates, winograd=True)

    def lanes(name: str) -> list[tuple[int, int]]:
        """The panels of the products for a sum, and how many lanes they have."""
        (kernel,) = (k for k in program.kernels if k.sources[0][0].startswith(f"{name}["))
        products = [s for s in statements(kernel.body) if isinstance(s, Multiply)]
        return [(s.panel, s.lanes.constant) for s in products]

    assert lanes("conv_2.y.sum") == [(16, 48), (NARROW, 2)]
    assert lanes("d/tanh_2") == [(16, 16), (NARROW, 4)]
    assert lanes("d/conv_2.W") == [(32, 32), (32, 18)]  # of 50 filters, not of 20 channels


def test_the_gradient_of_a_convolution_in_one_dimension() -> None:
    head = "y = x -> tanh -> conv1d(32, 1, bias=false) -> tanh -> conv1d(40, 3, pad=1) -> tanh"
    recipe = TRAINED.replace("sum(k) y[k]^2", "sum(k, t) y[k, t]^2")
    text = f"net Windows:\n    input  x[32, 60]\n    {head}\n    output y{recipe}"
    graph, roots = netlang.loads(text).model.computed("step")
    program = schedule(graph, roots.values(), graph.updates, winograd=True)
    assert any(tensor.endswith(".left") for tensor in program.tensors)
    held = values(graph, {"batch": 3})
    expected = evaluate(graph, held, {"batch": 3}, only=graph.updates.values())
    given = {n: np.array(v, np.int64 if graph[n].dtype == "int" else np.float64) for n, v in held.items()}
    build(program, np.float64).run(given, {"batch": 3}, {})
    for name, node in graph.updates.items():
        np.testing.assert_allclose(given[name], expected[node], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("layers", ["conv(24, 3, pad=1) -> relu -> conv(24, 3, pad=1)", "conv(50, 5, pad=2)"])
def test_rounding_stays_within_the_bound_for_all_networks(layers: str) -> None:
    graph, _ = netlang.loads(trained(layers, 24, 14, 14)).model.computed("step")
    roots = {name: node for name, node in graph.updates.items() if name.startswith("conv")}
    arrays = {n: np.asarray(v, np.float32).astype(np.float64) for n, v in values(graph, {"batch": 4}).items()}
    program = schedule(graph, [], roots, winograd=True)
    assert any(".transformed" in t for t in program.tensors)
    assert any(t.endswith(".left") for t in program.tensors)
    given = {n: np.array(v, np.float32) for n, v in arrays.items() if n in program.buffers}
    build(program, np.float32).run(given, {"batch": 4}, {})
    expected = evaluate(graph, arrays, {"batch": 4}, only=roots.values())
    bounds = float32_bounds(graph, roots, arrays, 4, 0, 0)
    for name, node in roots.items():
        assert np.abs(given[name] - expected[node]).max() <= bounds[name], name


def test_filters_are_transformed_in_every_step() -> None:
    net = netlang.loads(trained("conv(32, 3, pad=1)", 32, 28, 28))
    x = np.random.default_rng(0).standard_normal((2, 32, 28, 28)).astype(np.float32)
    losses = [net.step(x=x) for _ in range(3)]
    again = netlang.loads(trained("conv(32, 3, pad=1)", 32, 28, 28))
    for loss in losses:
        again.params["conv_2.W"] = again.params["conv_2.W"]
        assert again.step(x=x) == loss


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
