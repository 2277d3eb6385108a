"""What can be done in any order, and at the same time: turns of a loop that keep to elements of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from netlang.graph.constructors import negate
from netlang.graph.expression import Condition
from netlang.graph.integer import ONE, ZERO, Int, index, is_nonnegative, product
from netlang.graph.traversal import tensor_reads
from netlang.schedule.program import (
    Assign,
    Block,
    Body,
    Buffer,
    Combine,
    Dot,
    Extreme,
    Guard,
    Loop,
    Multiply,
    Nested,
    Pack,
    Search,
    Statement,
    Store,
    Tensor,
    Transform,
    Turn,
    expressions,
    places,
    statements,
)
from netlang.schedule.tiling import guess
from netlang.schedule.work import cycles

SHORT, MUCH = 16, 2048  # turns of a loop that may be written out, and cycles of what is not written out


@dataclass(frozen=True)
class Access:
    """Elements of a buffer: those from `place` on, the least of `counts`; `over` are the indices of loops around."""

    buffer: str
    place: Int
    counts: tuple[Int, ...]
    stored: bool
    over: tuple[str, ...]


class Elements:
    """Which elements the statements of a kernel touch."""

    def __init__(
        self, tensors: Mapping[str, Tensor], buffers: Mapping[str, Buffer], extents: Mapping[str, Int], body: Body
    ) -> None:
        self.tensors, self.buffers, self.extents, self.body = tensors, buffers, extents, body

    def is_free(self, loop: Loop, inner: Loop) -> bool:
        """Whether turns of the inner loop keep to elements of their own in all that the whole loop stores."""
        name, extent = inner.index, self.extents[inner.index]
        if inner.stops[0] != extent or not self._scalars_are_inside(loop, name):
            return False
        its = [s for s in statements((loop,)) if isinstance(s, Loop) and s.index == name]
        if any(s.starts != (ZERO,) and may_be_vectors(s.body, self.extents) for s in its):
            return False
        found = list(self.accesses((loop,)))
        stored = {a.buffer for a in found if a.stored}
        if any(a.stored and name not in a.over for a in found):
            return False
        steps: dict[str, Int] = {}
        for access in found:
            if access.buffer not in stored or self.is_own(access.buffer, loop, inner.body):
                continue
            step = self._step(access, name, extent)
            if step is None or steps.setdefault(access.buffer, step) != step:
                return False
        return True

    def is_own(self, buffer: str, statement: Statement, turn: Body) -> bool:
        """Whether each thread can have a buffer of its own for its turns of a statement.

        Nothing else touches it, and each turn writes it before it reads it: what it has from the turns before, or from
        a loop around, where other threads may have done them, is not wanted.
        """
        return self._is_scratch(buffer) and self.is_within(buffer, statement) and self._is_anew(buffer, turn)

    def is_within(self, buffer: str, *those: Statement) -> bool:
        """Whether nothing but these statements touches a buffer."""

        def touches(body: Body) -> bool:
            for s in body:
                if any(s is each for each in those):
                    continue
                if any(a.buffer == buffer for a in self._direct(s)) or (isinstance(s, Nested) and touches(s.body)):
                    return True
            return False

        return not touches(self.body)

    def stored(self, body: Iterable[Statement]) -> set[str]:
        """The buffers that statements write."""
        return {access.buffer for access in self.accesses(body) if access.stored}

    def _step(self, access: Access, name: str, extent: Int) -> Int | None:
        """How far a turn moves the elements, where no other turn meets them.

        The place is then `high + step * turn + low` with `0 <= low < step`, and `high` a multiple of all turns' reach.
        """
        nowhere = access.place.substitute({name: ZERO})
        step = access.place.substitute({name: ONE}) - nowhere
        if name not in access.over or access.place != nowhere + step * index(name) or step == ZERO:
            return None
        if step.indices() or any(step.fetches()):
            return None
        reach = step * extent
        high = Int({m: c for m, c in nowhere.terms if divides(reach, Int({m: c})) and Int({m: c}).indices()})
        low = (nowhere - high).bounds(self.extents)
        ends = [(nowhere - high + count).bounds(self.extents) for count in access.counts]
        is_within = any(end is not None and is_nonnegative(step - end[1]) for end in ends)
        return step if low is not None and is_nonnegative(low[0]) and is_within else None

    def _scalars_are_inside(self, loop: Loop, name: str) -> bool:
        """Whether what is named inside a loop over an index is not used outside of it, nor the other way around."""

        def check(body: Body, inside: bool, known: set[str]) -> bool:
            known = set(known)
            for s in body:
                if isinstance(s, Assign | Search):
                    if not inside:
                        return False
                    known.add(s.name)
                elif isinstance(s, Combine | Extreme) and s.name not in known:
                    return False
                elif isinstance(s, Loop | Guard):
                    within = inside or (isinstance(s, Loop) and s.index == name)
                    if not check(s.body, within, known if inside else set()):
                        return False
            return True

        return check((loop,), False, set())

    def accesses(self, body: Iterable[Statement], over: tuple[str, ...] = ()) -> Iterator[Access]:
        """What statements read and write, inside loops `over` these indices; of sums it may be more than they do."""
        for s in body:
            yield from self._direct(s, over)
            if isinstance(s, Nested):
                yield from self.accesses(s.body, (*over, s.index) if isinstance(s, Loop) else over)

    def _direct(self, s: Statement, over: tuple[str, ...] = ()) -> Iterator[Access]:
        """What a statement reads and writes by itself, without those inside it."""
        for root in expressions(s):
            yield from (self._access(t, i, False, over) for t, i in tensor_reads(root) if not self._draws(t))
        for value in places(s):
            yield from (self._access(f.tensor, f.indices, False, over) for f in value.fetches())
        if isinstance(s, Store):
            yield self._access(s.tensor, s.indices, True, over)
        elif isinstance(s, Pack) and s.at != ZERO:
            yield Access(self.tensors[s.target].buffer, s.at, (s.elements,), True, over)
        elif isinstance(s, Pack | Dot | Transform):
            yield self._whole(s.target, True, over)
        elif isinstance(s, Turn):
            yield self._whole(s.source, False, over)
            first = self._access(s.target, (s.to, ZERO), True, over)
            yield replace(first, counts=(s.lanes * self.tensors[s.target].shape[1],))
        elif isinstance(s, Multiply):
            yield self._whole(s.right.tensor, False, over)
            first, pitch = self._access(s.target, (s.first, s.to), True, over), self.tensors[s.target].shape[1]
            width = (s.lanes + (s.panel - 1)) // s.panel * s.panel
            ends = ((rows - 1) * pitch + end for rows in s.rows for end in (pitch, width))
            yield replace(first, counts=tuple(ends))

    def _access(self, tensor: str, indices: tuple[Int, ...], stored: bool, over: tuple[str, ...]) -> Access:
        found = self.tensors[tensor]
        return Access(found.buffer, found.place(indices), (ONE,), stored, over)

    def _whole(self, tensor: str, stored: bool, over: tuple[str, ...]) -> Access:
        found = self.tensors[tensor]
        return Access(found.buffer, ZERO, (product(found.shape),), stored, over)

    def _draws(self, tensor: str) -> bool:
        return bool(self.tensors[tensor].draws)

    def _is_scratch(self, buffer: str) -> bool:
        return self.buffers[buffer].kind == "scratch"

    def _is_anew(self, buffer: str, body: Body) -> bool:
        """Whether statements read nothing of a buffer that was there before them."""

        def written(body: Body, begun: Mapping[str, Int]) -> bool | None:
            """Whether they overwrite it first, None where they may not touch it.

            What is done under a condition may not be done, unless what comes next is done where it is not met.
            """
            unless: Condition | None = None
            for s in body:
                touched = [a.stored for a in self._direct(s) if a.buffer == buffer]
                if touched:
                    adds = isinstance(s, Multiply) and s.start.substitute(begun) != ZERO
                    adds = adds or (isinstance(s, Store) and bool(s.op))
                    first: bool | None = all(touched) and not adds
                elif isinstance(s, Nested):
                    starts = {s.index: ZERO} if isinstance(s, Loop) and s.starts == (ZERO,) else {}
                    first = written(s.body, {**begun, **starts})
                else:
                    first = None
                if first and isinstance(s, Guard) and s.condition != unless:
                    first, unless = None, negate(s.condition)
                if first is not None:
                    return first
            return None

        return written(body, {}) is not False


def may_be_vectors(body: Body, extents: Mapping[str, Int]) -> bool:
    """Whether an optimizer may write out all loops of a turn's sums, and compute several turns in a vector.

    It may add in another order there than in what is left of a run, or in a short one. So that this does not depend
    on the number of threads, no vector must be split, and no part be short.
    """
    inside = list(statements(body))
    if any(isinstance(s, Block) for s in inside) or not any(isinstance(s, Combine) for s in inside):
        return False
    ends = [loop.stops for loop in inside if isinstance(loop, Loop)]
    are_short = all(any(stop.is_constant and stop.constant <= SHORT for stop in stops) for stops in ends)
    return are_short and guess(cycles(body, extents)) < MUCH


def divides(divisor: Int, value: Int) -> bool:
    """Whether a term is a multiple of another."""
    if len(divisor.terms) != 1 or len(value.terms) != 1:
        return False
    (atoms, c), (others, d) = divisor.terms[0], value.terms[0]
    rest = list(others)
    for atom in atoms:
        if atom not in rest:
            return False
        rest.remove(atom)
    return d % c == 0
