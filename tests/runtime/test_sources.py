"""Data files of every kind, whole and damaged."""

from __future__ import annotations

import builtins
import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.runtime.data import Dataset
from netlang.runtime.sources import open_data, parse_columns


def refusal(source: Any, **settings: Any) -> Diagnostic:
    with pytest.raises(NetlangError) as error:
        open_data(source, **settings)
    [found] = error.value.diagnostics
    assert found.help
    return found


# --- the choice of a source ------------------------------------------------------------------------------------------


def test_what_is_data_already_stays(tmp_path: Path) -> None:
    data = Dataset.from_arrays(x=[1, 2])
    assert open_data(data) is data
    assert open_data({"x": [1.0, 2.0]})["x"].tolist() == [1.0, 2.0]
    np.savez(tmp_path / "a.npz", x=[3])
    assert open_data(tmp_path / "a.npz")["x"].tolist() == [3]


def test_unknown_sources() -> None:
    found = refusal("digits.h5")
    assert (found.code, found.message) == ("data-source", "`digits.h5` is not a source of data")
    assert refusal(3).message == "data cannot come from a `int`"
    assert refusal("no/such.npz").code == "file-not-found"
    assert refusal("no/such.csv").message == "there is no file `no/such.csv`"
    assert refusal("a\0b.csv").code == "cannot-read"
    assert refusal("x.npz", columns={"x": "0"}).code == "data-columns"


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "d.npz").mkdir()
    found = refusal(tmp_path / "d.npz")
    assert (found.code, found.message) == ("cannot-read", f"`{tmp_path / 'd.npz'}` cannot be read: is a directory")


def test_column_mappings_are_parsed() -> None:
    assert parse_columns(["x=0-3", " y = species "]) == {"x": "0-3", "y": "species"}
    for texts in (["x"], ["=1"], ["x="], ["x=1", "x=2"]):
        with pytest.raises(NetlangError) as error:
            parse_columns(texts)
        assert error.value.diagnostics[0].code == "data-columns"


# --- npz -------------------------------------------------------------------------------------------------------------


def test_npz_round_trip(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(6, dtype=">f4").reshape(3, 2))
    np.savez_compressed(tmp_path / "d.npz", x=x, y=np.array(["b", "a", "b"]))
    data = open_data(str(tmp_path / "d.npz"))
    assert data["x"].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert data["y"].tolist() == [1, 0, 1]
    bound = data.bind([("x", (2,), np.float32)], [("y", (), 2)])
    assert bound["x"].tolist() == x.tolist()
    assert bound["x"].flags.c_contiguous
    assert bound["x"].dtype == np.dtype("=f4")
    assert bound.labels == {"y": ("a", "b")}


def test_npz_never_unpickles(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    found = refusal(path)
    assert (found.code, found.message) == ("data-file", "array `x` cannot be read")
    assert found.place == f"{path}!x.npy"
    path.write_bytes(pickle.dumps([1]))
    assert refusal(path).message == f"`{path}` is not a whole `.npz` archive"


def test_npz_header_that_lies_about_its_size(tmp_path: Path) -> None:
    body = io.BytesIO()
    np.lib.format.write_array_header_1_0(body, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", body.getvalue() + b"\0" * 64)
    found = refusal(tmp_path / "d.npz")
    assert found.notes == ("the reader says: the array is larger than its member",)


def test_npz_empty(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz")
    assert refusal(tmp_path / "d.npz").code == "data-empty"


@pytest.fixture(scope="module")
def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(12.0).reshape(4, 3), y=np.arange(4))
    return buffer.getvalue()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_npz_never_breaks(
    tmp_path_factory: pytest.TempPathFactory, npz_bytes: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(_damage(npz_bytes, data))
    _opens_or_refuses(str(path))


# --- IDX -------------------------------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray, code: int) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + big.tobytes()


def test_mnist_format(tmp_path: Path) -> None:
    images = np.arange(3 * 4 * 2, dtype=np.uint8).reshape(3, 4, 2) * 10
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images, 0x08)))
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx_bytes(np.array([2, 0, 1], np.uint8), 0x08))
    data = open_data(f"idx:image={tmp_path}/images-idx3-ubyte.gz, digit={tmp_path}/labels-idx1-ubyte")
    bound = data.bind([("image", (1, 4, 2), np.float32)], [("digit", (), 3)])
    assert bound["image"][:, 0].tolist() == images.astype(float).tolist()  # 0 to 255, nothing is scaled
    assert bound["digit"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")],
)
def test_every_idx_type(tmp_path: Path, code: int, dtype: str) -> None:
    values = np.array([[1, 2, 3], [100, 50, 7]], dtype=dtype)
    (tmp_path / "a").write_bytes(idx_bytes(values, code))
    x = open_data(f"idx:x={tmp_path}/a")["x"]
    assert x.tolist() == values.tolist()
    assert x.dtype == np.dtype(dtype)


