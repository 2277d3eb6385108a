"""Sums of products under a divisibility, by residue classes: each class is a sum without the test, with fewer terms.

In the gradient of a convolution with stride s by its image, and in a transposed convolution, the place i receives from
the taps p for which s divides i - p. For i = s*i' + r these are p = s*p' + t, with t decided by r. So every residue r
is a sum of its own, and the result takes its elements from these sums in turn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from netlang.graph.constructors import is_zero, select
from netlang.graph.expression import ZERO, Apply, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import ONE, Int, Modulo, index
from netlang.graph.integer import ZERO as NONE
from netlang.graph.nodes import Equation, Node
from netlang.graph.recurrence import Loop
from netlang.graph.traversal import fresh, integers, substitute, walk, within_ranges
from netlang.schedule.order import split_guard
from netlang.schedule.tiling import guess

LEAST = 4096  # of fewer products a sum is left as it is
MOST = 16  # of more parts it is, too
Residues = Mapping[str, int]


def with_residues(graph: Graph) -> Graph:
    """The graph with such sums in parts, and with the nodes that take their elements from them."""
    looped = {n.name for part in graph.components if isinstance(part, Loop) for n in part.nodes}
    taken = set(graph.nodes)
    nodes: list[Node] = []
    for node in graph:
        split = _split(node) if isinstance(node, Equation) and node.name not in looped else None
        nodes += (node,) if split is None else split.nodes(taken)
    return graph.evolve(nodes) if len(nodes) > len(graph) else graph


@dataclass(frozen=True)
class _Split:
    """A sum, the `divisors` of the indices that a divisibility is about, and its `parts` by the residues of `outputs`.

    There is no part where no terms are left.
    """

    node: Equation
    divisors: Mapping[str, int]
    outputs: tuple[str, ...]
    parts: Mapping[tuple[int, ...], Equation]

    def nodes(self, taken: set[str]) -> tuple[Node, ...]:
        """The parts, and the equation that takes from them in turn."""
        named: dict[tuple[int, ...], Equation] = {}
        for residues, part in self.parts.items():
            named[residues] = replace(part, name=fresh(f"{part.name}.part", taken))
            taken.add(named[residues].name)
        places = tuple(index(i) // self.divisors[i] if i in self.outputs else index(i) for i in self.node.indices)

        def element(residues: tuple[int, ...]) -> Expr:
            if len(residues) == len(self.outputs):
                return Read(named[residues].name, places) if residues in named else ZERO
            name = self.outputs[len(residues)]
            divisor = self.divisors[name]
            body = element((*residues, divisor - 1))
            for r in reversed(range(divisor - 1)):
                body = select(is_zero(index(name) % divisor - r), element((*residues, r)), body)
            return body

        return (*named.values(), replace(self.node, body=element(())))


def _split(node: Equation) -> _Split | None:
    """The sum in parts; None where there is no divisibility, or it does not leave plain sums."""
    body = node.body
    if not isinstance(body, Reduce) or body.op != "sum" or node.dtype != "real":
        return None
    _, inside = split_guard(body)
    divisors = _divisors(body)
    if not divisors or not isinstance(inside, Apply) or inside.op != "mul":
        return None
    extents = node.extents | dict(body.ranges)
    if math.prod(map(guess, extents.values())) < LEAST or not all(extents[i].is_constant for i in divisors):
        return None
    outputs = tuple(i for i in node.indices if i in divisors)
    if not outputs or math.prod(divisors[i] for i in outputs) > MOST:
        return None
    summed = [i for i in divisors if i not in outputs]
    parts: dict[tuple[int, ...], Equation] = {}
    for residues in _all(outputs, divisors):
        for taps in _all(summed, divisors):
            both = dict(zip((*outputs, *summed), (*residues, *taps), strict=True))
            part = _part(node, body, divisors, both)
            if part is None:
                continue
            if residues in parts or _divisors(part.body):
                return None
            parts[residues] = part
    return _Split(node, divisors, outputs, parts)


def _all(names: Iterable[str], divisors: Mapping[str, int]) -> Iterable[tuple[int, ...]]:
    """Every choice of a residue for each of the indices."""
    return itertools.product(*(range(divisors[name]) for name in names))


def _divisors(body: Expr) -> dict[str, int]:
    """The indices of which remainders are taken, with the one divisor of each; nothing where there are several."""
    found: dict[str, int] = {}
    atoms = (atom for part in walk(body) for value in integers(part) for atom in value.atoms())
    for remainder in (atom for atom in atoms if isinstance(atom, Modulo)):
        for name in remainder.value.indices():
            if found.setdefault(name, remainder.divisor) != remainder.divisor:
                return {}
    return found


def _part(node: Equation, body: Reduce, divisors: Mapping[str, int], residues: Residues) -> Equation | None:
    """The sum over the terms and at the places with these residues; None where nothing is added there."""
    values = {name: divisors[name] * index(name) + residue for name, residue in residues.items()}

    def extent(name: str, whole: Int) -> Int:
        return (whole + (divisors[name] - 1 - residues[name])) // divisors[name] if name in residues else whole

    shape = tuple(extent(i, n) for i, n in node.extents.items())
    ranges = tuple((i, extent(i, n)) for i, n in body.ranges)
    extents = dict(zip(node.indices, shape, strict=True)) | dict(ranges)
    if any(n.is_constant and n.constant == 0 for n in extents.values()):
        return None
    single = {name: NONE for name, n in ranges if n == ONE}
    inside = within_ranges(substitute(substitute(body.body, values), single), extents)
    ranges = tuple(r for r in ranges if r[0] not in single)
    if inside == ZERO:
        return None
    return replace(node, shape=shape, body=Reduce(body.op, ranges, inside) if ranges else inside)
