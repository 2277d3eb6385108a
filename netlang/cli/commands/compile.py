"""`netlang compile`: compile a network to an artifact or a native library, or show what is made of it on the way."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netlang.cli import options as take
from netlang.cli.opening import ARTIFACT, beside, open_net, write_text

if TYPE_CHECKING:
    from netlang.runtime.net import Net

STAGES = ("graph", "program", "kernels", "llvm", "asm")
USES = ("forward", "evaluate", "step")


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.output(parser, "the artifact or library (default: named like FILE), or the file for what is shown")
    parser.add_argument(
        "--emit",
        metavar="STAGE",
        help="show the graph (graph:PASS: after a pass), program, kernels, llvm or asm instead",
    )
    parser.add_argument(
        "--use", choices=(*USES, "stream"), default="forward", help="of which computation to show it (default: forward)"
    )
    take.dtype(parser)
    tuning = parser.add_argument_group("tuning")
    tuning.add_argument(
        "--tune",
        action="store_true",
        help="time the best tilings of each sum of products first, and remember the fastest",
    )
    tuning.add_argument(
        "--batch", metavar="N", type=take.positive, default=32, help="for so many examples (default: 32)"
    )
    take.sizes(parser)
    take.threads(parser)
    native = parser.add_argument_group("native libraries")
    native.add_argument("--native", action="store_true", help="a shared library with a C header, no artifact")
    native.add_argument("--training", action="store_true", help="with gradients and the step of training")
    native.add_argument("--cpu", default="native", metavar="NAME", help="native (default), or x86-64 to x86-64-v4")
    native.add_argument(
        "--weights", choices=("embedded", "beside"), default="embedded", help="in the library (default), or beside it"
    )


def run(options: argparse.Namespace) -> int:
    if options.tune:
        _tune(options)
    if options.emit:
        text = _emitted(options)
        if options.output:
            write_text(options.output, text)
            print(f"wrote {options.output}")
        else:
            print(text.rstrip("\n"))
        return 0
    net = open_net(options)
    if options.native:
        return _native(net, options)
    for use in USES:
        if _has(net, use):
            net.program(use)
    output = options.output or beside(options.file, ARTIFACT)
    net.save(output)
    print(f"wrote {output}")
    return 0


def _tune(options: argparse.Namespace) -> None:
    from netlang.cli.settings import read_sizes
    from netlang.runtime.tuning import tune

    net = open_net(options)
    sizes = read_sizes(options.sizes)
    uses = [use for use in ("forward", "step") if _has(net, use)]
    print(f"sums of products with {options.batch} examples, in milliseconds: as the model chooses, and tuned")
    found = tune(net.model, uses, batch=options.batch, sizes=sizes, dtype=net.dtype, threads=net.threads)
    for kernel in found:
        print(f"{kernel.before:10.4f} {kernel.after:10.4f}  {kernel.use}: {kernel.name}", flush=True)


def _native(net: Net, options: argparse.Namespace) -> int:
    from netlang.runtime.export import SUFFIX, save_native

    output = options.output or beside(options.file, SUFFIX)
    files = save_native(net, output, training=options.training, cpu=options.cpu, weights=options.weights)
    print(f"wrote {', '.join(files)}")
    return 0


def _has(net: Net, use: str) -> bool:
    if use == "step":
        return net.model.recipe is not None
    return use == "forward" or bool(net.graph.losses or net.graph.metrics)


def _emitted(options: argparse.Namespace) -> str:
    from netlang.diagnostics import fail, listing, nearest

    stage, _, step = options.emit.partition(":")
    if stage not in STAGES or (step and stage != "graph"):
        fail(
            "unknown-stage",
            f"there is no stage `{options.emit}` of the compilation",
            place="--emit",
            help=nearest(options.emit, STAGES) or f"the stages are {listing(STAGES)}",
        )
    if stage == "graph":
        return _graph(options, step)
    net = open_net(options)
    program = net.program(options.use)
    if stage == "program":
        from netlang.schedule.text import program_text

        return program_text(program.program)
    if stage == "kernels":
        return program.source
    return program.module.ir() if stage == "llvm" else program.module.assembly()


def _graph(options: argparse.Namespace, step: str) -> str:
    """The graph as the text says it, or after the last pass of a name."""
    from dataclasses import replace

    from netlang.cli.opening import open_model
    from netlang.diagnostics import fail, listing, nearest
    from netlang.graph.graph import Graph
    from netlang.graph.text import graph_text

    model = open_model(options)
    if not step:
        return graph_text(model.training if options.use == "step" else model.inference)
    after: dict[str, Graph] = {}
    traced = replace(model, trace=after.__setitem__)
    if options.use == "stream":
        traced.streamed()
    else:
        getattr(traced, {"forward": "forward_graph", "evaluate": "evaluation_graph", "step": "step_graph"}[options.use])
    if step not in after:
        fail(
            "unknown-pass",
            f"there is no pass `{step}` on the way to `{options.use}`",
            place="--emit",
            help=nearest(step, after) or f"the passes are {listing(after)}",
        )
    return graph_text(after[step])
