"""Of what goes to one place of each window, the sum over all places is the sum over the windows.

Behind a maximum over windows, the gradient is at the place of the maximum and zero elsewhere. So that of a bias, which
is its sum over the whole image, is a sum over the smaller image of the maxima:

    sum(i, j) (d[i // 2, j // 2] if 2 * (i % 2) + j % 2 == place[i // 2, j // 2] else 0) = sum(i, j) d[i, j]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from netlang.graph.constructors import conjuncts, every, select
from netlang.graph.expression import ZERO, Condition, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Atom, Floor, Int, Modulo, index, integer, place_in
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import free_indices, rewrite, substitute
from netlang.schedule.extremes import asked
from netlang.schedule.order import split_guard

Windows = dict[str, int]  # the extents of windows by an index of the places


def with_sums_by_window(graph: Graph) -> Graph:
    """The graph with such sums."""
    places: dict[str, Reduce] = {}  # the places of extremes, by their names
    for node in graph:
        body = node.body if isinstance(node, Equation) else None
        if isinstance(body, Reduce) and body.op in ("argmax", "argmin") and not split_guard(body)[0]:
            places[node.name] = body
    if not places:
        return graph
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation) and isinstance(node.body, Reduce) and node.name not in graph.in_loops:
            node = replace(node, body=_by_window(node.body, graph, places))
        nodes.append(node)
    return graph.evolve(nodes)


def _by_window(total: Reduce, graph: Graph, places: Mapping[str, Reduce]) -> Reduce:
    """The sum over windows, where it is one over all places."""
    read, extents = total.body, dict(total.ranges)
    source = graph[read.tensor] if isinstance(read, Read) else None
    if total.op != "sum" or not isinstance(read, Read) or not isinstance(source, Equation):
        return total
    names = [place.index for place in read.indices]
    if None in names or len(set(names)) < len(names):
        return total
    body = substitute(source.body, dict(zip(source.indices, read.indices, strict=True)))
    if not isinstance(body, Select) or body.otherwise != ZERO:
        return total
    parts = conjuncts(body.condition)
    for part in parts:
        windows = _windows(part, places)
        if not windows or any(name not in extents or extents[name] % n != integer(0) for name, n in windows.items()):
            continue
        rest = select(every(other for other in parts if other is not part), body.then, ZERO)
        numbered = rewrite(rest, ints=partial(_numbered, windows))
        looked_up = (place for fetch, _ in asked(part, places) for place in fetch.indices)
        where = {name for place in looked_up for name in _numbered(windows, place).indices()}
        if not (free_indices(numbered) | where) & windows.keys():
            ranges = tuple((i, n // windows[i] if i in windows else n) for i, n in total.ranges)
            return replace(
                total,
                ranges=ranges,
                body=substitute(numbered, {_number(i, n): index(i) for i, n in windows.items()}),
            )
    return total


def _windows(condition: Condition, places: Mapping[str, Reduce]) -> Windows:
    """The windows in each of which the condition holds in one place; none where it says something else."""
    for fetch, code in asked(condition, places):
        digits = {m[0]: c for m, c in code.terms if len(m) == 1 and isinstance(m[0], Modulo)}
        ranges = places[fetch.tensor].ranges
        windows: Windows = {}
        values: dict[str, Int] = {}
        for name, extent in ranges:
            values[name] = integer(0)
            for digit, c in digits.items():
                assert isinstance(digit, Modulo)
                own = digit.value.index
                is_its = c == place_in(ranges).substitute({n: integer(int(n == name)) for n, _ in ranges}).constant
                if own is not None and is_its and extent == integer(digit.divisor):
                    values[name], windows[own.name] = Int({(digit,): 1}), digit.divisor
        whole = all(values[name] != integer(0) or extent == integer(1) for name, extent in ranges)
        if whole and place_in(ranges).substitute(values) == code:
            return windows
    return {}


def _number(name: str, extent: int) -> str:
    """The index of the windows along an index of places; no other has a name like it."""
    return f"{name}//{extent}"


def _numbered(windows: Windows, value: Int) -> Int:
    """The integer, with the number of a window by its own index."""

    def change(atom: Atom) -> Int | None:
        if not isinstance(atom, Floor) or (own := atom.value.index) is None:
            return None
        return index(_number(own.name, atom.divisor)) if windows.get(own.name) == atom.divisor else None

    return value.rewrite(change)
