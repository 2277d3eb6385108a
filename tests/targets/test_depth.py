"""Deeper nets of the same blocks are compiled to the same kernels, which run more often."""

from __future__ import annotations

import ast

import pytest

import netlang
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.generate import generate

TEXT = """
layer bottleneck(x[c, h, w], channels, stride=1):
    a = x -> conv(channels, 1, bias=false) -> batchnorm -> relu
    b = a -> conv(channels, 3, stride, pad=1, bias=false) -> batchnorm -> relu
    d = b -> conv(4 * channels, 1, bias=false) -> batchnorm
    s = x if stride == 1 and c == 4 * channels else x -> conv(4 * channels, 1, stride, bias=false) -> batchnorm
    return relu(d + s)

net Residual(depth=3):
    input  image[3, 16, 16]
    target kind: class(10)
    scores = image -> conv(8, 3, pad=1) -> bottleneck(16, 2) -> repeat(depth, bottleneck(16)) -> global_avgpool
        -> dense(10)
    output scores
    loss   cross_entropy(scores, kind)

train Residual:
    optimizer sgd(lr=0.01, momentum=0.9)
"""


def kernels(use: str, depth: int) -> int:
    """How many functions are compiled."""
    model = netlang.loads(TEXT, depth=depth).model
    graph = model.step_graph if use == "step" else model.forward_graph
    roots = graph.objectives if use == "step" else graph.outputs
    text = generate(schedule(graph, roots.values(), graph.updates))
    return sum(isinstance(part, ast.FunctionDef) for part in ast.parse(text).body)


@pytest.mark.parametrize("use", ["forward", "step"])
def test_depth_adds_no_kernels(use: str) -> None:
    assert kernels(use, 3) == kernels(use, 5)
