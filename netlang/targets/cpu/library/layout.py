"""Where things lie: the values of a net in one block, which is a struct of C, and temporaries in a workspace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from netlang.graph.integer import Int, integer
from netlang.schedule.memory import ALIGNMENT, plan
from netlang.schedule.program import Buffer, Program


@dataclass(frozen=True)
class Field:
    """A tensor in a block: its name in the net and in C, its kind (param or state), and its offset in bytes."""

    name: str
    identifier: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


@dataclass(frozen=True)
class Block:
    """The fields of a struct after `start` bytes of others, each on a cache line of its own; `bytes` is all of it."""

    start: int
    fields: tuple[Field, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        return {f.name: f for f in self.fields}

    @property
    def bytes(self) -> int:
        end = max((f.offset + f.bytes for f in self.fields), default=self.start)
        return max(ALIGNMENT, aligned(end))


def block(
    tensors: Iterable[tuple[str, str, str, tuple[int, ...]]],
    identifiers: Mapping[str, str],
    itemsize: int,
    start: int = 0,
) -> Block:
    """A block of tensors, each given as name, kind, dtype (real or int) and shape."""
    fields: list[Field] = []
    offset = aligned(start)
    for name, kind, dtype, shape in tensors:
        size = math.prod(shape) * (8 if dtype == "int" else itemsize)
        fields.append(Field(name, identifiers[name], kind, dtype, shape, offset, size))
        offset = aligned(offset + size)
    return Block(start, tuple(fields))


def aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


# --- the workspace -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """Temporaries whose sizes are multiples of one `unit`, an expression in run-time sizes.

    A region takes `bytes * unit`, rounded up to a cache line, and `lines` cache lines more. `places` has the offset of
    each temporary in the same form: bytes for each unit, and lines.
    """

    unit: Int
    bytes: int
    lines: int
    places: Mapping[str, tuple[int, int]]


REFERENCE = 64  # a unit of this many, so that every coefficient is a whole number of cache lines


def regions(program: Program, itemsize: int) -> tuple[Region, ...]:
    """The temporaries of a program by the unit of their size: for any sizes, those that live together lie apart.

    What begins at `a` and ends where another begins, at `b`, per unit, ends before the other once both beginnings are
    rounded up to a cache line, if the other lies a line further for each beginning below it.
    """
    units: dict[Int, dict[str, Buffer]] = {}
    for buffer in program.temporaries:
        factor = math.gcd(*(c for _, c in buffer.elements.terms)) or 1
        unit = Int({m: c // factor for m, c in buffer.elements.terms})
        if unit.is_constant:
            unit, factor = integer(1), buffer.elements.constant
        units.setdefault(unit, {})[buffer.name] = replace(buffer, shape=(integer(factor * REFERENCE),))
    found = []
    for unit, buffers in units.items():
        placed = plan(replace(program, buffers=MappingProxyType(buffers)), {}, itemsize)
        lines = {offset: k for k, offset in enumerate(sorted(set(placed.offsets.values())))}
        places = {name: (offset // REFERENCE, lines[offset]) for name, offset in placed.offsets.items()}
        found.append(Region(unit, placed.bytes // REFERENCE, len(lines), MappingProxyType(places)))
    return tuple(found)
