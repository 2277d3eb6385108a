"""How much work statements are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netlang.graph.constructors import negate
from netlang.graph.integer import ONE, ZERO, Int, product
from netlang.schedule.program import Alone, Dot, Guard, Loop, Multiply, Once, Pack, Share, Statement, Transform, Turn


def cycles(body: Iterable[Statement], extents: Mapping[str, Int]) -> Int:
    """The cycles that they take on one thread, roughly, for vectors of 16 lanes; `extents` are those of the loops."""
    total = ZERO
    before: Statement | None = None
    for s in body:
        otherwise = isinstance(before, Guard) and isinstance(s, Guard) and negate(before.condition) == s.condition
        before = s
        if otherwise:  # the plain way, for few rows or lanes
            continue
        if isinstance(s, Loop):
            total += extents[s.index] * cycles(s.body, extents).substitute({s.index: ZERO})
        elif isinstance(s, Share):
            total += cycles(s.body, extents).substitute({s.first: ZERO, s.last: s.extent})
        elif isinstance(s, Guard | Once | Alone):
            total += cycles(s.body, extents)
        elif isinstance(s, Multiply):
            turns = product(step.counts[0] for step in s.steps)
            # of blocks of rows whose number is known at run time only, all that there may be
            rows = s.rows[0] if _at_start(s.rows[-1]).is_constant else s.rows[-1]
            total += rows * turns * ((s.lanes + (s.panel - 1)) // s.panel) * s.panel // 32
        elif isinstance(s, Dot):
            total += s.rows * s.lanes * product(step.counts[0] for step in s.steps) // 8
        elif isinstance(s, Turn):
            total += s.rows[0] * s.lanes // 4
        elif isinstance(s, Transform):
            total += s.lanes[0] * sum(rows * columns for rows, columns in s.sizes) // 8
        elif isinstance(s, Pack):
            total += s.lanes[0] * product(step.counts[0] for step in s.steps) // 2
        else:
            total += ONE
    return total


def _at_start(value: Int) -> Int:
    """A value in the first turn of all loops."""
    return value.substitute(dict.fromkeys(value.indices(), ZERO))
