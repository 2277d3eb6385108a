"""Equations in index notation: every expression of the graph as a formula over elements of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netlang.draw.formula.formula import (
    Adjoint,
    Bracket,
    Call,
    Cases,
    Element,
    Floor,
    Formula,
    Fraction,
    Logic,
    Number,
    Reduction,
    Relation,
    Sum,
    Symbol,
    fraction,
    power,
    product,
    signed,
    total,
)
from netlang.draw.formula.nesting import instance, nested
from netlang.draw.formula.signs import row_sign
from netlang.draw.notation import is_guard
from netlang.graph import integer
from netlang.graph.constructors import base_and_exponent, conjuncts, every, mul, negate
from netlang.graph.expression import (
    ONE,
    ZERO,
    All,
    Any,
    Apply,
    AtLeastZero,
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
from netlang.graph.graph import Graph
from netlang.graph.integer import Atom, Fetch, Index, Int, Modulo, Size
from netlang.graph.nodes import BATCH, Equation
from netlang.graph.traversal import free_indices, substitute


@dataclass(frozen=True)
class Virtual:
    """A tensor that is named for the reader only: a library function of a tensor, or its derivative there."""

    function: str
    tensor: str
    prime: bool = False
    pointwise: bool = True


@dataclass(frozen=True)
class Vocabulary:
    """What the tensors of a graph are called.

    `adjoints` gives for the node of an adjoint the node that it is the adjoint of; `hidden` nodes are written out where
    they are read; `labels` are names to print instead of the nodes' own.
    """

    graph: Graph
    objective: str
    adjoints: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    virtual: Mapping[str, Virtual] = field(default_factory=dict)

    def tensor(self, name: str) -> Formula:
        """The formula of a whole tensor."""
        if name in self.virtual:
            made = self.virtual[name]
            return Call(made.function, (self.tensor(made.tensor),), made.prime)
        if name in self.adjoints:
            return Adjoint(self.objective, self.label(self.adjoints[name]))
        return Symbol(self.label(name))

    def label(self, name: str) -> str:
        return self.labels.get(name, name)

    def definition(self, access: Read) -> Expr | None:
        """What a hidden tensor is at the place where it is read; None for one that is not hidden."""
        node = self.graph.nodes.get(access.tensor) if access.tensor in self.hidden else None
        if not isinstance(node, Equation):
            return None
        body = node.body
        return instance(body, node.indices, access)

    def written_out(self, node: Equation) -> Expr:
        """The body of an equation with its hidden parts in their places."""
        return nested(node.body, self.definition, node.indices)


def element(e: Expr, words: Vocabulary) -> Formula:
    """The formula of one element."""
    if isinstance(e, Const):
        return Number(e.value)
    if isinstance(e, Whole):
        return integer_formula(e.value, words)
    if isinstance(e, Read):
        return _read(e, words)
    if isinstance(e, Select):
        return _select(e, words)
    if isinstance(e, Reduce):
        return reduction(e, words)
    assert isinstance(e, Apply)
    args = tuple(element(a, words) for a in e.args)
    if e.op == "add":
        return total(args)
    if e.op == "mul":
        return quotient(e, words)
    if e.op == "pow":
        return powered(e, args)
    return function(e.op, args)


def function(row: str, args: tuple[Formula, ...]) -> Formula:
    """A scalar function of the table, by its sign where it is conventionally written with one."""
    if row == "constant":
        return args[0]
    sign = row_sign(row)
    return Call(sign, args) if sign else Call(row, args, row=True)


def powered(e: Apply, args: tuple[Formula, ...]) -> Formula:
    exponent = e.args[1]
    if not isinstance(exponent, Const):
        return Call("pow", args, row=True)
    if exponent.value < 0:
        return fraction(Number(1), power(args[0], -exponent.value))
    return power(args[0], exponent.value)


def quotient(e: Apply, words: Vocabulary) -> Formula:
    """A product, its negative powers under a fraction bar; an adjoint stands in front of the fraction."""
    over: list[Formula] = []
    under: list[Formula] = []
    for factor in e.args:
        base, exponent = base_and_exponent(factor)
        if exponent < 0:
            under.append(power(element(base, words), -exponent))
        else:
            over.append(element(factor, words))
    over.sort(key=_rank)
    if not under:
        return product(over)
    flowing = [f for f in over if _rank(f) == 0]
    rest = [f for f in over if _rank(f) > 0]
    if flowing:
        flowing = [*(f for f in rest if isinstance(f, Number)), *flowing]
        rest = [f for f in rest if not isinstance(f, Number)]
    if not rest:
        return fraction(product(flowing), product(under))
    return product([*flowing, fraction(product(rest), product(under))])


def _rank(factor: Formula) -> int:
    """The place among the factors of an element: adjoints first, sums over indices, which reach far, last."""
    if isinstance(factor.base if isinstance(factor, Element) else factor, Adjoint):
        return 0
    order = (Call, Sum, Bracket, Reduction)
    return next((k for k, kind in enumerate(order, 2) if isinstance(factor, kind)), 1)


def _read(e: Read, words: Vocabulary) -> Formula:
    places = tuple(integer_formula(i, words) for i in e.indices)
    made = words.virtual.get(e.tensor)
    if made is not None and made.pointwise:
        return Call(made.function, (_at(words.tensor(made.tensor), places),), made.prime)
    return _at(words.tensor(e.tensor), places)


def _at(base: Formula, places: tuple[Formula, ...]) -> Formula:
    return Element(base, places) if places else base


def _select(e: Select, words: Vocabulary) -> Formula:
    then = element(e.then, words)
    if isinstance(e.otherwise, Const) and is_padding(e, words):
        return then
    if e.otherwise == ZERO:
        mark = Bracket(statement(e.condition, words))
        sign, rest = signed(then)
        marked: Formula = mark if e.then == ONE or rest == Number(1) else product([rest, mark])
        return marked if sign > 0 else product([Number(-1), marked])
    if e.then == ZERO:
        return _select(Select(negate(e.condition), e.otherwise, ZERO), words)
    return Cases(statement(e.condition, words), then, element(e.otherwise, words))


def is_padding(e: Select, words: Vocabulary) -> bool:
    """True for a guard that only keeps a read inside its tensor; outside it counts as 0, or never wins."""
    return is_guard(words.graph, e) and isinstance(e.otherwise, Const) and e.otherwise.value in (0.0, *_ENDS)


_ENDS = (float("inf"), float("-inf"))


def reduction(e: Reduce, words: Vocabulary) -> Formula:
    """A reduction with its ranges; one over a single place is its body."""
    ranges = tuple(
        (name, integer_formula(extent, words) if extent.is_constant else None)
        for name, extent in e.ranges
        if extent != integer.ONE
    )
    single = {name: integer.ZERO for name, extent in e.ranges if extent == integer.ONE}
    body = substitute(e.body, single)
    if e.op == "sum":
        outside, body = _outside(body, {name for name, _ in ranges})
        if outside:
            inner = reduction(Reduce("sum", tuple((n, x) for n, x in e.ranges if n not in single), body), words)
            return product([*(element(o, words) for o in outside), inner])
    if not ranges and not e.op.startswith("arg"):
        return element(body, words)
    return Reduction(e.op, ranges, element(body, words))


def _outside(body: Expr, bound: set[str]) -> tuple[list[Expr], Expr]:
    """What a sum does not depend on, taken out of it: signs, and conditions on other indices."""
    if isinstance(body, Select) and body.otherwise == ZERO:
        conditions = conjuncts(body.condition)
        free = [c for c in conditions if not free_indices(c) & bound]
        if free and len(free) < len(conditions):
            left = every(c for c in conditions if c not in free)
            outside, inner = _outside(Select(left, body.then, ZERO), bound)
            return [*outside, Select(every(free), ONE, ZERO)], inner
        outside, inner = _outside(body.then, bound)
        return outside, Select(body.condition, inner, ZERO)
    if isinstance(body, Const) and body.value == -1:
        return [body], ONE
    if isinstance(body, Apply) and body.op == "mul" and isinstance(body.args[0], Const) and body.args[0].value < 0:
        return [body.args[0]], mul(*body.args[1:])
    return [], body


# --- integers and statements -----------------------------------------------------------------------------------------


def integer_formula(value: Int, words: Vocabulary) -> Formula:
    terms: list[Formula] = []
    for monomial, c in value.terms:
        terms.append(product([Number(float(c)), *(_atom(a, words) for a in monomial)]))
    constants = [t for t in terms if isinstance(t, Number)]
    return total([*(t for t in terms if not isinstance(t, Number)), *constants])


def _atom(atom: Atom, words: Vocabulary) -> Formula:
    if isinstance(atom, Index):
        return Symbol(atom.name)
    if isinstance(atom, Size):
        return Call("size", (Symbol(atom.name),)) if atom.name == BATCH else Symbol(atom.name)
    if isinstance(atom, Fetch):
        return _at(Symbol(words.label(atom.tensor)), tuple(integer_formula(i, words) for i in atom.indices))
    if isinstance(atom, Modulo):
        return Relation("mod", integer_formula(atom.value, words), Number(float(atom.divisor)))
    assert isinstance(atom, integer.Floor)
    return Floor(Fraction(integer_formula(atom.value, words), Number(float(atom.divisor))))


def statement(c: Condition, words: Vocabulary) -> Formula:
    """A condition in words and relations, sides of a comparison with what is positive on either."""
    if isinstance(c, IsZero):
        return _equality("=", c.value, words)
    if isinstance(c, AtLeastZero):
        low, high = c.value.sides()
        return Relation("<=", integer_formula(low, words), integer_formula(high, words))
    if isinstance(c, Compare):
        left, right = element(c.left, words), element(c.right, words)
        if isinstance(left, Number) and c.op in ("<", "<="):  # z > 0 is how a mask is written
            return Relation({"<": ">", "<=": ">="}[c.op], right, left)
        return Relation({"==": "="}.get(c.op, c.op), left, right)
    if isinstance(c, Not):
        if isinstance(c.part, IsZero):
            return _equality("!=", c.part.value, words)
        if isinstance(c.part, Compare):
            opposite = {"<": "<=", "<=": "<"}.get(c.part.op)
            if opposite is not None:
                return statement(Compare(opposite, c.part.right, c.part.left), words)
        return Logic("not", (statement(c.part, words),))
    if isinstance(c, All):
        return Logic("and", tuple(statement(p, words) for p in c.parts))
    assert isinstance(c, Any)
    return Logic("or", tuple(statement(p, words) for p in c.parts))


def _equality(op: str, value: Int, words: Vocabulary) -> Formula:
    low, high = value.sides()
    return Relation(op, integer_formula(high, words), integer_formula(low, words))
