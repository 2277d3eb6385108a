"""Layouts: random convolutional networks give what the reference gives, and dimensions go where they are wanted."""

from __future__ import annotations

import platform
import random

import numpy as np
import pytest

import netlang
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation, View
from netlang.graph.verify import verify
from netlang.runtime.net import Net
from netlang.runtime.synthetic import random_inputs
from netlang.schedule.layouts import overlaps, with_layouts
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate

X86 = platform.machine() in ("x86_64", "AMD64")


# --- random networks -----------------------------------------------------------------------------------------------


def layers(choose: random.Random, channels: int, extent: int) -> list[str]:
    """A few layers over an image, which stays at least 2 x 2."""
    out: list[str] = []
    for _ in range(choose.randint(2, 4)):
        kind = choose.choice(["conv", "conv", "conv", "pool", "residual", "norm", "grouped", "up"])
        if kind == "conv":
            channels, reach = choose.choice([3, 16, 20, 33]), choose.choice([1, 2, 3])
            stride, dilation = choose.choice([1, 1, 2, 3]), choose.choice([1, 1, 2])
            pad = choose.randint(0, reach - 1)
            grown = (extent + 2 * pad - dilation * (reach - 1) - 1) // stride + 1
            if grown < 2:
                continue
            extent = grown
            out.append(f"conv({channels}, {reach}, {stride}, pad={pad}, dilation={dilation})")
        elif kind == "up" and extent < 8:
            channels, reach, stride = choose.choice([3, 17]), choose.choice([1, 2, 3]), choose.choice([1, 2])
            extent = (extent - 1) * stride + reach
            out.append(f"conv_transpose({channels}, {reach}, {stride})")
        elif kind == "pool" and extent >= 4:
            reach, stride, pad = choose.choice([(2, 2, 0), (3, 2, 1), (2, 1, 0)])
            extent = (extent + 2 * pad - reach) // stride + 1
            out.append(f"{choose.choice(['max', 'avg'])}pool({reach}, {stride}, pad={pad})")
        elif kind == "residual":
            out.append(f"residual({channels})")
        elif kind == "norm":
            out.append(f"batchnorm -> {choose.choice(['relu', 'tanh'])}")
        elif kind == "grouped" and channels % 2 == 0:
            out.append(f"conv({channels}, 3, pad=1, groups={choose.choice([2, channels])})")
    return out


def network(seed: int) -> str:
    choose = random.Random(seed)
    channels, extent = choose.choice([1, 3, 16, 24]), choose.choice([7, 8, 11])
    body = layers(choose, channels, extent)
    head = choose.choice(["flatten -> dense(5)", "global_avgpool -> dense(5)", "flatten -> dense(17) -> dense(5)"])
    return f"""
net Random:
    input  x[{channels}, {extent}, {extent}]
    target kind: class(5)
    image = {" -> ".join(["x", *body])}
    scores = image -> {head}
    output image
    output scores
    loss cross_entropy(scores, kind)
"""


def assert_agrees(graph: Graph, net: Net, batch: int, cpu: str = "native") -> None:
    """The roots of a graph by native code in float64 and by the reference."""
    data = random_inputs(net, batch, {}, np.random.default_rng(batch))
    arrays = {name: np.asarray(a) for name, a in {**net.values, **data}.items() if name in graph.nodes}
    roots = [*graph.outputs.values(), *graph.gradients.values(), *graph.updates.values(), *graph.objectives.values()]
    program = build(schedule(graph, roots), np.float64, cpu=cpu)
    real = {n: np.array(a, np.int64 if a.dtype.kind in "iu" else np.float64, order="C") for n, a in arrays.items()}
    expected = evaluate(graph, real, {"batch": batch}, only=roots)
    found = program.run(real, {"batch": batch})
    for root in roots:
        scale = max(1e-3, float(np.abs(expected[root]).max(initial=0)))
        np.testing.assert_allclose(found[root], expected[root], rtol=0, atol=1e-9 * scale, err_msg=root)


@pytest.mark.parametrize("seed", range(8))
def test_random_convolutional_networks_agree_with_the_reference(seed: int) -> None:
    net = netlang.loads(network(seed), seed=seed)
    cpu = "x86-64-v3" if seed % 4 == 3 and X86 else "native"
    wanted = ["x", *net.params]
    assert_agrees(net.model.forward_graph, net, 1 + seed % 3, cpu)
    assert_agrees(net.model.gradient_graph(wanted), net, 1 + seed % 3, cpu)


