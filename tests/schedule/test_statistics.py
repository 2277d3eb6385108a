"""Sums to few elements, as the statistics of channels: several terms at a time where they are added up in memory."""

from __future__ import annotations

import pytest

from netlang.graph.constructors import at_least_zero, const, mul, read, select, sub
from netlang.graph.expression import Expr
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index, size
from tests.passes.graphs import equation, given, graph, param, total
from tests.targets.test_generate import agree

B = size("batch")
b, i, j, k = map(index, "bijk")


def statistics(rows: Int | int, columns: int, channels: int, body: Expr | None = None) -> Graph:
    summed = total("sum", {"b": B, "i": rows, "j": columns}, body or read("x", b, i, j, k))
    return graph(given("x", B, rows, columns, channels), param("m", channels), equation("s", {"k": channels}, summed))


@pytest.mark.parametrize(
    ("rows", "columns", "channels"), [(9, 16, 20), (16, 8, 16), (12, 7, 33), (8, 8, 3), (1, 90, 1)]
)
@pytest.mark.parametrize("batch", [1, 5])
def test_statistics_of_channels(rows: int, columns: int, channels: int, batch: int) -> None:
    away = sub(read("x", b, i, j, k), read("m", k))
    for body in (read("x", b, i, j, k), mul(away, away)):
        test = statistics(rows, columns, channels, body)
        agree(test, ["s"], sizes={"batch": batch})


def test_terms_are_added_up_before_memory_is() -> None:
    test = statistics(9, 16, 20)
    assert "range(8):" in agree(test, ["s"])
    test = statistics(9, 15, 20)
    assert "range(8):" not in agree(test, ["s"])


def test_a_guarded_sum() -> None:
    body = select(at_least_zero(j - 2), read("x", b, i, j, k), const(0))
    agree(statistics(9, 16, 20, body), ["s"])
    body = select(at_least_zero(b + j - 2), read("x", b, i, j, k), const(0))
    agree(statistics(9, 16, 20, body), ["s"])
