"""The pass `share`: what is computed twice is computed once.

Equations that differ in names of indices only become one node. An expensive subexpression that is another node's
elementwise body becomes a read of that node. Draws from different streams are different, so they never merge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import cast

from netlang.graph.constructors import mul
from netlang.graph.expression import Apply, Const, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import index
from netlang.graph.matching import Binding, Matcher
from netlang.graph.nodes import Equation, Extern, Node, Random, View
from netlang.graph.traversal import free_indices, reads, rename_tensors, rewrite, substitute, walk

_CHEAP = ("add", "mul", "pow", "max", "min", "abs", "sign", "floor", "constant")


def share(graph: Graph) -> Graph:
    """The graph without equal nodes; the root maps name the first of each.

    A first or a next value keeps its own node, because tensors under training must not share memory.
    """
    graph = merge(graph)
    reused = _reuse(graph)
    return graph if reused is graph else merge(reused)


def canonical(node: Node) -> str | None:
    """A text that is equal for nodes that compute the same; None for nodes that stand for themselves."""
    shape = ",".join(extent.key for extent in node.shape)
    head = f"{type(node).__name__} {node.dtype} [{shape}]"
    if isinstance(node, Equation):
        return f"{head} {_anonymous(node).key}"
    if isinstance(node, View):
        return f"{head} {node.operand}"
    if isinstance(node, Random):
        return f"{head} {node.distribution} {node.stream} {node.per_example}"
    if isinstance(node, Extern):
        return f"{head} {node.operation} {node.inputs} {node.attributes}"
    return None


def _anonymous(node: Equation) -> Expr:
    """The body with its indices named by their positions."""
    names = {name: f"#{k}" for k, name in enumerate(node.indices)}
    body = node.body
    if not isinstance(body, Reduce):
        return substitute(body, {old: index(new) for old, new in names.items()})
    ranges = []
    for k, (name, extent) in enumerate(body.ranges):
        names[name] = f"#r{k}"
        ranges.append((names[name], extent))
    return Reduce(body.op, tuple(ranges), substitute(body.body, {old: index(new) for old, new in names.items()}))


# --- equal nodes -----------------------------------------------------------------------------------------------------


def merge(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """The graph with one node for equal ones; nodes in `keep` stay nodes of their own.

    Before differentiation, this saves the gradients by each of them.
    """
    first: dict[str, str] = {}
    renamed: dict[str, str] = {}
    kept: dict[str, Node] = {}
    apart = {*graph.initial.values(), *graph.updates.values(), *keep}
    for node in graph.order:
        node = _renamed(node, renamed)
        key = canonical(node) if node.name not in apart else None
        if key is not None and first.setdefault(key, node.name) != node.name:
            renamed[node.name] = first[key]
        else:
            kept[node.name] = node
    if not renamed:
        return graph
    # once more, because a node of a loop may read one that comes after it
    nodes = [_renamed(kept[n.name], renamed) for n in graph if n.name in kept]
    return graph.evolve(nodes, **graph.renamed_roots(renamed))


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    if not any(operand in names for operand in node.operands):
        return node
    if isinstance(node, Equation):
        return replace(node, body=rename_tensors(node.body, names))
    if isinstance(node, View):
        return replace(node, operand=names[node.operand])
    assert isinstance(node, Extern)
    return replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))


# --- equal subexpressions --------------------------------------------------------------------------------------------


def _reuse(graph: Graph) -> Graph:
    """Replace subexpressions that are other nodes' bodies."""
    patterns: dict[str, list[Equation]] = {}  # by a tensor that they read
    summed: dict[str, list[Equation]] = {}  # those that memory holds, because a sum reads them
    selected: dict[str, list[Equation]] = {}  # of these, what a condition leaves
    for node in graph:
        if isinstance(node, Equation) and node.dtype == "real" and _reads_whole(graph, node):
            first = reads(node.body)[0].tensor
            if isinstance(node.body, Select):
                if _is_summed(graph, node):
                    selected.setdefault(first, []).append(node)
            elif is_expensive(node.body):
                patterns.setdefault(first, []).append(node)
            elif _is_summed(graph, node):
                summed.setdefault(first, []).append(node)
    if not patterns and not summed and not selected:
        return graph
    changed = False
    nodes: list[Node] = []
    position = {name: k for k, name in enumerate(graph.nodes)}
    for node in graph:
        if isinstance(node, Equation):
            inner = node.body.body if isinstance(node.body, Reduce) else node.body
            new = _with_reads(inner, node.name, patterns, position)
            if isinstance(node.body, Reduce):
                new = _from_memory(new, summed)
            elif selected and not isinstance(new, Select):
                new = _with_selections(new, node.name, selected, position)
            if new != inner:
                changed = True
                body = Reduce(node.body.op, node.body.ranges, new) if isinstance(node.body, Reduce) else new
                node = replace(node, body=body)
        nodes.append(node)
    return graph.evolve(nodes) if changed else graph


