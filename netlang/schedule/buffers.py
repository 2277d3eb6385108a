"""In whose memory every node lives: copies that alias, results of the caller, updates in place, what fusion spares."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from netlang.diagnostics import InternalError, fail
from netlang.graph.expression import PLACES, Expr, Read, Reduce, Whole
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, fetch, index, integer, product
from netlang.graph.nodes import Equation, Extern, Input, Node, Origin, Param, Random, State, View
from netlang.graph.traversal import tensor_reads
from netlang.schedule.order import Group
from netlang.schedule.program import Buffer, Tensor
from netlang.schedule.recurrence import Recurrence

_KINDS: dict[type[Node], str] = {Input: "input", Param: "param", State: "state"}


def aliased(node: Node, graph: Graph) -> Node:
    """The node; an equation that only repeats the elements of a tensor in their order as a view of it."""
    if not isinstance(node, Equation):
        return node
    found = list(tensor_reads(node.body))
    if len(found) != 1:
        return node
    ((tensor, indices),) = found
    if node.body not in (Read(tensor, indices), Whole(fetch(tensor, indices, integer(0)))):
        return node
    old, new = (Tensor("", "", "", shape, "") for shape in (graph[tensor].shape, node.shape))
    if product(old.shape) != product(new.shape) or old.place(indices) != new.place(node.places):
        return node
    return View(node.name, node.shape, node.dtype, node.origin, tensor)


def add_copies(
    nodes: dict[str, Node], roots: Iterable[str], updates: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The node of each root, and for the node of each next value what it updates.

    Adds to `nodes` an equation that copies where a root is (a view of) something whose memory is not the root's own:
    drawn numbers, a parameter that changes; and where a next value is not an equation of its own, or is a root too.
    """

    def source(name: str) -> Node:
        node = nodes[name]
        return source(node.operand) if isinstance(node, View) else node

    def copy(name: str, base: str) -> str:
        node = nodes[name]
        while base in nodes:
            base += ".copy"
        nodes[base] = copied(base, name, node.shape, node.dtype, node.origin)
        return base

    results: dict[str, str] = {}
    for root in roots:
        behind = source(root)
        results[root] = copy(root, root) if behind.name in updates or isinstance(behind, Random) else root
    next_values: dict[str, str] = {}
    taken = {source(root).name for root in results}
    for name, value in updates.items():
        if not isinstance(nodes[value], Equation) or value in taken or value in next_values:
            value = copy(value, f"{name}.next")
        next_values[value] = name
    return results, next_values


def allocate(
    nodes: Iterable[Node], results: Iterable[str], kept: Collection[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Buffer]]:
    """A tensor for every node, and a buffer for each that is not a view or drawn; those of `results` are outputs.

    The elements of the nodes in `kept` are the same in all runs until somebody changes a parameter.
    """
    tensors: dict[str, Tensor] = {}
    buffers: dict[str, Buffer] = {}
    for node in nodes:
        if isinstance(node, View):
            tensors[node.name] = replace(tensors[node.operand], name=node.name, shape=node.shape)
            continue
        if isinstance(node, Extern):
            fail(
                "extern-not-compiled",
                f"the operation `{node.operation}` has no compiled form",
                node.origin.span,
                help="run the net on the reference target",
            )
        draws = node.distribution if isinstance(node, Random) else ""
        if draws == "haar":
            raise InternalError("schedule", f"`{node.name}` draws an orthogonal matrix, which only initial values may")
        stays = node.name in kept
        tensors[node.name] = Tensor(node.name, node.name, node.name, node.shape, node.dtype, draws, kept=stays)
        if not draws:
            kind = _KINDS.get(type(node), "temporary")
            dtype = "byte" if kind == "temporary" and _fits_a_byte(node) else node.dtype
            buffers[node.name] = Buffer(node.name, node.shape, dtype, kind, slot=node.name)
    for name in results:
        owner = buffers[tensors[name].buffer]
        if owner.kind == "temporary":
            buffers[owner.name] = replace(owner, kind="output", dtype=tensors[owner.name].dtype)
    return tensors, buffers


def _fits_a_byte(node: Node) -> bool:
    """Whether a node is a place in a window, below 256."""
    body = node.body if isinstance(node, Equation) else None
    places = product(extent for _, extent in body.ranges) if isinstance(body, Reduce) and body.op in PLACES else None
    return places is not None and places.is_constant and places.constant <= 256


