"""What PyTorch's RNN, LSTM and GRU give on fixed weights, kept in a file that this script writes.

The weights and inputs are drawn by NumPy from a seed, so that only results are kept: the outputs, and the gradients by
every parameter and input of sum(y * g), plus sum(c * e) of the last cell where it is returned, in float32. Computed by
torch 2.13.0 on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FILE = Path(__file__).with_suffix(".npz")
BATCH, T, D, N = 3, 6, 4, 5
LENGTHS = np.array([6, 3, 1])
BLOCKS = {"rnn": ("",), "relu": ("",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "")}
"""The parts of PyTorch's stacked weights, by our names for the gates."""


@dataclass(frozen=True)
class Case:
    """A cell with `layers` on top of each other; `given` initial states; `padded` sequences of the lengths above."""

    cell: str
    layers: int = 1
    bidirectional: bool = False
    given: bool = False
    padded: bool = False

    @property
    def name(self) -> str:
        flags = [k for k in ("bidirectional", "given", "padded") if getattr(self, k)]
        return "-".join([self.cell, str(self.layers), *flags])

    @property
    def suffixes(self) -> list[str]:
        """The ends of PyTorch's names of weights: `l0`, `l0_reverse`, `l1`, ..."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [f"l{k}{end}" for k in range(self.layers) for end in ends]

    @property
    def states(self) -> tuple[str, ...]:
        return () if not self.given else ("h0", "c0") if self.cell == "lstm" else ("h0",)


CASES = [
    *(Case(cell, given=True) for cell in BLOCKS),
    *(Case(cell, layers=2) for cell in ("rnn", "lstm", "gru")),
    *(Case(cell, layers=2, bidirectional=True) for cell in ("rnn", "lstm", "gru")),
    *(Case(cell, bidirectional=True, padded=True) for cell in ("lstm", "gru")),
]


def parameters(case: Case) -> dict[str, Array]:
    """PyTorch's weights by its names. Both biases are drawn, for PyTorch adds them."""
    random = np.random.default_rng([5, case.layers, case.bidirectional])
    rows = len(BLOCKS[case.cell]) * N
    found = {}
    for suffix in case.suffixes:
        width = D if suffix.startswith("l0") else N * (1 + case.bidirectional)
        for name, shape in (
            ("weight_ih", (rows, width)),
            ("weight_hh", (rows, N)),
            ("bias_ih", rows),
            ("bias_hh", rows),
        ):
            found[f"{name}_{suffix}"] = random.uniform(-0.6, 0.6, shape).astype(np.float32)
    return found


def inputs(case: Case) -> dict[str, Array]:
    """Input, cotangents of the outputs and of the last cell, and initial states."""
    random = np.random.default_rng(6)
    width = N * (1 + case.bidirectional)
    shapes = {"x": (T, D), "g": (T, width), "e": (N,), **dict.fromkeys(case.states, (N,))}
    return {name: random.standard_normal((BATCH, *shape)).astype(np.float32) for name, shape in shapes.items()}


def by_torch(case: Case) -> dict[str, Array]:
    """The output, the last cell where it is returned, and the gradients by PyTorch's names."""
    import torch

    kind = {"rnn": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.cell]
    options = {"nonlinearity": "relu"} if case.cell == "relu" else {}
    net = kind(D, N, case.layers, batch_first=True, bidirectional=case.bidirectional, **options)
    net.load_state_dict({name: torch.tensor(array) for name, array in parameters(case).items()})
    given = {name: torch.tensor(array, requires_grad=True) for name, array in inputs(case).items()}
    states = [given[name][None] for name in case.states]
    x = given["x"]
    if case.padded:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS.tolist(), batch_first=True, enforce_sorted=False)
    y, last = net(x, tuple(states) if len(states) > 1 else states[0] if states else None)
    if case.padded:
        y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=T)[0]
    found = {"y": y}
    loss = (y * given["g"]).sum()
    if case.cell == "lstm" and len(case.suffixes) == 1:
        found["c"] = last[1][0]
        loss = loss + (found["c"] * given["e"]).sum()
    loss.backward()
    results = {name: tensor.detach().numpy() for name, tensor in found.items()}
    results |= {name: tensor.grad.numpy() for name, tensor in net.named_parameters()}
    return results | {name: given[name].grad.numpy() for name in ("x", *case.states)}


def main() -> None:
    results = {f"{case.name}:{name}": array for case in CASES for name, array in by_torch(case).items()}
    np.savez_compressed(FILE, **results)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
