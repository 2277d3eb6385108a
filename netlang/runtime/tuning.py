"""Tilings by timing: kernels of sums of products are run with each of the best few, and the fastest is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.graph.graph import Graph
from netlang.graph.nodes import BATCH
from netlang.graph.sizes import chosen_sizes
from netlang.runtime.benchmark import medians
from netlang.runtime.choices import Choices, remember
from netlang.runtime.model import Model
from netlang.runtime.windows import fewer_products
from netlang.schedule.program import Kernel, Program, alone
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build

CANDIDATES = 6  # tilings of a problem that are timed: the best by the model of the cost
GAIN = 0.97  # of the time by the model's first choice, above which that one is kept


@dataclass(frozen=True)
class Tuned:
    """A kernel that was timed: milliseconds with what the model chooses, and with the fastest, `choices`."""

    use: str
    name: str
    before: float
    after: float
    choices: Choices


def tune(
    model: Model,
    uses: Sequence[str] = ("forward",),
    *,
    batch: int = 32,
    sizes: Mapping[str, int] | None = None,
    dtype: npt.DTypeLike = np.float32,
    threads: int = 1,
    seconds: float = 0.1,
) -> Iterator[Tuned]:
    """Time the kernels of some uses, each for about `seconds` a tiling, and remember the choices, kernel by kernel.

    Problems that have been met are not timed again. Programs that are compiled later take what is remembered.

    Raises `NetlangError`: `size-unknown`, `requirement`, `no-training`, `cannot-write`.
    """
    known = {BATCH: batch, **chosen_sizes(model.inference, model.inference.requirements, sizes)}
    met: set[str] = set()
    for use in uses:
        programs = _ranked(*model.computed(use), fewer_products())
        for k, kernel in enumerate(programs[0].kernels):
            keys = {problem.key for problem in kernel.problems}
            if keys <= met:
                continue
            met |= keys
            variants = {_taken(p.kernels[k]): alone(p, p.kernels[k]) for p in programs}
            times = medians({taken: _run(p, known, dtype, threads) for taken, p in variants.items()}, seconds)
            first, best = _taken(kernel), min(times, key=times.__getitem__)
            if times[best] > GAIN * times[first]:
                best = first
            choices = {problem.key: problem.taken for problem in variants[best].kernels[0].problems}
            remember(choices, dtype)
            yield Tuned(use, kernel.name, times[first], times[best], choices)


def _ranked(graph: Graph, roots: Mapping[str, str], winograd: bool) -> list[Program]:
    """The program with the model's choices, then with what it puts second, third and so on everywhere."""

    def scheduled(choices: Choices) -> Program:
        return schedule(graph, roots.values(), graph.updates, choices, winograd=winograd)

    programs = [scheduled({})]
    problems = {p.key: p for kernel in programs[0].kernels for p in kernel.problems}
    most = max((len(p.tilings) for p in problems.values()), default=0)
    for rank in range(1, min(CANDIDATES, most)):
        choices = {p.key: p.tilings[min(rank, len(p.tilings) - 1)] for p in problems.values()}
        programs.append(scheduled(choices))
    return programs


def _taken(kernel: Kernel) -> str:
    return "; ".join(problem.taken for problem in kernel.problems)


def _run(program: Program, sizes: Mapping[str, int], dtype: npt.DTypeLike, threads: int) -> Callable[[], Any]:
    run = build(program, dtype, threads=threads).binding(sizes).run
    return partial(run, (), dict.fromkeys(program.keys, 0))
