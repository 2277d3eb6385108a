"""Elementary functions as LLVM code without branches or calls, so that the loops around them vectorize.

In float32, over millions of arguments of each, all are within 2 units in the last place, `exp`, `log`, `sin` and `cos`
within 1.1; `sin` and `cos` for arguments up to 4e8 in size. Infinities, NaN, subnormal numbers and signed zeros come
out as in libm. Float64, which is for checking and not for speed, calls libm.

This is a module of its own because its arithmetic is exact to the last operation: kernels may be reassociated, and that
would destroy the compensated sums here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir

F32, F64, I32, I64 = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)
REALS = {"f32": F32, "f64": F64}

# Moshier, Cephes Mathematical Library (1988): expf, logf. Highest power first.
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
LOG = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
# Near zero tanh(x) = x + x^3 p(x^2) and erf(x) = x + x p(x^2); else log(1 - erf(x)) = x p(x) - x. Each is a least
# squares fit, weighed until the largest error of the result is least (Lawson, 1961).
ERF = (
    *(-5.988748162053525e-04, 4.992772825062275e-03, -2.6766343042254448e-02),
    *(1.1281808465719223e-01, -3.7612491846084595e-01, 1.2837915122509003e-01),
)
ERFC = (
    *(2.14595886063762e-04, -3.2199821434915066e-03, 2.2906050086021423e-02),
    *(-1.0528688132762909e-01, -6.356993317604065e-01, -1.285199522972107e-01),
)
TANH = (
    *(-6.280406378209591e-03, 2.1076390519738197e-02, -5.385354906320572e-02),
    *(1.3332599401474e-01, -3.3333319425582886e-01),
)
ERF_LIMIT, TANH_LIMIT = 0.921875, 0.55  # up to which the argument is near zero
# Sun Microsystems, fdlibm (1993), with the float32 kernels of FreeBSD's msun (Evans, 2005): minimax on [-pi/4, pi/4].
HALF_PI_HIGH, HALF_PI_LOW = 1.57079632673412561417e00, 6.07710050650619224932e-11
SIN = (0.0000027183114939898219064, -0.000198393348360966317347, 0.0083333293858894631756, -0.166666666416265235595)
COS = (0.0000243904487962774090654, -0.00138867637746099294692, 0.0416666233237390631894, -0.499999997251031003120)


@cache
def module() -> str:
    """The text of the LLVM module that defines `nl_<function>_<f32 or f64>` for every function here."""
    built = ir.Module("elementary")
    for name, body in FLOAT32.items():
        _define(built, f"nl_{name}_f32", F32, [F32], body)
    for name, from_llvm in LIBM.items():
        _define(built, f"nl_{name}_f64", F64, [F64], lambda code, x, f=from_llvm: code.call(f, F64, x))
    for suffix, real in REALS.items():
        _define(built, f"nl_uniform_{suffix}", real, [I64, I64], lambda c, k, n, r=real: uniform(c, r, k, n))
        _define(built, f"nl_normal_{suffix}", real, [I64, I64], lambda c, k, n, s=suffix: normal(c, s, k, n))
    return str(built)


def _define(built: Any, name: str, result: Any, arguments: Sequence[Any], body: Callable[..., Any]) -> None:
    function = ir.Function(built, ir.FunctionType(result, arguments), name)
    function.attributes.add("alwaysinline")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(body(Code(builder), *function.args))


class Code:
    """Arithmetic on values of one function; a Python number takes the type of the value it meets."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def call(self, name: str, result: Any, *values: Any) -> Any:
        functions = self.builder.module.globals
        if name not in functions:
            ir.Function(self.builder.module, ir.FunctionType(result, [v.type for v in values]), name)
        return self.builder.call(functions[name], values)

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, _like(x, y))

    def sub(self, x: Any, y: Any) -> Any:
        y, x = _like(x, y), _like(y, x)
        return self.builder.fsub(x, y)

    def mul(self, x: Any, y: Any) -> Any:
        return self.builder.fmul(x, _like(x, y))

    def div(self, x: Any, y: Any) -> Any:
        return self.builder.fdiv(_like(y, x), y)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x y + z, in one rounding where the processor has that."""
        suffix = "f32" if x.type == F32 else "f64"
        return self.call(f"llvm.fmuladd.{suffix}", x.type, x, _like(x, y), _like(x, z))

    def polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        """Horner's rule, highest power first."""
        value = ir.Constant(x.type, coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fma(value, x, coefficient)
        return value

    def if_(self, x: Any, relation: str, y: Any, then: Any, otherwise: Any) -> Any:
        """A selection; the relation does not hold where an operand is NaN."""
        holds = self.builder.fcmp_ordered(relation, x, _like(x, y))
        then, otherwise = _like(otherwise, then), _like(then, otherwise)
        return self.builder.select(holds, then, otherwise)

    def bits(self, x: Any) -> Any:
        return self.builder.bitcast(x, I32 if x.type == F32 else I64)

    def real(self, x: Any) -> Any:
        return self.builder.bitcast(x, F32 if x.type == I32 else F64)

    def power_of_two(self, n: Any) -> Any:
        """The float32 2**n, for an integer -126 <= n <= 127."""
        b = self.builder
        return self.real(b.shl(b.add(n, _like(n, 127)), _like(n, 23)))

    def round(self, x: Any) -> tuple[Any, Any]:
        """The nearest integer, as a real and as an integer. Adding 1.5 2**23 leaves it in the low bits of the sum.

        (A conversion instruction would be undefined on NaN.)
        """
        magic = 1.5 * 2.0 ** (23 if x.type == F32 else 52)
        sum_ = self.add(x, magic)
        integer = self.builder.sub(self.bits(sum_), self.bits(ir.Constant(x.type, magic)))
        return self.sub(sum_, magic), integer


def _like(x: Any, y: Any) -> Any:
    return ir.Constant(x.type, y) if isinstance(y, int | float) else y


def _reduced_exp(c: Code, x: Any) -> tuple[Any, Any]:
    """n and exp(r) - 1 where x = n ln 2 + r."""
    n, integer = c.round(c.mul(x, math.log2(math.e)))
    r = c.fma(n, -LN2_LOW, c.fma(n, -LN2_HIGH, x))
    return integer, c.fma(c.polynomial(r, EXP), c.mul(r, r), r)


def exp(c: Code, x: Any) -> Any:
    x = c.if_(x, ">", 89.0, 89.0, c.if_(x, "<", -104.0, -104.0, x))
    n, minus_1 = _reduced_exp(c, x)
    half = c.builder.ashr(n, _like(n, 1))  # two factors, since 2**n itself may be out of range
    scaled = c.mul(c.add(minus_1, 1.0), c.power_of_two(half))
    return c.mul(scaled, c.power_of_two(c.builder.sub(n, half)))


def expm1(c: Code, x: Any) -> Any:
    reduced = c.if_(x, ">", 89.0, 89.0, c.if_(x, "<", -20.0, -20.0, x))
    n, minus_1 = _reduced_exp(c, reduced)
    half = c.power_of_two(c.builder.sub(n, _like(n, 1)))
    result = c.mul(c.fma(half, minus_1, c.sub(half, 0.5)), 2.0)
    return c.if_(x, "==", 0.0, x, result)


def log(c: Code, x: Any) -> Any:
    b = c.builder
    smallest = 2.0**-126
    normal = c.if_(x, "<", smallest, c.mul(x, 2.0**23), x)
    least = ir.Constant(I32, 0x3F3504F3)  # the bits of sqrt(1/2)
    offset = b.sub(c.bits(normal), least)
    exponent = b.sitofp(b.ashr(offset, _like(offset, 23)), F32)
    exponent = c.if_(x, "<", smallest, c.sub(exponent, 23.0), exponent)
    f = c.sub(c.real(b.add(b.and_(offset, _like(offset, 0x7FFFFF)), least)), 1.0)
    square = c.mul(f, f)
    tail = c.mul(c.mul(c.polynomial(f, LOG), f), square)
    tail = c.fma(square, -0.5, c.fma(exponent, LN2_LOW, tail))
    result = c.fma(exponent, LN2_HIGH, c.add(f, tail))
    result = c.if_(x, "<", math.inf, result, x)
    return c.if_(x, ">", 0.0, result, c.if_(x, "==", 0.0, -math.inf, ir.Constant(F32, math.nan)))


def log1p(c: Code, x: Any) -> Any:
    """log(u) + e / u, where u is 1 + x rounded and e what the rounding lost."""
    u = c.add(x, 1.0)
    lost = c.if_(x, ">=", 1.0, c.sub(1.0, c.sub(u, x)), c.sub(x, c.sub(u, 1.0)))
    result = c.add(log(c, u), c.div(lost, u))
    result = c.if_(u, "<", math.inf, c.if_(u, ">", 0.0, result, log(c, u)), u)
    return c.if_(x, "==", 0.0, x, result)


def _moderate_exp(c: Code, x: Any) -> Any:
    """exp(x) for -87 <= x <= 88 (or NaN), where 2**n is in range."""
    n, minus_1 = _reduced_exp(c, x)
    return c.mul(c.add(minus_1, 1.0), c.power_of_two(n))


def tanh(c: Code, x: Any) -> Any:
    """Near zero a polynomial, else 1 - 2 / (exp(2 |x|) + 1) with the sign of x."""
    size = c.call("llvm.fabs.f32", F32, x)
    square = c.mul(x, x)
    small = c.fma(c.mul(c.polynomial(square, TANH), square), size, size)
    e = _moderate_exp(c, c.mul(c.if_(size, ">", 10.0, 10.0, size), 2.0))
    large = c.sub(1.0, c.div(2.0, c.add(e, 1.0)))
    return c.call("llvm.copysign.f32", F32, c.if_(size, "<", TANH_LIMIT, small, large), x)


def erf(c: Code, x: Any) -> Any:
    """Near zero a polynomial, else 1 - exp(a polynomial in |x|) with the sign of x."""
    size = c.call("llvm.fabs.f32", F32, x)
    square = c.mul(x, x)
    small = c.fma(c.polynomial(square, ERF), size, size)
    bounded = c.if_(size, ">", 4.0, 4.0, size)  # where it is 1 to the last place
    fall = _moderate_exp(c, c.sub(c.mul(c.polynomial(bounded, ERFC), bounded), bounded))
    return c.call("llvm.copysign.f32", F32, c.if_(size, "<", ERF_LIMIT, small, c.sub(1.0, fall)), x)


def sin(c: Code, x: Any) -> Any:
    return _circular(c, x, 0)


def cos(c: Code, x: Any) -> Any:
    return _circular(c, x, 1)


def _circular(c: Code, x: Any, quarter: int) -> Any:
    """sin(x + quarter pi/2), reduced to |r| <= pi/4 and evaluated in float64."""
    b = c.builder
    wide = b.fpext(x, F64)
    n, integer = c.round(c.mul(wide, 2 / math.pi))
    r = c.fma(n, -HALF_PI_LOW, c.fma(n, -HALF_PI_HIGH, wide))
    r = c.if_(r, ">", 1.0, 1.0, c.if_(r, "<", -1.0, -1.0, r))  # only out of the stated range, to stay within -1..1
    square = c.mul(r, r)
    sine = c.fma(c.polynomial(square, SIN), c.mul(square, r), r)
    cosine = c.fma(c.polynomial(square, COS), square, 1.0)
    turn = b.add(integer, _like(integer, quarter))
    odd = b.icmp_unsigned("!=", b.and_(turn, _like(turn, 1)), _like(turn, 0))
    negative = b.icmp_unsigned("!=", b.and_(turn, _like(turn, 2)), _like(turn, 0))
    value = b.select(odd, cosine, sine)
    value = b.fptrunc(b.select(negative, b.fneg(value), value), F32)
    return value if quarter else c.if_(x, "==", 0.0, x, value)


def uniform(c: Code, real: Any, key: Any, counter: Any) -> Any:
    """As `netlang.random.uniform`: exact in both types, since 23 bits and a half are 24 bits."""
    b = c.builder
    z = b.add(key, b.mul(counter, ir.Constant(I64, 0x9E3779B97F4A7C15)))
    for shift, multiply in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = b.mul(b.xor(z, b.lshr(z, _like(z, shift))), ir.Constant(I64, multiply))
    z = b.xor(z, b.lshr(z, _like(z, 31)))
    bits = b.sitofp(b.trunc(b.lshr(z, _like(z, 41)), I32), real)
    return c.mul(c.add(bits, 0.5), 2.0**-23)


def normal(c: Code, suffix: str, key: Any, counter: Any) -> Any:
    """As `netlang.random.normal`, in arithmetic of the given type."""
    b, real = c.builder, REALS[suffix]
    even = b.shl(counter, _like(counter, 1))
    first = c.call(f"nl_uniform_{suffix}", real, key, even)
    second = c.call(f"nl_uniform_{suffix}", real, key, b.or_(even, _like(even, 1)))
    radius = c.call(f"llvm.sqrt.{suffix}", real, c.mul(c.call(f"nl_log_{suffix}", real, first), -2.0))
    return c.mul(radius, c.call(f"nl_cos_{suffix}", real, c.mul(second, 2 * math.pi)))


FLOAT32 = {f.__name__: f for f in (exp, expm1, log, log1p, sin, cos, tanh, erf)}
LIBM = {name: f"llvm.{name}.f64" for name in ("exp", "log", "sin", "cos")} | {n: n for n in ("expm1", "log1p", "erf")}
LIBM["tanh"] = "tanh"
