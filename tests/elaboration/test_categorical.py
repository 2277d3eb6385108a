"""Noise of whole numbers, and the tables of a vocabulary: what is refused, and with which words."""

from __future__ import annotations

import pytest

from netlang.diagnostics import NetlangError
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.graph import Graph
from netlang.graph.nodes import Input


def graph(line: str) -> Graph:
    module = module_from_text(f"net A(V=6):\n    input p[4], q[2, 4]\n    {line}\n    output y = 1 * k\n")
    return elaborate(module, module.nets()[0])


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("noise k[3]: class(4) ~ normal(0, 1)", "bad-declaration", "is drawn by `categorical(weights)`"),
        ("noise k[3]: class(4)", "missing-initializer", "no distribution"),
        ("noise k[3] ~ categorical(p)", "bad-declaration", "draws whole numbers"),
        ("noise k[3]: class(5) ~ categorical(p)", "shape-mismatch", "the draws [3] of 5 classes"),
        ("noise k[3]: class(4) ~ categorical(q)", "shape-mismatch", "a matrix [2, 4]"),
        ("noise k[3]: class(4) ~ categorical(2)", "shape-mismatch", "a scalar"),
        ("noise k[3]: class(4) ~ categorical(p, 2)", "wrong-arity", "a weight for each class"),
        (
            "h[t < 3, v < 4] = k[t-1] else 0\n    noise k[3]: class(4) ~ categorical(h)",
            "cyclic-definition",
            "by its draws",
        ),
        ("state k[3]: class(4) ~ zeros", "bad-declaration", "a `state` holds real numbers"),
        ("k = symbol_counts(1)", "bad-value", "at least 2"),
        ("k = symbol_counts(p)", "bad-value", "a vector [4]"),
        ("k = symbol_counts()", "wrong-arity", "takes (V)"),
        ("k = symbol_turns(V)", "wrong-arity", "takes (V, D)"),
        ("k = symbol_nodes(V, 0)", "bad-value", "at least 1"),
    ],
)
def test_what_cannot_be_drawn_or_looked_up_is_diagnosed(line: str, code: str, says: str) -> None:
    with pytest.raises(NetlangError) as error:
        graph(line)
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, says in diagnostic.message) == (code, True), diagnostic.message
    assert diagnostic.span is not None
    assert diagnostic.span.line == 3 + line.count("\n")


def test_weights_may_differ_from_draw_to_draw() -> None:
    assert graph("noise k[3, 2]: class(4) ~ categorical(q)")["k"].dtype == "int"


def test_a_table_that_is_read_twice_is_one_input() -> None:
    tables = graph("k = symbol_counts(V) + symbol_counts(6)").inputs("vocabulary")
    assert [(n.name, n.shape[0].constant) for n in tables if isinstance(n, Input)] == [("symbol_counts.6", 6)]
