"""What netlang is compared with: each module has `peers(workload)`, or says by `Absent` why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


class Absent(Exception):  # noqa: N818 - nothing went wrong
    """A peer that cannot take part, and why."""


@dataclass(frozen=True)
class Peer:
    """A network ready to run on the data of a workload.

    `results` computes what is compared: the output, or in training the gradients by every parameter, by netlang's
    names. `run` is what is timed: the inference, or the whole step.
    """

    name: str
    results: Callable[[], Mapping[str, Array]]
    run: Callable[[], Any]
