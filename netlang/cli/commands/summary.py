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
    help = "the memory that a call for N examples takes, in inference and in training"
    parser.add_argument("--batch", metavar="N", type=take.positive, help=help)
    parser.add_argument("--backward", action="store_true", help="count the multiply-adds of the backward pass too")


def run(options: argparse.Namespace) -> int:
    from netlang.draw.tables import Peak, cost_json, cost_table
    from netlang.passes.cost import cost, with_gradients
    from netlang.runtime.memory import predicted

    net = open_net(options) if options.file.endswith(ARTIFACT) else None
    model = net.model if net is not None else open_model(options)
    graph, sizes = model.inference, read_sizes(options.sizes)
    counted = cost(graph, with_gradients(graph) if options.backward else None, sizes)
    memory = None
    if options.batch is not None:
        dtype = "float32" if net is None else net.dtype.name
        memory = Peak(options.batch, dtype, predicted(model, options.batch, sizes, dtype))
    vocabulary = net.vocabulary if net is not None else None
    if options.style == "json":
        known = {} if vocabulary is None else {"vocabulary": {"unit": vocabulary.unit, "symbols": len(vocabulary)}}
        print(json.dumps(cost_json(counted, memory) | known, indent=2))
    else:
        print(cost_table(counted, memory).rstrip("\n"))
        if vocabulary is not None:
            print(f"vocabulary   {vocabulary.describe()}")
    return 0
