"""A function of a native library: what it takes, what is refused, and the call."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import InternalError, fail, listing, nearest
from netlang.targets.cpu.library.format import STATUSES

Array = npt.NDArray[Any]

MOST_CALLS = 64  # that are remembered, of as many shapes


@dataclass(frozen=True)
class Argument:
    name: str
    role: str
    dtype: np.dtype[Any]
    shape: tuple[Any, ...]
    classes: Any

    @property
    def is_batched(self) -> bool:
        return bool(self.shape) and self.shape[0] == "batch"

    def extents(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(_evaluate(extent, sizes) for extent in self.shape)


def argument(facts: Mapping[str, Any], real: np.dtype[Any]) -> Argument:
    dtype = np.dtype(np.int64) if facts["dtype"] == "int" else real
    return Argument(facts["name"], facts["role"], dtype, tuple(facts["shape"]), facts["classes"])


@dataclass(frozen=True)
class Call:
    """What does not change between calls of equal shapes: run-time sizes, the bytes of the workspace, and the outputs,
    each by name, shape, dtype, and whether its batch is that of a single example.
    """

    numbers: tuple[int, ...]
    workspace: int
    outputs: tuple[tuple[str, tuple[int, ...], np.dtype[Any], bool], ...]


class Function:
    """An exported function: what it takes, and the call."""

    def __init__(
        self, name: str, facts: Mapping[str, Any], library: ctypes.CDLL, prefix: str, dtype: np.dtype[Any]
    ) -> None:
        self.name, self.sizes, self.has_gradients = name, tuple(facts["sizes"]), facts["gradients"]
        self.requirements = tuple(facts["requirements"])
        arguments = [argument(a, dtype) for a in facts["arguments"]]
        self.unread = tuple(argument(a, dtype) for a in facts["unread"])
        self.given = tuple(a for a in arguments if a.role in ("input", "target"))
        self.carried = tuple(a for a in arguments if a.role == "carried")
        self.filled = tuple(a for a in arguments if a.role == "output")
        # labels are checked before the call, so that a diagnostic can say which one is wrong, as are targets
        self.looks_at_values = bool(self.carried) or any(
            a.classes is not None or a.role == "target" for a in self.given
        )
        self.shapes_say_all = all(any(size in a.shape for a in self.given) for size in self.sizes)
        self.calls: dict[tuple[tuple[int, ...], ...], Call] = {}
        sizes = [ctypes.c_int64] * len(self.sizes)
        pointers = [ctypes.c_void_p] * (len(arguments) + self.has_gradients + 1)
        self.function = library[f"{prefix}_{name}"]
        self.function.restype, self.function.argtypes = ctypes.c_int, [ctypes.c_void_p, *sizes, *pointers]
        self.workspace = library[f"{prefix}_{name}_workspace"]
        self.workspace.restype, self.workspace.argtypes = ctypes.c_int64, sizes

    def ready(self, given: Mapping[str, npt.ArrayLike]) -> tuple[list[Array], Call] | None:
        """The arrays and the call, where the arrays are as the function takes them and of shapes that it has met.

        None where they must be looked at: `checked` does, and `call_for` remembers the shapes.
        """
        if self.looks_at_values or len(given) != len(self.given):
            return None
        arrays: list[Array] = []
        for argument in self.given:
            array = given.get(argument.name)
            if type(array) is not np.ndarray or array.dtype is not argument.dtype or not array.flags.c_contiguous:
                return None
            arrays.append(array)
        call = self.calls.get(tuple([array.shape for array in arrays]))
        return None if call is None else (arrays, call)

    def call_for(self, arrays: list[Array], sizes: Mapping[str, int], single: bool) -> Call:
        """The call for arrays that fit. Raises `NetlangError` (`input-size`)."""
        numbers = tuple(sizes[name] for name in self.sizes)
        bytes = self.workspace(*numbers)
        if bytes < 0:
            found = ", ".join(f"{name} = {sizes[name]}" for name in self.sizes)
            fail(
                "input-size",
                f"the net does not take the sizes {found}",
                notes=self.requirements,
                help="give longer or shorter inputs",
            )
        outputs = tuple((a.name, a.extents(sizes), a.dtype, single and a.is_batched) for a in self.filled)
        call = Call(numbers, bytes, outputs)
        if self.shapes_say_all:
            if len(self.calls) >= MOST_CALLS:
                self.calls.clear()
            self.calls[tuple([a.shape[1:] if single else a.shape for a in arrays])] = call
        return call

    def run(self, call: Call, values: int, arrays: list[Array], gradients: Array | None) -> dict[str, Array]:
        """The outputs by name, for the address of the net's values, inputs, and states of the examples."""
        try:
            workspace = np.empty(call.workspace, np.uint8)
            filled = [np.empty(shape, dtype) for _, shape, dtype, _ in call.outputs]
        except MemoryError:
            fail("out-of-memory", f"there are no {call.workspace:,} bytes to work in", help="make the batch smaller")
        passed = [*arrays, *filled, workspace] if gradients is None else [*arrays, *filled, gradients, workspace]
        status = self.function(values, *call.numbers, *map(_address, passed))
        if status:
            raise InternalError(f"the native function `{self.name}`", list(STATUSES.values())[status])
        return {out[0]: array[0] if out[3] else array for out, array in zip(call.outputs, filled, strict=True)}

    def checked(self, net: str, given: Mapping[str, npt.ArrayLike]) -> tuple[list[Array], dict[str, int], bool]:
        """The arrays in order, the run-time sizes, and whether the inputs were a single example.

        Raises `NetlangError` as `netlang.runtime.inputs.checked_inputs` does, which knows the net's text.
        """
        known = [a.name for a in (*self.given, *self.unread)]
        for name in given:
            if name not in known:
                fail(
                    "input-unknown",
                    f"`{net}` has no input `{name}`",
                    help=nearest(name, known) or f"its inputs are {listing(known)}",
                )
        for argument in self.given:
            if argument.name not in given:
                name = argument.name
                fail("input-missing", f"`{net}` needs the {argument.role} `{name}` here", help=f"give it: `{name}=...`")
        arguments = [*self.given, *(a for a in self.unread if a.name in given)]
        arrays = [_converted(a, given[a.name]) for a in arguments]
        single = bool(arrays) and all(a.ndim == len(g.shape) - 1 for a, g in zip(arrays, arguments, strict=True))
        if single:
            arrays = [a[None] for a in arrays]
        sizes: dict[str, int] = {}
        for argument, array in zip(arguments, arrays, strict=True):
            self._find_sizes(argument, array, sizes, single)
        if not arguments:
            sizes["batch"] = 1
        self._require_sizes(net, sizes)
        for argument, array in zip(arguments, arrays, strict=True):
            if array.shape != argument.extents(sizes):
                _refuse_shape(argument, array, single)
            _check_values(argument, array, sizes)
        return [np.ascontiguousarray(a) for a in arrays[: len(self.given)]], sizes, single

    def _require_sizes(self, net: str, sizes: Mapping[str, int]) -> None:
        for size in self.sizes:
            if size not in sizes:
                absent = next(a for a in self.unread if size in a.shape)
                fail(
                    "input-missing",
                    f"`{net}` needs the {absent.role} `{absent.name}` here, which says how much `{size}` is",
                    help=f"give it: `{absent.name}=...`",
                )

    def _find_sizes(self, argument: Argument, array: Array, sizes: dict[str, int], single: bool) -> None:
        if array.ndim != len(argument.shape):
            _refuse_shape(argument, array, single)
        for extent, found in zip(argument.shape, array.shape, strict=True):
            if not isinstance(extent, str):
                continue
            if extent == "batch" and not found:
                fail("input-batch", "the batch is empty", help="give at least one example")
            if found == 0:
                _refuse_shape(argument, array, single)
            if sizes.setdefault(extent, found) != found:
                fail(
                    "input-batch" if extent == "batch" else "input-shape",
                    f"`{argument.name}` has a {extent} of {found}, an input before it has {sizes[extent]}",
                    help="give all inputs the same number",
                )


