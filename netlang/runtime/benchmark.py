"""How fast a net is: medians of its forward pass and its step of training on random data, and the memory they take."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from netlang.graph.nodes import BATCH
from netlang.graph.sizes import chosen_sizes
from netlang.passes.cost import cost, with_gradients
from netlang.runtime.memory import peak_bytes
from netlang.runtime.net import Net
from netlang.runtime.synthetic import random_inputs

LEAST_RUNS = 5
WARM_UP = 2  # runs that are not counted


@dataclass(frozen=True)
class Benchmark:
    """Medians in milliseconds; `gflops` are billions of floating point operations a second, two for a multiply-add.

    Operations are those of contractions as the equations say them, so work that the compiler saves counts as done.
    `peak_bytes` is what a step (without a `train` section, a forward pass) takes at most: parameters, states, the
    arrays of the call, and temporaries.
    """

    net: str
    batch: int
    sizes: Mapping[str, int]
    dtype: str
    forward_ms: float
    forward_gflops: float
    step_ms: float | None
    step_gflops: float | None
    peak_bytes: int

    @property
    def gflops(self) -> float:
        """Of the step, where there is one."""
        return self.forward_gflops if self.step_gflops is None else self.step_gflops

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "gflops": self.gflops}


def benchmark(net: Net, *, batch: int = 32, sizes: Mapping[str, int] | None = None, seconds: float = 1.0) -> Benchmark:
    """Time a net on random data for about `seconds` each; the net stays as it is.

    Raises `NetlangError`: `size-unknown`, `requirement`, and what running raises.
    """
    known = chosen_sizes(net.graph, net.graph.requirements, sizes)
    given = random_inputs(net, batch, known, np.random.default_rng(0))
    inputs = {node.name: given[node.name] for node in net.inputs}
    timed = copy.copy(net)
    has_step = net.model.recipe is not None
    forward_ms = medians({"": lambda: timed.forward(**(inputs if net.graph.outputs else given))}, seconds)[""]
    timed.reset()
    step_ms = medians({"": lambda: timed.step(**given)}, seconds)[""] if has_step else None
    told = net.graph.evolve(losses={}) if net.graph.outputs else net.graph  # what a forward pass computes
    counted = cost(net.graph, with_gradients(net.graph) if has_step else None, known)
    forward, step = (
        2e-6 * batch * macs for macs in (cost(told, sizes=known).macs, counted.macs + (counted.backward_macs or 0))
    )
    return Benchmark(
        net.name,
        batch,
        known,
        net.dtype.name,
        forward_ms,
        forward / forward_ms,
        step_ms,
        None if step_ms is None else step / step_ms,
        peak_bytes(timed.program("step" if has_step else "forward").program, {BATCH: batch, **known}, net.dtype),
    )


def medians(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The median time of each call in milliseconds, warm and in turns, so that what else the machine does is shared.

    Rounds go on for about `seconds` for each call, and for at least five.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    while len(next(iter(times.values()))) < LEAST_RUNS or time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}
