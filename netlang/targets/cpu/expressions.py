"""Scalar and integer expressions of a kernel as Python text, with no more parentheses than needed."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from netlang.graph.constructors import base_and_exponent
from netlang.graph.expression import (
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
    Select,
    Whole,
)
from netlang.graph.integer import Atom, Fetch, Floor, Index, Int, Modulo, Size, is_nonnegative
from netlang.graph.scalars import SCALARS
from netlang.graph.traversal import read_depth, tensor_reads
from netlang.schedule.program import Kernel, Local, Program, Tensor
from netlang.targets.cpu.names import Names

CHOICE, OR, AND, NOT, COMPARE, SUM, PRODUCT, UNARY, ATOM = range(9)
Text = tuple[str, int]  # and how strongly it binds

_CALL = re.compile(r"\w+\((\{\d\}(, )?)+\)")


@cache
def _strength(form: str) -> int:
    """How strongly the kernel form of a scalar function binds."""
    body = ast.parse(form.format("a", "b"), mode="eval").body
    if isinstance(body, ast.BinOp):
        return SUM if isinstance(body.op, ast.Add | ast.Sub) else PRODUCT
    return ATOM


class Expressions:
    """Writes the expressions of one kernel.

    Buffers that take over one place of memory are one parameter, by the name of the first in the kernel: `memory` has
    the buffer for each place. `lines` are the statements so far, at the margin that the owner sets; a value that is
    used twice gets a name there, unless it is in a branch that may not be taken (`_lazy`), where it is repeated.
    """

    def __init__(self, program: Program, kernel: Kernel, names: Names) -> None:
        self.program, self.kernel, self.names = program, kernel, names
        self.memory: dict[str, str] = {}
        self.lines: list[str] = []
        self.margin = "    "
        self._lazy = 0

    def emit(self, line: str) -> None:
        self.lines.append(self.margin + line)

    # --- real values ---

    def real(self, e: Expr, least: int = CHOICE) -> str:
        text, strength = self._real(e)
        return text if strength >= least else f"({text})"

    def _real(self, e: Expr) -> Text:
        if isinstance(e, Const):
            return literal(e.value), ATOM if math.copysign(1.0, e.value) > 0 else SUM
        if isinstance(e, Local):
            return self.names.of("scalar", e.name), ATOM
        if isinstance(e, Whole):
            return f"real({self.integer(e.value)})", ATOM
        if isinstance(e, Read):
            return self.element(e.tensor, e.indices), ATOM
        if isinstance(e, Select):
            return self._choice(e, self.real)
        assert isinstance(e, Apply), e
        if e.op == "add":
            return joined(self.real(a, PRODUCT) for a in e.args), SUM
        if e.op == "mul" or (e.op == "pow" and isinstance(e.args[1], Const)):
            return self._product(e.args if e.op == "mul" else (e,))
        form = SCALARS[e.op].kernel
        # in a plain call an argument stands for itself; elsewhere it may occur twice, or beside an operator
        write = self.real if _CALL.fullmatch(form) else self._named
        return form.format(*(write(a) for a in e.args)), _strength(form)

    def _choice(self, e: Select, write: Callable[[Expr], str]) -> Text:
        if self._is_safe(e.then) and self._is_safe(e.otherwise):
            return f"where({self.condition(e.condition)}, {write(e.then)}, {write(e.otherwise)})", ATOM
        condition = self.condition(e.condition, OR)
        self._lazy += 1
        then, otherwise = write(e.then), write(e.otherwise)
        self._lazy -= 1
        return f"({then} if {condition} else {otherwise})", ATOM

    def _product(self, factors: Iterable[Expr]) -> Text:
        sign = ""
        over: list[Text] = []
        under: list[Text] = []
        for factor in factors:
            if factor == Const(-1.0):
                sign = "" if sign else "-"
                continue
            base, exponent = base_and_exponent(factor)
            (over if exponent > 0 else under).append(self._power(base, abs(exponent)))
        text = " * ".join(strong(t, PRODUCT if k == 0 and not sign else UNARY) for k, t in enumerate(over)) or "1.0"
        for divisor in under:
            text += f" / {strong(divisor, UNARY)}"
        single = len(over) == 1 and not under
        return sign + text, (UNARY if sign else over[0][1]) if single else PRODUCT

    def _power(self, base: Expr, exponent: float) -> Text:
        if exponent == 1:
            return self._real(base)
        if exponent == 0.5:
            return f"sqrt({self.real(base)})", ATOM
        if exponent in (2, 3, 4):
            return " * ".join([self._named(base)] * int(exponent)), PRODUCT
        return f"pow({self.real(base)}, {literal(exponent)})", ATOM

    def _named(self, e: Expr) -> str:
        """The value as a name or a literal, so that it may be written more than once."""
        text, strength = self._real(e)  # once: writing emits the lines of the values that have names
        if isinstance(e, Local | Const) or self._lazy:
            return text if strength >= ATOM else f"({text})"
        name = self.names.unique("t")
        self.emit(f"{name} = {text}")
        return name

    # --- integer values ---

    def whole(self, e: Expr) -> str:
        """An expression of a tensor of integers."""
        if isinstance(e, Const):
            return str(int(e.value))
        if isinstance(e, Whole):
            return self.integer(e.value)
        if isinstance(e, Select):
            return self._choice(e, self.whole)[0]
        return f"i64({self.real(e)})"

    def integer(self, value: Int, least: int = CHOICE) -> str:
        text, strength = integer_text(value, self._atom)
        return text if strength >= least else f"({text})"

    def _atom(self, atom: Atom) -> Text:
        if isinstance(atom, Index):
            return self.names.of("index", atom.name), ATOM
        if isinstance(atom, Size):
            return self.names.of("size", atom.name), ATOM
        if isinstance(atom, Floor | Modulo):
            sign = "//" if isinstance(atom, Floor) else "%"
            return f"{self.integer(atom.value, UNARY)} {sign} {atom.divisor}", PRODUCT
        assert isinstance(atom, Fetch)
        return self.element(atom.tensor, atom.indices), ATOM

    def element(self, tensor: str, indices: Iterable[Int]) -> str:
        """`x[b*784 + i*28 + j]`, or a draw at that place."""
        found = self.program.tensors[tensor]
        place = self._place(found, tuple(indices))
        if found.draws:
            return f"{found.draws}({self.names.of('key', found.source)}, {place})"
        slot = self.program.buffers[found.buffer].slot
        self.memory.setdefault(slot, found.buffer)
        return f"{self.names.of('buffer', slot)}[{place}]"

    def pointer(self, tensor: str, indices: tuple[Int, ...] = ()) -> str:
        """`x`, or `offset(x, i*28)`: the address of an element of a tensor in memory, of its first by default."""
        found = self.program.tensors[tensor]
        slot = self.program.buffers[found.buffer].slot
        self.memory.setdefault(slot, found.buffer)
        place = self._place(found, indices) if indices else "0"
        name = self.names.of("buffer", slot)
        return name if place == "0" else f"offset({name}, {place})"

    def _place(self, tensor: Tensor, indices: tuple[Int, ...]) -> str:
        terms = []
        for value, stride in zip(indices, tensor.strides, strict=True):
            if not value.terms or not stride.terms:
                continue
            if stride.is_constant and stride.constant == 1:
                terms.append(self.integer(value, SUM))
            elif value.is_constant or (len(value.terms) == 1 and value.terms[0][1] != 1):
                terms.append(self.integer(value * stride, UNARY if value.terms[0][1] < 0 else PRODUCT))
            else:
                terms.append(f"{self.integer(value, UNARY)}*{self.integer(stride, UNARY)}")
        return joined(terms) or "0"

    # --- conditions ---

    def condition(self, c: Condition, least: int = CHOICE) -> str:
        text, strength = self._condition(c)
        return text if strength >= least else f"({text})"

    def _condition(self, c: Condition) -> Text:
        if isinstance(c, IsZero | AtLeastZero):
            low, high = c.value.sides()
            sign = "==" if isinstance(c, IsZero) else "<="
            return f"{self.integer(low, SUM)} {sign} {self.integer(high, SUM)}", COMPARE
        if isinstance(c, Compare):
            return f"{self.real(c.left, SUM)} {c.op} {self.real(c.right, SUM)}", COMPARE
        if isinstance(c, Not):
            if isinstance(c.part, IsZero):
                return self.condition(c.part).replace(" == ", " != ", 1), COMPARE
            return f"not {self.condition(c.part, NOT)}", NOT
        assert isinstance(c, All | Any)
        strength, word, empty = (AND, " and ", "True") if isinstance(c, All) else (OR, " or ", "False")
        if not c.parts:
            return empty, ATOM
        # those that read most deeply come last: the others may be what keeps the reads inside their tensors
        ordered = sorted(c.parts, key=lambda p: (not self._is_safe(p), read_depth(p)))
        self._lazy += 1
        text = word.join(self.condition(p, strength + 1) for p in ordered)
        self._lazy -= 1
        return text, strength

    def _is_safe(self, node: Expr | Condition) -> bool:
        """Whether every read in it is inside its tensor for all values of the kernel's indices."""
        return all(self._is_inside(tensor, indices) for tensor, indices in tensor_reads(node))

    def _is_inside(self, tensor: str, indices: tuple[Int, ...]) -> bool:
        found = self.program.tensors[tensor]
        if found.draws:
            return True
        ends = found.place(indices).bounds(self.kernel.extents)
        if ends is None:
            return False
        last = self.program.buffers[found.buffer].elements - 1
        return is_nonnegative(ends[0]) and is_nonnegative(last - ends[1])


