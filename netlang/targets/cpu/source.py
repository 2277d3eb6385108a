"""The text of a generated module, read: its functions with their parameters' types.

A *generated module* is Python text made of functions and nothing else. Every parameter of a *kernel* is annotated with
its type: `i64`, `f32`, `f64` or `real` (the module's dtype) for a scalar, and `real[:]`, `f32[:]`, `f64[:]`, `i64[:]`,
`i32[:]` or `u8[:]` for a pointer. A pointer written `real[:]` promises that the memory it reaches overlaps no other
argument's, except that an elementwise kernel may read and write the same place at the same index; `overlap(real[:])`
promises nothing. *Entries* are functions of `(memory, sizes)`, both pointers to `int64`: they take typed pointers from
addresses with `real(memory, 3)` and call kernels. Kernels return nothing, and may call kernels defined above them. One
whose body is `...` is defined in another module.

What the text may name is `netlang.targets.cpu.intrinsics.names`. Two rules differ from plain Python: a float literal
has the module's dtype, and an integer that meets a float takes the float's type (so nothing becomes a double by
chance). Indexing `x[i]` neither wraps nor checks bounds. Names beginning `next_`, `stop_` or `constant_` are taken.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

import numpy as np

from netlang.diagnostics import InternalError
from netlang.targets.cpu import intrinsics


@dataclass(frozen=True)
class Parameter:
    """A parameter's element type by name (`f32`), whether it is a pointer, and whether that overlaps no other."""

    element: str
    pointer: bool = False
    exclusive: bool = False


@dataclass(frozen=True)
class Function:
    """A kernel or an entry.

    `body` is as compiled, with float literals replaced by names in `constants`; `real` is `f32` or `f64`.
    """

    python: FunctionType
    parameters: tuple[Parameter, ...]
    is_entry: bool
    body: tuple[ast.stmt, ...]
    constants: Mapping[str, Any]
    real: str

    @property
    def name(self) -> str:
        return self.python.__name__

    @property
    def is_elsewhere(self) -> bool:
        """Whether another module defines it."""
        match self.body:
            case (ast.Expr(value=ast.Constant(value=value)),):
                return value is Ellipsis
        return False


ADDRESS_TABLE = Parameter("i64", pointer=True)


def read(source: str, entries: Sequence[str], dtype: np.dtype[Any]) -> list[Function]:
    """The functions of a generated module, in order of definition; raises `InternalError` where it is none."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise InternalError("a generated module", f"line {error.lineno}: {error.msg}") from error
    parameters = {}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not _plain(node):
            raise InternalError("a generated module", f"line {node.lineno} is not a plain function")
        if node.name in entries:
            parameters[node.name] = tuple(ADDRESS_TABLE for _ in node.args.args)
        else:
            parameters[node.name] = tuple(_parameter(node.name, a, dtype) for a in node.args.args)
        for argument in node.args.args:
            argument.annotation = None
    if missing := [name for name in entries if len(parameters.get(name, ())) != 2]:
        raise InternalError("a generated module", f"no entry `{missing[0]}(memory, sizes)`")
    constants = _Constants(dtype)
    tree = ast.fix_missing_locations(_CountedLoops().visit(constants.visit(tree)))
    namespace = {**intrinsics.names(dtype), **constants.values, "__builtins__": {}}
    code = compile(tree, "<netlang kernels>", "exec")
    exec(code, namespace)  # noqa: S102 - our generator's text; with plain definitions only, nothing in it runs here
    real = intrinsics.real_name(dtype)
    return [
        Function(namespace[n.name], parameters[n.name], n.name in entries, tuple(n.body), constants.values, real)
        for n in tree.body
    ]


def _plain(node: ast.FunctionDef) -> bool:
    """Whether defining the function evaluates nothing: no decorators, defaults, or other than positional parameters."""
    found = node.args
    rest = (found.defaults, found.kw_defaults, found.kwonlyargs, found.posonlyargs, found.vararg, found.kwarg)
    return not (node.decorator_list or node.returns or any(rest))


def _parameter(kernel: str, argument: ast.arg, dtype: np.dtype[Any]) -> Parameter:
    """What an annotation writes: `f32`, `f32[:]` or `overlap(f32[:])`."""

    def element(name: str) -> str:
        name = intrinsics.real_name(dtype) if name == "real" else name
        return name if name in intrinsics.ELEMENTS else ""

    match argument.annotation:
        case ast.Name(id=name) if found := element(name):
            return Parameter(found)
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Slice(lower=None, upper=None, step=None)) if (
            found := element(name)
        ):
            return Parameter(found, pointer=True, exclusive=True)
        case ast.Call(func=ast.Name(id="overlap"), args=[ast.Subscript() as pointer]):
            return replace(_parameter(kernel, ast.arg(argument.arg, pointer), dtype), exclusive=False)
    raise InternalError("a generated module", f"parameter `{argument.arg}` of `{kernel}` has no known type")


class _Constants(ast.NodeTransformer):
    """Makes every float literal a named constant of the module's dtype (a bare literal would be a float64 to Numba)."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.values: dict[str, Any] = {}

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self.visit_Constant(ast.copy_location(ast.Constant(-value), node))
        self.generic_visit(node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, float):
            return node
        name = f"constant_{node.value.hex()}"  # no text can write a name like this
        with np.errstate(over="ignore"):  # beyond float32 a number is infinite, as in arithmetic
            self.values[name] = self.dtype.type(node.value)
        return ast.copy_location(ast.Name(name, ast.Load()), node)


# Loops of constant ends up to this one may be unrolled whole. LLVM would unroll longer ones too, and then vectorize the
# loop around them, at ten times the compile time and no gain in speed; so it is not told where they end.
UNROLLED = 16


class _CountedLoops(ast.NodeTransformer):
    """Turns `for i in range(a, b, step)` into a `while` over an integer.

    Numba's range objects would do, but their iterators cost four times the LLVM code of a comparison and an addition.
    """

    def __init__(self) -> None:
        self.count = 0

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        self.generic_visit(node)
        match node:
            case ast.For(target=ast.Name(id=index), iter=ast.Call(func=ast.Name(id="range"), args=bounds), orelse=[]):
                start, stop, step = _bounds(bounds)
            case _:
                raise InternalError("a generated module", f"line {node.lineno} loops over something that is no `range`")
        match step:
            case ast.Constant(value=int(size)) if size > 0:
                pass
            case _:
                raise InternalError("a generated module", f"line {node.lineno}: a step is a positive literal")
        self.count += 1
        lead: list[ast.stmt] = []
        following = f"next_{self.count}"
        match stop:
            case ast.Constant(value=int(end)) if end > UNROLLED:
                stop = ast.Call(ast.Name("opaque", ast.Load()), [stop], [])
            case _:
                pass
        if not isinstance(stop, ast.Constant):
            lead = [_assign(f"stop_{self.count}", stop)]
            stop = _name(f"stop_{self.count}")
        advance = [
            _assign(index, _name(following)),
            _assign(following, ast.BinOp(_name(following), ast.Add(), step)),
        ]
        test = ast.Compare(_name(following), [ast.Lt()], [stop])
        loop = ast.While(test, [*advance, *node.body], [])
        return [ast.copy_location(each, node) for each in (*lead, _assign(following, start), loop)]


def _bounds(arguments: list[ast.expr]) -> tuple[ast.expr, ast.expr, ast.expr]:
    """The start, stop and step of `range(...)`."""
    if len(arguments) == 1:
        return ast.Constant(0), arguments[0], ast.Constant(1)
    start, stop, *rest = arguments
    return start, stop, rest[0] if rest else ast.Constant(1)


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)
