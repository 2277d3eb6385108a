"""What a tiling of a sum of products is: its rows, lanes and steps, and the sizes of what is worked on together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from netlang.graph.expression import TRUE, Condition, Read
from netlang.graph.integer import ONE, ZERO, Index, Int, Size, integer, product
from netlang.graph.traversal import free_indices
from netlang.schedule.order import Group, Ranges
from netlang.schedule.program import LANES, SUMS, Step

TYPICAL = 64  # what a size that is known at run time only is taken to be
DEEP = 4096  # more turns of the steps than this are taken in chunks
CHUNK = 512  # of about so many turns
ROWS, SCRATCH = 112, 2**16  # at most so many rows in a block, and elements in its scratch matrix
NEAR_SUMS = 2**14  # elements of a scratch matrix that stay in the nearest caches
LEFT = 2**16  # elements at most of a block of rows of the left factor, where sums go to the result
COPIED = 2**17  # elements at most of a block of rows that is copied
NEAR = 512  # elements: what is a multiple of it apart competes for places in a cache
PAGE = 512  # elements: what is as far apart is on other pages
SHARED = 4  # panels that threads may share


@dataclass(frozen=True)
class Axis:
    """Indices that move as one through a factor: its place is their row-major place times `step`.

    Where they do not, as those of a patch of an image, `moves` is how far each of them moves, and `step` the last one.
    """

    ranges: tuple[tuple[str, Int], ...]
    step: Int
    moves: tuple[Int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.ranges)

    @property
    def extent(self) -> Int:
        return product(extent for _, extent in self.ranges)


@dataclass(frozen=True)
class Tiling:
    """How a group's contraction is tiled.

    `outer` are the indices of the loops around it, of which `packed` are those that the right factor depends on.
    `conditions` are those without which the sum is zero; they depend on no index that is tiled. `panel` is how many
    lanes go into a panel, 0 where the factors are read in place. Where it `is_narrow`, the lanes beyond the last full
    vector go into a narrow panel. Where it `is_gathered`, neighbours in memory are along the loops `around`, and
    their sums are stored together. Where it `is_copied`, blocks of rows of the left factor are copied side by side, as
    the lanes of the right one. Where it `is_kept`, the panels of the right factor are there from run to run. Where it
    `is_direct`, there are none: the right factor is read where it is. Where `is_final`, sums are stored where the
    result lies. It is good where `enough` holds, and takes about `cost` cycles for a product.
    """

    left: Read
    right: Read
    outer: Ranges
    packed: Ranges
    rows: Axis
    lanes: Axis
    steps: tuple[Step, ...]
    conditions: tuple[Condition, ...]
    panel: int = 0
    is_narrow: bool = False
    is_gathered: bool = False
    is_copied: bool = False
    is_kept: bool = False
    is_direct: bool = False
    is_final: bool = field(default=False, compare=False)
    enough: Condition = TRUE
    cost: float = field(default=0.0, compare=False)

    @property
    def is_deep(self) -> bool:
        """Whether the steps take so many turns, or one does not know how many, that they are taken in chunks."""
        turns = product(step.counts[0] for step in self.steps)
        return not turns.is_constant or turns.constant > DEEP

    def is_hoisted(self, group: Group) -> bool:
        """Whether one copy of the right factor serves all times of the recurrence that the group is in."""
        return bool(group.fixed) and not self.packed and not free_indices(self.right) & set(group.fixed)

    @property
    def turn(self) -> Int:
        """How far each turn of the steps moves in the right factor, where that is not in panels; else 0."""
        if self.is_of_patches:
            pitch = round_up(self.lanes.extent, self.panel)
            return pitch + LANES if pitch.constant % NEAR == 0 else pitch
        return self._turns[0].right if self.is_direct else ZERO

    @property
    def is_of_patches(self) -> bool:
        """Whether the lanes of each turn are copied side by side, as they do not move as one."""
        return bool(self.lanes.moves)

    @property
    def can_be_direct(self) -> bool:
        """Whether lanes, which fill vectors, lie side by side in the right factor, and turns at one distance, at which
        they do not compete for places in a cache."""
        lanes = self.lanes.extent
        if self.is_of_patches or self.lanes.step != ONE or len(self._turns) != 1:
            return False
        if not lanes.is_constant or lanes.constant % LANES:
            return False
        turn = self._turns[0].right
        return turn.is_constant and turn.constant % NEAR != 0

    @property
    def _turns(self) -> tuple[Step, ...]:
        """The steps, those that move as one through the right factor as one."""
        return merged([replace(step, left=step.right) for step in self.steps])

    @property
    def chunk(self) -> Int:
        """How many turns of the first step make a chunk."""
        count = self.steps[0].counts[0]
        if not self.is_deep:
            return count
        inner = math.prod(number(step.counts[0]) for step in self.steps[1:])
        return integer(CHUNK // inner + 1)  # not a power of two, so that few sums end with a chunk of nothing

    @property
    def pitch(self) -> Int:
        """The lanes of full panels, or of full vectors."""
        return round_up(self.lanes.extent, self.panel or LANES)

    @property
    def rest(self) -> Int:
        """The lanes that go into a narrow panel, behind the others."""
        return self.lanes.extent % LANES if self.is_narrow else ZERO

    @property
    def by_lanes(self) -> bool:
        """Whether threads share the lanes, so that each reads panels of its own: where these are more than the rows."""
        if not self.is_kept or self.packed or self.is_gathered or self.is_narrow:
            return False
        rows = guess(self.rows.extent * product(extent for _, extent in self.around), 1)
        return self.lanes.extent.constant >= max(rows, SHARED * self.panel)

    @property
    def around(self) -> Ranges:
        """The outer indices that the right factor does not depend on."""
        return [r for r in self.outer if r not in self.packed]

    @property
    def spread(self) -> Ranges:
        """The innermost loops around it whose rows are copied together, where one turn has few of them."""
        rows, out = self.rows.extent, Ranges()
        for name, extent in reversed(self.around if self.is_copied and not self.is_gathered else []):
            rows = rows * extent
            if not rows.is_constant or rows.constant > ROWS:
                break
            out.insert(0, (name, extent))
        return out

    @property
    def apart(self) -> Ranges:
        """The other loops around it."""
        return self.around[: len(self.around) - len(self.spread)]

    @property
    def together(self) -> Int:
        """The rows of all turns of the loops that it is spread over."""
        return self.rows.extent * product(extent for _, extent in self.spread)

    @property
    def block(self) -> Int:
        """How many rows are worked on together: all, where the steps are taken in chunks."""
        rows = self.together
        if not self.panel:
            return rows
        if self.is_deep:
            return rows * product(extent for _, extent in self.apart)
        if self.spread:
            return rows
        turns = math.prod(number(step.counts[0]) for step in self.steps)
        together = number(self.pitch * (product(extent for _, extent in self.around) if self.is_gathered else ONE))
        most = LEFT // turns if self.is_final else min(ROWS, SCRATCH // together)
        if self.is_copied:
            most = min(most, ROWS, COPIED // turns)
        most = max(self.height, most // self.height * self.height)
        return rows if rows.is_constant and rows.constant <= most else integer(most)

    @property
    def near(self) -> Int:
        """How many rows have sums that stay in the nearest caches; all rows are that many, but for a few."""
        rows, most = self.rows.extent, max(1, NEAR_SUMS // number(self.pitch) // self.height) * self.height
        if not rows.is_constant:
            return integer(min(ROWS, most))
        blocks = math.ceil(rows.constant / min(ROWS, most))
        return integer(math.ceil(rows.constant / blocks))

    @property
    def height(self) -> int:
        """The most rows of a register tile."""
        return SUMS * LANES // self.panel


def round_up(extent: Int, unit: int) -> Int:
    """The least multiple of the unit that is not below the extent."""
    return (extent + (unit - 1)) // unit * unit


def merged(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, neighbours that move as one through both factors as one step."""
    out: list[Step] = []
    for step in reversed(steps):
        if out and len(out[-1].counts) == 1:
            (count,) = out[-1].counts
            if step.left == out[-1].left * count and step.right == out[-1].right * count:
                out[-1] = Step(tuple(n * count for n in step.counts), out[-1].left, out[-1].right)
                continue
        out.append(step)
    return tuple(reversed(out))


