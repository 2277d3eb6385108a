"""Sums of products of two plain reads: what else a factor is (an expression, a read with padding) is computed before.

A convolution reads its padded image at places that are linear in its indices, without a guard; `U @ (r[t] * h[t-1])`
is a product with a tensor of its own. What several sums want is computed once.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from netlang.graph.constructors import at_least_zero, every, mul, select
from netlang.graph.expression import ZERO, Apply, Condition, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Index, Int, index, is_nonnegative
from netlang.graph.nodes import Equation, Node, Random
from netlang.graph.recurrence import Component, Loop
from netlang.graph.traversal import free_indices, fresh, operands, reads, substitute
from netlang.schedule.order import Group, split_guard
from netlang.schedule.program import Tensor
from netlang.schedule.tiles import tilings
from netlang.schedule.tiling import guess, is_size

LEAST = 4096  # of fewer products a sum is left as it is
CROWDED = 512  # reals: places of a window that are a multiple of this apart want the same lines of a cache
APART = 16  # reals more between them in a copy


def with_plain_factors(graph: Graph) -> Graph:
    """The graph with such sums, and with the nodes that they read."""
    work = _Factors(graph)
    nodes: list[Node] = []
    for node in graph:
        nodes += (isinstance(node, Equation) and work.changed(node)) or (node,)
    return graph.evolve(nodes) if len(nodes) > len(graph) else graph


@dataclass
class _Factors:
    """The names of the nodes that were made, by what they compute, and those `made` for the equation at hand."""

    graph: Graph
    known: dict[str, str] = field(default_factory=dict)
    made: dict[str, Equation] = field(default_factory=dict)

    @cached_property
    def taken(self) -> set[str]:
        """The names of nodes."""
        return set(self.graph.nodes)

    @cached_property
    def times(self) -> dict[str, tuple[str, ...]]:
        """The indices of nodes inside loops over time that are the times."""
        found: dict[str, tuple[str, ...]] = {}

        def visit(part: Component) -> None:
            if isinstance(part, Loop):
                for node in part.nodes:
                    if isinstance(node, Equation):
                        found[node.name] = (*found.get(node.name, ()), node.indices[part.axes[node.name]])
                for inner in part.body:
                    visit(inner)

        for part in self.graph.components:
            visit(part)
        return found

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every node as a tensor, for a look at its shape."""
        return {
            n.name: Tensor(n.name, n.name, n.name, n.shape, n.dtype, "random" if isinstance(n, Random) else "")
            for n in self.graph
        }

    def changed(self, node: Equation) -> tuple[Node, ...] | None:
        """What computes the equation with plain factors; None where it is not better so."""
        self.made = {}
        found = self._changed(node)
        if found is None:
            return None
        tensors = {n.name: Tensor(n.name, n.name, n.name, n.shape, n.dtype) for n in self.made.values()}
        group = Group(node.indices, node.shape, [found[0]], self.times.get(node.name, ()))
        if not tilings(group, ChainMap(tensors, self.tensors)):
            return None
        self.known |= {key: made.name for key, made in self.made.items()}
        self.tensors.update(tensors)
        return (*self.made.values(), *found)

    def _changed(self, node: Equation) -> tuple[Equation, ...] | None:
        """The sum, and what follows on it."""
        found = self._sum(node)
        if found is None:
            return None
        ranges, guards, args, extents = found
        summed = {name for name, _ in ranges}
        outside = [a for a in args if not free_indices(a) & summed]
        sides = _sides([a for a in args if free_indices(a) & summed], set(node.indices))
        if sides is None:
            return None
        factors = [self._factor(node, side, extents) for side in sides]
        hard = [g for g in guards if not self._is_bound(node, g, summed)]
        places = [self._padded(node, factor, hard, extents) for factor in factors]
        plain = [f if p is None else p[0] for f, p in zip(factors, places, strict=True)]
        if plain == list(args):
            return None
        dropped = {g for p in places if p is not None for g in p[1]}
        kept = [g for g in guards if g not in dropped]
        product = Reduce("sum", ranges, select(every(kept), mul(*plain), ZERO))
        if not outside:
            return (replace(node, body=product),)
        name = self._name(f"{node.name}.sum")
        total = replace(node, name=name, body=product)
        where = every(g for g in guards if not free_indices(g) & summed)
        return total, replace(node, body=select(where, mul(*outside, Read(name, node.places)), ZERO))

    def _sum(
        self, node: Node
    ) -> tuple[tuple[tuple[str, Int], ...], list[Condition], tuple[Expr, ...], dict[str, Int]] | None:
        """The summed indices, the guards and the factors of a sum of products, and the extents of all its indices."""
        if not isinstance(node, Equation) or not isinstance(node.body, Reduce) or node.dtype != "real":
            return None
        guards, inside = split_guard(node.body)
        if node.body.op != "sum" or not isinstance(inside, Apply) or inside.op != "mul":
            return None
        extents = node.extents | dict(node.body.ranges)
        if any(operands(g) for g in guards) or not all(map(is_size, extents.values())):
            return None
        if math.prod(map(guess, extents.values())) < LEAST:
            return None
        return node.body.ranges, guards, inside.args, extents

    def _is_bound(self, node: Node, guard: Condition, summed: set[str]) -> bool:
        """Whether a guard only cuts the range of a summed index short, or holds for whole steps of a loop over time."""
        names = free_indices(guard)
        return (len(names) == 1 and names <= summed) or (node.name in self.times and not names & summed)

    def _factor(self, node: Equation, args: Sequence[Expr], extents: Mapping[str, Int]) -> Expr:
        """The product of `args` as a read: of a tensor of its own, where it is not one already."""
        only = args[0] if len(args) == 1 else None
        if isinstance(only, Read) and not isinstance(self.graph[only.tensor], Random):
            looked_up = any(any(place.fetches()) for place in only.indices)  # such rows lie anywhere
            if not looked_up:
                return only
        body = mul(*args)
        names = list(dict.fromkeys(i for r in reads(body) for place in r.indices for i in _in_order(place)))
        names += [n for n in extents if n in free_indices(body) and n not in names]
        renamed = {name: f"i{k}" for k, name in enumerate(names)}
        own = substitute(body, {name: index(new) for name, new in renamed.items()})
        shape = tuple(extents[name] for name in names)
        made = Equation("", shape, "real", node.origin, tuple(renamed.values()), own)
        return Read(self._node(made, f"{node.name}.factor"), tuple(map(index, names)))

    def _padded(
        self, node: Equation, factor: Expr, guards: Sequence[Condition], extents: Mapping[str, Int]
    ) -> tuple[Read, list[Condition]] | None:
        """A read of the factor with a margin of zeros, and the guards that this makes superfluous."""
        if not isinstance(factor, Read) or factor.tensor not in self.graph.nodes:
            return None
        shape = self.graph[factor.tensor].shape
        margins = _margins(factor, shape, guards, extents)
        found = [g for margin in margins if margin is not None for g in margin.guards]
        if not found:
            return None
        places, lows, sizes, inside = [], [], [], []
        for k, (place, extent) in enumerate(zip(factor.indices, shape, strict=True)):
            wanted = self.margins.get((factor.tensor, k))
            low, stop = wanted if wanted is not None else (0, extent)
            here = index(f"i{k}")
            places.append(place - low)
            lows.append(here + low)
            sizes.append(stop - low)
            if wanted is not None:
                inside += [at_least_zero(here + low), at_least_zero(extent - 1 - here - low)]
        names = tuple(f"i{k}" for k in range(len(shape)))
        body = select(every(inside), Read(factor.tensor, tuple(lows)), ZERO)
        made = Equation("", tuple(sizes), "real", node.origin, names, body)
        return Read(self._node(made, f"{factor.tensor}.padded"), tuple(places)), found

    @cached_property
    def margins(self) -> dict[tuple[str, int], tuple[int, Int]]:
        """Where the padded copy of a tensor starts and stops in a dimension, so that one serves all that want it."""
        found: dict[tuple[str, int], tuple[int, Int]] = {}
        for node in self.graph:
            terms = self._sum(node)
            if terms is None:
                continue
            ranges, guards, args, extents = terms
            summed = {name for name, _ in ranges}
            hard = [g for g in guards if not self._is_bound(node, g, summed)]
            for read in (a for a in args if isinstance(a, Read)):
                shape = self.graph[read.tensor].shape
                for k, margin in enumerate(_margins(read, shape, hard, extents)):
                    if margin is not None:
                        low, stop = found.get((read.tensor, k), (0, shape[k]))
                        stop = margin.stop if is_nonnegative(margin.stop - stop) else stop
                        found[read.tensor, k] = min(low, margin.low), stop
                last = (read.tensor, len(shape) - 1)
                if last not in found and any(read.tensor == tensor for tensor, _ in found) and _is_crowded(read, shape):
                    found[last] = 0, shape[-1] + APART
        return found

    def _node(self, equation: Equation, base: str) -> str:
        """The name of a node that computes the equation; it is made where there is none."""
        key = f"{', '.join(e.key for e in equation.shape)}: {equation.body.key}"
        if key in self.known:
            return self.known[key]
        if key not in self.made:
            self.made[key] = replace(equation, name=self._name(base))
        return self.made[key].name

    def _name(self, base: str) -> str:
        name = fresh(base, self.taken)
        self.taken.add(name)
        return name


