"""From a graph to a picture: the views by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from netlang.diagnostics import fail, listing, nearest
from netlang.draw.diagram.backward import backward
from netlang.draw.diagram.circuit import circuit
from netlang.draw.diagram.equations import equations
from netlang.draw.diagram.layers import layers
from netlang.graph.graph import Graph

VIEWS: dict[str, Callable[[Graph], str]] = {"layers": layers, "graph": equations, "backward": backward}


def draw(graph: Graph, view: str = "layers", values: Mapping[str, float | np.ndarray] | None = None) -> str:
    """DOT text of a per-example graph.

    `view` is `layers`, `graph` or `backward` (which wants a derived graph, or derives one loss or scalar output). With
    `values` for the inputs and parameters it is drawn as a circuit with forward values and gradients on its wires,
    whatever the view. Raises NetlangError (`unknown-view`, and what `circuit` raises).
    """
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
