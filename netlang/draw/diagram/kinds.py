"""What kind of computation a node is, read off its equation: the colour of its box."""

from __future__ import annotations

from collections.abc import Iterable

from netlang.draw.diagram.style import PAINTS
from netlang.graph.expression import Apply, Compare, Expr, Reduce, Whole
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Extern, Input, Node, Param, Random, State, View
from netlang.graph.traversal import operands, walk
from netlang.passes.cost import is_contraction


def learned(graph: Graph) -> frozenset[str]:
    """The tensors computed from parameters alone, the parameters among them."""
    given = graph.descendants(n.name for n in graph if isinstance(n, Input | Random | State))
    return frozenset(graph.descendants(n.name for n in graph.params) - given)


def kind(node: Node, weights: frozenset[str]) -> str:
    """The key in `PAINTS` of a node; `weights` are the tensors that `learned` gives."""
    if isinstance(node, Equation):
        return _equation(node.body, weights)
    if isinstance(node, Input):
        return "target" if node.role == "target" else "terminal"
    named = {View: "movement", Param: "param", State: "state", Random: "random", Extern: "extern"}
    return named[type(node)]


def leading(kinds: Iterable[str]) -> str:
    """The kind that a block of several nodes is painted by."""
    found = set(kinds)
    return next((k for k in PAINTS if k in found), "movement")


def _equation(body: Expr, weights: frozenset[str]) -> str:
    if is_contraction(body):
        return "contraction" if weights & set(operands(body)) else "product"
    if isinstance(body, Reduce):
        return "reduction"
    if any(isinstance(part, Apply | Whole | Compare) for part in walk(body)):
        return "elementwise"
    # values only change place; a row looked up in a table of parameters is a product with a one-hot vector
    return "contraction" if weights & set(operands(body)) else "movement"