# --- which dimensions go where -------------------------------------------------------------------------------------

IMAGES = """
net Images:
    input  x[3, 12, 12]
    target kind: class(5)
    a = x -> conv(8, 3, pad=1) -> relu
    h = a -> conv(24, 3, pad=1) -> relu -> maxpool(2)
    image = h -> conv(32, 3, pad=1)
    scores = h -> flatten -> dense(5)
    output image
    output scores
    loss cross_entropy(scores, kind)
"""


def laid_out(graph: Graph, fixed: list[str]) -> Graph:
    made = with_layouts(graph, fixed)
    verify(made, "with_layouts")
    return made


def test_channels_are_last_where_there_are_enough_for_vectors() -> None:
    graph = netlang.loads(IMAGES).model.forward_graph
    made = laid_out(graph, list(graph.outputs.values()))
    assert [str(n) for n in made["relu_1"].shape] == ["batch", "8", "12", "12"]
    assert [str(n) for n in made["relu_2"].shape] == ["batch", "12", "12", "24"]
    assert [str(n) for n in made["maxpool_1.y"].shape] == ["batch", "6", "6", "24"]


def test_what_the_user_sees_stays_as_it_is() -> None:
    model = netlang.loads(IMAGES).model
    graph = model.gradient_graph(["x", "conv_2.W"])
    roots = [*graph.outputs.values(), *graph.gradients.values()]
    made = laid_out(graph, roots)
    for name in (*roots, *(n.name for n in graph if not isinstance(n, Equation | View))):
        assert made[name].shape == graph[name].shape
    gradient = made["d/conv_2.W"]
    assert isinstance(gradient, Equation)
    assert gradient.indices == graph["d/conv_2.W"].indices  # type: ignore[attr-defined]


def test_a_view_is_one_of_a_copy_in_the_old_order() -> None:
    graph = netlang.loads(IMAGES).model.forward_graph
    made = laid_out(graph, list(graph.outputs.values()))
    (view,) = (n for n in made if isinstance(n, View))
    copy = made[view.operand]
    assert [str(n) for n in copy.shape] == ["batch", "24", "6", "6"]
    assert copy.operands == ("maxpool_1.y",)


def test_the_gradient_of_a_view_is_copied_into_the_order_of_its_image() -> None:
    model = netlang.loads(IMAGES).model
    graph = model.gradient_graph(["conv_2.W"])
    made = laid_out(graph, list(graph.gradients.values()))
    (view,) = (n for n in graph if isinstance(n, View) and str(n.shape[1]) == "24")
    copy = made[view.name]
    assert isinstance(copy, Equation)
    assert [str(n) for n in copy.shape] == ["batch", "6", "6", "24"]
    assert isinstance(made[copy.operands[0]], View)


def test_gradients_of_kernels_have_their_taps_before_the_channels() -> None:
    model = netlang.loads(IMAGES.replace("conv(8,", "conv(16,")).model
    graph = model.gradient_graph(["conv_2.W"])
    made = laid_out(graph, [])
    assert [str(n) for n in made["d/conv_2.W"].shape] == ["24", "3", "3", "16"]


def test_kernels_for_each_channel_are_read_from_a_copy_channel_by_channel() -> None:
    text = """
net Depthwise:
    input  x[32, 9, 9]
    y = x -> conv(32, 3, pad=1, groups=32, bias=false) -> relu -> conv(32, 1)
    output y
"""
    graph = netlang.loads(text).model.forward_graph
    made = laid_out(graph, list(graph.outputs.values()))
    assert [str(n) for n in made["conv_1.W.turned"].shape] == ["1", "3", "3", "32"]
    assert "conv_1.W.turned" in made["conv_1.y"].operands


def test_networks_without_windows_keep_their_layouts() -> None:
    text = """
net Words:
    input  x[40, 32]
    target y[40]
    a[t, i] = sum(k) W[i, k] * x[t, k]
    param W[32, 32] ~ normal(0, 1)
    z[t] = sum(i) tanh(a[t, i])
    output z
    loss   mse(z, y)
"""
    graph = netlang.loads(text).model.gradient_graph(["W"])
    assert with_layouts(graph, graph.gradients.values()) is graph


