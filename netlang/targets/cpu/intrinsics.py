"""What the text of a generated module may name: typed pointers and casts, mathematics, randomness.

`f32 f64 real i64 i32 u16 u8`
    With one argument, a cast (`real(n)`, and `f64(0)` for a sum in float64 anywhere); with two, a typed pointer:
    `f32(memory, 3)` is the address in slot 3 of `memory` as a pointer to float32. `real` is `f32` or `f64`, the
    module's dtype.
`offset(x, n)`
    The typed pointer n elements (of any sign) after `x`.
`max min`
    Of two numbers of one type. On floats, NaN if either is NaN, as `numpy.maximum` and `numpy.minimum`.
`abs floor sqrt exp expm1 log log1p sin cos tanh erf pow`
    On float32 they compute and return float32 (see `elementary` for their accuracy), on float64 float64; `abs` also on
    integers.
`where(condition, a, b)`
    `a` if the condition holds, else `b`, both evaluated: no branch, so the loop around it vectorizes.
`isnan(x)`
    Whether a float is NaN.
`pack(...) turn(...) multiply_n(...) dot(...) transform_mxn(...) transform_mxn_mxn(...)`
    Copies, products (n is the width of panels) and transformations of blocks; see `copies`, `products`, `transforms`.
`another(team, units, x, ...) alone(team, x, ...)`
    Whether there is another part to do, or something for one thread; when there is not, all of it is done. What is at
    the pointers x may then have been changed by others. Of many units there are smaller parts. See `sharing`.
`share(n, grain, team, behind)`
    Where the part at hand begins when n units are shared; with 1, where the part behind does. These are multiples of a
    grain, and no part has less, unless it is empty or the only one.
`invoke(address, memory, sizes)`
    Runs the entry at an address.
`opaque(n)`
    The integer n, which the optimizer does not see through.
`uniform(key, counter) normal(key, counter)`
    Counter-based randomness as `netlang.random`, rounded to the module's dtype; `uniform` is the same number in both.
`inf nan pi`
    Constants of the module's dtype.
`range`
    As in Python.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from netlang.schedule.program import NARROW, PANELS, transform_name
from netlang.schedule.winograd.interpolation import transforms
from netlang.targets.cpu.sharing import COUNT, PART, TEAM

INTEGER = ir.IntType(64)
SUFFIX = {types.float32: "f32", types.float64: "f64"}
ELEMENTS = {
    "f32": types.float32,
    "f64": types.float64,
    "i64": types.int64,
    "i32": types.int32,
    "u16": types.uint16,
    "u8": types.uint8,
}

Emit = Callable[[Any, Any, list[Any]], Any]
"""From Numba's target context, the IR builder and the arguments' values to the result's value."""


@dataclass(frozen=True)
class Typed:
    """What an intrinsic or operator is for given argument types: its result, the types to convert to, and its code."""

    result: Any
    arguments: tuple[Any, ...]
    emit: Emit


@dataclass(frozen=True, eq=False)
class Intrinsic:
    """A name that generated text may call; `typed` answers None for arguments that it does not take."""

    name: str
    typed: Callable[..., Typed | None]

    def __repr__(self) -> str:
        return self.name


def names(dtype: np.dtype[Any]) -> dict[str, Any]:
    """The namespace of a generated module of dtype float32 or float64."""
    real = real_name(dtype)
    return {
        **INTRINSICS,
        "real": INTRINSICS[real],
        "uniform": _random("uniform", real),
        "normal": _random("normal", real),
        "inf": dtype.type(np.inf),
        "nan": dtype.type(np.nan),
        "pi": dtype.type(np.pi),
        "range": range,
    }


def real_name(dtype: np.dtype[Any]) -> str:
    return "f32" if dtype == np.float32 else "f64"


def _element(name: str) -> Intrinsic:
    """A cast of one number, or a pointer from a slot of an address table."""
    element = ELEMENTS[name]

    def typed(value: Any, slot: Any = None) -> Typed | None:
        if slot is not None:
            return Typed(types.CPointer(element), (types.CPointer(types.int64), types.int64), reinterpret)
        if not isinstance(value, types.Number | types.Boolean):
            return None
        return Typed(element, (element,), lambda context, builder, values: values[0])

    def reinterpret(context: Any, builder: Any, values: list[Any]) -> Any:
        address = builder.load(builder.gep(values[0], [values[1]]))
        return builder.inttoptr(address, context.get_value_type(types.CPointer(element)))

    return Intrinsic(name, typed)


