"""From a graph to a Program: what is computed, in which kernels, into which memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from netlang.graph.expression import Reduce, walk
from netlang.graph.expression import integers as integers_of
from netlang.graph.graph import Graph
from netlang.graph.integer import Atom, Int, Size, index
from netlang.graph.nodes import Equation, Node, Random
from netlang.graph.text import node_text
from netlang.schedule.buffers import add_copies, aliased, allocate, stored_members, update_in_place
from netlang.schedule.collapse import collapsed
from netlang.schedule.fuse import fuse, tensor_reads
from netlang.schedule.memory import lifetimes
from netlang.schedule.nest import loop_nest
from netlang.schedule.order import Group, contraction
from netlang.schedule.program import Buffer, Kernel, Loop, Program, Statement, Tensor, accesses, expressions, statements

_NO_UPDATES: Mapping[str, str] = MappingProxyType({})


def schedule(graph: Graph, roots: Iterable[str], updates: Mapping[str, str] = _NO_UPDATES) -> Program:
    """The program that computes the nodes `roots`, and gives parameters and states their next values, `updates`.

    `graph` is lifted and in normal form. A root's buffer has the root's name and belongs to the caller; a root that is
    an input, a parameter or a state that keeps its value is read from that node's own buffer. Every node reads the old
    values of what is updated.
    """
    roots = tuple(dict.fromkeys(roots))
    needed = graph.ancestors([*roots, *updates.values(), *updates])
    nodes = {node.name: aliased(node, graph) for node in graph.order if node.name in needed}
    results, next_values = add_copies(nodes, roots, updates)
    tensors, buffers = allocate(nodes.values(), results.values())
    groups = fuse((n for n in nodes.values() if isinstance(n, Equation)), tensors)
    update_in_place(groups, tensors, buffers, next_values)
    stored = stored_members(groups, tensors, {*results.values(), *next_values})
    kernels = tuple(_kernel(group, tensors, stored, graph.nodes) for group in groups)
    used = {tensor for kernel in kernels for tensor, _, _ in accesses(kernel.body)} | set(results.values())
    live = {tensors[t].buffer for t in used}
    buffers = lifetimes({n: b for n, b in buffers.items() if n in live}, tensors, kernels)
    drawn = {tensors[t].source for t in used}
    return Program(
        graph.name,
        MappingProxyType(buffers),
        MappingProxyType(tensors),
        kernels,
        MappingProxyType({root: tensors[node] for root, node in results.items()}),
        _sizes(buffers.values(), kernels),
        tuple(n.name for n in nodes.values() if isinstance(n, Random) and n.name in drawn),
        frozenset(updates),
    )


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
