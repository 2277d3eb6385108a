"""Many runs of a program in one call: a loop in native code, which also copies the examples of each batch together.

The loop is a generated module like others, and one for all programs: what it is to do is in a table, the *plan*. Every
thread of a run goes through it with a table of numbers of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.targets.cpu.address import address
from netlang.targets.cpu.native import Entry, compile_module

Array = npt.NDArray[Any]

COPIES = (("f32", "f32"), ("f64", "f64"), ("i64", "i64"), ("i32", "i64"), ("u16", "i64"), ("u8", "i64"))
"""Types of examples, and of the batches that they are copied to."""

GATHER = """
def gather_{source}(rows: i64, width: i64, order: i64[:], source: {source}[:], target: {target}[:], team: i64[:]):
    while another(team, 0, order, source, target):
        first = share(rows, 1, team, 0)
        last = share(rows, 1, team, 1)
        for r in range(first, last):
            for k in range(width):
                target[r * width + k] = source[order[r] * width + k]
"""

EPOCH = """
def tick(step: i64, clock: real[:], team: i64[:]):
    while alone(team, clock):
        clock[0] = real(step)


def note(count: i64, plan: i64[:], first: i64, losses: real[:], team: i64[:]):
    while alone(team, losses):
        for j in range(count):
            losses[j] = real(plan, first + j)[0]


def epoch(plan, sizes):
    rows = plan[{rows}]
    keys = plan[{keys}]
    losses = plan[{losses}]
    columns = plan[{columns}]
    for s in range(plan[{steps}]):
        for j in range(keys):
            sizes[i64(plan, {key_slots})[j]] = i64(plan, {each_key})[s * keys + j]
        if plan[{clock}] != 0:
            tick(plan[{first_step}] + s, real(plan, {clock}), sizes)
        for c in range(columns):
            at = {rest} + 4 * c
{gathers}        invoke(plan[{run}], i64(plan, {memory}), sizes)
        note(losses, plan, {rest} + 4 * columns, offset(real(plan, {record}), s * losses), sizes)
"""

CALL = """\
            if plan[at] == {kind}:
                order = offset(i64(plan, {order}), s * rows)
                gather_{source}(rows, plan[at + 1], order, {source}(plan, at + 2), {target}(plan, at + 3), sizes)
"""

PLAN = (
    *("steps", "rows", "order", "record", "losses", "each_key", "keys", "key_slots"),
    *("clock", "first_step", "run", "memory", "columns", "rest"),
)
"""What a plan begins with: numbers, and the addresses of what is not one. The columns come then, four words each: how
they are copied, the elements of an example, where the examples and the batch are; and where the losses are."""


def text() -> str:
    """The module: `epoch` does the steps of a plan (see `plan`)."""
    slots = {name: k for k, name in enumerate(PLAN)}
    kinds = [{"kind": k, "source": source, "target": target, **slots} for k, (source, target) in enumerate(COPIES)]
    gathers = "".join(CALL.format(**kind) for kind in kinds)
    return "\n".join([*(GATHER.format(**kind) for kind in kinds), EPOCH.format(gathers=gathers, **slots)])


@cache
def entry(dtype: np.dtype[Any]) -> Entry:
    return compile_module(text(), ["epoch"], dtype=dtype).entry("epoch")


def kind_of(examples: Array) -> int | None:
    """How examples are copied to batches; None where they cannot be."""
    name = f"{examples.dtype.kind}{8 * examples.dtype.itemsize}"
    found = [k for k, (source, _) in enumerate(COPIES) if source == name]
    return found[0] if found and examples.dtype.isnative and examples.flags.c_contiguous else None


def plan(
    count: int,
    order: Array,
    columns: Sequence[tuple[Array, Array]],
    keys: tuple[Array, Array],
    clock: tuple[Array, int] | None,
    losses: Sequence[Array],
    record: Array,
    run: tuple[int, Array],
) -> Array:
    """The table of `count` steps, all of whose arrays must live as long as it is used.

    A step copies the next rows of each of the `columns`, from all examples to a batch, in `order`; takes its row of
    `keys` into the thread's slots for them; says in the `clock` which step it is, the first being the given one; runs
    the program, by its address and its table; and notes the `losses` in its row of the `record`.
    """
    first = {
        "steps": count,
        "rows": len(order) // count,
        "order": address(order),
        "record": address(record),
        "losses": len(losses),
        "each_key": address(keys[0]),
        "keys": len(keys[1]),
        "key_slots": address(keys[1]),
        "clock": 0 if clock is None else address(clock[0]),
        "first_step": 0 if clock is None else clock[1],
        "run": run[0],
        "memory": address(run[1]),
        "columns": len(columns),
    }
    words = [first[name] for name in PLAN[:-1]]
    for source, target in columns:
        kind = kind_of(source)
        assert kind is not None
        words += [kind, target[0].size, address(source), address(target)]
    return np.array([*words, *map(address, losses)], np.int64)
