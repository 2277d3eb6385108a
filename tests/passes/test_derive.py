"""Derived gradients against central differences, an access pattern at a time."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.diagnostics import NetlangError
from netlang.graph.constructors import (
    add,
    at_least_zero,
    compare,
    const,
    div,
    every,
    is_zero,
    mul,
    power,
    read,
    select,
    sub,
    whole,
    within,
)
from netlang.graph.expression import ONE, ZERO, Apply, IsZero, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import fetch, integer, size
from netlang.graph.nodes import Equation, View
from netlang.passes.derive import derive
from netlang.targets.reference import evaluate
from tests.passes.graphs import (
    NOWHERE,
    check_gradients,
    equation,
    given,
    graph,
    i,
    padded,
    param,
    total,
    values,
    weighted,
)


def gradient_of(derived: Graph, name: str) -> Equation:
    node = derived[derived.gradients[name]]
    assert isinstance(node, Equation)
    return node


def convolution(n: int, c: int, h: int, f: int, k: int, stride: int, pad: int, dilation: int = 1) -> list:
    out = (h + 2 * pad - dilation * (k - 1) - 1) // stride + 1
    left = {"batch": n, "k": f, "i": out, "j": out}
    ranges = {"m": c, "p": k, "q": k}
    x = padded(
        "x",
        (n, c, h, h),
        i("batch"),
        i("m"),
        i("i") * stride + i("p") * dilation - pad,
        i("j") * stride + i("q") * dilation - pad,
        extents=left | ranges,
    )
    y = equation("y", left, total("sum", ranges, mul(read("W", i("k"), i("m"), i("p"), i("q")), x)))
    return [param("x", n, c, h, h), param("W", f, c, k, k), y, *weighted(y)]


@pytest.mark.parametrize(
    ("h", "k", "stride", "pad", "dilation"),
    [
        (5, 3, 1, 0, 1),
        (5, 3, 1, 1, 1),
        (6, 3, 2, 1, 1),
        (7, 3, 3, 0, 1),
        (7, 2, 1, 1, 2),
        (7, 2, 3, 0, 1),
        (6, 3, 2, 2, 2),
        (4, 2, 2, 0, 1),
    ],
)
def test_convolution(h, k, stride, pad, dilation):
    g = graph(*convolution(1, 2, h, 2, k, stride, pad, dilation))
    derived = check_gradients(g, ["x", "W"])
    # both gradients are contractions: sums of the product of two reads
    for name in ("x", "W"):
        body = gradient_of(derived, name).body
        assert isinstance(body, Reduce)
        assert body.op == "sum"


def test_the_gradient_of_a_convolution_is_a_convolution():
    derived = derive(graph(*convolution(2, 3, 5, 4, 3, 1, 1)), "L", ["x", "W"])
    x, w = gradient_of(derived, "x").body, gradient_of(derived, "W").body
    assert [name for name, _ in x.ranges] == ["k", "p", "q"]
    assert [name for name, _ in w.ranges] == ["batch", "i", "j"]
    assert x.body.then == mul(
        read("d/y", i("batch"), i("k"), i("i2") - i("p") + 1, i("i3") - i("q") + 1),
        read("W", i("k"), i("m"), i("p"), i("q")),
    )


def test_grouped_convolution():
    groups, c, f, k, h = 2, 4, 6, 2, 3
    left = {"k": f, "i": h - k + 1}
    ranges = {"m": c // groups, "p": k}
    channel = i("k") // (f // groups) * (c // groups) + i("m")
    y = equation(
        "y", left, total("sum", ranges, mul(read("W", i("k"), i("m"), i("p")), read("x", channel, i("i") + i("p"))))
    )
    derived = check_gradients(graph(param("x", c, h), param("W", f, c // groups, k), y, *weighted(y)), ["x", "W"])
    ranges = dict(gradient_of(derived, "x").body.ranges)
    assert sorted(n.constant for n in ranges.values()) == [k, f // groups]  # one group only


def transposed(h: int, k: int, stride: int, pad: int) -> list:
    out = (h - 1) * stride + k - 2 * pad
    left, ranges = {"i": out}, {"p": k}
    place = i("i") + pad - i("p")
    inside = every([is_zero(place % stride), within(place // stride, integer(h), {"i": integer(out), "p": integer(k)})])
    x = select(inside, read("x", place // stride), ZERO)
    y = equation("y", left, total("sum", ranges, mul(x, read("W", i("p")))))
    return [param("x", h), param("W", k), y, *weighted(y)]


@pytest.mark.parametrize(("h", "k", "stride", "pad"), [(4, 3, 2, 1), (3, 4, 2, 0), (3, 2, 3, 0), (4, 3, 1, 1)])
def test_transposed_convolution(h, k, stride, pad):
    derived = check_gradients(graph(*transposed(h, k, stride, pad)), ["x", "W"])
    # a strided convolution: one sum over the window, no search for the places that divide
    assert [n.constant for _, n in gradient_of(derived, "x").body.ranges] == [k]


@pytest.mark.parametrize(
    ("op", "h", "k", "stride", "pad"),
    [("max", 5, 2, 1, 0), ("max", 6, 2, 2, 0), ("max", 5, 3, 2, 1), ("min", 5, 2, 2, 0), ("max", 5, 5, 5, 0)],
)
def test_pooling(op, h, k, stride, pad):
    out = (h + 2 * pad - k) // stride + 1
    left = {"c": 2, "i": out, "j": out}
    ranges = {"p": k, "q": k}
    rows, columns = i("i") * stride + i("p") - pad, i("j") * stride + i("q") - pad
    worst = const(-np.inf if op == "max" else np.inf)
    x = padded("x", (2, h, h), i("c"), rows, columns, extents=left | ranges, other=worst)
    y = equation("y", left, total(op, ranges, x))
    derived = check_gradients(graph(param("x", 2, h, h), y, *weighted(y)), ["x"])
    assert isinstance(gradient_of(derived, "x").body, Reduce) == (stride < k)  # windows apart need no sum


def test_ties_of_a_maximum_go_to_the_first():
    y = equation("y", {}, total("max", {"j": 4}, read("x", i("j"))))
    g = graph(param("x", 4), y)
    out = evaluate(derive(g, "y", ["x"]), {"x": np.array([1.0, 3.0, 3.0, 2.0])})
    assert out["d/x"].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_product_with_zeros(zeros):
    y = equation("y", {"n": 2}, total("prod", {"j": 4}, read("x", i("n"), i("j"))))
    g = graph(param("x", 2, 4), y, *weighted(y))
    arrays = values(g)
    arrays["x"][0, :zeros] = 0
    check_gradients(g, ["x"], arrays=arrays)


def test_softmax_cross_entropy():
    n, c = 3, 5
    s = equation("S", {"batch": n}, total("sum", {"j": c}, Apply("exp", (read("s", i("batch"), i("j")),))))
    label = fetch("y", (i("batch"),), integer(c))
    loss = equation("loss", {"batch": n}, sub(Apply("log", (read("S", i("batch")),)), read("s", i("batch"), label)))
    mean = equation("L", {}, total("sum", {"batch": n}, mul(const(1 / n), read("loss", i("batch")))))
    g = graph(param("s", n, c), given("y", n, classes=c), s, loss, mean)
    derived = check_gradients(g, ["s"])
    assert not isinstance(gradient_of(derived, "s").body, Reduce)  # no sum over the classes


def test_batch_normalization():
    n, d = 5, 3
    places = {"batch": n, "k": d}
    x, m, v = read("x", i("batch"), i("k")), read("m", i("k")), read("v", i("k"))
    nodes = [
        param("x", n, d),
        param("gamma", d),
        param("beta", d),
        equation("m", {"k": d}, total("sum", {"batch": n}, mul(x, const(1 / n)))),
        equation("v", {"k": d}, total("sum", {"batch": n}, mul(power(sub(x, m), 2), const(1 / n)))),
    ]
    y = equation(
        "y",
        places,
        add(mul(read("gamma", i("k")), sub(x, m), power(add(v, const(1e-3)), -0.5)), read("beta", i("k"))),
    )
    t = equation("t", places, Apply("tanh", (read("y", i("batch"), i("k")),)))
    derived = check_gradients(graph(*nodes, y, t, *weighted(t)), ["x", "gamma", "beta"])
    assert (
        mul(read("d/t", i("batch"), i("k")), sub(ONE, power(read("t", i("batch"), i("k")), 2)))
        == gradient_of(derive(graph(*nodes, y, t, *weighted(t)), "L", ["y"]), "y").body
    )
    assert derived["d/m"].shape == (integer(d),)


def test_attention():
    t, k = 4, 3
    score = equation(
        "score",
        {"t": t, "s": t},
        total("sum", {"k": k}, mul(read("Q", i("t"), i("k")), read("K", i("s"), i("k")))),
    )
    causal = at_least_zero(i("t") - i("s"))
    e = equation("e", {"t": t, "s": t}, select(causal, Apply("exp", (read("score", i("t"), i("s")),)), ZERO))
    z = equation("z", {"t": t}, total("sum", {"s": t}, read("e", i("t"), i("s"))))
    a = equation("a", {"t": t, "s": t}, div(read("e", i("t"), i("s")), read("z", i("t"))))
    o = equation(
        "o", {"t": t, "k": k}, total("sum", {"s": t}, mul(read("a", i("t"), i("s")), read("V", i("s"), i("k"))))
    )
    g = graph(param("Q", t, k), param("K", t, k), param("V", t, k), score, e, z, a, o, *weighted(o))
    check_gradients(g, ["Q", "K", "V"])


def test_embedding_scatters():
    words, vocabulary, d = 5, 4, 3
    word = fetch("word", (i("t"),), integer(vocabulary))
    y = equation("y", {"t": words, "j": d}, power(read("E", word, i("j")), 2))
    g = graph(param("E", vocabulary, d), given("word", words, classes=vocabulary), y, *weighted(y))
    derived = check_gradients(g, ["E"])
    body = gradient_of(derived, "E").body
    assert body.ranges == (("t", integer(words)),)
    assert isinstance(body.body.condition, IsZero)


@pytest.mark.parametrize(
    ("shape", "access"),
    [
        ((4, 4), lambda: (i("a"), i("a"))),
        ((8,), lambda: (i("a") + i("b"),)),
        ((4, 7), lambda: (i("a"), 2 * i("a"))),
        ((2, 2), lambda: (i("a") // 2, i("b") % 2)),
        ((20,), lambda: (5 * i("a") + i("b"),)),
        ((20,), lambda: (i("a") + 4 * i("b"),)),
        ((5,), lambda: (i("b"),)),
        ((4,), lambda: (3 - i("a"),)),
        ((2,), lambda: (i("a") // 2,)),
        ((2,), lambda: (i("a") % 2,)),
        ((2, 2), lambda: (i("a") // 2, i("a") % 2)),
        ((3,), lambda: ((i("a") + i("b")) // 3,)),
        ((4,), lambda: ((2 * i("a") + i("b")) % 4,)),
        ((20,), lambda: (i("a") * i("b"),)),
        ((12,), lambda: (2 * i("a") + i("b"),)),
        ((20,), lambda: (3 * i("a") + 2 * i("b"),)),
        ((13, 2), lambda: (3 * i("a") + i("b") // 2, i("b") % 2)),
        ((), lambda: ()),
        ((4, 5), lambda: (i("a"), (i("b") + 2) % 5)),
    ],
)
def test_accesses(shape, access):
    y = equation("y", {"a": 4, "b": 5}, Apply("sin", (read("x", *access()),)))
    check_gradients(graph(param("x", *shape), y, *weighted(y)), ["x"])


def test_a_reshape_by_index_arithmetic_needs_no_sum():
    y = equation("y", {"a": 4, "b": 5}, power(read("x", 5 * i("a") + i("b")), 2))
    body = gradient_of(derive(graph(param("x", 20), y, *weighted(y)), "L", ["x"]), "x").body
    assert body == mul(const(2), read("d/y", i("i0") // 5, i("i0") % 5), read("x", i("i0")))


def test_reads_at_several_places_add():
    x = lambda place: read("x", place)  # noqa: E731
    body = add(mul(x(i("a")), x(i("a"))), mul(x(i("a")), x(i("a") + 1)), x(integer(0)))
    y = equation("y", {"a": 4}, body)
    check_gradients(graph(param("x", 5), y, *weighted(y)), ["x"])


def test_concatenation():
    left = {"a": 7}
    first = at_least_zero(2 - i("a"))
    y = equation("y", left, select(first, read("u", i("a")), read("v", i("a") - 3)))
    derived = check_gradients(graph(param("u", 3), param("v", 4), y, *weighted(y)), ["u", "v"])
    assert gradient_of(derived, "u").body == read("d/y", i("a"))
    assert gradient_of(derived, "v").body.tensor == "d/y"


def test_view():
    y = equation("y", {"a": 2, "b": 3}, power(read("x", i("a"), i("b")), 2))
    flat = View("flat", (integer(6),), "real", NOWHERE, "y")
    z = equation("z", {"c": 6}, mul(read("flat", i("c")), read("flat", 5 - i("c"))))
    derived = check_gradients(graph(param("x", 2, 3), y, flat, z, *weighted(z)), ["x"])
    assert isinstance(derived["d/y"], View)


def test_choice_between_branches():
    x = read("x", i("a"))
    body = select(compare("<", ZERO, x), power(x, 3), mul(const(0.1), sub(Apply("exp", (x,)), ONE)))
    y = equation("y", {"a": 6}, body)
    check_gradients(graph(param("x", 6), y, *weighted(y)), ["x"])


def test_integers_stop_the_gradient():
    best = equation("best", {}, total("argmax", {"j": 4}, read("x", i("j"))), dtype="int")
    y = equation("y", {"j": 4}, mul(read("x", i("j")), whole(fetch("best", (), integer(4)))))
    check_gradients(graph(param("x", 4), best, y, *weighted(y)), ["x"])


def test_what_the_objective_does_not_depend_on_has_gradient_zero():
    y = equation("y", {}, power(read("a"), 2))
    derived = derive(graph(param("a"), param("b", 3), y), "y", ["a", "b"])
    assert evaluate(derived, {"a": np.array(3.0), "b": np.ones(3)})["d/b"].tolist() == [0, 0, 0]


def test_only_what_lies_between_gets_an_adjoint():
    u = equation("u", {}, mul(read("a"), read("c")))
    v = equation("v", {}, mul(read("b"), const(2)))
    y = equation("y", {}, add(read("u"), read("v")))
    derived = derive(graph(param("a"), param("b"), param("c"), u, v, y), "y", ["a"])
    assert {n for n in derived.nodes if n.startswith("d/")} == {"d/y", "d/u", "d/a"}


def test_the_circuit_of_the_lecture():
    q = equation("q", {}, add(read("x"), read("y")))
    f = equation("f", {}, mul(read("q"), read("z")))
    g = graph(given("x"), given("y"), given("z"), q, f)
    out = evaluate(derive(g, "f", ["x", "y", "z"]), {"x": -2.0, "y": 5.0, "z": -4.0})
    assert [float(out[n]) for n in ("f", "d/x", "d/y", "d/z")] == [-12, -4, -4, 3]


def test_symbolic_batch():
    n = size("batch")
    y = equation(
        "y", {"batch": n, "k": 3}, total("sum", {"j": 2}, mul(read("W", i("k"), i("j")), read("x", i("batch"), i("j"))))
    )
    g = graph(given("x", n, 2), param("W", 3, 2), y, *weighted(y))
    derived = derive(g, "L", ["W", "x"])
    for count in (1, 4):
        check_gradients(g, ["W", "x"], sizes={"batch": count}, derived=derived)
    assert gradient_of(derived, "W").body.ranges == (("batch", n),)


def test_diagnostics():
    y = equation("y", {"a": 2}, read("x", i("a")))
    g = graph(param("x", 2), given("t", classes=3), y)
    with pytest.raises(NetlangError, match="not-a-scalar"):
        derive(g, "y", ["x"])
    scalar = graph(param("x"), given("t", classes=3), equation("y", {}, read("x")))
    with pytest.raises(NetlangError, match="not-differentiable"):
        derive(scalar, "y", ["t"])
    with pytest.raises(NetlangError, match="unknown-tensor"):
        derive(scalar, "y", ["z"])


@pytest.mark.parametrize("op", ["exp", "sin", "cos", "tanh", "erf", "abs", "logistic", "log1pexp", "log"])
def test_scalar_functions(op):
    x = read("x", i("a"))
    body = Apply(op, (add(power(x, 2), const(0.5)) if op == "log" else mul(const(1.5), x),))
    y = equation("y", {"a": 5}, body)
    check_gradients(graph(param("x", 5), y, *weighted(y)), ["x"])


@pytest.mark.parametrize("op", ["max", "min", "pow"])
def test_scalar_functions_of_two(op):
    x, z = read("x", i("a")), read("z", i("a"))
    y = equation("y", {"a": 5}, Apply(op, (add(power(x, 2), const(0.5)), z)))
    check_gradients(graph(param("x", 5), param("z", 5), y, *weighted(y)), ["x", "z"])
