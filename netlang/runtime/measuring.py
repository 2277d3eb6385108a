"""Losses and metrics of a net over a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail
from netlang.graph.nodes import BATCH
from netlang.runtime.data import Dataset
from netlang.runtime.inputs import sizes_of
from netlang.runtime.preprocess import Minibatches
from netlang.targets.reference.evaluate import evaluate as evaluate_reference

if TYPE_CHECKING:
    from netlang.runtime.net import Net

Array = npt.NDArray[Any]

MEASURED = 256  # examples in a minibatch

COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def measure(net: Net, data: Dataset, batch: int | None = None) -> dict[str, float]:
    """Each loss and metric by name, in inference mode, for data bound to the net.

    One with a number for each example is averaged over the examples. One of the whole batch, such as
    `exp(mean(batch) l)`, is computed as if all examples were one batch. The numbers of batches are put together in
    float64.

    Raises `NetlangError`: `nothing-computed`, and `batch-twice` (see `netlang.passes.totals`).
    """
    split = net.model.totals
    compiled = net.compiled("measure")
    graph = net.model.totals_graph
    if not graph.metrics and not split.whole.metrics:
        fail(
            "nothing-computed",
            f"`{net.name}` has neither a loss nor a metric to evaluate",
            net.model.net.name.span,
            help="add `loss ...` or `metric ...`",
        )
    if batch is None:
        batch = net.model.recipe.batch if compiled.carried and net.model.recipe is not None else MEASURED
    minibatches = Minibatches(batch, shuffle=False, continued=bool(compiled.carried) and data.ordered)
    if compiled.carried:
        minibatches.require_whole(data.examples, compiled.carried[0])
    read = set(compiled.read)
    sums, seen = dict.fromkeys(graph.metrics, 0.0), 0
    parts: dict[str, Array] = {}
    sizes: dict[str, int] = {}
    with net.apart():
        for arrays in minibatches.over(net.normalization.apply(data), 0):
            sizes = sizes_of(compiled.interface.inputs, arrays)
            seen += sizes[BATCH]
            values = net.run_checked(compiled, {n: a for n, a in arrays.items() if n in read}, sizes)
            for name, node in graph.metrics.items():
                sums[name] += float(values[node].sum(dtype=np.float64))
            for name, op in split.combined.items():
                value = values[graph.outputs[name]]
                part = value.astype(np.int64 if value.dtype.kind in "iu" else np.float64)
                parts[name] = COMBINE[op](parts[name], part) if name in parts else part
    found = {name: total / seen for name, total in sums.items()}
    wholes = split.whole.metrics
    known = {name: value for name, value in {**net.values, **parts}.items() if name in split.whole.nodes}
    rest = evaluate_reference(split.whole, known, {**sizes, BATCH: seen}, only=wholes.values()) if wholes else {}
    found |= {name: float(rest[node]) for name, node in wholes.items()}
    return {name: found[name] for name in (*net.graph.losses, *net.graph.metrics)}
