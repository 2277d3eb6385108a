"""What is computed from parameters alone, and is kept between runs."""

from __future__ import annotations

from netlang.graph.constructors import add, mul, read
from netlang.graph.graph import Graph
from netlang.graph.integer import index, integer, size
from netlang.graph.nodes import Random, State, View
from netlang.schedule.kept import kept
from tests.passes.graphs import NOWHERE, equation, given, graph, param, total

B = size("batch")
b, i, j, k = map(index, "bijk")


def network() -> Graph:
    return graph(
        given("x", B, 8),
        param("W", 8, 8),
        param("V", 8, 8),
        State("s", (integer(8),), "real", NOWHERE),
        State("c", (B, integer(8)), "real", NOWHERE),
        Random("r", (integer(8),), "real", NOWHERE, "normal", "r", False),
        equation("square", {"i": 8, "j": 8}, total("sum", {"k": 8}, mul(read("W", i, k), read("W", k, j)))),
        View("flat", (integer(64),), "real", NOWHERE, "square"),
        equation("scaled", {"i": 64}, mul(read("flat", i), read("s", i % 8))),
        equation("noisy", {"i": 8}, add(read("s", i), read("r", i))),
        equation("carried", {"b": B, "i": 8}, read("c", b, i)),
        equation("changed", {"i": 8, "j": 8}, add(read("V", i, j), read("W", i, j))),
        equation("spread", {"b": B, "i": 8}, read("s", i)),
        equation("y", {"b": B, "i": 8}, total("sum", {"k": 8}, mul(read("x", b, k), read("square", i, k)))),
    )


def test_what_depends_on_parameters_alone_is_kept() -> None:
    assert kept(network()) == {"W", "V", "s", "square", "flat", "scaled", "changed"}


def test_what_depends_on_a_parameter_that_is_updated_is_not() -> None:
    assert kept(network(), ["V"]) == {"W", "s", "square", "flat", "scaled"}
    assert kept(network(), ["W", "V"]) == {"s"}
    assert kept(network(), ["s"]) == {"W", "V", "square", "flat", "changed"}


def test_what_the_caller_gets_is_computed_in_every_run() -> None:
    assert kept(network(), roots=["square", "W"]) == {"W", "V", "s", "changed"}
