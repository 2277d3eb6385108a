"""The text of a generated module, read: its functions with their parameters' types.

A *generated module* is Python text made of functions and nothing else. Every parameter of a *kernel* is annotated with
its type: `i64`, `f32`, `f64` or `real` (the module's dtype) for a scalar, and `real[:]`, `f32[:]`, `f64[:]`, `i64[:]`,
`i32[:]`, `u16[:]` or `u8[:]` for a pointer. A pointer written `real[:]` promises that the memory it reaches overlaps no
other argument's, except that an elementwise kernel may read and write the same place at the same index;
`overlap(real[:])` promises nothing. *Entries* are functions of `(memory, sizes)`, both pointers to `int64`: they take
typed pointers from addresses with `real(memory, 3)` and call kernels. Kernels return nothing, and may call kernels
defined above them. One whose body is `...` is defined in another module.

Statements are assignments to a name or an element, also by an operator, `for` over a `range`, `while`, `if`, `break`,
`continue`, `pass`, `return` without a value, and calls. A name keeps the type of its first value, but for an integer
that becomes a float; integers of an element are int64. Parameters keep their values. There are no chains of
comparisons, and no powers but `pow`. What the text may name is `netlang.targets.cpu.intrinsics.names`. Two rules differ
from plain Python: a float literal has the module's dtype, and an integer that meets a float takes the float's type (so
nothing becomes a double by chance). Indexing `x[i]` neither wraps nor checks bounds. The step of a `range` is a
positive literal.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """A kernel or an entry: its name, its parameters by name, and its statements."""

    name: str
    parameters: Mapping[str, Parameter]
    is_entry: bool
    body: tuple[ast.stmt, ...]

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
    functions = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not _plain(node):
            raise InternalError("a generated module", f"line {node.lineno} is not a plain function")
        is_entry = node.name in entries
        kinds = [ADDRESS_TABLE if is_entry else _parameter(node.name, each, dtype) for each in node.args.args]
        names = [each.arg for each in node.args.args]
        functions.append(Function(node.name, dict(zip(names, kinds, strict=True)), is_entry, tuple(node.body)))
    if twice := [f.name for k, f in enumerate(functions) if f.name in {g.name for g in functions[:k]}]:
        raise InternalError("a generated module", f"`{twice[0]}` is defined twice")
    complete = [f.name for f in functions if f.is_entry and len(f.parameters) == 2]
    if missing := [name for name in entries if name not in complete]:
        raise InternalError("a generated module", f"no entry `{missing[0]}(memory, sizes)`")
    return functions


def _plain(node: ast.FunctionDef) -> bool:
    """Whether it has positional parameters without defaults, and no decorators."""
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