# --- text ----------------------------------------------------------------------------------------------------------


def literal(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(float(value))


def strong(text: Text, least: int) -> str:
    return text[0] if text[1] >= least else f"({text[0]})"


def joined(terms: Iterable[str]) -> str:
    """A sum, with `+ -x` written `- x`."""
    out = ""
    for term in terms:
        if not out:
            out = term
        else:
            out += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
    return out


def integer_text(value: Int, atom: Callable[[Atom], Text]) -> Text:
    terms = []
    # positive terms first: `i + p - 2`, `30 - q`
    for monomial, c in sorted(value.terms, key=lambda t: t[1] < 0):
        # `-(i // 2)` and `2*(i // 2)`, as without parentheses they are other numbers
        alone = c == 1 and len(monomial) == 1
        factors = [strong(atom(a), PRODUCT if alone else UNARY) for a in monomial]
        text = "*".join([str(abs(c)), *factors] if abs(c) != 1 or not factors else factors)
        terms.append(f"-{text}" if c < 0 else text)
    if not terms:
        return "0", ATOM
    if len(terms) > 1:
        return joined(terms), SUM
    ((monomial, c),) = value.terms
    if c < 0:
        return terms[0], SUM
    return terms[0], (atom(monomial[0])[1] if len(monomial) == 1 and c == 1 else ATOM if not monomial else PRODUCT)


def sizes_text(value: Int, numbers: Mapping[str, str]) -> str:
    """An expression in run-time sizes alone, each written as `numbers` says."""

    def atom(a: Atom) -> Text:
        if isinstance(a, Floor | Modulo):
            sign = "//" if isinstance(a, Floor) else "%"
            return f"({sizes_text(a.value, numbers)}) {sign} {a.divisor}", PRODUCT
        assert isinstance(a, Size)
        return numbers[a.name], ATOM

    return integer_text(value, atom)[0]
