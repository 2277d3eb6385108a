"""From generated Python source to one LLVM module: Numba types and lowers, without its dispatcher or run time.

A *generated module* is Python text made of functions and nothing else. Every parameter of a *kernel* is annotated with
its type: `i64`, `f32`, `f64` or `real` (the module's dtype) for a scalar, and `real[:]`, `f32[:]`, `f64[:]`, `i64[:]`,
`i32[:]` or `u8[:]` for a pointer. A pointer written `real[:]` promises that the memory it reaches overlaps no other
argument's, except that an elementwise kernel may read and write the same place at the same index; `overlap(real[:])`
promises nothing. *Entries* are functions of `(memory, sizes)`, both pointers to `int64`: they take typed pointers from
addresses with `real(memory, 3)` and call kernels. Kernels return nothing, and may call kernels defined above them.

What the text may name is `netlang.targets.cpu.intrinsics.names`. Two rules differ from plain Python: a float literal
has the module's dtype, and an integer that meets a float takes the float's type (so nothing becomes a double by
chance). Indexing `x[i]` neither wraps nor checks bounds. Names beginning `next_`, `stop_` or `constant_` are taken.

Only the passes of Numba that plain loops over scalars need are run, with only the declarations that they need; what was
found for an operator on given types is remembered; and all functions are lowered into a single LLVM module, which is
parsed and optimized once. A kernel of two or three loops costs about 12 ms here and 9 in LLVM.
"""

from __future__ import annotations

import ast
import gc
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba.core import codegen, cpu, fastmathpass, types, typing
from numba.core.compiler import CompilerBase, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.cpu_options import FastMathOptions
from numba.core.imputils import builtin_registry as implementations
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.typing import builtins
from numba.core.typing.templates import AbstractTemplate, builtin_registry
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode

from netlang.diagnostics import InternalError
from netlang.targets.cpu import intrinsics
from netlang.targets.cpu.intrinsics import Intrinsic

FLAGS = {"contract", "reassoc", "nsz", "arcp"}  # never nnan or ninf: what is not finite must behave
ARITHMETIC = frozenset(
    {
        *(operator.add, operator.sub, operator.mul, operator.truediv, operator.pow),
        *(operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow),
        *(operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne),
    }
)


def lower(source: str, entries: Sequence[str], dtype: np.dtype[Any]) -> str:
    """The LLVM IR text of a generated module, not yet optimized: kernels, entries, and `nl_<entry>` for each entry.

    Raises `InternalError` where the text is not a generated module or does not type: it comes from our generator.
    """
    functions = _functions(source, entries, dtype)
    with global_compiler_lock, _no_collection():
        typing_context = KernelTyping()
        target = KernelTarget(typing_context)
        for function, parameters in functions:
            _lower_function(typing_context, target, function, parameters)
        module = target.codegen().module
        fastmathpass.rewrite_module(module, FastMathOptions(FLAGS))
    return "\n".join([str(module), *map(_export, entries)])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the cyclic garbage collector, which would walk Numba's many live objects again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class KernelTyping(typing.BaseContext):  # type: ignore[misc]
    """Types scalars, pointers and ranges only; remembers what it found for each operator and types of operands."""

    def __init__(self) -> None:
        super().__init__()
        self._resolved: dict[Any, Any] = {}
        self._templates: dict[Intrinsic, Any] = {}
        self._install(builtins.__name__)

    def _install(self, module: str) -> None:
        """Take from Numba's registry what one of its modules declares: most of the rest is about arrays and objects,
        and setting it up would import SciPy."""
        for template in builtin_registry.functions:
            if template.__module__ == module:
                self.insert_function(template)
        kinds: dict[Any, Any] = {}
        for value, kind in builtin_registry.globals:
            # a template registered for a value is an anonymous subclass of the one that the module wrote
            if all(module in {base.__module__ for base in t.__mro__} for t in getattr(kind, "templates", ())):
                kinds[value] = kinds[value].augment(kind) if value in kinds else kind
        for value, kind in kinds.items():
            self._insert_global(value, kind)

    def refresh(self) -> None:
        """Numba's declarations are taken once."""

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        args = _weak_integers(func, tuple(map(types.unliteral, args)))
        found = self._resolved.get((func, args))
        if found is None:
            found = self._resolved[func, args] = super().resolve_function_type(func, args, kws)
        return found

    def resolve_value_type(self, val: Any) -> Any:
        if val is bool:  # what Numba calls on the condition of a branch
            val = intrinsics.TRUTH
        if isinstance(val, Intrinsic):
            return self._templates.get(val) or self._templates.setdefault(val, types.Function(_template(val)))
        return super().resolve_value_type(val)


