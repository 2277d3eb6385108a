"""Scalar expressions evaluated on a grid of indices: each index is a range along its own axis, the rest broadcasts."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from netlang.diagnostics import InternalError
from netlang.graph import expression as form
from netlang.graph.integer import Atom, Fetch, Floor, Index, Int, Modulo, Size
from netlang.graph.scalars import SCALARS
from netlang.graph.traversal import read_depth

Array = NDArray[Any]
Truth = NDArray[np.bool_]

_COMPARE: dict[str, Callable[[Array, Array], Truth]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Grid:
    """Where and with what an expression is evaluated.

    `ranges` gives the places that each index takes, in the order of the axes; `values` the tensors that may be read;
    `sizes` the run-time sizes; `dtype` that of real results; `name` the node, for messages. Every result has one axis
    for each index, of length 1 where it does not depend on that index.

    `taken` is true where a value matters (None: everywhere). Elsewhere, in a branch of a `Select` that is not taken,
    reads outside a tensor are allowed and give any of its elements; where the value matters they raise `InternalError`.
    """

    name: str
    ranges: Mapping[str, range]
    values: Mapping[str, Array]
    sizes: Mapping[str, int]
    dtype: DTypeLike = np.float64

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(places) for places in self.ranges.values())

    def integer(self, value: Int, taken: Truth | None = None) -> Array:
        """An integer expression, in int64."""
        total = self._scalar(0, np.int64)
        for monomial, coefficient in value.terms:
            factors = (self._atom(atom, taken) for atom in monomial)
            total = total + reduce(operator.mul, factors, self._scalar(coefficient, np.int64))
        return total

    def condition(self, value: form.Condition, taken: Truth | None = None) -> Truth:
        """A condition. In a conjunction those that read less deeply guard the reads of the others."""
        if isinstance(value, form.IsZero):
            return cast(Truth, self.integer(value.value, taken) == 0)
        if isinstance(value, form.AtLeastZero):
            return self.integer(value.value, taken) >= 0
        if isinstance(value, form.Compare):
            return _COMPARE[value.op](self.expression(value.left, taken), self.expression(value.right, taken))
        if isinstance(value, form.Not):
            return ~self.condition(value.part, taken)
        if isinstance(value, form.All):
            holds: Truth = self._scalar(True, np.bool_)
            for part in sorted(value.parts, key=read_depth):
                holds = holds & self.condition(part, _both(taken, holds))
            return holds
        assert isinstance(value, form.Any)
        holds = self._scalar(False, np.bool_)
        for part in sorted(value.parts, key=read_depth):
            holds = holds | self.condition(part, _both(taken, ~holds))
        return holds

    def expression(self, value: form.Expr, taken: Truth | None = None) -> Array:
        """An expression without reductions, in `dtype`."""
        if isinstance(value, form.Const):
            return self._scalar(value.value, self.dtype)
        if isinstance(value, form.Whole):
            return self.integer(value.value, taken).astype(self.dtype)
        if isinstance(value, form.Read):
            return self._read(value.tensor, value.indices, taken).astype(self.dtype, copy=False)
        if isinstance(value, form.Select):
            chosen = self.condition(value.condition, taken)
            then = self.expression(value.then, _both(taken, chosen))
            otherwise = self.expression(value.otherwise, _both(taken, ~chosen))
            return np.where(chosen, then, otherwise)
        assert isinstance(value, form.Apply), f"`{value.key}` holds a reduction"
        arguments = [self.expression(argument, taken) for argument in value.args]
        if value.op == "add":
            return reduce(operator.add, arguments)
        if value.op == "mul":
            return reduce(operator.mul, arguments)
        return scalar_function(value.op)(*arguments)

    def _scalar(self, value: float, dtype: DTypeLike) -> Array:
        return np.full((1,) * len(self.ranges), value, dtype)

    def _atom(self, atom: Atom, taken: Truth | None) -> Array:
        if isinstance(atom, Index):
            axis, places = list(self.ranges).index(atom.name), self.ranges[atom.name]
            shape = [len(places) if k == axis else 1 for k in range(len(self.ranges))]
            return np.arange(places.start, places.stop, dtype=np.int64).reshape(shape)
        if isinstance(atom, Size):
            return self._scalar(self.sizes[atom.name], np.int64)
        if isinstance(atom, Floor):
            return self.integer(atom.value, taken) // atom.divisor
        if isinstance(atom, Modulo):
            return self.integer(atom.value, taken) % atom.divisor
        assert isinstance(atom, Fetch)
        return self._read(atom.tensor, atom.indices, taken).astype(np.int64, copy=False)

    def _read(self, tensor: str, indices: tuple[Int, ...], taken: Truth | None) -> Array:
        held = self.values[tensor]
        places = []
        for index, extent in zip(indices, held.shape, strict=True):
            place = self.integer(index, taken)
            outside = (place < 0) | (place >= extent)
            if np.any(outside if taken is None else outside & taken):
                raise InternalError("the reference target", f"`{self.name}` reads `{tensor}` outside at {index.key}")
            places.append(np.clip(place, 0, extent - 1))
        return held[tuple(places)] if places else np.reshape(held, (1,) * len(self.ranges))


@cache
def scalar_function(op: str) -> Callable[..., Array]:
    """The function of a row of the table of scalars, from its NumPy form."""
    row = SCALARS[op]
    names = [f"argument_{k}" for k in range(row.arity)]
    source = f"lambda {', '.join(names)}: {row.numpy.format(*names)}"
    # the text is a row of our own table, never of a user's file
    return cast(Callable[..., Array], eval(source, {**vars(np), **_BEYOND_NUMPY}))  # noqa: S307


def _erf(x: Array) -> Array:
    return cast(Array, np.vectorize(math.erf, otypes=[x.dtype])(x))


def _logistic(x: Array) -> Array:
    small = np.exp(-np.abs(x))  # in [0, 1], so that neither branch overflows
    return cast(Array, np.where(x >= 0, 1, small) / (1 + small))


_BEYOND_NUMPY = {"erf": _erf, "logistic": _logistic}


def _both(first: Truth | None, second: Truth) -> Truth:
    return second if first is None else first & second
