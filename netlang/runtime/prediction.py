"""The outputs of a net over a data set, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netlang.runtime.sources import DataLike
from netlang.runtime.sources.table import Columns
from netlang.runtime.training import read

if TYPE_CHECKING:
    from netlang.runtime.net import Net


def predict(
    net: Net, data: DataLike, *, batch: int = 256, columns: Columns | None = None
) -> dict[str, npt.NDArray[Any]]:
    """The outputs by name, one row for each example, in inference mode; targets in the data are left alone.

    An output that no example decides, such as a parameter, is given once.

    Raises `NetlangError` for data that do not fit.
    """
    bound = read(net, data, columns=columns, targets=False)
    parts = [
        net.forward(**{name: array[start : start + batch] for name, array in bound.arrays.items()})
        for start in range(0, bound.examples, batch)
    ]
    forward = net.compiled("forward")
    rows = {name: node in forward.interface.batched for name, node in forward.roots.items()}
    return {name: np.concatenate([p[name] for p in parts]) if rows[name] else parts[-1][name] for name in parts[0]}
