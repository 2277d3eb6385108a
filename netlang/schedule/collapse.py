"""Simpler loops: those of one turn go, and neighbours become one where every access moves through both as through one.

So kernels over tensors of many shapes become the same flat loop, and short inner loops become long ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netlang.graph.expression import Read
from netlang.graph.integer import ONE, ZERO, Fetch, Int, index
from netlang.graph.traversal import fresh, integers, rewrite, rewrite_condition, walk
from netlang.schedule.program import (
    Block,
    Body,
    Extreme,
    Guard,
    Loop,
    Once,
    Share,
    Statement,
    Tensor,
    accesses,
    expressions,
    places,
    rewrite_statements,
    statements,
)


def collapsed(body: Body, extents: Mapping[str, Int], tensors: Mapping[str, Tensor]) -> tuple[Body, dict[str, Int]]:
    """The statements with fewer loops, and the extents of all indices, those of merged loops included."""
    known = dict(extents)
    return _body(body, known, tensors), known


def _body(body: Body, extents: dict[str, Int], tensors: Mapping[str, Tensor]) -> Body:
    out: list[Statement] = []
    for statement in body:
        if isinstance(statement, Guard):
            out.append(Guard(statement.condition, _body(statement.body, extents, tensors)))
        elif isinstance(statement, Share | Once):
            out.append(replace(statement, body=_body(statement.body, extents, tensors)))
        elif not isinstance(statement, Loop):
            out.append(statement)
        elif statement.starts == (ZERO,) and statement.stops == (ONE,):
            out += _body(substituted(statement.body, {statement.index: ZERO}), extents, tensors)
        else:
            out.append(_loop(statement, extents, tensors))
    return tuple(out)


def _loop(loop: Loop, extents: dict[str, Int], tensors: Mapping[str, Tensor]) -> Loop:
    body = _body(loop.body, extents, tensors)
    merged = Loop(loop.index, loop.starts, loop.stops, body)
    if len(body) != 1 or not isinstance(body[0], Loop) or not (_is_plain(merged) and _is_plain(body[0])):
        return merged
    inner = body[0]
    (many,), (few,) = loop.stops, inner.stops
    return as_one((loop.index, many), (inner.index, few), inner.body, extents, tensors) or merged


def as_one(
    outer: tuple[str, Int],
    inner: tuple[str, Int],
    body: Body,
    extents: dict[str, Int],
    tensors: Mapping[str, Tensor],
) -> Loop | None:
    """One loop instead of two, one inside the other, around `body`; None where they do not move as one."""
    (slow, many), (fast, few) = outer, inner
    if not _move_as_one(slow, fast, few, body, tensors):
        return None
    name = fresh(f"{slow}{'_' if len(slow) > 1 or len(fast) > 1 else ''}{fast}", extents)
    extents[name] = many * few
    return Loop(name, (ZERO,), (many * few,), substituted(body, {slow: ZERO, fast: index(name)}))


def _is_plain(loop: Loop) -> bool:
    """Whether the loop takes an index through all of one extent."""
    return loop.starts == (ZERO,) and len(loop.stops) == 1 and not loop.stops[0].indices()


def _move_as_one(outer: str, inner: str, extent: Int, body: Body, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the two indices occur in places of memory alone, always as `outer * extent + inner`."""
    numbers: list[Int] = []  # integers that are not places of memory
    flats = [tensors[tensor].place(indices) for tensor, indices, _ in accesses(body)]
    for statement in statements(body):
        if isinstance(statement, Extreme):
            flats.append(statement.place)
        elif isinstance(statement, Loop | Share | Block):
            numbers += places(statement)
        for root in expressions(statement):
            numbers += (value for node in walk(root) if not isinstance(node, Read) for value in integers(node))
    if any({outer, inner} & _bare(value) for value in numbers):
        return False
    both = index(inner) + extent * index(outer)
    for place in dict.fromkeys(flats):
        origin = place.substitute({outer: ZERO, inner: ZERO})
        step = place.substitute({outer: ZERO, inner: ONE}) - origin
        if place != origin + step * both:
            return False
    return True


def _bare(value: Int) -> set[str]:
    """Indices that a number depends on otherwise than through the places of fetches."""
    atoms = {atom for monomial, _ in value.terms for atom in monomial if not isinstance(atom, Fetch)}
    return {name for atom in atoms for name in Int({(atom,): 1}).indices()}


def substituted(body: Body, values: Mapping[str, Int]) -> Body:
    """The statements with indices replaced by integer expressions."""

    def ints(value: Int) -> Int:
        return value.substitute(values)

    return rewrite_statements(body, lambda e: rewrite(e, ints=ints), lambda c: rewrite_condition(c, ints=ints), ints)
