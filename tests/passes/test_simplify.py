"""The forms that a lecturer would write."""

from __future__ import annotations

import pytest

from netlang.graph.constructors import (
    add,
    at_least_zero,
    compare,
    const,
    div,
    every,
    is_zero,
    mul,
    neg,
    negate,
    power,
    read,
    select,
    sub,
    whole,
)
from netlang.graph.expression import ONE, ZERO, Apply, Reduce
from netlang.graph.integer import fetch, integer, size
from netlang.graph.nodes import Random, View
from netlang.graph.text import expression_text, graph_text
from netlang.passes.derive import derive
from netlang.passes.pipeline import compile_graph
from netlang.passes.share import share
from netlang.passes.simplify import simplify, simplify_body
from netlang.passes.stabilize import stabilize
from tests.passes.graphs import NOWHERE, equation, given, graph, i, param, total

A, B, P, X, Y = (read(name) for name in "abpxy")


def logistic(x):
    return Apply("logistic", (x,))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (mul(P, sub(ONE, P), add(neg(div(Y, P)), div(sub(ONE, Y), sub(ONE, P)))), "p - y"),
        (mul(A, P, sub(ONE, P), add(neg(div(Y, P)), div(sub(ONE, Y), sub(ONE, P)))), "a * (p - y)"),
        (add(mul(const(-1), Y, logistic(neg(X))), mul(sub(ONE, Y), logistic(X))), "logistic(x) - y"),
        (logistic(neg(X)), "logistic(-x)"),
        (add(mul(A, X), mul(A, Y)), "a * (x + y)"),
        (mul(A, add(X, Y)), "a * (x + y)"),
        (sub(add(X, Y), Y), "x"),
        (sub(power(add(X, Y), 2), mul(const(2), X, Y)), "x^2 + y^2"),
        (add(neg(Y), P), "p - y"),
        (mul(const(-1), sub(Y, P)), "p - y"),
        (mul(const(-0.5), A, sub(Y, P)), "0.5 * a * (p - y)"),
        (Apply("log", (Apply("exp", (X,)),)), "x"),
        (Apply("exp", (ZERO,)), "1"),
        (Apply("log", (ZERO,)), "log(0)"),
        (mul(X, power(X, -1), Y), "y"),
        (select(compare("<", X, Y), select(compare("<", X, Y), A, B), P), "(a if x < y else p)"),
        (add(select(compare("<", X, Y), A, ZERO), select(compare("<", X, Y), B, ZERO)), "(a + b if x < y else 0)"),
        (Apply("constant", (X,)), "x"),
    ],
)
def test_expressions(body, text):
    assert expression_text(simplify_body(body, {})) == text


def test_opposite_guards_merge():
    condition = compare("<", X, Y)
    body = add(select(condition, A, ZERO), select(negate(condition), B, ZERO))
    assert expression_text(simplify_body(body, {})) == "(a if x < y else b)"


def test_guards_that_ranges_or_other_guards_decide():
    extents = {"i": integer(4)}
    x = read("x", i("i"))
    assert simplify_body(select(at_least_zero(i("i") + 1), x, ZERO), extents) == x
    assert simplify_body(select(at_least_zero(i("i") - 4), x, ONE), extents) == ONE
    inner = select(every([at_least_zero(i("i") - 2), at_least_zero(i("i") - 1)]), x, ZERO)
    assert simplify_body(inner, extents) == select(at_least_zero(i("i") - 2), x, ZERO)
    nested = select(at_least_zero(i("i") - 2), add(ONE, select(at_least_zero(i("i") - 1), x, ZERO)), ZERO)
    assert simplify_body(nested, extents) == select(at_least_zero(i("i") - 2), add(ONE, x), ZERO)


