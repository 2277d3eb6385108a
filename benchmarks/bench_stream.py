"""One step of a stream, batch 1: an LSTM of 256 units over 80 symbols with its scores, next to PyTorch's LSTM and cell.

Outputs of the first steps must be equal. Times are medians, taken in turns. Without PyTorch, netlang is timed alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import netlang
from benchmarks.compare import CLOCKS, in_turns, medians
from benchmarks.report import machine
from netlang.runtime.net import Net

SYMBOLS, UNITS = 80, 256
TEXT = f"""
net Stream:
    input text[T]: class({SYMBOLS})
    h = text -> embedding({UNITS}) -> lstm({UNITS})
    output h -> dense({SYMBOLS})
"""
GATES = ("i", "f", "g", "o")  # in PyTorch's order


def peers(net: Net) -> dict[str, Callable[[int], np.ndarray]]:
    """PyTorch's two ways to take a step, with the weights of the net: from a symbol to the scores."""
    import torch

    torch.set_grad_enabled(False)
    values = {name: torch.from_numpy(np.array(value)) for name, value in net.params.items()}
    layer, cell = torch.nn.LSTM(UNITS, UNITS, batch_first=True), torch.nn.LSTMCell(UNITS, UNITS)
    for ours, suffix in (("W", "weight_ih"), ("U", "weight_hh"), ("b", "bias_ih")):
        whole = torch.cat([values[f"lstm_1.{ours}{gate}"] for gate in GATES])
        getattr(layer, f"{suffix}_l0").copy_(whole)
        getattr(cell, suffix).copy_(whole)
    layer.bias_hh_l0.zero_()
    cell.bias_hh.zero_()
    table, weights, bias = (values[name] for name in ("embedding_1.E", "dense_1.W", "dense_1.b"))
    states: dict[str, Any] = {"layer": None, "cell": None}

    def by_layer(symbol: int) -> np.ndarray:
        h, states["layer"] = layer(table[symbol][None, None], states["layer"])
        return torch.nn.functional.linear(h[0, 0], weights, bias).numpy()

    def by_cell(symbol: int) -> np.ndarray:
        states["cell"] = cell(table[symbol][None], states["cell"])
        return torch.nn.functional.linear(states["cell"][0][0], weights, bias).numpy()

    return {"PyTorch LSTM": by_layer, "PyTorch LSTMCell": by_cell}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each (default: 2)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    net = netlang.loads(TEXT, seed=0)
    stream = net.stream()
    ways: dict[str, Callable[[int], np.ndarray]] = {"netlang": lambda symbol: stream.step(text=symbol)["dense"]}
    try:
        ways |= peers(net)
    except ImportError:
        print("PyTorch is not installed: netlang alone")
    for symbol in (3, 1, 4, 1, 5):
        scores = {name: way(symbol).copy() for name, way in ways.items()}
        for name, other in scores.items():
            assert np.abs(other - scores["netlang"]).max() < 1e-5, f"{name} is wrong"
    calls = {name: lambda way=way: way(7) for name, way in ways.items()}  # type: ignore[misc]
    times = medians(in_turns(calls, options.seconds, CLOCKS[options.clock]))
    for name, ms in times.items():
        print(f"{name}: {1e3 * ms:.1f} us ({ms / times['netlang']:.2f}x)")
    output = Path("build", "benchmarks", "stream.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"machine": machine(), "milliseconds": times}, indent=2) + "\n")
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
