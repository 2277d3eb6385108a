"""The course of a training run: its epochs, and what a net was at the end of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    from netlang.runtime.net import Net

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to. `objective` is the mean over its steps; `validation` has losses and metrics by name."""

    number: int
    objective: float
    validation: Mapping[str, float]


@dataclass(frozen=True)
class History:
    """The epochs of a run; `best` is the number of the one whose parameters the net has."""

    epochs: tuple[Epoch, ...] = ()
    best: int | None = None

    def __getitem__(self, name: str) -> list[float]:
        """A curve by name: `objective`, or a loss or metric of the validation data."""
        if name == "objective":
            return [e.objective for e in self.epochs]
        return [e.validation[name] for e in self.epochs]

    def to_json(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "epochs": [
                {"number": e.number, "objective": e.objective, "validation": dict(e.validation)} for e in self.epochs
            ],
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> History:
        epochs = tuple(
            Epoch(int(e["number"]), float(e["objective"]), {str(k): float(v) for k, v in e["validation"].items()})
            for e in document["epochs"]
        )
        return History(epochs, document["best"])


@dataclass(frozen=True)
class Snapshot:
    """The values and counters of a net at the end of an epoch."""

    values: Mapping[str, Array]
    steps: int
    epochs: int
    watched: float = float("inf")

    @staticmethod
    def of(net: Net) -> Snapshot:
        return Snapshot({n: a.copy() for n, a in net.values.items()}, net.steps_done, net.epochs_done)

    def restore_values(self, net: Net) -> None:
        for name, value in self.values.items():
            net.values.put(name, value)

    def restore(self, net: Net) -> None:
        self.restore_values(net)
        net.steps_done, net.epochs_done = self.steps, self.epochs
