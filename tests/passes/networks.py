"""Random networks of equations, for property tests: any pass may be on or off without changing what they compute."""

from __future__ import annotations

from hypothesis import strategies as st

from netlang.graph.constructors import (
    add,
    at_least_zero,
    compare,
    const,
    div,
    mul,
    neg,
    power,
    read,
    select,
    sub,
    whole,
    within,
)
from netlang.graph.expression import ONE, ZERO, Apply, Expr
from netlang.graph.graph import Graph
from netlang.graph.integer import index, integer
from netlang.graph.nodes import Node, View
from tests.passes.graphs import NOWHERE, equation, given, graph, param, total

LENGTH = 4  # of every vector: equations combine any two of them


def function(op: str, x: Expr) -> Expr:
    """A smooth function that is defined everywhere."""
    if op == "sigmoid":
        return div(ONE, add(ONE, Apply("exp", (neg(x),))))
    if op == "softplus":
        return Apply("log", (add(ONE, Apply("exp", (x,))),))
    if op == "root":
        return power(add(power(x, 2), ONE), 0.5)
    if op == "leaky":
        return select(compare("<", ZERO, x), x, mul(const(0.1), x))
    if op == "relu":
        return Apply("max", (ZERO, x))
    if op == "ratio":
        return div(x, add(ONE, power(x, 2)))
    return Apply(op, (x,))


def squashed(x: Expr) -> Expr:
    """Kept small: without `stabilize`, large values overflow."""
    return Apply("tanh", (x,))


FUNCTIONS = ("tanh", "sigmoid", "softplus", "root", "leaky", "relu", "ratio", "sin", "logistic", "erf")
KINDS = (
    "function",
    "combine",
    "dense",
    "window",
    "pool",
    "softmax",
    "norm",
    "shift",
    "reverse",
    "copy",
    "scale",
    "join",
)


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[Node] = [given("x", LENGTH)]
        self.vectors = ["x"]
        self.params: list[str] = []

    def vector(self, body: Expr, name: str | None = None) -> str:
        name = name or f"v{len(self.nodes)}"
        self.nodes.append(equation(name, {"i": LENGTH}, body))
        return name

    def scalar(self, body: Expr) -> str:
        name = f"s{len(self.nodes)}"
        self.nodes.append(equation(name, {}, body))
        return name

    def param(self, *shape: int) -> str:
        name = f"p{len(self.nodes)}"
        self.nodes.append(param(name, *shape))
        self.params.append(name)
        return name


@st.composite
def networks(draw: st.DrawFn, most: int = 8) -> Graph:
    """A network with an input `x`, an output, and a loss of one example."""
    b = _Builder()
    i, j = index("i"), index("j")
    for _ in range(draw(st.integers(2, most))):
        kind = draw(st.sampled_from(KINDS))
        first, second = draw(st.sampled_from(b.vectors)), draw(st.sampled_from(b.vectors))
        u, v = read(first, i), read(second, i)
        if kind == "function":
            new = b.vector(function(draw(st.sampled_from(FUNCTIONS)), u))
        elif kind == "combine":
            forms = [add(u, v), sub(u, mul(const(0.5), v)), *(squashed(e) for e in (mul(u, v), mul(u, u, v)))]
            new = b.vector(draw(st.sampled_from(forms)))
        elif kind == "dense":
            w, c = b.param(LENGTH, LENGTH), b.param(LENGTH)
            hidden = b.vector(total("sum", {"j": LENGTH}, mul(read(w, i, j), read(first, j))))
            new = b.vector(add(read(hidden, i), read(c, i)))
        elif kind == "window":
            w = b.param(3)
            stride, pad = draw(st.sampled_from([(1, 1), (2, 1), (1, 0)]))
            place = stride * i + j - pad
            inside = within(place, integer(LENGTH), {"i": integer(LENGTH), "j": integer(3)})
            new = b.vector(total("sum", {"j": 3}, mul(read(w, j), select(inside, read(first, place), ZERO))))
        elif kind == "pool":
            op = draw(st.sampled_from(["max", "min"]))
            place = i + j
            inside = within(place, integer(LENGTH), {"i": integer(LENGTH), "j": integer(2)})
            worst = const(float("-inf") if op == "max" else float("inf"))
            new = b.vector(total(op, {"j": 2}, select(inside, read(first, place), worst)))
        elif kind == "softmax":
            s = b.scalar(total("sum", {"j": LENGTH}, Apply("exp", (read(first, j),))))
            new = b.vector(div(Apply("exp", (u,)), read(s)))
        elif kind == "norm":
            s = b.scalar(total("sum", {"j": LENGTH}, read(first, j)))
            m = b.scalar(mul(read(s), const(1 / LENGTH)))
            d = b.scalar(total("sum", {"j": LENGTH}, power(sub(read(first, j), read(m)), 2)))
            new = b.vector(mul(sub(u, read(m)), power(add(read(d), const(1)), -0.5)))
        elif kind == "shift":
            new = b.vector(select(at_least_zero(i - 1), read(first, i - 1), read(second, LENGTH - 1 - i)))
        elif kind == "reverse":
            new = b.vector(read(first, (LENGTH - 1) - i))
        elif kind == "copy":
            new = b.vector(u)
        elif kind == "scale":
            new = b.vector(mul(const(draw(st.sampled_from([-1.0, 2.0, 0.5]))), u))
        else:
            matrix = f"m{len(b.nodes)}"
            b.nodes.append(View(matrix, (integer(2), integer(2)), "real", NOWHERE, first))
            new = b.vector(squashed(mul(read(matrix, i // 2, i % 2), read(matrix, i % 2, i // 2))))
        b.vectors.append(new)
    out = b.vectors[-1]
    if draw(st.booleans()):
        p = b.vector(function("sigmoid", mul(const(3), squashed(read(out, i)))), "out")
        q, t = read(p, j), const(0.25)
        term = neg(add(mul(t, Apply("log", (q,))), mul(sub(ONE, t), Apply("log", (sub(ONE, q),)))))
    else:
        p = b.vector(read(out, i), "out")
        term = mul(power(sub(read(p, j), const(0.5)), 2), power(whole(integer(LENGTH)), -1))
    loss = equation("loss", {}, total("sum", {"j": LENGTH}, term))
    return graph(*b.nodes, loss, outputs={"out": p}, losses={"loss": "loss"})
