"""The table of what is timed: a network of `nets/`, training or inference, the batch, the run-time sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import netlang
from netlang.runtime.net import Net
from netlang.runtime.synthetic import random_inputs

NETS = Path(__file__).parent / "nets"


@dataclass(frozen=True)
class Workload:
    """`is_image` says that a peer may keep channels last."""

    net: str
    title: str
    training: bool
    batch: int
    sizes: Mapping[str, int] = field(default_factory=dict)
    is_image: bool = False

    @property
    def name(self) -> str:
        return f"{self.net}-{'train' if self.training else 'infer'}-{self.batch}"

    @property
    def what(self) -> str:
        return f"{self.title}, {'train step' if self.training else 'inference'}, batch {self.batch}"

    def load(self, dtype: str = "float32") -> Net:
        """The network with its first values, which are those of float32."""
        net = netlang.load(NETS / f"{self.net}.net", seed=0, dtype=dtype)
        for name, value in net.params.items():
            net.params[name] = value.astype(np.float32)
        return net

    @cached_property
    def data(self) -> dict[str, npt.NDArray[Any]]:
        """Random inputs and targets by name."""
        return random_inputs(self.load(), self.batch, self.sizes, np.random.default_rng(0))


TEXT = {"T": 64}

WORKLOADS = (
    Workload("mlp", "MLP 784-128-10", True, 64),
    Workload("mlp", "MLP 784-128-10", False, 1),
    Workload("lenet5", "LeNet-5", True, 64, is_image=True),
    Workload("lenet5", "LeNet-5", False, 1, is_image=True),
    Workload("resnet20", "ResNet-20, 32x32", True, 64, is_image=True),
    Workload("resnet50", "ResNet-50, 224x224", False, 1, is_image=True),
    Workload("resnet50", "ResNet-50, 224x224", True, 8, is_image=True),
    Workload("vgg16", "VGG-16, 224x224", False, 1, is_image=True),
    Workload("rnn", "RNN, 256 units, 64 steps", True, 32, TEXT),
    Workload("lstm", "LSTM, 256 units, 64 steps", True, 32, TEXT),
    Workload("gru", "GRU, 256 units, 64 steps", True, 32, TEXT),
    Workload("transformer", "transformer, 2 blocks, 64 steps", True, 16, TEXT),
)
