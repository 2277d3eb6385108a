"""Arrays that a user gives to a net: checked against its inputs and brought into their dtypes and layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing, nearest
from netlang.graph.graph import Graph
from netlang.graph.integer import Int
from netlang.graph.nodes import Input
from netlang.graph.text import shape_text
from netlang.targets.cpu.program import CpuProgram

Array = npt.NDArray[Any]


def example_shape(node: Input) -> tuple[int, ...]:
    """The static shape of one example of an input."""
    return tuple(_constant(n, node) for n in node.shape)


def _constant(extent: Int, node: Input) -> int:
    if not extent.is_constant:
        fail(
            "bad-extent",
            f"`{node.name}` has the run-time shape {shape_text(node.shape)}",
            help="nets with such inputs do not run yet",
        )
    return extent.constant


def checked_inputs(
    net: str, graph: Graph, program: CpuProgram, given: Mapping[str, npt.ArrayLike], dtype: np.dtype[Any]
) -> tuple[dict[str, Array], int, bool]:
    """The arrays that a program reads, with the batch in front, the batch's size, and whether it was a single example.

    `graph` is the lifted graph of the program. Raises `NetlangError`: `input-missing`, `input-unknown`, `input-shape`,
    `input-dtype`, `input-batch`, `input-label`, `input-not-finite` (labels and targets only).
    """
    declared = {n.name: n for n in graph if isinstance(n, Input) and n.role != "clock"}
    for name in given:
        if name not in declared:
            fail(
                "input-unknown",
                f"`{net}` has no input `{name}`",
                help=nearest(name, declared) or f"its inputs are {listing(declared)}",
            )
    read = {b.name for b in program.program.of_kind("input")}
    arrays: dict[str, Array] = {}
    for name, node in declared.items():
        if name in given:
            arrays[name] = _array(name, node, given[name], dtype)
        elif name in read:
            fail("input-missing", f"`{net}` needs the {node.role} `{name}` here", help=f"give it: `{name}=...`")
    single = bool(arrays) and all(a.ndim == len(declared[n].shape) - 1 for n, a in arrays.items())
    if single:
        arrays = {name: a[None] for name, a in arrays.items()}
    batch = 1
    first = ""
    for name, array in arrays.items():
        node = declared[name]
        shape = tuple(n.constant for n in node.shape[1:])
        if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
            found = list(array.shape[1:] if single else array.shape)
            fail(
                "input-shape",
                f"`{name}` takes {list(shape)} for each example, found an array of shape {found}",
                help=f"give it the shape [batch{''.join(f', {n}' for n in shape)}]",
            )
        if first and array.shape[0] != batch:
            fail(
                "input-batch",
                f"`{first}` has {batch} examples, `{name}` has {array.shape[0]}",
                help="give all inputs the same number",
            )
        batch, first = array.shape[0], first or name
    if batch == 0:
        fail("input-batch", "the batch is empty", help="give at least one example")
    return {n: np.ascontiguousarray(a) for n, a in arrays.items() if n in read}, batch, single


def _array(name: str, node: Input, value: npt.ArrayLike, dtype: np.dtype[Any]) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "fiub" or array.dtype.kind == "O":
        fail(
            "input-dtype",
            f"`{name}` takes numbers, found an array of {array.dtype}",
            help="convert it to floats or integers first",
        )
    if node.dtype == "int":
        return _labels(name, node, array)
    out = array.astype(dtype, copy=False)
    if node.role == "target" and not np.isfinite(out).all():
        fail("input-not-finite", f"the target `{name}` holds {_bad(out)}", help="remove or repair such examples")
    return out


def _labels(name: str, node: Input, array: Array) -> Array:
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            fail("input-not-finite", f"the labels `{name}` hold {_bad(array)}", help="remove or repair such examples")
        if not (array == np.floor(array)).all():
            fail("input-dtype", f"the labels `{name}` are not whole numbers", help="give class numbers from 0")
    assert node.classes is not None
    classes = node.classes.constant
    least, largest = (int(np.min(array)), int(np.max(array))) if array.size else (0, 0)
    if least < 0 or largest >= classes:
        wrong = least if least < 0 else largest
        place = [int(k) for k in np.argwhere(array == wrong)[0]]
        fail(
            "input-label",
            f"`{name}` holds the label {wrong} at {place}, but has the classes 0 to {classes - 1}",
            help="number the classes from 0",
        )
    return array.astype(np.int64, copy=False)


def _bad(array: Array) -> str:
    place = np.argwhere(~np.isfinite(array))[0]
    return f"{array[tuple(place)]} at {[int(k) for k in place]}"
