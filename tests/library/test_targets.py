"""Every layer, activation, loss and metric of the library on the CPU: outputs and gradients against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.graph.nodes import Random
from netlang.passes.elaborate import elaborate
from netlang.passes.modules import module_from_text
from netlang.passes.pipeline import compile_graph
from netlang.random import derive_key
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.library.running import Array, first_values
from tests.library.samples import BATCH, Sample, samples

SAMPLES: dict[str, Sample] = {sample.definition: sample for sample in samples("layer", "fn", "loss", "metric")}
"""The last sample of each definition: the one with all options, or the most dimensions."""

BOUNDS = {np.float64: 1e-12, np.float32: 2e-5}
"""The largest error, relative to the largest element of a tensor (or to 0.001, if that is larger)."""

SEED, STEP = 5, 2


@pytest.mark.parametrize("definition", SAMPLES)
def test_cpu_agrees_with_the_reference(definition: str) -> None:
    sample = SAMPLES[definition]
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
    for dtype, bound in BOUNDS.items():
        arrays = {k: np.ascontiguousarray(v, np.int64 if v.dtype.kind == "i" else dtype) for k, v in start.items()}
        actual = build(program, dtype).run(arrays, {"batch": BATCH}, {name: keys[name] for name in program.keys})
        for root in roots:
            size = max(1e-3, float(np.abs(expected[root]).max(initial=0.0)))
            np.testing.assert_allclose(actual[root], expected[root], rtol=0, atol=bound * size, err_msg=root)
