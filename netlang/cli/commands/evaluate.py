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
    take.data(parser, " (default: the section's)")
    parser.add_argument(
        "--batch", metavar="N", type=take.positive, default=256, help="examples at a time (default: 256)"
    )
    take.dtype(parser)


def run(options: argparse.Namespace) -> int:
    from netlang.diagnostics import fail
    from netlang.runtime.sources import parse_columns
    from netlang.runtime.training import evaluate

    net = open_net(options)
    columns = columns_of(options)
    data = options.data
    if data is None:
        recipe = net.model.require_recipe()
        if recipe.data is None:
            fail("no-data", f"nothing says what to evaluate `{net.name}` on", recipe.span, help="give `--data ...`")
        data, columns = recipe.data, columns or (parse_columns(recipe.columns) if recipe.columns else None)
    measured = evaluate(net, data, batch=options.batch, columns=columns)
    if options.style == "json":
        print(json.dumps(measured, indent=2))
    else:
        width = max(map(len, measured))
        for name, value in measured.items():
            print(f"{name:{width}}  {value:.6g}")
    return 0
