"""`netlang run`: compute the outputs of a network for given inputs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from netlang.cli import options as take
from netlang.cli.opening import columns_of, open_net, written_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlang.runtime.net import Net


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.style(parser)
    take.data(parser)
    parser.add_argument(
        "--at", metavar="VALUES", action="append", help="one example, written out: x=-2,y=5 or x=[1,2] (repeatable)"
    )
    parser.add_argument(
        "--batch", metavar="N", type=take.positive, default=256, help="examples at a time (default: 256)"
    )
    take.output(parser, "a .npz file for the outputs (default: print them)")
    take.dtype(parser)
    take.threads(parser)


def run(options: argparse.Namespace) -> int:
    net = open_net(options)
    outputs = _outputs(net, options)
    if options.output:
        import numpy as np

        from netlang.runtime.storage import replacing

        with replacing(options.output) as file:
            np.savez(file, **outputs)
        print(f"wrote {options.output}")
    elif options.style == "json":
        print(json.dumps({name: value.tolist() for name, value in outputs.items()}))
    else:
        for name, value in outputs.items():
            print(f"{name} = {_shown(value)}")
    return 0


def _outputs(net: Net, options: argparse.Namespace) -> Mapping[str, Any]:
    from netlang.diagnostics import fail
    from netlang.runtime.prediction import predict

    if options.at:
        return net.forward(**written_values(options.at))
    if options.data is None:
        fail(
            "no-data",
            f"nothing says what to run `{net.name}` on",
            help="give `--data FILE`, or an example: `--at x=...`",
        )
    return predict(net, options.data, batch=options.batch, columns=columns_of(options))


def _shown(value: Any) -> str:
    import numpy as np

    text = np.array2string(np.asarray(value), precision=6, separator=", ", threshold=200)
    return text.replace("\n", "\n  ")
