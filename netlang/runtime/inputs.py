"""The inputs of a graph as arguments of a call, and the sizes that arrays for them say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netlang.graph.integer import Int, Size
from netlang.graph.nodes import BATCH, Input
from netlang.graph.sizes import matches, run_time_sizes
from netlang.runtime.arguments import Argument, Extent

Array = npt.NDArray[Any]


def arguments(inputs: Iterable[Input], dtype: np.dtype[Any]) -> dict[str, Argument]:
    """Inputs of a lifted graph by name, reals in `dtype`."""
    return {
        node.name: Argument(
            node.name,
            node.role,
            np.dtype(np.int64) if node.dtype == "int" else dtype,
            tuple(map(_extent, node.shape[1:])),
            run_time_sizes([node]),
            None if node.classes is None else _extent(node.classes),
        )
        for node in inputs
    }


def _extent(extent: Int) -> Extent:
    atom = extent.single
    if extent.is_constant:
        return extent.constant
    return atom.name if isinstance(atom, Size) else extent


def sizes_of(inputs: Iterable[Input], arrays: Mapping[str, Array]) -> dict[str, int]:
    """The run-time sizes, the batch among them, that arrays known to fit a lifted graph's inputs say."""
    shapes = {node.name: node.shape for node in inputs}
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        sizes[BATCH] = len(array)
        if name in shapes:
            matches(shapes[name], array.shape, sizes)
    return sizes
