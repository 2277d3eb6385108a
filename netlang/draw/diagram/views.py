"""From a graph to a picture: the views by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from netlang.diagnostics import fail, listing, nearest
from netlang.draw.diagram.backward import backward
from netlang.draw.diagram.circuit import circuit
from netlang.draw.diagram.equations import equations
from netlang.draw.diagram.grid import unrolled
from netlang.draw.diagram.layers import layers
from netlang.graph.graph import Graph

VIEWS: dict[str, Callable[[Graph], str]] = {"layers": layers, "graph": equations, "backward": backward}


def draw(
    graph: Graph,
    view: str = "layers",
    values: Mapping[str, float | np.ndarray] | None = None,
    unroll: int | None = None,
) -> str:
    """DOT text of a per-example graph.

    `view` is `layers`, `graph` or `backward` (which wants a derived graph, or derives one loss or scalar output). With
    `values` for the inputs and parameters it is drawn as a circuit with forward values and gradients on its wires,
    whatever the view. `unroll` is a number of steps for which the recurrences are drawn as layers, one column a step.
    Raises NetlangError (`unknown-view`, `bad-unroll`, and what `circuit` and `unrolled` raise).
    """
    if unroll is not None:
        if values is not None or view != "layers":
            fail("bad-unroll", "only layers are drawn unrolled in time", help="leave out the view and the values")
        return unrolled(graph, unroll)
    if values is not None:
        return circuit(graph, values)
    if view not in VIEWS:
        hint = nearest(view, VIEWS)
        fail(
            "unknown-view",
            f"there is no view `{view}`",
            help=f"{hint} " * bool(hint) + f"the views are {listing(VIEWS)}",
        )
    return VIEWS[view](graph)
