"""From a generated module to LLVM code: Numba types and lowers, without its dispatcher or run time.

Only the passes of Numba that plain loops over scalars need are run, with only the declarations that they need; what was
found for an operator on given types is remembered; and all functions are lowered into a single LLVM module, which is
parsed and optimized once. A kernel of two or three loops costs about 12 ms here and 9 in LLVM.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
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
from netlang.garbage import no_collection
from netlang.targets.cpu import intrinsics
from netlang.targets.cpu.entry import declare, is_straight, lower_straight
from netlang.targets.cpu.intrinsics import Intrinsic
from netlang.targets.cpu.source import Function, Parameter, read

# Never nnan or ninf, because what is not finite must behave; nor arcp, with which 1 / sqrt(0) and 1 / sqrt(inf) are
# estimated and become NaN.
FLAGS = {"contract", "reassoc", "nsz"}
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
    functions = read(source, entries, dtype)
    wrapped = []
    with global_compiler_lock, no_collection():
        typing_context = KernelTyping()
        target = KernelTarget(typing_context)
        module = target.codegen().module
        for function in functions:
            if function.is_elsewhere:
                declare(function, module)
                continue
            if function.is_entry and is_straight(function):
                lower_straight(function, module)
                continue
            _lower_function(typing_context, target, function, "internal" if entries else "")
            if function.is_entry:
                wrapped.append(function.name)
        fastmathpass.rewrite_module(module, FastMathOptions(FLAGS))
    return "\n".join([str(module), *map(_export, wrapped)])


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


def _lower_function(typing_context: Any, target: Any, function: Function, linkage: str) -> None:
    flags = Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    library = target.codegen().create_library(function.name)
    arguments = tuple(_type(p) for p in function.parameters)
    compiler = KernelCompiler(typing_context, target, library, arguments, None, flags, {})
    try:
        result = compiler.compile_extra(function.python)
    except Exception as error:  # Numba raises its own errors, and on text that it does not foresee any other
        raise InternalError(f"lowering of `{function.name}`", str(error)) from error
    descriptor = result.fndesc
    template = typing.make_concrete_template(function.name, function.python, [result.signature])
    typing_context.insert_user_function(function.python, template)
    target.insert_user_function(function.python, descriptor)
    lowered = target.codegen().module.get_global(descriptor.llvm_func_name)
    lowered.linkage = linkage
    lowered.attributes.add("noinline")
    for argument, parameter in zip(lowered.args[2:], function.parameters, strict=True):
        if parameter.exclusive:
            argument.add_attribute("noalias")


def _type(parameter: Parameter) -> Any:
    element = intrinsics.ELEMENTS[parameter.element]
    return types.CPointer(element) if parameter.pointer else element


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
