"""The layers, graph and backward views: structure, folding, sharing, escaping, golden DOT."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from netlang.diagnostics import NetlangError
from netlang.draw.diagram.blocks import blocks
from netlang.draw.diagram.dot import Dot, escape, font, lines, quote
from netlang.draw.diagram.kinds import kind, learned
from netlang.draw.diagram.views import VIEWS, draw
from netlang.draw.notation import equation_label, number_label, wrap
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.constructors import const, mul, read
from netlang.graph.graph import Graph
from netlang.graph.integer import product
from netlang.passes.derive import derive
from tests.draw import nets

EXAMPLES = Path(__file__).parents[2] / "examples"
Golden = Callable[[str, str], None]


def node_lines(dot: str, name: str) -> list[str]:
    return [line.strip() for line in dot.splitlines() if line.strip().startswith(f"{quote(name)} [")]


@pytest.mark.parametrize("view", VIEWS)
def test_lenet(view: str, golden: Golden) -> None:
    graph = nets.lenet()
    assert draw(graph, view) == draw(nets.lenet(), view)
    golden(f"draw/lenet_{view}.dot", draw(graph, view))


@pytest.mark.parametrize("view", VIEWS)
def test_product_circuit(view: str, golden: Golden) -> None:
    golden(f"draw/product_{view}.dot", draw(nets.product_circuit(), view))


def test_layers_show_shapes_parameters_and_roles() -> None:
    dot = draw(nets.lenet())
    assert 'image -> conv_1 [label=" 1 × 28 × 28 "]' in dot
    assert 'conv_2 -> relu_2 [label=" 50 × 14 × 14 "]' in dot
    assert 'flatten_1 -> dense_1 [label=" 2450 "]' in dot
    assert 'dense_2 -> "output scores" [label=" 10 "]' in dot
    assert "1,256,080 parameters" in dot
    (conv,) = node_lines(dot, "conv_2")
    assert "25,050 parameters" in conv
    (target,) = node_lines(dot, "digit")
    assert "target, one of 10" in target
    assert "dashed" in target


def test_colours_follow_from_the_equations() -> None:
    graph = nets.lenet()
    weights = learned(graph)
    found = {name: kind(graph[f"{name}.y"], weights) for name in ("conv_1", "relu_1", "maxpool_1", "flatten_1")}
    assert found == {
        "conv_1": "elementwise",  # the bias; the contraction is its operand
        "relu_1": "elementwise",
        "maxpool_1": "reduction",
        "flatten_1": "movement",
    }
    assert kind(graph["conv_1.y.sum"], weights) == "contraction"
    painted = {block.name: block.kind for block in blocks(graph).blocks}
    assert painted == {
        "image": "terminal",
        "digit": "target",
        "conv_1": "contraction",
        "relu_1": "elementwise",
        "maxpool_1": "reduction",
        "conv_2": "contraction",
        "relu_2": "elementwise",
        "maxpool_2": "reduction",
        "flatten_1": "movement",
        "dense_1": "contraction",
        "relu_3": "elementwise",
        "dense_2": "contraction",
        "cross_entropy_1": "loss",
    }
    norm = nets.norm()
    assert kind(norm["q"], learned(norm)) == "product"  # of two inputs: no parameter takes part


def test_repeated_blocks_are_drawn_once(golden: Golden) -> None:
    graph = nets.resnet((3, 4, 6, 3))
    diagram = blocks(graph)
    counts = {b.name: (b.count, b.parameters) for b in diagram.blocks if b.name.startswith("residual")}
    assert counts == {
        "residual_1": (3, 4_640),
        "residual_4": (1, 14_432),
        "residual_5": (3, 18_496),
        "residual_8": (1, 57_536),
        "residual_9": (5, 73_856),
        "residual_14": (1, 229_760),
        "residual_15": (2, 295_168),
    }
    dot = draw(graph)
    assert 'residual_1 -> residual_4 [label=" 16 × 32 × 32 "]' in dot
    golden("draw/resnet_layers.dot", dot)


def test_inner_layers_are_framed_while_the_whole_is_small(golden: Golden) -> None:
    diagram = blocks(nets.resnet((1, 3)))
    assert [(f.name, f.count) for f in diagram.frames] == [("residual_1", 1), ("residual_2", 1), ("residual_3", 2)]
    assert {b.frame for b in diagram.blocks if b.name == "residual_3.conv_1"} == {"residual_3"}
    assert not any(b.name.startswith("residual_4") for b in diagram.blocks)
    edges = {(e.tail, e.head) for e in diagram.edges}
    assert ("residual_3.relu_2", "flatten_1") in edges  # what leaves the last of the run leaves the frame
    golden("draw/small_resnet_layers.dot", draw(nets.resnet((1, 3))))


def test_common_parameters_are_linked() -> None:
    dot = draw(nets.twins())
    assert "shares the parameters of embed" in node_lines(dot, "embed_2")[0]
    first, second = (re.search(r' color="(#\w+)", penwidth=2.2', node_lines(dot, n)[0]) for n in ("embed", "embed_2"))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]
    assert re.search(rf'embed -> embed_2 \[style=dotted, .*color="{first[1]}"', dot)
    assert "36 parameters" in dot  # counted once


def test_equations_read_like_the_definition() -> None:
    graph = nets.lenet()
    assert equation_label(graph, graph["conv_1.y.sum"], "conv_1") == (
        "y.sum[k, i, j] = sum(m < 1, p < 5, q < 5) W[k, m, p, q] * (image[m, i + p - 2, j + q - 2] else 0)"
    )
    assert equation_label(graph, graph["relu_1.y"]) == "relu_1.y = max(0, conv_1.y)"
    assert equation_label(graph, graph["flatten_1.y"]) == "flatten_1.y = maxpool_2.y as 2450"
    assert equation_label(graph, graph["cross_entropy_1.y"], "cross_entropy_1") == "y = log(y.sum) - dense_2.y[digit]"


def test_backward_places_each_adjoint_beside_its_node() -> None:
    graph = nets.lenet()
    derived = derive(graph, "cross_entropy_1.y", [p.name for p in graph.params])
    dot = draw(derived, "backward")
    assert dot == draw(graph, "backward")
    assert '{rank=same; "conv_2.b"; "conv_2.y"; "d/conv_2.y"; "d/conv_2.b"}' in dot
    assert '"d/conv_2.y" -> "d/conv_2.b" [style=dashed, color="#c0392b"]' in dot
    assert '"d/conv_2.y" -> "d/relu_2.y" [dir=back, style=dashed, color="#c0392b", weight=8]' in dot
    assert '"relu_3.y" -> "d/dense_2.W" [' in dot  # a value used again


def test_a_large_backward_view_is_drawn_by_blocks(golden: Golden) -> None:
    graph = elaborated(RESIDUAL)
    assert len(graph) > 48
    dot = draw(graph, "backward")
    assert "residual(8)" in node_lines(dot, "residual_1")[0]
    assert "× 6" in node_lines(dot, "residual_1")[0]
    assert "gradient of 24 parameter tensors" in node_lines(dot, "d/residual_1")[0]
    assert '"d/dense_1" -> "d/flatten_1" [dir=back' not in dot  # drawn from the lower row to the upper one
    assert '"d/flatten_1" -> "d/dense_1" [dir=back, style=dashed' in dot
    golden("draw/residual_backward.dot", dot)


def test_backward_wants_a_scalar() -> None:
    graph = nets.resnet((1, 2))
    with pytest.raises(NetlangError) as error:
        draw(graph, "backward")
    assert error.value.diagnostics[0].code == "no-objective"


def test_an_unknown_view() -> None:
    with pytest.raises(NetlangError) as error:
        draw(nets.norm(), "layer")
    assert str(error.value) == (
        "error[unknown-view]: there is no view `layer`\n"
        "  = help: did you mean `layers`? the views are `layers`, `graph`, `backward`"
    )


RESIDUAL = """
layer residual(x[c, h, w], channels):
    y = x -> conv(channels, 3, pad=1) -> relu -> conv(channels, 3, pad=1)
    return relu(x + y)

