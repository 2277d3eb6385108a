"""Scalar expressions over indexed reads of tensors, the bodies of equations, and the conditions in them: a closed set.

Make them with the lower-case functions of `constructors`, which keep a light normal form. Two expressions that differ
in the order of terms only are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from netlang.graph.integer import Int, Keyed


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


PLACES = ("argmax", "argmin", "search")  # the reductions that give a place, an integer


@dataclass(frozen=True, eq=False, repr=False)
class Reduce(Expr):
    """A reduction of `body` over index ranges; `op` is sum, prod, max, min, argmax, argmin or search.

    argmax and argmin give the row-major place of the first extreme among the ranges. search, over one range along which
    the body does not decrease, gives the first place where it is above 0, else the last.
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
