"""Circuits: one operation a node, values and gradients on the wires."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netlang.diagnostics import NetlangError
from netlang.draw.diagram.circuit import circuit, operation_label
from netlang.draw.diagram.explode import explode
from netlang.draw.diagram.values import read_values
from netlang.draw.diagram.views import draw
from netlang.graph.constructors import add, const, div, mul, neg, power, read, sub
from netlang.graph.expression import Apply, Expr
from netlang.graph.graph import Graph
from netlang.graph.integer import integer
from netlang.graph.verify import verify
from netlang.targets.reference import evaluate
from tests.draw import nets

Golden = Callable[[str, str], None]


def wire(dot: str, name: str) -> tuple[str, str]:
    """The value and the gradient drawn on the wire that leaves a node."""
    (line,) = (row for row in dot.splitlines() if row.strip().startswith(f'"{name} wire" ['))
    value = re.search(r'COLOR="#1f7a4d">(.*?)</FONT>', line)
    gradient = re.search(r'COLOR="#c0392b">(.*?)</FONT>', line)
    assert value is not None
    return value[1].replace("−", "-"), gradient[1].replace("−", "-") if gradient else ""


def test_product(golden: Golden) -> None:
    dot = circuit(nets.product_circuit(), {"x": -2, "y": 5, "z": -4})
    found = {name: wire(dot, name) for name in "xyzqf"}
    assert found == {"x": ("-2", "-4"), "y": ("5", "-4"), "z": ("-4", "3"), "q": ("3", "-4"), "f": ("-12", "1")}
    golden("draw/product_circuit.dot", dot)
    assert draw(nets.product_circuit(), values={"x": -2, "y": 5, "z": -4}) == dot


def test_neuron(golden: Golden) -> None:
    dot = circuit(nets.neuron(), read_values("w0=2,x0=-1,w1=-3,x1=-2,w2=-3"))
    found = {name: wire(dot, name) for name in ("w0", "x0", "w1", "x1", "w2", "f")}
    assert found == {
        "w0": ("2", "-0.1966"),
        "x0": ("-1", "0.3932"),
        "w1": ("-3", "-0.3932"),
        "x1": ("-2", "-0.5898"),
        "w2": ("-3", "0.1966"),
        "f": ("0.7311", "1"),
    }
    inner = [operation_label(node) for node in explode(nets.neuron()) if node.operands]
    assert inner == ["×", "×", "+", "+", "×−1", "exp", "+1", "1/x"]
    assert wire(dot, "f.6") == ("0.3679", "-0.5344")  # exp, as in the lecture
    golden("draw/neuron_circuit.dot", dot)


def test_norm(golden: Golden) -> None:
    dot = circuit(nets.norm(), read_values("W=[[0.1,0.5],[-0.3,0.8]], x=[0.2, 0.4]"))
    assert wire(dot, "f") == ("0.116", "1")
    assert wire(dot, "W") == ("[0.1, 0.5]<BR/>[-0.3, 0.8]", "[0.088, 0.176]<BR/>[0.104, 0.208]")
    assert wire(dot, "x") == ("[0.2, 0.4]", "[-0.112, 0.636]")
    assert wire(dot, "q") == ("[0.22, 0.26]", "[0.44, 0.52]")
    golden("draw/norm_circuit.dot", dot)


def test_single_elements_are_wires_of_their_own() -> None:
    net = nets.Net("Elements")
    w, x = net.input("w", 3), net.input("x", 2)
    zero, one, two = (integer(k) for k in range(3))
    total = add(mul(read(w, zero), read(x, zero)), mul(read(w, one), read(x, one)), read(w, two))
    graph = net.graph(outputs={"z": net.equation("z", (), "", total)})
    dot = circuit(graph, read_values("w=[2,-3,-3],x=[-1,-2]"))
    assert wire(dot, "w[0]") == ("2", "-1")
    assert wire(dot, "x[1]") == ("-2", "-3")
    assert wire(dot, "z") == ("1", "1")
    assert '"w wire"' not in dot
    used_whole = net.graph(outputs={"z": "z", "w": "w"})
    assert wire(circuit(used_whole, read_values("w=[2,-3,-3],x=[-1,-2]")), "w") == ("[2, -3, -3]", "[-1, -2, 1]")


def scalar(body: Callable[..., Expr]) -> Graph:
    net = nets.Net("S")
    a, b = read(net.input("a")), read(net.input("b"))
    return net.graph(outputs={"f": net.equation("f", (), "", body(a, b))})


@pytest.mark.parametrize(
    ("body", "operations"),
    [
        (sub, ["−"]),
        (lambda a, b: sub(const(1), mul(a, b)), ["×", "×−1", "+1"]),
        (lambda a, b: add(a, b, const(-3)), ["+", "−3"]),
        (div, ["÷"]),
        (lambda a, b: div(const(2), mul(a, b)), ["×", "1/x", "×2"]),
        (lambda a, b: neg(add(a, b)), ["+", "×−1"]),
        (lambda a, b: mul(a, a, b), ["x²", "×"]),
        (lambda a, b: power(add(a, b), 0.5), ["+", "√"]),
        (lambda a, b: mul(power(a, -2), b), ["x^−2", "×"]),
        (lambda a, b: Apply("max", (const(0), mul(a, b))), ["×", "max(0, x)"]),
        (lambda a, b: Apply("max", (a, Apply("tanh", (b,)))), ["tanh", "max"]),
        (lambda a, b: Apply("pow", (a, b)), ["x^y"]),
        (lambda a, b: a, ["="]),
    ],
)
def test_operations(body: Callable[..., Expr], operations: list[str]) -> None:
    graph = scalar(body)
    exploded = explode(graph)
    verify(exploded, "explode")
    assert [operation_label(n) for n in exploded if n.operands] == operations
    at = {"a": np.float64(1.5), "b": np.float64(0.25)}
    assert evaluate(exploded, at)["f"] == pytest.approx(evaluate(graph, at)["f"], rel=1e-15)


def test_an_exploded_network_computes_the_same() -> None:
    graph = nets.lenet()
    exploded = explode(graph)
    verify(exploded, "explode")
    rng = np.random.default_rng(0)
    arrays = {n.name: rng.normal(size=[e.constant for e in n.shape]) * 0.1 for n in (*graph.params, graph["image"])}
    arrays["digit"] = np.int64(3)
    before, after = (evaluate(g, arrays, only=["cross_entropy_1.y"], direct=False) for g in (graph, exploded))
    np.testing.assert_allclose(after["cross_entropy_1.y"], before["cross_entropy_1.y"], rtol=1e-13)
    dot = circuit(graph, arrays)
    assert wire(dot, "conv_1.W")[0].startswith("20 × 1 × 5 × 5 in ")
    assert wire(dot, "digit") == ("3", "")


def test_values_without_a_scalar_result_have_no_gradients() -> None:
    graph = nets.norm().evolve(outputs={"q": "q"})
    dot = circuit(graph, {"W": np.eye(2), "x": np.array([1.0, 2.0])})
    assert wire(dot, "q") == ("[1, 2]", "")


@pytest.mark.parametrize(
    ("at", "code", "message"),
    [
        ({"x": 1, "y": 2}, "missing-value", "no value is given for `z`"),
        ({"x": 1, "y": 2, "z": 3, "yy": 1}, "unknown-name", "`Circuit` has no input or parameter `yy`"),
        ({"x": [1], "y": 2, "z": 3}, "array-shape", "`x` has shape [], the value given has [1]"),
        ({"x": [1, [2]], "y": 2, "z": 3}, "bad-value", "the value of `x` is not a number or an array of numbers"),
        ({"x": "a", "y": 2, "z": 3}, "bad-value", "the value of `x` is not a number or an array of numbers"),
    ],
)
def test_wrong_values(at: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(NetlangError) as error:
        circuit(nets.product_circuit(), at)
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == (code, message)
    assert diagnostic.help


def test_read_values() -> None:
    values = read_values(" x=-2,y = .5 , W=[[1, +2], [3e-1, 4]]")
    assert {k: v.tolist() for k, v in values.items()} == {"x": -2.0, "y": 0.5, "W": [[1.0, 2.0], [0.3, 4.0]]}


@pytest.mark.parametrize(
    "text",
    ["", "x", "x=", "x=1,x=2", "x=[1,[2]]", "x=abc", "x=NaN", "x=1e999", "x=" + "[" * 90_000, "x=true", 'x="1"', "9=1"],
)
def test_unreadable_values(text: str) -> None:
    with pytest.raises(NetlangError) as error:
        read_values(text)
    assert error.value.diagnostics[0].code == "bad-value"
