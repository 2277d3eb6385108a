"""How large the gradient is at each step of a recurrence: whether it vanishes or explodes on its way back in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netlang.draw.curves import curves
from netlang.graph.recurrence import carried

if TYPE_CHECKING:
    from netlang.runtime.net import Net

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ThroughTime(Mapping[str, Array]):
    """The norm of the derivative of the loss by a state at each step: for each state, by name, an array [T].

    A state is what a step of a recurrence reads of the step before, such as the `h` and the `c` of a cell. The norm is
    Euclidean, over the elements of the state, of the derivative of an example's loss; the mean over the examples.
    """

    net: str
    norms: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.norms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.norms)

    def __len__(self) -> int:
        return len(self.norms)

    def draw(self) -> str:
        """The norms as curves over the steps, on a logarithmic scale: the text of an SVG picture."""
        series = {name: array.tolist() for name, array in self.norms.items()}
        return curves(series, title=f"{self.net}: gradients through time", across="step t", up="|dL/dstate[t]|")

    _repr_svg_ = draw  # how notebooks show it


def through_time(net: Net, **inputs: npt.ArrayLike) -> ThroughTime:
    """The norms of gradients through time of a net on a batch; empty for a net without a recurrence."""
    graph = net.model.training
    axes = {name: axis for name, axis in carried(graph.components).items() if graph[name].dtype == "real"}
    _, gradients = net.gradients(wrt=tuple(axes), **inputs)
    norms = {}
    for name, axis in axes.items():
        each = np.asarray(gradients[name], np.float64)
        single = each.ndim == len(graph[name].shape)
        each = each[None] if single else each * len(each)  # the loss is the mean over the batch
        each = np.moveaxis(each, axis + 1, 1).reshape(len(each), each.shape[axis + 1], -1)
        norms[name] = np.sqrt((each**2).sum(axis=2)).mean(axis=0)
    return ThroughTime(net.name, norms)
