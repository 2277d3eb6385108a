"""The networks of `nets/` as PyTorch modules, with the place of every parameter of netlang in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Twin:
    """A module, and for each parameter of netlang the tensor that has it and the rows in it (None: all)."""

    module: nn.Module
    places: dict[str, tuple[nn.Parameter, slice | None]]


def twin(net: str, names: Sequence[str]) -> Twin:
    """The twin of a network whose parameters have these names, in order."""
    module = MODULES[net]()
    return Twin(module, PLACES.get(net, in_order)(module, names))


def in_order(module: nn.Module, names: Sequence[str]) -> dict[str, tuple[nn.Parameter, slice | None]]:
    """The parameters of both in the order in which they are defined."""
    return {name: (parameter, None) for name, parameter in zip(names, module.parameters(), strict=True)}


# --- images --------------------------------------------------------------------------------------------------------


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def lenet5() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(2450, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, and batch normalization."""
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """relu(f(x) + x), with a projection of x where the shape changes."""

    def __init__(self, path: nn.Module, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.path = path
        self.shortcut = nn.Identity() if (inputs, stride) == (outputs, 1) else convolution(inputs, outputs, 1, stride)

    def forward(self, x: Any) -> Any:
        return functional.relu(self.path(x) + self.shortcut(x))


def basic(inputs: int, channels: int, stride: int) -> Residual:
    path = nn.Sequential(convolution(inputs, channels, 3, stride), nn.ReLU(), convolution(channels, channels, 3))
    return Residual(path, inputs, channels, stride)


def bottleneck(inputs: int, channels: int, stride: int) -> Residual:
    path = nn.Sequential(
        *(convolution(inputs, channels, 1), nn.ReLU()),
        *(convolution(channels, channels, 3, stride), nn.ReLU()),
        convolution(channels, 4 * channels, 1),
    )
    return Residual(path, inputs, 4 * channels, stride)


def resnet20() -> nn.Module:
    layers: list[nn.Module] = [convolution(3, 16, 3), nn.ReLU()]
    width = 16
    for channels in (16, 32, 64):
        for k in range(3):
            layers.append(basic(width, channels, 2 if k == 0 and channels > 16 else 1))
            width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet50() -> nn.Module:
    layers: list[nn.Module] = [convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for channels, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for k in range(count):
            layers.append(bottleneck(width, channels, 2 if k == 0 and channels > 64 else 1))
            width = 4 * channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    width = 3
    for channels, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
            width = channels
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))


# --- sequences -----------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, cell: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 64)
        self.cell = cell(64, 256, batch_first=True)
        self.dense = nn.Linear(256, 64)
        for name, parameter in self.cell.named_parameters():
            if name.startswith("bias"):  # there are two of each, of which netlang has the first
                nn.init.zeros_(parameter)

    def forward(self, text: Any) -> Any:
        return self.dense(self.cell(self.embedding(text))[0])


def recurrent_places(gates: str) -> Callable[..., dict[str, tuple[nn.Parameter, slice | None]]]:
    """Where the gates are in PyTorch's stacked matrices; `gates` has their letters in that order, `-` for none."""

    def places(module: Any, names: Sequence[str]) -> dict[str, tuple[nn.Parameter, slice | None]]:
        cell = module.cell
        stacked = {"W": cell.weight_ih_l0, "U": cell.weight_hh_l0, "b": cell.bias_ih_l0, "c": cell.bias_hh_l0}
        found: dict[str, tuple[nn.Parameter, slice | None]] = {names[0]: (module.embedding.weight, None)}
        for name in names[1:-2]:
            letter = name.rpartition(".")[2]
            row = gates.index(letter[1:] or "-")
            found[name] = stacked[letter[0]], slice(256 * row, 256 * row + 256)
        return found | {names[-2]: (module.dense.weight, None), names[-1]: (module.dense.bias, None)}

    return places


class Block(nn.Module):
    """A causal block of the transformer that normalizes what it reads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.hidden, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Any) -> Any:
        b, t, d = x.shape
        parts = self.project(self.norm_1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(b, t, d))
        return x + self.out(functional.gelu(self.hidden(self.norm_2(x))))

    def places(self) -> list[tuple[nn.Parameter, slice | None]]:
        """In netlang's order: norm, queries, keys, values, mixture, biases (keys have none), norm, feed-forward."""
        width = self.mix.in_features
        q, k, v = (slice(width * n, width * n + width) for n in range(3))
        weight, bias = self.project.weight, self.project.bias
        return [
            *((self.norm_1.weight, None), (self.norm_1.bias, None)),
            *((weight, q), (weight, k), (weight, v), (self.mix.weight, None)),
            *((bias, q), (bias, v), (self.mix.bias, None)),
            *((self.norm_2.weight, None), (self.norm_2.bias, None)),
            *((self.hidden.weight, None), (self.hidden.bias, None), (self.out.weight, None), (self.out.bias, None)),
        ]


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 128)
        self.blocks = nn.Sequential(Block(128, 4), Block(128, 4))
        self.norm, self.dense = nn.LayerNorm(128), nn.Linear(128, 64)

    def forward(self, text: Any) -> Any:
        return self.dense(self.norm(self.blocks(self.embedding(text))))


def transformer_places(module: Any, names: Sequence[str]) -> dict[str, tuple[nn.Parameter, slice | None]]:
    ends = [(parameter, None) for layer in (module.norm, module.dense) for parameter in (layer.weight, layer.bias)]
    inside = [place for block in module.blocks for place in block.places()]
    return dict(zip(names, [(module.embedding.weight, None), *inside, *ends], strict=True))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "lenet5": lenet5,
    "resnet20": resnet20,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "rnn": lambda: Recurrent(nn.RNN),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "transformer": Transformer,
}
PLACES: dict[str, Callable[..., dict[str, tuple[nn.Parameter, slice | None]]]] = {
    "rnn": recurrent_places("-"),
    "lstm": recurrent_places("ifgo"),
    "gru": recurrent_places("rz-"),
    "transformer": transformer_places,
}
