"""The value of every node of a graph, by NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from netlang.diagnostics import InternalError, fail, nearest
from netlang.graph.expression import Expr, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, Size
from netlang.graph.nodes import BATCH, Equation, Input, Node, Param, Random, State, View
from netlang.graph.recurrence import Loop
from netlang.graph.text import shape_text
from netlang.graph.traversal import integers, walk
from netlang.targets.reference.contraction import contract
from netlang.targets.reference.grid import Grid

Array = NDArray[Any]

BLOCK = 1 << 22  # elements of an iteration space that are evaluated at once (32 MiB for each temporary in float64)
CACHED = 1 << 14  # draws that are made at once: what they are made of stays in a cache


def evaluate(
    graph: Graph,
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
    *,
    seed: int = 0,
    step: int = 0,
    only: Iterable[str] | None = None,
    dtype: DTypeLike = np.float64,
    direct: bool = True,
) -> dict[str, Array]:
    """The value of every node, by name: real tensors in `dtype`, integer tensors in int64.

    `arrays` holds the value of each Input, Param and State (and of any other node that is not to be computed); `sizes`
    the run-time sizes, which are read off the arrays' shapes where not given (a graph of one example has a batch of 1).
    `seed` and `step` key the random nodes. With `only`, the named nodes and what they need. `direct` evaluates each
    contraction over its whole index grid; without it, by `np.einsum` over the gathered factors: the same value to
    rounding, faster.

    Raises `NetlangError` (`array-missing`, `array-shape`, `array-label`, `size-unknown`, `unknown-name`) where the
    arrays do not fit the graph, and `InternalError` where an equation reads outside a tensor.

    >>> from netlang.elaboration.elaborator import elaborate
    >>> from netlang.elaboration.modules import module_from_text
    >>> module = module_from_text("net Double:\\n    input x[2]\\n    y = 2 * x\\n    output y\\n")
    >>> evaluate(elaborate(module, module.nets()[0]), {"x": np.array([1.0, 2.0])})["y"]
    array([2., 4.])
    """
    needed = set(graph.nodes) if only is None else _needed(graph, only, arrays)
    known = {name: value for name, value in arrays.items() if name in needed}
    run = _Evaluation(graph, _sizes(graph, needed, known, sizes or {}), seed, step, np.dtype(dtype), direct)
    with np.errstate(all="ignore"):  # branches that are not taken may divide by zero or overflow
        for part in graph.components:
            nodes = part.nodes if isinstance(part, Loop) else (part,)
            run.values.update({n.name: run.given(n, known) for n in nodes if n.name in known})
            wanted = {n.name for n in nodes if n.name in needed and n.name not in known}
            if not wanted:
                continue
            if isinstance(part, Loop):
                run.loop(part, wanted, {})
            else:
                run.values[part.name] = run.value(part)
    return run.values


@dataclass(frozen=True)
class _Evaluation:
    """One evaluation of a graph: what is fixed, and the values so far."""

    graph: Graph
    sizes: Mapping[str, int]
    seed: int
    step: int
    dtype: np.dtype[Any]
    direct: bool
    values: dict[str, Array] = field(default_factory=dict)

    def given(self, node: Node, arrays: Mapping[str, Array]) -> Array:
        array, shape = np.asarray(arrays[node.name]), self.shape(node)
        if array.shape != shape:
            fail(
                "array-shape",
                f"`{node.name}` has shape {list(shape)}, and the array given for it {list(array.shape)}",
                node.origin.span,
                help=f"give an array of shape {shape_text(node.shape)}",
            )
        if isinstance(node, Input) and node.classes is not None:
            classes = node.classes.evaluate(self.sizes)
            if not np.all((array >= 0) & (array < classes) & (array == np.floor(array))):
                fail(
                    "array-label",
                    f"the array for `{node.name}` has labels that are not whole numbers from 0 to {classes - 1}",
                    node.origin.span,
                    help=f"number the {classes} classes from 0",
                )
        return array.astype(self.type_of(node))

    def value(self, node: Node) -> Array:
        if isinstance(node, Equation):
            return self.equation(node)
        if isinstance(node, View):
            return self.values[node.operand].reshape(self.shape(node))
        if isinstance(node, Random):
            return self.random(node)
        if isinstance(node, Input | Param | State):
            fail(
                "array-missing",
                f"there is no value for the {type(node).__name__.lower()} `{node.name}`",
                node.origin.span,
                help=f"give an array of shape {shape_text(node.shape)}",
            )
        raise InternalError(
            "the reference target", f"`{node.name}` is a {type(node).__name__}, which it cannot evaluate"
        )

    def loop(self, loop: Loop, wanted: set[str], at: Mapping[str, Mapping[str, range]]) -> None:
        """A loop over time, step by step; `at` fixes the indices of its equations that outer loops run over."""
        for node in loop.nodes:
            if node.name in wanted:
                self.values.setdefault(node.name, np.zeros(self.shape(node), self.type_of(node)))
        steps = range(loop.steps.evaluate(self.sizes))
        for step in reversed(steps) if loop.backward else steps:
            now = {n.name: {**at.get(n.name, {}), _time(n, loop): range(step, step + 1)} for n in loop.nodes}
            for part in loop.body:
                if isinstance(part, Loop):
                    self.loop(part, wanted, now)
                elif part.name in wanted:
                    assert isinstance(part, Equation)
                    self.equation(part, now[part.name])

    def equation(self, node: Equation, at: Mapping[str, range] | None = None) -> Array:
        """The whole equation, or its part where the indices are in `at`, block by block."""
        dtype = self.type_of(node)
        # an integer is exact in float64 up to 2^53, in narrower types not
        real = np.dtype(np.float64) if node.dtype == "int" else self.dtype
        whole = {name: range(extent.evaluate(self.sizes)) for name, extent in node.extents.items()} | dict(at or {})
        bound = dict(node.body.ranges) if isinstance(node.body, Reduce) else {}
        reduced = {name: range(extent.evaluate(self.sizes)) for name, extent in bound.items()}
        if not self.direct and at is None:
            contracted = contract(node, Grid(node.name, whole | reduced, self.values, self.sizes, real))
            if contracted is not None:
                return contracted
        out = self.values[node.name] if at is not None else np.empty([len(p) for p in whole.values()], dtype)
        for block in _blocks(whole, prod(len(places) for places in reduced.values())):
            grid = Grid(node.name, block | reduced, self.values, self.sizes, real)
            place = tuple(slice(places.start, places.stop) for places in block.values())
            out[place] = _reduced(node.body, grid, len(block))
        return out

    def random(self, node: Random) -> Array:
        from netlang.random import derive_key, normal, uniform

        key = derive_key(self.seed, self.step, node.stream)
        shape = self.shape(node)
        count = prod(shape)
        if node.distribution == "haar":
            draws = normal(key, np.arange(count, dtype=np.int64))
            return orthonormal(draws.reshape(shape[0], -1)).reshape(shape).astype(self.dtype)
        draw = {"uniform": uniform, "normal": normal}[node.distribution]
        out = np.empty(count, self.dtype)
        for start in range(0, count, CACHED):
            out[start : start + CACHED] = draw(key, np.arange(start, min(start + CACHED, count), dtype=np.int64))
        return out.reshape(shape)

    def shape(self, node: Node) -> tuple[int, ...]:
        return tuple(extent.evaluate(self.sizes) for extent in node.shape)

    def type_of(self, node: Node) -> np.dtype[Any]:
        return np.dtype(np.int64) if node.dtype == "int" else self.dtype


def _time(node: Node, loop: Loop) -> str:
    assert isinstance(node, Equation)
    return node.indices[loop.axes[node.name]]


def orthonormal(normal: Array) -> Array:
    """A Haar-distributed matrix with orthonormal rows or columns, whichever are fewer, from one of normal draws.

    The orthogonal factor of the QR decomposition with the diagonal of the other made positive, without which it is not
    uniform (Mezzadri, "How to generate random matrices from the classical compact groups", 2007, section 5).
    """
    rows, columns = normal.shape
    tall = normal if rows >= columns else normal.T
    q, r = np.linalg.qr(tall)
    diagonal = np.diagonal(r)
    q = q * np.where(diagonal < 0, -1.0, 1.0)
    return np.asarray(q if rows >= columns else q.T)


def _reduced(body: Expr, grid: Grid, rank: int) -> Array:
    """The body on the grid, its reduction (if any) taken over the axes after the first `rank`."""
    if not isinstance(body, Reduce):
        return np.broadcast_to(grid.expression(body), grid.shape)
    full = np.broadcast_to(grid.expression(body.body), grid.shape)
    flat = full.reshape(*grid.shape[:rank], prod(grid.shape[rank:]))
    return np.asarray(_REDUCTIONS[body.op](flat, axis=-1))


def _search(values: Array, axis: int) -> Array:
    found = np.argmax(values > 0, axis=axis)
    return np.asarray(np.where(np.any(values > 0, axis=axis), found, values.shape[axis] - 1))


# argmax and argmin give the first extreme, in the row-major order of the ranges
_REDUCTIONS: dict[str, Any] = {
    "sum": np.sum,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "argmax": np.argmax,
    "argmin": np.argmin,
    "search": _search,
}


def _blocks(whole: Mapping[str, range], inner: int) -> Iterator[dict[str, range]]:
    """Parts of an iteration space with at most `BLOCK` elements each (or one element of the left-hand side)."""
    total = inner * prod(len(places) for places in whole.values())
    split = next((name for name, places in whole.items() if len(places) > 1), None)
    if total <= BLOCK or split is None:
        yield dict(whole)
        return
    places = whole[split]
    width = max(1, BLOCK * len(places) // total)
    for start in range(places.start, places.stop, width):
        yield from _blocks({**whole, split: range(start, min(start + width, places.stop))}, inner)


def _needed(graph: Graph, only: Iterable[str], arrays: Mapping[str, Array]) -> set[str]:
    """The named nodes and what they are computed from, stopping at the nodes whose value is given."""
    seen: set[str] = set()
    stack = list(only)
    while stack:
        name = stack.pop()
        if name not in graph.nodes:
            fail("unknown-name", f"`{graph.name}` has no node `{name}`", help=nearest(name, graph.nodes))
        if name not in seen:
            seen.add(name)
            stack.extend(() if name in arrays else graph[name].operands)
    return seen


def _sizes(graph: Graph, needed: set[str], arrays: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, int]:
    """The run-time sizes, read off the shapes of the arrays where not given."""
    found = dict(sizes)
    for name, array in arrays.items():
        for extent, length in zip(graph[name].shape, np.shape(array), strict=False):
            if len(extent.terms) == 1 and extent.terms[0][1] == 1 and len(extent.terms[0][0]) == 1:
                atom = extent.terms[0][0][0]
                if isinstance(atom, Size):
                    found.setdefault(atom.name, length)
    if not graph.lifted:
        found.setdefault(BATCH, 1)
    for name in sorted(needed):
        for unknown in sorted(_size_names(graph[name]) - found.keys()):
            fail(
                "size-unknown",
                f"`{name}` depends on the size `{unknown}`, which no array given here has",
                graph[name].origin.span,
                help=f"give the size: sizes={{'{unknown}': ...}}",
            )
    return found


def _size_names(node: Node) -> set[str]:
    values: list[Int] = list(node.shape)
    if isinstance(node, Equation):
        values += [value for part in walk(node.body) for value in integers(part)]
    return {atom.name for value in values for atom in value.atoms() if isinstance(atom, Size)}
