"""The cost table for terminals and its JSON form."""

from __future__ import annotations

import json
from collections.abc import Callable

from netlang.draw.tables import WIDTH, cost_json, cost_table
from netlang.passes.cost import Cost, LayerCost, cost
from netlang.passes.derive import derive
from netlang.passes.lift import lift
from netlang.passes.objective import objective
from tests.draw.nets import lenet, product_circuit, resnet, twins


def test_lenet(golden: Callable[[str, str], None]) -> None:
    golden("tables/lenet.txt", cost_table(cost(lenet())))


def test_backward_multiply_adds_have_a_column() -> None:
    graph = lenet()
    batched = objective(lift(graph))
    derived = derive(batched, next(iter(batched.objectives.values())), [p.name for p in graph.params])
    lines = cost_table(cost(graph, derived)).splitlines()
    assert lines[2].split()[4:6] == ["macs", "backward"]
    assert lines[7].split() == ["conv_2", "conv", "50x14x14", "25,050", "4,900,000", "9,800,000", "9,800", "14x14/2"]
    assert cost_json(cost(graph, derived))["backward_macs"] == 12_652_000


def test_nested_and_shared_layers(golden: Callable[[str, str], None]) -> None:
    golden("tables/resnet.txt", cost_table(cost(resnet((1, 1)))))
    golden("tables/twins.txt", cost_table(cost(twins())))


def test_a_circuit_has_one_row() -> None:
    lines = cost_table(cost(product_circuit())).splitlines()
    assert lines[0] == "Circuit"
    assert lines[4].split() == ["Circuit", "Circuit", "scalar", "-", "-", "2", "-"]


def test_a_table_fits_a_terminal_whatever_the_names_and_numbers() -> None:
    name = ".".join(["a_very_long_scope_name"] * 5)
    row = LayerCost(
        name=name,
        layer="definition" * 4,
        kind="layer",
        parent="",
        depth=4,
        output_shape=(512, 1024, 1024),
        parameters=10**10,
        macs=10**12,
        backward_macs=10**12,
        activations=10**9,
        receptive_field={},
    )
    table = cost_table(Cost("net", (row, row), 12, {}))
    assert max(map(len, table.splitlines())) <= WIDTH
    assert table.isascii()
    assert "10,000.0M" in table
    assert "parameters   20,000,000,000 (74.5 GiB in float32)" in table
    assert "backward     2,000,000,000,000 multiply-adds" in table
    assert "states       12 numbers that are kept" in table


def test_json() -> None:
    facts = json.loads(json.dumps(cost_json(cost(lenet()))))
    assert (facts["net"], facts["parameters"], facts["macs"]) == ("LeNet5", 1_256_080, 6_522_000)
    assert [entry["name"] for entry in facts["layers"]][:3] == ["conv_1", "relu_1", "maxpool_1"]
    assert facts["layers"][3] == {
        "name": "conv_2",
        "layer": "conv",
        "kind": "layer",
        "parent": "",
        "output_shape": [50, 14, 14],
        "parameters": 25_050,
        "macs": 4_900_000,
        "activations": 9_800,
        "activation_bytes": 39_200,
        "receptive_field": {
            "image": [
                {"size": 1, "stride": None, "padding": None},
                {"size": 14, "stride": 2, "padding": 6},
                {"size": 14, "stride": 2, "padding": 6},
            ]
        },
    }
    assert json.loads(json.dumps(cost_json(cost(twins()))))["layers"][1]["shared"] == "embed"
