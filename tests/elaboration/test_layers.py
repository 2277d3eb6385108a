"""Elaboration of applications: pipelines, instances and what they share, repetition, names, recursion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from netlang.graph.text import graph_text
from tests.elaboration.nets import Array, graph, net, place, values, wrong

Golden = Callable[[str, str], None]

x = np.array([1.0, -2.0, 0.5, 3.0])
BLOCK = """\
layer block(x[d], n):
    inner = dense(n, bias=false)
    return (x -> inner) + (2 * x -> inner)
layer twice(x[d], f):
    return x -> f -> f
"""


def params(text: str) -> list[str]:
    return [p.name for p in graph(text).params]


# --- pipelines and instances ---


def test_layers_and_functions_in_a_pipeline(golden: Golden) -> None:
    text = net(
        "input x[4]",
        "target y: class(2)",
        "scores = x -> dense(3) -> relu -> dense(2, bias=false)",
        "output scores",
        "loss cross_entropy(scores, y)",
        "metric accuracy(scores, y)",
    )
    golden("elaborate/pipeline.graph", graph_text(graph(text)))


def test_an_instance_shares_its_parameters(golden: Golden) -> None:
    text = net(
        "input x[4], y[4]", "e = block(3)", "a = x -> e", "b = y -> e", "c = e(x)", "output a, b, c", before=BLOCK
    )
    golden("elaborate/shared.graph", graph_text(graph(text)))
    found = values(text, x=x, y=2 * x)
    np.testing.assert_allclose(found["b"], 2 * found["a"])
    np.testing.assert_allclose(found["c"], found["a"])


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["a = x -> dense(2, bias=false) -> dense(3, bias=false)"], ["dense_1.W", "dense_2.W"]),
        (["e = dense(4, bias=false)", "a = x -> e -> e"], ["e.W"]),
        (["a = x -> e", "e = dense(4, bias=false)"], ["e.W"]),
        (["e = block(4)", "a = x -> e -> e"], ["e.inner.W"]),
        (["a = x -> block(4) -> block(4)"], ["block_1.inner.W", "block_2.inner.W"]),
        (["a = x -> twice(dense(4, bias=false))"], ["twice_1.dense_1.W"]),
        (["e = dense(4, bias=false)", "a = x -> twice(e) -> e"], ["e.W"]),
        (["a = x -> twice(relu)"], []),
        (["f = relu", "a = x -> f"], []),
        (["dense_1 = dense(2, bias=false)", "a = x -> dense(4, bias=false) -> dense_1"], ["dense_2.W", "dense_1.W"]),
        (["a = x -> repeat(3, dense(4, bias=false))"], ["dense_1.W", "dense_2.W", "dense_3.W"]),
        (["e = dense(4, bias=false)", "a = x -> repeat(3, e)"], ["e.W"]),
        (["a = x -> repeat(0, dense(7)) -> relu"], []),
        (
            ["for k in 1..2:", "    e = dense(4)", "    s = (s[k-1] else x) -> e", "a = s[2]"],
            ["e[1].W", "e[1].b", "e[2].W", "e[2].b"],
        ),
        (["for k in 1..2:", "    e = dense(4, bias=false)", "a = x -> e[2] -> e[1] -> e[2]"], ["e[2].W", "e[1].W"]),
    ],
)  # fmt: skip
def test_parameters_belong_to_instances(lines: list[str], names: list[str]) -> None:
    assert params(net("input x[4]", *lines, "output a", before=BLOCK)) == names


def test_shared_parameters_are_used_in_every_application() -> None:
    W = np.arange(16.0).reshape(4, 4) / 10
    text = net("input x[4]", "e = block(4)", "a = x -> e -> e", "output a", before=BLOCK)
    np.testing.assert_allclose(values(text, x=x, **{"e.inner.W": W})["a"], 9 * W @ W @ x)


def test_a_shared_instance_has_one_shape() -> None:
    found = wrong(net("input x[4], y[3]", "e = dense(2)", "a = x -> e", "b = y -> e", "output a, b"))
    assert (found.code, found.span.line if found.span else 0) == ("sharing-mismatch", 5)
    assert "[2, 4]" in found.message
    assert "[2, 3]" in found.message


def test_parameters_of_an_instance_are_read_by_a_dotted_name() -> None:
    E = np.arange(12.0).reshape(4, 3)
    text = net(
        "input w[5]: class(4)",
        "embed = embedding(3)",
        "e = w -> embed",
        "scores[t, v] = sum(j) e[t, j] * embed.E[v, j]",
        "output scores",
    )
    w = np.array([0, 3, 1, 1, 2])
    np.testing.assert_allclose(values(text, w=w, **{"embed.E": E})["scores"], E[w] @ E.T)


def test_a_dotted_name_needs_an_application_above() -> None:
    found = wrong(net("input x[4]", "y = embed.W @ x", "z = x -> embed", "embed = dense(3)", "output y, z"))
    assert place(found) == ("unknown-name", 3, 9)
    assert found.help == "apply `embed` above: only then its parameters have shapes"
    assert (
        wrong(net("input x[4]", "e = dense(3)", "z = x -> e", "y = e.B @ x", "output y, z")).help
        == "did you mean `e.b`?"
    )


def test_the_state_of_a_shared_instance_passes_from_application_to_application() -> None:
    counter = "layer count(x[d]):\n    state n ~ zeros\n    n <- n + 1\n    return x * n\n"
    text = net(
        "input x[4]", "c = count", "a = x -> c", "b = x -> c", "d = x -> count", "output a, b, d", before=counter
    )
    found = values(text, x=x)
    np.testing.assert_allclose(found["a"], x)
    np.testing.assert_allclose(found["b"], 2 * x)
    np.testing.assert_allclose(found["d"], x)
    assert (found["c.n"], found["count_1.n"]) == (2, 1)


def test_an_argument_of_a_layer_is_a_node_of_that_layer() -> None:
    text = net("input x[4]", "x2 = x + 1", "y = relu(x2) -> dense(3)", "output y")
    assert [n.name for n in graph(text)][:3] == ["x", "x2", "dense_1.x"]


def test_a_number_of_the_data_may_be_an_argument_where_it_decides_no_extent() -> None:
    """A length that differs from example to example; one that is known goes the same way."""
    first = "layer first(x[n], length):\n    return sum(i) (x[i] if i < length else 0)\n"
    text = net("input x[4], n: class(5)", "output a = x -> first(n), b = x -> first(2)", before=first)
    for n in range(5):
        assert values(text, x=x, n=n) == {"a": x[:n].sum(), "b": -1}
    assert wrong(net("input x[4], n: class(5)", "output x -> dense(n)")).code == "bad-extent"


def test_several_results() -> None:
    two = "layer two(x[d]):\n    a = x + 1\n    return a, 2 * x\nfn pair(x):\n    return x, x - 1\n"
    text = net(
        "input x[4]", "a, b = x -> two", "c, d = pair(x)", "e, f = two(x)", "output a, b, c, d, e, f", before=two
    )
    found = values(text, x=x)
    for name, expected in zip("abcdef", (x + 1, 2 * x, x, x - 1, x + 1, 2 * x), strict=True):
        np.testing.assert_allclose(found[name], expected)
    assert wrong(net("input x[4]", "a, b, c = x -> two", "output a", before=two)).code == "wrong-arity"


def test_of_several_results_the_first_stands_for_all_where_one_is_meant() -> None:
    two = "layer two(x[d]):\n    return x + 1, 2 * x\nlayer whole(x[d]):\n    return x -> two\n"
    text = net(
        "input x[4]",
        "a = x -> two -> relu",
        "b = two(x)",
        "c = 2 * two(two(x))",
        "d, e = x -> whole -> two",
        "output a, b, c, d, e, x -> two",
        "loss sum(two(x))",
        before=two,
    )
    found = values(text, x=x)
    expected = {"a": np.maximum(x + 1, 0), "b": x + 1, "c": 2 * (x + 2), "d": x + 2, "e": 2 * (x + 1), "two": x + 1}
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array)
    assert found["sum"] == (x + 1).sum()


# --- what an argument can be ---

SHIFT = """
layer shift(x[T, d], n, by[n]=0, f=tanh, first=ones):
    param w[n, d] ~ first
    y[t < T] = f(w @ x[t]) + by
    return y
