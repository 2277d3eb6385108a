"""Programs: what is fused, stored, updated and in which loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from netlang.diagnostics import InternalError, NetlangError
from netlang.graph.constructors import add, const, mul, read, select
from netlang.graph.expression import IsZero
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, fetch, index, integer, size
from netlang.graph.nodes import Extern, Node, Random, State, View
from netlang.schedule.memory import plan
from netlang.schedule.program import Loop, Program, Statement, Store, statements
from netlang.schedule.schedule import schedule
from netlang.schedule.text import program_text
from tests.passes.graphs import NOWHERE, equation, given, graph, padded, param, total

B = size("batch")
b, i, j, k, p = map(index, "bijkp")


def nest(program: Program, kernel: int = 0) -> list[str]:
    """The loops of a kernel, outermost first, as `index: start..stop`."""
    loops = [s for s in statements(program.kernels[kernel].body) if isinstance(s, Loop)]
    return [f"{s.index}: {'|'.join(e.key for e in s.starts)}..{'|'.join(e.key for e in s.stops)}" for s in loops]


def stores(program: Program) -> list[list[str]]:
    def of(body: tuple[Statement, ...]) -> list[str]:
        return list(dict.fromkeys(s.tensor for s in statements(body) if isinstance(s, Store)))

    return [of(kernel.body) for kernel in program.kernels]


def chain(*names: str) -> list[Node]:
    """Elementwise equations of shape [batch, 8], each of the one before it."""
    pairs = itertools.pairwise(names)
    return [equation(n, {"b": B, "i": 8}, mul(const(2), read(m, b, i), read(m, b, i))) for m, n in pairs]


def test_elementwise_equations_share_a_kernel_and_store_only_what_is_wanted() -> None:
    program = schedule(graph(given("x", B, 8), *chain("x", "u", "v", "w")), ["w"])
    assert stores(program) == [["w"]]
    assert list(program.buffers) == ["x", "w"]
    assert program.kernels[0].flat
    assert [text.split("[")[0] for text, _ in program.kernels[0].sources] == ["u", "v", "w"]


def test_a_member_that_another_kernel_reads_is_stored() -> None:
    last = equation("t", {"b": B, "i": 8}, read("u", b, 7 - i))
    program = schedule(graph(given("x", B, 8), *chain("x", "u", "v"), last), ["v", "t"])
    assert stores(program) == [["u", "v"], ["t"]]
    assert program.buffers["u"].kind == "temporary"
    assert program.buffers["v"].kind == "output"


def test_elementwise_equations_join_a_reduction_to_a_scalar() -> None:
    y = equation("s", {"b": B, "k": 8}, total("sum", {"i": 8}, mul(read("W", k, i), read("x", b, i))))
    program = schedule(graph(given("x", B, 8), param("W", 8, 8), y, *chain("s", "u", "v")), ["v"])
    assert stores(program) == [["v"]]
    assert program.kernels[0].kind == "contraction"
    roles = program.kernels[0].contraction
    assert roles is not None
    assert (roles.batch, roles.left, roles.right, roles.summed) == ((), ("k",), ("b",), ("i",))


def test_an_equation_waits_for_the_only_one_that_reads_it() -> None:
    extents: dict[str, Int | int] = {"b": B, "i": 8}
    u = equation("u", extents, mul(const(2), read("x", b, i)))
    v = equation("v", extents, mul(const(3), read("z", b, i)))
    w = equation("w", extents, add(read("u", b, i), read("v", b, i)))
    program = schedule(graph(given("x", B, 8), given("z", B, 8), u, v, w), ["w"])
    assert stores(program) == [["w"]]
    y = equation("y", extents, total("sum", {"k": 8}, mul(read("z", b, k), read("V", i, k))))
    nodes = [given("x", B, 8), given("z", B, 8), param("V", 8, 8), u, y]
    w = equation("w", extents, add(read("u", b, i), read("y", b, i)))
    assert len(schedule(graph(*nodes, w), ["w"]).kernels) == 1
    others = [equation("v", extents, mul(read("u", b, i), read("y", b, i))), w]
    assert len(schedule(graph(*nodes, *others), ["v", "w"]).kernels) == 2


def test_one_that_reads_several_tensors_does_not_wait() -> None:
    x = [given(name, B, 8) for name in "qrst"]
    u, v = (equation(n, {"b": B, "i": 8}, mul(read(y, b, i), read(z, b, i))) for n, y, z in ("uqr", "vst"))
    w = equation("w", {"b": B, "i": 8}, add(read("u", b, i), read("v", b, i)))
    assert stores(schedule(graph(*x, u, v, w), ["w"])) == [["u"], ["w"]]


def test_a_dot_product_runs_over_the_summed_index_innermost() -> None:
    y = equation("s", {"b": B, "k": 2}, total("sum", {"i": 40}, mul(read("W", k, i), read("x", b, i))))
    program = schedule(graph(given("x", B, 40), param("W", 2, 40), y), ["s"])
    assert nest(program) == ["b: first..last", "k: 0..2", "i: 0..40"]


def test_an_outer_maximum_accumulates_rows_in_memory() -> None:
    y = equation("dW", {"k": 2, "i": 40}, total("max", {"b": B}, mul(read("dy", b, k), read("x", b, i))))
    program = schedule(graph(given("x", B, 40), given("dy", B, 2), y), ["dW"])
    assert nest(program) == ["k: 0..2", "i: first..last", "b: 0..|batch|", "i: first..last"]


def test_guards_become_bounds() -> None:
    inside = padded("x", [B, 64], b, i + p - 2, extents={"b": B, "i": 64, "p": 5})
    y = equation("y", {"b": B, "i": 64}, total("sum", {"p": 5}, mul(read("W", p), inside)))
    program = schedule(graph(given("x", B, 64), param("W", 5), y), ["y"])
    text = program_text(program)
    assert "for p in max(0, -i + 2) .. min(5, -i + 66):" in text
    assert "if " not in text.split("kernels")[1].split("for p")[1]


def test_an_equality_with_a_fetched_place_becomes_a_scatter() -> None:
    hit = IsZero(k - fetch("word", (b,), integer(7)))
    y = equation("dE", {"k": 7, "j": 5}, total("sum", {"b": B}, select(hit, read("dy", b, j), const(0))))
    program = schedule(graph(given("word", B, classes=7), given("dy", B, 5), y), ["dE"])
    assert nest(program) == ["kj: 0..35", "b: 0..|batch|", "k: 0|word[b]|first..last|word[b] + 1", "j: 0..5"]


def test_repeated_elements_are_a_view() -> None:
    same = equation("same", {"b": B, "i": 8}, read("u", b, i))
    program = schedule(graph(given("x", B, 8), *chain("x", "u"), same), ["u", "same"])
    assert stores(program) == [["u"]]
    assert program.outputs["same"].buffer == "u"


def test_an_update_goes_into_the_old_value_where_nothing_reads_that_later() -> None:
    step = equation("w.next", {"i": 8}, add(read("w", i), mul(const(-0.1), read("g", i))))
    program = schedule(graph(param("w", 8), given("g", 8), step), [], {"w": "w.next"})
    assert list(program.buffers) == ["w", "g"]
    assert len(program.kernels) == 1
    later = equation("n", {}, total("sum", {"i": 8}, mul(read("w", i), read("w.next", 7 - i))))
    program = schedule(graph(param("w", 8), given("g", 8), step, later), ["n"], {"w": "w.next"})
    assert stores(program) == [["w.next"], ["n"], ["w.next.copy" if "w.next" in program.buffers else "w.next"]]
    assert program.tensors[stores(program)[2][0]].buffer == "w"


def rows(name: str, kept: str, row: str, place: Int) -> Node:
    """`kept[b, i, j]` with `row[b, j]` at the place `i == place`."""
    return equation(name, {"b": B, "i": 8, "j": 3}, select(IsZero(i - place), read(row, b, j), read(kept, b, i, j)))


def test_an_update_comes_after_what_reads_the_old_value() -> None:
    step = equation("w.next", {"i": 8}, add(read("w", i), mul(const(-0.1), read("g", i))))
    later = equation("n", {}, total("sum", {"i": 8}, mul(read("w", i), read("g", 7 - i))))
    program = schedule(graph(param("w", 8), given("g", 8), step, later), ["n"], {"w": "w.next"})
    assert stores(program) == [["n"], ["w.next"]]
    assert program.tensors["w.next"].buffer == "w"


def test_updates_that_read_the_old_values_of_each_other_need_a_copy() -> None:
    first = equation("v.next", {"i": 8}, add(read("v", i), read("w", i // 2)))
    second = equation("w.next", {"j": 4}, add(read("w", j), read("v", 2 * j)))
    program = schedule(graph(param("v", 8), param("w", 4), first, second), [], {"v": "v.next", "w": "w.next"})
    assert len(program.kernels) == 3
    assert sorted(program.tensors[name].buffer == name[0] for name in ("v.next", "w.next")) == [False, True]


def test_of_a_state_that_changes_at_one_place_only_that_place_is_stored() -> None:
    now = fetch("now", (), integer(8))
    sources = [given("now", classes=8), given("x", B, 3), State("s", (B, integer(8), integer(3)), "real", NOWHERE)]
    y = equation("y", {"b": B, "j": 3}, total("sum", {"i": 8}, read("t", b, i, j)))
    program = schedule(graph(*sources, rows("t", "s", "x", now), y), ["y"], {"s": "t"})
    assert nest(program) == ["b: 0..|batch|", "i: 0|now[]..8|now[] + 1", "j: 0..3"]
    elsewhere = schedule(graph(*sources, rows("t", "s", "x", now), y), ["y", "t"], {"s": "t"})
    assert nest(elsewhere) == ["b: 0..|batch|", "i: 0..8", "j: 0..3"]  # a result is another memory


def test_a_replacement_runs_over_its_places_beside_what_runs_over_all() -> None:
    now = fetch("now", (), integer(8))
    sources = [given("now", classes=8), given("x", B, 3), State("s", (B, integer(8), integer(3)), "real", NOWHERE)]
    y = equation("y", {"b": B, "i": 8, "j": 3}, mul(const(2), read("t", b, i, j)))
    program = schedule(graph(*sources, rows("t", "s", "x", now), y), ["y"], {"s": "t"})
    assert stores(program) == [["t"], ["y"]]
    assert nest(program)[1] == "i: 0|now[]..8|now[] + 1"


def test_a_parameter_that_changes_is_returned_as_it_was() -> None:
    step = equation("w.next", {"i": 8}, mul(const(2), read("w", i)))
    program = schedule(graph(param("w", 8), step), ["w"], {"w": "w.next"})
    assert program.outputs["w"].buffer == "w.copy"
    assert program.outputs["w"].shape == (integer(8),)


def test_what_a_program_cannot_hold() -> None:
    extern = Extern("y", (B, integer(8)), "real", NOWHERE, "sort", ("x",))
    with pytest.raises(NetlangError, match="the operation `sort` has no compiled form"):
        schedule(graph(given("x", B, 8), extern), ["y"])
    haar = Random("q", (integer(4), integer(4)), "real", NOWHERE, "haar", "q", False)
    with pytest.raises(InternalError, match="`q` draws an orthogonal matrix"):
        schedule(graph(haar, equation("y", {"i": 4}, read("q", i, i))), ["y"])


def test_the_text_of_a_program(golden: Callable[[str, str], None]) -> None:
    places = (b, index("m"), i + p - 1, j + index("q") - 1)
    extents = {"b": B, "i": 8, "j": 8, "p": 3, "q": 3, "m": 2}
    inside = padded("x", [B, 2, 8, 8], *places, extents=extents)
    body = total("sum", {"m": 2, "p": 3, "q": 3}, mul(read("W", k, index("m"), p, index("q")), inside))
    window = total("max", {"p": 2, "q": 2}, read("r", b, k, 2 * i + p, 2 * j + index("q")))
    keep = Random("u", (B, integer(48)), "real", NOWHERE, "uniform", "u")
    test = graph(
        given("x", B, 2, 8, 8),
        param("W", 3, 2, 3, 3),
        State("mean", (integer(3),), "real", NOWHERE),
        equation("s", {"b": B, "k": 3, "i": 8, "j": 8}, body),
        equation("r", {"b": B, "k": 3, "i": 8, "j": 8}, add(read("s", b, k, i, j), mul(const(-1), read("mean", k)))),
        equation("y", {"b": B, "k": 3, "i": 4, "j": 4}, window),
        View("flat", (B, integer(48)), "real", NOWHERE, "y"),
        keep,
        equation("z", {"b": B, "i": 48}, mul(read("u", b, i), read("flat", b, i))),
        equation("mean.next", {"k": 3}, total("sum", {"b": B, "i": 8, "j": 8}, read("r", b, k, i, j))),
        equation("best", {"b": B}, total("argmax", {"i": 48}, read("z", b, i)), "int"),
    )
    golden("schedule/convolution.program", program_text(schedule(test, ["z", "best"], {"mean": "mean.next"})))


# --- memory --------------------------------------------------------------------------------------------------------


def layers(count: int) -> Graph:
    """Reductions over windows, each of the one before it, so that no two share a kernel."""
    nodes: list[Node] = [given("x", B, 64)]
    for n in range(count):
        operand = "x" if n == 0 else f"y{n - 1}"
        nodes.append(equation(f"y{n}", {"b": B, "i": 64}, total("max", {"p": 2}, read(operand, b, 63 - i))))
    return graph(*nodes)


def test_memory_is_used_again() -> None:
    program = schedule(layers(9), ["y8"])
    assert plan(program, {"batch": 5}).bytes == 2 * 5 * 64 * 4
    assert plan(program, {"batch": 5}, 8).bytes == 2 * 5 * 64 * 8


def normalized(width: int) -> Program:
    """The elements of a row, which a sum gives, by the largest of them."""
    first = equation(
        "s", {"b": B, "i": width}, total("sum", {"k": 90}, mul(read("x", b, k % 64), read("x", b, (i + k) % 64)))
    )
    top = equation("top", {"b": B}, total("max", {"i": width}, read("s", b, i)))
    last = equation("e", {"b": B, "i": width}, mul(read("s", b, i), read("top", b)))
    return schedule(
        graph(given("x", B, 64), first, top, last, equation("y", {"b": B}, read("e", b, integer(3)))), ["y"]
    )


def test_an_elementwise_kernel_takes_over_the_place_of_what_it_reads_last() -> None:
    program = normalized(64)
    assert program.buffers["e"].slot == "s"
    placed = plan(program, {"batch": 5})
    assert placed.offsets["e"] == placed.offsets["s"]
    assert placed.bytes == 5 * 64 * 4 + 64


def test_rows_of_less_than_a_vector_have_a_place_of_their_own() -> None:
    assert normalized(10).buffers["e"].slot == "e"


@pytest.mark.parametrize("seed", range(20))
def test_no_two_living_buffers_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes: list[Node] = [given("x", B, 24)]
    for n in range(25):
        m = int(rng.integers(max(0, n - 4), n + 1))
        operand = "x" if m == 0 else f"y{m - 1}"
        extent = [8, 16, 24][int(rng.integers(3))] if n else 24
        width = 24 if operand == "x" else nodes[m].shape[1].constant
        place: Int = (width - 1 - i) if extent <= width else i % width
        nodes.append(
            equation(f"y{n}", {"b": B, "i": extent}, total("sum", {"k": 30}, mul(read(operand, b, place), const(1))))
        )
    program = schedule(graph(*nodes), ["y24", "y20"])
    sizes: Mapping[str, int] = {"batch": 3}
    placed = plan(program, sizes)
    held = program.of_kind("temporary")
    for one in held:
        first = placed.offsets[one.name]
        assert first % 64 == 0
        assert first + one.elements.evaluate(sizes) * 4 <= placed.bytes
        for other in held:
            if one.slot != other.slot and one.first <= other.last and other.first <= one.last:
                second = placed.offsets[other.name]
                end = min(first, second) + (one if first < second else other).elements.evaluate(sizes) * 4
                assert end <= max(first, second)