def test_sums():
    s = read("s", i("j"))
    label = fetch("t", (), integer(5))
    assert simplify_body(total("sum", {"j": 5}, select(is_zero(i("j") - label), s, ZERO)), {}) == read("s", label)
    assert simplify_body(total("sum", {"j": 5}, select(is_zero(i("j") - 2), s, ZERO)), {}) == read("s", integer(2))
    assert simplify_body(total("sum", {"j": 5}, select(is_zero(i("j") - 7), s, ZERO)), {}) == ZERO
    assert simplify_body(total("sum", {"j": 5, "k": 3}, s), {}) == total("sum", {"j": 5}, mul(const(3), s))
    assert simplify_body(total("sum", {"j": 1}, s), {}) == read("s", integer(0))
    assert simplify_body(total("sum", {"j": 5}, ONE), {}) == const(5)
    assert simplify_body(total("sum", {"batch": size("batch")}, ONE), {}) == whole(size("batch"))
    assert simplify_body(total("max", {"j": 5, "k": 3}, s), {}) == total("max", {"j": 5}, s)


def test_trivial_nodes_go_into_their_users():
    g = graph(
        param("x", 3),
        equation("copy", {"j": 3}, read("x", i("j"))),
        equation("twice", {"j": 3}, mul(const(2), read("copy", i("j")))),
        equation("y", {"j": 3}, Apply("tanh", (add(read("twice", i("j")), ONE),))),
        equation("z", {}, total("sum", {"j": 3}, mul(read("copy", i("j")), read("y", i("j"))))),
        outputs={"z": "z"},
    )
    assert [n.name for n in simplify(g)] == ["x", "y", "z"]


def test_expensive_nodes_are_computed_once():
    shared = equation("e", {"j": 3}, Apply("exp", (read("x", i("j")),)))
    row = equation("r", {}, Apply("exp", (read("b"),)))
    y = equation("y", {"j": 3}, mul(read("e", i("j")), add(ONE, read("e", i("j")))))
    z = equation("z", {"j": 3}, mul(read("x", i("j")), read("r")))
    g = graph(param("x", 3), param("b"), shared, row, y, z, outputs={"y": "y", "z": "z"})
    assert {"e", "r"} <= simplify(g).nodes.keys()


def test_views_of_views():
    g = graph(
        param("x", 2, 3),
        View("a", (integer(6),), "real", NOWHERE, "x"),
        View("b", (integer(3), integer(2)), "real", NOWHERE, "a"),
        equation("y", {"j": 3}, read("b", i("j"), integer(0))),
        outputs={"y": "y"},
    )
    simple = simplify(g)
    assert [n.name for n in simple] == ["x", "b", "y"]
    assert simple["b"].operand == "x"


def test_sharing():
    g = graph(
        param("x", 3),
        equation("a", {"j": 3}, Apply("tanh", (read("x", i("j")),))),
        equation("b", {"k": 3}, Apply("tanh", (read("x", i("k")),))),
        equation("c", {"k": 3}, add(read("b", i("k")), read("a", i("k")))),
        equation("d", {"k": 3}, mul(Apply("tanh", (read("x", 2 - i("k")),)), read("c", i("k")))),
        Random("u", (integer(3),), "real", NOWHERE, "uniform", "one"),
        Random("v", (integer(3),), "real", NOWHERE, "uniform", "two"),
        outputs={"d": "d", "b": "b", "u": "u", "v": "v"},
    )
    shared = share(g)
    assert [n.name for n in shared] == ["x", "a", "c", "d", "u", "v"]
    assert shared.outputs["b"] == "a"
    assert expression_text(shared["d"].body) == "a[-k + 2] * c[k]"


def test_norm_of_a_matrix_vector_product():
    q = equation("q", {"k": 2}, total("sum", {"j": 2}, mul(read("W", i("k"), i("j")), read("x", i("j")))))
    f = equation("f", {}, total("sum", {"k": 2}, power(read("q", i("k")), 2)))
    g = derive(graph(given("x", 2), param("W", 2, 2), q, f, outputs={"f": "f"}), "f", ["W", "x", "q"])
    texts = {name: expression_text(simplify(g)[f"d/{name}"].body) for name in "qWx"}
    assert texts == {"q": "2 * q[k]", "W": "d/q[k] * x[j]", "x": "sum(k < 2) d/q[k] * W[k, j]"}


