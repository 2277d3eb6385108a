"""CSV and TSV files: columns chosen by name, number or range, cells read as numbers or as class labels.

A choice is a list of items separated by commas: a name of the header, a column number from 0, or a range of numbers
with both ends, `0-3`. A name that the header has wins over a number. One item gives an array `[rows]`, more give
`[rows, columns]`. In an array of one column, cells that are all integers give int64; cells of which none is a number
are class labels, numbered in sorted order; anything else must be numbers and gives float64.
"""

from __future__ import annotations

import array
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from netlang.diagnostics import fail, listing, nearest
from netlang.runtime.data import Array, Dataset
from netlang.runtime.sources.text import Rows, decoded
from netlang.runtime.storage import read_bytes

__all__ = ["Columns", "open_rows", "open_table"]

Columns = Mapping[str, str | Sequence[str]]

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf(inity)?|nan)\s*", re.IGNORECASE)
_INTEGER = re.compile(r"\s*[+-]?\d{1,18}\s*")
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")


def open_table(path: str, columns: Columns | None, *, delimiter: str = ",", header: bool | None = None) -> Dataset:
    """The chosen columns as arrays; without `columns`, every column of the header as an array `[rows]`.

    With `header=None` the first line is a header if none of its cells is a number.

    Raises `NetlangError`: `data-columns` (a column that is not there), `data-cell` (place: file and line), `data-file`
    (not UTF-8, rows of different lengths, no rows), `file-not-found`, `cannot-read`.
    """
    table = _Table(path, delimiter)
    table.read_first(header)
    rows = _read(table, columns, frozenset())
    return Dataset(rows.arrays, labels=rows.labels, origin=path)


def open_rows(path: str, columns: Columns | None, texts: Collection[str], *, delimiter: str = ",") -> Rows:
    """The same where the columns of the names in `texts` stay as they are.

    The first line is a header if a column is chosen by its name, as it is without `columns`. In a TSV file quotation
    marks are characters like any other.
    """
    table = _Table(path, delimiter, quoted=delimiter != "\t")
    items = [item.strip() for choice in (columns or {}).values() for item in _items(choice)]
    table.read_first(columns is None or not all(_RANGE.fullmatch(item) or item.isdecimal() for item in items))
    return _read(table, columns, texts)


def _read(table: _Table, columns: Columns | None, texts: Collection[str]) -> Rows:
    chosen = {name: _Choice(name, table.resolve(choice)) for name, choice in table.mapping(columns).items()}
    if not chosen:
        table.refuse("data-columns", "no columns are chosen", help="map each input and target to columns: `x=0-3`")
    for line, row in table.rows():
        for choice in chosen.values():
            choice.add(table, line, row)
    if not table.lines:
        table.refuse("data-file", "the table has no rows", help="give a file with at least one row of data")
    arrays: dict[str, Array] = {}
    labels: dict[str, tuple[str, ...]] = {}
    kept: dict[str, Sequence[str]] = {}
    for name, choice in chosen.items():
        if name in texts and len(choice.columns) == 1:
            kept[name] = choice.cells
            continue
        arrays[name], classes = choice.finish(table)
        if classes is not None:
            labels[name] = classes
    return Rows(kept, arrays, labels, table.path, table.lines)