def _address(array: Array) -> int:
    """Where an array is: through its buffer, which takes a tenth of the time of `array.ctypes`, if it is writable."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):
        return array.ctypes.data


def _refuse_shape(argument: Argument, array: Array, single: bool) -> NoReturn:
    wanted = [n if isinstance(n, int | str) else "..." for n in argument.shape[1:]]
    found = list(array.shape[1:] if single else array.shape)
    shape = ", ".join(map(str, wanted))
    fail(
        "input-shape",
        f"`{argument.name}` takes [{shape}] for each example, found an array of shape {found}",
        help=f"give it the shape [{', '.join(['batch', *map(str, wanted)])}]",
    )


def _converted(argument: Argument, value: npt.ArrayLike) -> Array:
    """The array in the dtype of an argument."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        fail(
            "input-dtype",
            f"`{argument.name}` takes numbers, found an array of {array.dtype}",
            help="convert it to floats or integers first",
        )
    is_label = argument.classes is not None
    if (is_label or argument.role == "target") and array.dtype.kind == "f" and not np.isfinite(array).all():
        fail("input-not-finite", f"`{argument.name}` holds what is not finite", help="remove or repair such examples")
    if is_label and array.dtype.kind == "f" and not (array == np.floor(array)).all():
        fail("input-dtype", f"the labels `{argument.name}` are not whole numbers", help="give class numbers from 0")
    return array.astype(argument.dtype, copy=False)


def _check_values(argument: Argument, array: Array, sizes: Mapping[str, int]) -> None:
    if argument.classes is None:
        return
    classes = _evaluate(argument.classes, sizes)
    least, largest = int(np.min(array)), int(np.max(array))
    if least < 0 or largest >= classes:
        wrong = least if least < 0 else largest
        fail(
            "input-label",
            f"`{argument.name}` holds the label {wrong}, but has the classes 0 to {classes - 1}",
            help="number the classes from 0",
        )


def _evaluate(value: Any, sizes: Mapping[str, int]) -> int:
    """An extent of the manifest: a number, a size, or a sum of coefficients times sizes, quotients and remainders."""
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return sizes[value]
    total = 0
    for coefficient, factors in value:
        term = coefficient
        for factor in factors:
            if isinstance(factor, str):
                term *= sizes[factor]
            elif "floor" in factor:
                term *= _evaluate(factor["floor"], sizes) // factor["by"]
            else:
                term *= _evaluate(factor["remainder"], sizes) % factor["by"]
        total += term
    return total
