"""A function of a native library: what it takes, and the call."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import InternalError, fail
from netlang.runtime.arguments import BATCH, Argument, Extent, Known, checked, evaluated
from netlang.targets.cpu.address import address
from netlang.targets.cpu.library.format import STATUSES

Array = npt.NDArray[Any]


class Call(NamedTuple):
    """What does not change between calls of equal shapes: the run-time sizes, how many examples there are, the bytes of
    the workspace, and of each output the name, shape, dtype, and whether its first element is meant."""

    sizes: tuple[int, ...]
    batch: int
    workspace: int
    outputs: tuple[tuple[str, tuple[int, ...], np.dtype[Any], bool], ...]


class Function:
    """An exported function: what it takes, and the call."""

    def __init__(
        self, name: str, facts: Mapping[str, Any], library: ctypes.CDLL, prefix: str, dtype: np.dtype[Any]
    ) -> None:
        self.name, self.sizes, self.has_gradients = name, tuple(facts["sizes"]), facts["gradients"]
        self.requirements = tuple(facts["requirements"])
        arguments = facts["arguments"]
        given = [a for a in arguments if a["role"] in ("input", "target")]
        self.declared = {a["name"]: _argument(a, dtype) for a in (*given, *facts["unread"])}
        self.read = tuple(a["name"] for a in given)
        self.carried = tuple(a["name"] for a in arguments if a["role"] == "carried")
        self.known: Known[Call] = Known(self.declared[name] for name in self.read)
        filled = [a for a in arguments if a["role"] == "output"]
        self._outputs = [(a["name"], tuple(map(_extent, a["shape"])), _dtype(a, dtype)) for a in filled]
        self._spare: list[tuple[Array, int]] = []  # workspaces that no call is using, each with its address
        sizes = [ctypes.c_int64] * len(self.sizes)
        pointers = [ctypes.c_void_p] * (len(arguments) + self.has_gradients + 1)
        self.function = library[f"{prefix}_{name}"]
        self.function.restype, self.function.argtypes = ctypes.c_int, [ctypes.c_void_p, *sizes, *pointers]
        self.workspace = library[f"{prefix}_{name}_workspace"]
        self.workspace.restype, self.workspace.argtypes = ctypes.c_int64, sizes

    def fitting(self, net: str, given: Mapping[str, npt.ArrayLike]) -> tuple[Call, Sequence[Array]]:
        """The call for inputs, and the arrays that it takes.

        Raises `NetlangError` as `checked` does, and `input-size`.
        """
        read = self.read
        if len(given) == len(read):
            values: list[Any] = [given.get(name) for name in read]
            if (known := self.known.find(values)) is not None:
                return known, values
        found, sizes, single = checked(net, self.declared, read, self.sizes, given)
        arrays = [found[name].reshape(found[name].shape[1:] if single else found[name].shape) for name in read]
        call = self._call(sizes, single)
        if len(given) == len(read):
            self.known.remember(arrays, sizes, call)
        return call, arrays

    def _call(self, sizes: Mapping[str, int], single: bool) -> Call:
        values = tuple(sizes[name] for name in self.sizes)
        count = self.workspace(*values)
        if count < 0:
            found = ", ".join(f"{name} = {sizes[name]}" for name in self.sizes)
            fail(
                "input-size",
                f"the net does not take the sizes {found}",
                notes=self.requirements,
                help="give longer or shorter inputs",
            )
        outputs = tuple(
            (name, tuple([evaluated(extent, sizes) for extent in shape]), dtype, single and shape[:1] == (BATCH,))
            for name, shape, dtype in self._outputs
        )
        return Call(values, sizes[BATCH], count, outputs)

    def run(
        self, call: Call, values: int, arrays: Sequence[Array], gradients: Sequence[Array] = ()
    ) -> dict[str, Array]:
        """The outputs by name, for the address of the net's values, inputs, and states of the examples."""
        try:
            room = self._spare.pop()
        except IndexError:
            room = self._room(call.workspace)
        if len(room[0]) < call.workspace:
            room = self._room(call.workspace)
        filled: list[Array] = []
        pointers = [address(array) for array in arrays]
        for _, shape, dtype, _ in call.outputs:
            array = np.empty(shape, dtype)
            filled.append(array)
            pointers.append(address(array))
        for array in gradients:
            pointers.append(address(array))  # noqa: PERF401 - hardly ever is there one
        pointers.append(room[1])
        status = self.function(values, *call.sizes, *pointers)
        self._spare.append(room)
        if status:
            raise InternalError(f"the native function `{self.name}`", list(STATUSES.values())[status])
        outputs: dict[str, Array] = {}
        for (name, _, _, is_first), array in zip(call.outputs, filled):  # noqa: B905 - see `Known.find`
            outputs[name] = array[0] if is_first else array
        return outputs

    def _room(self, count: int) -> tuple[Array, int]:
        """A new workspace, and its address."""
        try:
            workspace = np.empty(count, np.uint8)
        except MemoryError:
            fail("out-of-memory", f"there are no {count:,} bytes to work in", help="make the batch smaller")
        return workspace, address(workspace)


def _argument(facts: Mapping[str, Any], real: np.dtype[Any]) -> Argument:
    extents = tuple(map(_extent, facts["shape"][1:]))
    classes = None if facts["classes"] is None else _extent(facts["classes"])
    return Argument(facts["name"], facts["role"], _dtype(facts, real), extents, _names(facts["shape"][1:]), classes)


def _dtype(facts: Mapping[str, Any], real: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.int64) if facts["dtype"] == "int" else real


def _extent(value: Any) -> Extent:
    """An extent of the manifest: a number, a size, or a sum."""
    return value if isinstance(value, int | str) else Sum(value)


class Sum:
    """An extent of run-time sizes: coefficients times products of sizes, quotients and remainders."""

    def __init__(self, terms: Sequence[tuple[int, Sequence[Any]]]) -> None:
        self.terms = terms

    def evaluate(self, sizes: Mapping[str, int], /) -> int:
        return sum(c * math.prod(_factor(factor, sizes) for factor in factors) for c, factors in self.terms)

    def __str__(self) -> str:
        return " + ".join("*".join([str(c), *map(_written, factors)]) for c, factors in self.terms)


def _factor(factor: Any, sizes: Mapping[str, int]) -> int:
    if isinstance(factor, str):
        return sizes[factor]
    if "floor" in factor:
        return evaluated(_extent(factor["floor"]), sizes) // int(factor["by"])
    return evaluated(_extent(factor["remainder"]), sizes) % int(factor["by"])


def _written(factor: Any) -> str:
    if isinstance(factor, str):
        return factor
    sign, value = ("//", factor["floor"]) if "floor" in factor else ("%", factor["remainder"])
    return f"(({_extent(value)}) {sign} {factor['by']})"


def _names(value: Any) -> tuple[str, ...]:
    """The run-time sizes in what the manifest says of extents."""
    if isinstance(value, str):
        return () if value == BATCH else (value,)
    parts: list[Any] = []
    if isinstance(value, list):
        parts = value
    elif isinstance(value, dict):
        parts = [value.get("floor"), value.get("remainder")]
    return tuple(dict.fromkeys(name for part in parts for name in _names(part)))
