"""Transformations with small matrices of constants as LLVM code: those of convolutions by fewer products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from llvmlite import ir
from numba.core.cgutils import for_range

from netlang.schedule.winograd.interpolation import Matrix, matrix
from netlang.targets.cpu.vectors import I64, Writer

Load = Callable[[tuple[int, ...]], Any]


def transform(w: Writer, symbol: str, *sizes: tuple[int, int]) -> None:
    """`target[n * apart + l] = sum A[s, p] * B[t, q] * source[p * move + q * next_move + l * lane]` for l < lanes.

    n counts the places (s, t). The matrices are those of the `sizes` (see `netlang.schedule.winograd.interpolation`).
    Lanes are side by side, but those of a filter; in the target of others they go on to the end of the last vector.
    """
    function, b = w.function(symbol, [w.pointer, I64, w.pointer, *[I64] * (2 + len(sizes))], shown=True)
    target, apart, source, lane, lanes, *moves = function.args
    matrices = [matrix(*size) for size in sizes]
    is_filter = any(rows > columns for rows, columns in sizes)
    beside = b.icmp_signed("==", lane, I64(1))
    with for_range(b, w.rounded_up(b, lanes, I64(w.width))) as block:
        first = b.mul(block.index, I64(w.width))
        here, there, some = b.gep(target, [first]), b.gep(source, [b.mul(first, lane)]), b.sub(lanes, first)

        def store(load: Load, mask: Any = None) -> None:
            for n, value in enumerate(_transformed(w, b, matrices, load)):
                to = b.gep(here, [b.mul(apart, I64(n))])
                w.store(b, value, to) if mask is None else w.store_some(b, value, to, mask)

        with b.if_else(b.icmp_signed(">=", some, I64(w.width))) as (full, rest):
            with full:
                if not is_filter:
                    store(_beside(w, b, there, moves, None))
                else:
                    with b.if_else(beside) as (vectors, elements):
                        with vectors:
                            store(_beside(w, b, there, moves, None))
                        with elements:
                            store(_scattered(w, b, there, moves, lane, some))
            with rest:
                mask = w.first(b, some)
                if is_filter:
                    store(_scattered(w, b, there, moves, lane, some), mask)
                else:
                    store(_beside(w, b, there, moves, mask))
    b.ret_void()


def _place(b: Any, source: Any, moves: Sequence[Any], at: tuple[int, ...]) -> Any:
    distance: Any = I64(0)
    for move, number in zip(moves, at, strict=True):
        distance = b.add(distance, b.mul(move, I64(number)))
    return b.gep(source, [distance])


def _beside(w: Writer, b: Any, source: Any, moves: Sequence[Any], mask: Any) -> Load:
    """Vectors of lanes that are side by side."""

    def load(at: tuple[int, ...]) -> Any:
        place = _place(b, source, moves, at)
        return w.load(b, place) if mask is None else w.load_some(b, place, mask)

    return load


def _scattered(w: Writer, b: Any, source: Any, moves: Sequence[Any], lane: Any, some: Any) -> Load:
    """Vectors of lanes that are anywhere; the last of `some` also stands for those that there are not."""
    numbers = [w.least(b, I64(k), b.sub(some, I64(1))) for k in range(w.width)]
    distances = [b.mul(lane, number) for number in numbers]

    def load(at: tuple[int, ...]) -> Any:
        place = _place(b, source, moves, at)
        value = ir.Constant(w.vector, ir.Undefined)
        for k, distance in enumerate(distances):
            value = b.insert_element(value, b.load(b.gep(place, [distance])), ir.IntType(32)(k))
        return value

    return load


def _transformed(w: Writer, b: Any, matrices: Sequence[Matrix], load: Load) -> list[Any]:
    """A tensor times a matrix in each dimension, one after the other; its elements in row-major order."""

    def along(known: tuple[int, ...]) -> list[Any]:
        """The elements with these first places, transformed in the other dimensions, which are rows."""
        if len(known) == len(matrices):
            return [load(known)]
        parts = [along((*known, k)) for k in range(len(matrices[len(known)][0]))]
        columns = [_linear(w, b, matrices[len(known)], column) for column in zip(*parts, strict=True)]
        return [value for row in zip(*columns, strict=True) for value in row]

    return along(())


def _linear(w: Writer, b: Any, coefficients: Matrix, values: Sequence[Any]) -> list[Any]:
    """A matrix times values: rows that differ in signs alone share two halves of their terms."""
    found: dict[int, Any] = {}
    for k, row in enumerate(coefficients):
        if k in found:
            continue
        for other in range(k + 1, len(coefficients)):
            pair = list(zip(row, coefficients[other], strict=True))
            if other in found or not all(abs(one) == abs(two) for one, two in pair):
                continue
            same = [one if one == two else Fraction(0) for one, two in pair]
            opposite = [one if one == -two else Fraction(0) for one, two in pair]
            if any(same) and any(opposite):
                even, odd = _sum(w, b, same, values), _sum(w, b, opposite, values)
                found[k], found[other] = b.fadd(even, odd), b.fsub(even, odd)
                break
        else:
            found[k] = _sum(w, b, row, values)
    return [found[k] for k in range(len(coefficients))]


def _sum(w: Writer, b: Any, coefficients: Sequence[Fraction], values: Sequence[Any]) -> Any:
    """The sum of the terms: first those that are no products."""
    terms = sorted(
        ((c, value) for c, value in zip(coefficients, values, strict=True) if c), key=lambda t: abs(t[0]) != 1
    )
    (factor, total), *others = terms
    if factor != 1:
        total = b.fmul(total, _constant(w, factor))
    for factor, value in others:
        if abs(factor) == 1:
            total = b.fadd(total, value) if factor == 1 else b.fsub(total, value)
        else:
            total = w.fma(b, value, _constant(w, factor), total)
    return total


def _constant(w: Writer, value: Fraction) -> Any:
    return ir.Constant(w.vector, [float(value)] * w.width)
