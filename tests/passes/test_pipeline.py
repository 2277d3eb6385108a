"""The passes together: on random networks, any of them on or off, results agree; and so do finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netlang.diagnostics import NetlangError
from netlang.graph.graph import Graph
from netlang.graph.nodes import Param
from netlang.passes.pipeline import FINISH, OPTIONAL, PREPARE, compile_graph
from netlang.targets.reference import evaluate
from tests.passes.graphs import graph as build
from tests.passes.graphs import values
from tests.passes.networks import networks
from tests.passes.test_lift import nodes

BATCH = {"batch": 2}
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def results(graph: Graph, arrays: dict, wrt: list[str]) -> dict[str, np.ndarray]:
    out = evaluate(graph, {k: v for k, v in arrays.items() if k in graph.nodes}, BATCH)
    found = {f"d/{name}": out[graph.gradients[name]] for name in wrt}
    return found | {"objective": out[graph.objectives["objective"]], "out": out[graph.outputs["out"]]}


def arrays_for(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    arrays = values(graph, BATCH, seed)
    arrays["x"] = np.random.default_rng(seed).standard_normal((2, 4))
    return arrays


@quick
@given(networks(), st.sets(st.sampled_from(OPTIONAL)))
def test_passes_do_not_change_results(graph, without):
    wrt = [n.name for n in graph if isinstance(n, Param)] + ["x"]
    arrays = arrays_for(graph)
    plain = results(compile_graph(graph, wrt=wrt, without=OPTIONAL), arrays, wrt)
    other = results(compile_graph(graph, wrt=wrt, without=without), arrays, wrt)
    for name, value in plain.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-9, atol=1e-11 * (1 + np.abs(value).max()), err_msg=name)


@quick
@given(networks(most=6))
def test_gradients_of_random_networks(graph):
    wrt = [n.name for n in graph if isinstance(n, Param)] + ["x"]
    arrays = arrays_for(graph, 1)
    compiled = compile_graph(graph, wrt=wrt)
    found = results(compiled, arrays, wrt)
    rng = np.random.default_rng(2)
    for name in wrt[-2:]:
        direction = rng.standard_normal(arrays[name].shape)
        slopes = []
        for step in (
            1e-5,
            1e-6,
        ):  # a kink between the ends of one step is seldom between those of the other
            ends = [
                float(results(compiled, arrays | {name: arrays[name] + sign * step * direction}, [])["objective"])
                for sign in (1, -1)
            ]
            slopes.append((ends[0] - ends[1]) / (2 * step))
        exact = float(np.sum(found[f"d/{name}"] * direction))
        error = min(abs(slope - exact) for slope in slopes)
        assert error <= 1e-5 * (1 + abs(exact)), (name, exact, slopes)


def test_trace_and_unknown_passes():
    graph = build(*nodes(), losses={"loss": "loss"}, outputs={"y": "y"})
    seen: list[str] = []
    compile_graph(graph, wrt=["w"], without=["share"], trace=lambda name, _: seen.append(name))
    passes = [*(p.name for p in PREPARE), "objective", "derive", *(p.name for p in FINISH)]
    assert seen == [name for name in passes if name != "share"]
    with pytest.raises(NetlangError, match="unknown-pass"):
        compile_graph(graph, without=["lift"])
