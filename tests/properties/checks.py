"""What holds for every network: the targets agree, gradients are slopes, no pass and no batch changes a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from netlang.diagnostics import Source
from netlang.elaboration.modules import module_from_text
from netlang.graph.graph import Graph
from netlang.graph.integer import size
from netlang.graph.nodes import BATCH, Input, Param, Random, State, is_batched
from netlang.graph.text import graph_text
from netlang.language.formatter import format
from netlang.passes.pipeline import OPTIONAL, compile_graph
from netlang.random import derive_key
from netlang.runtime.inputs import sizes_of
from netlang.runtime.model import Model
from netlang.runtime.net import Net
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import CpuProgram, build
from netlang.targets.reference import evaluate
from tests.rounding import float32_bounds
from tests.strategies import Network

Array = np.ndarray[Any, Any]
Values = dict[str, Array]

OBJECTIVE = "objective"
SEED, STEP = 11, 3  # of the random nodes


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network after the passes: outputs, losses, next states, the objective, and its gradients."""

    network: Network
    without: tuple[str, ...] = ()

    @cached_property
    def graph(self) -> Graph:
        graph = self.network.model().training
        wrt = [n.name for n in graph if _differentiable(n)]
        wanted = [*graph.outputs.values(), *graph.losses.values(), *graph.updates.values(), *wrt]
        return compile_graph(graph.prune(wanted), wrt=wrt, without=self.without)

    @cached_property
    def roots(self) -> dict[str, str]:
        """What is compared, and the node that computes it."""
        graph = self.graph
        return {
            **{f"output {k}": v for k, v in graph.outputs.items()},
            **{f"loss {k}": v for k, v in graph.losses.items()},
            **{f"next {k}": v for k, v in graph.updates.items()},
            OBJECTIVE: graph.objectives[OBJECTIVE],
            **{f"gradient {k}": v for k, v in graph.gradients.items()},
        }

    def named(self, values: Mapping[str, Array]) -> Values:
        return {what: np.asarray(values[node]) for what, node in self.roots.items()}

    def reference(self, arrays: Mapping[str, Array], batch: int) -> Values:
        """The roots by the reference target, in float64."""
        arrays = {k: v for k, v in arrays.items() if k in self.graph.nodes}
        only = list(self.roots.values())
        return self.named(evaluate(self.graph, arrays, {BATCH: batch}, seed=SEED, step=STEP, only=only))

    def program(self, dtype: str) -> CpuProgram:
        return build(schedule(self.graph, list(dict.fromkeys(self.roots.values())), {}), dtype)

    def run(self, program: CpuProgram, arrays: Mapping[str, Array], batch: int) -> Values:
        """The roots by a compiled program."""
        given = {
            name: np.array(a, np.int64 if a.dtype.kind == "i" else program.dtype, order="C")
            for name, a in arrays.items()
            if name in self.graph.nodes
        }
        nodes = [self.graph[name] for name in program.program.keys]
        keys = {n.name: derive_key(SEED, STEP, n.stream) for n in nodes if isinstance(n, Random)}
        inputs = {n.name: given[n.name] for n in self.graph if _is_given(n)}
        sizes = {BATCH: batch, **sizes_of(self.graph, inputs)}
        return self.named({k: v.copy() for k, v in program.run(given, sizes, keys).items()})

    def part(self, arrays: Mapping[str, Array], rows: Array) -> Values:
        """Some examples of a batch, in that order."""
        batched = {n.name for n in self.graph if isinstance(n, Input | State) and is_batched(n)}
        return {name: a[rows] if name in batched else a for name, a in arrays.items()}

    def is_batched(self, what: str) -> bool:
        shape = self.graph[self.roots[what]].shape
        return bool(shape) and shape[0] == size(BATCH)


def _is_given(node: object) -> bool:
    return isinstance(node, Input) and node.role != "clock"


def _differentiable(node: object) -> bool:
    return isinstance(node, Param) or (isinstance(node, Input) and node.role == "input" and node.dtype == "real")


# --- comparison: in the largest norm of each root ---


def distances(found: Values, expected: Values, floor: float = 1e-3) -> dict[str, float]:
    """For each root the largest difference over the largest magnitude (over `floor`, where that is larger)."""
    assert found.keys() == expected.keys()
    out = {}
    for what, value in expected.items():
        assert found[what].shape == value.shape, (what, found[what].shape, value.shape)
        assert np.isfinite(value).all(), f"{what} is not finite: choose another network"
        assert np.isfinite(found[what]).all(), f"{what} is not finite, but should be {value}"
        gap = float(np.abs(found[what] - value).max(initial=0.0))
        out[what] = gap / max(float(np.abs(value).max(initial=0.0)), floor) if gap else 0.0
    return out


def assert_close(found: Values, expected: Values, tolerance: float, note: str = "") -> None:
    for what, distance in distances(found, expected).items():
        assert distance <= tolerance, (
            f"{what} differs by {distance:.2e}:\n{found[what]}\nexpected\n{expected[what]}\n{note}"
        )


