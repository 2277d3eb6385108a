"""Products of blocks as LLVM code: register tiles of vectors, and the copies that make an operand's lanes contiguous.

`multiply_n` and `pack_n` are what kernels call for the statements `Multiply` and `Pack` of a program, n being how many
summed loops there are. A tile is `rows` rows by two vectors of lanes, all of which stay in registers while the summed
loops run; how wide a vector is and how many rows there are follows from the machine. The rows that are left over go
through tiles of 8, 4, 2 and 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core.cgutils import alloca_once, for_range

from netlang.schedule.program import PANEL
from netlang.targets.cpu.optimize import Machine

VOID, I32, I64 = ir.VoidType(), ir.IntType(32), ir.IntType(64)
REALS = {"f32": ir.FloatType(), "f64": ir.DoubleType()}
SYMBOL = re.compile(r"declare [^\n]*@\"?(nl_(multiply|pack)_(\d+)_(f32|f64))\"?\(")
VECTORS = 2


def module(text: str, machine: Machine) -> str:
    """The text of an LLVM module that defines the products and copies that the module `text` declares; "" if none."""
    found = sorted(set(SYMBOL.findall(text)))
    if not found:
        return ""
    built = ir.Module("blocks")
    for symbol, kind, levels, real in found:
        width = max(1, min(PANEL // VECTORS, machine.registers_bits // (32 if real == "f32" else 64)))
        writer = _Writer(built, REALS[real], real, width, 14 if machine.registers >= 32 else 6, int(levels))
        (writer.multiply if kind == "multiply" else writer.pack)(symbol)
    return str(built)


@dataclass
class _Writer:
    """Writes functions for one element type and number of summed loops."""

    module: Any
    real: Any
    suffix: str
    width: int
    rows: int
    levels: int

    @property
    def vector(self) -> Any:
        return ir.VectorType(self.real, self.width)

    def function(self, name: str, arguments: Sequence[Any], attributes: Sequence[str] = ()) -> tuple[Any, Any]:
        """A new function, its first pointer overlapping nothing else, and a builder in its first block."""
        made = ir.Function(self.module, ir.FunctionType(VOID, arguments), name)
        made.args[0].add_attribute("noalias")
        for attribute in attributes:
            made.attributes.add(attribute)
        return made, ir.IRBuilder(made.append_basic_block())

    def intrinsic(self, name: str, *arguments: Any) -> Any:
        if name in self.module.globals:
            return self.module.globals[name]
        return ir.Function(self.module, ir.FunctionType(arguments[0], arguments), name)

    # --- products ---

    def multiply(self, symbol: str) -> None:
        """`target[r * pitch + l] = sum left * right` for rows r < rows and lanes l up to the end of the last panel.

        The left factor is at `left + r * row`, each of the summed loops (a count and a step, outermost first) further;
        the right one lies in the panels that `pack` makes. The sum is added to the target where `start` is not 0.
        """
        pointer = self.real.as_pointer()
        kinds = [pointer, I64, I64, I64, pointer, I64, pointer, I64, *[I64] * (2 * self.levels)]
        function, b = self.function(symbol, kinds, ("noinline",))
        target, pitch, start, rows, left, left_row, right, all_lanes, *steps = function.args
        panels, panel = self.panels(b, all_lanes), b.mul(self.turns(b, steps), I64(PANEL))
        lanes = VECTORS * self.width
        heights = [self.rows, *(h for h in (8, 4, 2, 1) if h < self.rows)]
        with for_range(b, panels) as p, for_range(b, I64(PANEL // lanes)) as part:
            skipped = b.mul(part.index, I64(lanes))
            panel_target = b.gep(target, [b.add(b.mul(p.index, I64(PANEL)), skipped)])
            panel_right = b.gep(right, [b.add(b.mul(p.index, panel), skipped)])
            done: Any = I64(0)
            for height in heights:
                count = b.sdiv(b.sub(rows, done), I64(height))
                with for_range(b, count) as tile:
                    row = b.add(done, b.mul(tile.index, I64(height)))
                    tile_target = b.gep(panel_target, [b.mul(row, pitch)])
                    tile_left = b.gep(left, [b.mul(row, left_row)])
                    b.call(
                        self.tile(height),
                        [tile_target, pitch, start, tile_left, left_row, panel_right, *steps],
                    )
                done = b.add(done, b.mul(count, I64(height)))
        b.ret_void()

    def tile(self, height: int) -> Any:
        """The function of one tile: `height` rows by two vectors of lanes."""
        name = f"tile_{height}_{self.levels}_{self.suffix}"
        if name in self.module.globals:
            return self.module.globals[name]
        pointer = self.real.as_pointer()
        kinds = [pointer, I64, I64, pointer, I64, pointer, *[I64] * (2 * self.levels)]
        function, b = self.function(name, kinds, ("noinline",))
        function.linkage = "internal"
        target, pitch, start, left, left_row, right, *steps = function.args
        zero = ir.Constant(self.vector, [0.0] * self.width)
        sums = [[alloca_once(b, self.vector) for _ in range(VECTORS)] for _ in range(height)]
        for row in sums:
            for each in row:
                b.store(zero, each)
        fma = self.intrinsic(f"llvm.fmuladd.v{self.width}{self.suffix}", self.vector, self.vector, self.vector)

        panel = alloca_once(b, pointer)
        b.store(right, panel)

        def update(left: Any) -> None:
            right = b.load(panel)
            b.store(b.gep(right, [I64(PANEL)]), panel)
            lanes = [self.load(b, right, v) for v in range(VECTORS)]
            for r, row in enumerate(sums):
                factor = self.spread(b, b.load(b.gep(left, [b.mul(left_row, I64(r))])))
                for v, each in enumerate(row):
                    b.store(b.call(fma, [factor, lanes[v], b.load(each)]), each)

        self.summed(b, left, steps, update)
        with b.if_else(b.icmp_signed("==", start, I64(0))) as (fresh, more):
            for branch, adds in ((fresh, False), (more, True)):
                with branch:
                    for r, row in enumerate(sums):
                        place = b.gep(target, [b.mul(pitch, I64(r))])
                        for v, each in enumerate(row):
                            value = b.load(each)
                            self.store(b, b.fadd(value, self.load(b, place, v)) if adds else value, place, v)
        b.ret_void()
        return function

    def summed(self, b: Any, pointer: Any, steps: Sequence[Any], body: Callable[[Any], None]) -> None:
        """The loops of `steps`, outermost first: a count, and how far the pointer moves."""
        if not steps:
            body(pointer)
            return
        count, move, *inner = steps
        place = alloca_once(b, pointer.type)
        b.store(pointer, place)
        with for_range(b, count):
            here = b.load(place)
            self.summed(b, here, inner, body)
            b.store(b.gep(here, [move]), place)

    def turns(self, b: Any, steps: Sequence[Any]) -> Any:
        """How many turns the summed loops take together."""
        turns = steps[0]
        for count in steps[2::2]:
            turns = b.mul(turns, count)
        return turns

    def panels(self, b: Any, lanes: Any) -> Any:
        return b.sdiv(b.add(lanes, I64(PANEL - 1)), I64(PANEL))

    # --- copies ---

    def pack(self, symbol: str) -> None:
        """`target[(p * k + s) * 32 + l] = source[(32 * p + l) * lane + ...]`: panels of 32 lanes, side by side.

        `lanes` is how many there are, `lane` how far apart in the source, `s` counts the k turns of the summed loops
        (each a count and a step). Lanes of the last panel beyond `lanes` are left as they are.
        """
        pointer = self.real.as_pointer()
        function, b = self.function(symbol, [pointer, pointer, I64, I64, *[I64] * (2 * self.levels)], ("noinline",))
        target, source, lanes, lane, *steps = function.args
        turns = self.turns(b, steps)
        *outer, inner, inner_step = steps
        with for_range(b, self.panels(b, lanes)) as p:
            first = b.mul(p.index, I64(PANEL))
            rest = b.sub(lanes, first)
            full = b.icmp_signed(">=", rest, I64(PANEL))
            here = b.select(full, I64(PANEL), rest)
            place = alloca_once(b, pointer)
            b.store(b.gep(target, [b.mul(first, turns)]), place)
            one = I64(1)

            def run(run_source: Any) -> None:
                panel = b.load(place)
                with b.if_else(b.and_(full, b.icmp_signed("==", lane, one))) as (rows, others):
                    with rows, for_range(b, inner) as k:
                        for v in range(PANEL // self.width):
                            value = self.load(b, b.gep(run_source, [b.mul(k.index, inner_step)]), v)
                            self.store(b, value, b.gep(panel, [b.mul(k.index, I64(PANEL))]), v)
                    with others:
                        turned = b.and_(full, b.icmp_signed("==", inner_step, one))
                        squares = b.select(turned, b.sdiv(inner, I64(self.width)), I64(0))
                        with for_range(b, squares) as square, for_range(b, I64(PANEL // self.width)) as block:
                            k = b.mul(square.index, I64(self.width))
                            column = b.mul(block.index, I64(self.width))
                            corner = b.gep(run_source, [b.add(k, b.mul(column, lane))])
                            self.transpose(b, corner, lane, b.gep(panel, [b.add(b.mul(k, I64(PANEL)), column)]))
                        done = b.mul(squares, I64(self.width))
                        with for_range(b, b.sub(inner, done)) as k, for_range(b, here) as column:
                            at = b.add(done, k.index)
                            distance = b.add(b.mul(at, inner_step), b.mul(column.index, lane))
                            value = b.load(b.gep(run_source, [distance]))
                            b.store(value, b.gep(panel, [b.add(b.mul(at, I64(PANEL)), column.index)]))
                b.store(b.gep(panel, [b.mul(inner, I64(PANEL))]), place)

            self.summed(b, b.gep(source, [b.mul(first, lane)]), outer, run)
        b.ret_void()

    def transpose(self, b: Any, source: Any, pitch: Any, target: Any) -> None:
        """A square of the width of a vector, its rows `pitch` apart, as rows a panel apart."""
        rows = [self.load(b, b.gep(source, [b.mul(pitch, I64(r))]), 0) for r in range(self.width)]
        half = 1
        while half < self.width:
            for r in range(self.width):
                if not r & half:
                    low, high = rows[r], rows[r + half]
                    ours = [k if not k & half else self.width + k - half for k in range(self.width)]
                    theirs = [k + half if not k & half else self.width + k for k in range(self.width)]
                    rows[r], rows[r + half] = self.shuffle(b, low, high, ours), self.shuffle(b, low, high, theirs)
            half *= 2
        for r, row in enumerate(rows):
            self.store(b, row, b.gep(target, [I64(r * PANEL)]), 0)

    # --- vectors ---

    def load(self, b: Any, pointer: Any, number: int) -> Any:
        return b.load(self._vector_at(b, pointer, number), align=self.real_bytes)

    def store(self, b: Any, value: Any, pointer: Any, number: int) -> None:
        b.store(value, self._vector_at(b, pointer, number), align=self.real_bytes)

    @property
    def real_bytes(self) -> int:
        return 4 if self.suffix == "f32" else 8

    def _vector_at(self, b: Any, pointer: Any, number: int) -> Any:
        return b.bitcast(b.gep(pointer, [I64(number * self.width)]), self.vector.as_pointer())

    def spread(self, b: Any, value: Any) -> Any:
        """The vector that has the value in every lane."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        return self.shuffle(b, b.insert_element(nothing, value, I32(0)), nothing, [0] * self.width)

    def shuffle(self, b: Any, low: Any, high: Any, lanes: Sequence[int]) -> Any:
        return b.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, self.width), list(lanes)))