class _Table:
    """The rows of one file: opened, its first line looked at, then read once from top to bottom."""

    def __init__(self, path: str, delimiter: str, *, quoted: bool = True) -> None:
        self.path = path
        text = decoded(path, read_bytes(path))
        self.reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=True,
        )
        self.header: list[str] | None = None
        self.pending: list[str] | None = None  # the first row, where it is data
        self.width = 0
        self.lines = array.array("q")

    def refuse(self, code: str, message: str, *, line: int = 0, help: str, notes: Sequence[str] = ()) -> NoReturn:
        fail(code, message, place=f"{self.path}:{line}" if line else self.path, notes=notes, help=help)

    def next_row(self) -> list[str] | None:
        """The next row that is not blank, or None at the end."""
        try:
            return next((row for row in self.reader if row), None)
        except csv.Error as error:
            self.refuse(
                "data-file", f"the line cannot be read: {error}", line=self.reader.line_num, help="mend the line"
            )

    def read_first(self, header: bool | None) -> None:
        first = self.next_row()
        if first is None:
            self.refuse("data-file", "the table is empty", help="give a file with at least one row of data")
        self.width = len(first)
        if header or (header is None and not any(_NUMBER.fullmatch(cell) for cell in first)):
            self.header = [cell.strip() for cell in first]
        else:
            self.pending = first

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        row = self.pending if self.pending is not None else self.next_row()
        while row is not None:
            line = self.reader.line_num
            if len(row) != self.width:
                self.refuse(
                    "data-file",
                    f"the row has {len(row)} cells, the first row has {self.width}",
                    line=line,
                    help="give every row the same number of cells",
                )
            self.lines.append(line)
            yield line, row
            row = self.next_row()

    def mapping(self, columns: Columns | None) -> Columns:
        if columns is not None:
            return columns
        if self.header is None:
            self.refuse(
                "data-columns",
                "the table has no header, so its columns need names",
                help="map each input and target to columns: `x=0-3`",
            )
        return {name: [name] for name in self.header}

    def resolve(self, choice: str | Sequence[str]) -> list[int]:
        """The column numbers of a choice."""
        numbers: list[int] = []
        for item in (str(item).strip() for item in _items(choice)):
            span = _RANGE.fullmatch(item)
            if self.header is not None and item in self.header:
                if self.header.count(item) > 1:
                    self.refuse("data-columns", f"several columns are called `{item}`", help="give column numbers")
                numbers.append(self.header.index(item))
            elif span is not None:
                numbers += self.within(item, int(span[1]), int(span[2]))
            elif item.isascii() and item.isdigit():
                numbers += self.within(item, int(item[:9]), int(item[:9]))
            else:
                known = self.header or ()
                self.refuse(
                    "data-columns",
                    f"there is no column `{item}`",
                    notes=[f"the header has {listing(known)}" if known else "the table has no header"],
                    help=nearest(item, known) or f"columns are numbered 0 to {self.width - 1}",
                )
        return numbers

    def within(self, item: str, first: int, last: int) -> range:
        if not first <= last < self.width:
            self.refuse(
                "data-columns",
                f"`{item}` is not among the columns",
                help=f"columns are numbered 0 to {self.width - 1}; a range has both ends, such as `0-3`",
            )
        return range(first, last + 1)

    def column(self, number: int) -> str:
        return f"column `{self.header[number]}`" if self.header is not None else f"column {number}"


def _items(choice: str | Sequence[str]) -> Sequence[str]:
    return choice.split(",") if isinstance(choice, str) else choice


@dataclass
class _Choice:
    """The columns of one array, gathered row by row: numbers compactly, a single column first as text."""

    name: str
    columns: list[int]
    values: array.array[float] = field(default_factory=lambda: array.array("d"))
    cells: list[str] = field(default_factory=list)

    def add(self, table: _Table, line: int, row: list[str]) -> None:
        if len(self.columns) == 1:
            self.cells.append(row[self.columns[0]])
            return
        try:
            self.values.extend([float(row[k]) for k in self.columns])
        except ValueError:
            bad = next(k for k in self.columns if not _NUMBER.fullmatch(row[k]))
            self.refuse_cell(table, line, bad, row[bad])

    def finish(self, table: _Table) -> tuple[Array, tuple[str, ...] | None]:
        """The array, and the names of its classes where its cells are labels."""
        if len(self.columns) > 1:
            return self.finite(table, np.array(self.values, dtype=np.float64).reshape(-1, len(self.columns))), None
        numeric = [_NUMBER.fullmatch(cell) is not None for cell in self.cells]
        for row, cell in enumerate(self.cells):
            if not cell.strip() or (any(numeric) and not numeric[row]):
                self.refuse_cell(table, table.lines[row], self.columns[0], cell)
        if not any(numeric):
            names = [cell.strip() for cell in self.cells]
            classes = sorted(set(names))
            number = {name: k for k, name in enumerate(classes)}
            return np.array([number[name] for name in names], dtype=np.int64), tuple(classes)
        if all(_INTEGER.fullmatch(cell) for cell in self.cells):
            return np.array([int(cell) for cell in self.cells], dtype=np.int64), None
        return self.finite(table, np.array([float(cell) for cell in self.cells])), None

    def finite(self, table: _Table, values: Array) -> Array:
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = int(bad[0][0]), self.columns[int(bad[0][-1]) if values.ndim > 1 else 0]
            table.refuse(
                "data-not-finite",
                f"{table.column(column)} has {values[tuple(bad[0])]}, for `{self.name}`",
                line=table.lines[row],
                help="fill in or leave out such rows before training",
            )
        return values

    def refuse_cell(self, table: _Table, line: int, column: int, cell: str) -> NoReturn:
        found = f"has `{cell.strip():.40}`, which is not a number" if cell.strip() else "is empty"
        table.refuse(
            "data-cell",
            f"{table.column(column)} {found}, for `{self.name}`",
            line=line,
            help="give a number in every cell (labels need a column of their own without any numbers)",
        )
