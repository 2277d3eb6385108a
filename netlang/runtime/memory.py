"""The memory that a net takes at most, from the plans of its programs: nothing is compiled, and nothing is run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from netlang.graph.nodes import BATCH
from netlang.graph.sizes import chosen_sizes
from netlang.runtime.choices import remembered
from netlang.runtime.model import Model
from netlang.runtime.windows import fewer_products
from netlang.schedule.memory import plan, plan_kept
from netlang.schedule.program import Program
from netlang.schedule.schedule import schedule


def peak_bytes(program: Program, sizes: Mapping[str, int], dtype: npt.DTypeLike = np.float32) -> int:
    """The bytes of all buffers of a program: parameters, states, what is kept, arrays of the call, and temporaries."""
    itemsize = np.dtype(dtype).itemsize
    external = program.of_kind("input", "param", "state", "output")
    owned = sum(b.elements.evaluate(sizes) * b.itemsize(itemsize) for b in external)
    return owned + plan_kept(program, itemsize).bytes + plan(program, sizes, itemsize).bytes


def predicted(
    model: Model, batch: int, sizes: Mapping[str, int] | None = None, dtype: npt.DTypeLike = np.float32
) -> dict[str, int]:
    """The bytes that a call for `batch` examples takes, by its use: "forward", and with a `train` section "step".

    `sizes` are run-time sizes, others the least that there can be. Raises `NetlangError`: `size-unknown`,
    `requirement`.
    """
    known = {BATCH: batch, **chosen_sizes(model.inference, model.inference.requirements, sizes)}
    found: dict[str, int] = {}
    for use in ("forward", "step") if model.recipe is not None else ("forward",):
        graph, roots = model.computed(use)
        program = schedule(graph, roots.values(), graph.updates, remembered(dtype), winograd=fewer_products())
        found[use] = peak_bytes(program, known, dtype)
    return found