def _call(builder: Any, symbol: str, result: Any, values: list[Any]) -> Any:
    signature = ir.FunctionType(result, [v.type for v in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, symbol), values)


def _elementary(name: str) -> Intrinsic:
    """A function of one float, defined in `elementary`."""

    def typed(x: Any) -> Typed | None:
        if x not in SUFFIX:
            return None
        symbol = f"nl_{name}_{SUFFIX[x]}"
        return Typed(x, (x,), lambda context, builder, values: _call(builder, symbol, values[0].type, values))

    return Intrinsic(name, typed)


def _llvm(name: str, arity: int, on_floats: str, on_integers: str = "", extra: tuple[Any, ...] = ()) -> Intrinsic:
    """A function of floats (and integers, where LLVM has one for them) that is an LLVM intrinsic."""

    def typed(*arguments: Any) -> Typed | None:
        if len(arguments) != arity:
            return None
        kind = common(*arguments)
        if kind in SUFFIX:
            symbol, rest = f"llvm.{on_floats}.{SUFFIX[kind]}", ()
        elif isinstance(kind, types.Integer) and on_integers:
            symbol, rest = f"llvm.{on_integers}.i{kind.bitwidth}", extra
        else:
            return None

        def emit(context: Any, builder: Any, values: list[Any]) -> Any:
            return _call(builder, symbol, values[0].type, [*values, *rest])

        return Typed(kind, (kind,) * arity, emit)

    return Intrinsic(name, typed)


def common(*arguments: Any) -> Any:
    """The type of an operation: the widest float if there is a float, else int64."""
    floats = [a for a in arguments if isinstance(a, types.Float)]
    return max(floats, key=lambda a: int(a.bitwidth)) if floats else types.int64


def _where(condition: Any, a: Any, b: Any) -> Typed:
    kind = common(a, b)
    return Typed(kind, (types.boolean, kind, kind), lambda context, builder, values: builder.select(*values))


def _isnan(x: Any) -> Typed | None:
    if x not in SUFFIX:
        return None
    return Typed(types.boolean, (x,), lambda context, builder, v: builder.fcmp_unordered("uno", v[0], v[0]))


def _random(name: str, real: str) -> Intrinsic:
    element = ELEMENTS[real]

    def emit(context: Any, builder: Any, values: list[Any]) -> Any:
        return _call(builder, f"nl_{name}_{real}", context.get_value_type(element), values)

    return Intrinsic(name, lambda key, counter: Typed(element, (types.int64, types.int64), emit))


LEVELS = (0, 3, 6)
"""How many summed loops functions on blocks have; a call that has fewer gets more, of one turn, outside them."""


BLOCKS = {
    "pack": (5, 3),
    "turn": (6, 2),
    "dot": (8, 3),
    **{f"multiply_{n}": (10, 2) for n in (NARROW, *PANELS)},
    **{transform_name(sizes): (5 + len(sizes), 1) for sizes in transforms()},
}
"""The functions on blocks (see `blocks`), with how many arguments they have before and for each summed loop."""


def _levels(given: int) -> int | None:
    return next((n for n in LEVELS if given <= n), None)