@dataclass(frozen=True)
class _Margin:
    """The first place that is read of a dimension and the one after the last, and the guards that keep inside it."""

    low: int
    stop: Int
    guards: tuple[Condition, ...]


def _margins(
    read: Read, shape: Sequence[Int], guards: Sequence[Condition], extents: Mapping[str, Int]
) -> Iterable[_Margin | None]:
    """For each dimension what a read under guards would read without them; None where they say nothing."""
    for place, extent in zip(read.indices, shape, strict=True):
        ends = place.bounds(extents)
        own = tuple(g for g in guards if g in (at_least_zero(place), at_least_zero(extent - 1 - place)))
        known = ends is not None and own and ends[0].is_constant
        yield _Margin(ends[0].constant, ends[1] + 1, own) if ends is not None and known else None


def _is_crowded(read: Read, shape: Sequence[Int]) -> bool:
    """Whether neighbours along the dimension before the last one compete for the same lines of a cache."""
    steps = [abs(place.coefficient(Index(i))) for place in read.indices[-2:-1] for i in place.indices()]
    return shape[-1].is_constant and shape[-1].constant * max(steps, default=1) % CROWDED == 0


def _in_order(place: Int) -> Iterable[str]:
    """The indices of a place as they are written."""
    return sorted(place.indices())


def _sides(args: Sequence[Expr], outputs: set[str]) -> tuple[list[Expr], list[Expr]] | None:
    """The arguments in two factors, each with an index of the result that the other does not have."""
    if len(args) < 2:
        return None
    names = [free_indices(a) for a in args]
    widest = max(range(len(args)), key=lambda k: (len(names[k] & outputs), len(names[k])))
    for other in range(len(args)):
        if names[other] & outputs <= names[widest]:
            continue
        left, right = [args[widest]], [args[other]]
        for k, arg in enumerate(args):
            if k in (widest, other):
                continue
            if names[k] <= names[widest]:
                left.append(arg)
            elif names[k] <= names[other]:
                right.append(arg)
            else:
                return None
        return (left, right)
    return None