def in_panels(panel: int, counts: Sequence[tuple[Int, ...]]) -> list[Step]:
    """Steps, given by their counts, through what has been copied into panels."""
    out: list[Step] = []
    distance = integer(panel)
    for each in reversed(counts):
        out.append(Step(each, distance, distance))
        distance = distance * each[0]
    return out[::-1]


def moved_into(panel: int, steps: Sequence[tuple[tuple[Int, ...], Int]]) -> tuple[Step, ...]:
    """The steps of a copy into panels, given by their counts and how far each moves in the source."""
    targets = in_panels(panel, [counts for counts, _ in steps])
    moves = [replace(step, right=move) for step, (_, move) in zip(targets, steps, strict=True)]
    return merged(sorted(moves, key=lambda step: -abs(guess(step.right))))


def last_tiled(t: Tiling, group: Group) -> tuple[str, ...]:
    """The last index of the group, but for those that sums are gathered along."""
    return tuple(i for i in group.indices if not (t.is_gathered and i in dict(t.around)))[-1:]


def is_size(extent: Int) -> bool:
    """Whether an extent is known before the program runs, and not read from a tensor."""
    return not any(extent.fetches()) and not extent.indices()


def guess(value: Int, typical: int = TYPICAL) -> int:
    """A value with every run-time size, and every index of a loop around it, typical."""
    return value.rewrite(lambda atom: integer(typical) if isinstance(atom, Size | Index) else None).constant


def number(value: Int) -> int:
    """A typical count of turns, at least one."""
    return max(1, guess(value))
