"""Equations in matrix notation, where their indices allow it: `W x`, `Wᵀ q`, `u vᵀ`, `a ⊙ b`.

Each part of an equation's body is a tensor whose axes are indices. A sum over an index that two factors share is a
product of matrices or vectors; factors with the same axes are multiplied elementwise; a product of two vectors with
different axes is an outer product. What has no such form raises `NoMatrixFormError`, and is written in index notation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netlang.draw.formula.element import Vocabulary, element, function, integer_formula
from netlang.draw.formula.formula import (
    Bracket,
    Call,
    Column,
    Formula,
    Norm,
    Number,
    Power,
    Relation,
    fraction,
    hadamard,
    power,
    product,
    total,
    transposed,
)
from netlang.graph import integer
from netlang.graph.constructors import add, base_and_exponent, mul, negate
from netlang.graph.constructors import power as expression_power
from netlang.graph.expression import (
    ONE,
    ZERO,
    Apply,
    Compare,
    Condition,
    Const,
    Expr,
    IsZero,
    Not,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.integer import Fetch, Int
from netlang.graph.traversal import free_indices, substitute, walk

MOST_LISTED = 6  # elements of a vector that are written one by one

Axes = tuple[str, ...]


class NoMatrixFormError(Exception):
    """The indices of an equation do not make products of matrices and vectors."""


@dataclass(frozen=True)
class Shaped:
    """A formula and the indices that its dimensions stand for, rows first."""

    formula: Formula
    axes: Axes


def tensor_formula(
    body: Expr, extents: Mapping[str, Int], words: Vocabulary, values: Mapping[str, Formula] | None = None
) -> Formula:
    """The whole tensor whose element at the indices of `extents` is `body`.

    `values` are formulas to write instead of tensors' names. Raises `NoMatrixFormError`.
    """
    writer = _Writer(words, values or {}, extents)
    return writer.oriented(writer.shaped(body), tuple(extents))


class _Writer:
    def __init__(self, words: Vocabulary, values: Mapping[str, Formula], extents: Mapping[str, Int]) -> None:
        self.words, self.values, self.extents = words, values, extents

    def oriented(self, part: Shaped, axes: Axes) -> Formula:
        """The formula with its dimensions in the order of `axes`; a scalar stands for a tensor of equal elements."""
        if part.axes in (axes, ()):
            if not part.axes and len(axes) == 2 and isinstance(part.formula, Number) is False:
                raise NoMatrixFormError
            return part.formula
        if len(axes) == 2 and part.axes == axes[::-1]:
            return transposed(part.formula)
        long = tuple(a for a in axes if self.extents.get(a) != integer.ONE)
        if len(axes) == 2 and part.axes == long:  # a single row or column
            return transposed(part.formula) if axes[1:] == long else part.formula
        raise NoMatrixFormError

    def shaped(self, e: Expr) -> Shaped:
        if isinstance(e, Const):
            return Shaped(Number(e.value), ())
        if isinstance(e, Whole):
            if e.value.indices():
                raise NoMatrixFormError
            return Shaped(integer_formula(e.value, self.words), ())
        if isinstance(e, Read):
            return self._read(e)
        if isinstance(e, Select):
            try:
                return self._select(e)
            except NoMatrixFormError:
                return self._listed(e)
        if isinstance(e, Reduce):
            return self._reduce(e)
        assert isinstance(e, Apply)
        if e.op == "add":
            return self._cases(e) if any(isinstance(t, Select) and _is_case(t) for t in e.args) else self._sum(e)
        if e.op == "mul":
            return self._product(e.args)
        if e.op == "pow" and isinstance(e.args[1], Const):
            return self._power(self.shaped(e.args[0]), e.args[1].value)
        parts = [self.shaped(a) for a in e.args]
        axes = self._common(parts)
        return Shaped(function(e.op, tuple(p.formula for p in parts)), axes)

    def _power(self, base: Shaped, exponent: float) -> Shaped:
        if exponent < 0:
            return Shaped(fraction(Number(1), power(base.formula, -exponent)), base.axes)
        return Shaped(power(base.formula, exponent), base.axes)

    def _common(self, parts: Sequence[Shaped]) -> Axes:
        """The axes of tensors that are combined elementwise; scalars go with all."""
        axes = {p.axes for p in parts if p.axes}
        if len(axes) > 1:
            raise NoMatrixFormError
        return next(iter(axes), ())

    def _read(self, e: Read) -> Shaped:
        formula = self.values.get(e.tensor) or self.words.tensor(e.tensor)
        made = self.words.virtual.get(e.tensor)
        shape = self.words.graph[made.tensor if made else e.tensor].shape
        axes: list[str] = []
        for place, extent in zip(e.indices, shape, strict=True):
            if place.index is not None:
                axes.append(place.index.name)
            elif extent != integer.ONE:
                raise NoMatrixFormError
        if len(set(axes)) != len(axes):
            raise NoMatrixFormError
        if len(e.indices) == 2 and len(axes) == 1 and e.indices[0].index is None:
            formula = transposed(formula)  # a single row as a column
        return Shaped(formula, tuple(axes))

    def _sum(self, e: Apply) -> Shaped:
        parts = [self.shaped(a) for a in e.args]
        axes = max((p.axes for p in parts), key=len)
        for p in parts:
            if p.axes not in (axes, axes[::-1], ()):
                raise NoMatrixFormError
        if len(axes) > 1 and any(not p.axes and not isinstance(p.formula, Number) for p in parts):
            raise NoMatrixFormError
        turned = [transposed(p.formula) if p.axes not in (axes, ()) else p.formula for p in parts]
        return Shaped(total(turned), axes)

    def _cases(self, e: Apply) -> Shaped:
        """A sum of terms for one place each: what they have in common, times the vector of the rest."""
        factors = [_factors_of(t.then if isinstance(t, Select) else t) for t in e.args]
        common = [f for f in factors[0] if all(f in others for others in factors)]
        if not common:
            return self._listed(e)
        inverse = [expression_power(f, -1) for f in common]
        return self._product((*common, add(*(mul(t, *inverse) for t in e.args))))

    def _listed(self, e: Expr) -> Shaped:
        """A vector of few elements that has a case for each: `(x[0], x[1], 1)`."""
        free = free_indices(e)
        name = next(iter(free), "")
        extent = self.extents.get(name)
        if len(free) != 1 or extent is None or not extent.is_constant or extent.constant > MOST_LISTED:
            raise NoMatrixFormError
        elements = [substitute(e, {name: integer.integer(k)}) for k in range(extent.constant)]
        if any(isinstance(part, Select) for one in elements for part in walk(one)):
            raise NoMatrixFormError
        return Shaped(Column(tuple(element(one, self.words) for one in elements)), (name,))

    # --- masks --------------------------------------------------------------------------------------------------------

    def _select(self, e: Select) -> Shaped:
        if e.otherwise == ZERO:
            mark = self._mark(e.condition)
            return mark if e.then == ONE else self._elementwise([self.shaped(e.then), mark])
        if e.then == ZERO:
            return self._select(Select(negate(e.condition), e.otherwise, ZERO))
        raise NoMatrixFormError

    def _mark(self, condition: Condition) -> Shaped:
        """Iverson's bracket of a tensor, or the one-hot vector of a label."""
        if isinstance(condition, IsZero):
            return self._one_hot(condition.value)
        if isinstance(condition, Not):
            if isinstance(condition.part, Compare) and condition.part.op in ("<", "<="):
                op = "<=" if condition.part.op == "<" else "<"
                return self._mark(Compare(op, condition.part.right, condition.part.left))
            if isinstance(condition.part, IsZero):
                hot = self._one_hot(condition.part.value)
                return Shaped(total([Number(1), product([Number(-1), hot.formula])]), hot.axes)
        if not isinstance(condition, Compare):
            raise NoMatrixFormError
        left, right = self.shaped(condition.left), self.shaped(condition.right)
        axes = self._common([left, right])
        op, first, second = {"==": "="}.get(condition.op, condition.op), left.formula, right.formula
        if isinstance(first, Number) and op in ("<", "<="):
            op, first, second = {"<": ">", "<=": ">="}[op], second, first
        return Shaped(Bracket(Relation(op, first, second)), axes)

    def _one_hot(self, value: Int) -> Shaped:
        """`[y = i]` for an integer tensor `y` with scalar elements: the vector with a single 1, at the place `y`."""
        atoms = [m[0] for m, c in value.terms if len(m) == 1]
        fetches = [a for a in atoms if isinstance(a, Fetch)]
        indices = [a for a in atoms if not isinstance(a, Fetch)]
        if len(value.terms) != 2 or len(fetches) != 1 or len(indices) != 1:
            raise NoMatrixFormError
        one, place = fetches[0], indices[0]
        if value.coefficient(one) != -value.coefficient(place) or one.indices or not isinstance(place, integer.Index):
            raise NoMatrixFormError
        if self.extents.get(place.name) not in (None, one.bound):
            raise NoMatrixFormError
        return Shaped(Call("onehot", (self.words.tensor(one.tensor),)), (place.name,))

    # --- products -----------------------------------------------------------------------------------------------------

    def _factors(self, args: Sequence[Expr]) -> tuple[list[Shaped], list[Shaped]]:
        """What stands over and what stands under the fraction bar."""
        over: list[Shaped] = []
        under: list[Shaped] = []
        for factor in args:
            base, exponent = base_and_exponent(factor)
            if exponent < 0:
                under.append(self._power(self.shaped(base), -exponent))
            else:
                over.append(self.shaped(factor))
        return over, under

    def _elementwise(self, parts: Sequence[Shaped]) -> Shaped:
        """The product of tensors with the same axes and of scalars, which stand in front."""
        axes = self._common(parts)
        scalars = [p.formula for p in parts if not p.axes]
        tensors = [p.formula for p in parts if p.axes]
        return Shaped(product([*scalars, hadamard(tensors)] if tensors else scalars), axes)

    def _product(self, args: Sequence[Expr]) -> Shaped:
        over, under = self._factors(args)
        axes = list(dict.fromkeys(p.axes for p in (*over, *under) if p.axes))
        if len(axes) < 2:
            top, bottom = self._elementwise(over), self._elementwise(under) if under else None
            if bottom is None:
                return top
            return Shaped(fraction(top.formula, bottom.formula), axes[0] if axes else ())
        if len(axes) != 2 or any(len(a) != 1 for a in axes):
            raise NoMatrixFormError
        scalars = [p for p in over if not p.axes]
        columns = []
        for axis in axes:
            top = self._elementwise([p for p in over if p.axes == axis] or [Shaped(Number(1), ())])
            divisors = [p for p in under if p.axes == axis]
            columns.append(fraction(top.formula, self._elementwise(divisors).formula) if divisors else top.formula)
        rows, cols = (0, 1) if _before(axes[0][0], axes[1][0], list(self.extents)) else (1, 0)
        outer = product([*(s.formula for s in scalars), columns[rows], transposed(columns[cols])])
        below = [p for p in under if not p.axes]
        made = fraction(outer, self._elementwise(below).formula) if below else outer
        return Shaped(made, (axes[rows][0], axes[cols][0]))

    # --- sums over indices --------------------------------------------------------------------------------------------

    def _reduce(self, e: Reduce) -> Shaped:
        bound = [name for name, _ in e.ranges]
        try:
            if e.op == "sum":
                return self._contraction(e.body, bound)
        except NoMatrixFormError:
            pass
        if all(extent == integer.ONE for _, extent in e.ranges) and not e.op.startswith("arg"):
            return self.shaped(substitute(e.body, dict.fromkeys(bound, integer.ZERO)))
        raise NoMatrixFormError

    def _contraction(self, body: Expr, bound: Sequence[str]) -> Shaped:
        args = body.args if isinstance(body, Apply) and body.op == "mul" else (body,)
        over, under = self._factors(args)
        if any(p.axes for p in under):
            raise NoMatrixFormError
        groups: dict[Axes, list[Formula]] = {}
        for part in over:
            groups.setdefault(part.axes, []).append(part.formula)
        scalars = groups.pop((), [])
        parts = [Shaped(hadamard(formulas), axes) for axes, formulas in groups.items()]
        made = self._contracted(parts, list(bound), groups)
        result = product([*scalars, made.formula])
        return Shaped(fraction(result, self._elementwise(under).formula) if under else result, made.axes)

    def _contracted(self, parts: list[Shaped], bound: list[str], groups: Mapping[Axes, list[Formula]]) -> Shaped:
        for name in bound:
            touched = [p for p in parts if name in p.axes]
            rest = [p for p in parts if name not in p.axes]
            if len(touched) == 1 and touched[0].axes == (name,):
                made = _inner(groups.get((name,), []))
            elif len(touched) == 2:
                made = _joined(touched[0], touched[1], name)
            else:
                raise NoMatrixFormError
            parts = [made, *rest]
        if len(parts) == 1:
            return parts[0]
        return self._elementwise(parts)


