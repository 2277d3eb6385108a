"""Costs of nets whose numbers are known from the literature or by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from netlang.diagnostics import NetlangError
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import load_module, module_from_text
from netlang.graph.constructors import add, at_least_zero, const, every, mul, power, read, select
from netlang.graph.expression import IsZero, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import fetch, index, integer, size
from netlang.graph.nodes import Equation, Input, Origin, State, View
from netlang.passes.cost import Cost, LayerCost, cost, is_contraction, with_gradients
from netlang.passes.derive import derive
from netlang.passes.lift import lift
from netlang.passes.objective import objective
from netlang.passes.receptive import Field, receptive_fields
from tests.draw.nets import Net, ints, lenet, resnet, twins

NOWHERE = Origin(None)


def elaborated(path: str) -> Graph:
    module = load_module(str(Path(__file__).parents[2] / path))
    return elaborate(module, module.nets()[0])


def written(body: str) -> Graph:
    """A net of an image of 3x16x16 whose output `y` the body defines."""
    module = module_from_text(
        "net Net:\n    input image[3, 16, 16]\n    output y\n    loss mean(k, i, j) y[k, i, j]^2\n    " + body + "\n"
    )
    return elaborate(module, module.nets()[0])


def backward(graph: Graph) -> Graph:
    batched = objective(lift(graph))
    return derive(batched, next(iter(batched.objectives.values())), [p.name for p in graph.params])


def layer(costs: Cost, name: str) -> LayerCost:
    return next(row for row in costs.layers if row.name == name)


def sizes_of(row: LayerCost, name: str = "image") -> list[int]:
    return [field.size for field in row.receptive_field[name]]


def test_lenet() -> None:
    costs = cost(lenet())
    assert costs.parameters == 1_256_080
    assert costs.macs == 6_522_000
    assert costs.backward_macs is None
    facts = {row.name: (row.layer, row.output_shape, row.parameters, row.macs, row.activations) for row in costs.layers}
    assert facts == {
        "conv_1": ("conv", (20, 28, 28), 520, 392_000, 15_680),
        "relu_1": ("relu", (20, 28, 28), 0, 0, 15_680),
        "maxpool_1": ("maxpool", (20, 14, 14), 0, 0, 3_920),
        "conv_2": ("conv", (50, 14, 14), 25_050, 4_900_000, 9_800),
        "relu_2": ("relu", (50, 14, 14), 0, 0, 9_800),
        "maxpool_2": ("maxpool", (50, 7, 7), 0, 0, 2_450),
        "flatten_1": ("flatten", (2_450,), 0, 0, 0),
        "dense_1": ("dense", (500,), 1_225_500, 1_225_000, 500),
        "relu_3": ("relu", (500,), 0, 0, 500),
        "dense_2": ("dense", (10,), 5_010, 5_000, 10),
    }
    assert costs.activations == sum(row[-1] for row in facts.values())
    assert costs.activation_bytes == 4 * costs.activations


def test_lenet_as_written() -> None:
    costs = cost(elaborated("examples/lenet5.net"))
    assert (costs.net, costs.parameters, costs.macs, costs.activations) == ("LeNet5", 1_256_080, 6_522_000, 58_340)
    assert [row.name for row in costs.layers] == [row.name for row in cost(lenet()).layers]


def test_receptive_fields_of_lenet() -> None:
    costs = cost(lenet())
    fields = {row.name: sizes_of(row)[1:] for row in costs.layers}
    assert fields == {
        "conv_1": [5, 5],
        "relu_1": [5, 5],
        "maxpool_1": [6, 6],
        "conv_2": [14, 14],
        "relu_2": [14, 14],
        "maxpool_2": [16, 16],
        "flatten_1": [16, 16],
        "dense_1": [28, 28],
        "relu_3": [28, 28],
        "dense_2": [28, 28],
    }
    assert layer(costs, "maxpool_2").receptive_field["image"][1] == Field(16, 1, Fraction(4), Fraction(6))
    assert layer(costs, "dense_1").receptive_field["image"][1] == Field(28, whole=True)


def test_the_backward_pass_of_lenet_has_two_contractions_for_each_but_the_first() -> None:
    graph = lenet()
    costs = cost(graph, backward(graph))
    assert costs.backward_macs == 2 * 6_522_000 - 392_000
    assert {row.name: row.backward_macs for row in costs.layers if row.macs} == {
        "conv_1": 392_000,
        "conv_2": 2 * 4_900_000,
        "dense_1": 2 * 1_225_000,
        "dense_2": 2 * 5_000,
    }


def test_places_that_a_stride_skips_are_not_counted() -> None:
    graph = written("y = image -> conv(8, 3, pad=1) -> conv(4, 2, stride=2)")
    costs = cost(graph, backward(graph))
    assert layer(costs, "conv_2").macs == 4 * 8 * 8 * 8 * 4
    assert layer(costs, "conv_2").backward_macs == 2 * layer(costs, "conv_2").macs
    graph = written("y = image -> conv_transpose(5, 2, stride=2)")
    assert layer(cost(graph), "conv_transpose_1").macs == 3 * 16 * 16 * 5 * 4


def test_grouped_and_dilated_convolutions() -> None:
    costs = cost(written("y = image -> conv(6, 3, groups=3) -> conv(2, 3, dilation=2)"))
    grouped, dilated = layer(costs, "conv_1"), layer(costs, "conv_2")
    assert (grouped.parameters, grouped.macs) == (6 * 9 + 6, 6 * 14 * 14 * 9)
    assert (dilated.parameters, dilated.macs) == (2 * 6 * 9 + 2, 2 * 10 * 10 * 6 * 9)
    assert sizes_of(grouped) == [1, 3, 3]
    assert sizes_of(dilated) == [3, 7, 7]


def test_running_statistics_are_states_and_their_updates_cost_nothing() -> None:
    costs = cost(written("y = image -> batchnorm -> conv(1, 16)"))
    assert costs.states == 6
    assert layer(costs, "batchnorm_1").activations == 3 * 16 * 16
    assert layer(costs, "batchnorm_1").parameters == 6
    assert sizes_of(layer(costs, "batchnorm_1")) == [1, 1, 1]
    assert sizes_of(layer(costs, "conv_1")) == [3, 16, 16]


def test_parameters_of_a_shared_instance_are_counted_once() -> None:
    costs = cost(twins())
    assert costs.parameters == 8 * 4 + 4
    assert (layer(costs, "embed").parameters, layer(costs, "embed").shared) == (36, "")
    assert (layer(costs, "embed_2").parameters, layer(costs, "embed_2").shared) == (0, "embed")
    assert layer(costs, "embed").macs == layer(costs, "embed_2").macs == 32
    assert layer(costs, "Twins").activations == 1


def test_nested_layers_are_counted_once_and_inner_functions_with_their_layer() -> None:
    costs = cost(resnet((1, 1)))
    names = [row.name for row in costs.layers]
    assert "residual_1.conv_1" in names
    assert "residual_1.relu_1" not in names
    assert layer(costs, "residual_1").depth == 0
    assert layer(costs, "residual_1.conv_1").depth == 1
    assert layer(costs, "residual_1.conv_1").macs == 16 * 32 * 32 * 16 * 9
    block = layer(costs, "residual_1")
    assert (block.parameters, block.macs, block.activations) == (0, 0, 3 * 16 * 32 * 32)  # the sum and two rectifiers
    assert block.output_shape == (16, 32, 32)
    assert costs.parameters == sum(row.parameters for row in costs.layers)
    # 3x3 stem and two 3x3 in the block: 7; the second stage strides by 2 at its first
    assert sizes_of(block)[1:] == [7, 7]
    assert [f.size for f in layer(costs, "residual_2").receptive_field["image"]][1:] == [13, 13]
    assert layer(costs, "residual_2").receptive_field["image"][1].stride == 2


def test_equations_of_the_net_itself_have_a_row() -> None:
    net = Net("Two")
    x = net.input("x", 3)
    w = net.param("W", 4, 3)
    i, j = index("i"), index("j")
    net.equation("h.sum", (4,), "i", Reduce("sum", (("j", integer(3)),), mul(read(w, i, j), read(x, j))))
    net.equation("h", (4,), "i", add(read("h.sum", i), const(1)))
    costs = cost(net.graph(outputs={"h": "h"}))
    (row,) = costs.layers
    assert (row.name, row.layer, row.output_shape) == ("Two", "Two", (4,))
    assert (row.parameters, row.macs, row.activations) == (12, 12, 4)
    assert row.receptive_field == {"x": (Field(3, whole=True),)}


def test_losses_are_no_part_of_the_network_but_what_feeds_them_is() -> None:
    graph = lenet()
    assert "cross_entropy_1" not in [row.name for row in cost(graph).layers]
    unseen = graph.evolve(outputs={})
    assert cost(unseen).macs == 6_522_000


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (mul(read("a", index("i")), read("b", index("i"))), True),
        (mul(const(2), read("a", index("i")), read("b", index("i"))), True),
        (select(at_least_zero(index("i") - 1), mul(read("a", index("i")), read("b", index("i") - 1)), const(0)), True),
        (mul(read("a", index("i")), select(at_least_zero(index("i") - 1), read("b", index("i") - 1), const(1))), True),
        (mul(const(2), read("a", index("i"))), False),
        (power(read("a", index("i")), 2), False),
        (add(read("a", index("i")), read("b", index("i"))), False),
    ],
)
def test_contractions(body: object, expected: bool) -> None:
    reduction = Reduce("sum", (("i", integer(4)),), body)  # type: ignore[arg-type]
    assert is_contraction(reduction) is expected
    assert not is_contraction(Reduce("max", reduction.ranges, reduction.body))


def test_run_time_sizes() -> None:
    body = Reduce(
        "sum", (("j", integer(3)),), mul(read("x", index("i"), index("j")), read("x", index("i"), 2 - index("j")))
    )
    nodes = [
        Input("x", (size("T"), integer(3)), "real", NOWHERE),
        State("s", (integer(7),), "real", NOWHERE),
        Equation("y", (size("T"),), "real", NOWHERE, ("i",), body),
    ]
    graph = Graph.build("net", nodes, outputs={"y": "y"})
    costs = cost(graph, sizes={"T": 5})
    assert (costs.macs, costs.activations, costs.states) == (15, 5, 7)
    assert costs.layers[0].output_shape == (5,)
    least = cost(graph)
    assert (least.macs, least.sizes, least.layers[0].output_shape) == (3, {"T": 1}, ("T",))
    with pytest.raises(NetlangError) as caught:
        cost(graph, sizes={"L": 5})
    assert caught.value.diagnostics[0].code == "size-unknown"


# --- receptive fields ------------------------------------------------------------------------------------------------


def chain(*steps: tuple[str, int, object], n: int = 64) -> list[Field]:
    """The field of each of a chain of one-dimensional tensors `name[i < extent] = body`."""
    net = Net("chain")
    net.input("x", n)
    for name, extent, body in steps:
        net.equation(name, (extent,), "i", body)  # type: ignore[arg-type]
    fields = receptive_fields(net.graph(), {})
    return [fields[name]["x"][0] for name, _, _ in steps]


def window(of: str, places: object, extent: int) -> Reduce:
    return Reduce("max", (("p", integer(extent)),), read(of, places))  # type: ignore[arg-type]


i, j, p = index("i"), index("j"), index("p")


def test_strides_multiply_and_windows_grow() -> None:
    fields = chain(
        ("a", 31, window("x", 2 * i + p, 3)),
        ("b", 15, window("a", 2 * i + p, 3)),
        ("c", 11, window("b", i + 2 * p, 3)),
        ("d", 11, read("c", 10 - i)),
    )
    assert fields == [
        Field(3, 0, Fraction(2), Fraction(0)),
        Field(7, 0, Fraction(4), Fraction(0)),
        Field(23, 0, Fraction(4), Fraction(0)),
        Field(23, 0, Fraction(-4), Fraction(-40)),
    ]


def test_upsampling_divides_the_stride() -> None:
    fields = chain(("a", 128, read("x", i // 2)), ("b", 126, window("a", i + p, 3)))
    assert fields == [Field(1, 0, Fraction(1, 2), Fraction(0)), Field(2, 0, Fraction(1, 2), Fraction(0))]


def test_a_transposed_convolution_sees_its_neighbours() -> None:
    place = i + 1 - p
    guard = every([IsZero(place % 2), at_least_zero(place), at_least_zero(126 - place)])
    (field,) = chain(("a", 127, Reduce("sum", (("p", integer(3)),), select(guard, read("x", place // 2), const(0)))))
    assert (field.size, field.stride) == (2, Fraction(1, 2))


def test_reducing_an_axis_sees_all_of_it() -> None:
    total = Reduce("sum", (("p", integer(64)),), mul(read("x", p), read("x", p)))
    assert chain(("a", 3, total), ("b", 3, read("a", i))) == [Field(64, whole=True)] * 2


def test_what_depends_on_data_or_mixes_axes_is_not_followed() -> None:
    nodes = [
        Input("x", ints(6, 4), "real", NOWHERE),
        Input("word", ints(5), "int", NOWHERE),
        Equation("picked", ints(5), "real", NOWHERE, ("i",), read("x", fetch("word", (i,), integer(6)), integer(1))),
        Equation("diagonal", ints(3), "real", NOWHERE, ("i",), read("x", i * 2, i)),
        Equation("mixed", ints(3, 2), "real", NOWHERE, ("i", "j"), read("x", i + j, integer(0))),
        View("flat", ints(24), "real", NOWHERE, "x"),
        Equation("shifted", ints(23), "real", NOWHERE, ("i",), read("flat", i + 1)),
        Equation("pair", ints(23), "real", NOWHERE, ("i",), window("flat", i + p, 2)),
    ]
    fields = receptive_fields(Graph.build("net", nodes), {})
    still = Field(1, None, None, None)
    assert fields["picked"]["x"] == (Field(6, whole=True), still)
    assert fields["picked"]["word"] == (Field(1, 0, Fraction(1), Fraction(0)),)
    assert fields["diagonal"]["x"] == (Field(1, 0, Fraction(2), Fraction(0)), Field(1, 0, Fraction(1), Fraction(0)))
    assert fields["mixed"]["x"] == (still, still)
    assert fields["flat"]["x"] == fields["shifted"]["x"] == (still, still)
    assert fields["pair"]["x"] == (Field(6, whole=True), Field(4, whole=True))


def test_two_paths_of_one_stride_are_merged_and_others_are_not_followed() -> None:
    both = add(read("a", i), Read("b", (i,)))
    steps = [("a", 64, window("x", i + p - 2, 3)), ("b", 64, window("x", i + p, 4)), ("c", 64, both)]
    assert chain(*steps)[-1] == Field(6, 0, Fraction(1), Fraction(2))
    steps[1] = ("b", 64, window("x", i // 2 + p, 4))
    assert chain(*steps)[-1] == Field(64, whole=True)


def test_the_gradient_of_a_lookup_costs_the_rows_that_are_read() -> None:
    text = (
        "net N:\n    input w[4]: class(1000)\n    param E[1000, 8] ~ zeros, c[8] ~ ones\n"
        "    y[t] = sum(i) E[w[t], i] * c[i]\n    output y\n    loss l = sum(y)\n"
    )
    module = module_from_text(text)
    graph = elaborate(module, module.nets()[0])
    costs = cost(graph, with_gradients(graph))
    assert costs.macs == 4 * 8
    assert costs.backward_macs == 2 * 4 * 8
