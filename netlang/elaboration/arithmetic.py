"""Arithmetic on what expressions can be: numbers at compile time, index arithmetic, and tensors with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn

from netlang.diagnostics import Span, fail
from netlang.elaboration.values import (
    Absent,
    Builtin,
    Distribution,
    Family,
    Instance,
    Places,
    Several,
    Tensor,
    Truth,
    Value,
    single,
)
from netlang.graph.constructors import (
    add,
    apply,
    as_integer,
    compare,
    const,
    div,
    every,
    mul,
    negate,
    power,
    select,
    some,
    sub,
    whole,
)
from netlang.graph.expression import Apply, Const, Expr, Whole
from netlang.graph.integer import ONE, ZERO, Int, integer, is_nonnegative
from netlang.graph.scalars import SCALARS
from netlang.graph.text import shape_text

LARGEST_INTEGER = 2**62

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def describe(value: Value) -> str:
    """What a value is, in words, for messages."""
    if isinstance(value, bool):
        return f"the truth value `{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, Int):
        return "an index or a run-time size"
    if isinstance(value, str):
        return f'the text "{value[:40]}"'
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Instance):
        definition = value.definition
        if definition.kind == "initializer":
            return f"the initializer `{definition.name.id}`"
        return f"the layer `{definition.name.id}` without an input"
    if isinstance(value, Builtin):
        return f"the function `{value.name}` without an argument"
    if isinstance(value, Distribution):
        return f"the distribution `{value.name}`"
    if isinstance(value, Family):
        return f"the family `{value.name}[...]`"
    if isinstance(value, Several):
        return f"{len(value.values)} results"
    if isinstance(value, Truth):
        return "a truth value"
    if isinstance(value, Absent):
        return f"the absent parameter `{value.name}`"
    if value.rank == 0:
        return "a scalar"
    return f"{('a vector', 'a matrix')[value.rank - 1] if value.rank < 3 else 'a tensor'} {shape_text(value.shape)}"


def is_static(value: Value) -> bool:
    return isinstance(value, bool | int | float | Int)


def to_tensor(value: Value, span: Span) -> Tensor:
    """The value as a tensor; numbers become scalars, an absent parameter zero, several results the first."""
    value = single(value)
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Absent):
        return Tensor((), lambda at: const(0))
    if isinstance(value, Int):
        return Tensor((), lambda at: whole(value), dtype="int")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Tensor((), lambda at: const(value))
    help = ""
    if isinstance(value, Instance):
        name = value.definition.name.id
        initializer = value.definition.kind == "initializer"
        help = f"write it alone: `param w[3] ~ {name}`" if initializer else f"apply it: `x -> {name}(...)`"
    elif isinstance(value, Builtin):
        help = f"apply it, as in `{value.name}(x)`"
    elif isinstance(value, Distribution):
        help = "draw from it after a `~`: `noise z[3] ~ normal(0, 1)`"
    elif isinstance(value, Family):
        help = f"pick a member: `{value.name}[1]`"
    elif isinstance(value, list):
        help = "give a parameter these values: `param c[3] ~ [1, 2, 3]`"
    elif isinstance(value, str):
        help = "leave the quotes out if it is a name"
    elif isinstance(value, Truth | bool):
        help = "choose numbers by it: `1 if x > 0 else 0`"
    fail("type-mismatch", f"expected a number or a tensor, found {describe(value)}", span, help=help)


def to_truth(value: Value, span: Span) -> Truth:
    if isinstance(value, Truth):
        return value
    if isinstance(value, bool):
        decided = every(()) if value else some(())
        return Truth((), lambda at: decided)
    fail(
        "type-mismatch",
        f"expected a condition, found {describe(value)}",
        span,
        help="compare it with something: `x > 0`",
    )


# --- broadcasting --------------------------------------------------------------------------------------------------


def broadcast(left: tuple[Int, ...], right: tuple[Int, ...], span: Span, notes: Sequence[str] = ()) -> tuple[Int, ...]:
    """The common shape of two, aligned at their last dimensions; an extent of 1 stretches."""
    rank = max(len(left), len(right))
    a = (ONE,) * (rank - len(left)) + left
    b = (ONE,) * (rank - len(right)) + right
    out = []
    for m, n in zip(a, b, strict=True):
        if m != n and m != ONE and n != ONE:
            fail(
                "shape-mismatch",
                f"shapes {shape_text(left)} and {shape_text(right)} do not go together",
                span,
                label=f"{m} against {n}",
                notes=notes,
                help="shapes are aligned at their last dimensions, which must be equal or 1",
            )
        out.append(n if m == ONE else m)
    return tuple(out)


def stretches(shape: tuple[Int, ...], whole: tuple[Int, ...]) -> bool:
    """Whether a tensor of `shape` broadcasts to the shape `whole`."""
    last = whole[len(whole) - len(shape) :] if shape else ()
    return len(shape) <= len(whole) and all(m in (n, ONE) for m, n in zip(shape, last, strict=True))


def stretched(shape: tuple[Int, ...], whole: tuple[Int, ...], at: Places) -> Places:
    """Where in a tensor of `shape` the place `at` of its broadcast to the shape `whole` reads."""
    skip = len(whole) - len(shape)
    return tuple(ZERO if m != n else i for i, m, n in zip(at[skip:], shape, whole[skip:], strict=True))


def elementwise(function: Callable[..., Expr], tensors: Sequence[Tensor], span: Span, dtype: str = "real") -> Tensor:
    shape: tuple[Int, ...] = ()
    for tensor in tensors:
        notes = [f"{shape_text(t.shape)} is {t.maker}" for t in tensors if t.maker]
        shape = broadcast(shape, tensor.shape, span, notes)
    shapes = [t.shape for t in tensors]
    return Tensor(
        shape,
        lambda at: function(*(t.element(stretched(s, shape, at)) for t, s in zip(tensors, shapes, strict=True))),
        dtype,
        free=not shape and any(t.free for t in tensors),
    )


# --- operators -----------------------------------------------------------------------------------------------------


def binary(op: str, left: Value, right: Value, span: Span) -> Value:
    """`left op right` for + - * / // % ^ on any values."""
    if op in ("+", "-", "*", "//", "%"):
        left, right = plainest(left), plainest(right)
    if is_static(left) and is_static(right):
        return _static(op, left, right, span)
    if op in ("//", "%"):
        fail(
            "type-mismatch",
            f"`{op}` needs whole numbers, found {describe(left)} and {describe(right)}",
            span,
            help="use `/`, `floor(x / y)` for a rounded quotient, or `x - y * floor(x / y)` for what remains",
        )
    if op == "/" and isinstance(right, int | float) and right == 0:
        _divided_by_zero(span)
    a, b = to_tensor(left, span), to_tensor(right, span)
    dtype = _common(a, b) if op in "+-*" else "real"
    return elementwise(lambda x, y: _apply(op, x, y), (a, b), span, dtype)


