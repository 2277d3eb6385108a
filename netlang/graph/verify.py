"""The invariants of the Graph; the pipeline checks them after each pass."""

from __future__ import annotations

from netlang.diagnostics import InternalError
from netlang.graph.expression import Apply, Condition, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, product
from netlang.graph.nodes import Equation, Node, View
from netlang.graph.scalars import SCALARS
from netlang.graph.traversal import integers, parts


def verify(graph: Graph, after: str) -> None:
    """Raise `InternalError` naming the pass and the node where an invariant does not hold.

    Checked: every operand exists; reads have the rank of their tensor; indices are bound, once; functions are in the
    table with their arity; a reduction is at the root only; views keep the number of elements; root maps name nodes;
    the NetworkX graph agrees with the nodes and carries no loose attributes.
    """
    for node in graph:
        try:
            _check(graph, node)
        except AssertionError as wrong:
            raise InternalError(f"`{after}`", f"node `{node.name}`: {wrong}") from None
    for name in graph.roots:
        if name not in graph.nodes:
            raise InternalError(f"`{after}`", f"a root names `{name}`, which is not in the graph")
    for name, attributes in graph.network.nodes(data=True):
        if attributes != {"node": graph.nodes[name]}:
            raise InternalError(f"`{after}`", f"vertex `{name}` carries loose attributes")


def _check(graph: Graph, node: Node) -> None:
    for operand in node.operands:
        assert operand in graph.nodes, f"reads `{operand}`, which is not in the graph"
    assert node.dtype in ("real", "int"), f"has the unknown dtype `{node.dtype}`"
    assert all(not extent.indices() for extent in node.shape), "has an index in its shape"
    if isinstance(node, View):
        before, after = product(graph[node.operand].shape), product(node.shape)
        assert before == after, f"views {before} elements as {after}"
    if isinstance(node, Equation):
        assert len(set(node.indices)) == len(node.indices) == len(node.shape), "has repeated or missing indices"
        _check_expression(graph, node.body, set(node.indices), root=True)


def _check_expression(graph: Graph, e: Expr | Condition, bound: set[str], root: bool = False) -> None:
    if isinstance(e, Reduce):
        assert root, f"has a reduction inside its body: {e.key}"
        names = {name for name, _ in e.ranges}
        assert len(names) == len(e.ranges), f"binds an index twice: {e.key}"
        assert not names & bound, f"binds an index that is bound already: {e.key}"
        bound = bound | names
    for value in integers(e):
        _check_integer(graph, value, bound)
    if isinstance(e, Read):
        assert len(e.indices) == len(graph[e.tensor].shape), f"reads `{e.tensor}` with {len(e.indices)} indices"
    if isinstance(e, Apply):
        assert e.op in SCALARS, f"applies the unknown function `{e.op}`"
        arity = SCALARS[e.op].arity
        assert arity in (-1, len(e.args)), f"applies `{e.op}` to {len(e.args)} arguments"
    for part in parts(e):
        _check_expression(graph, part, bound)


def _check_integer(graph: Graph, value: Int, bound: set[str]) -> None:
    missing = value.indices() - bound
    assert not missing, f"uses the unbound index `{min(missing)}`"
    for fetch in value.fetches():
        assert graph[fetch.tensor].dtype == "int", f"indexes by `{fetch.tensor}`, which is not of integers"
        assert len(fetch.indices) == len(graph[fetch.tensor].shape), f"fetches `{fetch.tensor}` with a wrong rank"
