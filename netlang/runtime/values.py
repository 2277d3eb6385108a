"""The values of a net as a user sees them: parameters or states by name."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing, nearest

Array = npt.NDArray[Any]


class Values(MutableMapping[str, Array]):
    """Parameters or states by name; the arrays are those of the net, so changing one in place changes the net."""

    def __init__(self, values: MutableMapping[str, Array], names: Sequence[str]) -> None:
        self._values, self._names = values, dict.fromkeys(names)

    def __getitem__(self, name: str) -> Array:
        self._require(name)
        return self._values[name]

    def __setitem__(self, name: str, value: npt.ArrayLike) -> None:
        """Copy values in; raises `NetlangError` for another shape or for what is not a number."""
        self._require(name)
        target = self._values[name]
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            array = np.asarray(None)
        if array.dtype.kind not in "fiub":
            fail("input-dtype", f"`{name}` takes real numbers", help="give it an array of floats")
        if array.shape != target.shape:
            fail(
                "input-shape",
                f"`{name}` has shape {list(target.shape)}, found {list(array.shape)}",
                help="give it an array of its shape",
            )
        target[...] = array

    def get(self, name: str, default: Any = None) -> Any:
        """The array of this name, or the default where there is none."""
        return self._values[name] if name in self else default

    def __delitem__(self, name: str) -> None:
        fail("fixed-names", f"`{name}` cannot be removed from a net", help="set it to zero instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{n}: {list(self._values[n].shape)}" for n in self._names) + "}"

    def _require(self, name: str) -> None:
        if name not in self._names:
            fail(
                "unknown-name",
                f"the net has no `{name}`",
                help=nearest(name, self._names) or f"it has {listing(self._names)}",
            )