def test_a_step_of_a_recurrence_is_side_by_side() -> None:
    text = """
net Reader:
    input  x[T, 8]
    h = x -> lstm(16)
    y = h -> dense(3)
    output y
"""
    graph = netlang.loads(text).model.forward_graph
    made = laid_out(graph, list(graph.outputs.values()))
    assert [str(n) for n in made["lstm_1.c"].shape] == ["T", "batch", "16"]
    assert [str(n) for n in made["dense_1.y"].shape] == ["batch", "T", "3"]
    (name,) = graph.outputs.values()
    asked = laid_out(graph, [name, "lstm_1.h"])
    assert asked["lstm_1.h"].shape == graph["lstm_1.h"].shape


def test_and_one_of_a_recurrence_in_a_recurrence() -> None:
    text = """
net Grid:
    input  x[T, S, 8]
    h[t, s, i] = tanh(x[t, s, i] + (0.5 * h[t-1, s, i] else 0) + (0.3 * h[t, s-1, 7 - i] else 0))
    y[i] = sum(t, s) h[t, s, i]
    output y
"""
    net = netlang.loads(text)
    graph = net.model.forward_graph
    made = laid_out(graph, list(graph.outputs.values()))
    assert [str(n) for n in made["h"].shape] == ["T", "S", "batch", "8"]
    sizes = {"batch": 3, "T": 5, "S": 4}
    (name,) = graph.outputs.values()
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 8))
    found = build(schedule(graph, [name]), np.float64).run({"x": x}, sizes)[name]
    np.testing.assert_allclose(found, evaluate(graph, {"x": x}, sizes, only=[name])[name], rtol=1e-12)


@pytest.mark.parametrize("lag", [2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("of_batch", ["x[t, i]", "c[i]"])
def test_sequences_that_are_shorter_than_what_they_look_back(lag: int, steps: int, of_batch: str) -> None:
    """There are no terms then of the gradient by the weights, which is zero: not what memory held before."""
    text = f"""
net Late:
    input  x[T, 17]
    param  P[17, 17] ~ normal(0, 0.4)
    param  c[17] ~ normal(0, 1)
    h[t < T, i < 17] = tanh((sum(k) P[i, k] * (h[t-{lag}, k] else 0)) + {of_batch})
    output h
    loss   sum(t, i) h[t, i]^2 * x[t, i]
"""
    net = netlang.loads(text)
    graph = net.model.gradient_graph(["P"])
    (root,) = graph.gradients.values()
    sizes = {"batch": 3, "T": steps}
    given = {"x": np.random.default_rng(0).normal(size=(3, steps, 17))}
    given |= {name: np.asarray(value, np.float64) for name, value in net.params.items() if name in graph.nodes}
    program, out = build(schedule(graph, [root]), np.float64), np.full((17, 17), 7.0)
    found = program.run({**given, root: out}, sizes)[root]
    np.testing.assert_allclose(found, evaluate(graph, given, sizes, only=[root])[root], rtol=1e-10, atol=1e-12)


def test_the_carried_and_the_updated_stay() -> None:
    """Every parameter, every state of the optimizer and every next value keeps its shape in a training step."""
    net = netlang.loads(IMAGES + "\ntrain Images:\n    optimizer sgd(lr=0.1, momentum=0.9)\n    batch 4\n")
    graph = net.model.step_graph
    made = laid_out(graph, [*graph.objectives.values(), *graph.updates.values()])
    for name in (*graph.updates.values(), *graph.updates):
        assert made[name].shape == graph[name].shape


ROW, TAP = index("i"), index("p")


@pytest.mark.parametrize(
    ("place", "overlapping"),
    [
        (ROW, False),
        (ROW + TAP, True),
        (2 * ROW + TAP, True),
        (3 * ROW + TAP, False),
        (4 * ROW - TAP, False),
        ((ROW - TAP + 1) // 2, True),
        (ROW // 2 * 4 + TAP, False),
        (ROW % 3 + TAP, True),
    ],
)
def test_windows_that_overlap(place: Int, overlapping: bool) -> None:
    assert overlaps(place, {"i": 12, "p": 3}) == overlapping
