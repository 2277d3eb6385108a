"""`netlang draw`: draw the layers, the equations or the backward pass; or a circuit with its values and gradients."""

from __future__ import annotations

import argparse

from netlang.cli import options as take
from netlang.cli.opening import beside, open_model, written_values
from netlang.cli.report import report


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.output(parser, "a .svg, .png, .pdf or .dot file (default: named like FILE, .svg)")
    parser.add_argument("--view", default="layers", help="layers, graph or backward (default: layers)")
    parser.add_argument(
        "--at",
        metavar="VALUES",
        action="append",
        help="draw as a circuit at these values: x=-2,y=5 or w=[2,-3,-3] (repeatable)",
    )
    parser.add_argument("--unroll", metavar="STEPS", type=int, help="unroll recurrences in time, for so many steps")


def run(options: argparse.Namespace) -> int:
    from netlang.draw.diagram.render import render
    from netlang.draw.diagram.views import draw

    values = written_values(options.at) if options.at else None
    model = open_model(options)
    text = draw(model.inference, options.view, values, options.unroll)
    rendered = render(text, options.output or beside(options.file, ".svg"))
    if rendered.warning is not None:
        report([rendered.warning])
    print(f"wrote {rendered.path}")
    return 0
