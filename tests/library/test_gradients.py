"""Every layer, activation and loss of the library: its derived gradient against finite differences, in float64.

The samples come from the definitions themselves (`samples`), so a new definition is tested as soon as it is written.
"""

from __future__ import annotations

import numpy as np
import pytest

from netlang.passes.derive import derive
from netlang.passes.objective import objective
from netlang.targets.reference import evaluate
from tests.library.running import first_values, graph_of
from tests.library.samples import Sample, samples

SAMPLES = {sample.label: sample for sample in samples("layer", "fn", "loss")}

STEP = 1e-5
STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))  # of the first derivative, with an error of STEP^4


@pytest.mark.parametrize("label", SAMPLES)
def test_gradient(label: str) -> None:
    check(SAMPLES[label], training=True)


@pytest.mark.parametrize("label", [label for label, s in SAMPLES.items() if s.varies_with_training])
def test_gradient_in_inference(label: str) -> None:
    check(SAMPLES[label], training=False)


def check(sample: Sample, training: bool) -> None:
    """Along random directions, and along single elements, to 1e-6 of the length of the gradient."""
    graph = objective(graph_of(sample.text, training=training))
    (target,) = graph.objectives.values()
    random = np.random.default_rng(1)
    start = {**first_values(graph, seed=3), **sample.arrays()}
    start = {k: v + 0.1 * random.normal(size=v.shape) if k in sample_params(graph) else v for k, v in start.items()}
    names = [n for n in start if n not in sample.classes and n not in {s.name for s in graph.states}]
    derived = derive(graph, target, names)
    values = evaluate(derived, start, seed=5, only=derived.gradients.values())

    for name in names:
        gradient = values[derived.gradients[name]]
        shape = start[name].shape
        assert gradient.shape == shape
        single = np.zeros(shape)
        single.flat[random.integers(single.size)] = 1.0
        for direction in (random.normal(size=shape), single):
            numeric = 0.0
            for k, weight in STENCIL:
                moved = start | {name: start[name] + k * STEP * direction}
                numeric += weight * float(evaluate(graph, moved, seed=5, only=[target])[target]) / STEP
            scale = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
            assert abs(numeric - (gradient * direction).sum()) <= 1e-6 * max(scale, 1e-2), name


def sample_params(graph: object) -> set[str]:
    return {p.name for p in graph.params}  # type: ignore[attr-defined]
