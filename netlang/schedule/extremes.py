"""What stands at the place of an extreme is the extreme.

The gradient of a maximum over windows goes to the places where the maximum is, and behind a rectifier only where what
stands there is positive. Under the condition that a place is that of the maximum, what stands there is read from the
maximum, which is smaller, and the larger tensor need not be kept.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace

from netlang.graph.constructors import every, select
from netlang.graph.expression import All, Compare, Condition, Expr, IsZero, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Atom, Fetch, Int, Modulo, index, place_in
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import rewrite, rewrite_condition, substitute
from netlang.schedule.order import split_guard

Extremes = Mapping[str, tuple[Equation, Equation]]


def with_known_extremes(graph: Graph) -> Graph:
    """The graph with such reads of the extremes."""
    equations = [n for n in graph if isinstance(n, Equation) and n.name not in graph.in_loops]
    reductions = [n for n in equations if isinstance(n.body, Reduce)]
    extremes = {
        place.name: (place, extreme) for place in reductions for extreme in reductions if is_place_of(place, extreme)
    }
    if not extremes:
        return graph
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation):
            node = replace(node, body=rewrite(node.body, lambda e: _told(e, extremes)))
        nodes.append(node)
    return graph.evolve(nodes)


def is_place_of(place: Equation, extreme: Equation) -> bool:
    """Whether one is the place of the other."""
    ours, theirs = place.body, extreme.body
    if not isinstance(ours, Reduce) or not isinstance(theirs, Reduce) or ours.op != f"arg{theirs.op}":
        return False
    if place.shape != extreme.shape or [n for _, n in ours.ranges] != [n for _, n in theirs.ranges]:
        return False
    names = [(*e.indices, *(i for i, _ in body.ranges)) for e, body in ((place, ours), (extreme, theirs))]
    return substitute(ours.body, {i: index(j) for i, j in zip(*names, strict=True) if i != j}) == theirs.body


def asked(condition: Condition, places: Container[str]) -> Iterator[tuple[Fetch, Int]]:
    """The places that a condition asks for, and what each of them is where it holds."""
    if isinstance(condition, IsZero):
        for fetch in condition.value.fetches():
            if fetch.tensor in places and abs(sign := condition.value.coefficient(fetch)) == 1:
                yield fetch, (sign * Int({(fetch,): 1}) - condition.value) * sign


def _told(e: Expr, extremes: Extremes) -> Expr | None:
    if not isinstance(e, Select) or not isinstance(e.condition, All):
        return None
    parts = e.condition.parts
    for part in parts:
        for fetch, code in asked(part, extremes):
            parts = tuple(_there(other, *extremes[fetch.tensor], fetch, code) for other in parts)
    return select(every(parts), e.then, e.otherwise) if parts != e.condition.parts else None


def _there(condition: Condition, place: Equation, extreme: Equation, fetch: Fetch, code: Int) -> Condition:
    """A comparison at the place that the code says, of the extreme."""
    if not isinstance(condition, Compare):
        return condition

    def change(e: Expr) -> Expr | None:
        is_there = isinstance(e, Read) and _stands(e, place, fetch, code)
        return Read(extreme.name, fetch.indices) if is_there else None

    return rewrite_condition(condition, change)


def _stands(read: Read, place: Equation, fetch: Fetch, code: Int) -> bool:
    """Whether a read is of what the reduction looks at with the code as its place."""
    body = place.body
    assert isinstance(body, Reduce)
    _, looked = split_guard(body)
    if not isinstance(looked, Read) or looked.tensor != read.tensor:
        return False
    at = dict(zip(place.indices, fetch.indices, strict=True))
    values: dict[str, Int] = {}
    digits = [atom for atom in code.atoms() if isinstance(atom, Modulo)]
    for name, extent in body.ranges:
        for there, here in zip(looked.indices, read.indices, strict=True):
            if there.is_linear_in(name) and there.coefficient(index(name).single) == 1:  # type: ignore[arg-type]
                value = _plain(here - (there - index(name)).substitute(at))
                for digit in digits:
                    known = Int({(digit,): 1})
                    if extent.is_constant and digit.divisor <= extent.constant and _plain(known) == value:
                        values[name] = known
        if name not in values:
            return False
    found = [_plain(i.substitute({**at, **values})) for i in looked.indices]
    return found == [_plain(i) for i in read.indices] and place_in(body.ranges).substitute(values) == code


def _plain(value: Int) -> Int:
    """The same without remainders: `v % m` is `v - m * (v // m)`."""

    def change(atom: Atom) -> Int | None:
        return atom.value - atom.divisor * (atom.value // atom.divisor) if isinstance(atom, Modulo) else None

    return value.rewrite(change)
