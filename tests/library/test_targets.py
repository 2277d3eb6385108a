"""Every layer, activation, loss and metric of the library on the CPU: outputs and gradients against the reference.

In float64 to 1e-12 of the largest element of a tensor (of 0.001, if that is larger); the last sample of each
definition, with all options, in float32 too, to what docs/numerics.md says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.nodes import Random
from netlang.passes.pipeline import compile_graph
from netlang.random import derive_key
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.library.running import Array, first_values
from tests.library.samples import BATCH, Sample, samples
from tests.rounding import float32_bounds

SAMPLES: dict[str, Sample] = {sample.label: sample for sample in samples("layer", "fn", "loss", "metric")}
"""Every sample: several shapes of each definition, and its options."""

LAST = {sample.label for sample in {sample.definition: sample for sample in SAMPLES.values()}.values()}
"""The last sample of each definition."""

SEED, STEP = 5, 2


@pytest.mark.parametrize("label", SAMPLES)
def test_cpu_agrees_with_the_reference(label: str) -> None:
    sample = SAMPLES[label]
    module = module_from_text(sample.text)
    plain = elaborate(module, module.nets()[0], training=True)
    start: dict[str, Array] = {**sample.arrays(), **first_values(plain, seed=3)}
    states = {state.name for state in plain.states}
    wrt = [name for name in start if name not in sample.classes and name not in states] if plain.losses else []
    graph = compile_graph(plain, wrt=wrt)
    roots = list(dict.fromkeys([*graph.outputs.values(), *graph.objectives.values(), *graph.gradients.values()]))
    expected = evaluate(graph, start, {"batch": BATCH}, seed=SEED, step=STEP, only=roots)

    program = schedule(graph, roots)
    keys = {node.name: derive_key(SEED, STEP, node.stream) for node in graph if isinstance(node, Random)}
    bounds: dict[Any, Mapping[str, float]] = {
        np.float64: {r: 1e-12 * max(1e-3, float(np.abs(expected[r]).max(initial=0.0))) for r in roots}
    }
    if label in LAST:
        bounds[np.float32] = float32_bounds(graph, {r: r for r in roots}, start, BATCH, SEED, STEP)
    for dtype, bound in bounds.items():
        arrays = {k: np.ascontiguousarray(v, np.int64 if v.dtype.kind == "i" else dtype) for k, v in start.items()}
        actual = build(program, dtype).run(arrays, {"batch": BATCH}, {name: keys[name] for name in program.keys})
        for root in roots:
            np.testing.assert_allclose(actual[root], expected[root], rtol=0, atol=bound[root], err_msg=root)