initializer half(gain=1) = gain / 2
fn square(x) = x^2
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("3", lambda w, b: np.tanh(w) + np.zeros(3)),
        ("3, by=2", lambda w, b: np.tanh(w) + 2),
        ("3, by=b", lambda w, b: np.tanh(w) + b),
        ("3, by=2 * b", lambda w, b: np.tanh(w) + 2 * b),
        ("3, f=exp", lambda w, b: np.exp(w)),
        ("3, f=square", lambda w, b: w**2),
        ("3, first=half", lambda w, b: np.tanh(w / 2)),
        ("3, first=half(gain=4)", lambda w, b: np.tanh(2 * w)),
        ("3, first=uniform(2, 2)", lambda w, b: np.tanh(2 * w)),
        ("3, first=4", lambda w, b: np.tanh(4 * w)),
    ],
)
def test_arguments_are_numbers_tensors_functions_and_initializers(
    arguments: str, expected: Callable[[Array, Array], Array]
) -> None:
    rows, b = np.array([[0.1, 0.2], [0.3, -0.7]]), np.array([1.0, 2.0, 3.0])
    ones = np.repeat(rows.sum(axis=1)[:, None], 3, axis=1)  # what weights of 1 give
    text = net("input x[2, 2], b[3]", f"cell = shift({arguments})", "y = x -> cell", "output y", before=SHIFT)
    np.testing.assert_allclose(values(text, x=rows, b=b)["y"], expected(ones, b))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("3, by=x", "shape-mismatch"),
        ("3, by=zeros", "type-mismatch"),
        ("3, f=zeros", "not-a-layer"),
        ("3, f=dense(3)", "layer-in-equation"),
        ("3, first=relu", "type-mismatch"),
        ("3, first=tanh", "type-mismatch"),
        ("3, first=normal(0)", "wrong-arity"),
        ("3, first=normal(0, -1)", "bad-value"),
        ("3, first=normal(0, std=1)", "unknown-argument"),
        ("3, by=normal(0, 1)", "type-mismatch"),
        ("3, f=normal(0, 1)", "not-a-layer"),
        ("by", "unknown-name"),
    ],
)
def test_arguments_that_do_not_fit(arguments: str, code: str) -> None:
    assert wrong(net("input x[2, 2]", f"y = x -> shift({arguments})", "output y", before=SHIFT)).code == code