def _is_case(e: Select) -> bool:
    """True for a term that is there at one place only."""
    return isinstance(e.condition, IsZero) and not any(e.condition.value.fetches())


def _factors_of(e: Expr) -> tuple[Expr, ...]:
    return e.args if isinstance(e, Apply) and e.op == "mul" else (e,)


def _before(a: str, b: str, order: Sequence[str]) -> bool:
    place = {name: k for k, name in enumerate(order)}
    return place.get(a, len(place)) <= place.get(b, len(place))


def _inner(factors: Sequence[Formula]) -> Shaped:
    """The sum of a product of vectors: `‖a‖²`, `aᵀ b`."""
    if len(factors) == 1 and isinstance(factors[0], Power) and factors[0].exponent == Number(2):
        return Shaped(Power(Norm(factors[0].base), Number(2)), ())
    if len(factors) == 2:
        return Shaped(product([transposed(factors[0]), factors[1]]), ())
    raise NoMatrixFormError


def _joined(a: Shaped, b: Shaped, name: str) -> Shaped:
    """Two factors that share a summed index: the product of matrices or of a matrix and a vector."""
    if len(a.axes) > 2 or len(b.axes) > 2 or (len(a.axes) == 1 and len(b.axes) == 1):
        raise NoMatrixFormError
    if len(a.axes) == 1:
        a, b = b, a
    rest = [x for x in (*a.axes, *b.axes) if x != name]
    if len(rest) != len(a.axes) + len(b.axes) - 2 or len(set(rest)) != len(rest):
        raise NoMatrixFormError
    left = a.formula if a.axes[1] == name else transposed(a.formula)
    right = b.formula if b.axes[0] == name else transposed(b.formula)
    return Shaped(product([left, right]), tuple(rest))
