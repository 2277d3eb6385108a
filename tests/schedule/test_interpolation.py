"""Sums over windows by fewer products: the identity, exactly, and what its matrices are."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest

from netlang.schedule.winograd.interpolation import POINTS, Matrix, minimal

SIZES = [(m, r) for m in range(1, 8) for r in range(1, 8) if 1 <= m + r - 1 <= max(POINTS)]


def times(matrix: Matrix, values: list[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, values, strict=True)), Fraction(0)) for row in matrix]


@pytest.mark.parametrize(("outputs", "taps"), SIZES)
def test_products_of_transforms_are_sums_over_windows(outputs: int, taps: int) -> None:
    found = minimal(outputs, taps)
    draw = Random(outputs + 10 * taps)
    image = [Fraction(draw.randint(-9, 9)) for _ in range(outputs + taps - 1)]
    filter = [Fraction(draw.randint(-9, 9)) for _ in range(taps)]
    products = [u * v for u, v in zip(times(found.filter, filter), times(found.image, image), strict=True)]
    assert len(products) == found.places == outputs + taps - 1
    assert times(found.sums, products) == [sum(image[i + p] * filter[p] for p in range(taps)) for i in range(outputs)]


@pytest.mark.parametrize(("outputs", "taps"), SIZES)
def test_what_is_computed_in_every_run_has_constants_that_are_exact(outputs: int, taps: int) -> None:
    found = minimal(outputs, taps)
    for entry in (e for matrix in (found.image, found.sums) for row in matrix for e in row):
        assert Fraction(float(entry)) == entry
        assert entry.denominator & (entry.denominator - 1) == 0
        assert abs(entry.numerator) < 2**24  # in float32 too
