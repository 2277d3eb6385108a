"""The pass `prune`: keeps what the roots need."""

from __future__ import annotations

from collections.abc import Iterable

from netlang.graph.graph import Graph
from netlang.graph.nodes import Input, Param, State


def prune(graph: Graph, roots: Iterable[str] | None = None) -> Graph:
    """The nodes that the roots (all of the graph's by default) are computed from, and the entries of its root maps.

    Inputs, parameters and states stay: they are the interface of the network, used or not.
    """
    wanted = list(graph.roots if roots is None else roots)
    interface = [node.name for node in graph if isinstance(node, Input | Param | State)]
    return graph.prune([*wanted, *interface])