def after_readers(
    groups: list[Group | Recurrence], tensors: Mapping[str, Tensor], next_values: Mapping[str, str]
) -> list[Group | Recurrence]:
    """The groups, those of next values after all that read the old ones, where the groups between do not mind."""
    groups = list(groups)
    read = {id(group): _read(group, tensors) for group in groups}
    written = {id(group): _written(group, tensors) for group in groups}
    for group in reversed(groups.copy()):
        targets = {next_values[m.name] for m in group.members if m.name in next_values}
        if not targets:
            continue
        k = next(n for n, g in enumerate(groups) if g is group)
        readers = [n for n in range(k + 1, len(groups)) if read[id(groups[n])] & targets]
        if not readers:
            continue
        mine = written[id(group)]
        touched = read[id(group)] | mine
        between = groups[k + 1 : readers[-1] + 1]
        if not any(read[id(g)] & mine or written[id(g)] & touched for g in between):
            groups[k : readers[-1] + 1] = [*between, group]
    return groups


def _read(group: Group | Recurrence, tensors: Mapping[str, Tensor]) -> set[str]:
    return {tensors[tensor].buffer for member in group.members for tensor, _ in tensor_reads(member.body)}


def _written(group: Group | Recurrence, tensors: Mapping[str, Tensor]) -> set[str]:
    return {tensors[member.name].buffer for member in group.members}


def update_in_place(
    groups: list[Group | Recurrence],
    tensors: dict[str, Tensor],
    buffers: dict[str, Buffer],
    next_values: Mapping[str, str],
) -> None:
    """Let next values be computed into the memory of what they update; where old values are read later, by a copy.

    Moves the tensor of a next value to the buffer that it updates, if its group reads the old value only at the place
    that it computes and no later group reads it. Else appends a group that copies.
    """
    last_reader: dict[str, int] = {}
    elsewhere: set[tuple[int, str]] = set()
    for k, group in enumerate(groups):
        here = None if isinstance(group, Recurrence) else Tensor("", "", "", group.shape, "real").place(group.places)
        for member in group.members:
            for tensor, indices in tensor_reads(member.body):
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
            equation = copied(name, value, made.shape, tensors[value].dtype, origin)
            tensors[name] = Tensor(name, name, target, made.shape, tensors[value].dtype)
            groups.append(Group(equation.indices, made.shape, [equation]))


def copied(name: str, source: str, shape: tuple[Int, ...], dtype: str, origin: Origin) -> Equation:
    """The equation `name[i0, ...] = source[i0, ...]`."""
    indices = tuple(f"i{k}" for k in range(len(shape)))
    places = tuple(map(index, indices))
    body: Expr = Whole(fetch(source, places, integer(1 << 62))) if dtype == "int" else Read(source, places)
    return Equation(name, shape, dtype, origin, indices, body)


def stored_members(parts: list[Group | Recurrence], tensors: Mapping[str, Tensor], wanted: set[str]) -> set[str]:
    """The equations whose values memory must hold: results, next values, what another group or another step reads."""
    groups = [g for part in parts for g in (part.groups if isinstance(part, Recurrence) else [part])]
    owner = {m.name: k for k, g in enumerate(groups) for m in g.members}
    memory = {tensors[w].source for w in wanted}
    stored = {name for name in owner if name in memory or tensors[name].buffer != name}
    for k, group in enumerate(groups):
        here = Tensor("", "", "", group.shape, "real").place(group.places)
        for member in group.members:
            for tensor, indices in tensor_reads(member.body):
                source = tensors[tensor].source
                if owner.get(source) != k or tensors[tensor].place(indices) != here:
                    stored.add(source)
    return stored


def keep_one_step(
    parts: list[Group | Recurrence], tensors: dict[str, Tensor], buffers: dict[str, Buffer], stored: set[str]
) -> None:
    """Let what a loop over time computes and reads in the same step have memory for one step alone.

    The dimension of the time must not be the last, in which the elements of a factor are counted (`tiles`).
    """
    readers: dict[str, list[tuple[int, tuple[Int, ...]]]] = {}
    for k, part in enumerate(parts):
        for member in part.members:
            for tensor, indices in tensor_reads(member.body):
                readers.setdefault(tensors[tensor].buffer, []).append((k, indices))
    viewed = {t.buffer for t in tensors.values() if t.name != t.buffer}
    for k, part in enumerate(parts):
        if not isinstance(part, Recurrence):
            continue
        for member in part.members:
            buffer = buffers.get(member.name)
            axes = [n for n, i in enumerate(member.indices[:-1]) if i == part.time]
            if buffer is None or buffer.kind != "temporary" or member.name not in stored - viewed or not axes:
                continue
            axis, time = axes[0], index(part.time)
            here = all(reader == k and places[axis] == time for reader, places in readers.get(member.name, ()))
            if here:
                tensors[member.name] = replace(tensors[member.name], passing=axis)
                buffers[member.name] = replace(buffer, shape=tensors[member.name].extents)
