"""Nets in native libraries (`netlang compile --native`), run from Python with NumPy alone: nothing of the compiler."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import InternalError, fail, listing, nearest
from netlang.targets.cpu.library.format import FORMAT, MANIFEST, MANIFEST_HEAD, STATUSES, VALUES, VERSION

Array = npt.NDArray[Any]

MANIFEST_LIMIT = 1 << 24
_AGAIN = "compile the net again, with `netlang compile --native`"
_MACHINES = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}  # ELF's numbers of architectures


def load_native(path: str | os.PathLike[str], *, verify: bool = True) -> NativeNet:
    """The net of a native library that `netlang compile --native` made. Loading runs its code: trust where it is from.

    `verify` compares the values with their SHA-256, which takes about a second for a gigabyte.

    Raises `NetlangError`: `file-not-found`, `cannot-read`, `native-not-one`, `native-version`, `native-damaged`,
    `native-other-machine`.
    """
    name = os.fspath(path)
    library = _opened(name, os.path.abspath(name))
    manifest = _manifest(name, library)
    try:
        _require_features(name, manifest, library)
        return NativeNet(name, library, manifest, _values(name, library, manifest, verify))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        fail(
            "native-damaged",
            "the manifest does not describe the library",
            place=name,
            notes=[f"{type(error).__name__}: {error}"],
            help=_AGAIN,
        )


class NativeNet:
    """A net in a native library: like a `netlang.Net` without what needs its text.

    Calls may run at the same time in several threads, unless they change something: a `step` the values, every call
    the states that a net carries for each example.
    """

    def __init__(self, path: str, library: ctypes.CDLL, manifest: Mapping[str, Any], values: Array) -> None:
        self.path, self.manifest = path, manifest
        self.name: str = manifest["net"]
        self.dtype = np.dtype(manifest["dtype"])
        self._values = values
        self._counters = values[: 8 * len(manifest["values"]["counters"])].view(np.int64)
        tensors = manifest["values"]["tensors"]
        views = {t["name"]: _view(values, t, self.dtype) for t in tensors}
        self.params = {t["name"]: views[t["name"]] for t in tensors if t["kind"] == "param"}
        self.carried: dict[str, Array] = {}
        self.state = {t["name"]: views[t["name"]] for t in tensors if t["kind"] == "state"}
        prefix = manifest["prefix"]
        self._functions = {
            name: _Function(name, facts, library, prefix, self.dtype) for name, facts in manifest["functions"].items()
        }

    def __repr__(self) -> str:
        count = sum(a.size for a in self.params.values())
        return f"<NativeNet {self.name}: {count:,} parameters, {self.dtype}>"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what a call takes, in the order of the text."""
        return tuple(self.manifest["inputs"])

    @property
    def steps_done(self) -> int:
        return int(self._counters[0])

    def __call__(self, *values: npt.ArrayLike) -> Any:
        """The output for inputs in the order of the text: array in, array out; several outputs as a dictionary."""
        names = self.inputs
        if len(values) != len(names):
            fail(
                "input-count",
                f"`{self.name}` takes {len(names)} inputs, found {len(values)}",
                help=f"the inputs are {listing(names)}",
            )
        outputs = self.forward(**dict(zip(names, values, strict=True)))
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def forward(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """The outputs by name, in inference mode; inputs that all lack the batch dimension are one example.

        Raises `NetlangError` for inputs that do not fit, as `Net.forward` does.
        """
        return self._run("forward", inputs)[0]

    def gradients(self, **inputs: npt.ArrayLike) -> tuple[float, dict[str, Array]]:
        """The loss and its gradients by all parameters, as `Net.gradients`; for libraries compiled for training."""
        outputs, gradients = self._run("gradients", inputs)
        return float(next(iter(outputs.values()))), gradients

    def step(self, **inputs: npt.ArrayLike) -> float:
        """A training step, as `Net.step`; for a library compiled with `--training`."""
        return float(sum(self.step_losses(**inputs).values()))

    def step_losses(self, **inputs: npt.ArrayLike) -> dict[str, float]:
        """A training step; returns each objective by name."""
        return {name: float(value) for name, value in self._run("step", inputs)[0].items()}

    def reset(self) -> None:
        """Set the states that each example of a batch has of its own back to their first values, as `Net.reset`."""
        self.carried.clear()

    def _run(self, name: str, inputs: Mapping[str, npt.ArrayLike]) -> tuple[dict[str, Array], dict[str, Array]]:
        function = self._functions.get(name)
        if function is None:
            fail(
                "native-not-compiled",
                f"`{self.path}` was compiled without `{name}`",
                place=self.path,
                help="compile it with `netlang compile --native --training`",
            )
        arrays, sizes, single = function.checked(self.name, inputs)
        outputs = {a.name: np.empty(a.extents(sizes), a.dtype) for a in function.filled}
        arrays += [self._carry(argument, sizes["batch"]) for argument in function.carried]
        no_gradients: dict[str, Any] = {"bytes": 0, "tensors": []}
        gradients = self.manifest["gradients"] if function.has_gradients else no_gradients
        block = np.empty(gradients["bytes"], np.uint8)
        function.call(self._values, sizes, arrays, list(outputs.values()), block)
        batched = {a.name for a in function.filled if a.is_batched}
        return (
            {n: v[0] if single and n in batched else v for n, v in outputs.items()},
            {t["name"]: _view(block, t, self.dtype) for t in gradients["tensors"]},
        )

    def _carry(self, argument: _Argument, batch: int) -> Array:
        """The states of the examples, which begin with the net's."""
        name = argument.name
        if name not in self.carried:
            self.carried[name] = np.repeat(self.state[name][None], batch, axis=0)
        elif len(self.carried[name]) != batch:
            fail(
                "state-batch",
                f"`{name}` is carried for {len(self.carried[name])} examples, and the batch has {batch}",
                help="`net.reset()` begins anew; else give the next part of the same examples",
            )
        return self.carried[name]


# --- the functions of a library ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Argument:
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


def _argument(facts: Mapping[str, Any], real: np.dtype[Any]) -> _Argument:
    dtype = np.dtype(np.int64) if facts["dtype"] == "int" else real
    return _Argument(facts["name"], facts["role"], dtype, tuple(facts["shape"]), facts["classes"])


class _Function:
    """An exported function: what it takes, and the call."""

    def __init__(
        self, name: str, facts: Mapping[str, Any], library: ctypes.CDLL, prefix: str, dtype: np.dtype[Any]
    ) -> None:
        self.name, self.sizes, self.has_gradients = name, tuple(facts["sizes"]), facts["gradients"]
        self.requirements = tuple(facts["requirements"])
        arguments = [_argument(a, dtype) for a in facts["arguments"]]
        self.unread = tuple(_argument(a, dtype) for a in facts["unread"])
        self.given = tuple(a for a in arguments if a.role in ("input", "target"))
        self.carried = tuple(a for a in arguments if a.role == "carried")
        self.filled = tuple(a for a in arguments if a.role == "output")
        sizes = [ctypes.c_int64] * len(self.sizes)
        pointers = [ctypes.c_void_p] * (len(arguments) + self.has_gradients + 1)
        self.function = library[f"{prefix}_{name}"]
        self.function.restype, self.function.argtypes = ctypes.c_int, [ctypes.c_void_p, *sizes, *pointers]
        self.workspace = library[f"{prefix}_{name}_workspace"]
        self.workspace.restype, self.workspace.argtypes = ctypes.c_int64, sizes

    def call(
        self, values: Array, sizes: Mapping[str, int], read: list[Array], filled: list[Array], gradients: Array
    ) -> None:
        """Run on arrays that fit."""
        numbers = [sizes[name] for name in self.sizes]
        bytes = self.workspace(*numbers)
        if bytes < 0:
            found = ", ".join(f"{name} = {sizes[name]}" for name in self.sizes)
            fail(
                "input-size",
                f"the net does not take the sizes {found}",
                notes=self.requirements,
                help="give longer or shorter inputs",
            )
        try:
            workspace = np.empty(bytes, np.uint8)
        except MemoryError:
            fail("out-of-memory", f"there are no {bytes:,} bytes to work in", help="make the batch smaller")
        pointers = [a.ctypes.data for a in (*read, *filled)]
        if self.has_gradients:
            pointers.append(gradients.ctypes.data)
        status = self.function(values.ctypes.data, *numbers, *pointers, workspace.ctypes.data)
        if status:
            raise InternalError(f"the native function `{self.name}`", list(STATUSES.values())[status])

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

    def _find_sizes(self, argument: _Argument, array: Array, sizes: dict[str, int], single: bool) -> None:
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


def _refuse_shape(argument: _Argument, array: Array, single: bool) -> NoReturn:
    wanted = [n if isinstance(n, int | str) else "..." for n in argument.shape[1:]]
    found = list(array.shape[1:] if single else array.shape)
    shape = ", ".join(map(str, wanted))
    fail(
        "input-shape",
        f"`{argument.name}` takes [{shape}] for each example, found an array of shape {found}",
        help=f"give it the shape [{', '.join(['batch', *map(str, wanted)])}]",
    )


def _converted(argument: _Argument, value: npt.ArrayLike) -> Array:
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


def _check_values(argument: _Argument, array: Array, sizes: Mapping[str, int]) -> None:
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


# --- opening -------------------------------------------------------------------------------------------------------


def _opened(path: str, place: str) -> ctypes.CDLL:
    if not os.path.exists(place):
        fail("file-not-found", f"there is no file `{path}`", place=path, help="check the path and the current folder")
    try:
        with open(place, "rb") as file:
            head = file.read(20)
            state = os.fstat(file.fileno())
        library = ctypes.CDLL(_spelled(place, (state.st_ino, state.st_mtime_ns)))
    except OSError as error:
        if isinstance(error, IsADirectoryError | PermissionError):
            fail("cannot-read", f"`{path}` cannot be read", place=path, help="give a library that you may read")
        architecture = _architecture(head)
        if architecture and architecture != platform.machine():
            fail(
                "native-other-machine",
                f"the library is for {architecture}, this machine is {platform.machine()}",
                place=path,
                help="compile the net on a machine of this kind",
            )
        fail(
            "native-not-one",
            "the system does not load this as a shared library",
            place=path,
            notes=[f"the system says: {error}"],
            help=_AGAIN,
        )
    return library


def _spelled(place: str, identity: tuple[int, int]) -> str:
    """The path, spelled in a way of its own for this file: systems give the library that they have loaded from an equal
    path, even where another file has taken its place."""
    folder, name = os.path.split(place)
    bits = f"{hash(identity) % 2**64:064b}"
    return folder + "".join("/." if bit == "1" else "/" for bit in bits) + "/" + name


def _architecture(head: bytes) -> str:
    """The architecture that an ELF header states."""
    return _MACHINES.get(int.from_bytes(head[18:20], "little"), "") if head.startswith(b"\x7fELF") else ""


def _manifest(path: str, library: ctypes.CDLL) -> dict[str, Any]:
    """The manifest, which is read without running anything of the library."""
    try:
        head = bytes((ctypes.c_ubyte * MANIFEST_HEAD).in_dll(library, MANIFEST))
    except ValueError:
        fail("native-not-one", "this library was not made by netlang", place=path, help=_AGAIN)
    length = int.from_bytes(head[:8], "little")
    if length > MANIFEST_LIMIT:
        fail("native-damaged", "the manifest of the library is damaged", place=path, help=_AGAIN)
    text = bytes((ctypes.c_ubyte * (MANIFEST_HEAD + length)).in_dll(library, MANIFEST))[MANIFEST_HEAD:]
    if hashlib.sha256(text).digest() != head[8:]:
        fail("native-damaged", "the manifest of the library is damaged", place=path, help=_AGAIN)
    manifest: dict[str, Any] = json.loads(text)
    if (manifest.get("format"), manifest.get("version")) != (FORMAT, VERSION):
        fail(
            "native-version",
            f"the library has format version {manifest.get('version')}, this netlang reads version {VERSION}",
            place=path,
            help=f"use the netlang that made it ({manifest.get('netlang')}), or compile the net again",
        )
    return manifest


def _require_features(path: str, manifest: Mapping[str, Any], library: ctypes.CDLL) -> None:
    ask = library[f"{manifest['prefix']}_missing_features"]
    ask.restype, ask.argtypes = ctypes.c_int64, []
    missing = ask()
    lacking = [name for k, name in enumerate(manifest["features"]) if missing >> k & 1]
    if lacking:
        fail(
            "native-other-machine",
            f"the library needs a processor with {listing(lacking)}, which this one lacks",
            place=path,
            help="compile the net on this machine, or for every machine of its kind: `--cpu x86-64-v3`, `--cpu x86-64`",
        )


def _values(path: str, library: ctypes.CDLL, manifest: Mapping[str, Any], verify: bool) -> Array:
    """The bytes of the net's struct: those in the library as they are, or a copy where they change or lie beside it."""
    facts = manifest["values"]
    if facts["embedded"]:
        address = library[f"{manifest['prefix']}_net"]
        address.restype, address.argtypes = ctypes.c_void_p, []
        embedded = (ctypes.c_ubyte * facts["bytes"]).from_address(address())
        values: Array = np.frombuffer(embedded, np.uint8)
        values.flags.writeable = False
    else:
        values = _beside(Path(path).with_suffix(VALUES), facts["bytes"])
    if verify and hashlib.sha256(values.data).hexdigest() != facts["sha256"]:
        fail("native-damaged", "the values are not those that the library was compiled with", place=path, help=_AGAIN)
    changes = any(f["changes"] for f in manifest["functions"].values())
    return _aligned_copy(values) if changes else values


def _beside(path: Path, count: int) -> Array:
    try:
        values: Array = np.fromfile(path, np.uint8)
    except OSError:
        fail(
            "file-not-found",
            f"there is no file `{path}`, which has the values of the library",
            place=str(path),
            help="keep it beside the library",
        )
    if len(values) != count:
        fail("native-damaged", f"the file has {len(values):,} bytes, not {count:,}", place=str(path), help=_AGAIN)
    return values


def _aligned_copy(values: Array) -> Array:
    room = np.empty(len(values) + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + len(values)]
    copy[...] = values
    return copy


def _view(block: Array, tensor: Mapping[str, Any], real: np.dtype[Any]) -> Array:
    """A tensor of a block, as a view."""
    dtype = np.dtype(np.int64) if tensor["dtype"] == "int" else real
    shape = tuple(tensor["shape"])
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return block[tensor["offset"] : tensor["offset"] + count].view(dtype).reshape(shape)
