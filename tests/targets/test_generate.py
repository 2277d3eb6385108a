"""Generated kernels, compiled and run, against the NumPy reference; and their text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

import netlang
from netlang.diagnostics import InternalError
from netlang.graph.constructors import (
    add,
    at_least_zero,
    compare,
    const,
    div,
    every,
    is_zero,
    mul,
    negate,
    power,
    read,
    reduce,
    select,
    some,
    sub,
)
from netlang.graph.expression import Apply, Compare, Expr, IsZero, Not, Whole
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, fetch, index, integer, size
from netlang.graph.nodes import Equation, Node, Random, State, View
from netlang.graph.verify import verify
from netlang.random import derive_key
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.generate import generate
from netlang.targets.cpu.names import RESERVED
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.passes.graphs import NOWHERE, equation, given, graph, padded, param, total, values

B = size("batch")
b, c, h, w, i, j, k, p, q = map(index, ["b", "c", "h", "w", "i", "j", "k", "p", "q"])
EXACT = {np.float64: 1e-12, np.float32: 2e-5}


def agree(
    test: Graph,
    roots: list[str],
    *,
    sizes: Mapping[str, int] | None = None,
    updates: Mapping[str, str] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> str:
    """Assert that the compiled program gives the reference's values, in both dtypes; its source."""
    verify(test, "the test")
    sizes, updates = sizes or {"batch": 3}, updates or {}
    held = dict(arrays or values(test, sizes))
    for node in test:
        if isinstance(node, State) and node.name not in held:
            shape = tuple(n.evaluate(sizes) for n in node.shape)
            held[node.name] = np.random.default_rng(9).standard_normal(shape)
    program = schedule(test, roots, updates)
    wanted = evaluate(test, held, sizes, seed=3, step=7, only=[*roots, *updates.values()])
    keys = {name: derive_key(3, 7, test[name].stream) for name in program.keys}  # type: ignore[attr-defined]
    source = ""
    for dtype, tolerance in EXACT.items():
        given_arrays = {
            name: np.array(value, np.int64 if test[name].dtype == "int" else dtype, order="C")
            for name, value in held.items()
        }
        compiled = build(program, dtype)
        source = compiled.source
        got = compiled.run(given_arrays, sizes, keys)
        got |= {f"next {name}": given_arrays[name] for name in updates}
        expected = {root: wanted[root] for root in roots}
        expected |= {f"next {name}": wanted[node] for name, node in updates.items()}
        for name, value in expected.items():
            assert got[name].shape == value.shape
            scale = np.nanmax(np.abs(value[np.isfinite(value)]), initial=1e-3)
            np.testing.assert_allclose(got[name], value, rtol=tolerance, atol=tolerance * scale, err_msg=name)
    return source


def drawn(name: str, *shape: Int | int, distribution: str = "uniform") -> Random:
    return Random(name, tuple(map(integer, shape)), "real", NOWHERE, distribution, name)


