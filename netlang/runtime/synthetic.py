"""Random inputs and targets for a net, where what they are does not matter: to time it, to check its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from netlang.runtime.net import Net


def random_inputs(
    net: Net, batch: int, sizes: Mapping[str, int], random: np.random.Generator
) -> dict[str, npt.NDArray[Any]]:
    """Arrays for all inputs and targets, of these run-time sizes, in the net's dtype.

    Reals are standard normal, those of targets between 0 and 1, so that they may be probabilities; classes are uniform.
    """
    given: dict[str, npt.NDArray[Any]] = {}
    for node in (*net.inputs, *net.targets):
        shape = (batch, *(extent.evaluate(sizes) for extent in node.shape))
        if node.classes is not None:
            given[node.name] = random.integers(0, node.classes.evaluate(sizes), shape)
        elif node.role == "target":
            given[node.name] = random.uniform(0.05, 0.95, shape).astype(net.dtype)
        else:
            given[node.name] = random.standard_normal(shape).astype(net.dtype)
    return given
