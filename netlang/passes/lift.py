"""The pass `lift`: makes the batch explicit.

Before it, equations speak of one example. After it, every tensor that depends on the example has the batch as its first
dimension, so that the passes, the printers and the targets see ordinary tensors only.
"""

from __future__ import annotations

from dataclasses import replace

from netlang.diagnostics import fail
from netlang.graph.expression import Expr, Read
from netlang.graph.graph import Graph, reached
from netlang.graph.integer import Atom, Fetch, Int, fetch, size
from netlang.graph.nodes import BATCH, Equation, Extern, Input, Node, Random, State, View, batch_index, binds_batch
from netlang.graph.traversal import rewrite as rewrite_expression


def lift(graph: Graph) -> Graph:
    """The graph with the batch as the first dimension of every tensor that depends on the example.

    Inputs and targets, the draws made for each example, and everything computed from them depend on the example, up to
    a reduction over the reserved index `batch`. So does a state whose next value does: each example has its own.
    """
    if graph.lifted:
        return graph
    batched = _batched(graph)
    return graph.evolve([_lifted(node, batched) for node in graph], lifted=True)


def check_carried(inference: Graph, training: Graph) -> None:
    """Raise `carried-in-one-mode` for a state that each example has of its own in one of the two graphs only."""
    modes = {"inference": _carried(inference), "training": _carried(training)}
    for mode, other in (("training", "inference"), ("inference", "training")):
        for name in sorted(modes[mode] - modes[other]):
            if name in inference.nodes and name in training.nodes:
                graph = training if mode == "training" else inference
                fail(
                    "carried-in-one-mode",
                    f"the next value of `{name}` differs from example to example, but in {mode} only",
                    graph[graph.updates[name]].origin.span,
                    help="take a statistic of the batch, `mean(batch) ...`, or carry it in both modes: without `when`",
                )


def _carried(graph: Graph) -> frozenset[str]:
    """Names of the states that each example has of its own."""
    batched = _batched(graph) if graph.updates else ()
    return frozenset(state for state, following in graph.updates.items() if following in batched)


def _batched(graph: Graph) -> frozenset[str]:
    """Names of the nodes that depend on the example: the least set that holds the sources and is closed under use."""
    sources = {node.name for node in graph if _is_source(node)}
    while True:
        batched = reached(sources, lambda name: [u for u in graph.users[name] if not binds_batch(graph[u])])
        carried = {owner for owner, name in graph.updates.items() if name in batched}
        if carried <= sources:
            return frozenset(batched)
        sources |= carried


def _is_source(node: Node) -> bool:
    return (isinstance(node, Input) and node.per_example) or (isinstance(node, Random) and node.per_example)


def _lifted(node: Node, batched: frozenset[str]) -> Node:
    if isinstance(node, Equation):
        node = replace(node, body=_with_batch(node.body, batched))
    if node.name not in batched:
        return node
    shape = (size(BATCH), *node.shape)
    if isinstance(node, Equation):
        return replace(node, shape=shape, indices=(BATCH, *node.indices))
    assert isinstance(node, Input | State | Random | View | Extern)
    return replace(node, shape=shape)


def _with_batch(body: Expr, batched: frozenset[str]) -> Expr:
    """Reads of batched tensors get the batch index in front: the equation's own, or the one its reduction binds."""

    def fetches(atom: Atom) -> Int | None:
        if isinstance(atom, Fetch) and atom.tensor in batched:
            return fetch(atom.tensor, (batch_index(), *atom.indices), atom.bound)
        return None

    def reads(e: Expr) -> Expr | None:
        return Read(e.tensor, (batch_index(), *e.indices)) if isinstance(e, Read) and e.tensor in batched else None

    return rewrite_expression(body, reads, lambda value: value.rewrite(fetches))
