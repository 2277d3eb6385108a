"""The functions on blocks that kernels call: products, copies and transformations. Each is an object of its own.

They depend on the machine and the type of element alone, not on the program. So they are compiled once on a machine,
kept, and linked to the kernels that call them.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from netlang.schedule.program import LANES
from netlang.targets.cpu.copies import pack, turn
from netlang.targets.cpu.optimize import Machine
from netlang.targets.cpu.products import dot, multiply
from netlang.targets.cpu.transforms import transform
from netlang.targets.cpu.vectors import Writer


def module(symbol: str, machine: Machine) -> str:
    """The text of the LLVM module that defines a function."""
    _, name, *what, levels, real = symbol.split("_")
    width = max(1, min(LANES, machine.registers_bits // (32 if real == "f32" else 64)))
    built = ir.Module(symbol)
    writer = Writer(built, real, width, 28 if machine.registers >= 32 else 12, int(levels))
    WRITERS[name](writer, symbol, *what)
    return str(built)


WRITERS: dict[str, Callable[..., None]] = {
    "pack": pack,
    "turn": turn,
    "dot": dot,
    "multiply": lambda w, symbol, panel: multiply(w, symbol, int(panel)),
    "transform": lambda w, symbol, *sizes: transform(w, symbol, *((int(size[0]), int(size[2])) for size in sizes)),
}
