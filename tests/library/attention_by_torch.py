"""What PyTorch's attention and transformer layers give on fixed weights, kept in a file that this script writes.

The weights and inputs are drawn by NumPy from a seed, so that only results are kept: the outputs, and the gradients of
sum(y * g) by every parameter and input, in float32. Computed by torch 2.13.0 on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FILE = Path(__file__).with_suffix(".npz")
BATCH, T, S, D, HEADS, HIDDEN = 3, 5, 4, 8, 2, 6
LENGTHS = np.array([3, 4, 1])  # of the memory: S, or T where x is the memory too


@dataclass(frozen=True)
class Case:
    """A layer with its options: `prenorm` where it has norms; `padded` says that the memory has padding."""

    layer: str
    causal: bool = False
    padded: bool = False
    prenorm: bool = False

    @property
    def name(self) -> str:
        return "-".join([self.layer, *(k for k in ("causal", "padded", "prenorm") if getattr(self, k))])


CASES = [
    *(Case("self", causal, padded) for causal in (False, True) for padded in (False, True)),
    Case("cross", padded=True),
    *(Case("encoder", causal, True, prenorm) for causal, prenorm in ((False, False), (True, True))),
    *(Case("decoder", True, padded, prenorm) for padded, prenorm in ((True, False), (False, True))),
]

ATTENTION = {"Wq": (D, D), "Wk": (D, D), "Wv": (D, D), "Wo": (D, D), "bq": (D,), "bv": (D,), "bo": (D,)}
NORM = {"gamma": (D,), "beta": (D,)}
FEEDFORWARD = {"W": (HIDDEN, D), "b": (HIDDEN,), "V": (D, HIDDEN), "c": (D,)}


def parameters(case: Case) -> dict[str, Array]:
    """The values of the parameters, by short names: `attention1.Wq`, `norm2.gamma`, `feedforward.W`."""
    count = {"self": (1, 0), "cross": (1, 0), "encoder": (1, 2), "decoder": (2, 3)}[case.layer]
    shapes = {f"attention{k + 1}.{n}": s for k in range(count[0]) for n, s in ATTENTION.items()}
    shapes |= {f"norm{k + 1}.{n}": s for k in range(count[1]) for n, s in NORM.items()}
    if count[1]:
        shapes |= {f"feedforward.{n}": s for n, s in FEEDFORWARD.items()}
    random = np.random.default_rng(7)
    return {n: (0.5 * random.normal(size=s) + n.endswith("gamma")).astype(np.float32) for n, s in shapes.items()}


def inputs(case: Case) -> dict[str, Array]:
    """`x`, the cotangent `g` of the output, and the `memory` of those that have one."""
    random = np.random.default_rng(8)
    shapes = {"x": (BATCH, T, D), "g": (BATCH, T, D)}
    if case.layer in ("cross", "decoder"):
        shapes["memory"] = (BATCH, S, D)
    return {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def by_torch(case: Case) -> dict[str, Array]:
    """The output `y`, and the gradient of sum(y * g) by each parameter and input, by its short name."""
    import torch
    from torch import nn

    options: dict[str, Any] = {"dropout": 0.0, "batch_first": True}
    tensors = {n: torch.tensor(a, requires_grad=n != "g") for n, a in inputs(case).items()}
    x, memory = tensors["x"], tensors.get("memory", tensors["x"])
    places = memory.shape[1]
    hidden = torch.arange(places)[None] >= torch.tensor(LENGTHS)[:, None] if case.padded else None
    later = torch.ones(T, T, dtype=torch.bool).triu(1) if case.causal else None
    layer: Any
    if case.layer in ("self", "cross"):
        layer = nn.MultiheadAttention(D, HEADS, **options)
        attentions, norms = [layer], []
    elif case.layer == "encoder":
        layer = nn.TransformerEncoderLayer(D, HEADS, HIDDEN, norm_first=case.prenorm, **options)
        attentions, norms = [layer.self_attn], [layer.norm1, layer.norm2]
    else:
        layer = nn.TransformerDecoderLayer(D, HEADS, HIDDEN, norm_first=case.prenorm, **options)
        attentions, norms = [layer.self_attn, layer.multihead_attn], [layer.norm1, layer.norm2, layer.norm3]

    places_of: dict[str, tuple[Any, slice]] = {}
    for k, part in enumerate(attentions, 1):
        for i, n in enumerate("qkv"):
            places_of[f"attention{k}.W{n}"] = part.in_proj_weight, slice(i * D, (i + 1) * D)
            places_of[f"attention{k}.b{n}"] = part.in_proj_bias, slice(i * D, (i + 1) * D)
        places_of[f"attention{k}.Wo"] = part.out_proj.weight, slice(None)
        places_of[f"attention{k}.bo"] = part.out_proj.bias, slice(None)
    for k, part in enumerate(norms, 1):
        places_of[f"norm{k}.gamma"], places_of[f"norm{k}.beta"] = (part.weight, slice(None)), (part.bias, slice(None))
    if norms:
        for weight, bias, part in (("W", "b", layer.linear1), ("V", "c", layer.linear2)):
            places_of[f"feedforward.{weight}"] = part.weight, slice(None)
            places_of[f"feedforward.{bias}"] = part.bias, slice(None)
    values = parameters(case)
    with torch.no_grad():
        for name, (tensor, part) in places_of.items():
            tensor[part] = torch.tensor(values.get(name, 0.0))  # a key's bias has no effect: ours have none

    if case.layer in ("self", "cross"):
        y, _ = layer(x, memory, memory, key_padding_mask=hidden, attn_mask=later, need_weights=False)
    elif case.layer == "encoder":
        y = layer(x, src_mask=later, src_key_padding_mask=hidden)
    else:
        y = layer(x, memory, tgt_mask=later, memory_key_padding_mask=hidden)
    (y * tensors["g"]).sum().backward()
    found = {"y": y.detach().numpy()}
    found |= {name: places_of[name][0].grad[places_of[name][1]].numpy() for name in values}
    return found | {n: t.grad.numpy() for n, t in tensors.items() if n != "g"}


def main() -> None:
    results = {f"{case.name}:{name}": array for case in CASES for name, array in by_torch(case).items()}
    np.savez_compressed(FILE, **results)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
