"""From a graph to a Program: what is computed, in which kernels, into which memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from netlang.diagnostics import InternalError, fail
from netlang.graph.expression import Expr, Read, Reduce, Whole, walk
from netlang.graph.expression import integers as integers_of
from netlang.graph.graph import Graph
from netlang.graph.integer import Atom, Int, Size, fetch, index, integer
from netlang.graph.nodes import Equation, Extern, Input, Node, Origin, Param, Random, State, View
from netlang.graph.text import node_text
from netlang.schedule.collapse import collapsed
from netlang.schedule.fuse import fuse, tensor_reads
from netlang.schedule.memory import lifetimes
from netlang.schedule.nest import loop_nest
from netlang.schedule.order import Group, contraction
from netlang.schedule.program import Buffer, Kernel, Loop, Program, Statement, Tensor, accesses, expressions, statements

_KINDS: dict[type[Node], str] = {Input: "input", Param: "param", State: "state"}
_NO_UPDATES: Mapping[str, str] = MappingProxyType({})


def schedule(graph: Graph, roots: Iterable[str], updates: Mapping[str, str] = _NO_UPDATES) -> Program:
    """The program that computes the nodes `roots`, and gives parameters and states their next values, `updates`.

    `graph` is lifted and in normal form. A root's buffer has the root's name and belongs to the caller; a root that is
    an input, a parameter or a state that keeps its value is read from that node's own buffer. Every node reads the old
    values of what is updated.
    """
    roots = tuple(dict.fromkeys(roots))
    order = [n for n in graph.order if n.name in graph.ancestors([*roots, *updates.values(), *updates])]
    nodes, results, next_values = _with_copies(graph, order, roots, updates)
    tensors, buffers = _memory(nodes, results)
    groups = fuse((n for n in nodes if isinstance(n, Equation)), tensors)
    _update_in_place(groups, tensors, buffers, next_values)
    stored = _stored(groups, tensors, set(results.values()) | set(next_values))
    text = {n.name: n for n in graph}
    kernels = tuple(_kernel(g, tensors, stored, text) for g in groups)
    used = {t for k in kernels for t, _, _ in accesses(k.body)}
    used |= set(results.values())
    live = {tensors[t].buffer for t in used if not tensors[t].draws}
    buffers = lifetimes({n: b for n, b in buffers.items() if n in live}, tensors, kernels)
    return Program(
        graph.name,
        MappingProxyType(buffers),
        MappingProxyType(tensors),
        kernels,
        MappingProxyType({root: tensors[node] for root, node in results.items()}),
        _sizes(buffers.values(), kernels),
        tuple(n.name for n in nodes if isinstance(n, Random) and n.name in used),
        frozenset(updates),
    )


def _with_copies(
    graph: Graph, order: list[Node], roots: tuple[str, ...], updates: Mapping[str, str]
) -> tuple[list[Node], dict[str, str], dict[str, str]]:
    """The nodes to compute, the node of each root, and for the node of a next value what it updates.

    An equation that copies is added where a root is (a view of) something whose memory is not the root's own: drawn
    numbers, a parameter that changes; and where a next value is not an equation of its own, or is a root too.
    """
    nodes = list(order)
    names = {n.name for n in graph}

    def source(name: str) -> Node:
        node = graph[name]
        while isinstance(node, View):
            node = graph[node.operand]
        return node

    def copy(name: str, base: str) -> str:
        node = graph[name]
        fresh = base
        while fresh in names:
            fresh += ".copy"
        names.add(fresh)
        nodes.append(_copy(fresh, name, node.shape, node.dtype, node.origin))
        return fresh

    results = {}
    for root in roots:
        behind = source(root)
        changes = behind.name in updates or isinstance(behind, Random)
        results[root] = copy(root, f"{root}.copy") if changes else root
    next_values: dict[str, str] = {}
    taken = {source(r).name for r in roots}
    for name, value in updates.items():
        node = graph[value]
        if not isinstance(node, Equation) or value in taken or value in next_values:
            value = copy(value, f"{name}.next")
        next_values[value] = name
    return nodes, results, next_values


def _memory(nodes: Iterable[Node], results: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, Buffer]]:
    tensors: dict[str, Tensor] = {}
    buffers: dict[str, Buffer] = {}
    outputs = set(results.values())
    for node in nodes:
        if isinstance(node, View):
            tensors[node.name] = replace(tensors[node.operand], name=node.name, shape=node.shape)
            continue
        if isinstance(node, Extern):
            fail("extern-not-compiled", f"the operation `{node.operation}` has no compiled form", node.origin.span)
        draws = node.distribution if isinstance(node, Random) else ""
        if draws == "haar":
            raise InternalError("schedule", f"`{node.name}` draws an orthogonal matrix, which only initial values may")
        tensors[node.name] = Tensor(node.name, node.name, node.name, node.shape, node.dtype, draws)
        if not draws:
            kind = _KINDS.get(type(node), "temporary")
            buffers[node.name] = Buffer(node.name, node.shape, node.dtype, kind, slot=node.name)
    for name in outputs:
        owner = buffers[tensors[name].buffer]
        if owner.kind == "temporary":
            buffers[owner.name] = replace(owner, kind="output")
    return tensors, buffers


def _update_in_place(
    groups: list[Group], tensors: dict[str, Tensor], buffers: dict[str, Buffer], next_values: Mapping[str, str]
) -> None:
    """Let next values be computed into the memory of what they update; where old values are read later, by a copy.

    Moves the tensor of a next value to the buffer that it updates, if its group reads the old value only at the place
    that it computes and no later group reads it. Else appends a group that copies.
    """
    last_reader: dict[str, int] = {}
    elsewhere: set[tuple[int, str]] = set()
    for k, group in enumerate(groups):
        here = Tensor("", "", "", group.shape, "real").place(group.places)
        for member in group.members:
            for tensor, indices in tensor_reads(member):
                buffer = tensors[tensor].buffer
                last_reader[buffer] = max(k, last_reader.get(buffer, k))
                reduced = isinstance(member.body, Reduce)
                if tensors[tensor].place(indices) != here or reduced:
                    elsewhere.add((k, buffer))
    position = {m.name: k for k, g in enumerate(groups) for m in g.members}
    for value, target in next_values.items():
        k = position[value]
        if last_reader.get(target, -1) <= k and (k, target) not in elsewhere:
            for moved in [t for t in tensors.values() if t.source == value]:
                tensors[moved.name] = replace(moved, buffer=target)
            del buffers[value]
        else:
            made = buffers[value]
            name = f"{target}.next" if f"{target}.next" not in tensors else f"{target}.next.copy"
            origin = next(m.origin for m in groups[k].members if m.name == value)
            equation = _copy(name, value, made.shape, made.dtype, origin)
            tensors[name] = Tensor(name, name, target, made.shape, made.dtype)
            groups.append(Group(equation.indices, made.shape, [equation]))


def _copy(name: str, source: str, shape: tuple[Int, ...], dtype: str, origin: Origin) -> Equation:
    """The equation `name[i0, ...] = source[i0, ...]`."""
    indices = tuple(f"i{k}" for k in range(len(shape)))
    places = tuple(map(index, indices))
    body: Expr = Whole(fetch(source, places, integer(1 << 62))) if dtype == "int" else Read(source, places)
    return Equation(name, shape, dtype, origin, indices, body)


def _stored(groups: list[Group], tensors: Mapping[str, Tensor], wanted: set[str]) -> set[str]:
    """The equations whose values memory must hold: results, next values, and what another group reads."""
    owner = {m.name: k for k, g in enumerate(groups) for m in g.members}
    memory = {tensors[w].source for w in wanted}
    stored = {name for name in owner if name in memory or tensors[name].buffer != name}
    for k, group in enumerate(groups):
        for member in group.members:
            for tensor, _ in tensor_reads(member):
                source = tensors[tensor].source
                if owner.get(source, k) != k:
                    stored.add(source)
    return stored


def _kernel(group: Group, tensors: Mapping[str, Tensor], stored: set[str], nodes: Mapping[str, Node]) -> Kernel:
    body = loop_nest(group, tensors, stored)
    reduction = group.reduction
    ranges = group.ranges
    flat = False
    roles = contraction(group)
    if reduction is None:
        ranges, body = collapsed(group, body, tensors)
        flat = _is_flat(ranges, body, tensors)
    extents = dict(ranges) | (dict(reduction.ranges) if reduction is not None else {})
    kind = "elementwise" if reduction is None else "reduction" if roles is None else "contraction"
    sources = tuple((node_text(nodes.get(m.name, m)).replace("|", ""), m.origin) for m in group.members)
    same = _same_place(group, body, tensors)
    name = next((m.name for m in group.members if m.name in stored), group.members[0].name)
    return Kernel(name, kind, tuple(ranges), MappingProxyType(extents), body, sources, flat, roles, same)


def _is_flat(ranges: list[tuple[str, Int]], body: tuple[Statement, ...], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the one loop meets every element in order, and nothing depends on how many there are."""
    if len(ranges) != 1:
        return False
    (name, _), place = ranges[0], index(ranges[0][0])
    for tensor, indices, _ in accesses(body):
        at = tensors[tensor].place(indices)
        if at != place and not at.is_constant:
            return False
    (loop,) = body
    return isinstance(loop, Loop) and not any(
        value.indices() - {name} or any(isinstance(a, Size) for a in value.atoms())
        for s in statements(loop.body)
        for value in _numbers(s)
    )


