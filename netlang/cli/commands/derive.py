"""`netlang derive`: derive the gradients step by step, each step with its rule."""

from __future__ import annotations

import argparse

from netlang.cli import options as take
from netlang.cli.opening import open_model, write_text


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    parser.add_argument(
        "--of", metavar="LOSS", help="the loss or scalar output to differentiate (default: the only one)"
    )
    parser.add_argument("--wrt", metavar="NAME", action="append", help="by what (repeatable; default: every parameter)")
    parser.add_argument(
        "--format", choices=("text", "latex", "html"), default="text", dest="form", help="default: text"
    )
    take.output(parser, "a file (default: standard output)")


def run(options: argparse.Namespace) -> int:
    from netlang.draw.derivation.formats import write_derivation
    from netlang.draw.derivation.writer import derivation

    model = open_model(options)
    derived = derivation(model.training, options.of, options.wrt, model.module)
    text = write_derivation(derived, options.form)
    if options.output:
        write_text(options.output, text)
        print(f"wrote {options.output}")
    else:
        print(text.rstrip("\n"))
    return 0
