"""How threads share a kernel: which of its loops are done in parts, at the same time, and what is done by one thread.

A loop is shared where it is provably the same in any order: each turn keeps to elements of its own in everything that
the loop stores. Since each element is computed as on one thread, results have the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from itertools import takewhile

from netlang.graph.constructors import at_least_zero, negate
from netlang.graph.expression import Read
from netlang.graph.integer import ONE, ZERO, Int, index
from netlang.graph.traversal import fresh, operands, tensor_reads
from netlang.schedule.blocks import moved
from netlang.schedule.collapse import substituted
from netlang.schedule.disjoint import Elements, divides, may_be_vectors
from netlang.schedule.nest import guarded
from netlang.schedule.program import (
    Alone,
    Assign,
    Body,
    Buffer,
    Combine,
    Dot,
    Extreme,
    Guard,
    Loop,
    Multiply,
    Once,
    Pack,
    Search,
    Share,
    Statement,
    Tensor,
    statements,
)
from netlang.schedule.tiling import ROWS, guess
from netlang.schedule.work import cycles

LONG = 64  # cycles, from which a turn of a loop is work of its own
GRAIN = 64  # of shorter ones, and of lanes of a product of few rows, as many go together, so that no vector is split
LEAST = 2048  # of less work, in cycles, a statement is left to one thread
MANY = 16  # turns of a loop are enough
PIECE = 8192  # cycles of a part that is worth its own, when threads have several
VECTORS = 512  # turns, from which an optimizer takes vectors wherever it can; below, it may find them not worth a check
OFTEN = 8192  # of more, threads may wait for each other in every turn of a loop
OWN = 2**17  # elements of copies at most that each thread makes for itself
HUGE = 2**62  # more than there can be of anything


def for_threads(
    body: Body, extents: Mapping[str, Int], tensors: Mapping[str, Tensor], buffers: MutableMapping[str, Buffer]
) -> tuple[Body, Int]:
    """The statements of a kernel, shared, and the cycles that they take.

    Scratch that each thread needs for itself becomes private in `buffers`.
    """
    threads = _Threads(tensors, buffers, dict(extents), body)
    work = cycles(body, threads.extents)
    shared = threads.phases(body) if guess(work) >= LEAST else (_alone(body),)
    shared = tuple(map(threads.in_several, shared))
    for name, apart in threads.private.items():
        buffers[name] = replace(buffers[name], apart=apart)
    return shared, work


class _Threads:
    """Shares the statements of one kernel."""

    def __init__(
        self, tensors: Mapping[str, Tensor], buffers: Mapping[str, Buffer], extents: dict[str, Int], body: Body
    ) -> None:
        self.tensors, self.buffers, self.extents = tensors, buffers, extents
        self.elements = Elements(tensors, buffers, extents, body)
        self.private: dict[str, Int] = {}  # with how far those of two threads are apart

    # --- phases ---

    def phases(self, body: Body) -> Body:
        """The statements, each shared; what cannot be goes to one thread."""
        if any(isinstance(s, Assign | Combine | Extreme | Search) for s in body):
            return (_alone(body),)
        out: list[Statement] = []
        alone: list[Statement] = []
        while body:
            found, done = self._with_own_copies(body) or (self.shared(body[0]), 1)
            if found is None:
                alone.append(body[0])
            else:
                if alone:
                    out.append(_alone(tuple(alone)))
                    alone.clear()
                out += found
            body = body[done:]
        if alone:
            out.append(_alone(tuple(alone)))
        return tuple(out)

    def _with_own_copies(self, body: Body) -> tuple[Body, int] | None:
        """Copies that a body begins with, each thread's own, with what is shared next; and how many statements that is.

        What another thread has just written comes slowly: a small copy of its own takes a thread less time. Where there
        turns out to be much to copy, threads share that too, and have one memory for it. They do not wait for each
        other between the copies and what comes next, which must not change what is copied.
        """
        packs = [s for s in takewhile(self._may_be_own, body) if isinstance(s, Pack)]
        if not packs or len(packs) == len(body) or not isinstance(following := body[len(packs)], Share | Loop):
            return None
        buffers = [self.buffers[self.tensors[pack.target].buffer] for pack in packs]
        if not all(self.elements.is_within(b.name, pack, following) for b, pack in zip(buffers, packs, strict=True)):
            return None
        changed = self.elements.stored((following,))
        if any(self.tensors[pack.source.tensor].buffer in changed for pack in packs):
            return None
        found = self.shared(following)
        if found is None or len(found) != 1 or not isinstance(share := found[0], Share):
            return None
        out: list[Statement] = []
        own: list[Statement] = []
        for buffer, pack in zip(buffers, packs, strict=True):
            are_few, together = at_least_zero(OWN - buffer.elements), self.shared(pack)
            assert together is not None, "it is more than what one thread does as well"
            own += guarded(are_few, (pack,))
            out += guarded(negate(are_few), together)
            self.private[buffer.name] = buffer.elements * (1 - _one_if_positive(buffer.elements // (OWN + 1)))
        once = (Once(tuple(own)),) if own else ()
        return (*out, replace(share, body=(*once, *share.body))), len(packs) + 1

    def _may_be_own(self, s: Statement) -> bool:
        """Whether a statement is a copy that each thread may make for itself."""
        if not isinstance(s, Pack) or s.at != ZERO or s.to != ZERO or len(s.lanes) != 1:
            return False
        buffer = self.buffers[self.tensors[s.target].buffer]
        is_small = buffer.kind == "scratch" and guess(buffer.elements) <= OWN
        return is_small and guess(cycles((s,), self.extents)) >= LEAST

    def shared(self, s: Statement) -> Body | None:
        """The statement shared by threads, or None where one thread does it as well."""
        if isinstance(s, Share):
            self._keep_apart([s], s, s.body)
            return (s,)
        if isinstance(s, Guard):
            inside = self.phases(s.body)
            if _is_alone(inside):
                return None
            return self._each_asks(s, inside) if operands(s.condition) else (Guard(s.condition, inside),)
        if guess(cycles((s,), self.extents)) < LEAST:
            return None
        if isinstance(s, Loop):
            return self._loop(s)
        if isinstance(s, Multiply) and len(s.rows) == 1:
            return (self._rows(s),)
        if isinstance(s, Pack):
            return self._lanes(s, s.source, s.panel) if len(s.lanes) == 1 and s.to == ZERO else None
        return self._lanes(s, s.right, GRAIN) if isinstance(s, Dot) else None

    def _each_asks(self, guard: Guard, inside: Body) -> Body | None:
        """What is shared under a condition that depends on memory: in each part, as one that is late must not."""
        read = {self.tensors[tensor].buffer for tensor, _ in tensor_reads(guard.condition)}
        changed = self.elements.stored(guard.body)
        if read & changed or not all(isinstance(s, Share | Alone) for s in inside):
            return None

        def asking(body: Body) -> Body:
            inner = (replace(s, body=asking(s.body)) if isinstance(s, Once) else s for s in body)
            return tuple(s if isinstance(s, Once) else Guard(guard.condition, (s,)) for s in inner)

        return tuple(replace(s, body=asking(s.body)) for s in inside if isinstance(s, Share | Alone))

    def _rows(self, s: Multiply) -> Share:
        """A product, of which each thread computes some rows."""
        first, last = self._new("first"), self._new("last")
        left = moved(s.left, index(first) * s.row)
        part = replace(s, first=s.first + index(first), rows=(index(last) - index(first),), left=left)
        return Share(first, last, s.rows[0], 1, (part,))

    def _lanes(self, s: Pack | Dot, factor: Read, grain: int) -> Body:
        """A copy into panels or a product, of which each thread does some lanes."""
        first, last = self._new("first"), self._new("last")
        source = moved(factor, index(first) * s.lane)
        here, lanes = s.first + index(first), index(last) - index(first)
        if isinstance(s, Pack):
            return (Share(first, last, s.lanes[0], grain, (replace(s, first=here, lanes=(lanes,), source=source),)),)
        return (Share(first, last, s.lanes, grain, (replace(s, first=here, lanes=lanes, right=source),)),)

    def _loop(self, loop: Loop) -> Body | None:
        found: list[Loop] = []
        if not any(isinstance(s, Share) for s in statements(loop.body)):
            found = [c for c in self._candidates(loop) if guess(c.stops[0]) > 1 and self.elements.is_free(loop, c)]
        turns = max((guess(c.stops[0]) for c in found), default=0)
        if turns < MANY and (of_rows := self._rows_of(loop)) is not None:
            return of_rows
        if found:
            return self._taken(loop, max(found, key=lambda c: min(guess(c.stops[0]), MANY)))
        inside = self.phases(loop.body)
        if any(True for end in (*loop.starts, *loop.stops) for _ in end.fetches()):
            return None
        if _is_alone(inside) or guess(cycles(loop.body, self.extents).substitute({loop.index: ZERO})) < OFTEN:
            return None
        return (replace(loop, body=inside),)

    def _rows_of(self, loop: Loop) -> Body | None:
        """A loop of few turns over products, where threads can share the rows of each of these."""
        body: Body = (loop,)
        while len(body) == 1 and isinstance(inner := body[0], Loop):
            body = inner.body
        if len(body) != 1 or not isinstance(product := body[0], Multiply) or len(product.rows) != 1:
            return None
        (rows,) = product.rows
        apart = all(divides(rows, Int({m: c})) for m, c in product.first.terms)  # what different turns write
        if not rows.is_constant or not apart or rows.constant < MANY:
            return None
        share = self._rows(product)

        def change(s: Statement) -> Statement:
            return replace(s, body=tuple(map(change, s.body))) if isinstance(s, Loop) else share.body[0]

        return (replace(share, body=(change(loop),)),)

    def _candidates(self, loop: Loop) -> Iterator[Loop]:
        """The loop itself and those inside it that have one end for all turns."""
        seen: set[str] = set()
        for inner in statements((loop,)):
            if isinstance(inner, Loop) and inner.index not in seen and not inner.stops[0].indices():
                seen.add(inner.index)
                yield inner

    def _taken(self, loop: Loop, inner: Loop) -> Body:
        """The loop with each thread's part of the inner one, or of that and the only one in it as one."""
        self._keep_apart([loop], loop, inner.body)
        extent = self.extents[inner.index]
        first, last = self._new("first"), self._new("last")
        both = self._both(inner) if inner is loop else None
        if both is not None:
            few = self.extents[both.index]
            slow = index(inner.index)
            last_turn = (index(last) + (few - 1)) // few.constant
            within = replace(
                both,
                starts=(*both.starts, index(first) - slow * few),
                stops=(*both.stops, index(last) - slow * few),
            )
            outside = Loop(inner.index, (index(first) // few.constant,), (last_turn,), (within,))
            return (Share(first, last, extent * few, 1, (outside,)),)
        is_long = guess(cycles(inner.body, self.extents)) >= LONG
        grain = 1 if is_long else GRAIN
        if may_be_vectors(inner.body, self.extents):  # of what is not added, the order does not matter
            sums = (s for s in statements(inner.body) if isinstance(s, Combine) and s.op in ("sum", "prod"))
            grain = VECTORS if any(True for _ in sums) else GRAIN

        def change(s: Statement) -> Statement:
            if isinstance(s, Loop):
                if s.index == inner.index:
                    starts = (index(first),) if s.starts == (ZERO,) else (*s.starts, index(first))
                    stops = (index(last), *(n for n in s.stops if n != extent))
                    return Loop(s.index, starts, stops, s.body)
                return replace(s, body=tuple(map(change, s.body)))
            return replace(s, body=tuple(map(change, s.body))) if isinstance(s, Guard) else s

        return (Share(first, last, extent, grain, (change(loop),)),)

    def _both(self, loop: Loop) -> Loop | None:
        """The one loop inside a loop, where threads can share the turns of both as one long list."""
        if len(loop.body) != 1 or loop.starts != (ZERO,) or len(loop.stops) != 1:
            return None
        (inner,) = loop.body
        if not isinstance(inner, Loop) or not (extent := self.extents[inner.index]).is_constant:
            return None
        if (
            inner.stops[0].indices()
            or guess(cycles(inner.body, self.extents)) < LONG
            or may_be_vectors(inner.body, self.extents)
        ):
            return None
        if not self.elements.is_free(inner, inner) or extent.constant < 2:
            return None
        return inner

    def in_several(self, s: Statement) -> Statement:
        """The statement, with how small parts of what is shared may be."""
        if isinstance(s, Share):
            return replace(s, least=self._least(s))
        return replace(s, body=tuple(map(self.in_several, s.body))) if isinstance(s, Loop | Guard) else s

    def _least(self, share: Share) -> int:
        """The fewest units of a part; 0 where a thread's units are better done together.

        Of a product's rows these are some register tiles. A part of its lanes copies the rows: that is done once.
        """
        assert not any(True for _ in share.extent.fetches()), "all threads must find the same number of units"
        ends = {share.first, share.last}
        products = [s for s in statements(share.body) if isinstance(s, Multiply)]
        if any(ends & s.lanes.indices() for s in products):
            return 0
        least = ROWS if any(ends & rows.indices() for s in products for rows in s.rows) else 1
        each = tuple(s for s in share.body if not isinstance(s, Once))
        unit = guess(cycles(substituted(each, {share.first: ZERO, share.last: ONE}), self.extents))
        return max(least, PIECE // max(1, unit), share.grain)

    def _keep_apart(self, body: Iterable[Statement], statement: Statement, turn: Body) -> None:
        """What statements write and each thread can have of its own is that."""
        own = (b for b in self.elements.stored(body) if self.elements.is_own(b, statement, turn))
        self.private |= {b: self.buffers[b].elements for b in own}

    def _new(self, base: str) -> str:
        name = fresh(base, self.extents)
        self.extents[name] = ONE
        return name


def _one_if_positive(value: Int) -> Int:
    """1 for a positive number, 0 for 0."""
    return (value + (HUGE - 1)) // HUGE


def _alone(body: Body) -> Alone:
    """The statements by one thread, which does all parts of what is shared in them."""

    def change(s: Statement) -> Body:
        if isinstance(s, Share):
            inner = tuple(each for inside in s.body for each in change(inside))
            return substituted(inner, {s.first: ZERO, s.last: s.extent})
        if isinstance(s, Loop | Guard | Once):
            inner = tuple(each for inside in s.body for each in change(inside))
            return inner if isinstance(s, Once) else (replace(s, body=inner),)
        return (s,)

    return Alone(tuple(each for s in body for each in change(s)))


def _is_alone(body: Body) -> bool:
    return all(isinstance(s, Alone) for s in body)
