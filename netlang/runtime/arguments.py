"""What a call takes, and the arrays that a user gives for it: refused, or brought into dtype, shape and layout.

Nets and native libraries both use it, so it needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from numpy import ndarray

from netlang.diagnostics import fail, listing, nearest

Array = npt.NDArray[Any]
Call = TypeVar("Call")

BATCH = "batch"
MOST_CALLS = 64  # that are remembered, of as many shapes
UNSIGNED = np.dtype(np.uint64)


class Formula(Protocol):
    """An extent that run-time sizes decide, such as 2T + 1."""

    def evaluate(self, sizes: Mapping[str, int], /) -> int:
        """Its value; raises KeyError for a size that is not given."""


Extent = int | str | Formula


@dataclass(frozen=True)
class Argument:
    """An array `[batch, *extents]` of a role, "input" or "target"; an extent is a number, a size's name, or a formula.

    `sizes` are the run-time sizes that the extents name, the batch aside; elements are whole numbers below `classes`,
    where these are given.
    """

    name: str
    role: str
    dtype: np.dtype[Any]
    extents: tuple[Extent, ...]
    sizes: tuple[str, ...] = ()
    classes: Extent | None = None

    def numbers(self, value: npt.ArrayLike) -> Array:
        """The array of numbers of its kind, reals in its dtype; raises `input-dtype`, `input-not-finite`."""
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            array = np.asarray(None)
        kind = array.dtype.kind
        if kind not in "fiub":
            fail(
                "input-dtype",
                f"`{self.name}` takes numbers, found an array of {array.dtype}",
                help="convert it to floats or integers first",
            )
        if self.dtype.kind == "f":
            array = array.astype(self.dtype, copy=False)
            if self.role == "target":
                self._require_finite(array, f"the target `{self.name}` holds")
        elif kind == "f":
            self._require_finite(array, f"the labels `{self.name}` hold")
            if not (array == np.floor(array)).all():
                fail(
                    "input-dtype",
                    f"the labels `{self.name}` are not whole numbers",
                    help="give class numbers from 0",
                )
        return array

    def _require_finite(self, array: Array, found: str) -> None:
        if not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0]
            fail(
                "input-not-finite",
                f"{found} {array[tuple(place)]} at {_listed(place)}",
                help="remove or repair such examples",
            )

    def require_classes(self, array: Array, sizes: Mapping[str, int]) -> None:
        """Raise `input-label` for a label that is no class, as far as the sizes tell how many there are."""
        classes = None if self.classes is None else settled((self.classes,), sizes)
        if classes is None or not array.size:
            return
        least, largest = int(array.min()), int(array.max())
        if least < 0 or largest >= classes[0]:
            wrong = least if least < 0 else largest
            fail(
                "input-label",
                f"`{self.name}` holds the label {wrong} at {_listed(np.argwhere(array == wrong)[0])}, "
                f"but has the classes 0 to {classes[0] - 1}",
                help="number the classes from 0",
            )


def checked(
    net: str,
    declared: Mapping[str, Argument],
    read: Collection[str],
    wanted: Iterable[str],
    given: Mapping[str, npt.ArrayLike],
    require: Callable[[Mapping[str, int]], None] = lambda _: None,
    known: Mapping[str, int] = MappingProxyType({}),
) -> tuple[dict[str, Array], dict[str, int], bool]:
    """The arrays `given` that are `read`, with the batch in front, the run-time sizes, and whether it is one example.

    Those that are read must be given; `wanted` are the run-time sizes that the arrays must tell, and `require` raises
    where these do not fit the net. `known` are other sizes, which numbers of classes may name.

    Raises `NetlangError`: `input-missing`, `input-unknown`, `input-shape`, `input-dtype`, `input-batch`, `input-label`,
    `input-not-finite` (labels and targets only).
    """
    for name in given:
        if name not in declared:
            fail(
                "input-unknown",
                f"`{net}` has no input `{name}`",
                help=nearest(name, declared) or f"its inputs are {listing(declared)}",
            )
    arrays: dict[str, Array] = {}
    for name, argument in declared.items():
        if name in given:
            arrays[name] = argument.numbers(given[name])
        elif name in read:
            fail("input-missing", f"`{net}` needs the {argument.role} `{name}` here", help=f"give it: `{name}=...`")
    single = bool(arrays) and all(a.ndim == len(declared[n].extents) for n, a in arrays.items())
    if single:
        arrays = {name: a[None] for name, a in arrays.items()}
    sizes = _sizes(arrays, declared, single)
    require(sizes)
    for name, array in arrays.items():
        declared[name].require_classes(array, {**known, **sizes})
    for size in wanted:
        if size not in sizes:
            absent = next(a for a in declared.values() if size in a.sizes)
            fail(
                "input-missing",
                f"`{net}` needs the {absent.role} `{absent.name}` here, which says how much `{size}` is",
                help=f"give it: `{absent.name}=...`",
            )
    fitting = {n: np.ascontiguousarray(a, declared[n].dtype) for n, a in arrays.items() if n in read}
    return fitting, sizes, single


def _sizes(arrays: Mapping[str, Array], declared: Mapping[str, Argument], single: bool) -> dict[str, int]:
    """The run-time sizes, the batch among them, that the shapes of the arrays say."""
    sizes: dict[str, int] = {}
    source: dict[str, str] = {}  # the input that said a size
    for name, array in arrays.items():
        learn(declared[name].extents, array.shape[1:], sizes)
        for size in sizes:
            source.setdefault(size, name)
    for name, array in arrays.items():
        argument = declared[name]
        extents = argument.extents
        if array.ndim == len(extents) + 1 and not array.shape[0]:
            fail("input-batch", "the batch is empty", help="give at least one example")
        if BATCH in sizes and array.ndim == len(extents) + 1 and array.shape[0] != sizes[BATCH]:
            fail(
                "input-batch",
                f"`{source[BATCH]}` has {sizes[BATCH]} examples, `{name}` has {array.shape[0]}",
                help="give all inputs the same number",
            )
        if array.ndim != len(extents) + 1 or settled(extents, sizes) != array.shape[1:]:
            found = list(array.shape[1:] if single else array.shape)
            others = [(s, n) for s, n in source.items() if n != name and s in argument.sizes]
            fail(
                "input-shape",
                f"`{name}` takes [{', '.join(map(str, extents))}] for each example, found an array of shape {found}",
                notes=[f"`{other}` says that {size} is {sizes[size]}" for size, other in others],
                help=f"give it the shape [{', '.join(['batch', *map(str, extents)])}]",
            )
        sizes.setdefault(BATCH, array.shape[0])
        source.setdefault(BATCH, name)
    return sizes or {BATCH: 1}


def learn(extents: Sequence[Extent], shape: Sequence[int], sizes: dict[str, int]) -> None:
    """Add the sizes that an array of this shape tells: those that are extents alone."""
    for extent, length in zip(extents, shape, strict=False) if len(extents) == len(shape) else ():
        if isinstance(extent, str) and length >= 1:
            sizes.setdefault(extent, length)


def settled(extents: Iterable[Extent], sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The extents in numbers; None where a size is not known."""
    try:
        return tuple([evaluated(extent, sizes) for extent in extents])
    except KeyError:
        return None


