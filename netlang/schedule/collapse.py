"""Neighbouring loops of an elementwise nest made one, so that kernels of many shapes become the same flat loop."""

from __future__ import annotations

from collections.abc import Mapping

from netlang.graph.expression import Read, integers, rewrite, rewrite_condition, walk
from netlang.graph.integer import ONE, ZERO, Fetch, Int, index
from netlang.schedule.order import Group, Ranges
from netlang.schedule.program import Loop, Statement, Tensor, accesses, expressions, rewrite_statements, statements


def collapsed(
    group: Group, body: tuple[Statement, ...], tensors: Mapping[str, Tensor]
) -> tuple[Ranges, tuple[Statement, ...]]:
    """An elementwise nest with neighbouring loops made one, where every access moves through both as through one."""
    ranges = group.ranges
    flats = list(dict.fromkeys(tensors[t].place(indices) for t, indices, _ in accesses(body)))
    fixed: set[str] = set()  # indices used as numbers
    for statement in statements(body):
        for root in expressions(statement):
            for node in walk(root):
                if not isinstance(node, Read):
                    fixed |= {a for value in integers(node) for a in _bare(value)}

    def mergeable(outer: str, inner: str, extent: Int) -> bool:
        if {outer, inner} & fixed:
            return False
        for place in flats:
            origin = place.substitute({outer: ZERO, inner: ZERO})
            step = place.substitute({outer: ZERO, inner: ONE}) - origin
            if place != origin + step * (index(inner) + extent * index(outer)):
                return False
        return True

    k = len(ranges) - 2
    while k >= 0:
        (outer, many), (inner, few) = ranges[k], ranges[k + 1]
        if mergeable(outer, inner, few):
            flats = [p.substitute({outer: ZERO}) for p in flats]
            ranges[k : k + 2] = [(inner, many * few)]
            body = _merge_loops(body, outer, inner)
            values = {outer: ZERO}
            body = rewrite_statements(
                body,
                lambda e, v=values: rewrite(e, ints=lambda i: i.substitute(v)),  # type: ignore[misc]
                lambda c, v=values: rewrite_condition(c, ints=lambda i: i.substitute(v)),  # type: ignore[misc]
                lambda i, v=values: i.substitute(v),  # type: ignore[misc]
            )
        k -= 1
    return ranges, body


def _merge_loops(body: tuple[Statement, ...], outer: str, inner: str) -> tuple[Statement, ...]:
    (loop,) = body
    assert isinstance(loop, Loop)
    if loop.index != outer:
        return (Loop(loop.index, loop.starts, loop.stops, _merge_loops(loop.body, outer, inner)),)
    (inside,) = loop.body
    assert isinstance(inside, Loop)
    (many,), (few,) = loop.stops, inside.stops
    return (Loop(inner, (ZERO,), (many * few,), inside.body),)


def _bare(value: Int) -> set[str]:
    """Indices that a number depends on otherwise than through the places of fetches."""
    names = set()
    for monomial, _ in value.terms:
        for atom in monomial:
            if not isinstance(atom, Fetch):
                names |= Int({(atom,): 1}).indices()
    return names
