"""A data set: named arrays of equally many examples, and their binding to the inputs and targets of a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from netlang.diagnostics import Diagnostic, NetlangError, fail, listing, nearest
from netlang.graph.integer import Int, integer
from netlang.graph.sizes import learn, matches

__all__ = ["Dataset", "Shape"]

Array = NDArray[Any]
Shape = tuple[int | Int, ...]

_CHUNK = 1 << 22  # elements looked at together, so that checks need little memory of their own


@dataclass(frozen=True, eq=False)
class Dataset(Mapping[str, Array]):
    """A read-only mapping from names to arrays `[examples, ...]` of numbers, all with equally many examples.

    `len(data)` is the number of arrays, as for any mapping; `data.examples` is the number of examples. `features` and
    `target` name the arrays with these roles where the source has roles rather than names of the network's own
    (`sklearn:digits`); `labels` gives, for a target made from strings, the string of each integer; `origin` is what
    messages call the data (a path); `ordered` says that the examples are one sequence, each going on from the one
    before.
    """

    arrays: Mapping[str, Array]
    features: str | None = None
    target: str | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origin: str = "the data"
    ordered: bool = False

    def __post_init__(self) -> None:
        """Check names, dtypes and lengths: `data-empty`, `data-dtype`, `data-lengths`."""
        if not self.arrays:
            fail(
                "data-empty", "there are no arrays in the data", place=self.origin, help="give an array for each input"
            )
        frozen: dict[str, Array] = {}
        for name, array in self.arrays.items():
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                fail(
                    "data-dtype",
                    f"array `{name}` has dtype {array.dtype}, which is not a kind of number that networks read",
                    place=self.origin,
                    help="give floats, integers or booleans (strings are read as class labels if there is one for "
                    "each example)",
                )
            if array.ndim == 0 or array.size == 0:
                fail(
                    "data-empty",
                    f"array `{name}` of shape {_shape(array.shape)} has no examples or no values",
                    place=self.origin,
                    help="the first dimension counts the examples; a single example needs shape [1, ...]",
                )
            view = array.view()
            view.flags.writeable = False
            frozen[name] = view
        counts = {name: len(array) for name, array in frozen.items()}
        if len(set(counts.values())) > 1:
            fail(
                "data-lengths",
                "the arrays have different numbers of examples: "
                + ", ".join(f"`{name}` has {count}" for name, count in counts.items()),
                place=self.origin,
                help="row k of every array must belong to example k",
            )
        object.__setattr__(self, "arrays", MappingProxyType(frozen))
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> Dataset:
        """A data set of arrays in memory: `Dataset.from_arrays(image=images, digit=labels)`.

        A one-dimensional array of strings becomes integers, in the sorted order of the distinct strings, which
        `labels` then records. Arrays are not copied, but cannot be written to through the data set.
        """
        return cls.labelled({**(arrays or {}), **named})

    @classmethod
    def labelled(cls, given: Mapping[str, ArrayLike], origin: str = "the data") -> Dataset:
        """The same for arrays that messages call by where they come from."""
        arrays: dict[str, Array] = {}
        labels: dict[str, tuple[str, ...]] = {}
        for name, value in given.items():
            try:
                array = np.asarray(value)
            except ValueError:
                fail(
                    "data-dtype",
                    f"`{name}` is not an array: its rows have different lengths",
                    place=origin,
                    help="give every example the same shape",
                )
            if array.dtype.kind in "US" and array.ndim == 1 and array.size:
                distinct, codes = np.unique(array.astype(str), return_inverse=True)
                labels[name] = tuple(map(str, distinct))
                array = codes.astype(np.int64)
            arrays[name] = array
        return cls(arrays, labels=labels, origin=origin)

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __eq__(self, other: object) -> bool:
        return self is other  # a mapping would compare its arrays, whose comparison has no truth value

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}{_shape(array.shape[1:])}" for name, array in self.arrays.items())
        return f"<Dataset of {self.examples} examples: {shapes}>"

    @property
    def examples(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: NDArray[np.integer] | slice) -> Dataset:
        """The data set of the given rows, in the given order (a copy for indices, a view for a slice)."""
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        ordered = self.ordered and isinstance(rows, slice)
        return Dataset(arrays, self.features, self.target, self.labels, self.origin, ordered)

    def bind(
        self,
        inputs: Sequence[tuple[str, Shape, DTypeLike] | tuple[str, Shape, DTypeLike, int | Int | None]],
        targets: Sequence[tuple[str, Shape, int | Int | None]] = (),
        *,
        dtype: DTypeLike = np.float32,
    ) -> Dataset:
        """The data as a network wants them: its names, per-example shapes and dtypes, every value checked.

        `inputs` are `(name, shape, dtype)`, or `(name, shape, dtype, classes)` for an input of class indices; `targets`
        are `(name, shape, classes)`, bound as integers where `classes` is a number and as `dtype` where it is None.
        Integers keep the width they have, which is little for texts. Shapes are those of one example; they and
        `classes` may hold run-time sizes, which the arrays decide.

        Arrays are found by name. If not all names are there, the source has roles and the network has one input and at
        most one target, then they are found by role. Arrays that the network does not name are left out. Values keep
        their scale: nothing is normalized here. A shape may differ from the declared one by dimensions of size 1, or by
        being flat on one side (row-major order), if the sizes agree exactly.

        Raises `NetlangError`: `data-missing`, `data-shape`, `data-dtype`, `data-not-finite` (names array, row, column),
        `data-not-integer`, `data-label`.
        """
        wanted = [_Slot(t[0], tuple(t[1]), np.dtype(t[2]), t[3] if len(t) == 4 else None) for t in inputs]
        wanted += [_Slot(name, tuple(shape), np.dtype(dtype), classes) for name, shape, classes in targets]
        sources = self._matched([slot.name for slot in wanted], len(inputs))
        sizes: dict[str, int] = {}
        for slot, source in zip(wanted, sources, strict=True):
            learn([integer(n) for n in slot.shape], self.arrays[source].shape[1:], sizes)
        shaped = [self._shaped(source, slot, sizes) for slot, source in zip(wanted, sources, strict=True)]
        arrays = {
            slot.name: self._fit(source, array, slot, sizes)
            for slot, source, array in zip(wanted, sources, shaped, strict=True)
        }
        labels = {
            slot.name: self.labels[source]
            for slot, source in zip(wanted, sources, strict=True)
            if source in self.labels
        }  # fmt: skip
        first_target = wanted[len(inputs)].name if targets else None
        return Dataset(arrays, wanted[0].name if inputs else None, first_target, labels, self.origin, self.ordered)

    def _matched(self, names: Sequence[str], inputs: int) -> Sequence[str]:
        """The array for each wanted name, the first `inputs` of which are inputs."""
        missing = [name for name in names if name not in self.arrays]
        if not missing:
            return names
        roles = (self.features, self.target)[: len(names)]
        if inputs == 1 and len(names) <= 2 and None not in roles:
            return [role for role in roles if role is not None]
        note = f"the data have {listing(self.arrays)}"
        if self.features is not None:
            note += "; by position they fit only a network with one input and at most one target"
        fail(
            "data-missing",
            f"the data have no array `{missing[0]}`",
            place=self.origin,
            notes=[note],
            help=nearest(missing[0], self.arrays) or f"name the arrays as the network does: {listing(names)}",
        )

    def _fit(self, source: str, array: Array, slot: _Slot, sizes: Mapping[str, int]) -> Array:
        if slot.classes is not None:
            whole = array if array.dtype.kind in "iu" else self._whole(source, array, np.dtype(np.int64))
            self._check_labels(source, whole, integer(slot.classes).evaluate(sizes))
            return whole
        if slot.dtype.kind in "iu":
            return self._whole(source, array, slot.dtype)
        with np.errstate(over="ignore"):  # what overflows is infinite, which the check reports
            cast = np.ascontiguousarray(array, dtype=slot.dtype).reshape(array.shape)
        self._check_finite(source, cast, array)
        return cast

    def _shaped(self, source: str, slot: _Slot, sizes: dict[str, int]) -> Array:
        array = self.arrays[source]
        given = array.shape[1:]
        if matches([integer(n) for n in slot.shape], given, sizes):
            return array
        declared = tuple(n for n in slot.shape if isinstance(n, int))
        if len(declared) < len(slot.shape):
            self._refuse(
                "data-shape",
                f"`{slot.name}` wants {_shape(slot.shape)} for each example, array `{source}` has {_shape(given)}",
                notes=[f"so far `{name}` is {size}" for name, size in sizes.items()],
                help="a size that is known at run time only is the same in all arrays",
            )
        same_but_ones = [n for n in given if n != 1] == [n for n in declared if n != 1]
        flat = len(given) == 1 or len(declared) == 1
        if math.prod(given) == math.prod(declared) and (same_but_ones or flat):
            return array.reshape(len(array), *declared)
        self._refuse(
            "data-shape",
            f"`{slot.name}` wants {_shape(declared)} for each example, array `{source}` has {_shape(given)}",
            notes=[f"{_shape(declared)} has {math.prod(declared)} values, {_shape(given)} has {math.prod(given)}"],
            help="transpose or cut the data yourself (only flat examples and dimensions of size 1 are fitted)"
            if math.prod(given) == math.prod(declared)
            else "change the declared shape or the data",
        )

    def _check_finite(self, source: str, cast: Array, original: Array) -> None:
        rows = max(1, _CHUNK // max(1, math.prod(cast.shape[1:])))
        for start in range(0, len(cast), rows):
            finite = np.isfinite(cast[start : start + rows])
            if finite.all():
                continue
            first = np.argwhere(~finite)[0]
            row, column = start + int(first[0]), tuple(map(int, first[1:]))
            value = original[(row, *column)]
            self._refuse(
                "data-not-finite",
                f"array `{source}` has {value} {_position(row, column)}"
                + ("" if not np.isfinite(value) else f", which is too large for {cast.dtype}"),
                help="fill in or leave out such rows before training",
            )

    def _whole(self, source: str, array: Array, dtype: np.dtype[Any]) -> Array:
        """The array as integers; floats only where they are whole numbers already."""
        if array.dtype.kind in "biu":
            limits = np.iinfo(dtype)
            if array.dtype.kind != "b" and (int(array.min()) < limits.min or int(array.max()) > limits.max):
                self._refuse(
                    "data-not-integer", f"array `{source}` has integers beyond {dtype}", help="give smaller integers"
                )
            return np.array(array, dtype=dtype, order="C", copy=None)
        with np.errstate(invalid="ignore"):
            exact = (array == np.trunc(array)) & (np.abs(array) < 2.0**53)
        if not exact.all():
            first = np.argwhere(~exact)[0]
            row, column = int(first[0]), tuple(map(int, first[1:]))
            self._refuse(
                "data-not-integer",
                f"array `{source}` has {array[(row, *column)]} {_position(row, column)}, where an integer is wanted",
                help="classes and indices are integers from 0",
            )
        return array.astype(dtype)

    def _check_labels(self, source: str, array: Array, classes: int) -> None:
        low, high = int(array.min()), int(array.max())
        if low >= 0 and high < classes:
            return
        first = np.argwhere((array < 0) | (array >= classes))[0]
        row, column = int(first[0]), tuple(map(int, first[1:]))
        notes = [f"the labels run from {low} to {high}"]
        if source in self.labels:
            notes.append(f"they stand for {listing(self.labels[source])}")
        self._refuse(
            "data-label",
            f"array `{source}` has label {array[(row, *column)]} {_position(row, column)}, "
            f"the classes are 0 to {classes - 1}",
            notes=notes,
            help="subtract 1: classes are counted from 0"
            if (low, high) == (1, classes)
            else f"declare at least {high + 1} classes, or renumber the labels from 0",
        )

    def _refuse(self, code: str, message: str, *, help: str, notes: Sequence[str] = ()) -> NoReturn:
        raise NetlangError(Diagnostic(code, message, notes=tuple(notes), help=help, place=self.origin))


@dataclass(frozen=True)
class _Slot:
    """An input or target of a network, as the data must fill it."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    classes: int | Int | None


def _shape(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _position(row: int, column: Shape) -> str:
    """Where a value is; rows and columns are counted from 0, as in the language."""
    if not column:
        return f"in row {row}"
    return f"in row {row}, column {column[0] if len(column) == 1 else _shape(column)}"
