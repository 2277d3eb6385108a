"""Sums over windows by fewer products: the matrices of Winograd's and Toom and Cook's algorithms, in exact arithmetic.

`minimal(m, r)` computes m neighbouring sums of r products each from n = m + r - 1 places of an image by n products
(Winograd, Arithmetic Complexity of Computations, 1980):

    y = A^T ((G g) * (B^T d)),   y[i] = sum(p < r) d[i + p] * g[p]

It is the transposition of multiplying two polynomials by their values at n points (Toom, 1963; Cook, 1966).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

Matrix = tuple[tuple[Fraction, ...], ...]

OUTPUTS = range(2, 6)  # results of a tile in a dimension
TAPS = range(2, 6)  # places of a window in a dimension

# Among numbers that are exact in binary, those with the least rounding errors in float32 for sums of 3 or 5 products.
# The last point is infinity. Pairs of opposite points share half of the additions, and have smaller errors than 0 and a
# point without its opposite.
POINTS = {
    count: tuple(map(Fraction, points.split()))
    for count, points in {
        1: "",
        2: "0",
        3: "0 1",
        4: "0 1 -1",
        5: "3/8 -3/8 5/4 -5/4",
        6: "0 3/4 -3/4 3/2 -3/2",
        7: "1/4 -1/4 7/8 -7/8 7/4 -7/4",
        8: "0 1/2 -1/2 1 -1 2 -2",
        9: "1/4 -1/4 5/8 -5/8 5/4 -5/4 5/2 -5/2",
    }.items()
}


@dataclass(frozen=True)
class Minimal:
    """`outputs` (m) sums over windows of `taps` (r) places.

    `image` (B^T) has n rows of n, `filter` (G) n rows of r, `sums` (A^T) m rows of n.
    """

    outputs: int
    taps: int
    image: Matrix
    filter: Matrix
    sums: Matrix

    @property
    def places(self) -> int:
        return self.outputs + self.taps - 1


@cache
def minimal(outputs: int, taps: int) -> Minimal:
    """The algorithm for so many sums at a time. The matrices of the image and the sums are exact in binary."""
    count = outputs + taps - 1
    points = POINTS[count]
    scales = [math.prod((p - q for q in points if q != p), start=Fraction(1)) for p in points] + [Fraction(1)]
    values = _values(points, count)
    # B^T is the transposed inverse of the values of polynomials at the points
    image = tuple(
        tuple(scale * entry for entry in row) for scale, row in zip(scales, _transposed(_inverse(values)), strict=True)
    )
    return Minimal(
        outputs,
        taps,
        image,
        tuple(tuple(e / scale for e in row) for scale, row in zip(scales, _values(points, taps), strict=True)),
        _transposed(_values(points, outputs)),
    )


@cache
def transforms() -> tuple[tuple[tuple[int, int], ...], ...]:
    """The rows and columns of the matrices of every transformation, in one dimension or two."""
    every = [(outputs, outputs + taps - 1, taps) for outputs in OUTPUTS for taps in TAPS]
    kinds = ({(n, n) for _, n, _ in every}, {(n, r) for _, n, r in every}, {(m, n) for m, n, _ in every})
    return tuple(sizes for kind in kinds for many in (1, 2) for sizes in itertools.product(sorted(kind), repeat=many))


def matrix(rows: int, columns: int) -> Matrix:
    """The matrix with these sizes, which say whether it is one of the image, of filters or of sums."""
    if rows == columns:
        return minimal(2, rows - 1).image
    return minimal(rows - columns + 1, columns).filter if rows > columns else minimal(rows, columns - rows + 1).sums


def _values(points: Sequence[Fraction], count: int) -> Matrix:
    """What gives the values of a polynomial with so many coefficients at the points and, the leading one, infinity."""
    return (
        *(tuple(point**k for k in range(count)) for point in points),
        tuple(Fraction(k == count - 1) for k in range(count)),
    )


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _inverse(matrix: Matrix) -> Matrix:
    """By Gauss and Jordan."""
    count = len(matrix)
    rows = [[*row, *(Fraction(k == i) for k in range(count))] for i, row in enumerate(matrix)]
    for column in range(count):
        pivot = next(k for k in range(column, count) if rows[k][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [e / rows[column][column] for e in rows[column]]
        for k in range(count):
            if k != column and rows[k][column]:
                factor = rows[k][column]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[column], strict=True)]
    return tuple(tuple(row[count:]) for row in rows)
