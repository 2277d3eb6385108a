"""Curves over the steps of a sequence as an SVG picture, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 180, 40, 50  # margins, the right one for the legend
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito, 2008
MOST_TICKS = 8


def curves(series: Mapping[str, Sequence[float]], *, title: str, across: str, up: str) -> str:
    """The picture of several series of numbers by name, over 0, 1, 2, ..., with their names in a legend.

    What has no logarithm (0, or a number that is not finite) is left out, so that its curve has a gap.
    """
    shown = [value for values in series.values() for value in values if _shows(value)]
    low, high = (math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))) if shown else (0, 1)
    high = max(high, low + 1)
    last = max(1, *(len(values) - 1 for values in series.values())) if series else 1
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(step: float) -> float:
        return LEFT + wide * step / last

    def y(exponent: float) -> float:
        return TOP + tall * (high - exponent) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=14),
        _text(LEFT + wide / 2, HEIGHT - 12, across, anchor="middle"),
        f'<g transform="translate(16 {TOP + tall / 2:.1f}) rotate(-90)">{_text(0, 0, up, anchor="middle")}</g>',
    ]
    for exponent in _ticks(low, high):
        parts.append(_line(LEFT, y(exponent), WIDTH - RIGHT, y(exponent), "#dddddd"))
        parts.append(_text(LEFT - 6, y(exponent) + 4, f"1e{exponent}" if exponent else "1", anchor="end"))
    for step in _ticks(0, last):
        parts.append(_line(x(step), TOP + tall, x(step), TOP + tall + 4, "#555555"))
        parts.append(_text(x(step), TOP + tall + 18, str(step), anchor="middle"))
    parts.append(_line(LEFT, TOP + tall, WIDTH - RIGHT, TOP + tall, "#555555"))
    for k, (name, values) in enumerate(series.items()):
        colour = COLOURS[k % len(COLOURS)]
        for run in _runs(values):
            places = " ".join(f"{x(step):.1f},{y(math.log10(values[step])):.1f}" for step in run)
            parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
            if len(run) == 1:
                parts.append(
                    f'<circle cx="{x(run[0]):.1f}" cy="{y(math.log10(values[run[0]])):.1f}" r="3" fill="{colour}"/>'
                )
        legend, level = WIDTH - RIGHT + 14, TOP + 12 + 18 * k
        parts.append(_line(legend, level, legend + 24, level, colour, 2))
        parts.append(_text(legend + 30, level + 4, name))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _shows(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _runs(values: Sequence[float]) -> Iterator[list[int]]:
    """The steps that are shown, in stretches without a gap."""
    run: list[int] = []
    for step, value in enumerate(values):
        if _shows(value):
            run.append(step)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _ticks(first: int, last: int) -> range:
    """Whole numbers from `first` on that are at most `MOST_TICKS`, 1, 2 or 5 times a power of ten apart."""
    apart = next(m * 10**e for e in count() for m in (1, 2, 5) if last - first < MOST_TICKS * m * 10**e)
    return range(-(-first // apart) * apart, last + 1, apart)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
