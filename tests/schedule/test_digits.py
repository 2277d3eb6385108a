"""Indices of which quotients and remainders are taken become two: grouped convolutions, windows side by side."""

from __future__ import annotations

import pytest

import netlang
from netlang.graph.graph import Graph
from netlang.graph.integer import Floor, Modulo
from netlang.graph.nodes import Equation, View
from netlang.graph.traversal import integers, walk
from netlang.graph.verify import verify
from netlang.schedule.digits import with_digits
from tests.targets.test_generate import agree


def gradients(layer: str, channels: int = 40, extent: int = 12) -> Graph:
    """A convolution inside a network, and its gradients."""
    text = f"""
net Digits:
    input  x[{channels}, {extent}, {extent}]
    y = x -> relu -> {layer} -> relu
    output y
    loss   sum(k, i, j) y[k, i, j]^2
"""
    return netlang.loads(text).model.gradient_graph(["x", "conv_1.W"])


def divisions(graph: Graph) -> list[str]:
    """The sums that divide."""
    out = []
    for node in graph:
        if isinstance(node, Equation) and node.body.key.startswith("sum"):
            values = [v for part in walk(node.body) for v in integers(part)]
            if any(isinstance(atom, Floor | Modulo) for v in values for atom in v.atoms()):
                out.append(node.name)
    return out


@pytest.mark.parametrize("groups", [2, 4, 8, 20])
def test_grouped_convolutions_are_products_by_groups(groups: int) -> None:
    graph = gradients(f"conv(40, 3, pad=1, groups={groups}, bias=false)")
    made = with_digits(graph, [])
    verify(made, "with_digits")
    assert len(divisions(graph)) >= 2
    assert not divisions(made)
    assert all(isinstance(made[name], View) for name in divisions(graph))
    agree(graph, [*graph.gradients.values(), graph.objectives["objective"]])


def test_wide_groups_are_products_by_tiles() -> None:
    graph = gradients("conv(64, 3, pad=1, groups=2, bias=false)", channels=64)
    source = agree(graph, [*graph.gradients.values(), graph.objectives["objective"]])
    kernels = [text for text in source.split("\ndef ") if text.split("(")[0].endswith("digits")]
    assert kernels
    assert all("multiply_" in text for text in kernels)


def test_windows_side_by_side_need_no_interleaving() -> None:
    graph = gradients("conv(40, 2, 2, bias=false)")
    made = with_digits(graph, [])
    assert divisions(graph)
    assert not divisions(made)
    agree(graph, list(graph.gradients.values()))


def test_what_does_not_divide_stays() -> None:
    graph = gradients("conv(40, 2, 2, bias=false)", extent=13)
    assert divisions(with_digits(graph, [])) == divisions(graph)
    agree(graph, list(graph.gradients.values()))


def test_what_is_zero_at_some_remainders_stays() -> None:
    graph = gradients("conv(40, 1, 2, bias=false)")
    assert with_digits(graph, []) is graph
    agree(graph, list(graph.gradients.values()))


def test_fixed_nodes_stay() -> None:
    graph = gradients("conv(40, 3, pad=1, groups=4, bias=false)")
    assert with_digits(graph, divisions(graph)) is graph
