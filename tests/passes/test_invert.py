"""The inverted access against scattering, for random accesses."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from netlang.graph.constructors import at_least_zero, every, is_zero, read, select
from netlang.graph.expression import ZERO
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index, integer
from netlang.passes.derive import derive
from netlang.passes.invert import collapse, invert
from netlang.passes.simplify import simplify
from netlang.targets.reference import evaluate
from tests.passes.graphs import equation, graph, param, weighted

NAMES = ("a", "b", "c")


@st.composite
def affine(draw: st.DrawFn) -> Int:
    value = integer(draw(st.integers(-3, 3)))
    for name in NAMES:
        value = value + draw(st.sampled_from([0, 0, 1, 1, -1, 2, 3, 4])) * index(name)
    return value


@st.composite
def accesses(draw: st.DrawFn) -> Int:
    value = draw(affine())
    form = draw(st.integers(0, 4))
    if form == 1:
        value = value // draw(st.integers(2, 4))
    elif form == 2:
        value = value % draw(st.integers(2, 4))
    elif form == 3:
        value = 2 * (value // 3) + draw(affine())
    elif form == 4:
        value = draw(affine()) // 2 - value % 3
    return value


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, int], list[Int], list[int]]:
    extents = {name: draw(st.integers(1, 5)) for name in NAMES}
    access = draw(st.lists(accesses(), min_size=1, max_size=2))
    shape = []
    for k, place in enumerate(access):
        seen = [place.substitute(known).evaluate({}) for known in _places(extents)]
        access[k] = place - min(seen)
        shape.append(max(seen) - min(seen) + 1 - draw(st.integers(0, 1)) * (max(seen) > min(seen)))
    return extents, access, shape


def _places(extents: dict[str, int]) -> list[dict[str, Int]]:
    grid = itertools.product(*(range(n) for n in extents.values()))
    return [{name: integer(k) for name, k in zip(extents, place, strict=True)} for place in grid]


def network(extents: dict[str, int], access: list[Int], shape: list[int]) -> Graph:
    """`y` at every place of the indices reads `x` by the access, where that is inside `x`."""
    inside = every(at_least_zero(n - 1 - place) for place, n in zip(access, shape, strict=True))
    y = equation("y", extents, select(inside, read("x", *access), ZERO))
    return graph(param("x", *shape), y, *weighted(y))


@settings(max_examples=150, deadline=None)
@given(problems())
def test_gather_equals_scatter(problem):
    extents, access, shape = problem
    w = np.random.default_rng(0).standard_normal(tuple(extents.values()))
    expected = np.zeros(shape)
    for known in _places(extents):
        place = tuple(a.substitute(known).evaluate({}) for a in access)
        if all(k < n for k, n in zip(place, shape, strict=True)):
            expected[place] += w[tuple(v.constant for v in known.values())]
    derived = derive(network(*problem), "L", ["x"])
    for form in (derived, simplify(derived)):
        found = evaluate(form, {"x": np.zeros(shape), "w": w})[form.gradients["x"]]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_digits():
    solved = invert([5 * index("a") + index("b")], [index("j")], {"a": integer(4), "b": integer(5)}, {"j": integer(20)})
    assert solved.values == {"a": index("j") // 5, "b": index("j") % 5}
    assert not solved.ranges
    assert solved.guard == every([])


def test_the_longer_range_is_eliminated():
    ranges = {"i": integer(30), "p": integer(3)}
    solved = invert([index("i") + index("p")], [index("j")], ranges, {"j": integer(32)})
    assert solved.values == {"i": index("j") - index("p")}
    assert list(solved.ranges) == ["p"]


def test_collapse_of_a_multiple():
    body = select(is_zero(2 * index("j") - index("i")), read("x", index("j")), ZERO)
    left, body = collapse({"j": integer(3)}, body, {"i": integer(9)})
    assert left == {}
    assert body == select(
        every([at_least_zero(2 - index("i") // 2), is_zero(index("i") % 2)]), read("x", index("i") // 2), ZERO
    )