def _numbers(statement: Statement) -> Iterable[Int]:
    for root in expressions(statement):
        for node in walk(root):
            yield from integers_of(node)


def _same_place(group: Group, body: tuple[Statement, ...], tensors: Mapping[str, Tensor]) -> frozenset[str]:
    """Buffers that the group reads only where it stores, before it stores there, and outside a reduction."""
    here = Tensor("", "", "", group.shape, "real").place(group.places)
    good: set[str] = set()
    bad: set[str] = set()
    for member in group.members:
        for tensor, indices in tensor_reads(member):
            fits = tensors[tensor].place(indices) == here and not isinstance(member.body, Reduce)
            (good if fits else bad).add(tensors[tensor].buffer)
    return frozenset(good - bad)


def _sizes(buffers: Iterable[Buffer], kernels: Iterable[Kernel]) -> tuple[str, ...]:
    """The run-time sizes that shapes, bounds and bodies name, in alphabetical order."""
    values = [extent for b in buffers for extent in b.shape]
    for kernel in kernels:
        values += kernel.extents.values()
        for statement in statements(kernel.body):
            values += _numbers(statement)
    atoms: Iterable[Atom] = (a for v in values for a in v.atoms())
    return tuple(sorted({a.name for a in atoms if isinstance(a, Size)}))
