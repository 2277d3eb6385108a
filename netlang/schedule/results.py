"""Sums of products that nothing follows on: tiles store them where the result lies, not in a matrix of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from netlang.graph.integer import ONE, ZERO, Int, place_in, product, reduce_ranges
from netlang.schedule.order import Group
from netlang.schedule.program import LANES, Tensor
from netlang.schedule.tiling import NEAR, Tiling


@dataclass(frozen=True)
class Result:
    """A result as a matrix, and the row and the lane in it at which the sums begin, which loops around may move."""

    matrix: Tensor
    row: Int
    lane: Int


def result(group: Group, tiled: Tiling, tensors: Mapping[str, Tensor], stored: Collection[str]) -> Result | None:
    """Where a group's sums go as they are: in full vectors, row by row; None where they do not."""
    lanes, name = tiled.lanes.extent, group.members[0].name
    if len(group.members) > 1 or name not in stored or group.accumulates or tensors[name].passing >= 0:
        return None
    if not tiled.panel or tiled.conditions or tiled.spread or tiled.is_gathered:
        return None
    if not lanes.is_constant or lanes.constant % LANES:
        return None
    nowhere = dict.fromkeys((*tiled.rows.names, *tiled.lanes.names), ZERO)
    place = tensors[name].place(group.places)
    first = place.substitute(nowhere)
    last_row = dict.fromkeys(tiled.rows.names[-1:], ONE)
    pitch = place.substitute(nowhere | last_row) - first if last_row else lanes
    if place != first + place_in(tiled.rows.ranges) * pitch + place_in(tiled.lanes.ranges):
        return None
    if not pitch.is_constant or pitch.constant < lanes.constant:
        return None
    if pitch.constant % NEAR == 0 and not tiled.is_of_patches:  # all rows of a tile would compete for places in a cache
        return None
    ends_within = lanes.constant % tiled.panel != 0
    if ends_within and (tiled.by_lanes or pitch.constant >= tiled.pitch.constant):
        return None  # of few rows, `Multiply` would fill the last panel with what is not theirs
    rows = product(tensors[name].shape) // pitch.constant
    matrix = replace(tensors[name], shape=(rows, pitch))
    row, lane = (reduce_ranges(n, dict(group.ranges)) for n in (first // pitch.constant, first % pitch.constant))
    return Result(matrix, row, lane)
