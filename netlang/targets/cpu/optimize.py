"""LLVM: the machine that code is for, the optimization of a module, its object code. Imports llvmlite, not Numba."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from netlang.diagnostics import InternalError

LIBRARY = frozenset(
    {
        *("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "pow", "powf"),
        *("memset", "memcpy", "memmove", "memset_pattern16", "bzero", "sched_yield"),
    }
)
"""The C library functions that object code may call; anything else undefined is a defect found at compile time."""


@dataclass(frozen=True)
class Machine:
    """What object code depends on: LLVM's triple, processor name and feature string (`+avx2,-sse4a,...`)."""

    triple: str
    cpu: str
    features: str

    @property
    def vector_bits(self) -> int:
        """The widest vector registers worth using, 0 where LLVM's own choice is best."""
        return 512 if "+avx512f" in self.features else 0

    @property
    def registers_bits(self) -> int:
        """How wide the vector registers are."""
        if "+avx512f" in self.features or self.cpu == "x86-64-v4":
            return 512
        return 256 if "+avx2" in self.features or self.cpu == "x86-64-v3" else 128

    @property
    def registers(self) -> int:
        """How many vector registers there are."""
        return 32 if self.registers_bits == 512 or not self.triple.startswith("x86_64") else 16

    def target(self) -> Any:
        """LLVM's target machine; position-independent, so that the object can be linked into a shared library too."""
        _initialize()
        target = llvm.Target.from_triple(self.triple)
        return target.create_target_machine(self.cpu, self.features, opt=3, reloc="pic", codemodel="default")


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def machine(cpu: str = "native") -> Machine:
    """The machine that runs this process (`native`), or a processor of its architecture (`x86-64-v3`, `generic`)."""
    _initialize()
    triple = llvm.get_process_triple()
    features = llvm.get_host_cpu_features().flatten() if cpu == "native" else ""
    if triple.startswith("x86_64"):
        # two shuffled loads beat a gather for a stride of two (pooling: 8 times faster on Zen 5)
        features = ",".join(filter(None, (features, "+prefer-no-gather", "+prefer-no-scatter")))
    return Machine(triple, llvm.get_host_cpu_name() if cpu == "native" else cpu, features)


def optimized(texts: Sequence[str], exported: Sequence[str], machine: Machine, imported: Collection[str] = ()) -> Any:
    """Modules of LLVM IR text linked into one and optimized for `machine`; only the `exported` symbols stay visible.

    Functions that are not defined must be among those `imported` from other objects, or of the C library.
    """
    target = machine.target()
    module = llvm.parse_assembly(_with_attributes(for_machine(texts[0], target), machine))
    for text in texts[1:]:
        module.link_in(llvm.parse_assembly(_with_attributes(for_machine(text, target), machine)))
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in exported:
            value.linkage = "internal"
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    builder = llvm.create_pass_builder(target, tuning)
    builder.getModulePassManager().run(module, builder)
    for function in module.functions:
        if not function.is_declaration or function.name.startswith("llvm."):
            continue
        if function.name not in LIBRARY and function.name not in imported:
            raise InternalError("linking of a module", f"`{function.name}` is not defined")
    return module


PLAIN = ("sroa", "instruction_combine", "simplify_cfg", "loop_rotate")


def simplified(text: str, exported: str, machine: Machine) -> Any:
    """A module of code that is written as it is to run: its variables go into registers, and that is all.

    It takes a fourth of the time of `optimized`, where vectors and unrolled loops are there already.
    """
    target = machine.target()
    module = llvm.parse_assembly(_with_attributes(for_machine(text, target), machine))
    module.get_function(exported).visibility = "hidden"  # to what the object is linked to a library with
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    for name in PLAIN:
        getattr(passes, f"add_{name}_pass")()
    passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
    return module


def object_code(module: Any, machine: Machine) -> bytes:
    """The relocatable object (ELF, Mach-O or COFF, as the triple says)."""
    return bytes(machine.target().emit_object(module))


def assembly(module: Any, machine: Machine) -> str:
    return str(machine.target().emit_assembly(module))


def versions() -> str:
    """The compiler versions that object code depends on."""
    return f"llvmlite {llvmlite.__version__} llvm {'.'.join(map(str, llvm.llvm_version_info))}"


def for_machine(text: str, target: Any) -> str:
    body = re.sub(r"^target (triple|datalayout) = .*\n", "", text, flags=re.MULTILINE)
    return f'target triple = "{target.triple}"\ntarget datalayout = "{target.target_data}"\n{body}'


def _with_attributes(text: str, machine: Machine) -> str:
    """Every definition marked as one that cannot unwind, and with the vector width to prefer."""
    attributes = "nounwind"
    if machine.vector_bits:
        attributes += f' "prefer-vector-width"="{machine.vector_bits}"'
    return re.sub(r"^(define [^\n{]*?)(\s*\{?)$", rf"\1 {attributes}\2", text, flags=re.MULTILINE)


@dataclass(frozen=True, eq=False)
class Loaded:
    """Object code in executable memory, and the addresses of what it exports; the code lives as long as this does."""

    addresses: Mapping[str, int]
    owner: Any


def load(codes: Sequence[bytes], exported: Sequence[str], machine: Machine) -> Loaded:
    """Load objects, calls between them and to the C library resolved.

    By JITLink, which puts all of an object into one block. The older loader, which may put code and constants further
    apart than 32-bit distances reach, and then ends the process, is left to Windows, whose objects JITLink does not
    load yet.
    """
    _initialize()
    if sys.platform == "win32":
        return _load_on_windows(codes, exported, machine)
    jit = llvm.create_lljit_compiler(machine.target(), use_jit_link=True)
    library = llvm.JITLibraryBuilder()
    for code in codes:
        library.add_object_img(code)
    for name, address in _library().items():
        library.import_symbol(name, address)
    for name in exported:
        library.export_symbol(name)
    linked = library.link(jit, "kernels")
    return Loaded({name: linked[name] for name in exported}, (linked, jit))


def _load_on_windows(codes: Sequence[bytes], exported: Sequence[str], machine: Machine) -> Loaded:
    for name, address in _library().items():
        llvm.add_symbol(name, address)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(f'target triple = "{machine.triple}"'), machine.target())
    for code in codes:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Loaded({name: engine.get_function_address(name) for name in exported}, engine)


@cache
def _library() -> Mapping[str, int]:
    """Where the C library's functions are; some exist on one system only, and are called there only."""
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    found: dict[str, int] = {}
    for name in LIBRARY:
        address = llvm.address_of_symbol(name)
        if not address and (function := getattr(library, name, None)):
            address = ctypes.cast(function, ctypes.c_void_p).value
        if address:
            found[name] = address
    return found
