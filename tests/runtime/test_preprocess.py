"""Splits, normalization and batch orders: exact, seeded, and the same after a trip through JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlang.diagnostics import NetlangError
from netlang.runtime.data import Dataset
from netlang.runtime.preprocess import Minibatches, Normalization, Split, permutation, stable_order


def test_permutations_are_pinned() -> None:
    """Golden values: a change would make old seeds give new runs."""
    assert permutation(8, seed=1, stream=2).tolist() == [4, 2, 0, 6, 1, 5, 7, 3]
    assert Minibatches(4, seed=7).order(6, epoch=3).tolist() == [4, 5, 3, 2, 1, 0]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=300))
def test_of_equal_words_the_first_is_first(words: list[int]) -> None:
    order = stable_order(np.array(words, np.uint64))
    assert order.tolist() == sorted(range(len(words)), key=words.__getitem__)


@given(st.integers(1, 200), st.integers(0, 2**64 - 1), st.integers(0, 50))
def test_an_order_is_a_permutation(examples: int, seed: int, epoch: int) -> None:
    order = Minibatches(16, seed).order(examples, epoch)
    assert sorted(order.tolist()) == list(range(examples))


def test_orders_differ_by_seed_and_epoch() -> None:
    orders = {tuple(Minibatches(1, seed).order(30, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_batches_cover_an_epoch() -> None:
    data = {"x": np.arange(10.0), "y": np.arange(10)}
    batches = Minibatches(4, seed=3)
    whole = [{name: a.copy() for name, a in batch.items()} for batch in batches.over(data, epoch=2)]
    assert [len(batch["x"]) for batch in whole] == [4, 4, 2]
    assert batches.count(10) == 3
    assert sorted(np.concatenate([batch["y"] for batch in whole]).tolist()) == list(range(10))
    assert all((batch["x"] == batch["y"]).all() for batch in whole)
    unshuffled = Minibatches(4, shuffle=False).over(data, epoch=5)
    assert [batch["y"].tolist() for batch in unshuffled] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@given(st.integers(2, 100), st.floats(0.01, 0.99), st.integers(0, 2**64 - 1))
def test_a_split_is_a_partition(examples: int, fraction: float, seed: int) -> None:
    train, validation = Split(fraction, seed).rows(Dataset.from_arrays(x=np.zeros(examples)))
    assert sorted([*train, *validation]) == list(range(examples))
    assert len(validation) == min(max(1, round(examples * fraction)), examples - 1)
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


@given(st.lists(st.integers(0, 4), min_size=5, max_size=80), st.floats(0.05, 0.6), st.integers(0, 99))
def test_a_stratified_split_gives_each_class_its_share(labels: list[int], fraction: float, seed: int) -> None:
    data = Dataset.from_arrays(y=np.array(labels))
    held = max(1, round(len(labels) * fraction))
    if max(labels.count(label) for label in labels) == 1:
        return  # no class can spare an example: see `test_bad_settings`
    train, validation = Split(fraction, seed, stratify="y").apply(data)
    for label in set(labels):
        count = labels.count(label)
        assert (train["y"] == label).any()
        if count * held / len(labels) <= count - 1:
            assert abs((validation["y"] == label).sum() - count * held / len(labels)) <= 1


def test_a_stratified_split_of_digits_like_data() -> None:
    data = Dataset.from_arrays(y=np.repeat([0, 1, 2], [50, 30, 20]))
    _, validation = Split(0.2, 0, stratify="y").apply(data)
    assert np.bincount(validation["y"]).tolist() == [10, 6, 4]


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda: Split(0.0), "bad-split", "the validation fraction 0.0 is not between 0 and 1"),
        (lambda: Split(float("nan")), "bad-split", "the validation fraction nan is not between 0 and 1"),
        (
            lambda: Split(0.5).rows(Dataset.from_arrays(x=[1])),
            "bad-split",
            "one example cannot be split in two parts",
        ),
        (
            lambda: Split(0.5, stratify="y").rows(Dataset.from_arrays(y=[0.5, 1.5])),
            "bad-split",
            "the split cannot be stratified by `y`, which is not one class for each example",
        ),
        (
            lambda: Split(0.5, stratify="y").rows(Dataset.from_arrays(y=[0, 1, 2])),
            "bad-split",
            "no class of `y` has an example to spare for validation",
        ),
        (lambda: Minibatches(0), "bad-batch", "a batch of 0 examples is not possible"),
        (lambda: permutation(3, -1, 0), "bad-seed", "the seed -1 is not an integer from 0 to 2^64 - 1"),
        (
            lambda: Normalization.fit({"x": np.array([1, 2])}, ["x"]),
            "bad-normalization",
            "`x` holds integers, which have no meaningful mean",
        ),
    ],
)
def test_bad_settings(make: Any, code: str, message: str) -> None:
    with pytest.raises(NetlangError) as error:
        make()
    [found] = error.value.diagnostics
    assert (found.code, found.message) == (code, message)
    assert found.help


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((), (0,)), ((3,), (0,)), ((5, 3), (0, 1)), ((3, 4, 5), (0, 2, 3)), ((2, 3, 4, 5), (0, 2, 3, 4))],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalization_against_numpy(shape: tuple[int, ...], axes: tuple[int, ...], dtype: type) -> None:
    x = np.random.default_rng(0).normal(3, 5, (50, *shape)).astype(dtype)
    normalization = Normalization.fit({"x": x}, ["x"])
    mean = x.astype(np.float64).mean(axes, keepdims=True)
    std = x.astype(np.float64).std(axes, keepdims=True)
    [moments] = normalization.moments.values()
    np.testing.assert_allclose(moments.mean, mean.ravel(), rtol=1e-13)
    np.testing.assert_allclose(moments.scale, std.ravel(), rtol=1e-13)
    normalized = normalization.apply({"x": x})["x"]
    assert normalized.dtype == dtype
    np.testing.assert_allclose(normalized, (x - mean) / std, atol=1e-5 if dtype == np.float32 else 1e-13)


def test_fitting_in_several_chunks_agrees() -> None:
    x = np.random.default_rng(1).normal(-2, 3, (700, 2, 40, 40))  # 2.2 million values: three chunks
    [moments] = Normalization.fit({"x": x}, ["x"]).moments.values()
    np.testing.assert_allclose(moments.mean, x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(moments.scale, x.std((0, 2, 3)), rtol=1e-12)


def test_constant_features_are_divided_by_one() -> None:
    x = np.column_stack([np.full(7, 0.1), np.arange(7.0), np.zeros(7)])
    normalization = Normalization.fit({"x": x}, ["x"])
    assert normalization.moments["x"].scale == (1.0, 2.0, 1.0)
    np.testing.assert_allclose(normalization.apply({"x": x})["x"][:, 0], 0, atol=1e-16)


def test_normalizing_a_data_set_leaves_the_rest() -> None:
    data = Dataset.from_arrays(x=np.array([1.0, 3.0]), y=["a", "b"])
    normalized = Normalization.fit(data, ["x"]).apply(data)
    assert normalized["x"].tolist() == [-1.0, 1.0]
    assert normalized["y"].tolist() == [0, 1]
    assert data["x"].tolist() == [1.0, 3.0]


def test_json_round_trip_is_exact() -> None:
    data = {"x": np.random.default_rng(2).normal(size=(9, 4)), "s": np.array([0.1, 0.7])}
    value = Normalization.fit(data, ["x", "s"])
    assert Normalization.from_json(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"x": {"mean": [0.0], "scale": [0.0], "axis": 0}},
        {"x": {"mean": [float("nan")], "scale": [1.0], "axis": 0}},
        {"x": {"mean": [0.0, 1.0], "scale": [1.0, 1.0], "axis": None}},
        {"x": {"mean": [0.0], "scale": [1.0], "axis": -1}},
        {"x": {"mean": 3}},
    ],
)
def test_damaged_json_is_refused(document: Any) -> None:
    with pytest.raises(NetlangError) as error:
        Normalization.from_json(document)
    assert error.value.diagnostics[0].code == "preprocess-corrupt"
