"""Time matrix products and convolutions, forward and both gradients, as fractions of what the processor can do.

What a processor can do is timed in turns with each. Convolutions are timed alone, the one kernel, where copies of the
weights are there already; and in a step of training, which changes the weights, with what copies or transforms these.
There they may have fewer products: what counts is those of the plain sum.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import netlang
from benchmarks.compare import CLOCKS
from benchmarks.processor import multiply_adds
from benchmarks.report import machine
from netlang.runtime.net import Net
from netlang.runtime.windows import fewer_products
from netlang.schedule.program import Kernel, Program, accesses, alone
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build

PRODUCT = """
net Product(n):
    input  x[n, n], g[n, n]
    param  W[n, n] ~ normal(0, 1)
    y[i, j] = sum(k) x[i, k] * W[k, j]
    output y
    loss   sum(i, j) y[i, j] * g[i, j]
"""
CONVOLUTION = """
net Convolution(c, h, filters, size):
    input  x[c, h, h], g[filters, h, h]
    y = x -> conv(filters, size, pad=size // 2, bias=false)
    output y
    loss   sum(k, i, j) y[k, i, j] * g[k, i, j]
"""
# the second convolution, between others, as in networks: its neighbours follow the layouts that it wants
LAYER = """
net Layer(c, h, filters, size):
    input  x[c, h, h]
    y = x -> conv(c, 1, bias=false) -> tanh -> conv(filters, size, pad=size // 2, bias=false) -> tanh -> global_avgpool
    output y
    loss   sum(k) y[k]^2

train Layer:
    optimizer sgd(lr=0.1)
"""
PRODUCTS = (512, 1024, 2048)
# images, channels, height, filters, size: of ResNet-50, of LeNet-5, 1x1
CONVOLUTIONS = (
    *((1, 64, 56, 64, 3), (16, 64, 56, 64, 3), (1, 128, 28, 128, 3), (16, 128, 28, 128, 3)),
    *((1, 256, 14, 256, 3), (16, 256, 14, 256, 3), (1, 512, 7, 512, 3), (16, 512, 7, 512, 3)),
    *((64, 20, 14, 50, 5), (1, 256, 56, 64, 1), (16, 256, 56, 64, 1)),
)


def least(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The least processor time of each call in milliseconds: what others do on the machine makes it longer only."""
    clock, best = CLOCKS["cpu"], dict.fromkeys(calls, math.inf)
    for call in calls.values():
        call()
    end = clock() + seconds * len(calls)
    while clock() < end or math.inf in best.values():
        for name, call in calls.items():
            start = clock()
            call()
            best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def products(net: Net, batch: int) -> dict[str, Callable[[], Any]]:
    """The kernels of the forward pass' product, and of its gradients by the input and by the weights."""
    graph, weights = net.model.forward_graph, next(iter(net.params))
    wanted = {"forward": (graph, next(iter(graph.outputs.values())))}
    for name, what in (("x", "by the input"), (weights, "by the weights")):
        graph = net.model.gradient_graph([name])
        wanted[what] = graph, graph.gradients[name]
    calls = {}
    for what, (graph, root) in wanted.items():
        program = schedule(graph, [root])
        kernels = [kernel for kernel in program.kernels if kernel.kind == "contraction"]
        calls[what] = partial(run_all, [bound(alone(program, kernel), batch) for kernel in kernels])
    return calls


def in_a_step(net: Net, batch: int) -> dict[str, Callable[[], Any]]:
    """The kernels of the second convolution in a step of training, with what transforms its filter for them."""
    graph, roots = net.model.computed("step")
    program = schedule(graph, roots.values(), graph.updates, winograd=fewer_products())
    groups: dict[str, list[Kernel]] = {"forward": [], "by the input": [], "by the weights": []}
    transformed: dict[str, Kernel] = {}
    for kernel in program.kernels:
        made = {tensor for tensor, _, is_stored in accesses(kernel.body) if is_stored}
        read = {program.tensors[tensor].buffer for tensor, _, is_stored in accesses(kernel.body) if not is_stored}
        text = kernel.sources[0][0]
        if any(".transformed" in tensor for tensor in made):
            transformed |= {program.tensors[tensor].buffer: kernel for tensor in made}
            continue
        before = [k for buffer, k in transformed.items() if buffer in read]
        if text.startswith("conv_2.y"):
            groups["forward"] += [*before, kernel]
        elif text.startswith("d/conv_2.W"):
            groups["by the weights"].append(kernel)
        elif kernel.kind == "contraction" and (before or "conv_2.W" in read):
            groups["by the input"] += [*before, kernel]
    return {
        what: partial(run_all, [bound(alone(program, k), batch) for k in kernels]) for what, kernels in groups.items()
    }


def bound(program: Program, batch: int) -> Callable[[], Any]:
    """A program all of whose memory is its own."""
    compiled = build(program, np.float32, threads=1)
    run = compiled.binding({"batch": batch}).run
    return partial(run, (), dict.fromkeys(program.keys, 0))


def run_all(calls: Sequence[Callable[[], Any]]) -> None:
    for call in calls:
        call()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each of the four (default: 1)")
    options = parser.parse_args()
    (core,), billions = multiply_adds()
    rows = []
    shapes: list[tuple[str, str, dict[str, Any], int, int]] = [
        (f"product {n}", PRODUCT, {"n": n}, 1, n**3) for n in PRODUCTS
    ]
    layers = []
    for images, c, h, filters, size in CONVOLUTIONS:
        name = f"conv {size}x{size}, {c} to {filters} channels, {h}x{h}, batch {images}"
        arguments = {"c": c, "h": h, "filters": filters, "size": size}
        shapes.append((name, CONVOLUTION, arguments, images, images * h * h * c * filters * size**2))
        layers.append((f"{name}, in a step", LAYER, *shapes[-1][2:]))
    for name, text, arguments, batch, macs in (*shapes, *layers):
        calls = (in_a_step if text == LAYER else products)(netlang.loads(text, **arguments), batch)
        times = least({**calls, "core": core}, options.seconds)
        best = 1e3 * billions / times.pop("core")
        speeds = {what: 2e-6 * macs / ms for what, ms in times.items()}
        of_one_core = {what: speed / best for what, speed in speeds.items()}
        rows.append({"name": name, "gflops": speeds, "core_gflops": best, "of_one_core": of_one_core})
        said = ", ".join(f"{what} {speed:.0f} ({of_one_core[what]:.0%})" for what, speed in speeds.items())
        print(f"{name}: {said} of {best:.0f} GFLOP/s", flush=True)
    mean = math.exp(np.mean([math.log(row["of_one_core"]["forward"]) for row in rows]))  # type: ignore[index]
    print(f"geometric mean of forward: {mean:.0%} of one core")
    output = Path("build", "benchmarks", "kernels.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