# --- training ---

RECIPE = """
train Random:
    optimizer sgd(lr=0.1, momentum=0.9)
    penalty   l2(0.01)
    batch     4
"""


def stepped(network: Network, batch: int) -> tuple[Values, Values]:
    """Objectives, parameters and states after a training step of native code in float64, and by the reference."""
    module = module_from_text(network.text + RECIPE)
    net = Net(Model(module, module.nets()[0]), dtype=np.float64, seed=SEED)
    arrays = network.arrays(batch)
    for name, value in [*net.params.items(), *net.state.items()]:
        value[...] = arrays.get(name, 0.1)
    graph = net.model.step_graph
    clock = {"step": 1, "epoch": 0, "steps": 1, "epochs": net.total_epochs}
    known = {n.name: np.array(clock[n.name.split(".")[1]]) for n in graph.inputs("clock")}
    known |= {n.name: arrays[n.name] for role in ("input", "target") for n in graph.inputs(role)}
    known |= {name: value.copy() for name, value in [*net.params.items(), *net.state.items()] if name in graph.nodes}
    roots = {**graph.objectives, **graph.updates}
    values = evaluate(graph, known, {BATCH: batch}, seed=SEED, step=1, only=roots.values())
    found = net.step_losses(**{n.name: arrays[n.name] for n in (*net.inputs, *net.targets)})
    after = {**net.params, **net.state}
    return (
        {name: np.asarray(found[name]) for name in graph.objectives} | {name: after[name] for name in graph.updates},
        {name: values[node] for name, node in roots.items()},
    )


# --- float32 ---


def assert_close_in_float32(compiled: Compiled, found: Values, arrays: Mapping[str, Array], batch: int) -> None:
    """`found` is as near to the float64 reference as docs/numerics.md says."""
    expected = compiled.reference(arrays, batch)
    bounds = float32_bounds(compiled.graph, compiled.roots, arrays, batch, SEED, STEP)
    for what, bound in bounds.items():
        gap = float(np.abs(found[what] - expected[what]).max(initial=0.0))
        assert gap <= bound, f"{what} differs by {gap:.2e}, more than {bound:.2e}\n{compiled.network.text}"


# --- slopes ---


def wrong_slopes(compiled: Compiled, arrays: Mapping[str, Array], batch: int, seed: int = 0) -> tuple[list[str], int]:
    """Gradients that are not the slopes of the objective, each along a random direction; and the number of kinks met.

    Slopes are central differences at two steps, extrapolated (Richardson, 1911), of the graph that no optional pass has
    touched. Where they do not fit, the step is made smaller: an extreme may change hands between the two ends. What
    then has different slopes to the two sides is at a kink, where nothing is to be compared.
    """
    plain = Compiled(compiled.network, OPTIONAL).graph
    target = plain.objectives[OBJECTIVE]
    known = {k: v for k, v in arrays.items() if k in plain.nodes}

    def objective(moved: Mapping[str, Array]) -> float:
        values = evaluate(plain, {**known, **moved}, {BATCH: batch}, seed=SEED, step=STEP, only=[target])
        return float(values[target])

    found = compiled.reference(arrays, batch)
    middle = float(found[OBJECTIVE])
    rng = np.random.default_rng(seed)
    wrong, kinks = [], 0
    for name in compiled.graph.gradients:
        gradient = found[f"gradient {name}"]
        direction = rng.uniform(0.3, 1, gradient.shape) * rng.choice([-1.0, 1.0], gradient.shape)
        exact = float(np.sum(gradient * direction))
        scale = float(np.linalg.norm(gradient) * np.linalg.norm(direction)) + 1e-3 * abs(middle)

        def at(step: float, name: str = name, direction: Array = direction) -> float:
            return objective({name: arrays[name] + step * direction})

        def central(step: float, at: Any = at) -> float:
            return float(at(step) - at(-step)) / (2 * step)

        slope = (4 * central(1e-4) - central(2e-4)) / 3
        for step in (1e-5, 1e-6):
            if abs(slope - exact) > 1e-6 * scale:
                slope = central(step)
        if abs(slope - exact) <= 1e-6 * scale:
            continue
        left, right = (middle - at(-1e-7)) / 1e-7, (at(1e-7) - middle) / 1e-7
        if abs(left - right) > 1e-4 * scale:
            kinks += 1
        else:
            wrong.append(f"gradient {name}: {exact!r} along {direction}, but the slope is {slope!r}")
    return wrong, kinks


# --- text ---


def formatted(text: str) -> tuple[str, str]:
    """The formatted text, and what a second formatting makes of it."""
    once = format(Source("network.net", text))
    return once, format(Source("network.net", once))


def dump(text: str, *, training: bool = True) -> str:
    module = module_from_text(text)
    model = Model(module, module.nets()[0])
    return graph_text(model.training if training else model.inference)
