"""Where temporaries lie: one arena, intervals of kernels, and places that are taken over or used again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from netlang.graph.integer import ZERO
from netlang.schedule.program import Buffer, Kernel, Program, Tensor, accesses

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True)
class Plan:
    """Byte offsets of buffers in memory of `bytes`, for given run-time sizes."""

    offsets: Mapping[str, int]
    bytes: int


def crossing(
    buffers: Mapping[str, Buffer], tensors: Mapping[str, Tensor], prepared: Sequence[Kernel], kernels: Sequence[Kernel]
) -> dict[str, Buffer]:
    """The buffers, those kept that are filled by the prepared kernels and read by the others, and no more."""
    filled = {tensors[t].buffer for k in prepared for t, _, stored in accesses(k.body) if stored}
    read = {tensors[t].buffer for k in kernels for t, _, _ in accesses(k.body)}

    def kind(b: Buffer) -> str:
        if b.kind not in ("temporary", "kept"):
            return b.kind
        return "kept" if b.name in filled & read else "temporary"

    return {name: replace(b, kind=kind(b)) for name, b in buffers.items()}


def lifetimes(
    buffers: Mapping[str, Buffer], tensors: Mapping[str, Tensor], kernels: Sequence[Kernel]
) -> dict[str, Buffer]:
    """The buffers with `first`, `last` and `slot` set, by what the kernels touch.

    A buffer takes the slot of one that is read for the last time where this one is first stored, if the kernel reads
    the old one only at the place that it stores, and both have as many elements of one type.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    touched: list[dict[str, None]] = []
    for k, kernel in enumerate(kernels):
        names = dict.fromkeys(tensors[t].buffer for t, _, _ in accesses(kernel.body) if not tensors[t].draws)
        touched.append(names)
        for name in names:
            first.setdefault(name, k)
            last[name] = k
    slots: dict[str, str] = {}
    for k, kernel in enumerate(kernels):
        ending = [b for b in touched[k] if _dies(buffers[b], last, k) and first[b] < k and b in kernel.same_place]
        for name in touched[k]:
            new = buffers[name]
            if new.kind != "temporary" or first[name] != k:
                continue
            for old in ending:
                if buffers[old].elements == new.elements and buffers[old].dtype == new.dtype:
                    slots[name] = slots.get(old, old)
                    ending.remove(old)
                    break
    return {
        name: replace(b, first=first.get(name, 0), last=last.get(name, 0), slot=slots.get(name, name))
        for name, b in buffers.items()
    }


def _dies(buffer: Buffer, last: Mapping[str, int], k: int) -> bool:
    return buffer.kind == "temporary" and last[buffer.name] == k


def plan(program: Program, sizes: Mapping[str, int], itemsize: int = 4, threads: int = 1) -> Plan:
    """Assign offsets for run-time `sizes` and that many threads; a real takes `itemsize` bytes.

    Largest first, each at the lowest offset that is free for its whole life (greedy by size, the method of Pisarchyk
    and Lee 2020, "Efficient memory management for deep neural net inference").
    """
    slots: dict[str, tuple[int, int, int]] = {}
    for buffer in program.temporaries:
        others = ZERO if buffer.apart is None else buffer.apart * (threads - 1)
        count = (buffer.elements + others).evaluate(sizes) * buffer.itemsize(itemsize)
        start, end, size = slots.get(buffer.slot, (buffer.first, buffer.last, 0))
        slots[buffer.slot] = min(start, buffer.first), max(end, buffer.last), max(size, _aligned(count))
    placed: list[tuple[int, int, int, int]] = []  # offset, size, start, end
    offsets: dict[str, int] = {}
    for slot, (start, end, size) in sorted(slots.items(), key=lambda item: (-item[1][2], item[1][0])):
        offset = _gap(((o, o + n) for o, n, s, e in placed if s <= end and start <= e), size)
        offsets[slot] = offset
        placed.append((offset, size, start, end))
    total = max((o + n for o, n, _, _ in placed), default=0)
    return Plan(MappingProxyType({b.name: offsets[b.slot] for b in program.temporaries}), total)


def plan_kept(program: Program, itemsize: int = 4) -> Plan:
    """Assign offsets to what is kept from run to run, in memory of its own."""
    offsets: dict[str, int] = {}
    total = 0
    for buffer in program.of_kind("kept"):
        offsets[buffer.name] = total
        total += _aligned(buffer.elements.constant * buffer.itemsize(itemsize))
    return Plan(MappingProxyType(offsets), total)


def _gap(taken: Iterable[tuple[int, int]], size: int) -> int:
    """The start of the smallest gap that holds `size` bytes, else the end of all."""
    best, best_gap, reached = None, 0, 0
    for start, end in sorted(taken):
        gap = start - reached
        if gap >= size and (best is None or gap < best_gap):
            best, best_gap = reached, gap
        reached = max(reached, end)
    return reached if best is None else best


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT
