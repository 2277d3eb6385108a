"""Preparing data: a train/validation split, normalization, and the order of minibatches, all decided by a seed.

Every object here is frozen and a pure function of its fields and the data; a normalization goes to JSON and back
exactly, so that an artifact can carry it. The randomness is Philox (Salmon et al., 2011) keyed by the seed and read as
raw 64-bit words, whose stream NumPy guarantees; it is the same on every machine and in every version.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from netlang.diagnostics import fail, listing, nearest
from netlang.runtime.data import Array, Dataset

__all__ = ["Minibatches", "Normalization", "Split", "permutation"]

Json = dict[str, Any]

_SPLIT, _EPOCH = 0x73706C6974, 0x65706F6368  # "split", "epoch": streams that no seed mixes up
_CHUNK = 1 << 20  # values summed together when fitting; fixed, so that results depend on the data alone


def permutation(examples: int, seed: int, stream: int, counter: int = 0) -> NDArray[np.int64]:
    """A permutation of `0..examples-1`, the same for the same `(seed, stream, counter)`.

    `seed` is an integer from 0 to 2^64 - 1, else `bad-seed`.
    """
    if not 0 <= seed < 1 << 64:
        fail("bad-seed", f"the seed {seed} is not an integer from 0 to 2^64 - 1", help="give a small number, such as 0")
    key = np.array([seed, stream], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=np.array([0, 0, counter, 0], dtype=np.uint64)).random_raw(examples)
    return stable_order(words)


def stable_order(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The places of the words from the least to the greatest, of equal ones the first first."""
    order = np.argsort(words)
    ordered = words[order]
    if (ordered[1:] == ordered[:-1]).any():  # hardly ever, and a stable sort takes six times as long
        order = np.argsort(words, kind="stable")
    return order.astype(np.int64, copy=False)


@dataclass(frozen=True)
class Split:
    """A division into training and validation examples.

    `fraction` of the examples, rounded, go to validation (at least one on each side). With `stratify`, the name of a
    class target, every class gives its share (largest remainders, the first class first among equals) and keeps at
    least one example for training. Both parts keep the order of the data.

    Of examples that are one sequence (`Dataset.ordered`) the last ones go to validation, so that no part of it lies
    between parts that were trained on.
    """

    fraction: float
    seed: int = 0
    stratify: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            fail(
                "bad-split",
                f"the validation fraction {self.fraction} is not between 0 and 1",
                help="give the part to hold out, such as 0.2",
            )

    def rows(self, data: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row numbers for training and for validation, both ascending."""
        if data.examples < 2:
            fail("bad-split", "one example cannot be split in two parts", place=data.origin, help="give more examples")
        held = min(max(1, round(data.examples * self.fraction)), data.examples - 1)
        if data.ordered:
            return np.arange(data.examples - held), np.arange(data.examples - held, data.examples)
        order = permutation(data.examples, self.seed, _SPLIT)
        chosen = order[:held] if self.stratify is None else self._stratified(order, self._labels(data), held)
        inside = np.zeros(data.examples, dtype=bool)
        inside[chosen] = True
        return np.flatnonzero(~inside), np.flatnonzero(inside)

    def apply(self, data: Dataset) -> tuple[Dataset, Dataset]:
        """The training part and the validation part."""
        train, validation = self.rows(data)
        if data.ordered:
            return data.take(slice(0, len(train))), data.take(slice(len(train), None))
        return data.take(train), data.take(validation)

    def _labels(self, data: Dataset) -> Array:
        name = self.stratify or ""
        if name not in data or data[name].ndim != 1 or data[name].dtype.kind not in "biu":
            fail(
                "bad-split",
                f"the split cannot be stratified by `{name}`, which is not one class for each example",
                place=data.origin,
                help="stratify by a class target, or not at all",
            )
        return data[name]

    def _stratified(self, order: NDArray[np.int64], labels: Array, held: int) -> NDArray[np.int64]:
        classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        quota = counts * (held / len(labels))
        share = np.minimum(np.floor(quota), counts - 1).astype(np.int64)
        for k in np.argsort(share - quota, kind="stable"):
            if share.sum() < held and share[k] < counts[k] - 1:
                share[k] += 1
        if not share.any():
            fail(
                "bad-split",
                f"no class of `{self.stratify}` has an example to spare for validation",
                help="give more examples, or do not stratify",
            )
        shuffled = codes[order]
        return np.concatenate([order[shuffled == k][: share[k]] for k in range(len(classes))])


@dataclass(frozen=True)
class Minibatches:
    """The batches of each epoch: `size` examples each, the last with what is left, in an order set by seed and epoch.

    The order of epoch `e` needs nothing of the epochs before, so a run resumed at any epoch goes on exactly as an
    uninterrupted one.

    `continued` is for examples that go on from one another, for nets that carry a state along: they are cut into `size`
    streams of equal length, and each batch has the next example of every stream. All batches then have the same size
    (that of all examples, where there are fewer than `size`), and up to `size - 1` examples at the end are left out.
    """

    size: int
    seed: int = 0
    shuffle: bool = True
    continued: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            fail("bad-batch", f"a batch of {self.size} examples is not possible", help="give a batch size of 1 or more")

    def count(self, examples: int) -> int:
        """How many batches an epoch has."""
        return max(1, examples // self.size) if self.continued else -(-examples // self.size)

    def order(self, examples: int, epoch: int) -> NDArray[np.int64]:
        """The order of the examples in an epoch (epochs are counted from 0)."""
        if self.continued:
            return (
                np.arange(min(self.size, examples) * self.count(examples)).reshape(-1, self.count(examples)).T.ravel()
            )
        if not self.shuffle:
            return np.arange(examples)
        return permutation(examples, self.seed, _EPOCH, epoch)

    def require_whole(self, examples: int, state: str) -> None:
        """Raise `state-batch` where the last batch is smaller than those before, which carry a state for each example.

        `state` is its name.
        """
        if not self.continued and examples > self.size and examples % self.size:
            fail(
                "state-batch",
                f"`{state}` is carried from batch to batch, but {examples} examples are no batches of {self.size} each",
                help="choose a batch that divides their number, or leave some out",
            )

    def over(self, data: Mapping[str, Array], epoch: int, first: int = 0) -> Iterator[dict[str, Array]]:
        """The batches of an epoch as contiguous arrays by name, integers, which data sets keep in few bytes, as int64.

        Each batch is in the memory of the one before. Those before the `first` are left out.
        """
        examples = len(next(iter(data.values())))
        order, size = self.order(examples, epoch), min(self.size, examples)
        memory = {
            name: np.empty((size, *array.shape[1:]), np.int64 if array.dtype.kind in "iu" else array.dtype)
            for name, array in data.items()
        }
        for start in range(first * size, self.count(examples) * size, size):
            rows = order[start : start + size]
            if len(rows) < size:
                memory = {name: array[: len(rows)] for name, array in memory.items()}
            for name, array in data.items():
                _gather(array, rows, memory[name])
            yield memory


def _gather(array: Array, rows: Array, out: Array) -> None:
    """Copy rows that there are."""
    if array.dtype == out.dtype:
        array.take(rows, 0, out, "clip")  # which rows there are is not checked again, so they need no memory between
    else:
        out[...] = array.take(rows, 0)


@dataclass(frozen=True)
class Moments:
    """What is subtracted from an array, then divided by, along one axis of an example (None: one for all)."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    axis: int | None

    def apply(self, array: Array) -> Array:
        """`(array - mean) / scale` for an array `[examples, ...]` of floats, in its dtype."""
        normalized: Array = (array - self._along("mean", array)) / self._along("scale", array)
        return normalized

    def adjoint(self, gradient: Array) -> Array:
        """The gradient by an array, from that by the normalized one."""
        pulled: Array = gradient / self._along("scale", gradient)
        return pulled

    def _along(self, which: str, array: Array) -> Array:
        """One value for each place of the axis, in the rank and dtype of an array."""
        known = self._arrays.get((which, array.ndim, array.dtype))
        if known is None:
            values = self.mean if which == "mean" else self.scale
            shape = [1] * array.ndim
            if self.axis is not None:
                shape[self.axis + 1] = len(values)
            known = self._arrays[which, array.ndim, array.dtype] = np.array(values, dtype=array.dtype).reshape(shape)
        return known

    @cached_property
    def _arrays(self) -> dict[tuple[str, int, np.dtype[Any]], Array]:
        return {}

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """Raises `NetlangError` (`preprocess-corrupt`) unless means are finite and scales positive."""
        try:
            mean, scale, axis = tuple(document["mean"]), tuple(document["scale"]), document["axis"]
        except (KeyError, TypeError):
            _corrupt("normalization")
        sound = all(isinstance(value, float) and math.isfinite(value) for value in (*mean, *scale))
        sound = sound and all(value > 0 for value in scale) and len(mean) == len(scale)
        if not (sound and (len(mean) == 1 if axis is None else type(axis) is int and axis >= 0)):
            _corrupt("normalization")
        return cls(mean, scale, axis)


@dataclass(frozen=True)
class Normalization:
    """Zero mean and unit variance for named arrays, with the moments of the data it was fitted on.

    A vector is normalized feature by feature, an image `[c, h, w]` (or any example of three or more dimensions) channel
    by channel, a sequence `[T, d]` feature by feature over all times, a scalar as a whole, and so is a sequence of
    scalars, as its length is no number of features. A constant feature is centred and divided by 1. Fit it on the
    training part only.
    """

    moments: Mapping[str, Moments]

    @classmethod
    def fit(
        cls,
        data: Mapping[str, Array],
        names: Sequence[str],
        lengths: Mapping[str, Sequence[int]] = MappingProxyType({}),
    ) -> Self:
        """The moments of the named arrays `[examples, ...]`, which must hold finite floats, summed in float64.

        `lengths` has the dimensions of an example that are run-time sizes, by name: they hold no features.
        The variance is that of the data (divided by the number of values, not one less).
        """
        for name in names:
            if name not in data:
                fail(
                    "bad-normalization",
                    f"there is no `{name}` to normalize",
                    help=nearest(name, list(data)) or f"there are {listing(data)}",
                )
            if data[name].dtype.kind != "f":
                fail(
                    "bad-normalization",
                    f"`{name}` holds integers, which have no meaningful mean",
                    help="normalize only inputs of real numbers",
                )
        return cls({name: _moments(data[name], lengths.get(name, ())) for name in names})

    def apply(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays, those that were fitted normalized in their own dtypes; one that is absent stays absent."""
        return {name: self.moments[name].apply(a) if name in self.moments else a for name, a in arrays.items()}

    def to_json(self) -> Json:
        return {
            name: {"mean": list(m.mean), "scale": list(m.scale), "axis": m.axis} for name, m in self.moments.items()
        }

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """Raises `NetlangError` (`preprocess-corrupt`) where the document is not what `to_json` made."""
        if not isinstance(document, dict):
            _corrupt("normalization")
        return cls({name: Moments.from_json(moments) for name, moments in document.items()})


def _moments(array: Array, lengths: Sequence[int] = ()) -> Moments:
    """Mean and standard deviation in two passes over fixed chunks of rows, in float64."""
    rank = array.ndim - 1
    axis = None if rank == 0 else 1 if rank == 2 else 0
    if axis in lengths:
        axis = next((k for k in range(rank) if k not in lengths), None)
    others = tuple(k for k in range(array.ndim) if axis is None or k != axis + 1)
    values = array.size // (1 if axis is None else array.shape[axis + 1])

    rows = max(1, _CHUNK * len(array) // array.size)

    def total(of: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        chunks = (array[k : k + rows].astype(np.float64) for k in range(0, len(array), rows))
        return sum((of(chunk).sum(axis=others, keepdims=True) for chunk in chunks), np.zeros((1,) * array.ndim))

    mean = total(lambda x: x) / values
    variance = total(lambda x: np.square(x - mean)) / values
    # A constant feature is found by its range: rounding can leave its computed variance slightly above zero.
    constant = array.max(axis=others, keepdims=True) == array.min(axis=others, keepdims=True)
    scale = np.sqrt(variance)
    scale[constant | (scale < np.finfo(array.dtype).tiny)] = 1.0
    return Moments(tuple(mean.ravel().tolist()), tuple(scale.ravel().tolist()), axis)


def _corrupt(what: str) -> NoReturn:
    fail(
        "preprocess-corrupt",
        f"the stored {what} is damaged",
        help="save the network again, or take a copy that is whole",
    )
