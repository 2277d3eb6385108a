"""Patches of images side by side: the gradient by the filter of a convolution, where there are few examples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

import netlang
from netlang.graph.graph import Graph
from netlang.schedule.memory import plan
from netlang.schedule.program import Program, alone
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate

CONVOLUTION = """
net Convolution(channels, filters, size, stride, groups):
    input  x[channels, 7, 7]
    y = x -> conv(filters, size, stride=stride, pad=size // 2, groups=groups, bias=false)
    output y
    loss   sum(k, i, j) y[k, i, j]^2
"""


def by_the_filter(**arguments: int) -> tuple[Graph, str]:
    values = {"channels": 16, "filters": 200, "size": 3, "stride": 1, "groups": 1} | arguments
    graph = netlang.loads(CONVOLUTION, **values).model.gradient_graph(["conv_1.W"])
    return graph, graph.gradients["conv_1.W"]


def has_patches(program: Program) -> bool:
    return any(name.endswith(".patches") for name in program.buffers)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"channels": 5},  # lanes that do not fill vectors
        {"stride": 2},
        {"size": 5, "channels": 3},
        {"channels": 100},  # for few examples only: two, then the other way
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-12)])
def test_results_and_their_bits(arguments: dict[str, int], dtype: npt.DTypeLike, tolerance: float) -> None:
    graph, root = by_the_filter(**arguments)
    program = schedule(graph, [root])
    assert has_patches(program)
    x, weights = ([e.constant for e in graph[name].shape[skip:]] for name, skip in (("x", 1), ("conv_1.W", 0)))
    compiled = [build(program, dtype, threads=threads) for threads in (1, 2, 3)]
    random = np.random.default_rng(0)
    for batch in (1, 2, 13, 40):
        arrays = {"x": random.standard_normal((batch, *x)), "conv_1.W": random.standard_normal(weights)}
        expected = evaluate(graph, arrays, {"batch": batch})[root]
        given = {name: value.astype(dtype) for name, value in arrays.items()}
        found = [each.run(given, {"batch": batch})[root].copy() for each in compiled]
        np.testing.assert_allclose(found[0], expected, atol=tolerance * np.abs(expected).max())
        assert all(one.tobytes() == other.tobytes() for one, other in pairwise(found))


@pytest.mark.parametrize("arguments", [{"filters": 8}, {"size": 1}, {"filters": 90, "channels": 100}])
def test_where_they_are_not_worth_it_there_are_none(arguments: dict[str, int]) -> None:
    graph, root = by_the_filter(**arguments)
    assert not has_patches(schedule(graph, [root]))


def test_a_tuned_choice_is_kept() -> None:
    graph, root = by_the_filter(channels=100)
    (problem,) = schedule(graph, [root]).kernels[-1].problems
    assert has_patches(schedule(graph, [root], choices={problem.key: problem.tilings[0]}))
    for other in problem.tilings[1:]:
        program = schedule(graph, [root], choices={problem.key: other})
        assert program.kernels[-1].problems[0].taken == other
        assert not has_patches(program)


def test_lanes_beside_each_other_but_for_gaps() -> None:
    """The matrix of patches is read, and not the image, though lanes fill vectors and steps are one."""
    text = "net Gaps:\n    input x[9, 20]\n    param W[200, 9, 16] ~ normal(0, 1)\n"
    text += "    y[k] = sum(m, q < 16) W[k, m, q] * x[m, q]\n    output y\n    loss sum(k) y[k]^2\n"
    graph = netlang.loads(text).model.gradient_graph(["W"])
    root = graph.gradients["W"]
    program = schedule(graph, [root])
    assert has_patches(program)
    random = np.random.default_rng(0)
    arrays = {"x": random.standard_normal((9, 9, 20)), "W": random.standard_normal((200, 9, 16))}
    found = build(program, np.float64).run(arrays, {"batch": 9})[root]
    np.testing.assert_allclose(found, evaluate(graph, arrays, {"batch": 9})[root], rtol=1e-9, atol=1e-9)


def test_rows_at_a_power_of_two_go_to_the_result_too() -> None:
    """As there are few turns, sums in a matrix of their own would take longer than what competes for a cache."""
    graph, root = by_the_filter(channels=512, filters=512)
    few, many = schedule(graph, [root]).kernels[-1].body
    assert "d/conv_1.W.sums" in str(many)
    assert "d/conv_1.W.sums" not in str(few)
    assert "d/conv_1.W.patches" in str(few)


def test_a_kernel_alone_has_all_its_memory_for_itself() -> None:
    graph, root = by_the_filter()
    program = schedule(graph, [root])
    for kernel in program.kernels:
        own = alone(program, kernel)
        sizes = {"batch": 3}
        offsets = plan(own, sizes).offsets
        ends = sorted((offsets[b.name], offsets[b.name] + 4 * b.elements.evaluate(sizes)) for b in own.temporaries)
        assert all(end <= start for (_, end), (start, _) in pairwise(ends))
