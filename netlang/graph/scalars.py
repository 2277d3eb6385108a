"""The table of scalar functions: a row gives a function's derivative and its form in NumPy, in kernels and in LaTeX.

This table and the three rules of the derivation are the only sources of derivatives in netlang. To add a function, add
a row. `add`, `mul` and `pow` are in the table for their derivatives; their printed forms belong to the printers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from netlang.graph.constructors import apply, const, mul, neg, power, select, sub
from netlang.graph.expression import ONE, ZERO, Apply, Compare, Condition, Const, Expr

Derivative = Callable[[tuple[Expr, ...], Expr], tuple[Expr, ...]]


@dataclass(frozen=True)
class Scalar:
    """A scalar function.

    `derivative(args, y)` gives the partial derivative by each argument, in terms of the arguments and of the value
    `y = f(args)`. `numpy` and `kernel` are expressions with `{0}`, `{1}` for the arguments, over the names of NumPy and
    of the kernels' namespace; `latex` likewise.
    """

    name: str
    arity: int
    derivative: Derivative
    numpy: str
    kernel: str
    latex: str
    fold: Callable[..., float] | None = None


def _each_other(args: tuple[Expr, ...], _: Expr) -> tuple[Expr, ...]:
    return tuple(mul(*(a for j, a in enumerate(args) if j != k)) for k in range(len(args)))


def _power(args: tuple[Expr, ...], y: Expr) -> tuple[Expr, ...]:
    base, exponent = args
    if isinstance(exponent, Const):
        return mul(exponent, power(base, exponent.value - 1)), ZERO
    return mul(exponent, apply("pow", base, sub(exponent, ONE))), mul(y, apply("log", base))


def _winner(first: Condition, second: Condition) -> tuple[Expr, ...]:
    return select(first, ONE, ZERO), select(second, ONE, ZERO)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


_ROWS = (
    Scalar("add", -1, lambda a, y: (ONE,) * len(a), "", "", ""),
    Scalar("mul", -1, _each_other, "", "", ""),
    Scalar("pow", 2, _power, "power({0}, {1})", "pow({0}, {1})", "{0}^{{{1}}}", math.pow),
    Scalar("exp", 1, lambda a, y: (y,), "exp({0})", "exp({0})", r"e^{{{0}}}", math.exp),
    Scalar("log", 1, lambda a, y: (power(a[0], -1),), "log({0})", "log({0})", r"\log {0}", math.log),
    Scalar("sin", 1, lambda a, y: (Apply("cos", a),), "sin({0})", "sin({0})", r"\sin {0}", math.sin),
    Scalar("cos", 1, lambda a, y: (neg(Apply("sin", a)),), "cos({0})", "cos({0})", r"\cos {0}", math.cos),
    Scalar("tanh", 1, lambda a, y: (sub(ONE, power(y, 2)),), "tanh({0})", "tanh({0})", r"\tanh {0}", math.tanh),
    Scalar(
        "erf",
        1,
        lambda a, y: (mul(const(2 / math.sqrt(math.pi)), Apply("exp", (neg(power(a[0], 2)),))),),
        "erf({0})",
        "erf({0})",
        r"\operatorname{{erf}} {0}",
        math.erf,
    ),
    Scalar("abs", 1, lambda a, y: (Apply("sign", a),), "abs({0})", "abs({0})", r"\left|{0}\right|", abs),
    Scalar(
        "sign",
        1,
        lambda a, y: (ZERO,),
        "sign({0})",
        "where({0} > 0.0, 1.0, where({0} < 0.0, -1.0, 0.0 * {0}))",
        r"\operatorname{{sign}} {0}",
        lambda x: float((x > 0) - (x < 0)),
    ),
    Scalar("floor", 1, lambda a, y: (ZERO,), "floor({0})", "floor({0})", r"\lfloor {0} \rfloor", math.floor),
    # at a tie the first argument has the gradient, as in the reductions
    Scalar(
        "max",
        2,
        lambda a, y: _winner(Compare("<=", a[1], a[0]), Compare("<", a[0], a[1])),
        "maximum({0}, {1})",
        "max({0}, {1})",
        r"\max({0}, {1})",
        max,
    ),
    Scalar(
        "min",
        2,
        lambda a, y: _winner(Compare("<=", a[0], a[1]), Compare("<", a[1], a[0])),
        "minimum({0}, {1})",
        "min({0}, {1})",
        r"\min({0}, {1})",
        min,
    ),
    # the two below are what `stabilize` turns 1/(1 + exp(-x)) and log(1 + exp(x)) into: they do not overflow
    Scalar(
        "logistic",
        1,
        lambda a, y: (mul(y, sub(ONE, y)),),
        "logistic({0})",
        "1.0 / (1.0 + exp(-{0}))",
        r"\sigma({0})",
        _logistic,
    ),
    Scalar(
        "log1pexp",
        1,
        lambda a, y: (Apply("logistic", a),),
        "logaddexp(0, {0})",
        "max({0}, 0.0) + log1p(exp(-abs({0})))",
        r"\log(1 + e^{{{0}}})",
        lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    ),
    # the argument, taken as a constant by the derivation: a shift that the value does not depend on
    Scalar("constant", 1, lambda a, y: (ZERO,), "{0}", "{0}", "{0}", lambda x: x),
)

SCALARS: dict[str, Scalar] = {row.name: row for row in _ROWS}
