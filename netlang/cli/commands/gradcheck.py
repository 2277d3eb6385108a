"""`netlang gradcheck`: compare the derived gradients with finite differences, in float64."""

from __future__ import annotations

import argparse
import json

from netlang.cli import options as take
from netlang.cli.opening import open_net
from netlang.cli.settings import read_sizes


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.sizes(parser)
    take.style(parser)
    take.seed(parser)
    parser.add_argument("--batch", metavar="N", type=take.positive, default=3, help="examples (default: 3)")
    parser.add_argument(
        "--samples", metavar="N", type=take.positive, default=20, help="elements of each tensor to check (default: 20)"
    )
    parser.add_argument("--tolerance", metavar="X", type=float, default=1e-6, help="the largest error (default: 1e-6)")


def run(options: argparse.Namespace) -> int:
    from netlang.runtime.gradcheck import gradcheck

    options.dtype = "float64"
    net = open_net(options)
    results = gradcheck(net, batch=options.batch, samples=options.samples, sizes=read_sizes(options.sizes))
    failed = [r for r in results if not r.error <= options.tolerance]
    if options.style == "json":
        rows = [{"name": r.name, "error": r.error, "checked": r.checked, "kinks": r.kinks} for r in results]
        print(
            json.dumps({"net": net.name, "tolerance": options.tolerance, "fine": not failed, "tensors": rows}, indent=2)
        )
    else:
        width = max(len(r.name) for r in results)
        for r in results:
            verdict = "fine" if r not in failed else f"more than {options.tolerance:g}"
            kinks = f", {r.kinks} at kinks" if r.kinks else ""
            print(f"{r.name:{width}}  worst relative error {r.error:.1e}  of {r.checked} checked{kinks}: {verdict}")
    return int(bool(failed))