def is_expensive(e: Expr) -> bool:
    """True where the expression holds a function that costs far more than arithmetic."""
    return any(
        isinstance(part, Apply)
        and (
            part.op not in _CHEAP
            or (part.op == "pow" and not (isinstance(part.args[1], Const) and part.args[1].value in (-2, -1, 2, 3)))
        )
        for part in walk(e)
    )


def _reads_whole(graph: Graph, node: Equation) -> bool:
    """An elementwise body that reads whole dimensions by each index.

    So a match gives all indices, and a place that the matched expression may read is one that the node has. Of a
    selection, the condition reads them.
    """
    if isinstance(node.body, Reduce):
        return False
    always = node.body.condition if isinstance(node.body, Select) else node.body
    whole = {
        place.index.name
        for found in walk(always)
        if isinstance(found, Read)
        for place, extent in zip(found.indices, graph[found.tensor].shape, strict=True)
        if place.index is not None and node.extents.get(place.index.name) == extent
    }
    return bool(reads(node.body)) and whole >= set(node.indices)


def _is_summed(graph: Graph, node: Equation) -> bool:
    """True where the node combines tensors that all have its places, and a sum reads it."""
    large = {found.tensor for found in reads(node.body) if set(node.indices) <= free_indices(found)}
    users = (graph[name] for name in graph.users[node.name])
    return len(large) > 1 and any(isinstance(u, Equation) and isinstance(u.body, Reduce) for u in users)


def _from_memory(e: Expr, summed: Mapping[str, list[Equation]]) -> Expr:
    """What is summed, read from one tensor instead of computed from several, where one holds it or a factor of it."""
    if not isinstance(e, Apply):
        return e
    nodes = [node for tensor in dict.fromkeys(r.tensor for r in reads(e)) for node in summed.get(tensor, ())]
    found = (_instance(e, node) for node in nodes)
    return next((instance for instance in found if instance is not None), e)


def _with_selections(e: Expr, own: str, selected: Mapping[str, list[Equation]], position: Mapping[str, int]) -> Expr:
    """What conditions leave of tensors in the expression, read where a node before it has put it into memory."""

    def change(part: Expr) -> Expr | None:
        for node in selected.get(reads(part)[0].tensor, ()) if isinstance(part, Select) and reads(part) else ():
            found = next(Matcher().match(node.body, part, Binding()), None)
            if found is not None and position[node.name] < position[own]:
                return Read(node.name, tuple(found.places[i] for i in node.indices))
        return None

    return rewrite(e, change)


def _with_reads(e: Expr, own: str, patterns: Mapping[str, list[Equation]], position: Mapping[str, int]) -> Expr:
    if not is_expensive(e):
        return e
    tensors = dict.fromkeys(found.tensor for found in reads(e))
    known = [node for tensor in tensors for node in patterns.get(tensor, ()) if node.name != own]

    def change(part: Expr) -> Expr | None:
        if not isinstance(part, Apply) or not is_expensive(part):
            return None
        for node in known:
            if part == e and position[node.name] > position[own]:
                continue  # of two nodes that are all of each other's bodies, the second reads the first
            found = _instance(part, node)
            if found is not None:
                return found
        return None

    return rewrite(e, change) if known else e


def _instance(e: Apply, node: Equation) -> Expr | None:
    """The expression by a read of the node, where it is the node's body at some place, or a product with it."""
    pattern, matcher = node.body, Matcher()
    found = next(matcher.match(pattern, e, Binding()), None)
    if found is not None:
        return Read(node.name, tuple(found.places[i] for i in node.indices))
    if e.op != "mul" or not isinstance(pattern, Apply) or pattern.op != "mul" or len(pattern.args) >= len(e.args):
        return None
    for found, rest in matcher.some(pattern.args, e.args, Binding()):
        return mul(Read(node.name, tuple(found.places[i] for i in node.indices)), *cast(Sequence[Expr], rest))
    return None
