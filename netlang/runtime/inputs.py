"""Arrays that a user gives to a net: checked against its inputs and brought into their dtypes and layout."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing, nearest
from netlang.graph.graph import Graph
from netlang.graph.nodes import BATCH, Input
from netlang.graph.sizes import Requirement, check, learn, matches, run_time_sizes, settled, written
from netlang.targets.cpu.program import CpuProgram

Array = npt.NDArray[Any]


def checked_inputs(
    net: str, graph: Graph, program: CpuProgram, given: Mapping[str, npt.ArrayLike], dtype: np.dtype[Any]
) -> tuple[dict[str, Array], dict[str, int], bool]:
    """The arrays that a program reads, with the batch in front, the run-time sizes, and whether it is a single example.

    `graph` is the lifted graph of the program. Raises `NetlangError`: `input-missing`, `input-unknown`, `input-shape`,
    `input-dtype`, `input-batch`, `input-label`, `input-not-finite` (labels and targets only), `requirement`.
    """
    declared = {n.name: n for n in graph if isinstance(n, Input) and n.per_example}
    read = {b.name for b in program.program.of_kind("input")}
    return checked(net, declared, read, program.program.sizes, graph.requirements, given, dtype)


def checked(
    net: str,
    declared: Mapping[str, Input],
    read: Collection[str],
    wanted: Iterable[str],
    requirements: Iterable[Requirement],
    given: Mapping[str, npt.ArrayLike],
    dtype: np.dtype[Any],
    known: Mapping[str, int] = MappingProxyType({}),
) -> tuple[dict[str, Array], dict[str, int], bool]:
    """The arrays `given` for declared inputs, as `checked_inputs`.

    Those that are `read` must be given, and are returned; `wanted` are the run-time sizes that the arrays must tell.
    `known` are others, which numbers of classes may name.
    """
    for name in given:
        if name not in declared:
            fail(
                "input-unknown",
                f"`{net}` has no input `{name}`",
                help=nearest(name, declared) or f"its inputs are {listing(declared)}",
            )
    arrays: dict[str, Array] = {}
    for name, node in declared.items():
        if name in given:
            arrays[name] = input_array(name, node, given[name], dtype)
        elif name in read:
            fail("input-missing", f"`{net}` needs the {node.role} `{name}` here", help=f"give it: `{name}=...`")
    single = bool(arrays) and all(a.ndim == len(declared[n].shape) - 1 for n, a in arrays.items())
    if single:
        arrays = {name: a[None] for name, a in arrays.items()}
    sizes = _sizes(arrays, declared, single)
    check(requirements, sizes)
    for name, array in arrays.items():
        if (classes := declared[name].classes) is not None:
            if (number := settled((classes,), {**known, **sizes})) is not None:
                _check_labels(name, array, number[0])
            arrays[name] = array.astype(np.int64, copy=False)
    for size in wanted:
        if size not in sizes:
            absent = next(n for n in declared.values() if size in run_time_sizes([n]))
            fail(
                "input-missing",
                f"`{net}` needs the {absent.role} `{absent.name}` here, which says how much `{size}` is",
                help=f"give it: `{absent.name}=...`",
            )
    return {n: np.ascontiguousarray(a) for n, a in arrays.items() if n in read}, sizes, single


def sizes_of(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, int]:
    """The run-time sizes, the batch among them, that arrays known to fit a lifted graph's inputs say."""
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        sizes[BATCH] = len(array)
        if name in graph.nodes:
            matches(graph[name].shape, array.shape, sizes)
    return sizes


def _sizes(arrays: Mapping[str, Array], declared: Mapping[str, Input], single: bool) -> dict[str, int]:
    """The run-time sizes, the batch among them, that the shapes of the arrays say."""
    sizes: dict[str, int] = {}
    source: dict[str, str] = {}  # the input that said a size
    for name, array in arrays.items():
        learn(declared[name].shape[1:], array.shape[1:], sizes)
        for size in sizes:
            source.setdefault(size, name)
    for name, array in arrays.items():
        extents = declared[name].shape[1:]
        if array.ndim == len(extents) + 1 and not array.shape[0]:
            fail("input-batch", "the batch is empty", help="give at least one example")
        if BATCH in sizes and array.ndim == len(extents) + 1 and array.shape[0] != sizes[BATCH]:
            fail(
                "input-batch",
                f"`{source[BATCH]}` has {sizes[BATCH]} examples, `{name}` has {array.shape[0]}",
                help="give all inputs the same number",
            )
        if not matches(extents, array.shape[1:], sizes):
            found = list(array.shape[1:] if single else array.shape)
            others = [(s, n) for s, n in source.items() if n != name and s in run_time_sizes([declared[name]])]
            fail(
                "input-shape",
                f"`{name}` takes {written(extents)} for each example, found an array of shape {found}",
                notes=[f"`{other}` says that {size} is {sizes[size]}" for size, other in others],
                help=f"give it the shape [batch{''.join(f', {n}' for n in extents)}]",
            )
        sizes.setdefault(BATCH, array.shape[0])
        source.setdefault(BATCH, name)
    return sizes or {BATCH: 1}


def input_array(name: str, node: Input, value: npt.ArrayLike, dtype: np.dtype[Any]) -> Array:
    """The array that is given for an input, of numbers of its kind; raises `input-dtype`, `input-not-finite`."""
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
        _check_whole(name, array)
        return array
    out = array.astype(dtype, copy=False)
    if node.role == "target" and not np.isfinite(out).all():
        fail("input-not-finite", f"the target `{name}` holds {_bad(out)}", help="remove or repair such examples")
    return out


def _check_whole(name: str, array: Array) -> None:
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            fail("input-not-finite", f"the labels `{name}` hold {_bad(array)}", help="remove or repair such examples")
        if not (array == np.floor(array)).all():
            fail("input-dtype", f"the labels `{name}` are not whole numbers", help="give class numbers from 0")


def _check_labels(name: str, array: Array, classes: int) -> None:
    least, largest = (int(np.min(array)), int(np.max(array))) if array.size else (0, 0)
    if least < 0 or largest >= classes:
        wrong = least if least < 0 else largest
        place = [int(k) for k in np.argwhere(array == wrong)[0]]
        fail(
            "input-label",
            f"`{name}` holds the label {wrong} at {place}, but has the classes 0 to {classes - 1}",
            help="number the classes from 0",
        )


def _bad(array: Array) -> str:
    place = np.argwhere(~np.isfinite(array))[0]
    return f"{array[tuple(place)]} at {[int(k) for k in place]}"