def _template(intrinsic: Intrinsic) -> Any:
    """Numba's typing of an intrinsic."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        key = intrinsic

        def generic(self, args: Any, kws: Any) -> Any:
            found = intrinsic.typed(*args)
            return typing.signature(found.result, *found.arguments) if found else None

    return Template


def _weak_integers(func: Any, args: Any) -> Any:
    """An integer operand next to a float takes its type: as NumPy's Python scalars, so that `2 * x` stays float32."""
    if getattr(func, "typing_key", func) in ARITHMETIC:
        floats = [a for a in args if isinstance(a, types.Float)]
        if floats and len(floats) < len(args):
            return tuple(floats[0] if isinstance(a, types.Integer) else a for a in args)
    return args


class KernelTarget(cpu.CPUContext):  # type: ignore[misc]
    """Lowers into one module; loads only the implementations that kernels can use."""

    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = KernelCodegen("netlang")
        self._sizes: dict[Any, int] = {}
        from numba.cpython import builtins, numbers  # noqa: F401 - their import registers what they implement

        self.install_registry(implementations)

    def refresh(self) -> None:
        """Numba's implementations are taken once."""

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        intrinsic = getattr(fn, "typing_key", None)
        if isinstance(intrinsic, Intrinsic):
            found = intrinsic.typed(*sig.args)
            return lambda builder, arguments, place=None: found.emit(self, builder, arguments) if found else None
        return super().get_function(fn, sig, _firstcall)

    def get_abi_sizeof(self, ty: Any) -> int:
        """The bytes of a type, remembered: Numba asks for every variable, and LLVM parses a module to answer."""
        if (size := self._sizes.get(ty)) is None:
            size = self._sizes[ty] = super().get_abi_sizeof(ty)
        return size

    def mangler(self, name: str, types: Any, *, abi_tags: Any = (), uid: Any = None) -> str:
        return f"kernel_{name.rpartition('.')[2]}"

    def declare_env_global(self, module: Any, envname: str) -> None:
        """Kernels have no Python environment."""

    def post_lowering(self, mod: Any, library: Any) -> None:
        """The whole module's flags are set once, at the end."""


class KernelLibrary(codegen.AOTCodeLibrary):  # type: ignore[misc]
    """Collects every function in the codegen's one module; never parses, optimizes or finalizes."""

    def __init__(self, owner: Any, name: str) -> None:
        codegen.CodeLibrary.__init__(self, owner, name)

    def create_ir_module(self, name: str) -> Any:
        return self._codegen.module

    def add_ir_module(self, ir_module: Any) -> None:
        pass

    def add_linking_library(self, library: Any) -> None:
        pass


class KernelCodegen(codegen.AOTCPUCodegen):  # type: ignore[misc]
    _library_class = KernelLibrary

    def __init__(self, module_name: str) -> None:
        super().__init__(module_name)
        self.module = self._create_empty_module(module_name)


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's pipeline without the passes for closures, rewrites, literals, parallel loops and annotations."""

    def define_pipelines(self) -> list[Any]:
        passes = PassManager("kernel")
        for each in (
            TranslateByteCode,
            FixupArgs,
            IRProcessing,
            ReconstructSSA,
            NopythonTypeInference,
            PreLowerStripPhis,
            IRLegalization,
            NativeLowering,
            NoPythonBackend,
        ):
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


@dataclass(frozen=True)
class Parameter:
    """A parameter's Numba type, and whether it is a pointer that promises to overlap no other."""

    type: Any
    exclusive: bool = False


