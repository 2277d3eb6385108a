"""The values of a net: parameters and states by name, drawn when they are first asked for, and whether they may have
changed: what programs keep depends on that."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing, nearest
from netlang.targets.cpu.address import aligned

Array = npt.NDArray[Any]
_NOTHING: Mapping[str, Array] = MappingProxyType({})


class Drawn(Mapping[str, Array]):
    """Parameters and states of these shapes and a dtype, by name: those of the optimizer, and the others, at the first
    question.

    `draw` gives the first values of those named. The arrays stay the same from then on. They are for programs, and to
    be read; what has changed them says so by `changed`. `mark` is one object as long as nothing has changed, and None
    where something may have (see `netlang.targets.cpu.program.Changes`).

    An array that is `given` away is made anew on the same memory, and whatever is made of it (a slice, a view, a buffer
    of another library) holds it, as it is no view of another array. So it lives as long as anybody can write to the
    memory; only a bare address is nobody's.
    """

    mark: object | None = None

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: np.dtype[Any],
        draw: Callable[[Sequence[str]], Mapping[str, Array]],
    ) -> None:
        self.shapes, self._dtype, self._draw = shapes, dtype, draw
        self._arrays: dict[str, Array] = {}
        self._given: dict[str, weakref.ref[Array]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Array:
        found = self._arrays.get(name)
        return self._drawn(name) if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    @property
    def known(self) -> Mapping[str, Array]:
        """Those that have been drawn or put."""
        return MappingProxyType(self._arrays)

    def put(self, name: str, value: Array) -> None:
        """Give one a value of its shape; it need not have been drawn."""
        with self._lock:
            if name not in self._arrays:
                self._arrays[name] = aligned(value.shape, self._dtype)
            self._arrays[name][...] = value
        self.mark = None

    def given(self, name: str) -> Array:
        """An array on the memory of a name, for anybody to change at any time; the same as long as it is held."""
        own = self[name]
        with self._lock:
            known = self._given.get(name)
            array = known() if known is not None else None
            if array is None:
                array = np.asarray(memoryview(own))  # type: ignore[arg-type]
                self._given[name] = weakref.ref(array)
            self.mark = None
        return array

    def changed(self) -> None:
        """After what has changed arrays, or failed to: nothing that was known of them before holds."""
        self.mark = None

    def settled(self) -> object | None:
        """A new mark, if nobody holds an array that was given away; else None."""
        with self._lock:
            self._given = {name: array for name, array in self._given.items() if array() is not None}
            self.mark = None if self._given else object()
            return self.mark

    def _drawn(self, name: str) -> Array:
        with self._lock:
            if name not in self._arrays:
                self._arrays |= self._draw([n for n in self._alike(name) if n not in self._arrays])
            return self._arrays[name]

    def _alike(self, name: str) -> list[str]:
        if name not in self.shapes:
            raise KeyError(name)
        return [n for n in self.shapes if is_of_optimizer(n) == is_of_optimizer(name)]


def is_of_optimizer(name: str) -> bool:
    """Whether a state belongs to an optimizer, so that only training reads it."""
    return ".optimizer." in name


class Values(MutableMapping[str, Array]):
    """Parameters or states by name; the arrays are those of the net, so changing one in place changes the net.

    As long as one is held, or anything that was made of its memory, the net takes it for changed in every call.
    """

    def __init__(self, values: Drawn, names: Sequence[str], carried: Mapping[str, Array] = _NOTHING) -> None:
        """`carried` has the arrays of the names that it has."""
        self._values, self._names, self._carried = values, dict.fromkeys(names), carried

    def __getitem__(self, name: str) -> Array:
        self._require(name)
        return self._array(name)

    def __setitem__(self, name: str, value: npt.ArrayLike) -> None:
        """Copy values in; raises `NetlangError` for another shape or for what is not a number."""
        self._require(name)
        target = self._own(name)
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
        try:
            target[...] = array
        finally:
            self._values.changed()

    def get(self, name: str, default: Any = None) -> Any:
        """The array of this name, or the default where there is none."""
        return self._array(name) if name in self else default

    def __delitem__(self, name: str) -> None:
        fail("fixed-names", f"`{name}` cannot be removed from a net", help="set it to zero instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{n}: {list(self._own(n).shape)}" for n in self._names) + "}"

    def _array(self, name: str) -> Array:
        """An array for the user."""
        return self._carried[name] if name in self._carried else self._values.given(name)

    def _own(self, name: str) -> Array:
        return self._carried[name] if name in self._carried else self._values[name]

    def _require(self, name: str) -> None:
        if name not in self._names:
            fail(
                "unknown-name",
                f"the net has no `{name}`",
                help=nearest(name, self._names) or f"it has {listing(self._names)}",
            )
