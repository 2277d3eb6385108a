"""Random expressions keep their value, and never grow."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netlang.graph.constructors import add, apply, compare, const, div, mul, power, read, select, sub
from netlang.graph.expression import Apply, Expr, Read
from netlang.graph.traversal import rewrite
from netlang.passes.algebra import cost, rational
from netlang.passes.simplify import simplify_body
from netlang.targets.reference import evaluate
from tests.passes.graphs import equation, graph, i, param

NAMES = ("a", "b", "x", "y")
leaves = st.sampled_from([*(read(n) for n in NAMES), const(1), const(2), const(-0.5), const(0)])


def _grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: add(*p)),
        pairs.map(lambda p: sub(*p)),
        pairs.map(lambda p: mul(*p)),
        pairs.map(lambda p: div(p[0], add(power(p[1], 2), const(1)))),
        inner.map(lambda e: power(e, 2)),
        inner.map(lambda e: Apply("logistic", (e,))),
        inner.map(lambda e: Apply("logistic", (mul(const(-1), e),))),
        inner.map(lambda e: Apply("max", (const(0), e))),
        st.tuples(inner, inner, inner).map(lambda p: select(compare("<", p[0], read("b")), p[1], p[2])),
        inner.map(lambda e: select(compare("<", read("a"), read("b")), e, const(0))),
    )


expressions = st.recursive(leaves, _grown, max_leaves=12)


def value(e: Expr, arrays: dict[str, np.ndarray]) -> np.ndarray:
    g = graph(*(param(name, 5) for name in NAMES), equation("e", {"i": 5}, at_each_place(e)))
    return evaluate(g, arrays)["e"]


def at_each_place(e: Expr) -> Expr:
    def change(part: Expr) -> Expr | None:
        return Read(part.tensor, (i("i"),)) if isinstance(part, Read) and not part.indices else None

    return rewrite(e, change)


@settings(max_examples=200, deadline=None)
@given(expressions)
@example(power(add(read("a"), mul(read("a"), read("b"))), 2))
def test_values_stay(e):
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(5) for name in NAMES}
    simple = simplify_body(e, {})
    expected = value(e, arrays)
    np.testing.assert_allclose(value(simple, arrays), expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(expected).max()))
    assert cost(rational(e)) <= cost(e)
    assert simplify_body(simple, {}) == simple


def test_long_sums_take_no_time():
    start = time.process_time()
    terms = [mul(const(k + 1), read("a"), read("x"), apply("tanh", read("y"))) for k in range(3)]
    terms += [mul(read(f"v{k}"), read("a"), add(read("b"), read(f"w{k}"))) for k in range(400)]
    simplify_body(add(*terms), {})
    assert time.process_time() - start < 2
