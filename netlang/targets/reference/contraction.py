"""Contractions by `np.einsum`: each factor gathered over the indices it depends on, then multiplied and summed.

A second route to what the reduction over the whole index grid gives, to rounding, and far faster on large networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netlang.graph.expression import ZERO, Apply, Condition, Expr, Read, Reduce, Select
from netlang.graph.nodes import Equation
from netlang.targets.reference.grid import Grid

Array = NDArray[Any]


def contract(node: Equation, grid: Grid) -> Array | None:
    """The value of a sum of a product of at least two reads, perhaps guarded; None where the equation is no such sum.

    `grid` ranges over the left-hand indices, then those of the sum.
    """
    if not isinstance(node.body, Reduce) or node.body.op != "sum":
        return None
    product: Expr = node.body.body
    guard: Condition | None = None
    if isinstance(product, Select) and product.otherwise == ZERO:
        guard = product.condition
        product = product.then
    if not isinstance(product, Apply) or product.op != "mul":
        return None
    if sum(isinstance(factor, Read) for factor in product.args) < 2:
        return None
    taken = None if guard is None else grid.condition(guard)
    factors = [grid.expression(factor, taken) for factor in product.args]
    if taken is not None:
        # into the first factor that has all of the guard's axes, so that no operand is larger than it must be
        wide = [k for k, factor in enumerate(factors) if np.broadcast_shapes(factor.shape, taken.shape) == factor.shape]
        chosen = wide[0] if wide else 0
        factors[chosen] = np.where(taken, factors[chosen], 0)
    return _sum_of_products(factors, grid.shape, len(node.indices))


def _sum_of_products(factors: list[Array], shape: tuple[int, ...], rank: int) -> Array:
    """The product of arrays that broadcast to `shape`, summed over the axes after the first `rank`."""
    axes = [[axis for axis, length in enumerate(factor.shape) if length > 1] for factor in factors]
    present = {axis for some in axes for axis in some}
    kept = [axis for axis in range(rank) if axis in present]
    operands: list[Any] = []
    for factor, some in zip(factors, axes, strict=True):
        operands += [factor.reshape([factor.shape[axis] for axis in some]), some]
    total = np.einsum(*operands, kept, optimize=True)
    # axes that no factor depends on: copies on the left-hand side, repetitions under the sum
    repeats = np.prod([shape[axis] for axis in range(rank, len(shape)) if axis not in present], dtype=np.int64)
    total = np.asarray(total * repeats).reshape([shape[a] if a in present else 1 for a in range(rank)])
    return np.broadcast_to(total, shape[:rank]).astype(factors[0].dtype)