def test_functions_without_an_argument_and_initializers_are_no_tensors() -> None:
    for line in (
        "y = normal(0, 1)",
        "y = x + uniform(0, 1)",
        "y = tanh",
        "y = 2 * tanh",
        "y = zeros",
        "y = x -> zeros",
        "y = x * constant(3)",
    ):
        assert wrong(net("input x[2]", line, "output y")).code in ("type-mismatch", "unknown-name"), line
    values(net("input x[2]", "f = tanh", "y = x -> f", "z = f(x)", "output y, z"), x=[1, 2])


# --- for ---


def test_rounds_of_a_for_are_members() -> None:
    text = net(
        "input x[4]",
        "for k in 1..3:",
        "    s = (s[k-1] else x) * k + late",
        "    t[i] = s[k][i] - (s[k-1] else x)[i]",
        "late = x[0]",
        "output a = s[3], b = t[2], c = s[1] @ s[2]",
    )
    found = values(text, x=x)
    s = [x]
    for k in (1, 2, 3):
        s.append(s[-1] * k + x[0])
    np.testing.assert_allclose(found["a"], s[3])
    np.testing.assert_allclose(found["b"], s[2] - s[1])
    np.testing.assert_allclose(found["c"], s[1] @ s[2])


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["for k in 1..3:", "    s = s[k-1] * 2", "output s[1]"], "unknown-member"),
        (["for k in 1..3:", "    s = x * k", "output s[4]"], "unknown-member"),
        (["for k in 1..3:", "    s = x * k", "output s"], "type-mismatch"),
        (["for k in [4, 4]:", "    s = x * k", "output s[4]"], "bad-value"),
        (["for k in 1..2:", "    for l in 1..2:", "        s = x", "output x"], "nested-for"),
        (["for k in 1..2:", "    param W[k]", "output x"], "misplaced-statement"),
        (["for k in x:", "    s = x", "output x"], "type-mismatch"),
        (["for k in 1..2:", "    s[k] = x", "output x"], "loop-index"),
        (["s = x", "for k in 1..2:", "    s = x", "output x"], "duplicate-name"),
    ],
)  # fmt: skip
def test_what_a_for_cannot_say(lines: list[str], code: str) -> None:
    assert wrong(net("input x[4]", *lines)).code == code


# --- names ---


def test_the_users_names_stand_before_the_librarys_and_leave_the_library_alone() -> None:
    own = "fn relu(x) = 100 * x\nfn sigmoid(x) = 7\nlayer conv(x[d], n):\n    return n * x\n"
    lines = ["a = relu(x)", "b = x -> conv(3)", "c = x -> swish", "d = i -> residual(1)"]
    found = graph(net("input x[4], i[1, 5, 5]", *lines, "output a, b, c, d", before=own))
    text = graph_text(found)
    assert "a[i < 4] = 100 * x[i]" in text
    assert "conv_1.y[i < 4] = 3 * x[i]" in text
    assert "swish_1[i < 4] = x[i] / (1 + exp(-x[i]))" in text
    assert "residual_1.relu_1[i < 1, j < 5, k < 5] = max(0, residual_1.batchnorm_1.y[i, j, k])" in text


