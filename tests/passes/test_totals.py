"""Losses and metrics of a whole data set: what batches give, put together, is what one batch of everything gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netlang.diagnostics import NetlangError
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.graph import Graph
from netlang.passes.pipeline import PREPARE, run_passes
from netlang.passes.totals import COMBINED, totals
from netlang.targets.reference import evaluate

COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}

ENTROPY = "exp((sum(batch) (1 if y == 0 else 2) * x[0]) / sum(batch) (1 if y == 0 else 2))"
METRICS = {
    "each": "sum(i) x[i]",
    "fixed": "sum(i) w[i]^2",
    "root": "sqrt(mean(batch, i) (x[i] - w[i])^2)",
    "ratio": ENTROPY,
    "range": "max(batch, i) x[i] - min(batch, i) x[i]",
    "spread": "mean(batch) x[0]^2 - (mean(batch) x[0])^2",
    "several": "sum(j < 3) m[j]^2",
}


def graph_of(metrics: dict[str, str]) -> Graph:
    lines = ["net N:", "    input  x[3]", "    target y: class(2)", "    param  w[3] ~ [1, 2, 3]"]
    lines += ["    m[i] = mean(batch) x[i]", "    loss   sum(i) w[i] * x[i]"]
    lines += [f"    metric {name} = {text}" for name, text in metrics.items()]
    module = module_from_text("\n".join(lines) + "\n")
    return run_passes(elaborate(module, module.nets()[0], training=False), PREPARE)


def test_batches_put_together_are_one_batch() -> None:
    graph = graph_of(METRICS)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(10, 3)), random.integers(0, 2, 10)
    given: dict[str, NDArray[Any]] = {"w": np.array([1.0, 2.0, 3.0])}
    wanted = evaluate(graph, {**given, "x": x, "y": y})
    split = totals(graph)
    assert set(split.combined.values()) == set(COMBINED) - {"prod"}
    assert list(split.batches.metrics) == ["loss", "each"]
    carried: dict[str, NDArray[Any]] = {}
    averages = dict.fromkeys(split.batches.metrics, 0.0)
    for rows in (slice(0, 4), slice(4, 7), slice(7, 10)):
        found = evaluate(split.batches, {**given, "x": x[rows], "y": y[rows]})
        for name, op in split.combined.items():
            carried[name] = COMBINE[op](carried[name], found[name]) if name in carried else found[name]
        for name, node in split.batches.metrics.items():
            averages[name] += float(found[node].sum()) / 10
    at_last = evaluate(split.whole, {**given, **carried}, {"batch": 10})
    for name, node in split.whole.metrics.items():
        assert at_last[node] == pytest.approx(wanted[graph.metrics[name]], rel=1e-12)
    assert averages["each"] == pytest.approx(wanted[graph.metrics["each"]].mean(), rel=1e-12)
    assert averages["loss"] == pytest.approx(wanted[graph.losses["loss"]].mean(), rel=1e-12)
    assert set(averages) | set(split.whole.metrics) == {"loss", *METRICS}


@pytest.mark.parametrize("metric", ["mean(batch) (x[0] - mean(batch) x[0])^2", "argmax(batch) x[0]"])
def test_what_needs_two_passes_is_refused(metric: str) -> None:
    with pytest.raises(NetlangError) as error:
        totals(graph_of({"bad": metric}))
    [found] = error.value.diagnostics
    assert found.code == "batch-twice"
    assert found.span is not None
    assert found.span.line == 7
