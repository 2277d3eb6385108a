"""How far float32 may be from the float64 reference: docs/numerics.md says it, this computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from netlang.graph.expression import Reduce
from netlang.graph.graph import Graph
from netlang.graph.nodes import BATCH, Equation, Node, Random
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import walk
from netlang.targets.reference import evaluate

Array = np.ndarray[Any, Any]

UNIT = 2.0**-24  # the unit roundoff of float32


def float32_bounds(
    graph: Graph,
    roots: Mapping[str, str],
    arrays: Mapping[str, Array],
    batch: int,
    seed: int,
    step: int,
    samples: int = 4,
) -> dict[str, float]:
    """For each root (by a name of its own, the node that computes it), the largest error that float32 may make.

    Monte Carlo arithmetic (Parker, 1997) on the graph: each value of each node is multiplied by 1 + e, where e is
    uniform in [-u m, u m], u is the unit roundoff and m is the number of roundings in the node's equation. The bound is
    four times what this moves the root by, and four units of the root.
    """
    sizes = {BATCH: batch}
    exact = _walk(graph, arrays, sizes, seed, step, None)
    moved = dict.fromkeys(roots, 0.0)
    for sample in range(samples):
        values = _walk(graph, arrays, sizes, seed, step, np.random.default_rng(sample))
        for what, node in roots.items():
            moved[what] = max(moved[what], float(np.abs(values[node] - exact[node]).max(initial=0.0)))
    return {
        what: 4 * (moved[what] + UNIT * float(np.abs(exact[node]).max(initial=0.0))) for what, node in roots.items()
    }


def _walk(
    graph: Graph,
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int],
    seed: int,
    step: int,
    rng: np.random.Generator | None,
) -> dict[str, Array]:
    """Every value, those of equations and draws disturbed by `rng`."""
    values: dict[str, Array] = {}
    for part in graph.components:
        nodes = part.nodes if isinstance(part, Loop) else (part,)
        steps = part.steps.evaluate(sizes) if isinstance(part, Loop) else 1
        names = {node.name for node in nodes}
        own = {name: values[name] for node in nodes for name in node.operands if name not in names}
        own |= {name: arrays[name] for name in names & arrays.keys()}
        found = evaluate(graph, own, sizes, seed=seed, step=step, only=names)
        for node in nodes:
            value = found[node.name]
            if rng is not None and node.dtype == "real" and isinstance(node, Equation | Random):
                size = UNIT * _roundings(node, sizes) * steps  # those of a loop add up, step after step
                value = value * (1 + size * rng.uniform(-1, 1, value.shape))
            values[node.name] = value
    return values


def _roundings(node: Node, sizes: Mapping[str, int]) -> float:
    if not isinstance(node, Equation):
        return 4.0
    count = 2.0 * sum(1 for _ in walk(node.body))
    if isinstance(node.body, Reduce):
        count += sum(extent.evaluate(sizes) for _, extent in node.body.ranges)
    return count
