"""The small data sets that scikit-learn carries in its package: nothing is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from netlang.diagnostics import fail, listing, nearest
from netlang.runtime.data import Dataset

__all__ = ["BUNDLED", "open_bundled"]

BUNDLED = ("digits", "iris", "wine", "breast_cancer", "diabetes")


def open_bundled(name: str) -> Dataset:
    """`data` (features, float64) and `target` (class numbers as int64, for diabetes a float64 score) of a bundled set.

    Both have roles, so that a network with one input and one target binds them whatever it calls its own. Values are
    scikit-learn's: the 64 pixels of a digit, row by row, are 0 to 16. `labels` has the class names.

    Raises `NetlangError`: `data-source` (no such set), `missing-dependency` (scikit-learn is not installed).
    """
    origin = f"sklearn:{name}"
    if name not in BUNDLED:
        fail(
            "data-source",
            f"there is no data set `{origin}`",
            place=origin,
            help=nearest(name, BUNDLED) or f"there are {listing(BUNDLED)}",
        )
    try:
        from sklearn import datasets
    except ImportError:
        fail(
            "missing-dependency",
            f"`{origin}` comes with scikit-learn, which is not installed",
            place=origin,
            help="run `pip install scikit-learn`, or install netlang with its `data` extra",
        )
    bunch: Any = getattr(datasets, f"load_{name}")()
    classes = getattr(bunch, "target_names", None)
    target = np.asarray(bunch.target)
    return Dataset(
        {
            "data": np.asarray(bunch.data, dtype=np.float64),
            "target": target.astype(np.float64 if classes is None else np.int64),
        },
        features="data",
        target="target",
        labels={} if classes is None else {"target": tuple(map(str, classes))},
        origin=origin,
    )
