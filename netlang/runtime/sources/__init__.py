"""Where data come from: `open_data` turns a path or a name on the command line into a `Dataset`.

Texts become examples only with a vocabulary and the inputs of a net, so `open_texts` gives them as they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import ArrayLike

from netlang.diagnostics import fail, listing
from netlang.runtime.data import Dataset
from netlang.runtime.sources.bundled import BUNDLED, open_bundled
from netlang.runtime.sources.idx import open_idx
from netlang.runtime.sources.npz import open_npz
from netlang.runtime.sources.table import Columns, open_rows, open_table
from netlang.runtime.sources.text import Rows, Text, open_bundled_text, open_text

__all__ = ["DataLike", "open_data", "open_texts", "parse_columns"]

DataLike = Dataset | Mapping[str, ArrayLike] | str | os.PathLike[str]
"""What networks train on: a data set, arrays by name, or anything `open_data` understands."""

SCHEMES: Mapping[str, Callable[[str, str], Dataset]] = {
    "sklearn": lambda name, folder: open_bundled(name),
    "idx": open_idx,
}
TEXT_SCHEMES: Mapping[str, Callable[[str], Text]] = {"text": Text, "python": open_bundled_text}
TABLES: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}


def open_data(
    source: DataLike, *, columns: Columns | None = None, header: bool | None = None, folder: str = ""
) -> Dataset:
    """The data that `source` names, read whole into memory; values keep their scale.

    Relative paths are taken from `folder`, by default the current one.

    - a `Dataset`, or a mapping from names to arrays: itself
    - `path.npz`: the arrays in the file by name
    - `path.csv`, `path.tsv`: `columns` maps the network's names to columns, `{"x": "0-3", "y": "species"}` (see
      `netlang.runtime.sources.table`); `header` says whether the first line has names, None finds out
    - `idx:image=train-images-idx3-ubyte.gz,digit=train-labels-idx1-ubyte.gz`: files in MNIST's format, which may be
      compressed; pixels are 0 to 255
    - `sklearn:digits|iris|wine|breast_cancer|diabetes`: data sets that come with scikit-learn; digits are 0 to 16

    Raises `NetlangError`: `data-source` (not one of these), `data-columns`, `data-cell`, `data-file`,
    `missing-dependency`, `file-not-found`, `cannot-read`, and what `Dataset` raises.
    """
    if columns is not None and not (isinstance(source, str | os.PathLike) and _suffix(source) in TABLES):
        fail("data-columns", "only CSV and TSV files have columns to choose from", help="leave the column mapping out")
    if isinstance(source, Dataset):
        return source
    if isinstance(source, Mapping):
        return Dataset.from_arrays(source)
    if not isinstance(source, str | os.PathLike):
        fail(
            "data-source",
            f"data cannot come from a `{type(source).__name__}`",
            help="give a path, a mapping from names to arrays, or a `Dataset`",
        )
    spec = os.fspath(source)
    scheme, colon, rest = spec.partition(":")
    if colon and scheme in SCHEMES:
        return SCHEMES[scheme](rest, folder)
    suffix, path = _suffix(spec), os.path.join(folder, spec)
    if suffix == ".txt" or (colon and scheme in TEXT_SCHEMES):
        fail(
            "no-vocabulary",
            f"`{spec}` is a text, and nothing says what its symbols are",
            help="add `vocabulary characters` or `vocabulary words` to the net's `train` section",
        )
    if suffix == ".npz":
        return open_npz(path)
    if suffix in TABLES:
        return open_table(path, columns, delimiter=TABLES[suffix], header=header)
    fail(
        "data-source",
        f"`{spec}` is not a source of data",
        help="give a `.npz`, `.csv`, `.tsv` or `.txt` file, `idx:image=FILE,label=FILE`, or one of "
        + listing(f"sklearn:{name}" for name in BUNDLED),
    )


def open_texts(
    source: DataLike, names: Collection[str], *, columns: Columns | None = None, folder: str = ""
) -> Text | Rows | None:
    """The texts that `source` names, or None where it has none; relative paths are taken from `folder`.

    - `path.txt` (UTF-8), `text:...` (the text itself), `python:topics`, `{"name": "..."}`: one long text
    - `path.csv`, `path.tsv`, a mapping with lists of strings: a text for each example; `names` are those that may be
      texts, everything else is read as by `open_data`

    Raises `NetlangError`: what the readers raise.
    """
    if isinstance(source, Mapping) and not isinstance(source, Dataset):
        return _texts_in_memory(source, names)
    if not isinstance(source, str | os.PathLike):
        return None
    spec = os.fspath(source)
    scheme, colon, rest = spec.partition(":")
    if colon and scheme in TEXT_SCHEMES:
        return TEXT_SCHEMES[scheme](rest)
    path = os.path.join(folder, spec)
    if _suffix(spec) == ".txt":
        return open_text(path)
    return open_rows(path, columns, names, delimiter=TABLES[_suffix(spec)]) if _suffix(spec) in TABLES else None


def _texts_in_memory(source: Mapping[str, ArrayLike], names: Collection[str]) -> Text | Rows | None:
    texts: dict[str, Sequence[str]] = {}
    for name, value in source.items():
        if isinstance(value, str):
            if len(source) > 1:
                fail(
                    "data-source",
                    f"`{name}` is one long text, which is cut into examples, and comes alone",
                    help="give only the text, or lists with a text for each example",
                )
            return Text(value, f"`{name}`")
        rows = value.tolist() if isinstance(value, np.ndarray) else value
        if name in names and isinstance(rows, Sequence) and rows and all(isinstance(row, str) for row in rows):
            texts[name] = [str(row) for row in rows]
    if not texts:
        return None
    others = {name: value for name, value in source.items() if name not in texts}
    data = Dataset.labelled(others) if others else None
    return Rows(texts, data.arrays if data else {}, data.labels if data else {})


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
    """The column mapping written as `name=columns`, one text for each name: `["x=0-3", "y=species"]`.

    Raises `NetlangError` (`data-columns`) for a text without `=`, or a name given twice.
    """
    columns: dict[str, str] = {}
    for text in texts:
        name, equals, chosen = (part.strip() for part in text.partition("="))
        if not (name and equals and chosen):
            fail("data-columns", f"`{text}` is not of the form `name=columns`", help="write, for example, `x=0-3`")
        if name in columns:
            fail("data-columns", f"the columns of `{name}` are given twice", help="list them once: `x=a,b,c`")
        columns[name] = chosen
    return columns


def _suffix(path: str | os.PathLike[str]) -> str:
    return PurePath(path).suffix.lower()