def _functions(source: str, entries: Sequence[str], dtype: np.dtype[Any]) -> list[tuple[Any, list[Parameter]]]:
    """The Python functions of a generated module with their parameters, in order of definition."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise InternalError("a generated module", f"line {error.lineno}: {error.msg}") from error
    address_table = Parameter(types.CPointer(types.int64))
    parameters = {}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not _plain(node):
            raise InternalError("a generated module", f"line {node.lineno} is not a plain function")
        if node.name in entries:
            parameters[node.name] = [address_table for _ in node.args.args]
        else:
            parameters[node.name] = [_parameter(node.name, a, dtype) for a in node.args.args]
        for argument in node.args.args:
            argument.annotation = None
    if missing := [name for name in entries if len(parameters.get(name, ())) != 2]:
        raise InternalError("a generated module", f"no entry `{missing[0]}(memory, sizes)`")
    constants = _Constants(dtype)
    tree = _CountedLoops().visit(constants.visit(tree))
    namespace = {**intrinsics.names(dtype), **constants.values, "__builtins__": {}}
    code = compile(ast.fix_missing_locations(tree), "<netlang kernels>", "exec")
    exec(code, namespace)  # noqa: S102 - our generator's text; with plain definitions only, nothing in it runs here
    return [(namespace[name], found) for name, found in parameters.items()]


def _plain(node: ast.FunctionDef) -> bool:
    """Whether defining the function evaluates nothing: no decorators, defaults, or other than positional parameters."""
    found = node.args
    rest = (found.defaults, found.kw_defaults, found.kwonlyargs, found.posonlyargs, found.vararg, found.kwarg)
    return not (node.decorator_list or node.returns or any(rest))


def _parameter(kernel: str, argument: ast.arg, dtype: np.dtype[Any]) -> Parameter:
    """The type that an annotation writes: `f32`, `f32[:]` or `overlap(f32[:])`."""
    real = intrinsics.real_name(dtype)
    match argument.annotation:
        case ast.Name(id=name):
            scalar = intrinsics.ELEMENTS.get(real if name == "real" else name)
            if scalar is not None:
                return Parameter(scalar)
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Slice(lower=None, upper=None, step=None)):
            element = intrinsics.ELEMENTS.get(real if name == "real" else name)
            if element is not None:
                return Parameter(types.CPointer(element), exclusive=True)
        case ast.Call(func=ast.Name(id="overlap"), args=[pointer]):
            inner = _parameter(kernel, ast.arg(argument.arg, pointer), dtype)
            return Parameter(inner.type)
    raise InternalError("a generated module", f"parameter `{argument.arg}` of `{kernel}` has no known type")


class _Constants(ast.NodeTransformer):
    """Makes every float literal a named constant of the module's dtype (a bare literal would be a float64 to Numba)."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.values: dict[str, Any] = {}

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, float):
            return node
        name = f"constant_{node.value.hex()}"
        self.values[name] = self.dtype.type(node.value)
        return ast.copy_location(ast.Name(name, ast.Load()), node)


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


def _lower_function(typing_context: Any, target: Any, function: Any, parameters: list[Parameter]) -> None:
    flags = Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    library = target.codegen().create_library(function.__name__)
    arguments = tuple(p.type for p in parameters)
    compiler = KernelCompiler(typing_context, target, library, arguments, None, flags, {})
    try:
        result = compiler.compile_extra(function)
    except Exception as error:  # Numba raises its own errors, and on text that it does not foresee any other
        raise InternalError(f"lowering of `{function.__name__}`", str(error)) from error
    descriptor = result.fndesc
    template = typing.make_concrete_template(function.__name__, function, [result.signature])
    typing_context.insert_user_function(function, template)
    target.insert_user_function(function, descriptor)
    lowered = target.codegen().module.get_global(descriptor.llvm_func_name)
    lowered.linkage = "internal"
    lowered.attributes.add("noinline")
    for argument, parameter in zip(lowered.args[2:], parameters, strict=True):
        if parameter.exclusive:
            argument.add_attribute("noalias")


def _export(entry: str) -> str:
    """The C function `int nl_<entry>(int64_t *memory, int64_t *sizes)` around Numba's calling convention."""
    return f"""
define i32 @"nl_{entry}"(ptr %memory, ptr %sizes) {{
  %result = alloca ptr
  %exception = alloca ptr
  %status = call i32 @"kernel_{entry}"(ptr %result, ptr %exception, ptr %memory, ptr %sizes)
  ret i32 %status
}}
"""