def classifier(loss):
    nodes = [
        given("x", 2),
        given("t", classes=3, role="target"),
        param("W", 3, 2),
        equation("s", {"k": 3}, total("sum", {"j": 2}, mul(read("W", i("k"), i("j")), read("x", i("j"))))),
    ]
    return graph(*nodes, *loss, losses={"loss": "L"})


def test_softmax_cross_entropy_gives_softmax_minus_one_hot():
    exp = lambda place: Apply("exp", (read("s", place),))  # noqa: E731
    g = classifier(
        [
            equation("S", {}, total("sum", {"j": 3}, exp(i("j")))),
            equation("p", {"j": 3}, div(exp(i("j")), read("S"))),
            equation("L", {}, sub(Apply("log", (read("S"),)), read("s", fetch("t", (), integer(3))))),
        ]
    )
    one = share(simplify(derive(stabilize(g), "L", ["s"])))
    assert one["d/s"].body == add(
        read("p", i("k")), select(is_zero(i("k") - fetch("t", (), integer(3))), const(-1), ZERO)
    )
    batch = compile_graph(g, wrt=["W"])
    body = batch["d/W"].body
    assert isinstance(body, Reduce)
    assert body.body == mul(read("d/s", i("batch"), i("k")), read("x", i("batch"), i("j")))
    assert "d/L" not in batch.nodes
    assert "1 / |batch|" not in graph_text(batch)


def test_binary_cross_entropy_gives_p_minus_y():
    p, y = read("p"), read("y")
    log = lambda e: Apply("log", (e,))  # noqa: E731
    nodes = [
        given("y", role="target"),
        param("z"),
        equation("p", {}, div(ONE, add(ONE, Apply("exp", (neg(read("z")),))))),
        equation("L", {}, neg(add(mul(y, log(p)), mul(sub(ONE, y), log(sub(ONE, p)))))),
    ]
    g = graph(*nodes, outputs={"p": "p"}, losses={"loss": "L"})
    assert expression_text(share(simplify(derive(stabilize(g), "L", ["z"])))["d/z"].body) == "p - y"


def test_the_three_layer_network():
    """dL/dW2 = (W3' (p - y)) * v2 (1 - v2) v1', as on the slide."""
    nodes = [given("x", 2), given("y", role="target"), param("W1", 3, 2), param("W2", 3, 3), param("W3", 3)]
    sigmoid = lambda e: div(ONE, add(ONE, Apply("exp", (neg(e),))))  # noqa: E731
    k = i("k")
    nodes += [
        equation("z1", {"k": 3}, total("sum", {"j": 2}, mul(read("W1", k, i("j")), read("x", i("j"))))),
        equation("v1", {"k": 3}, sigmoid(read("z1", k))),
        equation("z2", {"k": 3}, total("sum", {"j": 3}, mul(read("W2", k, i("j")), read("v1", i("j"))))),
        equation("v2", {"k": 3}, sigmoid(read("z2", k))),
        equation("z3", {}, total("sum", {"j": 3}, mul(read("W3", i("j")), read("v2", i("j"))))),
        equation("p", {}, sigmoid(read("z3"))),
    ]
    log = lambda e: Apply("log", (e,))  # noqa: E731
    p, y = read("p"), read("y")
    nodes += [equation("L", {}, neg(add(mul(y, log(p)), mul(sub(ONE, y), log(sub(ONE, p))))))]
    g = graph(*nodes, outputs={"p": "p"}, losses={"loss": "L"})
    g = share(simplify(derive(stabilize(g), "L", ["W1", "W2", "W3", "z3"])))
    texts = {name: expression_text(g[f"d/{name}"].body) for name in ("z3", "W3", "z2", "W2")}
    assert texts == {
        "z3": "p - y",
        "W3": "d/z3 * v2[j]",
        "z2": "d/z3 * W3[k] * v2[k] * (1 - v2[k])",
        "W2": "d/z2[k] * v1[j]",
    }


def test_a_common_constant_comes_out_exactly():
    c = const(0.1 + 0.2)
    body = add(mul(c, A), mul(c, B), neg(mul(c, X, Y)))
    assert simplify_body(body, {}) == mul(c, sub(add(A, B), mul(X, Y)))
