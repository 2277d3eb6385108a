"""LLVM code over vectors: loops, loads and stores of whole vectors or of some lanes, squares that are turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core.cgutils import alloca_once, for_range

VOID, I1, I32, I64 = ir.VoidType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
REALS = {"f32": ir.FloatType(), "f64": ir.DoubleType()}


@dataclass
class Writer:
    """Writes functions into a module, for one type of element and vectors of `width` of them.

    `accumulators` is how many sums stay in registers, `levels` how many summed loops functions have.
    """

    module: Any
    suffix: str
    width: int
    accumulators: int
    levels: int

    @property
    def real(self) -> Any:
        return REALS[self.suffix]

    @property
    def bytes(self) -> int:
        return 4 if self.suffix == "f32" else 8

    @property
    def pointer(self) -> Any:
        return self.real.as_pointer()

    @property
    def vector(self) -> Any:
        return ir.VectorType(self.real, self.width)

    @property
    def zero(self) -> Any:
        return ir.Constant(self.vector, [0.0] * self.width)

    # --- functions ---

    def function(self, name: str, arguments: Sequence[Any], shown: bool = False) -> tuple[Any, Any]:
        """A new function, its first pointer overlapping nothing else, and a builder in its first block."""
        made = ir.Function(self.module, ir.FunctionType(VOID, arguments), name)
        made.args[0].add_attribute("noalias")
        made.attributes.add("noinline")
        if not shown:
            made.linkage = "internal"
        return made, ir.IRBuilder(made.append_basic_block())

    def known(self, name: str) -> Any:
        """A function that has been written, or None."""
        return self.module.globals.get(name)

    def intrinsic(self, name: str, result: Any, *arguments: Any) -> Any:
        return self.known(name) or ir.Function(self.module, ir.FunctionType(result, arguments), name)

    # --- loops ---

    def summed(
        self, b: Any, pointers: Sequence[Any], steps: Sequence[Any], body: Callable[[Sequence[Any]], None]
    ) -> None:
        """The loops of `steps`, outermost first: each a count, and how far each of the pointers moves."""
        if not steps:
            body(pointers)
            return
        count, moves = steps[0], steps[1 : 1 + len(pointers)]
        places = [self.variable(b, pointer) for pointer in pointers]
        with for_range(b, count):
            here = [b.load(place) for place in places]
            self.summed(b, here, steps[1 + len(pointers) :], body)
            for place, pointer, move in zip(places, here, moves, strict=True):
                b.store(b.gep(pointer, [move]), place)

    def variable(self, b: Any, value: Any) -> Any:
        """Where a value is kept that changes."""
        place = alloca_once(b, value.type)
        b.store(value, place)
        return place

    def opaque(self, b: Any, value: Any) -> Any:
        """The value, of which the optimizer then knows nothing."""
        return b.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)

    def least(self, b: Any, one: Any, other: Any) -> Any:
        return b.select(b.icmp_signed("<", one, other), one, other)

    def rounded_up(self, b: Any, number: Any, unit: Any) -> Any:
        """How many units hold the number."""
        return b.sdiv(b.add(number, b.sub(unit, I64(1))), unit)

    # --- vectors ---

    def load(self, b: Any, pointer: Any, number: int = 0) -> Any:
        return b.load(self._vector_at(b, pointer, number), align=self.bytes)

    def store(self, b: Any, value: Any, pointer: Any, number: int = 0) -> None:
        b.store(value, self._vector_at(b, pointer, number), align=self.bytes)

    def load_some(self, b: Any, pointer: Any, mask: Any) -> Any:
        """The lanes of a mask, zeros in the others."""
        name = f"llvm.masked.load.v{self.width}{self.suffix}.p0"
        place, masks = self._vector_at(b, pointer, 0), ir.VectorType(I1, self.width)
        load = self.intrinsic(name, self.vector, place.type, I32, masks, self.vector)
        return b.call(load, [place, I32(self.bytes), mask, self.zero])

    def store_some(self, b: Any, value: Any, pointer: Any, mask: Any) -> None:
        name = f"llvm.masked.store.v{self.width}{self.suffix}.p0"
        place, masks = self._vector_at(b, pointer, 0), ir.VectorType(I1, self.width)
        store = self.intrinsic(name, VOID, self.vector, place.type, I32, masks)
        b.call(store, [value, place, I32(self.bytes), mask])

    def load_few(self, b: Any, pointer: Any, count: int, some: Any = None) -> Any:
        """A vector of `count` lanes; of these the first `some`, and zeros in the others."""
        kind = ir.VectorType(self.real, count)
        place = b.bitcast(pointer, kind.as_pointer())
        if some is None:
            return b.load(place, align=self.bytes)
        masks = ir.VectorType(I1, count)
        one = b.insert_element(ir.Constant(ir.VectorType(I32, 1), ir.Undefined), b.trunc(some, I32), I32(0))
        wanted = self.widened(b, one, [0] * count)
        mask = b.icmp_signed("<", ir.Constant(wanted.type, list(range(count))), wanted)
        load = self.intrinsic(f"llvm.masked.load.v{count}{self.suffix}.p0", kind, place.type, I32, masks, kind)
        return b.call(load, [place, I32(self.bytes), mask, ir.Constant(kind, [0.0] * count)])

    def widened(self, b: Any, value: Any, lanes: Sequence[int]) -> Any:
        """These lanes of a shorter vector."""
        nothing = ir.Constant(value.type, ir.Undefined)
        return b.shuffle_vector(value, nothing, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    def first(self, b: Any, count: Any) -> Any:
        """The mask of the first `count` lanes."""
        kind = ir.VectorType(I32, self.width)
        lanes = ir.Constant(kind, list(range(self.width)))
        return b.icmp_signed("<", lanes, self.spread(b, b.trunc(self.least(b, count, I64(self.width)), I32), kind))

    def prefetch(self, b: Any, pointer: Any, *, to_write: bool = False) -> None:
        """Ask for a line of memory that is wanted soon: into the second cache; into the first one to write it."""
        place = b.bitcast(pointer, ir.IntType(8).as_pointer())
        prefetch = self.intrinsic("llvm.prefetch.p0", VOID, place.type, I32, I32, I32)
        write, near = (1, 3) if to_write else (0, 2)
        b.call(prefetch, [place, I32(write), I32(near), I32(1)])

    def fma(self, b: Any, one: Any, other: Any, added: Any) -> Any:
        call = self.intrinsic(f"llvm.fmuladd.v{self.width}{self.suffix}", self.vector, *[self.vector] * 3)
        return b.call(call, [one, other, added])

    def total(self, b: Any, value: Any) -> Any:
        """The sum of the lanes."""
        return b.extract_element(self.folded(b, value, 1), I32(0))

    def folded(self, b: Any, value: Any, count: int) -> Any:
        """The sums of the lanes that are `count` apart, in the first lanes."""
        half = self.width // 2
        while half >= count:
            lanes = [(k + half) % self.width for k in range(self.width)]
            value = b.fadd(value, self.shuffle(b, value, value, lanes))
            half //= 2
        return value

    def spread(self, b: Any, value: Any, kind: Any = None) -> Any:
        """The vector that has the value in every lane."""
        nothing = ir.Constant(kind or self.vector, ir.Undefined)
        return self.shuffle(b, b.insert_element(nothing, value, I32(0)), nothing, [0] * self.width)

    def shuffle(self, b: Any, low: Any, high: Any, lanes: Sequence[int]) -> Any:
        return b.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, self.width), list(lanes)))

    def turned(self, b: Any, rows: Sequence[Any]) -> list[Any]:
        """The columns of a square."""
        out, half = list(rows), 1
        while half < self.width:
            for r in range(self.width):
                if not r & half:
                    low, high = out[r], out[r + half]
                    ours = [k if not k & half else self.width + k - half for k in range(self.width)]
                    theirs = [k + half if not k & half else self.width + k for k in range(self.width)]
                    out[r], out[r + half] = self.shuffle(b, low, high, ours), self.shuffle(b, low, high, theirs)
            half *= 2
        return out

    def _vector_at(self, b: Any, pointer: Any, number: int) -> Any:
        return b.bitcast(b.gep(pointer, [I64(number * self.width)]), self.vector.as_pointer())
