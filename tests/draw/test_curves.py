"""Curves: where points lie, what is left out, and that the text is XML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from netlang.draw.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curves

SVG = "{http://www.w3.org/2000/svg}"


def drawn(**series: Sequence[float]) -> ElementTree.Element:
    return ElementTree.fromstring(curves(series, title="a < b", across="t", up="|x|"))  # our own text


def points(picture: ElementTree.Element) -> list[list[tuple[float, ...]]]:
    lines = picture.iter(f"{SVG}polyline")
    return [[tuple(map(float, place.split(","))) for place in line.get("points", "").split()] for line in lines]


def test_a_power_law_is_a_straight_line_from_corner_to_corner() -> None:
    (line,) = points(drawn(h=[1e-4, 1e-3, 1e-2, 1e-1, 1]))
    assert line[0] == (LEFT, HEIGHT - BOTTOM)
    assert line[-1] == (WIDTH - RIGHT, TOP)
    assert {round(b[1] - a[1], 1) for a, b in pairwise(line)} == {-(HEIGHT - TOP - BOTTOM) / 4}


def test_what_has_no_logarithm_is_a_gap() -> None:
    picture = drawn(h=[1, 2, 0, 3, math.nan, math.inf, 4, 5])
    assert [len(line) for line in points(picture)] == [2, 1, 2]
    assert len(list(picture.iter(f"{SVG}circle"))) == 1  # a point alone is a dot


@pytest.mark.parametrize("series", [{}, {"h": []}, {"h": [0, 0]}, {"h": [3]}, {"h": [1, 1]}, {"h": [1e-300, 1e300]}])
def test_any_series_are_drawn(series: dict[str, list[float]]) -> None:
    picture = drawn(**series)
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert words[:3] == ["a < b", "t", "|x|"]
    assert len(words) < 25
    assert set(series) <= set(words)
    for line in points(picture):
        assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in line)
