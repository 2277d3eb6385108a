"""The cycles that a tiling takes for a product, as a model of a processor with vectors of 16 lanes says them."""

from __future__ import annotations

import math

from netlang.graph.constructors import at_least_zero
from netlang.graph.expression import FALSE, TRUE, Condition
from netlang.graph.integer import ONE, product
from netlang.schedule.order import Group
from netlang.schedule.program import LANES, NARROW
from netlang.schedule.tiling import (
    CHUNK,
    COPIED,
    NEAR,
    PAGE,
    ROWS,
    TYPICAL,
    Tiling,
    guess,
    last_tiled,
    moved_into,
    number,
)

CACHED = 2**18  # elements of panels that stay in a cache
UNSURE = 2.0  # how much better a tiling must be that takes rows or lanes of which there may be few
RUN = 4  # cycles that a tile takes for a run of its innermost loop besides the turns
WORTH = 2**17  # cycles that a way of its own must save at least
PATCHED = 1.0  # cycles to copy an element of a patch


def cost(t: Tiling, group: Group) -> float:
    """Cycles for a product, for vectors of 16 lanes: with the copies into panels, and the group's own loops."""
    rows, lanes = number(t.together), number(t.lanes.extent)
    turns = math.prod(min(map(number, step.counts)) for step in t.steps)
    around = math.prod(number(e) for _, e in (*t.packed, *t.apart))
    packs = math.prod(number(e) for _, e in t.packed)
    panels = math.ceil(lanes / t.panel)
    last_step = moved_into(t.panel, [(step.counts, step.right) for step in t.steps])[-1]
    beside = t.lanes.step == ONE or (last_step.right == ONE and min(map(number, last_step.counts)) >= LANES)
    each = PATCHED if t.is_of_patches else 1.5 if not beside else 0.3 if lanes * turns < COPIED else 1.0
    copied = lanes * turns * each
    if t.is_kept or t.is_direct:
        copied = 0.0
    elif t.is_hoisted(group):
        copied /= TYPICAL
    run = max((min(LANES, *map(number, s.counts)) for s in t.steps if abs(guess(s.left)) == 1), default=1)
    beside_rows = min(LANES, rows) if guess(t.rows.step) == 1 else 1
    far = rows * turns / max(run, beside_rows) / 2  # cache lines of the left factor
    if t.is_copied:
        near: float = 0.3 if around * rows * turns < COPIED else 1.0
        far += (
            rows * turns * (near if max(run, beside_rows) == LANES else 2 * near if max(run, beside_rows) > 1 else 1.5)
        )
        far += 100 * len(t.spread)
    elif _is_far(t):
        far += (0.2 if min(rows, ROWS) * turns <= COPIED else 0.8) * panels * rows * turns
    elif abs(guess(t.steps[-1].left)) != 1 and beside_rows == 1:
        far += 0.02 * panels * rows * turns  # another line at every turn
    at_once = lanes * (CHUNK if t.is_deep else turns)
    streamed = lanes * turns / LANES * (4.0 if at_once > CACHED else 0.5)  # cache lines of the panels
    stored = rows * lanes * _stored(t, group)
    cycles = around * (_products(t, rows) + far + streamed + stored + 40) + packs * (copied + 40)
    is_sure = are_many(t)
    return cycles / (around * rows * lanes * turns) * (1 if is_sure else UNSURE)


def cost_in_place(t: Tiling) -> float:
    """Cycles for a product of one row."""
    lanes = number(t.lanes.extent)
    turns = math.prod(min(map(number, step.counts)) for step in t.steps)
    if t.lanes.step == ONE:
        cycles: float = turns * (math.ceil(lanes / LANES) + 3) + lanes
    else:
        run = min(map(number, t.steps[-1].counts))
        cycles = lanes * (turns / run * (math.ceil(run / LANES) + 2) + 5)
    return (cycles + 40) / (lanes * turns)


def few_turns(t: Tiling, other: Tiling, group: Group) -> Condition:
    """Whether the steps take so few turns that a tiling costs less than another one, which stores sums more slowly.

    What a sum costs, to store it, is a smaller part of its products the more turns it has; the rest is as the typical
    sizes have it. Two ways are worth the code where they make much of a difference for one example.
    """
    turns = product(step.counts[0] for step in t.steps)
    saved = _stored(other, group) - _stored(t, group)
    more = t.cost - other.cost + saved / guess(turns)
    if more <= 0:
        return TRUE
    gain = (saved - more * guess(turns, 1)) * number(t.rows.extent) * number(t.lanes.extent)
    return at_least_zero(int(saved / more) - turns) if gain >= WORTH else FALSE


def are_many(t: Tiling) -> bool:
    """Whether there are rows and lanes enough, or as many as one knows of, whatever the sizes at run time are."""
    return all(e.is_constant or guess(e, 1) >= LANES for e in (t.rows.extent, t.lanes.extent))


def _products(t: Tiling, rows: int) -> float:
    """The cycles of the products of so many rows: for each tile its turns, runs of the innermost loop, and stores."""
    tiles = math.ceil(rows / t.height)
    low, higher = divmod(rows, tiles)
    turns = math.prod(min(map(number, step.counts)) for step in t.steps)
    run = min(map(number, t.steps[-1].counts))
    rest = t.rest.constant
    full, last = divmod(number(t.lanes.extent) - rest, t.panel)
    total = 0.0
    for height, count in ((low + 1, higher), (low, tiles - higher)):
        for vectors, panels in ((t.panel // LANES, full), (math.ceil(last / LANES), min(last, 1))):
            tile = turns * _turn(height, vectors) + turns / run * RUN + 2 * height * vectors + 10
            total += count * panels * tile
        if rest:
            together = turns / run * math.ceil(run * NARROW / LANES)  # vectors, of several turns each
            total += count * (together * (0.75 * height + 1) + turns / run * RUN + 5 * height + 10)
    return total


def _turn(height: int, vectors: int) -> float:
    """The cycles of a tile for a turn: half of one an operation, a little more a load, four to wait for a sum."""
    return max(height * vectors / 2, height * 0.55 + vectors / 2, 4.0)


def _stored(t: Tiling, group: Group) -> float:
    """The cycles to store a sum: neighbours of a row, neighbours of a column, which are turned, or none."""
    last = last_tiled(t, group)
    if t.is_gathered:
        return 1.5
    if not last or last[0] in t.lanes.names or not t.lanes.names:
        return 0.3
    return 0.6 if last[0] in t.rows.names else 5.0


def _is_far(t: Tiling) -> bool:
    """Whether what a tile reads of the left factor is so far apart, or at such distances, that caches serve it badly.

    Lines at a distance of a power of two compete for few places in a cache, and neighbours on other pages come late.
    """
    row, step = abs(guess(t.rows.step)), min(abs(guess(s.left)) for s in t.steps)
    return row % NEAR == 0 or step >= PAGE
