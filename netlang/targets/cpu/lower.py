"""From a generated module to LLVM code: its text is walked once, each operator written as Numba writes it.

The text has no types to infer, since parameters have theirs and a name keeps the type of its first value. So none of
Numba's passes over Python's bytecode is needed, which would take several times as long as LLVM does. Names are places
in memory here; LLVM's first pass makes registers of them.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from llvmlite import ir
from numba.core import cgutils, fastmathpass, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu_options import FastMathOptions

from netlang.diagnostics import InternalError
from netlang.garbage import no_collection
from netlang.targets.cpu import intrinsics
from netlang.targets.cpu.intrinsics import INTRINSICS, Intrinsic, Typed
from netlang.targets.cpu.operators import converted, is_convertible, operation, target, value_type
from netlang.targets.cpu.source import Function, Parameter, read

# Never nnan or ninf, because what is not finite must behave; nor arcp, with which 1 / sqrt(0) and 1 / sqrt(inf) are
# estimated and become NaN. Only what is added up in a scalar may be added in another order, and rounded once with its
# product. An expression may not: the last turns of a loop would be computed in another way than those before, and
# threads end a loop in other places.
FLAGS = {"nsz"}
SUMMED = {"contract", "nsz", "reassoc"}

# Loops of constant ends up to this one may be unrolled whole. LLVM would unroll longer ones too, and then vectorize the
# loop around them, at ten times the compile time and no gain in speed; so it is not told where they end.
UNROLLED = 16

OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
INTEGER = types.int64
I32, NOTHING = ir.IntType(32), ir.VoidType()

Value = tuple[Any, Any]  # of LLVM, and its Numba type


def lower(source: str, entries: Sequence[str], dtype: np.dtype[Any]) -> str:
    """The LLVM IR text of a generated module, not yet optimized: `kernel_<name>` for each kernel, `nl_<name>` for each
    entry.

    Raises `InternalError` where the text is not a generated module or its types do not fit: it comes from our
    generator.
    """
    module = ir.Module("netlang")
    names = intrinsics.names(dtype)
    kernels: dict[str, tuple[Any, tuple[Any, ...]]] = {}
    summed: list[Any] = []
    with global_compiler_lock, no_collection():  # Numba's, for its tables
        for function in read(source, entries, dtype):
            kinds = tuple(map(_kind, function.parameters.values()))
            symbol = f"nl_{function.name}" if function.is_entry else f"kernel_{function.name}"
            signature = ir.FunctionType(I32 if function.is_entry else NOTHING, map(value_type, kinds))
            written = ir.Function(module, signature, symbol)
            if not function.is_elsewhere:
                writer = _Writer(function, written, kinds, names, kernels)
                writer.write()
                summed += writer.summed
            if not function.is_entry:
                _describe(written, function, is_shown=not entries)
                kernels[function.name] = written, kinds
        fastmathpass.rewrite_module(module, FastMathOptions(FLAGS))
        for instruction in summed:
            instruction.flags = sorted(SUMMED)
    return str(module)


def _is_product(value: Any) -> bool:
    """Whether an LLVM value is that of a product of reals."""
    return getattr(value, "opname", "") == "fmul"


def _kind(parameter: Parameter) -> Any:
    element = intrinsics.ELEMENTS[parameter.element]
    return types.CPointer(element) if parameter.pointer else element


def _describe(written: Any, kernel: Function, is_shown: bool) -> None:
    """What LLVM is told of a kernel besides its code."""
    if not kernel.is_elsewhere:
        written.linkage = "" if is_shown else "internal"
        written.attributes.add("noinline")
    for argument, parameter in zip(written.args, kernel.parameters.values(), strict=True):
        if parameter.exclusive:
            argument.add_attribute("noalias")


class _Writer:
    """Writes the code of one function."""

    def __init__(
        self,
        function: Function,
        written: Any,
        kinds: Sequence[Any],
        names: Mapping[str, Any],
        kernels: Mapping[str, tuple[Any, Sequence[Any]]],
    ) -> None:
        self.function, self.names, self.kernels = function, names, kernels
        self.summed: list[Any] = []  # the instructions that add to a scalar
        self.dtype = names["inf"].dtype
        self.real = types.float32 if self.dtype == np.float32 else types.float64
        self.result = ir.Constant(I32, 0) if function.is_entry else None
        self.builder = ir.IRBuilder(written.append_basic_block())
        self.arguments = dict(zip(function.parameters, zip(written.args, kinds, strict=True), strict=True))
        self.variables: dict[str, Value] = {}  # the place of each
        self.loops: list[tuple[Any, Any]] = []  # where `continue` and `break` go, of those around the statement

    def write(self) -> None:
        self.block(self.function.body)
        self.give_back()

    def fail(self, node: ast.AST, why: str) -> NoReturn:
        text = ast.unparse(node).partition("\n")[0]
        raise InternalError(f"lowering of `{self.function.name}`", f"`{text}`: {why}")

    # --- statements ---

    def block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[place], value=value):
                self.assign(place, self.value(value))
            case ast.AugAssign(target=ast.Name() as place, op=op, value=value):
                term = self.value(value)
                total = self.operator(node, op, self.value(ast.Name(place.id)), term)
                if isinstance(total[1], types.Float):
                    self.summed += [v for v in (total[0], term[0]) if v is total[0] or _is_product(v)]
                self.assign(place, total)
            case ast.AugAssign(target=ast.Subscript() as place, op=op, value=value):
                at, kind = self.element(place)
                self.store(node, at, kind, self.combined(node, op, self.loaded(at, kind), self.value(value)))
            case ast.For(
                target=ast.Name() as index, iter=ast.Call(func=ast.Name(id="range"), args=ends), orelse=[]
            ) if 1 <= len(ends) <= 3:
                self.count(node, index, ends)
            case ast.While(test=test, orelse=[]):
                self.loop(lambda inside, after: self.branch(test, inside, after), lambda: self.block(node.body))
            case ast.If(test=test, body=body, orelse=orelse):
                then, otherwise, after = self.blocks(3)
                self.branch(test, then, otherwise)
                for block, statements in ((then, body), (otherwise, orelse)):
                    self.builder.position_at_end(block)
                    self.block(statements)
                    self.builder.branch(after)
                self.builder.position_at_end(after)
            case ast.Expr(value=value):
                self.value(value)
            case ast.Continue() | ast.Break() if self.loops:
                self.builder.branch(self.loops[-1][isinstance(node, ast.Break)])
                self.builder.position_at_end(*self.blocks(1))
            case ast.Return(value=None):
                self.give_back()
                self.builder.position_at_end(*self.blocks(1))
            case ast.Pass():
                pass
            case _:
                self.fail(node, "a statement that generated modules do not have")

    def give_back(self) -> None:
        if self.result is None:
            self.builder.ret_void()
        else:
            self.builder.ret(self.result)

    def assign(self, place: ast.expr, value: Value) -> None:
        match place:
            case ast.Name(id=name) if name not in self.arguments:
                self.store(place, *self.variable_of(place, name, value[1]), value)
            case ast.Subscript():
                self.store(place, *self.element(place), value)
            case _:
                self.fail(place, "nothing is assigned to it")

    def store(self, node: ast.AST, place: Any, kind: Any, value: Value) -> None:
        self.builder.store(self.cast(node, value, kind), place)

    def variable_of(self, node: ast.AST, name: str, kind: Any) -> Value:
        """The place of a name, which gets its type with its first value; nothing that follows is cut to fit."""
        if kind == types.none:
            self.fail(node, "there is no value for it")
        if name not in self.variables:
            self.variables[name] = self.variable(kind), kind
        place, known = self.variables[name]
        if kind != known and not (kind == INTEGER and isinstance(known, types.Float)):
            self.fail(node, f"{kind} where it was {known}")
        return place, known

    def variable(self, kind: Any) -> Any:
        with self.builder.goto_entry_block():
            return self.builder.alloca(value_type(kind))

    def count(self, node: ast.For, index: ast.Name, ends: Sequence[ast.expr]) -> None:
        """`for index in range(start, stop, step)`."""
        first, last, step = [*([ast.Constant(0)] if len(ends) == 1 else []), *ends, ast.Constant(1)][:3]
        match step:
            case ast.Constant(value=int(size)) if size > 0:
                pass
            case _:
                self.fail(node.iter, "a step is a positive literal")
        b, following = self.builder, self.variable(INTEGER)
        stop = self.integer(last)
        match last:
            case ast.Constant(value=int(end)) if end > UNROLLED:
                stop = self.intrinsic(last, INTRINSICS["opaque"], [(stop, INTEGER)])[0]
            case _:
                pass
        b.store(self.integer(first), following)

        def test(inside: Any, after: Any) -> None:
            b.cbranch(b.icmp_signed("<", b.load(following), stop), inside, after)

        def turn() -> None:
            here = b.load(following)
            self.assign(index, (here, INTEGER))
            b.store(b.add(here, ir.Constant(here.type, size)), following)
            self.block(node.body)

        self.loop(test, turn)

    def loop(self, test: Callable[[Any, Any], None], turn: Callable[[], None]) -> None:
        head, inside, after = self.blocks(3)
        self.builder.branch(head)
        self.builder.position_at_end(head)
        test(inside, after)
        self.builder.position_at_end(inside)
        self.loops.append((head, after))
        turn()
        self.loops.pop()
        self.builder.branch(head)
        self.builder.position_at_end(after)

    def blocks(self, count: int) -> list[Any]:
        return [self.builder.append_basic_block() for _ in range(count)]

    def branch(self, test: ast.expr, yes: Any, no: Any) -> None:
        """Go to one of two blocks."""
        match test:
            case ast.BoolOp(op=op, values=[*tests, last]):
                for each in tests:
                    (following,) = self.blocks(1)
                    self.branch(each, *((following, no) if isinstance(op, ast.And) else (yes, following)))
                    self.builder.position_at_end(following)
                self.branch(last, yes, no)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.branch(operand, no, yes)
            case _:
                self.builder.cbranch(self.cast(test, self.value(test), types.boolean), yes, no)

    # --- values ---

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool(value)):
                return ir.Constant(ir.IntType(1), int(value)), types.boolean
            case ast.Constant(value=int() | float() as value):
                return self.number(node, value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self.number(node, -value)
            case ast.Name(id=name):
                return self.named(node, name)
            case ast.UnaryOp(op=op, operand=operand):
                return self.operator(node, op, self.value(operand))
            case ast.BinOp(left=left, op=ast.FloorDiv() | ast.Mod() as op, right=ast.Constant(value=int(n))) if n > 0:
                return self.divided(self.integer(left), n, isinstance(op, ast.Mod)), INTEGER
            case ast.BinOp(left=left, op=op, right=right):
                return self.combined(node, op, self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.operator(node, op, self.value(left), self.value(right))
            case ast.BoolOp():
                return self.chosen(node, ast.Constant(True), ast.Constant(False))
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                return self.chosen(test, then, otherwise)
            case ast.Subscript():
                return self.loaded(*self.element(node))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self.call(node, name, [self.value(each) for each in arguments])
        self.fail(node, "an expression that generated modules do not have")

    def number(self, node: ast.expr, value: float) -> Value:
        if isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                self.fail(node, "beyond 64 bits")
            return ir.Constant(value_type(INTEGER), value), INTEGER
        with np.errstate(over="ignore"):  # beyond float32 a number is infinite, as in arithmetic
            return ir.Constant(value_type(self.real), float(self.dtype.type(value))), self.real

    def named(self, node: ast.expr, name: str) -> Value:
        if name in self.arguments:
            return self.arguments[name]
        if name in self.variables:
            place, kind = self.variables[name]
            return self.builder.load(place), kind
        if isinstance(found := self.names.get(name), np.floating):
            return self.number(node, float(found))
        self.fail(node, "no such name")

    def operator(self, node: ast.AST, op: ast.AST, *operands: Value) -> Value:
        function = OPERATORS.get(type(op))
        return self.typed(node, operation(function, *(kind for _, kind in operands)) if function else None, operands)

    def combined(self, node: ast.AST, op: ast.AST, left: Value, right: Value) -> Value:
        """The value of an operator; a product and what it is added to are rounded once, where a processor has that."""
        (x, kind), (y, other) = left, right
        if not isinstance(op, ast.Add | ast.Sub) or kind != other or not (_is_product(x) or _is_product(y)):
            return self.operator(node, op, left, right)
        b, minus = self.builder, isinstance(op, ast.Sub)
        if _is_product(y):
            (one, two), rest = y.operands, x
            one = b.fneg(one) if minus else one
        else:
            (one, two), rest = x.operands, b.fneg(y) if minus else y
        name = "llvm.fmuladd.f32" if kind == types.float32 else "llvm.fmuladd.f64"
        fused = cgutils.get_or_insert_function(b.module, ir.FunctionType(x.type, [x.type] * 3), name)
        return b.call(fused, [one, two, rest]), kind

    def divided(self, value: Any, by: int, want_remainder: bool) -> Any:
        """Python's rounding, towards minus infinity: the remainder of a positive divisor is not negative."""
        b, divisor = self.builder, ir.Constant(value.type, by)
        remainder = b.srem(value, divisor)
        negative = b.icmp_signed("<", remainder, ir.Constant(value.type, 0))
        remainder = b.select(negative, b.add(remainder, divisor), remainder)
        return remainder if want_remainder else b.sdiv(b.sub(value, remainder), divisor)

    def chosen(self, test: ast.expr, then: ast.expr, otherwise: ast.expr) -> Value:
        """`then if test else otherwise`, of which one is evaluated."""
        yes, no, after = self.blocks(3)
        self.branch(test, yes, no)
        found = []
        for block, node in ((yes, then), (no, otherwise)):
            self.builder.position_at_end(block)
            value = self.value(node)
            found.append((node, value, self.builder.block))
        kinds = [kind for _, (_, kind), _ in found]
        kind = kinds[0] if kinds[0] == kinds[1] else intrinsics.common(*kinds)
        if kind == types.none:
            self.fail(test, "there is no value either way")
        values = []
        for node, value, block in found:
            self.builder.position_at_end(block)
            values.append((self.cast(node, value, kind), block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        result = self.builder.phi(value_type(kind))
        for each in values:
            result.add_incoming(*each)
        return result, kind

    def element(self, node: ast.Subscript) -> Value:
        """The place of `x[i]`."""
        pointer, kind = self.value(node.value)
        if not isinstance(kind, types.CPointer):
            self.fail(node, "not a pointer")
        return self.builder.gep(pointer, [self.integer(node.slice)]), kind.dtype

    def loaded(self, place: Any, kind: Any) -> Value:
        """What is at a place; integers of all widths are int64 from here on."""
        value = self.builder.load(place)
        if isinstance(kind, types.Integer):
            return converted(self.builder, value, kind, INTEGER), INTEGER
        return value, kind

    def integer(self, node: ast.expr) -> Any:
        value, kind = self.value(node)
        if not isinstance(kind, types.Integer):
            self.fail(node, "not an integer")
        return converted(self.builder, value, kind, INTEGER)

    def cast(self, node: ast.AST, value: Value, wanted: Any) -> Any:
        if not is_convertible(value[1], wanted):
            self.fail(node, f"of type {value[1]}, not {wanted}")
        return converted(self.builder, *value, wanted)

    def call(self, node: ast.Call, name: str, arguments: Sequence[Value]) -> Value:
        if name in self.kernels:
            kernel, kinds = self.kernels[name]
            if len(kinds) != len(arguments):
                self.fail(node, f"`{name}` takes {len(kinds)} arguments, not {len(arguments)}")
            for (_, given), kind in zip(arguments, kinds, strict=True):
                if isinstance(given, types.Float) and isinstance(kind, types.Integer):
                    self.fail(node, f"{given} where `{name}` takes {kind}")
            values = [self.cast(node, value, kind) for value, kind in zip(arguments, kinds, strict=True)]
            return self.builder.call(kernel, values), types.none
        found = self.names.get(name)
        if not isinstance(found, Intrinsic):
            self.fail(node, f"no kernel `{name}` above")
        return self.intrinsic(node, found, arguments)

    def intrinsic(self, node: ast.AST, function: Intrinsic, arguments: Sequence[Value]) -> Value:
        try:
            found = function.typed(*(kind for _, kind in arguments))
        except TypeError:  # it takes another number of arguments
            found = None
        return self.typed(node, found, arguments)

    def typed(self, node: ast.AST, found: Typed | None, arguments: Sequence[Value]) -> Value:
        if found is None:
            self.fail(node, f"nothing takes {', '.join(str(kind) for _, kind in arguments)} here")
        values = [self.cast(node, *each) for each in zip(arguments, found.arguments, strict=True)]
        return found.emit(target(), self.builder, values), found.result
