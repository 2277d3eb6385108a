"""What a program computes from parameters alone: it stays the same from run to run until somebody changes these."""

from __future__ import annotations

from collections.abc import Iterable

from netlang.graph.graph import Graph
from netlang.graph.integer import Int, Size
from netlang.graph.nodes import Equation, Node, Param, State, View
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import integers, walk


def kept(graph: Graph, updates: Iterable[str] = (), roots: Iterable[str] = ()) -> frozenset[str]:
    """The nodes that depend on nothing but parameters and states of which none is in `updates`.

    They are the same for all run-time sizes. `roots` are computed in every run, into memory of the caller.
    """
    changing, given = set(updates), set(roots)
    found: set[str] = set()

    def stays(nodes: Iterable[Node], inside: frozenset[str] = frozenset()) -> bool:
        for node in nodes:
            known = all(operand in found or operand in inside for operand in node.operands)
            if node.name in changing or not known or _has_sizes(node):
                return False
            if isinstance(node, Equation) and node.name in given:
                return False
        return True

    for part in graph.components:
        nodes = part.nodes if isinstance(part, Loop) else (part,)
        if all(isinstance(n, Param | State | Equation | View) for n in nodes):
            names = frozenset(n.name for n in nodes)
            if stays(nodes, names):
                found |= names
    return frozenset(found)


def _has_sizes(node: Node) -> bool:
    """Whether a run-time size is in what is computed, and how much of it."""
    values: list[Int] = [*node.shape]
    if isinstance(node, Equation):
        values += (value for part in walk(node.body) for value in integers(part))
    return any(isinstance(atom, Size) for value in values for atom in value.atoms())
