"""An entry that does nothing but call kernels, as LLVM code at once: Numba would take 2 ms for every call.

Such an entry is a list of calls of kernels and of assignments of integers to names, where an argument is a typed
pointer (`real(memory, 3)`, or an `offset` from one), a size (`sizes[0]`), a number, a name, or a sum, difference,
product, quotient or remainder of integers, the last two by a positive literal. Any other entry goes through Numba.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NoReturn

from llvmlite import ir

from netlang.diagnostics import InternalError
from netlang.targets.cpu.source import Function

I32, I64 = ir.IntType(32), ir.IntType(64)
ELEMENTS = {"f32": ir.FloatType(), "f64": ir.DoubleType(), "i64": I64, "i32": I32, "u8": ir.IntType(8)}
EXACT = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}


def is_straight(entry: Function) -> bool:
    """Whether the entry is one of those."""
    return all(map(_is_straight_statement, entry.body))


def _is_straight_statement(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(), args=arguments, keywords=[])):
            return all(map(_is_argument, arguments))
        case ast.Assign(targets=[ast.Name()], value=value):
            return _is_integer(value)
        case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Return(value=None):
            return True
    return False


def _is_argument(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="offset"), args=[pointer, distance], keywords=[]):
            return isinstance(pointer, ast.Call) and _is_argument(pointer) and _is_integer(distance)
        case ast.Call(func=ast.Name(id=name), args=[ast.Name(id="memory"), ast.Constant(value=int())], keywords=[]):
            return name == "real" or name in ELEMENTS
    return _is_integer(node)  # or a float, whose name is like an integer's


def _is_integer(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int()) | ast.Name():
            return True
        case ast.Subscript(value=ast.Name(id="sizes"), slice=ast.Constant(value=int())):
            return True
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
            return _is_integer(left) and _is_integer(right)
        case ast.BinOp(left=left, op=ast.FloorDiv() | ast.Mod(), right=ast.Constant(value=int(divisor))):
            return divisor > 0 and _is_integer(left)
    return False


def lower_straight(entry: Function, module: Any) -> None:
    """Define `nl_<entry>` in a module that has the kernels."""
    table = I64.as_pointer()
    function = ir.Function(module, ir.FunctionType(I32, [table, table]), f"nl_{entry.name}")
    builder = ir.IRBuilder(function.append_basic_block())
    writer = _Writer(entry, builder)
    for statement in entry.body:
        writer.statement(statement)
    builder.ret(ir.Constant(I32, 0))


def declare(kernel: Function, module: Any) -> None:
    """Declare a kernel of another module, as Numba calls it: with places for a result and an exception in front."""
    place = ir.IntType(8).as_pointer().as_pointer()
    kinds = [ELEMENTS[p.element].as_pointer() if p.pointer else ELEMENTS[p.element] for p in kernel.parameters]
    ir.Function(module, ir.FunctionType(I32, [place, place, *kinds]), f"kernel_{kernel.name}")


class _Writer:
    """Writes the statements of one entry."""

    def __init__(self, entry: Function, builder: Any) -> None:
        self.entry, self.builder, self.names = entry, builder, dict[str, Any]()
        self.memory, self.sizes = builder.function.args
        self.unused: list[Any] = []  # Numba's calling convention: places for a result and an exception, never written

    def statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id=kernel), args=arguments)):
                self.call(kernel, arguments)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.names[name] = self.integer(value)

    def call(self, kernel: str, arguments: Sequence[ast.expr]) -> None:
        function = self.builder.module.globals.get(f"kernel_{kernel}")
        if function is None:
            self.fail(f"no kernel `{kernel}` above")
        wanted = function.args
        if len(wanted) != len(arguments) + 2:
            self.fail(f"`{kernel}` takes {len(wanted) - 2} arguments, not {len(arguments)}")
        self.unused = self.unused or [self.builder.alloca(a.type.pointee) for a in wanted[:2]]
        values = [self.argument(node, a.type) for node, a in zip(arguments, wanted[2:], strict=True)]
        self.builder.call(function, [*self.unused, *values])

    def argument(self, node: ast.expr, kind: Any) -> Any:
        value: Any
        match node:
            case ast.Call(func=ast.Name(id="offset"), args=[pointer, distance]):
                return self.builder.gep(self.argument(pointer, kind), [self.integer(distance)])
            case ast.Call(func=ast.Name(id=name), args=[_, ast.Constant(value=int(slot))]):
                element = ELEMENTS[self.entry.real if name == "real" else name]
                value = self.builder.inttoptr(self.load(self.memory, slot), element.as_pointer())
            case ast.Name(id="memory"):
                value = self.memory
            case ast.Name(id="sizes"):
                value = self.sizes
            case ast.Name(id=name) if name in self.entry.constants:
                element = ELEMENTS[self.entry.real]
                value = ir.Constant(element, float(self.entry.constants[name]))
            case _:
                value = self.integer(node)
                if kind in (ELEMENTS["f32"], ELEMENTS["f64"]):
                    value = self.builder.sitofp(value, kind)
        if value.type != kind:
            self.fail(f"`{ast.unparse(node)}` is not of the parameter's type")
        return value

    def integer(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int(value)):
                return ir.Constant(I64, value)
            case ast.Subscript(slice=ast.Constant(value=int(slot))):
                return self.load(self.sizes, slot)
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in EXACT:
                return getattr(self.builder, EXACT[type(op)])(self.integer(left), self.integer(right), flags=("nsw",))
            case ast.BinOp(left=left, op=op, right=right):
                return self.divide(self.integer(left), self.integer(right), isinstance(op, ast.Mod))
        self.fail(f"`{ast.unparse(node)}` is not an integer")

    def divide(self, value: Any, divisor: Any, want_remainder: bool) -> Any:
        """Python's rounding, towards minus infinity: the remainder of a positive divisor is not negative."""
        b = self.builder
        remainder = b.srem(value, divisor)
        negative = b.icmp_signed("<", remainder, ir.Constant(I64, 0))
        remainder = b.select(negative, b.add(remainder, divisor), remainder)
        return remainder if want_remainder else b.sdiv(b.sub(value, remainder), divisor)

    def fail(self, message: str) -> NoReturn:
        raise InternalError(f"lowering of `{self.entry.name}`", message)

    def load(self, table: Any, slot: int) -> Any:
        return self.builder.load(self.builder.gep(table, [ir.Constant(I64, slot)]))
