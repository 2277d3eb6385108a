"""Scalar expressions over indexed reads of tensors: the bodies of equations.

The forms are a closed set. The lower-case constructors (`add`, `mul`, `power`, `select`, ...) keep expressions in a
light normal form: sums and products are flat with like terms collected, constants folded, guards with a zero
alternative on the outside. Two expressions that differ in the order of terms only are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from netlang.graph.integer import Fetch, Int, Keyed, integer, is_nonnegative


class Expr(Keyed):
    """A real-valued scalar expression."""


@dataclass(frozen=True, eq=False, repr=False)
class Const(Expr):
    value: float

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return repr(float(self.value))


@dataclass(frozen=True, eq=False, repr=False)
class Whole(Expr):
    """An integer expression as a number: a place, an extent, a label."""

    value: Int

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"int({self.value.key})"


@dataclass(frozen=True, eq=False, repr=False)
class Read(Expr):
    """The element of `tensor` at `indices`; always inside the tensor, by the guards around it."""

    tensor: str
    indices: tuple[Int, ...]

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"{self.tensor}[{', '.join(i.key for i in self.indices)}]"


@dataclass(frozen=True, eq=False, repr=False)
class Apply(Expr):
    """A scalar function of the table in `scalars`; `add` and `mul` take any number of arguments, in any order."""

    op: str
    args: tuple[Expr, ...]

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        keys = [a.key for a in self.args]
        return f"{self.op}({', '.join(sorted(keys) if self.op in ('add', 'mul') else keys)})"


@dataclass(frozen=True, eq=False, repr=False)
class Select(Expr):
    """`then` where `condition` holds, else `otherwise`; the branch not taken is not evaluated."""

    condition: Condition
    then: Expr
    otherwise: Expr

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"if({self.condition.key}, {self.then.key}, {self.otherwise.key})"


@dataclass(frozen=True, eq=False, repr=False)
class Reduce(Expr):
    """A reduction of `body` over index ranges; `op` is sum, prod, max, min, argmax or argmin.

    argmax and argmin give the row-major place of the first extreme among the ranges.
    """

    op: str
    ranges: tuple[tuple[str, Int], ...]
    body: Expr

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        ranges = ", ".join(f"{name} < {extent.key}" for name, extent in self.ranges)
        return f"{self.op}({ranges}) {self.body.key}"


# --- conditions ----------------------------------------------------------------------------------------------------


class Condition(Keyed):
    """A truth value."""


@dataclass(frozen=True, eq=False, repr=False)
class IsZero(Condition):
    """`value == 0`."""

    value: Int

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"{self.value.key} == 0"


@dataclass(frozen=True, eq=False, repr=False)
class AtLeastZero(Condition):
    """`value >= 0`."""

    value: Int

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"{self.value.key} >= 0"


@dataclass(frozen=True, eq=False, repr=False)
class Compare(Condition):
    """`left op right` for real numbers; `op` is one of < <= == !=."""

    op: str
    left: Expr
    right: Expr

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"{self.left.key} {self.op} {self.right.key}"


@dataclass(frozen=True, eq=False, repr=False)
class All(Condition):
    parts: tuple[Condition, ...]

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"all({', '.join(sorted(p.key for p in self.parts))})"


@dataclass(frozen=True, eq=False, repr=False)
class Any(Condition):
    parts: tuple[Condition, ...]

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"any({', '.join(sorted(p.key for p in self.parts))})"


@dataclass(frozen=True, eq=False, repr=False)
class Not(Condition):
    part: Condition

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"not({self.part.key})"


TRUE: Condition = All(())
FALSE: Condition = Any(())

ZERO = Const(0.0)
ONE = Const(1.0)


def every(parts: Iterable[Condition]) -> Condition:
    """All of the conditions, flat and without repetition."""
    return _gather(All, Any, parts)


def some(parts: Iterable[Condition]) -> Condition:
    """Any of the conditions, flat and without repetition."""
    return _gather(Any, All, parts)


def _gather(kind: type[All] | type[Any], opposite: type[All] | type[Any], parts: Iterable[Condition]) -> Condition:
    flat: dict[Condition, None] = {}
    for part in parts:
        if isinstance(part, kind):
            flat.update(dict.fromkeys(part.parts))
        elif isinstance(part, opposite) and not part.parts:
            return part  # the absorbing element: false among "all", true among "any"
        else:
            flat[part] = None
    return next(iter(flat)) if len(flat) == 1 else kind(tuple(flat))


def negate(condition: Condition) -> Condition:
    if condition == TRUE:
        return FALSE
    if condition == FALSE:
        return TRUE
    if isinstance(condition, Not):
        return condition.part
    if isinstance(condition, AtLeastZero):
        return AtLeastZero(-condition.value - 1)
    return Not(condition)


def is_zero(value: Int) -> Condition:
    if value.is_constant:
        return TRUE if value.constant == 0 else FALSE
    if value.terms[0][1] < 0:
        value = -value
    return IsZero(value)


def at_least_zero(value: Int) -> Condition:
    if is_nonnegative(value):
        return TRUE
    if is_nonnegative(-value - 1):
        return FALSE
    return AtLeastZero(value)


def within(value: Int, extent: Int, extents: Mapping[str, Int]) -> Condition:
    """`0 <= value < extent`, without what the ranges of the indices already decide."""
    return every(decide(c, extents) for c in (at_least_zero(value), at_least_zero(extent - 1 - value)))


def decide(condition: Condition, extents: Mapping[str, Int]) -> Condition:
    """The condition, or TRUE or FALSE where the ranges of the indices decide it."""
    if isinstance(condition, AtLeastZero | IsZero):
        ends = condition.value.bounds(extents)
        if ends is None:
            return condition
        if isinstance(condition, AtLeastZero):
            if is_nonnegative(ends[0]):
                return TRUE
            return FALSE if is_nonnegative(-ends[1] - 1) else condition
        if not ends[0].terms and not ends[1].terms:
            return TRUE
        return FALSE if is_nonnegative(ends[0] - 1) or is_nonnegative(-ends[1] - 1) else condition
    if isinstance(condition, All):
        return every(decide(p, extents) for p in condition.parts)
    if isinstance(condition, Any):
        return some(decide(p, extents) for p in condition.parts)
    if isinstance(condition, Not):
        return negate(decide(condition.part, extents))
    return condition


# --- constructors --------------------------------------------------------------------------------------------------


def const(value: float) -> Const:
    return Const(float(value))


def whole(value: Int) -> Expr:
    return const(value.constant) if value.is_constant else Whole(value)


def _coefficient(term: Expr) -> tuple[float, Expr]:
    """Split a term into a constant and the rest (`ONE` for a constant)."""
    if isinstance(term, Const):
        return term.value, ONE
    if isinstance(term, Apply) and term.op == "mul" and isinstance(term.args[0], Const):
        rest = term.args[1:]
        return term.args[0].value, rest[0] if len(rest) == 1 else Apply("mul", rest)
    return 1.0, term


def add(*terms: Expr) -> Expr:
    collected: dict[Expr, float] = {}
    for term in terms:
        for part in term.args if isinstance(term, Apply) and term.op == "add" else (term,):
            c, rest = _coefficient(part)
            collected[rest] = collected.get(rest, 0.0) + c
    # an infinite constant must survive; a vanishing coefficient removes its term
    parts = [_scaled(c, rest) for rest, c in collected.items() if c != 0]
    if not parts:
        return ZERO
    return parts[0] if len(parts) == 1 else Apply("add", tuple(parts))


def _scaled(c: float, rest: Expr) -> Expr:
    if rest == ONE:
        return const(c)
    if c == 1:
        return rest
    factors = rest.args if isinstance(rest, Apply) and rest.op == "mul" else (rest,)
    return Apply("mul", (const(c), *factors))


def mul(*factors: Expr) -> Expr:
    c = 1.0
    powers: dict[Expr, float] = {}
    guards: list[Condition] = []
    queue = list(reversed(factors))
    while queue:
        factor = queue.pop()
        if isinstance(factor, Apply) and factor.op == "mul":
            queue.extend(reversed(factor.args))
        elif isinstance(factor, Const):
            c *= factor.value
        elif isinstance(factor, Select) and factor.otherwise == ZERO:
            guards.append(factor.condition)
            queue.append(factor.then)
        elif isinstance(factor, Apply) and factor.op == "pow" and isinstance(factor.args[1], Const):
            powers[factor.args[0]] = powers.get(factor.args[0], 0.0) + factor.args[1].value
        else:
            powers[factor] = powers.get(factor, 0.0) + 1.0
    if c == 0:
        return ZERO
    parts = [part for base, exponent in powers.items() if (part := power(base, exponent)) != ONE]
    if any(isinstance(p, Const) for p in parts):  # a power that folded
        c *= math.prod(p.value for p in parts if isinstance(p, Const))
        parts = [p for p in parts if not isinstance(p, Const)]
    if c == -1 and len(parts) == 1 and isinstance(parts[0], Apply) and parts[0].op == "add":
        value = add(*(mul(const(-1), t) for t in parts[0].args))
    elif not parts:
        value = const(c)
    elif c != 1:
        value = Apply("mul", (const(c), *parts))
    else:
        value = parts[0] if len(parts) == 1 else Apply("mul", tuple(parts))
    return select(every(guards), value, ZERO) if guards else value


def power(base: Expr, exponent: float) -> Expr:
    """`base ^ exponent` for a constant exponent."""
    if exponent == 0:
        return ONE
    if exponent == 1:
        return base
    if isinstance(base, Const) and (base.value > 0 or (base.value < 0 and exponent == int(exponent))):
        try:
            return const(base.value**exponent)
        except OverflowError:
            pass
    if isinstance(base, Apply) and exponent == int(exponent):
        if base.op == "pow" and isinstance(base.args[1], Const):
            return power(base.args[0], base.args[1].value * exponent)
        if base.op == "mul":
            return mul(*(power(f, exponent) for f in base.args))
    return Apply("pow", (base, const(exponent)))


def neg(value: Expr) -> Expr:
    return mul(const(-1), value)


def sub(left: Expr, right: Expr) -> Expr:
    return add(left, neg(right))


def div(left: Expr, right: Expr) -> Expr:
    if isinstance(right, Const) and right.value == 0:
        return Apply("mul", (left, Apply("pow", (right, const(-1)))))
    return mul(left, power(right, -1))


def select(condition: Condition, then: Expr, otherwise: Expr) -> Expr:
    if condition == TRUE or then == otherwise:
        return then
    if condition == FALSE:
        return otherwise
    if isinstance(then, Select) and then.otherwise == otherwise:
        return select(every([condition, then.condition]), then.then, otherwise)
    return Select(condition, then, otherwise)


def read(tensor: str, *indices: Int) -> Read:
    return Read(tensor, indices)


def reduce(op: str, ranges: Iterable[tuple[str, Int]], body: Expr) -> Expr:
    ranges = tuple(ranges)
    if not ranges and op not in ("argmax", "argmin"):
        return body
    return Reduce(op, ranges, body)


# --- traversal -----------------------------------------------------------------------------------------------------


def parts(node: Expr | Condition) -> tuple[Expr | Condition, ...]:
    """The expressions and conditions directly inside."""
    if isinstance(node, Apply):
        return node.args
    if isinstance(node, Select):
        return node.condition, node.then, node.otherwise
    if isinstance(node, Reduce):
        return (node.body,)
    if isinstance(node, Compare):
        return node.left, node.right
    if isinstance(node, All | Any):
        return node.parts
    if isinstance(node, Not):
        return (node.part,)
    return ()


def integers(node: Expr | Condition) -> tuple[Int, ...]:
    """The integer expressions directly inside."""
    if isinstance(node, Read):
        return node.indices
    if isinstance(node, Whole | IsZero | AtLeastZero):
        return (node.value,)
    if isinstance(node, Reduce):
        return tuple(extent for _, extent in node.ranges)
    return ()


def walk(node: Expr | Condition) -> Iterator[Expr | Condition]:
    """Every expression and condition in it, outermost first, left to right."""
    yield node
    for part in parts(node):
        yield from walk(part)


def reads(node: Expr) -> list[Read]:
    """The distinct reads of real values, in order of appearance."""
    return list(dict.fromkeys(n for n in walk(node) if isinstance(n, Read)))


def read_depth(node: Expr | Condition) -> int:
    """How deep reads nest in it: 0 without reads, and a read is one deeper than what its indices read.

    What keeps a read inside its tensor speaks of its indices alone, so it is less deep than the read: the conditions of
    a conjunction are evaluated in this order.
    """
    deepest = 0
    for inner in walk(node):
        depth = max(map(_integer_depth, integers(inner)), default=0)
        deepest = max(deepest, depth + isinstance(inner, Read))
    return deepest


def _integer_depth(value: Int) -> int:
    fetches = (atom for atom in value.atoms() if isinstance(atom, Fetch))
    return max((1 + max(map(_integer_depth, atom.indices), default=0) for atom in fetches), default=0)


def operands(node: Expr) -> list[str]:
    """Names of all tensors that it reads, labels and places included, in order of first appearance."""
    names: dict[str, None] = {}
    for inner in walk(node):
        if isinstance(inner, Read):
            names[inner.tensor] = None
        for value in integers(inner):
            names.update(dict.fromkeys(a.tensor for a in value.atoms() if isinstance(a, Fetch)))
    return list(names)


def free_indices(node: Expr | Condition) -> set[str]:
    """Names of the indices that it depends on and does not bind."""
    names = {name for value in integers(node) for name in value.indices()}
    for part in parts(node):
        names |= free_indices(part)
    return names - {name for name, _ in node.ranges} if isinstance(node, Reduce) else names


def bound_indices(node: Expr) -> dict[str, Int]:
    """The indices that reductions inside bind, with their extents."""
    return {name: extent for n in walk(node) if isinstance(n, Reduce) for name, extent in n.ranges}


def rewrite(
    node: Expr, change: Callable[[Expr], Expr | None] | None = None, ints: Callable[[Int], Int] | None = None
) -> Expr:
    """Rebuild bottom-up through the constructors.

    `ints` maps every integer expression; `change` sees each rebuilt expression and returns its replacement or None.
    """
    return cast(Expr, _rewrite(node, change, ints))


def rewrite_condition(
    node: Condition, change: Callable[[Expr], Expr | None] | None = None, ints: Callable[[Int], Int] | None = None
) -> Condition:
    return cast(Condition, _rewrite(node, change, ints))


def _rewrite(
    node: Expr | Condition, change: Callable[[Expr], Expr | None] | None, ints: Callable[[Int], Int] | None
) -> Expr | Condition:
    def integer_(value: Int) -> Int:
        return value if ints is None else ints(value)

    before = parts(node)
    inner = tuple([_rewrite(p, change, ints) for p in before])
    unchanged = all(a is b for a, b in zip(before, inner, strict=True)) and (
        ints is None or all(integer_(value) is value for value in integers(node))
    )
    if isinstance(node, Condition):
        return node if unchanged else _rebuild_condition(node, inner, integer_)
    out: Expr = node
    if unchanged:
        pass
    elif isinstance(node, Apply):
        out = apply(node.op, *cast(tuple[Expr, ...], inner))
    elif isinstance(node, Select):
        out = select(cast(Condition, inner[0]), cast(Expr, inner[1]), cast(Expr, inner[2]))
    elif isinstance(node, Reduce):
        out = Reduce(node.op, tuple((n, integer_(e)) for n, e in node.ranges), cast(Expr, inner[0]))
    elif isinstance(node, Read):
        out = Read(node.tensor, tuple(integer_(i) for i in node.indices))
    elif isinstance(node, Whole):
        out = whole(integer_(node.value))
    if change is not None:
        changed = change(out)
        if changed is not None:
            out = changed
    return out


def _rebuild_condition(
    node: Condition, inner: tuple[Expr | Condition, ...], integer_: Callable[[Int], Int]
) -> Condition:
    if isinstance(node, IsZero):
        return is_zero(integer_(node.value))
    if isinstance(node, AtLeastZero):
        return at_least_zero(integer_(node.value))
    if isinstance(node, Compare):
        return compare(node.op, cast(Expr, inner[0]), cast(Expr, inner[1]))
    if isinstance(node, All):
        return every(cast(tuple[Condition, ...], inner))
    if isinstance(node, Any):
        return some(cast(tuple[Condition, ...], inner))
    return negate(cast(Condition, inner[0]))


def compare(op: str, left: Expr, right: Expr) -> Condition:
    """`left op right` for any of < <= > >= == !=, folded where both sides are constant."""
    if op in (">", ">="):
        op, left, right = ("<" if op == ">" else "<="), right, left
    if isinstance(left, Const) and isinstance(right, Const):
        a, b = left.value, right.value
        return TRUE if {"<": a < b, "<=": a <= b, "==": a == b, "!=": a != b}[op] else FALSE
    a_int, b_int = _as_integer(left), _as_integer(right)
    if a_int is not None and b_int is not None:
        difference = b_int - a_int
        if op == "<":
            return at_least_zero(difference - 1)
        if op == "<=":
            return at_least_zero(difference)
        return is_zero(difference) if op == "==" else negate(is_zero(difference))
    return Compare(op, left, right)


def _as_integer(value: Expr) -> Int | None:
    if isinstance(value, Whole):
        return value.value
    if isinstance(value, Const) and value.value == math.floor(value.value) and math.isfinite(value.value):
        return integer(int(value.value))
    return None


def apply(op: str, *args: Expr) -> Expr:
    """A scalar function by name, through the constructor of its normal form where there is one."""
    if op == "add":
        return add(*args)
    if op == "mul":
        return mul(*args)
    if op == "pow" and isinstance(args[1], Const):
        return power(args[0], args[1].value)
    return Apply(op, args)


def substitute(node: Expr, values: Mapping[str, Int]) -> Expr:
    """Replace free indices by integer expressions. Indices that the expression binds must not occur in `values`."""
    return rewrite(node, ints=lambda value: value.substitute(values)) if values else node


def replace(node: Expr, old: Expr, new: Expr) -> Expr:
    """Replace every occurrence of a subexpression."""
    return rewrite(node, lambda e: new if e == old else None)


def rename_tensors(node: Expr, names: Mapping[str, str]) -> Expr:
    """Rename tensors in reads and fetches."""
    if not names:
        return node

    def ints(value: Int) -> Int:
        return value.rewrite(
            lambda a: (
                Int({(Fetch(names[a.tensor], a.indices, a.bound),): 1})
                if isinstance(a, Fetch) and a.tensor in names
                else None
            )
        )

    return rewrite(
        node, lambda e: Read(names[e.tensor], e.indices) if isinstance(e, Read) and e.tensor in names else None, ints
    )


def fresh(base: str, taken: Container[str]) -> str:
    """A name like `base` that is not taken: the base, else the base with the least number that is free."""
    if base not in taken:
        return base
    k = 2
    while f"{base}{k}" in taken:
        k += 1
    return f"{base}{k}"