net Small:
    input  image[1, 8, 8]
    target digit: class(10)
    a = image -> conv(8, 3, pad=1)
    b = a -> repeat(6, residual(8))
    m[i, j] = mean(c) b[c, i, j]
    s = b -> dropout(0.25) -> flatten -> dense(10)
    output s
    loss total = cross_entropy(s, digit) + sum(i, j) m[i, j]^2
"""


def elaborated(text: str) -> Graph:
    module = module_from_text(text)
    return elaborate(module, module.nets()[0], training=False)


def test_titles_are_what_the_file_says(golden: Golden) -> None:
    dot = draw(elaborated(RESIDUAL))
    assert ">conv(8, 3, pad=1)</B>" in node_lines(dot, "conv_1")[0]
    assert ">residual(8)</B>" in dot  # the frame's
    assert "× 6</B>" in dot
    assert ">m[i, j] = mean(c) b[c, i, j]</B>" in node_lines(dot, "m")[0]
    golden("draw/residual_layers.dot", dot)


def test_a_layer_for_training_only_is_drawn_idle() -> None:
    dot = draw(elaborated(RESIDUAL))
    (dropout,) = node_lines(dot, "dropout_1")
    assert ">dropout(0.25)</B>" in dropout
    assert "idle outside training" in dropout
    assert '"residual_1.y" -> dropout_1 [label=" 8 × 8 × 8 "]' in dot
    assert 'dropout_1 -> flatten_1 [label=" 8 × 8 × 8 "]' in dot
    assert '"residual_1.y" -> flatten_1' not in dot
    assert '"residual_1.y" -> m' in dot  # written before


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.net")), ids=lambda path: path.stem)
def test_every_example_is_drawn_whole(path: Path) -> None:
    graph = elaborated(path.read_text(encoding="utf-8"))
    dot = draw(graph)
    for node in (*graph.inputs("input"), *graph.inputs("target")):
        assert node_lines(dot, node.name), node.name
    for name in graph.outputs:
        assert node_lines(dot, f"output {name}"), name
    total = sum(product(p.shape).constant for p in graph.params)
    assert not total or f"{total:,} parameters" in dot
    equations = draw(graph, "graph")
    live = graph.prune([*graph.outputs.values(), *graph.losses.values()])
    assert all(node_lines(equations, node.name) for node in live)
    backward = draw(graph, "backward")
    whole = all(node_lines(backward, f"d/{p.name}") for p in live.params)
    assert whole if len(live) <= 48 else "gradient of" in backward  # a large one is drawn by blocks


HOSTILE = 'a"b\\N\\"<B>&amp;</TABLE>\n{|}\x00\x1b[0m→ é \ud800;'


def test_labels_and_names_are_escaped() -> None:
    dot = Dot(HOSTILE)
    dot.node(HOSTILE, HOSTILE, color="red")
    dot.node("markup", lines(font(HOSTILE, bold=True)))
    dot.edge(HOSTILE, "markup", label=HOSTILE)
    text = dot.text()
    text.encode()  # a lone surrogate would raise
    assert "\x00" not in text
    assert "\x1b" not in text
    assert quote('a"b\\N\n') == '"a\\"b\\\\N\\n"'
    assert escape('<B>"&"\\N\n') == "&lt;B&gt;&quot;&amp;&quot;\\\\N<BR/>"
    assert quote("node") == '"node"'
    assert quote("conv_1") == "conv_1"
    assert quote("conv_1.W") == '"conv_1.W"'


def test_long_equations_break_between_tensors() -> None:
    text = "y[k, i, j] = sum(m < 20, p < 5, q < 5) W[k, m, p, q] * x[m, i + p - 2, j + q - 2]"
    rows = [row.replace("\N{NO-BREAK SPACE}", " ").strip() for row in wrap(text, 44, 4)]
    assert rows == ["y[k, i, j] = sum(m < 20, p < 5, q < 5)", "W[k, m, p, q] *", "x[m, i + p - 2, j + q - 2]"]
    assert wrap("a " * 100, 10, 2)[1].endswith("…")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.19661, "−0.1966"), (0.0, "0"), (-0.0, "0"), (12.0, "12"), (1e-7, "1e−07"), (float("inf"), "inf")],
)
def test_numbers(value: float, shown: str) -> None:
    assert number_label(value) == shown


def test_a_net_without_layers_draws_its_equations() -> None:
    net = nets.Net("Line")
    x = net.input("x")
    w = net.param("w")
    net.equation("y", (), "", mul(const(2), read(w), read(x)))
    dot = draw(net.graph(outputs={"y": "y"}))
    (box,) = node_lines(dot, "y")
    assert "y = 2 * w * x" in box
    assert "1 parameter<" in box