def _common(a: Tensor, b: Tensor) -> str:
    """The type of what is made of both: whole numbers stay whole beside each other and beside whole constants."""
    return "int" if "int" in (a.dtype, b.dtype) and _is_whole(a) and _is_whole(b) else "real"


def _is_whole(tensor: Tensor) -> bool:
    return tensor.dtype == "int" or (not tensor.shape and as_integer(tensor.scalar) is not None)


def _divided_by_zero(span: Span) -> NoReturn:
    fail("division-by-zero", "division by zero", span, help="check the arguments that the divisor is made of")


def plainest(value: Value) -> Value:
    """A label or another integer element as index arithmetic, so that `word[t] + 1` stays an index."""
    if isinstance(value, Tensor) and value.dtype == "int" and not value.shape:
        scalar = value.scalar
        return scalar.value if isinstance(scalar, Whole) else value
    return value


def _apply(op: str, a: Expr, b: Expr) -> Expr:
    if op == "^":
        return power(a, b.value) if isinstance(b, Const) else apply("pow", a, b)
    if op == "/":
        return div(a, b)
    m, n = as_integer(a), as_integer(b)
    if m is not None and n is not None:
        return whole({"+": m + n, "-": m - n, "*": m * n}[op])
    combine: dict[str, Callable[[Expr, Expr], Expr]] = {"+": add, "-": sub, "*": mul}
    return combine[op](a, b)


def _static(op: str, left: Value, right: Value, span: Span) -> Value:
    if isinstance(left, bool) or isinstance(right, bool):
        fail(
            "type-mismatch",
            f"`{op}` needs numbers, found {describe(left)} and {describe(right)}",
            span,
            help="arithmetic is for numbers and tensors; choose with `a if condition else b`",
        )
    if isinstance(left, Int) or isinstance(right, Int):
        return _symbolic(op, left, right, span)
    assert isinstance(left, int | float)
    assert isinstance(right, int | float)
    try:
        value = _number(op, left, right)
    except ZeroDivisionError:
        _divided_by_zero(span)
    except OverflowError:
        value = math.inf
    if isinstance(value, complex):
        fail(
            "bad-value",
            f"`{left} ^ {right}` is not a real number",
            span,
            help="check the arguments: a negative number has no such power",
        )
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        fail("number-too-large", "the result does not fit a 64-bit integer", span, help="use a smaller number")
    return value


def _number(op: str, a: int | float, b: int | float) -> int | float | complex:
    if op == "+":
        return a + b
    if op == "-":
        return a - b
    if op == "*":
        return a * b
    if op == "/":
        exact = isinstance(a, int) and isinstance(b, int) and b != 0 and a % b == 0
        return a // b if exact else a / b
    if op == "//":
        return a // b
    if op == "%":
        return a % b
    if isinstance(a, int) and isinstance(b, int) and b > 0 and a.bit_length() * b > 200:
        raise OverflowError
    result: int | float | complex = a**b
    return result


