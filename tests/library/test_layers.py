"""Layers against the same sums written as NumPy loops, and their laws (adjointness, statistics, shapes)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from netlang.diagnostics import NetlangError
from tests.library.running import forward, value

Array = NDArray[np.float64]


def layer(applied: str, x: Array, /, **arrays: Array) -> Array:
    """The layer `applied` on one example; parameters by name without their scope."""
    scope = applied.partition("(")[0] + "_1"
    given = {f"{scope}.{name}": array for name, array in arrays.items()}
    return value(f"net N:\n    input x{list(x.shape)}\n    output y = x -> {applied}\n", x=x, **given)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def convolved(
    x: Array, W: Array, b: Array, *, stride: int = 1, pad: int = 0, dilation: int = 1, groups: int = 1
) -> Array:
    """Cross-correlation, tap by tap."""
    filters, depth, size, _ = W.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    reach = dilation * (size - 1) + 1
    h, w = ((n - reach) // stride + 1 for n in padded.shape[1:])
    y = np.zeros((filters, h, w))
    for k, i, j in itertools.product(range(filters), range(h), range(w)):
        first = k // (filters // groups) * depth
        window = padded[
            first : first + depth,
            i * stride : i * stride + reach : dilation,
            j * stride : j * stride + reach : dilation,
        ]
        y[k, i, j] = (W[k] * window).sum() + b[k]
    return y


CONVOLUTIONS = [
    {},
    {"stride": 2},
    {"pad": 1},
    {"pad": 2, "stride": 3},
    {"dilation": 2, "pad": 1},
    {"groups": 2},
    {"groups": 4, "stride": 2, "pad": 1, "dilation": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_conv(options: dict[str, int]) -> None:
    x, W, b = normal(4, 7, 6), normal(8, 4 // options.get("groups", 1), 3, 3), normal(8)
    given = "".join(f", {k}={v}" for k, v in options.items())
    np.testing.assert_allclose(layer(f"conv(8, 3{given})", x, W=W, b=b), convolved(x, W, b, **options), rtol=1e-12)


def test_conv1d() -> None:
    x, W, b = normal(3, 9), normal(4, 3, 3), normal(4)
    y = layer("conv1d(4, 3, stride=2, pad=1, dilation=2)", x, W=W, b=b)
    padded = np.pad(x, ((0, 0), (1, 1)))
    expected = [[(W[k] * padded[:, 2 * i : 2 * i + 5 : 2]).sum() + b[k] for i in range(4)] for k in range(4)]
    np.testing.assert_allclose(y, expected, rtol=1e-12)


TRANSPOSED = [
    {},
    {"pad": 1},
    {"stride": 2},
    {"stride": 2, "pad": 1},
    {"stride": 2, "pad": 1, "output_pad": 1},
    {"stride": 3, "pad": 1},
    {"stride": 3, "output_pad": 2},
]


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
def test_conv_transpose_is_the_adjoint_of_conv(options: dict[str, int]) -> None:
    """<conv(u), x> = <u, conv_transpose(x)> for a u of a size that conv takes to the size of x."""
    x, W = normal(4, 3, 4), normal(4, 2, 3, 3)
    given = "".join(f", {k}={v}" for k, v in options.items())
    y = layer(f"conv_transpose(2, 3{given}, bias=false)", x, W=W)
    stride, pad = options.get("stride", 1), options.get("pad", 0)
    assert y.shape == (2, *((n - 1) * stride - 2 * pad + 3 + options.get("output_pad", 0) for n in (3, 4)))
    u = normal(*y.shape, seed=1)
    forwards = convolved(u, W, np.zeros(4), stride=stride, pad=pad)
    assert forwards.shape == x.shape
    assert (u * y).sum() == pytest.approx((forwards * x).sum(), rel=1e-12)


@pytest.mark.parametrize(("size", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 1)])
def test_pooling(size: int, stride: int, pad: int) -> None:
    x = normal(2, 6, 7)
    options = f"({size}, stride={stride}, pad={pad})"
    for name, outside, pooled in (("maxpool", -np.inf, np.max), ("avgpool", 0.0, np.mean)):
        padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), constant_values=outside)
        h, w = ((n - size) // stride + 1 for n in padded.shape[1:])
        windows = np.empty((2, h, w))
        for c, i, j in np.ndindex(windows.shape):
            windows[c, i, j] = pooled(padded[c, i * stride : i * stride + size, j * stride : j * stride + size])
        np.testing.assert_allclose(layer(name + options, x), windows, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 4, 5)])
def test_global_pooling(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    np.testing.assert_allclose(layer("global_avgpool", x), x.reshape(3, -1).mean(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(layer("global_maxpool", x), x.reshape(3, -1).max(axis=1))


def test_dense_with_and_without_bias() -> None:
    x, W, b = normal(5), normal(3, 5), normal(3)
    np.testing.assert_allclose(layer("dense(3)", x, W=W, b=b), W @ x + b, rtol=1e-12)
    np.testing.assert_allclose(layer("dense(3, bias=false)", x, W=W), W @ x, rtol=1e-12)


def test_maxout_takes_the_largest_piece() -> None:
    x, W, b = normal(5), normal(6, 5), normal(6)
    np.testing.assert_allclose(layer("maxout(2, pieces=3)", x, W=W, b=b), (W @ x + b).reshape(2, 3).max(1), rtol=1e-12)


def test_prelu_has_a_slope_for_each_channel() -> None:
    x, slope = normal(2, 3, 4), np.array([0.1, 3.0])
    np.testing.assert_allclose(layer("prelu", x, slope=slope), np.where(x > 0, x, slope[:, None, None] * x), rtol=1e-12)


@pytest.mark.parametrize("words", [3, [1, 0, 3, 3], [[2, 2], [0, 1]]])
def test_embedding_looks_up_rows(words: object) -> None:
    E, word = normal(4, 3), np.array(words)
    dimensions = str(list(word.shape)) if word.ndim else ""
    text = f"net N:\n    input word{dimensions}: class(4)\n    output y = word -> embedding(3)\n"
    np.testing.assert_array_equal(value(text, word=word, **{"embedding_1.E": E}), E[word])


def test_flatten_concat_and_upsample() -> None:
    x, y = normal(2, 3, 4), normal(3, 3, 4)
    np.testing.assert_array_equal(layer("flatten", x), x.ravel())
    joined = value("net N:\n    input a[2, 3, 4], b[3, 3, 4]\n    output y = a -> concat(b)\n", a=x, b=y)
    np.testing.assert_array_equal(joined, np.concatenate([x, y]))
    np.testing.assert_array_equal(layer("upsample(2)", x), x.repeat(2, axis=1).repeat(2, axis=2))


def test_residual_keeps_the_shape_or_projects() -> None:
    for channels, stride, shape in ((4, 1, (4, 6, 5)), (8, 1, (8, 6, 5)), (4, 2, (4, 3, 3))):
        text = f"net N:\n    input x[4, 6, 5]\n    output y = x -> residual({channels}, stride={stride})\n"
        run = forward(text, {"x": normal(2, 4, 6, 5)})
        assert run.outputs["y"].shape == (2, *shape)
        assert len(run.params) == (6 if shape == (4, 6, 5) else 9)


# --- normalization -------------------------------------------------------------------------------------------------


def test_batchnorm_in_training_and_inference() -> None:
    x = 3 * normal(5, 2, 3, 4) + 7
    text = "net N:\n    input x[2, 3, 4]\n    output y = x -> batchnorm\n"
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    gamma, beta = np.array([2.0, 0.5]), np.array([-1.0, 1.0])
    given = {"batchnorm_1.gamma": gamma, "batchnorm_1.beta": beta}

    def normalized(mean: Array, var: Array) -> Array:
        m, v, g, b = (a[:, None, None] for a in (mean, var, gamma, beta))
        return g * (x - m) / np.sqrt(v + 1e-5) + b

    trained = forward(text, {"x": x}, given, training=True)
    np.testing.assert_allclose(trained.outputs["y"], normalized(mean, var), rtol=1e-11)
    np.testing.assert_allclose(trained.updates["batchnorm_1.mu"], 0.1 * mean, rtol=1e-12)
    np.testing.assert_allclose(trained.updates["batchnorm_1.var"], 0.9 + 0.1 * var, rtol=1e-12)

    kept = {"batchnorm_1.mu": np.array([6.0, 8.0]), "batchnorm_1.var": np.array([4.0, 9.0])}
    inferred = forward(text, {"x": x}, given | kept)
    np.testing.assert_allclose(
        inferred.outputs["y"], normalized(kept["batchnorm_1.mu"], kept["batchnorm_1.var"]), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("applied", "grouped"),
    [("layernorm", (2, 3, 4)), ("instancenorm", (2, 12)), ("groupnorm(1)", (1, 24)), ("groupnorm(2)", (2, 12))],
)
def test_normalization_of_each_example(applied: str, grouped: tuple[int, ...]) -> None:
    x = 3 * normal(2, 3, 4) + 7
    groups = x.reshape(grouped)
    expected = (groups - groups.mean(-1, keepdims=True)) / np.sqrt(groups.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(applied, x), expected.reshape(x.shape), rtol=1e-11)


# --- noise ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", ["dropout(0.3)", "channel_dropout(0.3)", "gaussian_noise(0.3)"])
def test_noise_is_the_identity_in_inference(applied: str) -> None:
    x = normal(4, 3, 2)
    np.testing.assert_array_equal(layer(applied, x), x)


def test_dropout_drops_a_fraction_and_keeps_the_mean() -> None:
    text = "net N:\n    input x[200]\n    output y = x -> dropout(0.3)\n"
    y = forward(text, {"x": np.ones((100, 200))}, training=True).outputs["y"]
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    # 20,000 draws: five standard deviations of the fraction are 5 sqrt(0.3 0.7 / 20000) = 0.016
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.017)
    other = forward(text, {"x": np.ones((100, 200))}, training=True, seed=1).outputs["y"]
    assert (y != other).any()


def test_channel_dropout_drops_whole_channels() -> None:
    text = "net N:\n    input x[50, 2, 2]\n    output y = x -> channel_dropout(0.5)\n"
    y = forward(text, {"x": np.ones((20, 50, 2, 2))}, training=True).outputs["y"].reshape(1000, 4)
    assert (y == y[:, :1]).all()
    assert (y[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.08)


def test_gaussian_noise_has_the_standard_deviation() -> None:
    text = "net N:\n    input x[200]\n    output y = x -> gaussian_noise(0.3)\n"
    y = forward(text, {"x": np.ones((100, 200))}, training=True).outputs["y"]
    assert y.mean() == pytest.approx(1.0, abs=0.012)
    assert y.std() == pytest.approx(0.3, abs=0.008)


# --- what does not fit ---------------------------------------------------------------------------------------------

REFUSED = [
    ("[1, 3, 3]", "conv(2, 5)", "a 5x5 kernel does not fit a padded 3x3 input"),
    ("[3, 8, 8]", "conv(4, 3, groups=2)", "3 channels and 4 filters cannot both be cut in 2 equal groups"),
    ("[2, 4]", "conv1d(2, 3, dilation=2)", "a kernel that reaches over 5 places does not fit a padded signal of 4"),
    ("[1, 3, 3]", "conv_transpose(2, 3, output_pad=1)", "an output padding of 1 needs a stride larger than 1"),
    ("[1, 2, 2]", "maxpool(3)", "a 3x3 window does not fit a padded 2x2 input"),
    ("[1, 4, 4]", "maxpool(2, pad=2)", "with a padding of 2, windows of 2x2 would lie wholly outside the input"),
    ("[1, 2, 2]", "avgpool(3)", "a 3x3 window does not fit a padded 2x2 input"),
    ("[3, 4]", "groupnorm(2)", "2 groups do not divide 3 channels evenly"),
    ("[3]", "dropout(1)", "a dropout rate of 1 is not from 0 to below 1"),
    ("[3]", "dropout(-0.5)", "a dropout rate of -0.5 is not from 0 to below 1"),
]


@pytest.mark.parametrize(("shape", "applied", "message"), REFUSED, ids=[applied for _, applied, _ in REFUSED])
def test_requirements_say_what_does_not_fit(shape: str, applied: str, message: str) -> None:
    with pytest.raises(NetlangError) as caught:
        value(f"net N:\n    input x{shape}\n    output y = x -> {applied}\n", x=np.zeros(extents(shape)))
    assert caught.value.diagnostics[0].message == message


def extents(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.strip("[]").split(","))