def blocks_in(source: str, dtype: np.dtype[Any]) -> list[str]:
    """The names of the functions on blocks that a text calls; of one that is no generated module, none."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    found, own = set(), {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BLOCKS.keys() - own:
            fixed, of_a_step = BLOCKS[node.func.id]
            levels = _levels((len(node.args) - fixed) // of_a_step)
            found.add(f"nl_{node.func.id}_{levels}_{real_name(dtype)}")
    return sorted(found)


def _block(name: str, fixed: int, of_a_step: int) -> Intrinsic:
    """A function on blocks.

    Its pointers are all to the one type of element.
    """

    def typed(*arguments: Any) -> Typed | None:
        pointers = [a for a in arguments if isinstance(a, types.CPointer)]
        if not pointers or any(p != pointers[0] for p in pointers) or pointers[0].dtype not in SUFFIX:
            return None
        given, rest = divmod(len(arguments) - fixed, of_a_step)
        levels = None if given < 0 or rest else _levels(given)
        if levels is None:
            return None
        symbol = f"nl_{name}_{levels}_{SUFFIX[pointers[0].dtype]}"
        one_turn = [ir.Constant(ir.IntType(64), 1), *[ir.Constant(ir.IntType(64), 0)] * (of_a_step - 1)]
        more = one_turn * (levels - given)
        wanted = tuple(a if isinstance(a, types.CPointer) else types.int64 for a in arguments)

        def emit(context: Any, builder: Any, values: list[Any]) -> Any:
            _call(builder, symbol, ir.VoidType(), [*values[:fixed], *more, *values[fixed:]])
            return context.get_dummy_value()

        return Typed(types.none, wanted, emit)

    return Intrinsic(name, typed)


def _offset(x: Any, n: Any) -> Typed | None:
    if not isinstance(x, types.CPointer):
        return None
    return Typed(x, (x, types.int64), lambda context, builder, values: builder.gep(values[0], [values[1]]))


def _opaque(value: Any) -> Typed | None:
    def emit(context: Any, builder: Any, values: list[Any]) -> Any:
        return builder.asm(ir.FunctionType(INTEGER, [INTEGER]), "", "=r,0", values, side_effect=False)

    return Typed(types.int64, (types.int64,), emit) if isinstance(value, types.Integer) else None


def _invoke(*arguments: Any) -> Typed | None:
    def emit(context: Any, builder: Any, values: list[Any]) -> Any:
        address, *tables = values
        kind = ir.FunctionType(ir.IntType(32), [table.type for table in tables])
        builder.call(builder.inttoptr(address, kind.as_pointer()), tables)
        return context.get_dummy_value()

    table = types.CPointer(types.int64)
    return Typed(types.none, (types.int64, table, table), emit) if len(arguments) == 3 else None


def _share(*arguments: Any) -> Typed | None:
    def emit(context: Any, builder: Any, values: list[Any]) -> Any:
        units, grain, team, behind = values
        part, parts = (builder.load(builder.gep(team, [ir.Constant(INTEGER, TEAM.index(n))])) for n in (PART, COUNT))
        number = builder.add(part, behind)
        start = builder.mul(builder.sdiv(builder.mul(builder.sdiv(units, grain), number), parts), grain)
        return builder.select(builder.icmp_signed("==", number, parts), units, start)

    integer = types.int64
    return Typed(integer, (integer, integer, types.CPointer(integer), integer), emit) if len(arguments) == 4 else None


def _taken(name: str, numbers: int) -> Intrinsic:
    """A call with the team and some numbers; pointers may follow."""

    def typed(*arguments: Any) -> Typed | None:
        own = 1 + numbers
        if len(arguments) < own:
            return None

        def emit(context: Any, builder: Any, values: list[Any]) -> Any:
            # a parameter that no other argument overlaps would be taken to stay as it is, had it not been given away
            for value in values[own:]:
                kind = ir.FunctionType(ir.VoidType(), [value.type])
                builder.asm(kind, "", "r,~{memory}", [value], side_effect=True)
            return _call(builder, f"nl_{name}", ir.IntType(1), values[:own])

        wanted = (types.CPointer(types.int64), *[types.int64] * numbers, *arguments[own:])
        return Typed(types.boolean, wanted, emit)

    return Intrinsic(name, typed)


INTRINSICS = {
    each.name: each
    for each in (
        *map(_element, ELEMENTS),
        *map(_elementary, ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf")),
        _llvm("abs", 1, "fabs", "abs", (ir.Constant(ir.IntType(1), 0),)),
        _llvm("floor", 1, "floor"),
        _llvm("sqrt", 1, "sqrt"),
        _llvm("pow", 2, "pow"),
        _llvm("max", 2, "maximum", "smax"),
        _llvm("min", 2, "minimum", "smin"),
        *(_block(name, *counts) for name, counts in BLOCKS.items()),
        Intrinsic("offset", _offset),
        Intrinsic("where", _where),
        Intrinsic("isnan", _isnan),
        Intrinsic("invoke", _invoke),
        Intrinsic("share", _share),
        _taken("another", 1),
        _taken("alone", 0),
        Intrinsic("opaque", _opaque),
    )
}
