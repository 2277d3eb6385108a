"""The outputs of a net over a data set, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netlang.graph.nodes import is_batched
from netlang.runtime.net import example_shape
from netlang.runtime.sources import DataLike, open_data
from netlang.runtime.sources.table import Columns

if TYPE_CHECKING:
    from netlang.runtime.net import Net


def predict(
    net: Net, data: DataLike, *, batch: int = 256, columns: Columns | None = None
) -> dict[str, npt.NDArray[Any]]:
    """The outputs by name, one row for each example, in inference mode; targets in the data are left alone.

    An output that no example decides, such as a parameter, is given once.

    Raises `NetlangError` for data that do not fit.
    """
    wanted = []
    for node in net.inputs:
        dtype = np.dtype(np.int64) if node.dtype == "int" else net.dtype
        wanted.append((node.name, example_shape(node), dtype, node.classes.constant if node.classes else None))
    bound = open_data(data, columns=columns).bind(wanted, dtype=net.dtype)
    parts = [
        net.forward(**{name: array[start : start + batch] for name, array in bound.arrays.items()})
        for start in range(0, bound.examples, batch)
    ]
    graph = net.model.forward_graph
    rows = {name: is_batched(graph[node]) for name, node in (graph.outputs or graph.losses).items()}
    return {name: np.concatenate([p[name] for p in parts]) if rows[name] else parts[-1][name] for name in parts[0]}
