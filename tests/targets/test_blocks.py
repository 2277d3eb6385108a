"""Contractions by register tiles: every shape, layout and remainder against the reference, on several processors."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable

import numpy as np
import pytest

from netlang.graph.constructors import add, at_least_zero, const, mul, read, select
from netlang.graph.expression import Apply, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index, size
from netlang.graph.nodes import Node
from netlang.graph.text import condition_text
from netlang.schedule.program import Assign, statements
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.passes.graphs import equation, given, graph, padded, param, total, values
from tests.targets.test_generate import agree

B, T = size("batch"), size("T")
b, c, h, i, j, k, p, q, t = map(index, "bchijkpqt")


def product(left: str, right: str, rows: int, lanes: int, deep: int, kind: Callable[..., Node] = param) -> Graph:
    """y[b, i] = sum(k) left * right, where the letters say the order of the indices in memory.

    The right factor is a parameter, or of another kind.
    """
    extents: dict[str, Int | int] = {"b": B, "i": lanes, "k": deep, "j": rows}
    places = {"b": b, "i": i, "k": k, "j": j}

    def factor(name: str, letters: str) -> object:
        return read(name, *(places[c] for c in letters))

    nodes = [given("x", *(extents[c] for c in left)), kind("W", *(extents[c] for c in right))]
    first = "b" if "b" in left else "j"
    body = total("sum", {"k": deep}, mul(factor("x", left), factor("W", right)))  # type: ignore[arg-type]
    y = equation("y", {first: extents[first], "i": lanes}, body)
    return graph(*nodes, y)


@pytest.mark.parametrize("batch", [1, 3, 4, 14, 61, 130])
@pytest.mark.parametrize("right", ["ik", "ki"])
def test_rows_of_the_batch(batch: int, right: str) -> None:
    source = agree(product("bk", right, 0, 75, 33), ["y"], sizes={"batch": batch})
    assert "multiply_" in source


@pytest.mark.parametrize(("rows", "lanes", "deep"), [(28, 32, 64), (29, 31, 40), (50, 97, 17), (200, 33, 64)])
@pytest.mark.parametrize("left", ["jk", "kj"])
@pytest.mark.parametrize("right", ["ik", "ki"])
def test_constant_extents(rows: int, lanes: int, deep: int, left: str, right: str) -> None:
    assert "multiply_" in agree(product(left, right, rows, lanes, deep), ["y"])


@pytest.mark.parametrize("lanes", [16, 48, 64, 80])
@pytest.mark.parametrize(("left", "rows"), [("jk", 9), ("jk", 31), ("kj", 50)])
def test_lanes_that_fill_vectors_are_read_where_they_are(lanes: int, left: str, rows: int) -> None:
    source = agree(product(left, "ki", rows, lanes, 40, given), ["y"])
    assert "multiply_" in source
    assert "pack(" not in source


@pytest.mark.parametrize("batch", [1, 2, 3, 9, 30])
def test_few_rows_of_lanes_that_are_read_where_they_are(batch: int) -> None:
    """With those of other heads beside them, and the turns in two loops."""
    body = total("sum", {"p": 3, "k": 20}, mul(read("x", b, h, k, p), read("v", p, k, h, i)))
    test = graph(given("x", B, 2, 20, 3), given("v", 3, 20, 2, 48), equation("y", {"h": 2, "b": B, "i": 48}, body))
    assert "multiply_" in agree(test, ["y"], sizes={"batch": batch})


@pytest.mark.parametrize("batch", [1, 15, 16, 33])
def test_lanes_of_the_batch(batch: int) -> None:
    """Few outputs, many terms: the batch fills the lanes where it is large enough."""
    source = agree(product("bk", "ik", 0, 10, 900), ["y"], sizes={"batch": batch})
    assert "multiply_" in source


def test_many_steps_are_taken_in_chunks() -> None:
    body = total("sum", {"b": B, "t": 3}, mul(read("d", b, t, i), read("x", b, t, k)))
    test = graph(given("d", B, 3, 20), given("x", B, 3, 40), equation("g", {"i": 20, "k": 40}, body))
    for batch in (1, 170, 171, 400):
        assert "for chunk in" in agree(test, ["g"], sizes={"batch": batch})


def test_a_guarded_step_starts_later() -> None:
    inside = select(at_least_zero(t - 1), mul(read("d", b, t, i), read("x", b, t - 1, k)), const(0))
    body = total("sum", {"b": B, "t": 9}, inside)
    test = graph(given("d", B, 9, 20), given("x", B, 9, 40), equation("g", {"i": 20, "k": 40}, body))
    source = agree(test, ["g"], sizes={"batch": 130})
    assert re.search(r"multiply_\d+\(.*, 8, 40\)", source) or re.search(r"multiply_\d+\(.*, 8, 20\)", source)


def test_batched_products_with_what_follows_on_them() -> None:
    """As in attention: several products, side by side in memory, then a function of each element."""
    scores = total("sum", {"k": 24}, mul(read("q", b, t, h, k), read("r", b, i, h, k)))
    test = graph(
        given("q", B, 40, 3, 24),
        given("r", B, 40, 3, 24),
        equation("s", {"b": B, "h": 3, "t": 40, "i": 40}, scores),
        equation("e", {"b": B, "h": 3, "t": 40, "i": 40}, Apply("exp", (mul(const(0.1), read("s", b, h, t, i)),))),
    )
    source = agree(test, ["e"])
    assert "multiply_" in source
    assert source.count("def ") == 2  # one kernel and the entry


def test_places_of_two_indices_are_taken_apart_where_they_do_not_move_as_one() -> None:
    body = total("sum", {"k": 40}, mul(read("x", b, t, k), read("W", i, k)))
    turned = add(read("s", b, t, i), read("c", t, b, i))
    test = graph(
        given("x", B, 5, 40),
        param("W", 48, 40),
        given("c", 5, B, 48),
        equation("s", {"b": B, "t": 5, "i": 48}, body),
        equation("y", {"b": B, "t": 5, "i": 48}, turned),
    )
    assert " // 5" in agree(test, ["y"], sizes={"batch": 50})


def convolution(stride: int, pad: int, dilation: int, n: int = 12) -> tuple[Graph, int]:
    """y = W * x for 20 filters of 3 x 3 on 6 channels, and its gradient by W where dy is given."""
    size_ = (n + 2 * pad - 2 * dilation - 1) // stride + 1
    places = (b, c, i * stride + p * dilation - pad, j * stride + q * dilation - pad)
    extents = {"b": B, "c": 6, "i": size_, "j": size_, "p": 3, "q": 3}
    inside = padded("x", [B, 6, n, n], *places, extents=extents)
    forward = total("sum", {"c": 6, "p": 3, "q": 3}, mul(read("W", k, c, p, q), inside))
    backward = total("sum", {"b": B, "i": size_, "j": size_}, mul(read("dy", b, k, i, j), inside))
    nodes = [
        given("x", B, 6, n, n),
        param("W", 20, 6, 3, 3),
        given("dy", B, 20, size_, size_),
        equation("y", {"b": B, "k": 20, "i": size_, "j": size_}, forward),
        equation("dW", {"k": 20, "c": 6, "p": 3, "q": 3}, backward),
    ]
    return graph(*nodes), size_


@pytest.mark.parametrize(("stride", "pad", "dilation"), [(1, 0, 1), (1, 1, 1), (2, 1, 1), (3, 2, 1), (1, 2, 2)])
@pytest.mark.parametrize("batch", [1, 5])
def test_convolutions_read_a_padded_image(stride: int, pad: int, dilation: int, batch: int) -> None:
    test, _ = convolution(stride, pad, dilation)
    source = agree(test, ["y", "dW"], sizes={"batch": batch})
    assert source.count("multiply_") == 2
    assert source.count("def x_padded(") == (pad > 0)  # one for both


def test_the_gradient_by_the_image_of_a_convolution() -> None:
    places = (b, k, i - p + 1, j - q + 1)
    extents = {"b": B, "k": 20, "i": 12, "j": 12, "p": 3, "q": 3}
    inside = padded("dy", [B, 20, 12, 12], *places, extents=extents)
    body = total("sum", {"k": 20, "p": 3, "q": 3}, mul(inside, read("W", k, c, p, q)))
    dx = equation("dx", {"b": B, "c": 40, "i": 12, "j": 12}, body)
    assert "multiply_" in agree(graph(given("dy", B, 20, 12, 12), param("W", 20, 40, 3, 3), dx), ["dx"])


def test_a_factor_that_is_an_expression_is_computed_before() -> None:
    """And what depends on no summed index comes after the sum, a number as well."""
    first = select(at_least_zero(t - 1), read("h", b, t - 1, k), read("h0", b, k))
    body = total("sum", {"k": 40}, mul(const(0.5), read("g", i), read("U", i, k), read("r", b, t, k), first))
    test = graph(
        given("h", B, 7, 40),
        given("h0", B, 40),
        given("r", B, 7, 40),
        given("g", 48),
        param("U", 48, 40),
        equation("y", {"b": B, "t": 7, "i": 48}, body),
    )
    assert "multiply_" in agree(test, ["y"], sizes={"batch": 9})


def test_run_time_sizes_in_places() -> None:
    body = total("sum", {"k": 40}, mul(read("x", b, t, k), read("W", i, k)))
    test = graph(given("x", B, T, 40), param("W", 48, 40), equation("y", {"b": B, "t": T, "i": 48}, body))
    for sizes in ({"batch": 1, "T": 1}, {"batch": 3, "T": 50}, {"batch": 50, "T": 2}):
        assert "multiply_" in agree(test, ["y"], sizes=sizes)


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_over_a_run_time_size(threads: int) -> None:
    """In no chunk, in one, and in several, of which the last may have nothing; what follows comes once."""
    sums = equation("w", {"i": 40, "k": 130}, total("sum", {"b": B}, mul(read("d", b, i), read("x", b, k))))
    after = equation("y", {"i": 40, "k": 130}, add(read("w", i, k), const(1)))
    test = graph(given("d", B, 40), given("x", B, 130), sums, after)
    program = build(schedule(test, ["y"]), threads=threads)
    assert "multiply_32(" in program.source
    for count in (5, 0, 512, 513, 1030):
        arrays = {name: value.astype(np.float32) for name, value in values(test, {"batch": count}).items()}
        y = program.run(arrays, {"batch": count})["y"]
        np.testing.assert_allclose(y, arrays["d"].T.astype(np.float64) @ arrays["x"] + 1, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_blocks_of_rows_use_the_same_memory_where_there_is_one_chunk(threads: int) -> None:
    """What is added up over several chunks is kept apart; else the sums of a few rows stay in a cache."""
    sums = equation("w", {"i": 500, "k": 700}, total("sum", {"b": B}, mul(read("d", b, i), read("x", b, k))))
    after = equation("y", {"i": 500, "k": 700}, add(read("w", i, k), const(1)))
    planned = schedule(graph(given("d", B, 500), given("x", B, 700), sums, after), ["y"])
    (several,) = (s for s in statements(planned.kernels[0].body) if isinstance(s, Assign) and s.dtype == "int")
    assert isinstance(several.value, Select)
    assert condition_text(several.value.condition) == "1 <= batch//513"
    program = build(planned, threads=threads)
    rng = np.random.default_rng(0)
    for count in (40, 513, 512, 3, 1100):
        d, x = (rng.normal(size=(count, n)).astype(np.float32) for n in (500, 700))
        y = program.run({"d": d, "x": x}, {"batch": count})["y"]
        np.testing.assert_allclose(y, d.T.astype(np.float64) @ x + 1, atol=1e-3)


def test_what_is_not_finite_stays_where_it_is() -> None:
    test = product("bk", "ik", 0, 75, 33)
    arrays = {name: value.astype(np.float32) for name, value in values(test, {"batch": 9}).items()}
    arrays["x"][4, 7] = np.nan
    program = build(schedule(test, ["y"]))
    y = program.run(arrays, {"batch": 9})["y"]
    assert np.isnan(y[4]).all()
    assert np.isfinite(np.delete(y, 4, 0)).all()


@pytest.mark.parametrize("lanes", [17, 20, 34, 50])
@pytest.mark.parametrize(("deep", "right"), [(33, "ik"), (100, "ki"), (151, "ik")])
def test_lanes_beyond_the_last_full_vector_have_several_turns_in_one(lanes: int, deep: int, right: str) -> None:
    source = agree(product("jk", right, 65, lanes, deep), ["y"])
    assert "multiply_4(" in source


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(("channels", "filters"), [(20, 50), (18, 33)])
def test_short_runs_of_several_turns_in_a_vector(channels: int, filters: int, batch: int) -> None:
    source = agree(channels_last(channels, filters, 9, 3), ["y"], sizes={"batch": batch})
    assert "multiply_4(" in source


def test_what_is_not_finite_behind_a_run_is_not_read_into_it() -> None:
    test = product("jk", "ik", 65, 20, 33)
    arrays = {name: value.astype(np.float32) for name, value in values(test, {}).items()}
    arrays["x"][5, 0], arrays["x"][7, 32] = np.nan, np.inf
    program = build(schedule(test, ["y"]))
    assert "multiply_4(" in program.source
    y = program.run(arrays, {})["y"]
    assert np.isnan(y[5]).all()
    assert not np.isfinite(y[7]).any()
    assert np.isfinite(np.delete(y, (5, 7), 0)).all()


@pytest.mark.parametrize(("rows", "lanes"), [(40, 75), (65, 20)])
@pytest.mark.parametrize("cpu", ["generic", "x86-64", "x86-64-v3"])
def test_processors_with_fewer_registers(cpu: str, rows: int, lanes: int) -> None:
    if cpu != "generic" and platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("another architecture")
    test = product("jk", "ik", rows, lanes, 33)
    arrays = values(test, {})
    wanted = evaluate(test, arrays, {}, only=["y"])["y"]
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        program = build(schedule(test, ["y"]), dtype, cpu=cpu)
        got = program.run({n: a.astype(dtype) for n, a in arrays.items()}, {})["y"]
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_neighbours_of_a_window_lie_apart_in_a_padded_copy() -> None:
    """512 reals from one to the next, they would compete for the same lines of a cache."""
    extents = {"b": B, "i": 6, "j": 6, "c": 512, "p": 3, "q": 3}
    inside = padded("x", [B, 6, 6, 512], b, i + p - 1, j + q - 1, c, extents=extents)
    body = total("sum", {"c": 512, "p": 3, "q": 3}, mul(read("W", k, c, p, q), inside))
    y = equation("y", {"b": B, "i": 6, "j": 6, "k": 17}, body)
    test = graph(given("x", B, 6, 6, 512), param("W", 17, 512, 3, 3), y)
    assert [str(n) for n in schedule(test, ["y"]).buffers["x.padded"].shape] == ["batch", "8", "8", "528"]
    agree(test, ["y"])


@pytest.mark.parametrize("batch", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("right", ["ik", "ki"])
def test_few_rows_read_both_factors_where_they_are(batch: int, right: str) -> None:
    """In groups of 4 rows and 4 lanes, or 8 turns, with what is left of each."""
    source = agree(product("bk", right, 0, 75, 83, given), ["y"], sizes={"batch": batch})
    assert "dot(" in source


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("right", ["ik", "ki"])
@pytest.mark.parametrize("lanes", [13, 32, 75, 128, 300])
def test_few_rows_read_panels_that_are_kept(batch: int, right: str, lanes: int) -> None:
    """Several panels at a time, and what is left of them."""
    source = agree(product("bk", right, 0, lanes, 83), ["y"], sizes={"batch": batch})
    assert "def prepare(" in source
    assert "dot(" not in source


def test_a_large_factor_is_not_copied_for_few_rows() -> None:
    source = agree(product("bk", "ik", 0, 2100, 2100), ["y"], sizes={"batch": 1})
    assert "def prepare(" not in source
    assert "dot(" in source


@pytest.mark.parametrize("seed", range(12))
def test_random_orders_in_memory(seed: int) -> None:
    """Factors and results with their dimensions in any order, and extents that fill nothing."""
    random = np.random.default_rng(seed)
    extents = {
        "b": 3,
        "i": int(random.integers(1, 90)),
        "j": int(random.integers(1, 90)),
        "k": int(random.integers(1, 60)),
    }
    places = {"b": b, "i": i, "j": j, "k": k}
    batched = bool(seed % 2)
    shared = "b" if batched else ""
    left, right, result = ("".join(random.permutation(list(letters + shared))) for letters in ("jk", "ik", "ij"))
    body = total(
        "sum", {"k": extents["k"]}, mul(*(read(n, *(places[c] for c in s)) for n, s in (("x", left), ("w", right))))
    )
    test = graph(
        given("x", *(extents[c] for c in left)),
        given("w", *(extents[c] for c in right)),
        equation("y", {c: extents[c] for c in result}, body),
    )
    agree(test, ["y"])


def channels_last(channels: int, filters: int, n: int, taps: int, kind: Callable[..., Node] = param) -> Graph:
    """A convolution of images with their channels last, and its gradient by the weights, which have taps last."""
    image = read("x", b, i + p, j + q, c)
    return graph(
        given("x", B, n + taps - 1, n + taps - 1, channels),
        kind("W", filters, channels, taps, taps),
        given("dy", B, n, n, filters),
        equation(
            "y",
            {"b": B, "i": n, "j": n, "k": filters},
            total("sum", {"c": channels, "p": taps, "q": taps}, mul(image, read("W", k, c, p, q))),
        ),
        equation(
            "dW",
            {"k": filters, "c": channels, "p": taps, "q": taps},
            total("sum", {"b": B, "i": n, "j": n}, mul(image, read("dy", b, i, j, k))),
        ),
    )


@pytest.mark.parametrize(("channels", "filters", "n"), [(20, 50, 9), (48, 64, 6), (33, 64, 5)])
def test_sums_of_all_taps_are_turned_and_stored_together(channels: int, filters: int, n: int) -> None:
    source = agree(channels_last(channels, filters, n, 3), ["dW"], sizes={"batch": 3})
    assert re.search(r"turn\(.*\n(.*\n)*.*for pq in range\(9\):\n", source)


def test_short_rows_of_several_turns_are_copied_together() -> None:
    source = agree(channels_last(128, 128, 3, 3, given), ["y"], sizes={"batch": 2})
    assert re.search(r"for i in range\(3\):\n +pack\(offset\(", source)
