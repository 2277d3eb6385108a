"""Formulas: mathematics as it is written, between the graph's equations and the printers of text, LaTeX and MathML.

A formula knows matrices, vectors and elements of tensors; it does not know what a layer is. The lower-case constructors
keep numbers in front, flatten nested sums and products, and take transposes to the leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Formula:
    """Something that can be written."""


@dataclass(frozen=True)
class Number(Formula):
    value: float


@dataclass(frozen=True)
class Symbol(Formula):
    """A tensor, an index or a size, by its name in the net: `W1`, `conv_1.W`."""

    name: str


@dataclass(frozen=True)
class Adjoint(Formula):
    """The derivative of the objective by a tensor: `dL/dW`."""

    objective: str
    of: str


@dataclass(frozen=True)
class Element(Formula):
    """The element of a tensor at indices, in the brackets of the language: `W[i, k]`."""

    base: Formula
    indices: tuple[Formula, ...]


@dataclass(frozen=True)
class Sum(Formula):
    """Terms with their signs: `a - b` is `((1, a), (-1, b))`."""

    terms: tuple[tuple[int, Formula], ...]


@dataclass(frozen=True)
class Product(Formula):
    """Factors beside each other: numbers, and products of matrices and vectors."""

    factors: tuple[Formula, ...]


@dataclass(frozen=True)
class Hadamard(Formula):
    """The elementwise product of tensors of one shape."""

    factors: tuple[Formula, ...]


@dataclass(frozen=True)
class Fraction(Formula):
    """A quotient, elementwise where its parts are tensors."""

    over: Formula
    under: Formula


@dataclass(frozen=True)
class Power(Formula):
    base: Formula
    exponent: Formula


@dataclass(frozen=True)
class Column(Formula):
    """A vector by its elements."""

    elements: tuple[Formula, ...]


@dataclass(frozen=True)
class Transpose(Formula):
    base: Formula


@dataclass(frozen=True)
class Norm(Formula):
    """The Euclidean norm."""

    base: Formula


@dataclass(frozen=True)
class Call(Formula):
    """A function of arguments. `row` says that the name is that of a row of the table of scalar functions."""

    name: str
    args: tuple[Formula, ...]
    prime: bool = False
    row: bool = False


@dataclass(frozen=True)
class Floor(Formula):
    base: Formula


@dataclass(frozen=True)
class Relation(Formula):
    """A statement: `left op right`, where `op` is one of < <= = != mod."""

    op: str
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Logic(Formula):
    """Statements joined by `and` or `or`, or one with `not` in front."""

    op: str
    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Bracket(Formula):
    """Iverson's bracket: 1 where the statement holds, else 0 (Knuth, "Two Notes on Notation", 1992)."""

    statement: Formula


@dataclass(frozen=True)
class Cases(Formula):
    """`then` where the statement holds, else `otherwise`."""

    statement: Formula
    then: Formula
    otherwise: Formula


@dataclass(frozen=True)
class Reduction(Formula):
    """A sum, product, maximum or minimum of `body` over index ranges, each a name and its extent.

    An extent that is known at run time only is None.
    """

    op: str
    ranges: tuple[tuple[str, Formula | None], ...]
    body: Formula


def parts(formula: Formula) -> Iterator[Formula]:
    """The formula and everything inside it, outermost first."""
    yield formula
    for f in fields(formula):
        yield from _inside(getattr(formula, f.name))


def _inside(value: object) -> Iterator[Formula]:
    if isinstance(value, Formula):
        yield from parts(value)
    elif isinstance(value, tuple):
        for part in value:
            yield from _inside(part)


# --- constructors ----------------------------------------------------------------------------------------------------


def signed(formula: Formula) -> tuple[int, Formula]:
    """The sign in front of a formula, and the rest."""
    if isinstance(formula, Number) and formula.value < 0:
        return -1, Number(-formula.value)
    if isinstance(formula, Product) and isinstance(formula.factors[0], Number) and formula.factors[0].value < 0:
        return -1, product([Number(-formula.factors[0].value), *formula.factors[1:]])
    if isinstance(formula, Fraction):
        sign, over = signed(formula.over)
        return sign, Fraction(over, formula.under)
    if isinstance(formula, Sum) and len(formula.terms) == 1:
        return formula.terms[0]
    return 1, formula


def total(parts: Iterable[Formula]) -> Formula:
    """The sum; what is added stands before what is subtracted, and sums over indices last."""
    terms: list[tuple[int, Formula]] = []
    for part in parts:
        if isinstance(part, Sum):
            terms += part.terms
        elif part != Number(0):
            terms.append(signed(part))
    terms.sort(key=lambda term: (-term[0], isinstance(term[1], Reduction)))
    if not terms:
        return Number(0)
    return terms[0][1] if len(terms) == 1 and terms[0][0] > 0 else Sum(tuple(terms))


def product(parts: Iterable[Formula]) -> Formula:
    """The product: numbers are multiplied and stand in front, the other factors keep their order."""
    number, factors = _gathered(parts, Product)
    if number == 0:
        return Number(0)
    return _scaled(number, factors, Product)


def hadamard(parts: Iterable[Formula]) -> Formula:
    """The elementwise product; numbers stand in front."""
    number, factors = _gathered(parts, Hadamard)
    if number == 0:
        return Number(0)
    if len(factors) < 2:
        return _scaled(number, factors, Product)
    inner = Hadamard(tuple(factors))
    return inner if number == 1 else Product((Number(number), inner))


def _gathered(parts: Iterable[Formula], kind: type[Product] | type[Hadamard]) -> tuple[float, list[Formula]]:
    number = 1.0
    factors: list[Formula] = []
    queue = list(parts)[::-1]
    while queue:
        part = queue.pop()
        if isinstance(part, Number):
            number *= part.value
        elif isinstance(part, kind):
            queue += part.factors[::-1]
        elif isinstance(part, Product) and isinstance(part.factors[0], Number):
            number *= part.factors[0].value
            queue.append(product(part.factors[1:]))
        elif isinstance(part, Sum) and len(part.terms) == 1:
            number *= part.terms[0][0]
            queue.append(part.terms[0][1])
        else:
            factors.append(part)
    return number, factors


def _scaled(number: float, factors: list[Formula], kind: type[Product]) -> Formula:
    if not factors:
        return Number(number)
    if number == 1 and len(factors) == 1:
        return factors[0]
    return kind((*([Number(number)] if number != 1 else []), *factors))


def fraction(over: Formula, under: Formula) -> Formula:
    if under == Number(1):
        return over
    return Fraction(over, under)


def transposed(formula: Formula) -> Formula:
    """The transpose, taken into products of a number and a matrix; a number is its own."""
    if isinstance(formula, Transpose):
        return formula.base
    if isinstance(formula, Number):
        return formula
    if isinstance(formula, Product) and isinstance(formula.factors[0], Number):
        return product([formula.factors[0], transposed(product(formula.factors[1:]))])
    return Transpose(formula)


def power(base: Formula, exponent: float) -> Formula:
    if exponent == 1:
        return base
    if exponent == 0.5:
        return Call("sqrt", (base,))
    return Power(base, Number(exponent))
