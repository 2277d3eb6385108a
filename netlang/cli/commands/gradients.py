"""`netlang gradients`: how large the gradients are, by parameter or through time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netlang.cli import options as take
from netlang.cli.opening import columns_of, open_net, write_text
from netlang.cli.settings import read_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netlang.runtime.net import Net
    from netlang.runtime.through_time import ThroughTime

STEPS = 16  # rows of a table through time
LENGTH = 32  # of run-time sizes that are not given


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser)
    take.net(parser)
    take.sizes(parser)
    take.style(parser)
    take.data(parser, " (default: the section's; random numbers where there is none)")
    take.seed(parser)
    take.dtype(parser)
    take.output(parser, "draw them through time, as an .svg file")
    parser.add_argument("--batch", metavar="N", type=take.positive, default=32, help="examples (default: 32)")
    parser.add_argument(
        "--through-time", action="store_true", help="the gradient by the states of recurrences at each step"
    )


def run(options: argparse.Namespace) -> int:
    import numpy as np

    net = open_net(options)
    _check(options, net)
    given = _examples(net, options)
    if options.through_time or options.output:
        _through_time(net.gradients_through_time(**given), options)
        return 0
    loss, gradients = net.gradients(wrt=None, **given)
    norms = {name: float(np.sqrt((array.astype(np.float64) ** 2).sum())) for name, array in gradients.items()}
    whole = float(np.sqrt(sum(norm**2 for norm in norms.values())))
    if options.style == "json":
        print(json.dumps({"net": net.name, "loss": loss, "norm": whole, "parameters": norms}, indent=2))
        return 0
    width = max(map(len, ("all together", *norms)))
    for name, norm in {**norms, "all together": whole}.items():
        print(f"{name:{width}}  {norm:.3e}")
    return 0


def _check(options: argparse.Namespace, net: Net) -> None:
    """Say what cannot be done before the work. Raises `NetlangError`."""
    from netlang.diagnostics import fail
    from netlang.graph.recurrence import carried

    if options.output and not options.output.lower().endswith(".svg"):
        fail(
            "unknown-format",
            f"`{options.output}` does not end in `.svg`",
            place=options.output,
            help="curves are drawn as SVG: `-o gradients.svg`",
        )
    if (options.through_time or options.output) and not carried(net.model.training.components):
        fail(
            "no-recurrence",
            f"`{net.name}` has no recurrence",
            net.model.net.name.span,
            help="leave out `--through-time` for the gradients by its parameters",
        )


def _examples(net: Net, options: argparse.Namespace) -> Mapping[str, NDArray[Any]]:
    """A batch of the data, or random numbers where there are no data."""
    import numpy as np

    from netlang.graph.sizes import chosen_sizes
    from netlang.runtime.synthetic import random_inputs
    from netlang.runtime.training import examples_of, read

    recipe = net.model.recipe
    if options.data is not None:
        examples = read(net, options.data, columns=columns_of(options))
    elif recipe is not None and recipe.data is not None:
        examples, _ = examples_of(net, validation=0.0, columns=columns_of(options))
    else:
        sizes = chosen_sizes(net.graph, net.graph.requirements, read_sizes(options.sizes), least=LENGTH)
        return random_inputs(net, options.batch, sizes, np.random.default_rng(net.seed))
    return {name: array[: options.batch] for name, array in examples.items()}


def _through_time(found: ThroughTime, options: argparse.Namespace) -> None:
    import numpy as np

    if options.output:
        write_text(options.output, found.draw())
        print(f"wrote {options.output}")
        return
    if options.style == "json":
        states = {name: norms.tolist() for name, norms in found.items()}
        print(json.dumps({"net": found.net, "through_time": states}, indent=2))
        return
    for names in _of_one_length(found):
        steps = len(found[names[0]])
        width = max(9, *map(len, names))
        print("step  " + "  ".join(f"{name:>{width}}" for name in names))
        for t in sorted({round(t) for t in np.linspace(0, steps - 1, min(steps, STEPS))}):
            print(f"{t:4}  " + "  ".join(f"{found[name][t]:>{width}.3e}" for name in names))


def _of_one_length(found: ThroughTime) -> list[list[str]]:
    """The states that make a table together."""
    tables: dict[int, list[str]] = {}
    for name, norms in found.items():
        tables.setdefault(len(norms), []).append(name)
    return list(tables.values())
