"""`netlang evaluate`: measure losses and metrics of a network on data."""

from __future__ import annotations

import argparse
import json

from netlang.cli import options as take
from netlang.cli.opening import columns_of, open_net


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.style(parser)
    take.data(parser, " (default: what the section holds out)")
    parser.add_argument(
        "--batch",
        metavar="N",
        type=take.positive,
        help="examples at a time (default: 256; the section's where a state is carried along)",
    )
    take.dtype(parser)
    take.threads(parser)


def run(options: argparse.Namespace) -> int:
    from netlang.runtime.training import evaluate, examples_of

    net = open_net(options)
    columns = columns_of(options)
    note = ""
    if options.data is not None:
        measured = evaluate(net, options.data, batch=options.batch, columns=columns)
    else:
        training, held = examples_of(net, columns=columns)
        note = f"on {held.examples} held-out examples" if held else f"on {training.examples} training examples"
        measured = evaluate(net, held or training, batch=options.batch)
    if options.style == "json":
        print(json.dumps(measured, indent=2))
        return 0
    width = max(map(len, measured))
    for name, value in measured.items():
        print(f"{name:{width}}  {value:.6g}")
    if note:
        print(f"({note})")
    return 0
