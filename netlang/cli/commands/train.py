"""`netlang train`: train a network as its `train` section says, and write it with its weights."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from netlang.cli import options as take
from netlang.cli.opening import ARTIFACT, beside, columns_of, open_net, require_writable
from netlang.cli.report import report
from netlang.diagnostics import Diagnostic

if TYPE_CHECKING:
    from netlang.runtime.history import Epoch
    from netlang.runtime.net import Net


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.style(parser)
    take.output(parser, "the artifact to write (default: named like FILE, .netc)")
    take.data(parser, " (default: the section's)")
    parser.add_argument("--validation", metavar="FRACTION|SPEC", help="how much to hold out, or other data")
    parser.add_argument("--normalize", metavar="NAME", nargs="+", help="inputs to bring to zero mean and unit variance")
    parser.add_argument("--epochs", metavar="N", type=take.natural, help="passes over the data, from the beginning")
    parser.add_argument("--batch", metavar="N", type=take.positive, help="examples in a step")
    parser.add_argument(
        "--patience", metavar="N", type=take.positive, help="epochs to wait for a lower validation loss"
    )
    take.seed(parser)
    take.dtype(parser)
    take.threads(parser)
    parser.add_argument("--checkpoint", metavar="PATH", help="an artifact to write after each epoch")
    parser.add_argument("--resume", metavar="PATH", help="go on from a checkpoint, as if never interrupted")


def run(options: argparse.Namespace) -> int:
    output = options.output or beside(options.file, ARTIFACT)
    for path in (output, options.checkpoint):
        if path is not None:
            require_writable(path)
    net = _net(options)
    shown = options.style == "text"
    history = net.fit(
        options.data,
        validation=_validation(options.validation),
        epochs=options.epochs,
        batch=options.batch,
        columns=columns_of(options),
        normalize=options.normalize,
        patience=options.patience,
        checkpoint=options.checkpoint,
        resume=options.resume is not None,
        report=(lambda epoch: print(_line(net, epoch), flush=True)) if shown else None,
    )
    net.save(output)
    if shown:
        print(f"wrote {output}")
    else:
        print(json.dumps({"net": net.name, "output": output, **history.to_json()}, indent=2))
    return 0


def _net(options: argparse.Namespace) -> Net:
    if options.resume is None:
        return open_net(options)
    from netlang.runtime.saving import load

    net = load(options.resume, dtype=options.dtype, threads=options.threads)
    if options.file.endswith(ARTIFACT):
        return net
    wanted = open_net(options)
    if wanted.model.module.texts != net.model.module.texts or wanted.model.arguments != net.model.arguments:
        report(
            [
                Diagnostic(
                    "changed-since-checkpoint",
                    f"`{options.file}` or its arguments are not those of the checkpoint, which are used",
                    place=options.resume,
                    help="train without `--resume` to use what changed",
                    severity="warning",
                )
            ],
            options.style,
        )
    return net


def _validation(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _line(net: Net, epoch: Epoch) -> str:
    measured = "  ".join(f"{name} {value:.4f}" for name, value in epoch.validation.items())
    width = len(str(net.total_epochs))
    line = f"epoch {epoch.number:{width}}/{net.total_epochs}  objective {epoch.objective:.4f}"
    return f"{line}  validation: {measured}" if measured else line
