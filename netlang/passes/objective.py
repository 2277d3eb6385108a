"""The pass `objective`: what training minimizes, as scalar nodes of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netlang.diagnostics import fail, nearest
from netlang.graph.constructors import add, mul, power, read, reduce, whole
from netlang.graph.expression import Expr
from netlang.graph.graph import Graph
from netlang.graph.integer import size
from netlang.graph.nodes import BATCH, Equation, Node, Origin, batch_index, is_batched
from netlang.graph.traversal import fresh

NAME = "objective"  # of the single objective, where the training section names no others


def objective(graph: Graph, groups: Mapping[str, Sequence[str]] | None = None, penalties: Sequence[str] = ()) -> Graph:
    """Add the objectives: for each, the mean over the batch of its losses, summed, plus the penalties.

    `groups` gives the losses of each objective by their names in `graph.losses`; without it there is one objective,
    `objective`, of all losses. `penalties` are names of scalar nodes. The graph must be lifted where its losses depend
    on the example. Raises `no-loss`, `unknown-loss`, `loss-not-scalar`.
    """
    if not graph.losses:
        fail("no-loss", f"`{graph.name}` has no loss to minimize", help="add a line `loss name(prediction, target)`")
    nodes: dict[str, Node] = dict(graph.nodes)
    means: dict[str, str] = {}
    roots = dict(graph.objectives)
    for name, losses in (groups or {NAME: tuple(graph.losses)}).items():
        terms = [_loss(graph, loss) for loss in losses]
        alone = len(terms) == 1 and not penalties
        target = fresh(name, nodes)
        if alone and _is_batched(graph, terms[0]):
            nodes[target] = _mean(terms[0], target)
        else:
            parts: list[Expr] = []
            for term in terms:
                if _is_batched(graph, term):
                    if term.name not in means:
                        mean = _mean(term, fresh(f"{term.name}.mean", nodes))
                        nodes[mean.name] = mean
                        means[term.name] = mean.name
                    parts.append(read(means[term.name]))
                else:
                    parts.append(read(term.name))
            parts += [read(penalty) for penalty in penalties]
            nodes[target] = Equation(target, (), "real", terms[0].origin if terms else Origin(None), (), add(*parts))
        roots[name] = target
    return graph.evolve(nodes.values(), objectives=roots)


def _loss(graph: Graph, name: str) -> Node:
    if name not in graph.losses:
        fail("unknown-loss", f"`{graph.name}` has no loss `{name}`", help=nearest(name, graph.losses))
    node = graph[graph.losses[name]]
    own = node.shape[1:] if _is_batched(graph, node) else node.shape
    if own:
        extents = ", ".join(extent.key for extent in own)
        fail(
            "loss-not-scalar",
            f"the loss `{name}` has shape [{extents}] for one example, not a single number",
            node.origin.span,
            help="reduce it, as in `sum(i) ...` or `mean(i) ...`",
        )
    return node


def _is_batched(graph: Graph, node: Node) -> bool:
    return graph.lifted and is_batched(node)


def _mean(loss: Node, name: str) -> Equation:
    """The mean over the batch, as the sum of the loss times one over the size of the batch."""
    body = mul(read(loss.name, batch_index()), power(whole(size(BATCH)), -1))
    return Equation(name, (), "real", loss.origin, (), reduce("sum", [(BATCH, size(BATCH))], body))
