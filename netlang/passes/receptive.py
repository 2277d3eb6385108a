"""Receptive fields: which window of each input an element depends on, from the index maps of the equations alone.

A read of `x` at `stride*i + dilation*p - pad` turns the window that `x` sees into the one that the reader sees: the
strides multiply, and the window grows by the stride so far times what `p` spans. Windows are not clipped to the input
(padding counts), as in Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks" (2019);
what reduces a whole axis sees the whole input along it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from netlang.graph.expression import Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Floor, Index, Int, integer
from netlang.graph.nodes import Equation, Extern, Input, Node, View
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import tensor_reads


@dataclass(frozen=True)
class Field:
    """The window along one axis of an input.

    `size` is its width in elements of the input; `stride` the step between the windows of neighbours along `axis` of
    the tensor, and `padding` how far the first window begins before the input; both are None where the window does not
    move with one axis (after a flattening, say). `whole` says that it is the entire axis.
    """

    size: int
    axis: int | None = None
    stride: Fraction | None = None
    padding: Fraction | None = None
    whole: bool = False


Fields = Mapping[str, tuple[Field, ...]]  # by input, a field for each of its axes


@dataclass(frozen=True)
class _Access:
    """The places that a read visits along one axis: from `stride*i + low` to `stride*i + high`.

    `i` is the left-hand index at position `axis`; `whole` says that they are all places, whatever `i` is.
    """

    low: int
    high: int
    axis: int | None
    stride: Fraction | None
    whole: bool


def receptive_fields(graph: Graph, sizes: Mapping[str, int]) -> dict[str, Fields]:
    """For each node the fields in the inputs (of role "input") that it depends on."""
    found: dict[str, Fields] = {}
    for part in graph.components:
        if isinstance(part, Loop):  # what is read at one step has gone into all later ones
            everything = _reached(graph, part.nodes, found, sizes)
            found.update((node.name, everything) for node in part.nodes)
        elif isinstance(part, Input) and part.role == "input":
            found[part.name] = {part.name: _own(part)}
        elif isinstance(part, Equation):
            found[part.name] = _of_equation(graph, part, found, sizes)
        elif isinstance(part, View):
            fields = found.get(part.operand, {})
            found[part.name] = {name: tuple(map(_detached, axes)) for name, axes in fields.items()}
        elif isinstance(part, Extern):  # nothing is known of what it reads
            found[part.name] = _reached(graph, [part], found, sizes)
        else:
            found[part.name] = {}
    return found


def _reached(graph: Graph, nodes: Iterable[Node], found: Mapping[str, Fields], sizes: Mapping[str, int]) -> Fields:
    """The whole of each input that the nodes depend on."""
    names = [name for node in nodes for operand in node.operands for name in found.get(operand, {})]
    return {name: _all(graph, name, sizes) for name in names}


def _own(node: Input) -> tuple[Field, ...]:
    return tuple(Field(1, axis, Fraction(1), Fraction(0)) for axis in range(len(node.shape)))


def _all(graph: Graph, name: str, sizes: Mapping[str, int]) -> tuple[Field, ...]:
    return tuple(Field(extent.evaluate(sizes), whole=True) for extent in graph[name].shape)


def _detached(field: Field) -> Field:
    return replace(field, axis=None, stride=None, padding=None)


def _of_equation(graph: Graph, node: Equation, found: Mapping[str, Fields], sizes: Mapping[str, int]) -> Fields:
    merged: dict[str, tuple[Field, ...]] = {}
    extents = dict(node.body.ranges) if isinstance(node.body, Reduce) else {}
    for tensor, places in dict.fromkeys(tensor_reads(node.body)):
        shape = [extent.evaluate(sizes) for extent in graph[tensor].shape]
        accesses = [_access(p, n, node, extents, sizes) for p, n in zip(places, shape, strict=True)]
        for name, axes in found[tensor].items():
            whole = _all(graph, name, sizes)
            seen = tuple(_through(field, accesses, all_) for field, all_ in zip(axes, whole, strict=True))
            if name in merged:
                seen = tuple(_union(*each) for each in zip(merged[name], seen, whole, strict=True))
            merged[name] = seen
    return merged


def _access(place: Int, extent: int, node: Equation, reduced: Mapping[str, Int], sizes: Mapping[str, int]) -> _Access:
    moving = [axis for axis, name in enumerate(node.indices) if name in place.indices()]
    window = place.substitute({name: integer(0) for name in node.indices})
    ends = None if any(window.fetches()) else window.bounds(reduced)
    if ends is None:
        return _Access(0, extent - 1, None, None, True)
    low, high = ends[0].evaluate(sizes), ends[1].evaluate(sizes)
    if not moving:
        return _Access(low, high, None, None, high - low + 1 >= extent > 1)
    stride = _slope(place, node.indices[moving[0]]) if len(moving) == 1 else None
    return _Access(low, high, None if stride is None else moving[0], stride, False)


def _slope(value: Int, name: str) -> Fraction | None:
    """How far the value moves with the index on average; None where it does not move evenly."""
    total = Fraction(0)
    for monomial, coefficient in value.terms:
        if not any(name in Int({(atom,): 1}).indices() for atom in monomial):
            continue
        if len(monomial) > 1:
            return None
        atom = monomial[0]
        if isinstance(atom, Index):
            total += coefficient
            continue
        inner = _slope(atom.value, name) if isinstance(atom, Floor) else None
        if inner is None or not isinstance(atom, Floor):
            return None
        total += coefficient * inner / atom.divisor
    return total


def _through(field: Field, accesses: list[_Access], whole: Field) -> Field:
    """The window of the reader, from the window of what is read and the places where it is read."""
    if field.whole:
        return whole
    if field.axis is None or field.stride is None or field.padding is None:
        # the window moves in a way that no axis follows: reading in one place keeps it, reading in many may see all
        return field if all(access.low == access.high for access in accesses) else whole
    access = accesses[field.axis]
    if access.whole:
        return whole
    size = math.ceil(abs(field.stride) * (access.high - access.low)) + field.size
    if access.stride is None:
        return Field(size)
    first = min(field.stride * access.low, field.stride * access.high)
    return Field(size, access.axis, field.stride * access.stride, field.padding - first)


def _union(first: Field, second: Field, whole: Field) -> Field:
    if first.whole or second.whole or (first.axis, first.stride) != (second.axis, second.stride):
        return whole
    if first.padding is None or second.padding is None:
        return first if first.size >= second.size else second
    padding = max(first.padding, second.padding)
    end = max(first.size - first.padding, second.size - second.padding)
    return replace(first, size=math.ceil(end + padding), padding=padding)
