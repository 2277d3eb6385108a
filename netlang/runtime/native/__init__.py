"""Nets in native libraries (`netlang compile --native`), run from Python with NumPy alone: nothing of the compiler."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing
from netlang.runtime.native.function import Function
from netlang.runtime.native.opening import AGAIN, opened, read_manifest, read_values, require_features
from netlang.targets.cpu.address import address

Array = npt.NDArray[Any]


def load_native(path: str | os.PathLike[str], *, verify: bool = True) -> NativeNet:
    """The net of a native library that `netlang compile --native` made. Loading runs its code: trust where it is from.

    `verify` looks for damage to the values, which takes a fifth of a second for a gigabyte on one processor.

    Raises `NetlangError`: `file-not-found`, `cannot-read`, `native-not-one`, `native-version`, `native-damaged`,
    `native-other-machine`.
    """
    name = os.fspath(path)
    library = opened(name, os.path.abspath(name))
    manifest = read_manifest(name, library)
    try:
        require_features(name, manifest, library)
        return NativeNet(name, library, manifest, read_values(name, library, manifest, verify))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        fail(
            "native-damaged",
            "the manifest does not describe the library",
            place=name,
            notes=[f"{type(error).__name__}: {error}"],
            help=AGAIN,
        )


class NativeNet:
    """A net in a native library: like a `netlang.Net` without what needs its text.

    Calls may run at the same time in several threads, unless they change something: a `step` the values, every call
    the states that a net carries for each example.
    """

    def __init__(self, path: str, library: ctypes.CDLL, manifest: Mapping[str, Any], values: Array) -> None:
        self.path, self.manifest = path, manifest
        self.name: str = manifest["net"]
        self.inputs: tuple[str, ...] = tuple(manifest["inputs"])  # what a call takes, in the order of the text
        self.dtype = np.dtype(manifest["dtype"])
        self._values, self._address = values, address(values)
        self._counters = values[: 8 * len(manifest["values"]["counters"])].view(np.int64)
        tensors = manifest["values"]["tensors"]
        views = {t["name"]: _view(values, t, self.dtype) for t in tensors}
        self.params = {t["name"]: views[t["name"]] for t in tensors if t["kind"] == "param"}
        self.carried: dict[str, Array] = {}
        self.state = {t["name"]: views[t["name"]] for t in tensors if t["kind"] == "state"}
        prefix = manifest["prefix"]
        self._functions = {
            name: Function(name, facts, library, prefix, self.dtype) for name, facts in manifest["functions"].items()
        }

    def __repr__(self) -> str:
        count = sum(a.size for a in self.params.values())
        return f"<NativeNet {self.name}: {count:,} parameters, {self.dtype}>"

    @property
    def steps_done(self) -> int:
        return int(self._counters[0])

    def __call__(self, *values: Any) -> Any:
        """The output for inputs in the order of the text: array in, array out; several outputs as a dictionary."""
        names = self.inputs
        if len(values) != len(names):
            fail(
                "input-count",
                f"`{self.name}` takes {len(names)} inputs, found {len(values)}",
                help=f"the inputs are {listing(names)}",
            )
        forward = self._functions["forward"]
        call = forward.known.find(values) if forward.read == names else None
        if call is None or forward.carried:
            outputs = self.forward(**dict(zip(names, values, strict=True)))
        else:
            outputs = forward.run(call, self._address, values)
        return outputs.popitem()[1] if len(outputs) == 1 else outputs

    def forward(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """The outputs by name, in inference mode; inputs that all lack the batch dimension are one example.

        Raises `NetlangError` for inputs that do not fit, as `Net.forward` does.
        """
        return self._run(self._functions["forward"], inputs)

    def gradients(self, **inputs: npt.ArrayLike) -> tuple[float, dict[str, Array]]:
        """The loss and its gradients by all parameters, as `Net.gradients`; for libraries compiled for training."""
        facts = self.manifest["gradients"]
        block = np.empty(facts["bytes"], np.uint8)
        outputs = self._run(self._function("gradients"), inputs, block)
        gradients = {t["name"]: _view(block, t, self.dtype) for t in facts["tensors"]}
        return float(next(iter(outputs.values()))), gradients

    def step(self, **inputs: npt.ArrayLike) -> float:
        """A training step, as `Net.step`; for a library compiled with `--training`."""
        return float(sum(self.step_losses(**inputs).values()))

    def step_losses(self, **inputs: npt.ArrayLike) -> dict[str, float]:
        """A training step; returns each objective by name."""
        return {name: float(value) for name, value in self._run(self._function("step"), inputs).items()}

    def reset(self) -> None:
        """Set the states that each example of a batch has of its own back to their first values, as `Net.reset`."""
        self.carried.clear()

    def _function(self, name: str) -> Function:
        if name not in self._functions:
            fail(
                "native-not-compiled",
                f"`{self.path}` was compiled without `{name}`",
                place=self.path,
                help="compile it with `netlang compile --native --training`",
            )
        return self._functions[name]

    def _run(self, function: Function, inputs: Mapping[str, npt.ArrayLike], *gradients: Array) -> dict[str, Array]:
        call, arrays = function.fitting(self.name, inputs)
        if function.carried:
            arrays = [*arrays, *(self._carry(name, call.batch) for name in function.carried)]
        return function.run(call, self._address, arrays, gradients)

    def _carry(self, name: str, batch: int) -> Array:
        """The states of the examples, which begin with the net's."""
        if name not in self.carried:
            self.carried[name] = np.repeat(self.state[name][None], batch, axis=0)
        elif len(self.carried[name]) != batch:
            fail(
                "state-batch",
                f"`{name}` is carried for {len(self.carried[name])} examples, and the batch has {batch}",
                help="`net.reset()` begins anew; else give the next part of the same examples",
            )
        return self.carried[name]


def _view(block: Array, tensor: Mapping[str, Any], real: np.dtype[Any]) -> Array:
    """A tensor of a block, as a view."""
    dtype = np.dtype(np.int64) if tensor["dtype"] == "int" else real
    shape = tuple(tensor["shape"])
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return block[tensor["offset"] : tensor["offset"] + count].view(dtype).reshape(shape)
