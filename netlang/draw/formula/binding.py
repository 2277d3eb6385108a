"""How strongly formulas bind: where parentheses stand, alike in every notation.

What is weaker than its place asks for goes into parentheses. The functions below give the parts of a sum or a product,
each with the least strength that its place asks for.
"""

from __future__ import annotations

from collections.abc import Iterator

from netlang.draw.formula.formula import Formula, Fraction, Hadamard, Number, Product, Reduction, Sum, Transpose

SUM, REDUCED, PRODUCT, POWER, ATOM = range(5)


def terms(f: Sum) -> Iterator[tuple[int, Formula, int]]:
    """The terms with their signs; a reduction, which reaches to the end, may stand bare in the last place only."""
    for k, (sign, term) in enumerate(f.terms):
        yield sign, term, REDUCED if k == len(f.terms) - 1 else PRODUCT


def negated(f: Product) -> Formula | None:
    """What a product with a negative number in front is the negative of; None for any other product."""
    first, *rest = f.factors
    if not isinstance(first, Number) or first.value >= 0:
        return None
    left = rest if first.value == -1 else [Number(-first.value), *rest]
    return Product(tuple(left)) if len(left) > 1 else left[0]


def factors(f: Product, on_one_line: bool = False) -> Iterator[tuple[Formula, int]]:
    """The factors of a product; `on_one_line` says that fractions are written with a slash."""
    for k, factor in enumerate(f.factors):
        last = k == len(f.factors) - 1
        # the transposed vector of an outer product multiplies all that stands before it
        outer = k == len(f.factors) - 2 and is_outer(f)
        bare = isinstance(factor, Product | Fraction) and last if on_one_line else isinstance(factor, Fraction)
        yield factor, REDUCED if isinstance(factor, Reduction) and last else PRODUCT if outer or bare else POWER


def strength(f: Product) -> int:
    """How strongly a product binds."""
    return REDUCED if isinstance(f.factors[-1], Reduction) else PRODUCT


def hadamard(f: Hadamard, on_one_line: bool = False) -> Iterator[tuple[Formula, int]]:
    """The factors of an elementwise product."""
    for factor in f.factors:
        outer = isinstance(factor, Product) and isinstance(factor.factors[-1], Transpose)
        yield factor, POWER if outer or (on_one_line and isinstance(factor, Fraction)) else PRODUCT


def is_outer(f: Product) -> bool:
    """True for `a ⊙ b cᵀ`, an outer product by a vector that is itself a product; numbers may stand in front."""
    *numbers, left, right = (Number(1), *f.factors)
    return isinstance(left, Hadamard) and isinstance(right, Transpose) and all(isinstance(n, Number) for n in numbers)