def evaluated(extent: Extent, sizes: Mapping[str, int]) -> int:
    """An extent in numbers; raises KeyError for a size that is not given."""
    if isinstance(extent, int):
        return extent
    return sizes[extent] if isinstance(extent, str) else extent.evaluate(sizes)


class Known(Generic[Call]):
    """The calls for arrays that can be taken as they are: of the dtypes and layout wanted, and of shapes met before.

    So that most calls need no more than a look at each array. What must hold of elements is looked at in every call.
    """

    def __init__(self, arguments: Iterable[Argument]) -> None:
        self._arguments = tuple(arguments)
        self._wanted = [(k, a.dtype) for k, a in enumerate(self._arguments)]
        self._calls: dict[tuple[tuple[int, ...], ...], tuple[Call, list[tuple[int, int | None]]]] = {}

    def find(self, values: Sequence[Any]) -> Call | None:
        """The call for values in the order of the arguments; None where `checked` must look at them."""
        if len(values) != len(self._wanted):
            return None
        shapes = []
        for k, dtype in self._wanted:  # a `zip` would cost a tenth of a microsecond to begin
            value = values[k]
            if type(value) is not ndarray or value.dtype is not dtype or not value.flags.c_contiguous:
                return None
            shapes.append(value.shape)
        found = self._calls.get(tuple(shapes))
        if found is None:
            return None
        call, looks = found
        for k, classes in looks:
            if not _elements_fit(values[k], classes):
                return None
        return call

    def remember(self, arrays: Iterable[Array], sizes: Mapping[str, int], call: Call) -> None:
        """Remember the call for arrays of these shapes, which fit."""
        looks: list[tuple[int, int | None]] = []
        for k, argument in enumerate(self._arguments):
            if argument.classes is not None:
                classes = settled((argument.classes,), sizes)
                if classes is None:  # as many as the arrays do not say
                    return
                looks.append((k, classes[0]))
            elif argument.role == "target":
                looks.append((k, None))
        if len(self._calls) >= MOST_CALLS:
            self._calls.clear()
        self._calls[tuple([a.shape for a in arrays])] = call, looks


def _elements_fit(array: Array, classes: int | None) -> bool:
    """Whether all are classes, where there are some (a negative integer is a very large one without a sign), else
    finite."""
    if classes is not None:
        numbers = array.view(UNSIGNED)
        return bool(numbers.item(numbers.argmax()) < classes)  # `max` takes twice as long to begin
    return bool(np.isfinite(array).all())


def _listed(place: Iterable[Any]) -> list[int]:
    return [int(k) for k in place]
