"""Sums under a divisibility come apart by residues, for every stride, size and padding."""

from __future__ import annotations

import pytest

import netlang
from netlang.graph.expression import Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Modulo
from netlang.graph.nodes import Equation
from netlang.graph.traversal import integers, walk
from netlang.graph.verify import verify
from netlang.schedule.residues import with_residues
from tests.targets.test_generate import agree


def convolution(layer: str, extent: int = 19, channels: int = 20) -> Graph:
    """The gradient by the image of a convolution."""
    text = f"""
net Strided:
    input  x[{channels}, {extent}, {extent}]
    y = x -> {layer}
    output y
    loss   sum(k, i, j) y[k, i, j]^2
"""
    return netlang.loads(text).model.gradient_graph(["x"])


def has_remainders(node: object) -> bool:
    body = node.body if isinstance(node, Equation) else None
    values = [v for part in walk(body) for v in integers(part)] if isinstance(body, Reduce) else []
    return any(isinstance(atom, Modulo) for v in values for atom in v.atoms())


@pytest.mark.parametrize(
    ("size", "stride", "pad"),
    [(1, 2, 0), (1, 3, 1), (2, 2, 1), (2, 3, 0), (3, 2, 0), (3, 2, 1), (3, 3, 0), (4, 2, 1), (4, 3, 1)],
)
def test_gradients_of_strided_convolutions(size: int, stride: int, pad: int) -> None:
    graph = convolution(f"conv(17, {size}, {stride}, pad={pad}, bias=false)")
    made = with_residues(graph)
    verify(made, "with_residues")
    assert any(map(has_remainders, graph))
    assert not any(map(has_remainders, made))
    parts = sum(".part" in n.name for n in made)
    assert parts == min(size, stride) ** 2  # where the kernel is smaller than the stride, some places get nothing
    agree(graph, list(graph.gradients.values()))


@pytest.mark.parametrize(("size", "stride", "pad", "more"), [(3, 2, 1, 1), (2, 2, 0, 0), (4, 3, 1, 2), (2, 3, 0, 0)])
def test_transposed_convolutions(size: int, stride: int, pad: int, more: int) -> None:
    text = f"""
net Up:
    input  x[20, 6, 6]
    y = x -> conv_transpose(17, {size}, {stride}, pad={pad}, output_pad={more})
    output y
"""
    graph = netlang.loads(text).model.forward_graph
    made = with_residues(graph)
    assert not any(map(has_remainders, made))
    agree(graph, list(graph.outputs.values()))


def test_the_parts_are_products_by_tiles() -> None:
    graph = convolution("conv(32, 3, 2, pad=1, bias=false)", channels=32)
    sources = agree(graph, list(graph.gradients.values())).split("def ")
    parts = [s for s in sources if s.startswith("d_x_part") and "_panels(" not in s]
    assert len(parts) >= 3  # those that are equal but for names are one kernel
    assert all("multiply_" in s for s in parts)


def test_one_padded_copy_serves_all_parts() -> None:
    source = agree(graph := convolution("conv(17, 4, 3, pad=1, bias=false)"), list(graph.gradients.values()))
    assert source.count("d_conv_1_y_padded(") == 2  # its definition and its call


def test_a_stride_with_dilation() -> None:
    """Taps that are 2 apart leave, for a stride of 2, places that no tap reaches."""
    graph = convolution("conv(17, 3, 2, pad=1, dilation=2, bias=false)")
    made = with_residues(graph)
    verify(made, "with_residues")
    agree(graph, list(graph.gradients.values()))


def test_small_sums_stay() -> None:
    graph = convolution("conv(2, 3, 2, bias=false)", extent=4, channels=2)
    assert with_residues(graph) is graph
