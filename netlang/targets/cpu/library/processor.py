"""Which processors a library is for, and the code with which it finds out whether it runs on one.

The kernels of a library use the vector instructions of one processor or level; everything else in it is code for any
processor of the architecture. So every library can be asked, and refuses by a status what else would end in an illegal
instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from netlang.diagnostics import fail, listing
from netlang.targets.cpu import optimize
from netlang.targets.cpu.optimize import Machine

I32, I64 = ir.IntType(32), ir.IntType(64)
AVX, AVX512 = 0x06, 0xE6  # the registers that the system must save: bits of XCR0
OSXSAVE = 27  # the bit of leaf 1, ecx, without which XCR0 cannot be read


@dataclass(frozen=True)
class Bit:
    """Where CPUID tells of a feature (Intel SDM, vol. 2A, CPUID), and the bits of XCR0 that it needs."""

    leaf: int
    register: str
    bit: int
    saved: int = 0


EXTENDED = 0x80000001
FEATURES = {
    "sse3": Bit(1, "ecx", 0),
    "ssse3": Bit(1, "ecx", 9),
    "cx16": Bit(1, "ecx", 13),
    "sse4.1": Bit(1, "ecx", 19),
    "sse4.2": Bit(1, "ecx", 20),
    "popcnt": Bit(1, "ecx", 23),
    "sahf": Bit(EXTENDED, "ecx", 0),
    "avx": Bit(1, "ecx", 28, AVX),
    "fma": Bit(1, "ecx", 12, AVX),
    "f16c": Bit(1, "ecx", 29, AVX),
    "movbe": Bit(1, "ecx", 22),
    "avx2": Bit(7, "ebx", 5, AVX),
    "bmi": Bit(7, "ebx", 3),
    "bmi2": Bit(7, "ebx", 8),
    "lzcnt": Bit(EXTENDED, "ecx", 5),
    "avx512f": Bit(7, "ebx", 16, AVX512),
    "avx512dq": Bit(7, "ebx", 17, AVX512),
    "avx512cd": Bit(7, "ebx", 28, AVX512),
    "avx512bw": Bit(7, "ebx", 30, AVX512),
    "avx512vl": Bit(7, "ebx", 31, AVX512),
}
"""By LLVM's names, in the order of the levels of the x86-64 psABI: nothing else of a processor is used."""

LEVELS = {"x86-64": 0, "x86-64-v2": 7, "x86-64-v3": 15, "x86-64-v4": 20}  # how many of FEATURES each has
BASELINE = frozenset({"64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2"})  # what every x86-64 has


@dataclass(frozen=True)
class Processor:
    """What the kernels of a library are compiled for, what all else in it is, and the features that kernels need."""

    name: str
    kernels: Machine
    baseline: Machine
    needed: tuple[str, ...]


@cache
def processor(cpu: str = "native") -> Processor:
    """The processor of `--cpu`: `native`, or `x86-64` to `x86-64-v4` on x86-64, `generic` elsewhere.

    On other architectures `native` is `generic`: there, a library has no way to ask. Raises `NetlangError`
    (`unknown-processor`).
    """
    triple = optimize.machine().triple
    levels = tuple(LEVELS) if triple.startswith("x86_64") else ("generic",)
    if cpu != "native" and cpu not in levels:
        fail(
            "unknown-processor",
            f"libraries are not compiled for `{cpu}`",
            place="--cpu",
            help=f"choose {listing(('native', *levels))}",
        )
    if levels == ("generic",):
        return Processor(cpu, Machine(triple, "generic", ""), Machine(triple, "generic", ""), ())
    baseline = Machine(triple, "x86-64", "")
    if cpu != "native":
        needed = tuple(FEATURES)[: LEVELS[cpu]]
        features = [f"+{f}" for f in needed]
        return Processor(cpu, Machine(triple, cpu, _joined(features)), baseline, needed)
    found = llvm.get_host_cpu_features()
    needed = tuple(f for f in FEATURES if found.get(f))
    features = [f"{'+' if f in needed else '-'}{f}" for f in found if f not in BASELINE]
    return Processor(
        llvm.get_host_cpu_name(), Machine(triple, llvm.get_host_cpu_name(), _joined(features)), baseline, needed
    )


def _joined(features: list[str]) -> str:
    return ",".join([*features, "+prefer-no-gather", "+prefer-no-scatter"])  # as `optimize.machine`


def define_missing(module: Any, name: str, needed: tuple[str, ...]) -> Any:
    """Define `int64_t name(void)`: the features that this processor lacks, a bit for each place in `needed`."""
    function = ir.Function(module, ir.FunctionType(I64, []), name)
    b = ir.IRBuilder(function.append_basic_block())
    missing: Any = ir.Constant(I64, 0)
    if needed:
        ask = _Questions(b)
        for place, feature in enumerate(needed):
            has = ask.has(FEATURES[feature])
            missing = b.or_(missing, b.shl(b.zext(b.not_(has), I64), ir.Constant(I64, place)))
    b.ret(missing)
    return function


class _Questions:
    """CPUID and XGETBV, each asked once."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.leaves: dict[int, Any] = {}
        self.saved = self._saved()

    def has(self, feature: Bit) -> Any:
        b = self.builder
        found = self._is_set(self._register(feature.leaf, feature.register), feature.bit)
        if feature.saved:
            wanted = ir.Constant(I32, feature.saved)
            found = b.and_(found, b.icmp_unsigned("==", b.and_(self.saved, wanted), wanted))
        return found

    def _register(self, leaf: int, register: str) -> Any:
        """A register of a leaf; zero where the processor has no such leaf."""
        b = self.builder
        if leaf not in self.leaves:
            last = b.extract_value(self._cpuid(leaf & 0x80000000), 0)
            self.leaves[leaf] = self._cpuid(leaf), b.icmp_unsigned(">=", last, ir.Constant(I32, leaf))
        registers, exists = self.leaves[leaf]
        return b.select(
            exists, b.extract_value(registers, ("eax", "ebx", "ecx", "edx").index(register)), ir.Constant(I32, 0)
        )

    def _cpuid(self, leaf: int) -> Any:
        kind = ir.FunctionType(ir.LiteralStructType([I32] * 4), [I32, I32])
        constraint = "={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}"
        return self.builder.asm(kind, "cpuid", constraint, [ir.Constant(I32, leaf), ir.Constant(I32, 0)], True)

    def _saved(self) -> Any:
        """The low half of XCR0, which may be read only where the system says so."""
        b = self.builder
        readable = self._is_set(self._register(1, "ecx"), OSXSAVE)
        before = b.block
        with b.if_then(readable):
            kind = ir.FunctionType(ir.LiteralStructType([I32, I32]), [I32])
            constraint = "={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}"
            value = b.extract_value(b.asm(kind, "xgetbv", constraint, [ir.Constant(I32, 0)], True), 0)
            inside = b.block
        merged = b.phi(I32)
        merged.add_incoming(ir.Constant(I32, 0), before)
        merged.add_incoming(value, inside)
        return merged

    def _is_set(self, register: Any, bit: int) -> Any:
        return self.builder.trunc(self.builder.lshr(register, ir.Constant(I32, bit)), ir.IntType(1))
