"""Data sets: what they check, and how they are bound to the inputs and targets of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.runtime.data import Dataset


def diagnostic(error: pytest.ExceptionInfo[NetlangError]) -> Diagnostic:
    [found] = error.value.diagnostics
    return found


def refusal(**arrays: Any) -> Diagnostic:
    with pytest.raises(NetlangError) as error:
        Dataset.from_arrays(**arrays)
    return diagnostic(error)


def binding_refusal(data: Dataset, *args: Any) -> Diagnostic:
    with pytest.raises(NetlangError) as error:
        data.bind(*args)
    return diagnostic(error)


def test_a_data_set_is_a_read_only_mapping() -> None:
    images = np.arange(6.0).reshape(3, 2)
    data = Dataset.from_arrays(image=images, digit=[0, 1, 0])
    assert list(data) == ["image", "digit"]
    assert (len(data), data.examples) == (2, 3)
    assert data == data
    assert data != Dataset.from_arrays(image=images, digit=[0, 1, 0])  # identity, as for arrays
    assert len({data, data}) == 1
    assert repr(data) == "<Dataset of 3 examples: image[2], digit[]>"
    with pytest.raises(ValueError, match="read-only"):
        data["image"][0] = 1
    images[0] = 9  # the caller's own array stays his
    assert data["image"][0, 0] == 9


def test_strings_become_class_numbers_in_sorted_order() -> None:
    data = Dataset.from_arrays(species=["wolf", "cat", "dog", "cat"])
    assert data["species"].tolist() == [2, 0, 1, 0]
    assert data.labels == {"species": ("cat", "dog", "wolf")}


def test_taking_rows_keeps_order_and_labels() -> None:
    data = Dataset.from_arrays(x=np.arange(4.0), y=["a", "b", "a", "b"]).take(np.array([3, 0]))
    assert data["x"].tolist() == [3.0, 0.0]
    assert data["y"].tolist() == [1, 0]
    assert data.labels["y"] == ("a", "b")


@pytest.mark.parametrize(
    ("arrays", "code", "message"),
    [
        ({}, "data-empty", "there are no arrays in the data"),
        ({"x": 1.0}, "data-empty", "array `x` of shape [] has no examples or no values"),
        ({"x": np.zeros((0, 3))}, "data-empty", "array `x` of shape [0, 3] has no examples or no values"),
        (
            {"x": [1, 2], "y": [1]},
            "data-lengths",
            "the arrays have different numbers of examples: `x` has 2, `y` has 1",
        ),
        ({"x": [[1], [1, 2]]}, "data-dtype", "`x` is not an array: its rows have different lengths"),
        (
            {"x": [["a", "b"]]},
            "data-dtype",
            "array `x` has dtype <U1, which is not a kind of number that networks read",
        ),
        ({"x": [1j]}, "data-dtype", "array `x` has dtype complex128, which is not a kind of number that networks read"),
        (
            {"x": np.array([object()])},
            "data-dtype",
            "array `x` has dtype object, which is not a kind of number that networks read",
        ),
    ],
)
def test_what_is_not_data_is_refused(arrays: dict[str, Any], code: str, message: str) -> None:
    found = refusal(**arrays)
    assert (found.code, found.message) == (code, message)
    assert found.help


def test_binding_by_name_casts_and_orders() -> None:
    data = Dataset.from_arrays(extra=[0, 0], digit=np.array([1, 2], np.uint8), image=np.full((2, 4), 255, np.uint8))
    bound = data.bind([("image", (1, 2, 2), np.float32)], [("digit", (), 3)])
    assert list(bound) == ["image", "digit"]
    assert bound["image"].dtype == np.float32
    assert bound["image"].tolist() == [[[[255.0, 255.0], [255.0, 255.0]]]] * 2  # no implicit scaling
    assert bound["digit"].dtype == np.uint8
    assert bound["digit"].tolist() == [1, 2]
    assert (bound.features, bound.target) == ("image", "digit")


def test_binding_by_role() -> None:
    arrays = {"data": np.ones((2, 4)), "target": np.array([0, 1])}
    data = Dataset(arrays, "data", "target", {"target": ("no", "yes")})
    bound = data.bind([("x", (4,), np.float64)], [("sick", (), 2)])
    assert {name: array.dtype.name for name, array in bound.items()} == {"x": "float64", "sick": "int64"}
    assert bound.labels == {"sick": ("no", "yes")}
    assert list(data.bind([("x", (2, 2), np.float64)])) == ["x"]  # inference, an autoencoder
    found = binding_refusal(data, [("x", (4,), np.float32), ("z", (4,), np.float32)])
    assert found.code == "data-missing"
    assert found.notes == (
        "the data have `data`, `target`; by position they fit only a network with one input and at most one target",
    )


def test_a_missing_array_is_named_with_the_nearest() -> None:
    found = binding_refusal(Dataset.from_arrays(imag=[1.0]), [("image", (), np.float32)])
    assert found.message == "the data have no array `image`"
    assert found.help == "did you mean `imag`?"


@pytest.mark.parametrize(
    ("given", "declared"),
    [((4,), (4,)), ((4,), (1, 2, 2)), ((2, 2), (4,)), ((2, 2), (1, 2, 2)), ((1,), ()), ((), (1,)), ((2, 1, 2), (2, 2))],
)
def test_shapes_that_fit(given: tuple[int, ...], declared: tuple[int, ...]) -> None:
    values = np.arange(3.0 * np.prod(given, dtype=int)).reshape(3, *given)
    bound = Dataset.from_arrays(x=values).bind([("x", declared, np.float64)])
    assert bound["x"].shape == (3, *declared)
    assert bound["x"].ravel().tolist() == values.ravel().tolist()


@pytest.mark.parametrize(
    ("given", "declared", "message", "note"),
    [
        ((3,), (4,), "`x` wants [4] for each example, array `x` has [3]", "[4] has 4 values, [3] has 3"),
        (
            (8, 8, 3),
            (3, 8, 8),
            "`x` wants [3, 8, 8] for each example, array `x` has [8, 8, 3]",
            "[3, 8, 8] has 192 values, [8, 8, 3] has 192",
        ),
        (
            (2, 8),
            (4, 4),
            "`x` wants [4, 4] for each example, array `x` has [2, 8]",
            "[4, 4] has 16 values, [2, 8] has 16",
        ),
    ],
)
def test_shapes_that_do_not_fit(given: tuple[int, ...], declared: tuple[int, ...], message: str, note: str) -> None:
    found = binding_refusal(Dataset.from_arrays(x=np.zeros((2, *given))), [("x", declared, np.float32)])
    assert (found.code, found.message, found.notes) == ("data-shape", message, (note,))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(np.nan, "nan"), (-np.inf, "-inf"), (1e300, "1e+300")],
)
def test_values_that_are_not_finite_are_found(value: float, shown: str) -> None:
    x = np.zeros((5, 2, 3))
    x[3, 1, 2] = value
    found = binding_refusal(Dataset.from_arrays(x=x), [("x", (2, 3), np.float32)])
    assert found.code == "data-not-finite"
    large = ", which is too large for float32" if value == 1e300 else ""
    assert found.message == f"array `x` has {shown} in row 3, column [1, 2]{large}"
    flat = binding_refusal(Dataset.from_arrays(x=x.reshape(5, 6)), [("x", (6,), np.float32)])
    assert flat.message.startswith(f"array `x` has {shown} in row 3, column 5")


def test_labels_are_checked() -> None:
    def refused(labels: Any) -> Diagnostic:
        return binding_refusal(Dataset.from_arrays(y=labels), [], [("y", (), 3)])

    found = refused([0, 3, 1])
    assert (found.code, found.message) == ("data-label", "array `y` has label 3 in row 1, the classes are 0 to 2")
    assert found.help == "declare at least 4 classes, or renumber the labels from 0"
    assert refused([1, 2, 3]).help == "subtract 1: classes are counted from 0"
    assert refused([0, -1]).message == "array `y` has label -1 in row 1, the classes are 0 to 2"
    found = refused([0.0, 0.5])
    assert (found.code, found.message) == (
        "data-not-integer",
        "array `y` has 0.5 in row 1, where an integer is wanted",
    )
    assert refused([0.0, np.nan]).message == "array `y` has nan in row 1, where an integer is wanted"
    assert Dataset.from_arrays(y=[0.0, 2.0]).bind([], [("y", (), 3)])["y"].tolist() == [0, 2]
    assert Dataset.from_arrays(y=[False, True]).bind([], [("y", (), 2)])["y"].tolist() == [0, 1]


def test_a_label_of_too_many_names_them() -> None:
    data = Dataset.from_arrays(y=["cat", "dog", "wolf"])
    found = binding_refusal(data, [], [("y", (), 2)])
    assert found.notes == ("the labels run from 0 to 2", "they stand for `cat`, `dog`, `wolf`")


def test_inputs_of_classes_are_checked_too() -> None:
    words = Dataset.from_arrays(word=[[0, 4], [5, 1]])
    assert words.bind([("word", (2,), np.int64, 6)])["word"].tolist() == [[0, 4], [5, 1]]
    found = binding_refusal(words, [("word", (2,), np.int64, 5)])
    assert found.message == "array `word` has label 5 in row 1, column 0, the classes are 0 to 4"
    huge = binding_refusal(Dataset.from_arrays(word=[2**40]), [("word", (), np.int32)])
    assert (huge.code, huge.message) == ("data-not-integer", "array `word` has integers beyond int32")


def test_real_targets_take_the_dtype() -> None:
    bound = Dataset.from_arrays(y=[1, 2]).bind([], [("y", (1,), None)], dtype=np.float64)
    assert bound["y"].dtype == np.float64
    assert bound["y"].tolist() == [[1.0], [2.0]]
