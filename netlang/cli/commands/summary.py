"""`netlang summary`: count parameters, multiply-adds, activations and receptive fields, layer by layer."""

from __future__ import annotations

import argparse
import json

from netlang.cli import options as take
from netlang.cli.opening import ARTIFACT, open_model, open_net
from netlang.cli.settings import read_sizes


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.sizes(parser)
    take.style(parser)
    parser.add_argument("--backward", action="store_true", help="count the multiply-adds of the backward pass too")


def run(options: argparse.Namespace) -> int:
    from netlang.draw.tables import cost_json, cost_table
    from netlang.passes.cost import cost, with_gradients

    net = open_net(options) if options.file.endswith(ARTIFACT) else None
    graph = (net.model if net is not None else open_model(options)).inference
    counted = cost(graph, with_gradients(graph) if options.backward else None, read_sizes(options.sizes))
    vocabulary = net.vocabulary if net is not None else None
    if options.style == "json":
        known = {} if vocabulary is None else {"vocabulary": {"unit": vocabulary.unit, "symbols": len(vocabulary)}}
        print(json.dumps(cost_json(counted) | known, indent=2))
    else:
        print(cost_table(counted).rstrip("\n"))
        if vocabulary is not None:
            print(f"vocabulary   {vocabulary.describe()}")
    return 0
