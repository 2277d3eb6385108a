"""A Program ready to run: compiled, its arrays bound by address, its temporaries in one arena that is used again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import InternalError
from netlang.schedule.memory import ALIGNMENT, plan
from netlang.schedule.program import Buffer, Program
from netlang.targets.cpu.cache import ObjectCache
from netlang.targets.cpu.generate import ENTRY, address_slots, generate, number_slots
from netlang.targets.cpu.native import NativeModule, compile_module

Array = npt.NDArray[Any]
_NO_KEYS: Mapping[str, int] = MappingProxyType({})


def build(
    program: Program, dtype: npt.DTypeLike = np.float32, *, cpu: str = "native", cache: ObjectCache | None = None
) -> CpuProgram:
    """Generate and compile a program, or find it compiled. `dtype`, float32 or float64, is that of its reals."""
    source = generate(program)
    module = compile_module(source, [ENTRY], dtype=dtype, cpu=cpu, cache=cache)
    return CpuProgram(program, np.dtype(dtype), source, module)


class CpuProgram:
    """Runs a program on arrays of the caller.

    Reals are arrays of `dtype`, ints of int64; all are C-contiguous and of the shape that the program says. One run at
    a time: others wait. Runs with the sizes and arrays of the run before allocate nothing.
    """

    def __init__(self, program: Program, dtype: np.dtype[Any], source: str, module: NativeModule) -> None:
        self.program, self.dtype, self.source, self.module = program, dtype, source, module
        self._slots = {name: k for k, name in enumerate(address_slots(program))}
        self._numbers = {name: k for k, name in enumerate(number_slots(program))}
        self._external = program.of_kind("input", "param", "state", "output")
        self._entry = module.entry(ENTRY)
        self._lock = threading.Lock()
        self._bindings: dict[tuple[int, ...], _Binding] = {}

    def run(
        self, arrays: Mapping[str, Array], sizes: Mapping[str, int], keys: Mapping[str, int] = _NO_KEYS
    ) -> dict[str, Array]:
        """Run once; returns the array of each root of the program, by the root's name.

        `arrays` holds every input, parameter and state that the program reads, and may hold output buffers by name;
        outputs that it lacks are made. Parameters and states that the program updates are written in place. `keys` has
        the key of each random node. Raises `InternalError` where an array is missing or has a wrong dtype, layout or
        shape: callers check what users give.
        """
        with self._lock:
            binding = self._binding(sizes)
            held = binding.held
            given: dict[str, Array] = {}
            for buffer in self._external:
                array = arrays.get(buffer.name)
                if array is None:
                    array = self._new(buffer, binding)
                elif held.get(buffer.name) is not array:
                    self._check(buffer, array, binding)
                given[buffer.name] = array
                if held.get(buffer.name) is not array:
                    held[buffer.name] = array
                    binding.memory[self._slots[buffer.name]] = array.ctypes.data
            for name in self.program.keys:
                if name not in keys:
                    raise InternalError("CpuProgram.run", f"no key for the random node `{name}`")
                binding.numbers[self._numbers[name]] = keys[name]
            binding.call()
            return {root: given[t.buffer].reshape(binding.shapes[root]) for root, t in self.program.outputs.items()}

    def bytes(self, sizes: Mapping[str, int]) -> int:
        """The bytes of the arena that holds all temporaries, for these run-time sizes."""
        return plan(self.program, sizes, self.dtype.itemsize).bytes

    def _binding(self, sizes: Mapping[str, int]) -> _Binding:
        try:
            values = tuple(sizes[name] for name in self.program.sizes)
        except KeyError as missing:
            raise InternalError("CpuProgram.run", f"no run-time size {missing}") from None
        binding = self._bindings.get(values)
        if binding is None:
            if len(self._bindings) >= 4:  # the last, smaller batch of an epoch stays; a stream of sizes does not
                del self._bindings[next(iter(self._bindings))]
            binding = self._bindings[values] = self._bind(dict(zip(self.program.sizes, values, strict=True)))
        return binding

    def _bind(self, sizes: dict[str, int]) -> _Binding:
        placed = plan(self.program, sizes, self.dtype.itemsize)
        arena = np.empty(placed.bytes + ALIGNMENT, np.uint8)
        start = -(-arena.ctypes.data // ALIGNMENT) * ALIGNMENT
        memory = np.zeros(max(1, len(self._slots)), np.int64)
        for name, offset in placed.offsets.items():
            memory[self._slots[name]] = start + offset
        numbers = np.zeros(max(1, len(self._numbers)), np.int64)
        for name, value in sizes.items():
            numbers[self._numbers[name]] = value
        shapes = {b.name: tuple(e.evaluate(sizes) for e in b.shape) for b in self._external}
        for root, tensor in self.program.outputs.items():
            shapes.setdefault(root, tuple(e.evaluate(sizes) for e in tensor.shape))
        return _Binding(memory, numbers, arena, shapes, self._entry.bind(memory, numbers))

    def _element(self, buffer: Buffer) -> np.dtype[Any]:
        return np.dtype(np.int64) if buffer.dtype == "int" else self.dtype

    def _new(self, buffer: Buffer, binding: _Binding) -> Array:
        if buffer.kind != "output":
            raise InternalError("CpuProgram.run", f"no array for the {buffer.kind} `{buffer.name}`")
        return np.empty(binding.shapes[buffer.name], self._element(buffer))

    def _check(self, buffer: Buffer, array: Array, binding: _Binding) -> None:
        wanted = binding.shapes[buffer.name], self._element(buffer)
        if (array.shape, array.dtype) != wanted or not array.flags.c_contiguous:
            layout = "" if array.flags.c_contiguous else ", not contiguous"
            raise InternalError(
                "CpuProgram.run",
                f"`{buffer.name}` is {array.dtype}{list(array.shape)}{layout}; it must be {wanted[1]}{list(wanted[0])}",
            )


@dataclass(frozen=True, eq=False)
class _Binding:
    """Tables, arena and shapes for given sizes; `held` keeps the arrays whose addresses are in the table."""

    memory: Array
    numbers: Array
    arena: Array
    shapes: Mapping[str, tuple[int, ...]]
    call: Callable[[], None]
    held: dict[str, Array] = field(default_factory=dict)