def test_names_of_builtins_are_free() -> None:
    text = net(
        "input x[4], size[3], batch[2]",
        "sum = x + 1",
        "step = sum(sum)",
        "relu = relu(x)",
        "tanh = x -> tanh",
        "max[i] = max(x[i], 0)",
        "softmax = softmax(x)",
        "epoch = sum(i) sum[i] * max[i]",
        "mean = size(size) + sum(batch)",
        "pi = x[0]",
        "y = step + epoch + mean + pi",
        "output y, relu, tanh, softmax",
    )
    found = values(text, x=x, size=[1, 2, 3], batch=[5, 6])
    np.testing.assert_allclose(found["y"], (x + 1).sum() + (x + 1) @ x.clip(0) + 3 + 11 + x[0])
    np.testing.assert_allclose(found["tanh"], np.tanh(x))
    np.testing.assert_allclose(found["softmax"], np.exp(x) / np.exp(x).sum())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a = b + 1", "b = a"], ("cyclic-definition", 4, 9)),
        (["a = a + x"], ("cyclic-definition", 3, 9)),
        (["a = x", "a = x"], ("duplicate-name", 4, 5)),
        (["x = 2"], ("duplicate-name", 3, 5)),
        (["a = z"], ("unknown-name", 3, 9)),
        (["a = f(x)"], ("unknown-name", 3, 9)),
        (["f = f(x)"], ("unknown-name", 3, 9)),
        (["f = x", "a = f(x)"], ("not-a-layer", 4, 9)),
        (["f = x", "a = x -> f"], ("not-a-layer", 4, 14)),
        (["a = x -> sum(n=1)"], ("unknown-argument", 3, 18)),
        (["a = sum(x, n=1)"], ("unknown-argument", 3, 16)),
    ],
)
def test_names_that_lead_nowhere(lines: list[str], expected: tuple[str, int, int]) -> None:
    assert place(wrong(net("input x[4]", *lines, "output x"))) == expected


def test_later_lines_may_be_used_above() -> None:
    text = net("input x[4]", "output y", "y = z + W @ x", "z = 2 * u", "u = x[0] * 3", "param W[4]")
    np.testing.assert_allclose(values(text, x=x, W=x)["y"], 6 * x[0] + x @ x)


# --- functions and recursion ---


def test_functions_of_functions() -> None:
    own = """\
fn sq(x) = x * x
fn quad(x) = sq(sq(x))
fn center(x[d]):
    m = mean(x)
    v = mean(i) (x[i] - m)^2
    return (x - m) / sqrt(v + 1)
fn power(x, n) = x if n == 0 else x * power(x, n - 1)
"""
    lines = ["a = quad(mean(x))", "b[i] = sq(x[i]) + sq(sum(j) x[j])", "c = center(center(x))", "d = power(x, 5)"]
    found = values(net("input x[4]", *lines, "output a, b, c, d", before=own), x=x)

    def center(v: np.ndarray) -> np.ndarray:
        return (v - v.mean()) / np.sqrt(v.var() + 1)

    np.testing.assert_allclose(found["a"], x.mean() ** 4)
    np.testing.assert_allclose(found["b"], x**2 + x.sum() ** 2)
    np.testing.assert_allclose(found["c"], center(center(x)))
    np.testing.assert_allclose(found["d"], x**6)


def test_recursion_ends() -> None:
    deep = "layer deep(x[d], n):\n    return x if n == 0 else x -> dense(d, bias=false) -> deep(n - 1)\n"
    names = params(net("input x[4]", "output x -> deep(3)", before=deep))
    assert names == ["deep_1.dense_1.W", "deep_1.deep_1.dense_1.W", "deep_1.deep_1.deep_1.dense_1.W"]
    endless = "layer f(x[d]):\n    return x -> f\nfn g(x) = h(x)\nfn h(x) = g(x) + 1\n"
    for last in ("x -> f", "g(x)"):
        assert wrong(net("input x[4]", f"output y = {last}", before=endless)).code == "recursive-definition"


def test_errors_inside_the_library_are_shown_where_it_is_applied() -> None:
    found = wrong(net("input x[1, 4, 4]", "y = x -> conv(3, 5)", "output y"))
    assert place(found) == ("requirement", 3, 14)
    assert found.message == "a 5x5 kernel does not fit a padded 4x4 input"


def test_requirements_name_values() -> None:
    own = 'layer f(x[d], n, mode="a"):\n    require n > 1, "{n} of {d} as {mode}, {x}"\n    return x\n'
    assert wrong(net("input x[4]", "output x -> f(1)", before=own)).message == "1 of 4 as a, {x}"
    assert graph(net("input x[4]", "output x -> f(2)", before=own)).outputs == {"f": "x"}
