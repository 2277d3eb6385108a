"""`netlang bench`: time the forward pass and the step of training on random data."""

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
    take.dtype(parser)
    take.threads(parser)
    parser.add_argument("--batch", metavar="N", type=take.positive, default=32, help="examples (default: 32)")
    parser.add_argument("--seconds", metavar="S", type=float, default=1.0, help="for each of the two (default: 1)")


def run(options: argparse.Namespace) -> int:
    from netlang.runtime.benchmark import benchmark

    net = open_net(options)
    found = benchmark(net, batch=options.batch, sizes=read_sizes(options.sizes), seconds=options.seconds)
    if options.style == "json":
        print(json.dumps(found.as_json(), indent=2))
        return 0
    sizes = "".join(f", {name} = {value}" for name, value in found.sizes.items())
    print(f"{found.net}, batch {found.batch}{sizes}, {found.dtype}")
    print(f"forward  {found.forward_ms:10.3f} ms  {found.forward_gflops:8.1f} GFLOP/s")
    if found.step_ms is not None:
        print(f"step     {found.step_ms:10.3f} ms  {found.step_gflops:8.1f} GFLOP/s")
    print(f"memory   {found.peak_bytes / 2**20:10.1f} MiB")
    return 0
