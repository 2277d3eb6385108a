"""Every tiling that may be chosen gives the same sums, and a choice is for all sums of products of one structure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import netlang
from netlang.schedule.program import Problem, Program
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build

DENSE = """
net Dense:
    input x[37]
    y = x -> dense(21, bias=false)
    output y
    loss sum(k) y[k]^2
"""
IMAGE = """
net Image:
    input x[3, 9, 8]
    y = x -> conv(20, 3, pad=1) -> relu
    output y
    loss sum(k, i, j) y[k, i, j]^2
"""
TWINS = """
net Twins:
    input x[48]
    y = x -> dense(48) -> relu -> dense(48) -> sigmoid
    output y
"""


def program(text: str, choices: Mapping[str, str] | None = None, gradients: bool = True) -> Program:
    model = netlang.loads(text).model
    graph = model.gradient_graph([p.name for p in model.inference.params]) if gradients else model.forward_graph
    roots = graph.gradients if gradients else graph.outputs
    return schedule(graph, roots.values(), choices=choices or {})


def problems(found: Program) -> dict[str, Problem]:
    return {problem.key: problem for kernel in found.kernels for problem in kernel.problems}


@pytest.mark.parametrize("text", [DENSE, IMAGE])
def test_all_tilings_agree(text: str) -> None:
    sizes, random = {"batch": 5}, np.random.default_rng(0)
    first = program(text)
    arrays = {
        b.name: random.standard_normal([e.evaluate(sizes) for e in b.shape])
        for b in first.of_kind("input", "param", "state")
    }
    wanted = build(first, np.float64).run(arrays, sizes)
    most = max(len(p.tilings) for p in problems(first).values())
    assert most > 4
    for rank in range(1, most):
        choices = {key: p.tilings[min(rank, len(p.tilings) - 1)] for key, p in problems(first).items()}
        chosen = program(text, choices)
        assert {key: p.taken for key, p in problems(chosen).items()} == choices
        assert [k.name for k in chosen.kernels] == [k.name for k in first.kernels]
        for name, value in build(chosen, np.float64).run(arrays, sizes).items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-12, atol=1e-12, err_msg=f"{choices}: {name}")


def test_layers_that_are_alike_share_a_choice() -> None:
    found = program(TWINS, gradients=False)
    assert [len(kernel.problems) for kernel in found.kernels if kernel.problems] == [1, 1]
    (problem,) = problems(found).values()
    assert problem.taken == problem.tilings[0]
    renamed = TWINS.replace("Twins", "Other").replace("input x", "input image").replace("x ->", "image ->")
    assert problems(program(renamed, gradients=False)).keys() == {problem.key}
    wider = TWINS.replace("48", "64")
    assert not problems(program(wider, gradients=False)).keys() & {problem.key}


def test_what_is_no_tiling_is_not_chosen() -> None:
    (key,) = problems(program(TWINS, gradients=False))
    found = problems(program(TWINS, {key: "rows i9, lanes i9 by 7, steps ()"}, gradients=False))
    assert found[key].taken == found[key].tilings[0]
