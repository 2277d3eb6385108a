"""The nest of a sum over windows by fewer products: tiles of the image, products, and the sums of these.

Tiles are worked on in blocks. Where the filter is small, each thread does blocks of its own, of which the transformed
image and the products stay in its cache; where it is large, blocks are large, and threads share each of the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from netlang.graph.constructors import add, const, mul
from netlang.graph.expression import Expr, Read, Whole
from netlang.graph.integer import ONE, ZERO, Int, index, integer, product
from netlang.graph.traversal import substitute
from netlang.schedule.blocks import Nests
from netlang.schedule.collapse import substituted
from netlang.schedule.interpolation import Matrix
from netlang.schedule.nest import scalars_and_stores
from netlang.schedule.order import Group
from netlang.schedule.program import LANES, SUMS, Assign, Local, Loop, Multiply, Share, Statement, Step, Store
from netlang.schedule.tiles import round_up
from netlang.schedule.windows import Transformed

Body = tuple[Statement, ...]

CACHE = 2**17  # elements of tiles and products that stay in a cache of one thread
SMALL = 2**20  # of a filter that is read again for every such block
TOGETHER = 2**21  # of tiles and products that stay in the cache of all threads


def transformed_nest(nests: Nests, group: Group, plan: Transformed) -> Body:
    """The statements of a group that begins with such a sum."""
    return _Nest(nests, group, plan).body()


class _Nest:
    def __init__(self, nests: Nests, group: Group, plan: Transformed) -> None:
        self.nests, self.group, self.plan = nests, group, plan
        self.rows = product(extent for _, extent in plan.rows)
        self.is_own, self.block = self._block()
        name = group.members[0].name
        height = plan.places * self.block
        self.tiles = nests.matrix(f"{name}.tiles", height, round_up(integer(plan.channels), LANES))
        self.products = nests.matrix(f"{name}.products", height, integer(plan.pitch))
        results = math.prod(w.by.outputs for w in plan.windows)
        self.results = nests.matrix(f"{name}.results", integer(results), integer(plan.pitch))

    def _block(self) -> tuple[bool, Int]:
        """Whether each thread has blocks of its own, and how many tiles are in a block."""
        plan, height = self.plan, SUMS * LANES // self.plan.panel
        each = plan.places * (plan.channels + plan.pitch)
        is_small = plan.places * plan.channels * plan.pitch <= SMALL
        many = height * max(1, CACHE // (each * height))
        is_own = is_small and not (self.rows.is_constant and self.rows.constant < 4 * many)
        if not is_own:
            many = height * max(4, TOGETHER // (each * height))
        return is_own, self.rows if self.rows.is_constant and self.rows.constant <= many else integer(many)

    def body(self) -> Body:
        rows, block = self.rows, self.block
        if block == rows:
            return self._parts(ZERO)
        count = (rows + (block - 1)) // block.constant
        number = self.nests.index("block", count)
        inner = self._parts(index(number) * block)
        if not self.is_own:
            return (Loop(number, (ZERO,), (count,), inner),)
        first, last = self.nests.index("first", count), self.nests.index("last", count)
        return (Share(first, last, count, 1, (Loop(number, (index(first),), (index(last),), inner),)),)

    def _parts(self, start: Int) -> Body:
        """What is done for the tiles from `start` on."""
        plan = self.plan

        def of_rows(body: Callable[[Int], Body]) -> Body:
            row = self.nests.index("row", self.block)
            inner = body(index(row))
            return self._shared(
                self.block, lambda first, ends: (Loop(row, (first,), (*ends, self.rows - start), inner),)
            )

        part = self.nests.index("part", integer(plan.places))
        above = index(part) * self.block
        multiply = Multiply(
            target=self.products,
            first=above,
            rows=(self.block, self.rows - start)[: 1 if self.block == self.rows else 2],
            left=Read(self.tiles, (above, ZERO)),
            row=self.nests.tensors[self.tiles].shape[1],
            right=plan.filter,
            panel=plan.panel,
            lanes=integer(plan.lanes),
            steps=(Step((integer(plan.channels),), ONE, ONE),),
            start=ZERO,
            at=index(part) * (plan.channels * plan.pitch),
        )
        products = self._shared(integer(plan.places), lambda first, ends: (Loop(part, (first,), ends, (multiply,)),))
        return (
            *of_rows(lambda row: self._image(start, row)),
            *products,
            *of_rows(lambda row: self._sums(start, row)),
        )

    def _shared(self, extent: Int, body: Callable[[Int, tuple[Int, ...]], Body]) -> Body:
        """A loop of which threads share the turns, unless each has blocks of its own."""
        if self.is_own:
            return body(ZERO, (extent,))
        first, last = self.nests.index("first", extent), self.nests.index("last", extent)
        return (Share(first, last, extent, 1, body(index(first), (index(last),))),)

    def _tile(self, number: Int) -> tuple[Body, dict[str, Int]]:
        """Names for the indices of a tile."""
        values: dict[str, Int] = {}
        out: list[Statement] = []
        (outermost, _), *inner = self.plan.rows
        for name, extent in reversed(inner):
            values[name], number = number % extent.constant, number // extent.constant
        values[outermost] = number
        for name, extent in self.plan.rows:
            own = self.nests.index(name, extent)
            out.append(Assign(own, "int", Whole(values[name])))
            values[name] = index(own)
        return tuple(out), values

    def _image(self, start: Int, row: Int) -> Body:
        """The transformed tile of each channel."""
        plan = self.plan
        names, tile = self._tile(start + row)
        lines = _Lines(f"{self.group.members[0].name}.d")

        def element(places: tuple[int, ...]) -> Expr:
            taps = {w.tap: integer(place) for w, place in zip(plan.windows, places, strict=True)}
            return substitute(plan.image, tile | taps)

        values = lines.transformed([w.by.image for w in plan.windows], element)
        for place, value in enumerate(values):
            lines.out.append(Store(self.tiles, (place * self.block + row, index(plan.channel)), value))
        return (*names, *self._over(plan.channel, plan.channels, lines.out))

    def _sums(self, start: Int, row: Int) -> Body:
        """The results of a tile, of each lane, and what follows on them."""
        plan, group = self.plan, self.group
        lines = _Lines(f"{group.members[0].name}.m")
        extents = [w.by.places for w in plan.windows]

        def element(places: tuple[int, ...]) -> Expr:
            return Read(self.products, (_row_major(places, extents) * self.block + row, index(plan.lane)))

        values = lines.transformed([w.by.sums for w in plan.windows], element)
        for place, value in enumerate(values):
            lines.out.append(Store(self.results, (integer(place), index(plan.lane)), value))
        names, tile = self._tile(start + row)
        reduced = group.members[0]
        rest = scalars_and_stores(group, group.members[1:], self.nests.tensors, self.nests.stored, reduced)
        at, results = ZERO, dict[str, Int]()
        inside: list[tuple[str, int, Int]] = []
        for w in plan.windows:
            name = self.nests.index(f"{w.index}_", integer(w.by.outputs))
            at = at * w.by.outputs + index(name)
            results[w.index] = tile[w.index] * w.by.outputs + index(name)
            inside.append((name, w.by.outputs, w.extent - tile[w.index] * w.by.outputs))
        total = Assign(reduced.name, "real", Read(self.results, (at, index(plan.lane))))
        body = self._over(plan.lane, plan.lanes, substituted((total, *rest), tile | results))
        for (name, outputs, left), w in zip(reversed(inside), reversed(plan.windows), strict=True):
            ends = (integer(outputs),) if w.extent % outputs == 0 else (integer(outputs), left)
            body = (Loop(name, (ZERO,), ends, body),)
        return (*names, *self._over(plan.lane, plan.lanes, lines.out), *body)

    def _over(self, name: str, extent: int, body: Iterable[Statement]) -> Body:
        """A loop with an index of its own."""
        own = self.nests.index(name, integer(extent))
        return (Loop(own, (ZERO,), (integer(extent),), substituted(tuple(body), {name: index(own)})),)


def _row_major(places: Sequence[int], extents: Sequence[int]) -> int:
    at = 0
    for place, extent in zip(places, extents, strict=True):
        at = at * extent + place
    return at


class _Lines:
    """Assignments of scalars."""

    def __init__(self, base: str) -> None:
        self.base, self.out, self.count = base, list[Statement](), 0

    def transformed(self, matrices: Sequence[Matrix], element: Callable[[tuple[int, ...]], Expr]) -> list[Expr]:
        """A tensor times a matrix in each dimension, one after the other; its elements in row-major order."""
        sizes = [len(matrix[0]) for matrix in matrices]

        def along(known: tuple[int, ...]) -> list[Expr]:
            """The elements with these first places, transformed in the other dimensions, which are rows."""
            if len(known) == len(sizes):
                return [element(known)]
            parts = [along((*known, k)) for k in range(sizes[len(known)])]
            columns = [self.linear(matrices[len(known)], column) for column in zip(*parts, strict=True)]
            return [value for row in zip(*columns, strict=True) for value in row]

        return along(())

    def linear(self, matrix: Matrix, values: Sequence[Expr]) -> list[Expr]:
        """A matrix times values: rows that differ in signs alone share two halves of their terms."""
        values = [self.named(value) for value in values]
        found: dict[int, Expr] = {}
        for k, row in enumerate(matrix):
            if k in found:
                continue
            for other in range(k + 1, len(matrix)):
                pair = list(zip(row, matrix[other], strict=True))
                if other in found or not all(abs(a) == abs(b) for a, b in pair):
                    continue
                same, opposite = ([a if fits(a, b) else Fraction(0) for a, b in pair] for fits in (_same, _opposite))
                if sum(map(bool, same)) and sum(map(bool, opposite)):
                    even, odd = self.named(_sum(same, values)), self.named(_sum(opposite, values))
                    found[k], found[other] = add(even, odd), add(even, mul(const(-1), odd))
                    break
            else:
                found[k] = _sum(row, values)
        return [found[k] for k in range(len(matrix))]

    def named(self, value: Expr) -> Expr:
        if isinstance(value, Local):
            return value
        name = f"{self.base}{self.count}"
        self.count += 1
        self.out.append(Assign(name, "real", value))
        return Local(name)


def _same(a: Fraction, b: Fraction) -> bool:
    return a == b


def _opposite(a: Fraction, b: Fraction) -> bool:
    return a == -b


def _sum(row: Sequence[Fraction], values: Sequence[Expr]) -> Expr:
    return add(*(mul(const(float(c)), value) for c, value in zip(row, values, strict=True) if c))
