"""Graphs for the tests of the passes, built by hand, and finite differences on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from netlang.graph.constructors import every, mul, read, reduce, select, within
from netlang.graph.expression import ZERO, Expr
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, IntLike, index, integer
from netlang.graph.nodes import Equation, Input, Node, Origin, Param
from netlang.graph.verify import verify
from netlang.passes.derive import derive
from netlang.targets.reference import evaluate

NOWHERE = Origin(None)
Array = np.ndarray


def i(name: str) -> Int:
    return index(name)


def param(name: str, *shape: IntLike) -> Param:
    return Param(name, tuple(integer(n) for n in shape), "real", NOWHERE)


def given(name: str, *shape: IntLike, role: str = "input", classes: int | None = None) -> Input:
    dtype = "real" if classes is None else "int"
    bound = None if classes is None else integer(classes)
    return Input(name, tuple(integer(n) for n in shape), dtype, NOWHERE, role, bound)


def equation(name: str, indices: Mapping[str, IntLike], body: Expr, dtype: str = "real") -> Equation:
    shape = tuple(integer(n) for n in indices.values())
    return Equation(name, shape, dtype, NOWHERE, tuple(indices), body)


def total(op: str, ranges: Mapping[str, IntLike], body: Expr) -> Expr:
    return reduce(op, [(name, integer(n)) for name, n in ranges.items()], body)


def padded(
    tensor: str, shape: Sequence[IntLike], *places: IntLike, extents: Mapping[str, IntLike], other: Expr = ZERO
) -> Expr:
    """A read that is `other` outside the tensor."""
    known = {name: integer(n) for name, n in extents.items()}
    where = every(within(integer(p), integer(n), known) for p, n in zip(places, shape, strict=True))
    return select(where, read(tensor, *(integer(p) for p in places)), other)


def graph(*nodes: Node, **roots: Mapping[str, str]) -> Graph:
    return Graph.build("test", nodes, **roots)


def weighted(node: Node, weights: str = "w") -> list[Node]:
    """A loss that weights every element of a node differently: its adjoint is the random tensor `w`."""
    names = [f"l{k}" for k in range(len(node.shape))]
    places = [index(n) for n in names]
    body = mul(read(node.name, *places), read(weights, *places))
    return [
        Param(weights, node.shape, "real", NOWHERE),
        Equation("L", (), "real", NOWHERE, (), reduce("sum", list(zip(names, node.shape, strict=True)), body)),
    ]


def values(graph: Graph, sizes: Mapping[str, int] | None = None, seed: int = 0, scale: float = 1.0) -> dict[str, Array]:
    """Random values of inputs, parameters and states."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for node in graph:
        if type(node) in (Input, Param):
            shape = tuple(n.evaluate(sizes or {}) for n in node.shape)
            if node.dtype == "int":
                assert isinstance(node, Input)
                assert node.classes is not None
                arrays[node.name] = rng.integers(0, node.classes.evaluate(sizes or {}), shape)
            else:
                arrays[node.name] = np.asarray(scale * rng.standard_normal(shape))
    return arrays


def check_gradients(
    graph: Graph,
    wrt: Sequence[str],
    objective: str = "L",
    *,
    sizes: Mapping[str, int] | None = None,
    arrays: Mapping[str, Array] | None = None,
    passes: Sequence = (),
    tolerance: float = 1e-7,
    derived: Graph | None = None,
) -> Graph:
    """Compare the derived gradients with central differences at every element; returns the derived graph."""
    if derived is None:
        derived = derive(graph, objective, wrt)
        verify(derived, "derive")
        for one in passes:
            derived = one(derived)
            verify(derived, getattr(one, "__name__", "pass"))
    at = dict(arrays if arrays is not None else values(graph, sizes))
    out = evaluate(derived, at, sizes)
    for name in wrt:
        exact = out[derived.gradients[name]]
        step = 1e-5
        numeric = np.zeros_like(at[name])
        for place in np.ndindex(*at[name].shape):
            ends = []
            for sign in (1, -1):
                moved = at[name].copy()
                moved[place] += sign * step
                ends.append(float(evaluate(graph, {**at, name: moved}, sizes, only=[objective])[objective]))
            numeric[place] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(
            exact, numeric, rtol=1e-6, atol=tolerance * max(1.0, np.abs(numeric).max()), err_msg=name
        )
    return derived