def test_damaged_idx(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = idx_bytes(np.zeros((5, 4), np.uint8), 0x08)

    def found(content: bytes) -> tuple[str, str]:
        path.write_bytes(content)
        refused = refusal(f"idx:x={path}")
        assert refused.code == "data-file"
        return refused.message, refused.place.removeprefix(str(path))

    assert found(b"") == ("this is not an IDX file", "")
    assert found(b"\x89PNG1234") == ("this is not an IDX file", "")
    assert found(whole[:9]) == ("the file ends within its header", "")
    assert found(whole[:-6]) == ("the file ends in row 3 of 5", ":row 3")
    assert found(whole + b"\0") == ("the file goes on after its last row, 4", "")
    assert found(gzip.compress(whole)[:-9]) == ("the compressed data are truncated or damaged", "")
    assert found(b"\0\0\x0e\x02\xff\xff\xff\xff\xff\xff\xff\xff")[0].startswith("the header claims")
    assert refusal("idx:image").message == "`image` is not of the form `name=path`"
    assert refusal(f"idx:a={path},a={path}").code in {"data-file", "data-source"}


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_mutated_idx_never_breaks(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated-idx"
    whole = idx_bytes(np.zeros((5, 4), np.uint8), 0x08)
    path.write_bytes(_damage(gzip.compress(whole) if data.draw(st.booleans()) else whole, data))
    _opens_or_refuses(f"idx:x={path}")


# --- tables ----------------------------------------------------------------------------------------------------------

IRIS = "sepal,petal,species\n5.1,1.4,setosa\n6.0,4.5,versicolor\n\n4.9,1.5,setosa\n"


def table(tmp_path: Path, text: str, suffix: str = ".csv") -> Path:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(text.encode())
    return path


def test_columns_by_name_with_labels(tmp_path: Path) -> None:
    data = open_data(table(tmp_path, IRIS), columns={"x": "sepal,petal", "y": "species", "p": ["petal"]})
    assert data["x"].tolist() == [[5.1, 1.4], [6.0, 4.5], [4.9, 1.5]]
    assert data["y"].tolist() == [0, 1, 0]
    assert data["p"].tolist() == [1.4, 4.5, 1.5]
    assert data.labels == {"y": ("setosa", "versicolor")}


def test_columns_by_number_without_a_header(tmp_path: Path) -> None:
    path = table(tmp_path, "1;2;3\n4;5;6\n".replace(";", "\t"), ".tsv")
    data = open_data(path, columns={"x": "0-1", "y": "2", "z": "2,0"})
    assert data["x"].tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert data["y"].tolist() == [3, 6]
    assert data["y"].dtype == np.int64
    assert data["z"].tolist() == [[3.0, 1.0], [6.0, 4.0]]


def test_a_first_line_with_a_number_is_data(tmp_path: Path) -> None:
    path = table(tmp_path, "5.1,setosa\n6,versicolor\n")
    assert open_data(path, columns={"y": "1"})["y"].tolist() == [0, 1]
    assert open_data(path, columns={"y": "1"}, header=True)["y"].tolist() == [0]
    names = table(tmp_path, "a\nb\n")
    assert open_data(names, columns={"y": "0"}, header=False)["y"].tolist() == [0, 1]


def test_every_column_of_a_header_without_a_mapping(tmp_path: Path) -> None:
    data = open_data(table(tmp_path, "\ufeffx, y\r\n1,2.5\r\n3,4\r\n"))
    assert {name: array.tolist() for name, array in data.items()} == {"x": [1, 3], "y": [2.5, 4.0]}


@pytest.mark.parametrize(
    ("text", "columns", "code", "message", "line"),
    [
        ("", {"x": "0"}, "data-file", "the table is empty", ""),
        ("a,b\n", {"x": "a"}, "data-file", "the table has no rows", ""),
        ("1,2\n3\n", {"x": "0"}, "data-file", "the row has 1 cells, the first row has 2", ":2"),
        ('1,2\n"3,4\n', {"x": "0"}, "data-file", "the line cannot be read: unexpected end of data", ":2"),
        ("1,2\n", None, "data-columns", "the table has no header, so its columns need names", ""),
        ("1,2\n", {}, "data-columns", "no columns are chosen", ""),
        ("1,2\n", {"x": "0-2"}, "data-columns", "`0-2` is not among the columns", ""),
        ("1,2\n", {"x": "1-0"}, "data-columns", "`1-0` is not among the columns", ""),
        ("1,2\n", {"x": "2"}, "data-columns", "`2` is not among the columns", ""),
        ("a,b\n1,2\n", {"x": "c"}, "data-columns", "there is no column `c`", ""),
        ("a,b\n1,2\n", {"x": ""}, "data-columns", "there is no column ``", ""),
        ("a,a\n1,2\n", {"x": "a"}, "data-columns", "several columns are called `a`", ""),
        ("a,b\n1,2\n3,x\n", {"x": "a,b"}, "data-cell", "column `b` has `x`, which is not a number, for `x`", ":3"),
        ("a,b\n1,2\n\n3,\n", {"x": "a,b"}, "data-cell", "column `b` is empty, for `x`", ":4"),
        ("a,b\n1,2\n3,?\n", {"y": "b"}, "data-cell", "column `b` has `?`, which is not a number, for `y`", ":3"),
        ("a,b\n1,cat\n3,\n", {"y": "b"}, "data-cell", "column `b` is empty, for `y`", ":3"),
        ("1,2\n3,nan\n", {"y": "1"}, "data-not-finite", "column 1 has nan, for `y`", ":2"),
        ("1,2\n3,1e999\n", {"y": "0-1"}, "data-not-finite", "column 1 has inf, for `y`", ":2"),
    ],
)
def test_bad_tables(
    tmp_path: Path, text: str, columns: dict[str, str] | None, code: str, message: str, line: str
) -> None:
    path = table(tmp_path, text)
    found = refusal(path, columns=columns)
    assert (found.code, found.message, found.place) == (code, message, f"{path}{line}")


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,caf\xe9\n")
    found = refusal(tmp_path / "t.csv")
    assert (found.message, found.place) == ("the byte 0xe9 is not UTF-8 text", f"{tmp_path / 't.csv'}:2:6")


@given(
    text=st.text(alphabet=st.sampled_from('ab01.-,\n\r" \0né'), max_size=60), columns=st.sampled_from(["0", "0-1", "a"])
)
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str, columns: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.encode())
    _opens_or_refuses(str(path), columns={"x": columns})


# --- scikit-learn ----------------------------------------------------------------------------------------------------


def test_digits_are_raw() -> None:
    pytest.importorskip("sklearn")
    data = open_data("sklearn:digits").bind([("image", (1, 8, 8), np.float32)], [("digit", (), 10)])
    assert data["image"].shape == (1797, 1, 8, 8)
    assert (data["image"].min(), data["image"].max()) == (0, 16)
    assert data["image"][0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert data["digit"][:5].tolist() == [0, 1, 2, 3, 4]
    assert data.labels["digit"] == tuple("0123456789")


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("iris", (150, 4), 3), ("wine", (178, 13), 3), ("breast_cancer", (569, 30), 2), ("diabetes", (442, 10), None)],
)
def test_bundled_sets(name: str, shape: tuple[int, ...], classes: int | None) -> None:
    pytest.importorskip("sklearn")
    data = open_data(f"sklearn:{name}").bind([("x", shape[1:], np.float64)], [("y", (), classes)])
    assert data["x"].shape == shape
    assert data["y"].dtype == (np.float32 if classes is None else np.int64)
    assert len(data.labels.get("y", ())) == (classes or 0)


def test_unknown_bundled_set() -> None:
    found = refusal("sklearn:digit")
    assert (found.code, found.help) == ("data-source", "did you mean `digits`?")


def test_missing_scikit_learn_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    found = refusal("sklearn:iris")
    assert found.code == "missing-dependency"
    assert found.help == "run `pip install scikit-learn`, or install netlang with its `data` extra"


def _damage(whole: bytes, data: st.DataObject) -> bytes:
    """A truncation, or a few bytes changed."""
    if data.draw(st.booleans()):
        return whole[: data.draw(st.integers(0, len(whole) - 1))]
    changed = bytearray(whole)
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        changed[position] = data.draw(st.integers(0, 255))
    return bytes(changed)


def _opens_or_refuses(source: str, **settings: Any) -> None:
    try:
        open_data(source, **settings)
    except NetlangError as error:
        assert all(found.code and found.message for found in error.diagnostics)  # noqa: PT017 (either is right)