def convolution(stride: int, pad: int, size_: int, n: int) -> Expr:
    places = (b, c, i * stride + p - pad, j * stride + q - pad)
    ranges = {"b": B, "i": (n + 2 * pad - size_) // stride + 1, "j": (n + 2 * pad - size_) // stride + 1}
    inside = padded("x", [B, 2, n, n], *places, extents={**ranges, "c": 2, "p": size_, "q": size_})
    return total("sum", {"c": 2, "p": size_, "q": size_}, mul(read("W", k, c, p, q), inside))


SCALARS: dict[str, Callable[[Expr], Expr]] = {
    **{name: (lambda x, name=name: Apply(name, (x,))) for name in ("exp", "sin", "cos", "tanh", "erf", "abs")},
    **{name: (lambda x, name=name: Apply(name, (x,))) for name in ("sign", "floor", "logistic", "log1pexp")},
    "log": lambda x: Apply("log", (add(power(x, 2), const(1)),)),
    "root": lambda x: power(add(power(x, 2), const(1)), 0.5),
    "inverse root": lambda x: power(add(power(x, 2), const(1)), -0.5),
    "cube": lambda x: power(x, 3),
    "inverse square": lambda x: power(add(x, const(9)), -2),
    "odd power": lambda x: power(Apply("abs", (x,)), 1.7),
    "variable power": lambda x: Apply("pow", (Apply("abs", (x,)), x)),
    "max": lambda x: Apply("max", (x, const(0.25))),
    "min": lambda x: Apply("min", (x, mul(const(-2), x))),
    "quotient": lambda x: div(sub(x, const(3)), add(const(20), mul(const(-1), x))),
    "negated": lambda x: mul(const(-1), x, Apply("exp", (x,))),
    "choice": lambda x: select(compare("<", x, const(0)), mul(const(0.1), x), x),
    "not": lambda x: select(negate(compare("<=", x, const(0))), x, const(-1)),
    "either": lambda x: select(some([compare("<", x, const(-1)), compare("<", const(1), x)]), x, const(0)),
}


@pytest.mark.parametrize("name", SCALARS)
def test_a_scalar_function(name: str) -> None:
    body = SCALARS[name](read("x", b, i))
    agree(graph(given("x", B, 9), equation("y", {"b": B, "i": 9}, body)), ["y"])


@pytest.mark.parametrize(("stride", "pad", "size_"), [(1, 0, 3), (1, 1, 3), (2, 1, 3), (2, 2, 5), (3, 1, 2)])
def test_a_convolution(stride: int, pad: int, size_: int) -> None:
    n = (8 + 2 * pad - size_) // stride + 1
    y = equation("y", {"b": B, "k": 3, "i": n, "j": n}, convolution(stride, pad, size_, 8))
    agree(graph(given("x", B, 2, 8, 8), param("W", 3, 2, size_, size_), y), ["y"])


def test_a_transposed_convolution_divides_exactly() -> None:
    """A read at `(i - p)/2`: a remainder as a guard, a floor in the place."""
    inside = every([is_zero((i - p) % 2), at_least_zero((i - p) // 2), at_least_zero(3 - (i - p) // 2)])
    body = total("sum", {"p": 3}, select(inside, mul(read("W", p), read("x", b, (i - p) // 2)), const(0)))
    agree(graph(given("x", B, 4), param("W", 3), equation("y", {"b": B, "i": 9}, body)), ["y"])


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("over", ["rows", "columns", "both", "window"])
def test_a_reduction(op: str, over: str) -> None:
    outputs: dict[str, Int | int]
    outputs, ranges, place = {
        "rows": ({"b": B, "j": 20}, {"i": 6}, (b, i, j)),
        "columns": ({"b": B, "i": 6}, {"j": 20}, (b, i, j)),
        "both": ({"b": B}, {"i": 6, "j": 20}, (b, i, j)),
        "window": ({"b": B, "i": 3, "j": 10}, {"p": 2, "q": 2}, (b, 2 * i + p, 2 * j + q)),
    }[over]
    body = total(op, ranges, read("x", *place))
    agree(graph(given("x", B, 6, 20), equation("y", outputs, body)), ["y"])


def test_a_sum_over_the_batch() -> None:
    body = total("sum", {"b": B}, div(read("x", b, i), Whole(B)))
    agree(graph(given("x", B, 5), equation("m", {"i": 5}, body)), ["m"], sizes={"batch": 17})


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_the_first_extreme_wins(op: str) -> None:
    x = np.array([[1.0, 5, 5, -2, -2], [np.nan, 1, np.nan, 0, 9], [-math.inf] * 5])
    body = total(op, {"i": 5}, read("x", b, i))
    agree(graph(given("x", B, 5), equation("y", {"b": B}, body, "int")), ["y"], arrays={"x": x})


def test_an_extreme_over_two_indices_counts_row_major() -> None:
    body = total("argmax", {"i": 3, "j": 4}, read("x", b, i, j))
    agree(graph(given("x", B, 3, 4), equation("y", {"b": B}, body, "int")), ["y"])


@pytest.mark.parametrize("op", ["max", "min"])
def test_nan_propagates_through_extremes(op: str) -> None:
    x = np.array([[1.0, np.nan, 3], [1, 2, 3], [np.nan, np.nan, np.nan]])
    agree(
        graph(given("x", B, 3), equation("y", {"b": B}, total(op, {"i": 3}, read("x", b, i)))), ["y"], arrays={"x": x}
    )


def test_an_embedding_and_its_gradient_by_scattering() -> None:
    label = fetch("word", (b, i), integer(7))
    test = graph(
        given("word", B, 4, classes=7),
        param("E", 7, 5),
        given("dy", B, 4, 5),
        equation("y", {"b": B, "i": 4, "j": 5}, read("E", label, j)),
        equation(
            "dE",
            {"k": 7, "j": 5},
            total("sum", {"b": B, "i": 4}, select(IsZero(k - label), read("dy", b, i, j), const(0))),
        ),
    )
    source = agree(test, ["y", "dE"], sizes={"batch": 30})
    assert re.search(r"for k in range\(.*word\[bi\].*, .*word\[bi\] \+ 1.*\):", source)


def test_labels_choose_elements() -> None:
    label = fetch("y", (b,), integer(6))
    hit, other = is_zero(label - j), Not(IsZero(j - label))
    test = graph(
        given("s", B, 6),
        given("y", B, classes=6),
        equation("onehot", {"b": B, "j": 6}, select(hit, const(1), const(0))),
        equation("own", {"b": B}, mul(const(-1), read("s", b, label))),
        equation("margin", {"b": B}, total("sum", {"j": 6}, select(other, read("s", b, j), const(0)))),
        equation("next", {"b": B}, Whole((label + 1) % 6), "int"),
        equation("class", {"b": B}, select(Compare("<", read("s", b, label), const(0)), Whole(label), const(0)), "int"),
    )
    agree(test, ["onehot", "own", "margin", "next", "class"])


def test_concatenation_reads_inside_only() -> None:
    first = at_least_zero(2 - i)
    body = select(first, read("u", b, i), read("v", b, i - 3))
    agree(graph(given("u", B, 3), given("v", B, 4), equation("y", {"b": B, "i": 7}, body)), ["y"])


def test_a_guard_on_an_output_alone() -> None:
    """Outputs outside the guard are still written."""
    body = total("sum", {"j": 40}, select(at_least_zero(i - 2), read("x", b, i, j), const(0)))
    agree(graph(given("x", B, 5, 40), equation("y", {"b": B, "i": 5}, body)), ["y"])


def test_a_guard_that_reads_real_values() -> None:
    body = total("sum", {"j": 9}, select(Compare("<", read("x", b, j), read("x", b, i)), const(1), const(0)))
    agree(graph(given("x", B, 9), equation("rank", {"b": B, "i": 9}, body)), ["rank"])


def test_scalars_and_empty_shapes() -> None:
    test = graph(
        given("x"),
        given("y"),
        equation("q", {}, add(read("x"), read("y"))),
        equation("f", {}, mul(read("q"), read("x"))),
        equation("none", {"i": 0}, const(1)),
        equation("empty", {}, total("sum", {"i": 0}, read("none", i))),
    )
    agree(test, ["q", "f", "empty"])


def test_views_share_memory() -> None:
    test = graph(
        given("x", B, 2, 6),
        equation("y", {"b": B, "i": 2, "j": 6}, Apply("exp", (read("x", b, i, j),))),
        View("flat", (B, integer(12)), "real", NOWHERE, "y"),
        View("square", (B, integer(3), integer(4)), "real", NOWHERE, "flat"),
        equation("t", {"b": B, "j": 4, "i": 3}, read("square", b, i, j)),
        equation("s", {"b": B}, total("sum", {"k": 12}, read("flat", b, k))),
    )
    agree(test, ["t", "s", "flat", "y"])


def test_random_numbers_are_drawn_where_they_are_read() -> None:
    test = graph(
        given("x", B, 8),
        drawn("u", B, 8),
        drawn("n", B, 8, distribution="normal"),
        View("pairs", (B, integer(4), integer(2)), "real", NOWHERE, "u"),
        equation(
            "keep", {"b": B, "i": 8}, select(Compare("<", read("u", b, i), const(0.5)), read("x", b, i), const(0))
        ),
        equation("z", {"b": B, "i": 8}, add(read("n", b, i), read("x", b, i))),
        equation("swapped", {"b": B, "j": 2, "i": 4}, read("pairs", b, i, j)),
    )
    agree(test, ["keep", "z", "swapped", "u", "n", "pairs"])
    assert not {"u", "n"} & schedule(test, ["keep", "z"]).buffers.keys()


@pytest.mark.parametrize("same_place", [True, False])
def test_updates_read_old_values(same_place: bool) -> None:
    """`w` and `m` change together, and what else reads them reads the old values."""
    place = i if same_place else 4 - i
    test = graph(
        param("w", 5),
        State("m", (integer(5),), "real", NOWHERE),
        given("g", 5),
        equation("m.next", {"i": 5}, add(mul(const(0.9), read("m", i)), read("g", place))),
        equation("w.next", {"i": 5}, sub(read("w", place), mul(const(0.1), read("m.next", i)))),
        equation("norm", {}, total("sum", {"i": 5}, mul(read("w", i), read("w", i)))),
    )
    agree(test, ["norm", "w"], updates={"m": "m.next", "w": "w.next"})


def test_updates_may_swap_copy_and_be_outputs() -> None:
    two = (integer(2),)
    test = graph(
        *(State(name, two, "real", NOWHERE) for name in ("a", "b", "c", "d")),
        equation("double", {"i": 2}, mul(const(2), read("a", i))),
        View("view", two, "real", NOWHERE, "double"),
    )
    agree(test, ["double"], updates={"a": "b", "b": "a", "c": "double", "d": "view"})


def test_equal_kernels_are_written_once() -> None:
    layers: list[Node] = [given("x0", B, 8)]
    for n in range(4):
        layers += [
            param(f"W{n}", 8, 8),
            equation(f"s{n}", {"b": B, "i": 8}, total("sum", {"j": 8}, mul(read(f"W{n}", i, j), read(f"x{n}", b, j)))),
            equation(f"x{n + 1}", {"b": B, "i": 8}, Apply("tanh", (read(f"s{n}", b, i),))),
        ]
    sums = [equation(f"y{n}", {"i": n}, Apply("exp", (read(f"v{n}", i),))) for n in (2, 3)]
    test = graph(*layers, *(param(f"v{n}", n) for n in (2, 3)), *sums)
    source = agree(test, ["x4", "y2", "y3"])
    assert source.count("def ") == 3  # a layer, an exponential of any size, and the entry
    assert source.count("    x1(") == 4


def test_names_stay_python() -> None:
    test = graph(
        given("lambda", 3),
        given("max", 3),
        param("d/a.b", 3),
        equation("range", {"in": 3}, add(*(read(n, index("in")) for n in ("lambda", "max", "d/a.b")))),
    )
    agree(test, ["range"])


def test_names_that_the_text_uses_itself() -> None:
    n, batch = index("n"), index("batch")
    test = graph(
        given("batch", B, 4),
        *(given(name, 4) for name in ("size", "n", "t", "value")),
        equation(
            "σ", {"batch": B, "n": 4}, add(read("batch", batch, n), read("n", n), power(add(read("t", n), const(1)), 2))
        ),
        equation("i0", {"b": B}, total("argmax", {"n": 4}, read("σ", b, n)), "int"),
        equation("stop_1", {"b": B}, read("value", fetch("i0", (b,), integer(4)))),
        equation("next_1", {"b": B}, total("sum", {"batch": 4}, mul(read("σ", b, batch), read("size", batch)))),
    )
    agree(test, ["stop_1", "next_1", "i0"])


def test_the_text_of_a_convolution(golden: Callable[[str, str], None]) -> None:
    test = graph(
        given("x", B, 2, 8, 8),
        param("W", 3, 2, 3, 3),
        param("bias", 3),
        equation("s", {"b": B, "k": 3, "i": 8, "j": 8}, convolution(1, 1, 3, 8)),
        equation("y", {"b": B, "k": 3, "i": 8, "j": 8}, add(read("s", b, k, i, j), read("bias", k))),
        equation("r", {"b": B, "k": 3, "i": 8, "j": 8}, Apply("max", (const(0), read("y", b, k, i, j)))),
        equation("z", {"b": B, "k": 3, "i": 8, "j": 8}, mul(const(0.5), read("r", b, k, i, j))),
    )
    golden("targets/convolution.kernels", generate(schedule(test, ["z"])))


def test_an_array_that_does_not_fit_is_refused() -> None:
    compiled = build(schedule(graph(given("x", B, 2), equation("y", {"b": B, "i": 2}, read("x", b, 1 - i))), ["y"]))
    x = np.ones((3, 2), np.float32)
    for wrong in (x.astype(np.float64), x[:2], np.asfortranarray(x)):
        with pytest.raises(InternalError, match=r"`x` is float.*must be float32\[3, 2\]"):
            compiled.run({"x": wrong}, {"batch": 3})
    with pytest.raises(InternalError, match="no array for the input `x`"):
        compiled.run({}, {"batch": 3})
    with pytest.raises(InternalError, match="no run-time size `batch`"):
        compiled.run({"x": x}, {})


def test_runs_reuse_what_is_bound_and_take_new_sizes() -> None:
    compiled = build(schedule(graph(given("x", B, 2), equation("y", {"b": B, "i": 2}, read("x", b, 1 - i))), ["y"]))
    rng = np.random.default_rng(0)
    for n in (3, 1, 3, 7, 2, 5, 3):
        x = rng.standard_normal((n, 2)).astype(np.float32)
        out = np.empty((n, 2), np.float32)
        compiled.run({"x": x, "y": out}, {"batch": n})
        np.testing.assert_array_equal(out, x[:, ::-1])
        np.testing.assert_array_equal(compiled.run({"x": x}, {"batch": n})["y"], x[:, ::-1])


def test_runs_of_all_sizes_share_an_arena() -> None:
    """What is bound stays right when a larger run, or one on other arrays, comes between."""
    sums = equation("s", {"b": B, "i": 3}, total("sum", {"j": 3}, mul(read("x", b, j), read("w", i, j))))
    test = graph(
        given("x", B, 3), param("w", 3, 3), sums, equation("y", {"b": B}, total("max", {"i": 3}, read("s", b, i)))
    )
    compiled = build(schedule(test, ["y", "s"]))
    rng = np.random.default_rng(0)
    w, other = rng.standard_normal((2, 3, 3)).astype(np.float32)
    bindings = {n: compiled.binding({"batch": n}, ("x",)) for n in (1, 4, 9)}
    for binding in bindings.values():
        binding.hold({"w": w})
    for n in rng.choice([1, 4, 9], 40):
        x = rng.standard_normal((n, 3)).astype(np.float32)
        x.flags.writeable = bool(rng.integers(2))
        if rng.integers(2):
            compiled.run({"w": other, "x": x}, {"batch": int(n)})
            large = int(rng.integers(1, 3000))
            compiled.run({"w": other, "x": np.ones((large, 3), np.float32)}, {"batch": large})
        found = bindings[n].run([x])
        np.testing.assert_allclose(found["s"], x @ w.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found["y"], found["s"].max(1))


def test_outputs_are_new_unless_they_are_given() -> None:
    read_x = read("x", b, i)
    outputs = (equation(n, {"b": B, "i": 2}, mul(const(k), read_x)) for k, n in enumerate("yz", 2))
    compiled = build(schedule(graph(given("x", B, 2), *outputs), ["y", "z"]))
    x = np.ones((3, 2), np.float32)
    kept: list[np.ndarray] = []
    for given_outputs in ("y", "z", "", "yz", "z", "y", ""):
        own = {name: np.empty((3, 2), np.float32) for name in given_outputs}
        found = compiled.run({"x": x, **own}, {"batch": 3})
        for factor, name in enumerate("yz", 2):
            assert (found[name] is own.get(name)) == (name in own)
            np.testing.assert_array_equal(found[name], factor * x)
        kept += found.values()
    assert len({a.ctypes.data for a in kept}) == len(kept)


# --- random graphs -------------------------------------------------------------------------------------------------


class Grower:
    """A random graph of many kinds of equation over tensors of shape [batch, n, m]."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: dict[str, Node] = {}
        for name, shape in (("x", (B, 4, 6)), ("v", (6,)), ("t", (B, 4, 6))):
            self.nodes[name] = given(name, *shape)
        self.nodes["label"] = given("label", B, classes=4)
        self.nodes["u"] = drawn("u", B, 4, 6)

    def pick(self, rank: int) -> Node:
        fitting = [n for n in self.nodes.values() if len(n.shape) == rank and n.dtype == "real"]
        return fitting[int(self.rng.integers(len(fitting)))]

    def grow(self, count: int) -> Graph:
        for n in range(count):
            kinds = [
                self.elementwise,
                self.elementwise,
                self.shifted,
                self.reduced,
                self.product,
                self.extreme,
                self.viewed,
            ]
            node = kinds[int(self.rng.integers(len(kinds)))](f"n{n}")
            self.nodes[node.name] = node
        return Graph.build("random", self.nodes.values(), lifted=True)

    def full(self, node: Node, places: tuple[Int, ...] = (b, i, j)) -> Expr:
        return read(node.name, *places)

    def elementwise(self, name: str) -> Node:
        x, y, v = self.full(self.pick(3)), self.full(self.pick(3)), read(self.pick(1).name, j)
        label = fetch("label", (b,), integer(4))
        forms = [
            add(x, mul(const(0.5), y)),
            mul(Apply("tanh", (x,)), y),
            select(Compare("<", x, y), x, v),
            add(x, v, const(1)),
            select(is_zero(label - i), x, mul(const(0.1), y)),
            Apply("max", (x, y)),
            sub(x, Apply("logistic", (y,))),
        ]
        return equation(name, {"b": B, "i": 4, "j": 6}, forms[int(self.rng.integers(len(forms)))])

    def shifted(self, name: str) -> Node:
        node, shift = self.pick(3), int(self.rng.integers(-3, 4))
        flip = bool(self.rng.integers(2))
        place = (5 - j if flip else j) + shift
        body = padded(node.name, [B, 4, 6], b, i, place, extents={"b": B, "i": 4, "j": 6}, other=const(0.25))
        return equation(name, {"b": B, "i": 4, "j": 6}, body)

    def reduced(self, name: str) -> Node:
        op = ("sum", "max", "min")[int(self.rng.integers(3))]
        other = {"sum": 0.0, "max": -math.inf, "min": math.inf}[op]
        ranges = {"b": B, "i": 4, "j": 6, "p": 3}
        inside = padded(self.pick(3).name, [B, 4, 6], b, i, j + p - 1, extents=ranges, other=const(other))
        if self.rng.integers(2):
            return equation(name, {"b": B, "i": 4, "j": 6}, total(op, {"p": 3}, inside))
        return equation(name, {"j": 6}, total("sum", {"b": B, "i": 4}, mul(const(0.1), self.full(self.pick(3)))))

    def product(self, name: str) -> Node:
        left, right = self.pick(3).name, self.pick(3).name
        if self.rng.integers(2):
            body = total("sum", {"k": 6}, mul(const(0.3), read(left, b, i, k), read(right, b, k % 4, j)))
        else:
            body = total("sum", {"k": 4, "p": 2}, mul(read(left, b, k, j), read(right, b, i, 2 * (j // 2) + p)))
        return equation(name, {"b": B, "i": 4, "j": 6}, body)

    def extreme(self, name: str) -> Node:
        at = f"{name}.at"
        self.nodes[at] = equation(at, {"b": B, "i": 4}, total("argmax", {"j": 6}, self.full(self.pick(3))), "int")
        body = read(self.pick(3).name, b, i, (fetch(at, (b, i), integer(6)) + j) % 6)
        return equation(name, {"b": B, "i": 4, "j": 6}, body)

    def viewed(self, name: str) -> Node:
        flat = f"{name}.flat"
        self.nodes[flat] = View(flat, (B, integer(24)), "real", NOWHERE, self.pick(3).name)
        body = mul(const(0.9), read(flat, b, 4 * j + i))
        return equation(name, {"b": B, "i": 4, "j": 6}, body)


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_agree_with_the_reference(seed: int) -> None:
    grown = Grower(seed)
    test = grown.grow(18)
    made = [n.name for n in test if isinstance(n, Equation)]
    chosen = grown.rng.choice(made, 4, replace=False)
    agree(test, [str(name) for name in chosen], sizes={"batch": 1 + seed % 4})


def test_a_reduction_over_nothing_is_not_built() -> None:
    assert reduce("sum", [], const(1)) == const(1)


def test_a_place_that_is_taken_over_is_one_parameter() -> None:
    """Two pointers to one place would promise the compiler what is not so."""
    test = graph(
        given("x", B, 40),
        equation("s", {"b": B, "j": 40}, total("sum", {"i": 40}, mul(read("x", b, i), read("x", b, (i + j) % 40)))),
        equation("top", {"b": B}, total("max", {"j": 40}, read("s", b, j))),
        equation("e", {"b": B, "j": 40}, sub(read("s", b, j), read("top", b))),
        equation("y", {"b": B, "j": 40}, read("e", b, 39 - j)),
    )
    source = agree(test, ["y"])
    assert schedule(test, ["y"]).buffers["e"].slot == "s"
    assert "def e(s: real[:], top: real[:], batch: i64, team: i64[:]):" in source


TRANSFORMS = sorted(name for name in RESERVED if name.startswith("transform_"))


@pytest.mark.parametrize("name", [*sorted(RESERVED.difference(TRANSFORMS)), TRANSFORMS[0], TRANSFORMS[-1]])
def test_a_tensor_may_be_named_like_what_a_module_names(name: str) -> None:
    text = f"""
net N:
    input x[24]
    param W[20, 24] ~ normal(0, 1)
    {name}[k] = sum(i) W[k, i] * x[i]
    z[k] = 2 * {name}[k]
    output z
"""
    net, x = netlang.loads(text, dtype="float64"), np.ones((3, 24))
    np.testing.assert_allclose(net(x), 2 * x @ net.params["W"].T, rtol=1e-12)
