"""Trains `captioning.net` on drawn pictures of two shapes, such as "a red square above a blue disk".

python examples/captioning.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import netlang

COLORS = ["red", "green", "blue"]
SHAPES = ["square", "disk", "cross"]
WORDS = [".", "a", *COLORS, *SHAPES, "above", "left", "of"]  # "." ends a caption and begins it
SIDE, REACH = 24, 3  # of a picture, and of a shape from its middle

Array = NDArray[Any]


def drawn(shape: str) -> Array:
    """The places of a shape around its middle."""
    i, j = np.indices((2 * REACH + 1, 2 * REACH + 1)) - REACH
    return {"square": i * j < 10, "disk": i**2 + j**2 <= REACH**2, "cross": i * j == 0}[shape]


def picture(random: np.random.Generator) -> tuple[Array, str]:
    """A picture with some noise, and its caption."""
    image = 0.1 * random.normal(size=(3, SIDE, SIDE))
    above = bool(random.integers(2))
    across = random.integers(REACH, SIDE - REACH) + random.integers(-1, 2, 2)  # the two are nearly in a line
    along = np.array([random.integers(REACH, SIDE // 2 - REACH), random.integers(SIDE // 2 + REACH, SIDE - REACH)])
    across = across.clip(REACH, SIDE - REACH - 1)
    names = []
    for row, column in zip(along, across, strict=True) if above else zip(across, along, strict=True):
        color, shape = random.integers(3), random.choice(SHAPES)
        window = image[color, row - REACH : row + REACH + 1, column - REACH : column + REACH + 1]
        window += drawn(shape)
        names.append(f"a {COLORS[color]} {shape}")
    return image, (" above " if above else " left of ").join(names)


def arrays(images: list[Array], captions: list[str]) -> dict[str, Array]:
    """What the net takes: the decoder is shown the right caption, one word late (teacher forcing)."""
    words = [[WORDS.index(word) for word in caption.split()] + [0] for caption in captions]
    count = np.array([len(row) for row in words])
    after = np.array([row + [0] * (count.max() - len(row)) for row in words])
    before = np.concatenate([np.zeros((len(words), 1), int), after[:, :-1]], axis=1)
    return {"picture": np.array(images), "before": before, "after": after, "count": count}


def captions(net: Any, images: list[Array], longest: int = 10) -> list[str]:
    """What the net writes by itself: each word is the likeliest after those that it has written."""
    stream = net.stream(picture=np.array(images))
    written = [np.zeros(len(images), int)]
    for _ in range(longest):
        written.append(stream.step(before=written[-1])["scores"].argmax(axis=-1))
    return [" ".join(WORDS[k] for k in row).partition(" .")[0] for row in np.stack(written[1:], axis=1)]


def right(net: Any, images: list[Array], expected: list[str]) -> float:
    """The fraction of pictures that get their caption, to the last word."""
    return float(np.mean([a == b for a, b in zip(captions(net, images), expected, strict=True)]))


def main() -> None:
    random = np.random.default_rng(0)
    images, texts = map(list, zip(*(picture(random) for _ in range(5000)), strict=True))
    net = netlang.load(Path(__file__).with_name("captioning.net"))
    net.fit(arrays(images[:-500], texts[:-500]), validation=arrays(images[-500:], texts[-500:]))
    print(*captions(net, images[-5:]), sep="\n")
    print(f"{right(net, images[-500:], texts[-500:]):.1%} of 500 pictures not seen before get their exact caption")


if __name__ == "__main__":
    main()
