"""Nets written in tests, run by the reference target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.elaboration.recipe import read_recipe
from netlang.graph.graph import Graph
from netlang.graph.nodes import is_batched
from netlang.passes.lift import lift
from netlang.passes.optimize import add_objectives, add_updates
from netlang.passes.stabilize import stabilize
from netlang.targets.reference import evaluate

Array = NDArray[Any]


def graph_of(text: str, *, training: bool = False) -> Graph:
    """The graph of the first net of a text, its batch explicit."""
    module = module_from_text(text)
    return stabilize(lift(elaborate(module, module.nets()[0], training=training)))


def initial(text: str, *, seed: int = 0) -> dict[str, Array]:
    """The first values of the parameters and states of a net."""
    return first_values(graph_of(text), seed=seed)


def first_values(graph: Graph, *, seed: int = 0) -> dict[str, Array]:
    values = evaluate(graph, {}, seed=seed, only=graph.initial.values())
    return {name: values[node] for name, node in graph.initial.items()}


@dataclass(frozen=True)
class Run:
    """What one evaluation of a net gave: outputs and next values by name, and the parameters it had."""

    outputs: Mapping[str, Array]
    updates: Mapping[str, Array]
    params: Mapping[str, Array]


def forward(
    text: str,
    inputs: Mapping[str, Array],
    params: Mapping[str, Array] | None = None,
    *,
    training: bool = False,
    seed: int = 0,
) -> Run:
    """Evaluate a net on a batch; parameters and states that are not given have their first values."""
    graph = graph_of(text, training=training)
    start = first_values(graph) | dict(params or {})
    roots = [*graph.outputs.values(), *graph.updates.values()]
    values = evaluate(graph, {**start, **inputs}, seed=seed, only=roots)
    return Run(
        {name: values[node] for name, node in graph.outputs.items()},
        {name: values[node] for name, node in graph.updates.items()},
        {p.name: start[p.name] for p in graph.params},
    )


def value(text: str, /, **arrays: Any) -> Array:
    """The output `y` of a net on one example; arrays are inputs (without a batch) and parameters."""
    graph = graph_of(text)
    inputs = {n.name for role in ("input", "target") for n in graph.inputs(role)}
    given = {k: np.asarray(v)[None] if k in inputs else np.asarray(v) for k, v in arrays.items()}
    run = forward(
        text, {k: v for k, v in given.items() if k in inputs}, {k: v for k, v in given.items() if k not in inputs}
    )
    result = run.outputs["y"]
    return result[0] if is_batched(graph[graph.outputs["y"]]) else result


@dataclass(frozen=True)
class Training:
    """Training steps of a net as its `train` section says, with its own clock."""

    graph: Graph

    @classmethod
    def of(cls, text: str) -> Training:
        module = module_from_text(text)
        (net,) = module.nets()
        recipe = read_recipe(module, net, {})
        assert recipe is not None
        graph = stabilize(lift(elaborate(module, net, training=True)))
        return cls(add_updates(add_objectives(graph, module, recipe), module, recipe))

    def step(self, values: Mapping[str, Array], inputs: Mapping[str, Array], **clock: float) -> dict[str, Array]:
        """The parameters and states after a step; those that `values` does not give have their first values."""
        start = first_values(self.graph) | dict(values)
        given = {f"clock.{name}": np.asarray(time) for name, time in clock.items()}
        after = evaluate(self.graph, {**start, **inputs, **given}, only=self.graph.updates.values())
        return start | {name: after[node] for name, node in self.graph.updates.items()}
