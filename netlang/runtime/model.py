"""A Model: a net with its arguments and recipe, and the graphs that are computed from it, one for each use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from netlang.diagnostics import fail, listing, nearest
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import Module, choose_net, load_module
from netlang.elaboration.recipe import Recipe, read_recipe
from netlang.elaboration.values import Value
from netlang.graph.graph import Graph
from netlang.graph.nodes import Input
from netlang.language.tree import Definition
from netlang.passes.lift import check_carried
from netlang.passes.objective import NAME as OBJECTIVE
from netlang.passes.optimize import add_objectives, add_updates
from netlang.passes.pipeline import FINISH, PREPARE, Pass, Trace, differentiation, preparation, run_passes
from netlang.passes.prune import prune
from netlang.passes.stream import Streamed, stream
from netlang.passes.totals import Totals, totals


@dataclass(frozen=True, eq=False)
class Model:
    """`without` names passes to leave out; `trace` is called with the name of each pass and the graph after it."""

    module: Module
    net: Definition
    arguments: Mapping[str, Value] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    trace: Trace | None = None

    @property
    def name(self) -> str:
        return self.net.name.id

    @property
    def folder(self) -> str:
        """The folder of the text, from which its `train` section names files; of an artifact, the current one."""
        return os.path.dirname(self.module.name) if os.path.isfile(self.module.name) else ""

    @cached_property
    def recipe(self) -> Recipe | None:
        return read_recipe(self.module, self.net, self.arguments)

    def require_recipe(self) -> Recipe:
        if self.recipe is None:
            fail(
                "no-training",
                f"nothing says how to train `{self.name}`",
                self.net.name.span,
                help=f"add a section `train {self.name}:` with an optimizer",
            )
        return self.recipe

    # --- graphs, each as the user wrote it (per example) and as it is computed (lifted, optimized, pruned) ---

    @cached_property
    def inference(self) -> Graph:
        """The per-example graph of inference."""
        return elaborate(self.module, self.net, self.arguments, training=False)

    @cached_property
    def training(self) -> Graph:
        """The per-example graph of training."""
        graph = elaborate(self.module, self.net, self.arguments, training=True)
        check_carried(self.inference, graph)
        return graph

    @cached_property
    def forward_graph(self) -> Graph:
        """The outputs (the losses, where there are none), and the states' next values."""
        graph = self.run(self.inference, PREPARE)
        roots = tuple(graph.outputs.values()) or tuple(graph.losses.values())
        return self.compiled(graph, (*roots, *graph.updates.values()))

    @cached_property
    def evaluation_graph(self) -> Graph:
        """Losses and metrics, each with one number for an example, in inference mode."""
        graph = self.run(self.inference, PREPARE)
        return self.compiled(graph, (*graph.losses.values(), *graph.metrics.values(), *graph.updates.values()))

    @cached_property
    def totals(self) -> Totals:
        """Losses and metrics over a data set."""
        return totals(self.run(self.inference, PREPARE))

    @cached_property
    def totals_graph(self) -> Graph:
        """What each batch of a data set gives to them."""
        graph = self.totals.batches
        return self.compiled(graph, (*graph.metrics.values(), *graph.outputs.values(), *graph.updates.values()))

    @cached_property
    def updated_graph(self) -> Graph:
        """The training graph with objectives, gradients and the optimizer's updates, before simplification."""
        module, recipe = self.module, self.require_recipe()
        passes = (
            *PREPARE,
            Pass("objective", lambda g: add_objectives(g, module, recipe), optional=False),
            Pass("derive", lambda g: add_updates(g, module, recipe), optional=False),
        )
        return self.run(self.training, passes)

    @cached_property
    def step_graph(self) -> Graph:
        graph = self.updated_graph.evolve(gradients={})  # the updates use the gradients up; nobody else asks for them
        return self.compiled(graph, (*graph.objectives.values(), *graph.updates.values()))

    @cached_property
    def initial_graph(self) -> Graph:
        """First values of parameters and states, those of the optimizer included."""
        graph = self.training if self.recipe is None else self.updated_graph
        return graph.prune([*graph.initial.values(), *graph.initial])

    def computed(self, use: str) -> tuple[Graph, Mapping[str, str]]:
        """The graph of a use, "forward", "evaluate", "measure" or "step", and by name what it is computed for.

        The roots are those of the graph that is compiled: equal nodes are one there.
        """
        if use == "forward":
            graph = self.forward_graph
            return graph, graph.outputs or graph.losses
        if use == "evaluate":
            graph = self.evaluation_graph
            return graph, {**graph.losses, **graph.metrics}
        if use == "measure":
            graph = self.totals_graph
            return graph, {**graph.outputs, **graph.metrics}
        return self.step_graph, self.step_graph.objectives

    def gradient_graph(self, wrt: Sequence[str]) -> Graph:
        """The losses' mean over the batch and its gradients by the named nodes, in training mode."""
        for name in wrt:
            if name not in self.training.nodes:
                known = [p.name for p in self.training.params] + [i.name for i in self.training if isinstance(i, Input)]
                fail(
                    "unknown-name",
                    f"`{self.name}` has no tensor `{name}`",
                    help=nearest(name, known) or f"there are {listing(known)}",
                )
        graph = self.run(self.differentiable, (*preparation(wrt), *differentiation(wrt)))
        return self.compiled(graph, (graph.objectives[OBJECTIVE], *graph.gradients.values()))

    def streamed(self, over: str | None = None) -> Streamed:
        """The prologue and the step of a stream; `over` names the run-time size that is the sequence."""
        parts = stream(self.run(self.inference, PREPARE), over)
        if self.trace is not None:
            self.trace("stream", parts.step)
        prologue, step = parts.prologue, parts.step
        prologue = self.compiled(prologue, tuple(prologue.outputs.values()))
        step = self.compiled(step, (*step.outputs.values(), *step.updates.values()))
        return replace(parts, prologue=prologue, step=step)

    @property
    def differentiable(self) -> Graph:
        """The training graph with something to differentiate: its losses, else its one output, a scalar."""
        graph = self.training
        if graph.losses:
            return graph
        scalars = {name: node for name, node in graph.outputs.items() if not graph[node].shape}
        if len(scalars) != 1:
            fail(
                "no-loss",
                f"`{self.name}` has no loss to differentiate",
                self.net.name.span,
                help="add a line `loss name(prediction, target)`",
            )
        return graph.evolve(losses=scalars)

    def compiled(self, graph: Graph, roots: Sequence[str]) -> Graph:
        """Simplify what the roots need."""
        return self.run(prune(graph, roots), FINISH)

    def run(self, graph: Graph, passes: Sequence[Pass]) -> Graph:
        return run_passes(graph, passes, without=self.without, trace=self.trace)


def load_model(
    path: str, net: str | None = None, arguments: Mapping[str, object] | None = None, module: Module | None = None
) -> Model:
    """The model of a `.net` file. `net` names one where the file has several.

    `arguments` are numbers, truth values, texts, and lists, tuples or arrays of these.
    """
    module = module or load_module(path)
    given = {name: _plain(value, name) for name, value in (arguments or {}).items()}
    return Model(module, choose_net(module, net), given)


def _plain(value: object, name: str) -> Value:
    """An argument from Python as a value of the language."""
    if hasattr(value, "tolist"):  # an array or a number of NumPy
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if not isinstance(value, bool | int | float | str):
        fail(
            "bad-value",
            f"the argument `{name}` cannot be a `{type(value).__name__}`",
            help="give a number, a truth value, a text or a list",
        )
    return value
