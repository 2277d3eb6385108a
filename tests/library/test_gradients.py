"""Every layer, activation and loss of the library: its derived gradient against finite differences, in float64.

The samples come from the definitions themselves (`samples`), so a new definition is tested as soon as it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.graph import Graph
from netlang.passes.lift import lift
from netlang.passes.objective import NAME, objective
from netlang.passes.pipeline import OPTIONAL, compile_graph
from netlang.targets.reference import evaluate
from tests.library.running import Array, first_values
from tests.library.samples import BATCH, Sample, samples

SAMPLES = {sample.label: sample for sample in samples("layer", "fn", "loss")}

STEP = 1e-5
STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))  # of the first derivative, with an error of STEP^4


@pytest.mark.parametrize("label", SAMPLES)
def test_gradient(label: str) -> None:
    check(SAMPLES[label], training=True)


@pytest.mark.parametrize("label", [label for label, sample in SAMPLES.items() if sample.varies_with_training])
def test_gradient_in_inference(label: str) -> None:
    check(SAMPLES[label], training=False)


def check(sample: Sample, training: bool) -> None:
    """The gradients of a sample, at a point near its first values."""
    module = module_from_text(sample.text)
    plain = elaborate(module, module.nets()[0], training=training)
    random = np.random.default_rng(1)
    start: dict[str, Array] = dict(sample.arrays())
    states = {state.name for state in plain.states}
    for name, first in first_values(plain, seed=3).items():
        away = first + 0.1 * random.normal(size=first.shape)  # from 0, where kinks are
        start[name] = np.abs(away) if name in states else away  # a variance is positive
    names = [name for name in start if name not in sample.classes and name not in states]
    compare(plain, start, names, {"batch": BATCH})


def compare(plain: Graph, start: Mapping[str, Array], names: Sequence[str], sizes: Mapping[str, int]) -> None:
    """With all passes on, along random directions and single elements, to 1e-6 of the gradient's length.

    The differences are of the graph before any pass. With the optional passes off, values agree to 1e-12.
    """
    random = np.random.default_rng(2)
    gradients: dict[str, Array] = {}
    for without in ((), OPTIONAL):
        derived = compile_graph(plain, wrt=names, without=without)
        roots = {name: derived.gradients[name] for name in names}
        values = evaluate(derived, start, sizes, seed=5, only=roots.values())
        for name, root in roots.items():
            assert values[root].shape == start[name].shape
            if without:
                size = 1e-12 * max(1.0, float(np.abs(gradients[name]).max()))
                np.testing.assert_allclose(values[root], gradients[name], rtol=1e-12, atol=size)
            gradients[name] = values[root]

    forward = objective(lift(plain))
    for name, gradient in gradients.items():
        single = np.zeros(gradient.shape)
        single.flat[random.integers(single.size)] = 1.0
        for direction in (random.normal(size=gradient.shape), single):
            numeric = 0.0
            for k, weight in STENCIL:
                moved = {**start, name: start[name] + k * STEP * direction}
                numeric += weight * float(evaluate(forward, moved, sizes, seed=5, only=[NAME])[NAME])
            scale = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
            assert abs(numeric / STEP - (gradient * direction).sum()) <= 1e-6 * max(scale, 1e-2), name
