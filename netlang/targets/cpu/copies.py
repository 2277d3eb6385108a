"""Copies as LLVM code: factors into panels, and matrices that are turned, by squares in registers."""

from __future__ import annotations

from typing import Any

from numba.core.cgutils import for_range

from netlang.targets.cpu.vectors import I64, Writer


def pack(w: Writer, symbol: str) -> None:
    """`target[(p * k + s) * panel + l] = source[(panel * p + l) * lane + ...]`: panels of lanes, side by side.

    `lanes` is how many there are, `lane` how far apart in the source, `s` counts the k turns of the summed loops. Each
    of these is a count, and how far it moves in the target and in the source; they may be in any order. Lanes of the
    last panel beyond `lanes` are left as they are.
    """
    function, b = w.function(symbol, [w.pointer, w.pointer, I64, I64, I64, *[I64] * (3 * w.levels)], shown=True)
    target, source, panel, lanes, lane, *steps = function.args
    *outer, inner, move, inner_step = steps
    turns = inner
    for count in outer[::3]:
        turns = b.mul(turns, count)
    unit = I64(1)
    beside, turned = b.icmp_signed("==", lane, unit), b.icmp_signed("==", inner_step, unit)
    vector = I64(w.width)
    with for_range(b, w.rounded_up(b, lanes, panel)) as p:
        first = b.mul(p.index, panel)
        here = w.least(b, panel, b.sub(lanes, first))

        def run(pointers: Any) -> None:
            """One run of the innermost loop."""
            run_target, run_source = pointers
            with b.if_else(beside) as (rows, others):
                with rows, for_range(b, w.rounded_up(b, here, vector)) as block:
                    column = b.mul(block.index, vector)
                    arguments = [b.gep(run_target, [column]), move, b.gep(run_source, [column]), inner_step]
                    b.call(_column(w), [*arguments, inner, b.sub(here, column)])
                with others, b.if_else(turned) as (squares, elements):
                    with squares, for_range(b, w.rounded_up(b, here, vector)) as block:
                        column = b.mul(block.index, vector)
                        corner = b.gep(run_source, [b.mul(column, lane)])
                        arguments = [b.gep(run_target, [column]), move, corner, lane]
                        b.call(_squares(w), [*arguments, b.sub(here, column), inner])
                    with elements, for_range(b, inner) as k, for_range(b, here) as column:
                        distance = b.add(b.mul(k.index, inner_step), b.mul(column.index, lane))
                        value = b.load(b.gep(run_source, [distance]))
                        b.store(value, b.gep(run_target, [b.add(b.mul(k.index, move), column.index)]))

        w.summed(b, [b.gep(target, [b.mul(first, turns)]), b.gep(source, [b.mul(first, lane)])], outer, run)
    b.ret_void()


def turn(w: Writer, symbol: str) -> None:
    """`target[c * target_pitch + r] = source[r * pitch + c]` for r < rows and c < columns."""
    function, b = w.function(symbol, [w.pointer, I64, w.pointer, I64, I64, I64], shown=True)
    target, target_pitch, source, pitch, rows, columns = function.args
    vector = I64(w.width)
    with for_range(b, w.rounded_up(b, rows, vector)) as block:
        row = b.mul(block.index, vector)
        arguments = [b.gep(target, [row]), target_pitch, b.gep(source, [b.mul(row, pitch)]), pitch]
        b.call(_squares(w), [*arguments, b.sub(rows, row), columns])
    b.ret_void()


def _column(w: Writer) -> Any:
    """A copy of `count` vectors, of each the first `lanes` lanes: `target[k * to + l] = source[k * by + l]`."""
    name = f"column_{w.suffix}"
    if made := w.known(name):
        return made
    function, b = w.function(name, [w.pointer, I64, w.pointer, I64, I64, I64])
    target, to, source, by, count, lanes = function.args
    mask = w.first(b, lanes)
    with b.if_else(b.icmp_signed(">=", lanes, I64(w.width))) as (full, some):
        for branch, is_full in ((full, True), (some, False)):
            with branch, for_range(b, count) as k:
                here, there = b.gep(source, [b.mul(k.index, by)]), b.gep(target, [b.mul(k.index, to)])
                if is_full:
                    w.store(b, w.load(b, here), there)
                else:
                    w.store_some(b, w.load_some(b, here, mask), there, mask)
    b.ret_void()
    return function


def _squares(w: Writer) -> Any:
    """A strip of at most a vector of rows, turned: `target[c * to + r] = source[r * by + c]`."""
    name = f"squares_{w.suffix}"
    if made := w.known(name):
        return made
    function, b = w.function(name, [w.pointer, I64, w.pointer, I64, I64, I64])
    target, to, source, by, rows, columns = function.args
    vector = I64(w.width)
    full = b.icmp_signed(">=", rows, vector)
    whole = b.select(full, b.sdiv(columns, vector), I64(0))
    with for_range(b, whole) as square:
        column = b.mul(square.index, vector)
        here, there = b.gep(source, [column]), b.gep(target, [b.mul(column, to)])
        for r, row in enumerate(w.turned(b, [w.load(b, b.gep(here, [b.mul(by, I64(r))])) for r in range(w.width)])):
            w.store(b, row, b.gep(there, [b.mul(to, I64(r))]))
    done = b.mul(whole, vector)
    across = w.first(b, rows)
    with for_range(b, w.rounded_up(b, b.sub(columns, done), vector)) as square:
        column = b.add(done, b.mul(square.index, vector))
        rest = b.sub(columns, column)
        here, there = b.gep(source, [column]), b.gep(target, [b.mul(column, to)])
        read = []
        for r in range(w.width):
            count = b.select(b.icmp_signed("<", I64(r), rows), rest, I64(0))
            read.append(w.load_some(b, b.gep(here, [b.mul(by, I64(r))]), w.first(b, count)))
        for r, row in enumerate(w.turned(b, read)):
            with b.if_then(b.icmp_signed("<", I64(r), rest)):
                w.store_some(b, row, b.gep(there, [b.mul(to, I64(r))]), across)
    b.ret_void()
    return function
