"""Runs of identical blocks: consecutive scopes of one definition with the same structure, drawn once with `× n`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Extern, Node, Random, Scope, View
from netlang.graph.traversal import rename_tensors


@dataclass(frozen=True)
class Run:
    """`scopes` in order, the output of each the input of the next; the first stands for all."""

    scopes: tuple[str, ...]


def runs(graph: Graph, siblings: Sequence[Scope], members: Mapping[str, Sequence[str]]) -> list[Run]:
    """The runs of two or more among sibling scopes; `members` gives each scope's nodes, inner scopes included."""
    found: list[Run] = []
    current: list[Scope] = []
    signature: tuple[object, ...] = ()
    for scope in siblings:
        own = _signature(graph, scope, members[scope.name])
        if current and own == signature and _follows(graph, current[-1], scope, members):
            current.append(scope)
            continue
        if len(current) > 1:
            found.append(Run(tuple(s.name for s in current)))
        current, signature = [scope], own
    if len(current) > 1:
        found.append(Run(tuple(s.name for s in current)))
    return found


def _follows(graph: Graph, first: Scope, second: Scope, members: Mapping[str, Sequence[str]]) -> bool:
    """True where everything that leaves `first` enters `second`, and nothing else does; weights are each one's own."""
    inside, after = set(members[first.name]), set(members[second.name])
    if first.owner != first.name or second.owner != second.name or inside & set(graph.roots):
        return False
    entering = {o for name in after for o in graph[name].operands if o not in after}
    leaving = {user for name in inside for user in graph.users[name] if user not in inside}
    return bool(entering) and entering <= inside and leaving <= after


def _signature(graph: Graph, scope: Scope, members: Sequence[str]) -> tuple[object, ...]:
    """Equal for scopes that compute the same from operands of the same shapes."""
    names = {name: f"#{k}" for k, name in enumerate(members)}
    outside = dict.fromkeys(o for name in members for o in graph[name].operands if o not in names)
    shapes = tuple(tuple(e.key for e in graph[o].shape) for o in outside)
    names |= {name: f"@{k}" for k, name in enumerate(outside)}
    return scope.definition, scope.kind, shapes, tuple(_shape_of(graph[name], names) for name in members)


def _shape_of(node: Node, names: Mapping[str, str]) -> tuple[object, ...]:
    common = (type(node).__name__, node.dtype, tuple(e.key for e in node.shape))
    operands = tuple(names[o] for o in node.operands)
    if isinstance(node, Equation):
        return *common, operands, node.indices, rename_tensors(node.body, names).key
    if isinstance(node, Extern):
        return *common, operands, node.operation, node.attributes
    if isinstance(node, Random):
        return *common, node.distribution
    return (*common, operands) if isinstance(node, View) else common
