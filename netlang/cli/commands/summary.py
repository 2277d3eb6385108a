"""`netlang summary`: count parameters, multiply-adds, activations and receptive fields, layer by layer."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from netlang.cli import options as take
from netlang.cli.opening import open_model

if TYPE_CHECKING:
    from netlang.graph.graph import Graph


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.style(parser)
    parser.add_argument("--backward", action="store_true", help="count the multiply-adds of the backward pass too")


def run(options: argparse.Namespace) -> int:
    from netlang.draw.tables import cost_json, cost_table
    from netlang.passes.cost import cost

    graph = open_model(options).inference
    counted = cost(graph, _derived(graph) if options.backward else None)
    print(json.dumps(cost_json(counted), indent=2) if options.style == "json" else cost_table(counted).rstrip("\n"))
    return 0


def _derived(graph: Graph) -> Graph:
    """The graph with the gradients of all losses by all parameters."""
    from netlang.passes.derive import derive
    from netlang.passes.objective import NAME, objective

    graph = objective(graph)
    return derive(graph, graph.objectives[NAME], [p.name for p in graph.params])
