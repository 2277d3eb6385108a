"""Losses and metrics of a whole data set, from what its batches give.

A number for each example is averaged over all examples. A number for the whole batch, such as `exp(mean(batch) l)`, is
a function of reductions over the examples; these are carried on from batch to batch, and the function is computed once,
at the end, as if the data set were one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlang.diagnostics import fail
from netlang.graph.expression import Reduce
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Input, Node, binds_batch, is_batched

COMBINED = ("sum", "prod", "max", "min")  # the reductions of two parts of the examples give that of both


@dataclass(frozen=True)
class Totals:
    """Two lifted graphs. `batches` has a `metrics` root for each number that is averaged over the examples, and an
    `outputs` root for each reduction that goes on from batch to batch, by the operation that `combined` names. States
    are updated there.

    `whole` has the other numbers as its `metrics`, and the reductions over all examples as inputs, by the same names.
    """

    batches: Graph
    whole: Graph
    combined: Mapping[str, str]


def totals(graph: Graph) -> Totals:
    """The parts of a lifted graph's losses and metrics.

    Raises `batch-twice` where a metric of the whole batch needs more than one pass over the examples.
    """
    measured = {**graph.losses, **graph.metrics}
    averaged = {name: node for name, node in measured.items() if is_batched(graph[node])}
    others = {name: node for name, node in measured.items() if name not in averaged}
    parts: dict[str, str] = {}
    seen: set[str] = set()
    stack = list(others.values())
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph[name]
        if binds_batch(node):
            assert isinstance(node, Equation)
            assert isinstance(node.body, Reduce)
            _require_one_pass(graph, node, node.body.op)
            parts[name] = node.body.op
        else:
            stack += node.operands
    averages = graph.evolve(losses={}, metrics=averaged, outputs={name: name for name in parts})
    nodes = [Input(n.name, n.shape, n.dtype, n.origin) if n.name in parts else n for n in graph]
    return Totals(
        averages.prune((*averaged.values(), *parts, *graph.updates.values())),
        graph.evolve(nodes, losses={}, metrics=others, outputs={}, updates={}).prune(others.values()),
        parts,
    )


def _require_one_pass(graph: Graph, node: Node, op: str) -> None:
    again = any(binds_batch(graph[name]) for name in graph.ancestors(node.operands))
    if again or op not in COMBINED:
        fail(
            "batch-twice",
            "this needs more than one pass over the examples of a data set",
            node.origin.span,
            help="make it of sums over the examples, each of numbers of one example: a variance is the mean of the "
            "squares minus the square of the mean",
        )