def _symbolic(op: str, left: Value, right: Value, span: Span) -> Value:
    """Arithmetic where an index or a run-time size takes part."""
    if op in ("//", "%"):
        if isinstance(left, int | Int) and isinstance(right, int) and right > 0:
            return integer(left) // right if op == "//" else integer(left) % right
        fail(
            "index-arithmetic",
            f"`{op}` of an index needs a positive constant divisor",
            span,
            help="divide by a whole number of at least 1",
        )
    if op in ("+", "-", "*") and isinstance(left, int | Int) and isinstance(right, int | Int):
        a, b = integer(left), integer(right)
        value = a + b if op == "+" else a - b if op == "-" else a * b
        if any(abs(c) > LARGEST_INTEGER for _, c in value.terms):
            fail("number-too-large", "the result does not fit a 64-bit integer", span, help="use a smaller number")
        return value
    a_tensor, b_tensor = to_tensor(left, span), to_tensor(right, span)
    return elementwise(lambda x, y: _apply(op, x, y), (a_tensor, b_tensor), span)


def negative(value: Value, span: Span) -> Value:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return -value
    if isinstance(value, Int):
        return -value
    return binary("*", -1, value, span)


def comparison(op: str, left: Value, right: Value, span: Span) -> bool | Truth:
    if isinstance(left, str | bool) or isinstance(right, str | bool):
        if type(left) is type(right) and op in ("==", "!="):
            return (left == right) == (op == "==")
        fail(
            "type-mismatch",
            f"cannot compare {describe(left)} with {describe(right)}",
            span,
            help="compare numbers with numbers, and texts with texts by `==` or `!=`",
        )
    if isinstance(left, int | float) and isinstance(right, int | float):
        return {
            "==": left == right, "!=": left != right, "<": left < right,
            "<=": left <= right, ">": left > right, ">=": left >= right,
        }[op]  # fmt: skip
    if isinstance(left, int | Int) and isinstance(right, int | Int):
        decided = _decide(op, integer(right) - integer(left))
        if decided is not None:
            return decided
    a, b = to_tensor(left, span), to_tensor(right, span)
    shape = broadcast(a.shape, b.shape, span)
    return Truth(
        shape,
        lambda at: compare(op, a.element(stretched(a.shape, shape, at)), b.element(stretched(b.shape, shape, at))),
    )


def _decide(op: str, difference: Int) -> bool | None:
    """The truth of `0 op difference` where it can be proved."""
    if op in ("==", "!="):
        if difference == ZERO:
            return op == "=="
        apart = is_nonnegative(difference - 1) or is_nonnegative(-difference - 1)
        return op == "!=" if apart else None
    if op in (">", ">="):
        difference = -difference
    least = 1 if op in ("<", ">") else 0
    if is_nonnegative(difference - least):
        return True
    return False if is_nonnegative(least - 1 - difference) else None


def conjunction(left: Value, right: Value, span: Span) -> Truth:
    return _join(every, left, right, span)


def disjunction(left: Value, right: Value, span: Span) -> Truth:
    return _join(some, left, right, span)


def _join(gather: Callable[..., object], left: Value, right: Value, span: Span) -> Truth:
    a, b = to_truth(left, span), to_truth(right, span)
    shape = broadcast(a.shape, b.shape, span)
    return Truth(
        shape,
        lambda at: gather((a.element(stretched(a.shape, shape, at)), b.element(stretched(b.shape, shape, at)))),  # type: ignore[arg-type,return-value]
    )


def opposite(value: Value, span: Span) -> bool | Truth:
    if isinstance(value, bool):
        return not value
    truth = to_truth(value, span)
    return Truth(truth.shape, lambda at: negate(truth.element(at)))


def choose(condition: Truth, then: Tensor, otherwise: Tensor, span: Span) -> Tensor:
    shape = broadcast(broadcast(condition.shape, then.shape, span), otherwise.shape, span)
    return Tensor(
        shape,
        lambda at: select(
            condition.element(stretched(condition.shape, shape, at)),
            then.element(stretched(then.shape, shape, at)),
            otherwise.element(stretched(otherwise.shape, shape, at)),
        ),
        _common(then, otherwise),
        free=not shape and (then.free or otherwise.free),
    )


FUNCTIONS = (
    "sqrt",
    *(name for name in SCALARS if name not in ("add", "mul", "pow", "logistic", "log1pexp", "constant")),
)


def arity(name: str) -> int:
    return 1 if name == "sqrt" else SCALARS[name].arity


def function(name: str, arguments: Sequence[Value], span: Span) -> Value:
    """A scalar function of the table, on numbers or elementwise on tensors."""
    if name == "sqrt":
        if isinstance(arguments[0], int | float) and arguments[0] < 0:
            fail(
                "bad-value",
                f"`sqrt` of {arguments[0]} is not a real number",
                span,
                help="take the root of a number that is not negative",
            )
        return binary("^", arguments[0], 0.5, span)
    row = SCALARS[name]
    if all(isinstance(a, int | float) and not isinstance(a, bool) for a in arguments) and row.fold is not None:
        try:
            return row.fold(*arguments)
        except ValueError:
            fail(
                "bad-value",
                f"`{name}` of {', '.join(str(a) for a in arguments)} is not a real number",
                span,
                help="check where its argument comes from",
            )
        except OverflowError:
            return math.inf
    tensors = [to_tensor(a, span) for a in arguments]
    return elementwise(lambda *x: Apply(name, x), tensors, span)
