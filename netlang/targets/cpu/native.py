"""Generated source to callable native code: from the cache where it has been compiled before, else compiled.

A cache hit imports llvmlite alone. The code runs without the interpreter: entries may be called from several threads.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from netlang.cache import cache_folder
from netlang.diagnostics import InternalError
from netlang.targets.cpu import optimize
from netlang.targets.cpu.cache import ObjectCache, key
from netlang.targets.cpu.optimize import Loaded, Machine
from netlang.targets.cpu.parts import parts

ENTRY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
USUAL = ("pack_3", "multiply_32_3", "turn_0", "dot_3", "multiply_16_3")
"""Functions on blocks that most programs call, each with how many summed loops it has."""
COMPILER = (
    *("source.py", "operators.py", "lower.py", "intrinsics.py", "elementary.py", "sharing.py", "optimize.py"),
    *("blocks.py", "vectors.py", "copies.py", "products.py", "transforms.py", "native.py", "parts.py"),
    *("../../schedule/program.py", "../../schedule/winograd/interpolation.py"),
)
"""The files that object code depends on."""


def compile_module(
    source: str,
    entries: Sequence[str],
    *,
    dtype: npt.DTypeLike = np.float32,
    cpu: str = "native",
    cache: ObjectCache | None = None,
) -> NativeModule:
    """Compile a generated module (see `source` for what its text may be), or find it compiled.

    `entries` are the functions of `(memory, sizes)` to export; `dtype`, float32 or float64, is what `real` stands for;
    `cpu` is `native` or an LLVM processor name of the host's architecture. Raises `InternalError` on text that is not a
    generated module.

    >>> module = compile_module('''
    ... def scale(n: i64, x: real[:], y: real[:]):
    ...     for i in range(n):
    ...         y[i] = 2 * x[i]
    ...
    ... def run(memory, sizes):
    ...     scale(sizes[0], real(memory, 0), real(memory, 1))
    ... ''', ["run"])
    >>> x, y = np.ones(3, np.float32), np.zeros(3, np.float32)
    >>> module.entry("run")(np.array([x.ctypes.data, y.ctypes.data]), np.array([3]))
    >>> y
    array([2., 2., 2.], dtype=float32)
    """
    unit = Unit(source, tuple(entries), np.dtype(dtype), optimize.machine(cpu))
    store = cache or ObjectCache(cache_folder())
    units = [replace(unit, source=text, entries=own) for text, own in parts(source, unit.entries)]
    objects = _objects(units[::-1], store, unit.blocks)
    for code in [*objects.values()]:
        objects |= block_objects(code, unit.machine, store)
    return NativeModule(unit.entries, unit.machine, objects, lambda: unit)


def find_module(
    keys: Sequence[str],
    entries: Sequence[str],
    unit: Callable[[], Unit],
    *,
    cpu: str = "native",
    cache: ObjectCache | None = None,
) -> NativeModule | None:
    """The module whose objects are kept under these keys, where all of them are."""
    store = cache or ObjectCache(cache_folder())
    objects = {kept: store.load(kept) for kept in keys}
    found = {kept: code for kept, code in objects.items() if code is not None}
    return NativeModule(tuple(entries), optimize.machine(cpu), found, unit) if len(found) == len(objects) else None


def _objects(
    units: Sequence[Compilable], store: ObjectCache, beside: Callable[[], Sequence[Compilable]] = tuple
) -> dict[str, bytes]:
    """The object of each unit, compiled or found, by its key.

    If one must be compiled, so are those `beside` it that are not kept.
    """
    objects = {unit.key: store.load(unit.key) for unit in units}
    if missing := [unit for unit in units if objects[unit.key] is None]:
        missing += [unit for unit in beside() if store.load(unit.key) is None]
        for unit, code in zip(missing, _compiled(missing), strict=True):
            store.store(unit.key, code)
            if unit.key in objects:
                objects[unit.key] = code
    return {kept: code for kept, code in objects.items() if code is not None}


@contextmanager
def ahead(dtype: np.dtype[Any], cache: ObjectCache | None = None) -> Iterator[None]:
    """While the body works out a program, another process compiles what most programs call and what is not kept."""
    store, real = cache or ObjectCache(cache_folder()), "f32" if dtype == np.float32 else "f64"
    units = [BlockUnit(f"nl_{name}_{real}", optimize.machine()) for name in USUAL]
    missing = [unit for unit in units if store.load(unit.key) is None]
    if not missing:
        yield
        return
    from netlang.targets.cpu import workers

    with workers.ahead(missing, store.store):
        yield


def _compiled(units: Sequence[Compilable]) -> list[bytes]:
    from netlang.targets.cpu import workers

    return workers.compiled(units)


BLOCK = re.compile(r"nl_(?:pack|turn|dot|multiply_\d+|transform(?:_\dx\d)+)_\d_f\d\d")


KERNEL = re.compile(r'^(define|declare) [^\n]*@"?(kernel_\w+)"?\(', re.MULTILINE)


def names_of_kernels(text: str) -> tuple[list[str], list[str]]:
    """The kernels that LLVM code defines, and those that it declares."""
    found = KERNEL.findall(text)
    return [name for kind, name in found if kind == "define"], [name for kind, name in found if kind == "declare"]


def called_blocks(code: str | bytes) -> list[str]:
    """The functions on blocks (see `blocks`) that LLVM code or object code names."""
    return sorted(set(BLOCK.findall(code if isinstance(code, str) else code.decode("latin-1"))))


def block_objects(code: bytes, machine: Machine, store: ObjectCache) -> dict[str, bytes]:
    """The objects of the functions on blocks that object code calls, compiled or found, by their keys."""
    return _objects([BlockUnit(symbol, machine) for symbol in called_blocks(code)], store)


class Compilable(Protocol):
    """What becomes an object that is kept under its key."""

    @property
    def key(self) -> str: ...

    def compiled(self) -> bytes:
        """The object code."""


@dataclass(frozen=True)
class BlockUnit:
    """A function on blocks, by its name, for a machine."""

    symbol: str
    machine: Machine

    @property
    def key(self) -> str:
        return key((compiler(), self.machine.triple, self.machine.cpu, self.machine.features, self.symbol))

    def compiled(self) -> bytes:
        from netlang.targets.cpu import blocks

        text = blocks.module(self.symbol, self.machine)
        return optimize.object_code(optimize.simplified(text, self.symbol, self.machine), self.machine)


@dataclass(frozen=True)
class Unit:
    """What is compiled, and for which machine. One without entries shows its kernels to other units."""

    source: str
    entries: tuple[str, ...]
    dtype: np.dtype[Any]
    machine: Machine

    @property
    def key(self) -> str:
        machine = self.machine
        return key(
            (compiler(), machine.triple, machine.cpu, machine.features, self.dtype.name, *self.entries, self.source)
        )

    def blocks(self) -> list[BlockUnit]:
        """The functions on blocks that it calls."""
        from netlang.targets.cpu.intrinsics import blocks_in

        return [BlockUnit(name, self.machine) for name in blocks_in(self.source, self.dtype)]

    def compiled(self) -> bytes:
        return optimize.object_code(self.optimized(), self.machine)

    def optimized(self) -> Any:
        """The optimized LLVM module. Imports Numba."""
        from netlang.targets.cpu import elementary, sharing
        from netlang.targets.cpu.lower import lower

        text = lower(self.source, self.entries, self.dtype)
        texts = [text, elementary.module(), sharing.module(text, self.machine)]
        shown, imported = names_of_kernels(text)
        shown = [symbol(e) for e in self.entries] or shown
        return optimize.optimized([*filter(None, texts)], shown, self.machine, {*called_blocks(text), *imported})


@dataclass(frozen=True, eq=False)
class NativeModule:
    """Entries, and the objects that make them, by the keys under which they are kept."""

    entries: tuple[str, ...]
    machine: Machine
    objects: Mapping[str, bytes]
    unit: Callable[[], Unit]  # what was compiled

    def entry(self, name: str) -> Entry:
        """The exported function `name`. The code stays loaded while the entry lives."""
        if name not in self.entries:
            raise InternalError("a native module", f"no entry `{name}`")
        return Entry(name, ENTRY(self._loaded.addresses[symbol(name)]), self._loaded)

    @property
    def object_code(self) -> bytes:
        """The object that has the entries."""
        return next(iter(self.objects.values()))

    def ir(self) -> str:
        """The optimized LLVM code as text. Compiles again."""
        return str(self.unit().optimized())

    def assembly(self) -> str:
        """The machine code as text. Compiles again."""
        return optimize.assembly(self.unit().optimized(), self.machine)

    @cached_property
    def _loaded(self) -> Loaded:
        return optimize.load([*self.objects.values()], [symbol(e) for e in self.entries], self.machine)


@dataclass(frozen=True, eq=False)
class Entry:
    """`int nl_<name>(int64_t *memory, int64_t *sizes)`, called without the interpreter lock."""

    name: str
    function: Callable[[int, int], int]
    loaded: Loaded

    def __call__(self, memory: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> None:
        """Run on an address table and a size table (both int64); they and what they point to must be right."""
        self.bind(memory, sizes)()

    @property
    def address(self) -> int:
        """Where its code is."""
        return self.loaded.addresses[symbol(self.name)]

    def bind(self, memory: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Callable[[], None]:
        """The call with its tables fixed (their contents may change): it costs well under a microsecond."""
        for table in (memory, sizes):
            if table.dtype != np.int64 or not table.flags.c_contiguous:
                raise InternalError(f"entry `{self.name}`", f"a table is {table.dtype}, not contiguous int64")
        function, addresses = self.function, (memory.ctypes.data, sizes.ctypes.data)
        tables = (memory, sizes, self.loaded)  # kept alive by the closure

        def call() -> None:
            if function(*addresses):
                raise InternalError(f"entry `{self.name}`", f"status is not zero (tables {tables[:2]})")

        return call


def symbol(entry: str) -> str:
    """The C name of an entry."""
    return f"nl_{entry}"


@cache
def compiler() -> str:
    """Identifies the compiler: two that differ in any way that matters differ here."""
    here = Path(__file__).parent
    ours = key((here / name).read_text(encoding="utf-8") for name in COMPILER)
    python = f"python {sys.version_info.major}.{sys.version_info.minor}"
    return f"{ours} numba {metadata.version('numba')} {optimize.versions()} {python}"
