"""From a graph to a Program: what is computed, in which kernels, into which memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from netlang.graph.expression import Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Atom, Int, Size, index
from netlang.graph.nodes import Equation, Node, Origin, Random
from netlang.graph.recurrence import Loop as TimeLoop
from netlang.graph.text import node_text
from netlang.graph.traversal import integers as integers_of
from netlang.graph.traversal import tensor_reads, walk
from netlang.schedule.accumulate import accumulate_updates
from netlang.schedule.blocks import Nests
from netlang.schedule.buffers import (
    add_copies,
    after_readers,
    aliased,
    allocate,
    keep_one_step,
    stored_members,
    update_in_place,
)
from netlang.schedule.collapse import collapsed
from netlang.schedule.digits import with_digits
from netlang.schedule.extremes import with_known_extremes
from netlang.schedule.factors import with_plain_factors
from netlang.schedule.fuse import fuse
from netlang.schedule.kept import kept
from netlang.schedule.layouts import with_layouts
from netlang.schedule.margins import with_margins
from netlang.schedule.masks import with_whole_sums
from netlang.schedule.memory import crossing, lifetimes
from netlang.schedule.order import Group, contraction
from netlang.schedule.partial import with_partial_sums
from netlang.schedule.pools import with_sums_by_window
from netlang.schedule.program import (
    LANES,
    Block,
    Buffer,
    Kernel,
    Loop,
    Pack,
    Program,
    Statement,
    Store,
    Tensor,
    accesses,
    expressions,
    places,
    statements,
)
from netlang.schedule.recurrence import Recurrence, recurrence, recurrence_nest, segments
from netlang.schedule.residues import with_residues
from netlang.schedule.rows import RowUpdate, row_updates
from netlang.schedule.signs import with_known_signs
from netlang.schedule.threads import for_threads
from netlang.schedule.winograd.equations import with_fewer_products, with_reads
from netlang.schedule.winograd.nests import nest as nest_of_windows
from netlang.schedule.winograd.plans import Plan

_NONE: Mapping[str, str] = MappingProxyType({})


def schedule(
    graph: Graph,
    roots: Iterable[str],
    updates: Mapping[str, str] = _NONE,
    choices: Mapping[str, str] = _NONE,
    *,
    keeps: bool = True,
    winograd: bool = False,
) -> Program:
    """The program that computes the nodes `roots`, and gives parameters and states their next values, `updates`.

    `graph` is lifted and in normal form. A root's buffer has the root's name and belongs to the caller; a root that is
    an input, a parameter or a state that keeps its value is read from that node's own buffer. Every node reads the old
    values of what is updated. Sums of products are tiled as the model of their cost says, or as `choices` does, by the
    keys of their problems (see `netlang.schedule.choices`). With `keeps`, what depends on parameters alone is prepared
    apart from the rest; with `winograd` too, sums over windows are computed by fewer products where that is faster.
    """
    roots = tuple(dict.fromkeys(roots))
    fixed = {*roots, *updates.values()}
    wanted = [*roots, *updates.values(), *updates]
    graph = with_sums_by_window(with_known_extremes(with_known_signs(graph)))
    graph = with_layouts(with_whole_sums(graph), fixed)
    graph = with_partial_sums(with_plain_factors(with_residues(with_digits(graph, fixed))))
    transformed: Mapping[str, Plan] = {}
    if keeps and winograd:
        graph, transformed = with_fewer_products(graph, kept(graph, updates, fixed))
    graph = with_margins(graph.prune(wanted), fixed)
    transformed = with_reads(transformed, graph)
    stays = kept(graph, updates, fixed) if keeps else frozenset()
    needed = graph.ancestors(wanted)
    order = segments(graph, needed)
    nodes = {n.name: aliased(n, graph) for s in order for n in (s.nodes if isinstance(s, TimeLoop) else s)}
    results, next_values = add_copies(nodes, roots, updates)
    tensors, buffers = allocate(nodes.values(), results.values(), stays)
    groups = _grouped(order, nodes, tensors, stays, transformed)
    groups = accumulate_updates(groups, tensors, buffers, next_values)
    groups = after_readers(groups, tensors, next_values)
    update_in_place(groups, tensors, buffers, next_values)
    read = {each.tensor for plan in transformed.values() for each in plan.reads}
    stored = stored_members(groups, tensors, {*results.values(), *next_values, *read})
    keep_one_step(groups, tensors, buffers, stored)
    rows = row_updates(groups, tensors, buffers, stored)
    prepared: list[Kernel] = []
    kernels: list[Kernel] = []
    copies: dict[str, list[Kernel]] = {}  # of what is kept, by its buffer
    for group in groups:
        is_kept = all(member.name in stays for member in group.members)
        row_update = rows.get(id(group))
        plan = transformed.get(group.members[0].name)
        kernel, made = _kernel(group, tensors, buffers, stored, graph.nodes, choices, row_update, not is_kept, plan)
        (prepared if is_kept else kernels).append(kernel)
        for source, copy in made:
            copies.setdefault(tensors[source].buffer, []).append(copy)
    prepared = _with_copies(prepared, copies, tensors)
    every = (*prepared, *kernels)
    used = {tensor for kernel in every for tensor, _, _ in accesses(kernel.body)} | set(results.values())
    live = {tensors[t].buffer for t in used}
    buffers = crossing({n: b for n, b in buffers.items() if n in live}, tensors, prepared, kernels)
    buffers = lifetimes(buffers, tensors, every)
    drawn = {tensors[t].source for t in used}
    copied = {tensors[t].buffer for kernel in prepared for t, _, _ in accesses(kernel.body)}
    return Program(
        graph.name,
        MappingProxyType(buffers),
        MappingProxyType(tensors),
        tuple(kernels),
        MappingProxyType({root: tensors[node] for root, node in results.items()}),
        _sizes(buffers.values(), every),
        tuple(n.name for n in nodes.values() if isinstance(n, Random) and n.name in drawn),
        tuple(prepared),
        tuple(b.name for b in buffers.values() if b.kind in ("param", "state") and b.name in copied),
    )


def _with_copies(
    kernels: Sequence[Kernel], copies: Mapping[str, list[Kernel]], tensors: Mapping[str, Tensor]
) -> list[Kernel]:
    """The kernels with the copies of what they compute, each as early as it can be; first those of parameters."""
    last: dict[str, int] = {}
    for k, kernel in enumerate(kernels):
        last |= {tensors[t].buffer: k for t, _, stored in accesses(kernel.body) if stored}
    out = [copy for buffer, its in copies.items() if buffer not in last for copy in its]
    for k, kernel in enumerate(kernels):
        out += [kernel, *(copy for buffer, its in copies.items() if last.get(buffer) == k for copy in its)]
    return out


def _grouped(
    order: list[list[Node] | TimeLoop],
    nodes: Mapping[str, Node],
    tensors: Mapping[str, Tensor],
    stays: Collection[str] = (),
    transformed: Mapping[str, Plan] = MappingProxyType({}),
) -> list[Group | Recurrence]:
    """The equations in groups, each a kernel: first those that are kept; copies that were added come last."""
    planned = {n.name for s in order for n in (s.nodes if isinstance(s, TimeLoop) else s)}
    copies = [node for name, node in nodes.items() if name not in planned]
    inner = {name for plan in transformed.values() for name in plan.inner}
    groups: list[Group | Recurrence] = []
    for is_kept in (True, False):
        for part in [*order, copies]:
            if isinstance(part, TimeLoop):
                if (part.nodes[0].name in stays) == is_kept:
                    groups.append(recurrence(part, nodes, tensors, set()))
            else:
                scheduled = (nodes[n.name] for n in part if (n.name in stays) == is_kept)
                own = (n for n in scheduled if isinstance(n, Equation) and n.name not in inner)
                groups += fuse(own, tensors, transformed=transformed)
    return groups


def _kernel(
    group: Group | Recurrence,
    tensors: dict[str, Tensor],
    buffers: dict[str, Buffer],
    stored: set[str],
    nodes: Mapping[str, Node],
    choices: Mapping[str, str],
    rows: RowUpdate | None = None,
    keeps: bool = True,
    plan: Plan | None = None,
) -> tuple[Kernel, list[tuple[str, Kernel]]]:
    """The kernel of a group, and those that prepare copies for it, each with the tensor that it copies.

    The tensors and buffers that they work in are added to those of the program.
    """
    if isinstance(group, Recurrence):
        nests = Nests(tensors, stored, dict(group.ranges), buffers, choices, keeps)
        nest = recurrence_nest(group, nests)
        body, extents = collapsed((*nests.before, *nest), nests.extents, tensors)
        body, work = for_threads(body, extents, tensors, buffers)
        kernel = Kernel(
            name=next((m.name for m in reversed(group.members) if m.name in stored), group.members[0].name),
            kind="recurrence",
            ranges=((group.time, group.steps),),
            extents=MappingProxyType(extents),
            body=body,
            sources=_sources(group.members, nodes),
            work=work,
            problems=tuple(nests.problems),
        )
        return kernel, _copies(nests, group.members[0].origin)
    reduction = group.reduction
    ranges = dict(group.ranges) | (dict(reduction.ranges) if reduction is not None else {})
    nests = Nests(tensors, stored, ranges, buffers, choices, keeps)
    if rows is not None:
        ranges |= rows.extents
    if plan is not None:
        nest = nest_of_windows(nests, group, plan)
    else:
        nest = nests.nest(group) if rows is None else rows.nest(group, tensors, stored)
    nests.extents |= {s.index: s.stops[0] for s in statements(nest) if isinstance(s, Loop) and s.index not in ranges}
    body, extents = collapsed(nest, nests.extents, tensors)
    roles = contraction(group) if rows is None else None
    kind = "elementwise" if reduction is None else "reduction" if roles is None else "contraction"
    flat = _is_flat(body, tensors)
    body, work = for_threads(body, extents, tensors, buffers)
    kernel = Kernel(
        name=next((m.name for m in group.members if m.name in stored), group.members[0].name),
        kind=kind,
        ranges=tuple(group.ranges),
        extents=MappingProxyType(extents),
        body=body,
        sources=_sources(group.members, nodes),
        flat=flat,
        contraction=roles,
        same_place=frozenset() if _is_narrow(body) else _same_place(group, tensors, plan),
        work=work,
        problems=tuple(nests.problems),
    )
    return kernel, _copies(nests, group.members[0].origin)


def _copies(nests: Nests, origin: Origin) -> list[tuple[str, Kernel]]:
    """The kernels of the copies that are kept for a group."""
    out = []
    for source, nest in nests.prepared:
        body, extents = collapsed(nest, nests.extents, nests.tensors)
        body, work = for_threads(body, extents, nests.tensors, nests.scratch)
        target = next(s.target for s in statements(nest) if isinstance(s, Pack))
        text = (f"{target}: panels of {source}", origin)
        kernel = Kernel(target, "copy", (), MappingProxyType(extents), body, (text,), work=work)
        out.append((source, kernel))
    return out


def _sources(members: Iterable[Equation], nodes: Mapping[str, Node]) -> tuple[tuple[str, Origin], ...]:
    return tuple((node_text(nodes.get(m.name, m)).replace("|", ""), m.origin) for m in members)


def _is_flat(body: tuple[Statement, ...], tensors: Mapping[str, Tensor]) -> bool:
    """Whether one loop meets every element in order, and nothing depends on how many there are."""
    loop = body[0]
    if len(body) != 1 or not isinstance(loop, Loop):
        return False
    if any(isinstance(s, Loop | Block) for s in statements(loop.body)):
        return False
    for tensor, indices, _ in accesses(body):
        at = tensors[tensor].place(indices)
        if at != index(loop.index) and not at.is_constant:
            return False
    numbers = [value for s in statements(loop.body) for value in _numbers(s)]
    return not any(loop.index in v.indices() or any(isinstance(a, Size) for a in v.atoms()) for v in numbers)


def _numbers(statement: Statement) -> Iterable[Int]:
    """Integers in a statement that are not the indices of a read."""
    for root in expressions(statement):
        for node in walk(root):
            if not isinstance(node, Read):
                yield from integers_of(node)


def _same_place(group: Group, tensors: Mapping[str, Tensor], plan: Plan | None) -> frozenset[str]:
    """Buffers that the group reads only where it stores, before it stores there, and outside a reduction."""
    here = Tensor("", "", "", group.shape, "real").place(group.places)
    good: set[str] = set()
    bad = {tensors[read.tensor].buffer for read in plan.reads} if plan is not None else set[str]()
    for member in group.members:
        for tensor, indices in tensor_reads(member.body):
            fits = tensors[tensor].place(indices) == here and not isinstance(member.body, Reduce)
            (good if fits else bad).add(tensors[tensor].buffer)
    return frozenset(good - bad)


def _is_narrow(body: Iterable[Statement]) -> bool:
    """Whether what a loop stores is less than a vector.

    In place, each row would wait for the one before it: to a processor, a vector of which some lanes are loaded is what
    was just stored in some lanes of another that overlaps it.
    """
    loops = (s for s in statements(body) if isinstance(s, Loop) and any(isinstance(inner, Store) for inner in s.body))
    return any(stop.is_constant and stop.constant < LANES for loop in loops for stop in loop.stops)


def _sizes(buffers: Iterable[Buffer], kernels: Iterable[Kernel]) -> tuple[str, ...]:
    """The run-time sizes that shapes, bounds and bodies name, in alphabetical order."""
    values = [extent for b in buffers for extent in b.shape]
    for kernel in kernels:
        values += kernel.extents.values()
        values += (value for _, indices, _ in accesses(kernel.body) for value in indices)
        for statement in statements(kernel.body):
            values += [*_numbers(statement), *places(statement)]
    atoms: Iterable[Atom] = (a for v in values for a in v.atoms())
    return tuple(sorted({a.name for a in atoms if isinstance(a, Size)}))
