"""The passes from the graph of one example to the graph that is compiled, as data, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from netlang.diagnostics import fail, listing, nearest
from netlang.graph.graph import Graph
from netlang.graph.verify import verify
from netlang.passes.derive import derive
from netlang.passes.hoist import hoist
from netlang.passes.lift import lift
from netlang.passes.lookup import lookup
from netlang.passes.objective import NAME, objective
from netlang.passes.proportions import proportions
from netlang.passes.prune import prune
from netlang.passes.recompute import recompute
from netlang.passes.share import merge, share
from netlang.passes.simplify import simplify
from netlang.passes.stabilize import stabilize

Trace = Callable[[str, Graph], None]


@dataclass(frozen=True)
class Pass:
    """A step from graph to graph. One that is not `optional` changes what the graph says, not how."""

    name: str
    run: Callable[[Graph], Graph]
    optional: bool = True


def preparation(keep: Sequence[str] = ()) -> tuple[Pass, ...]:
    """What comes before anything is derived; nodes in `keep` are still read by all that read them."""
    return (
        Pass("lift", lift, optional=False),
        Pass("stabilize", stabilize),
        Pass("lookup", lambda graph: lookup(graph, keep)),
        Pass("merge", lambda graph: merge(graph, keep)),
    )


# before anything is derived, and when everything is there; what joins the graph in between depends on its use
PREPARE = preparation()
FINISH = (
    Pass("simplify", simplify),
    Pass("proportions", proportions),
    Pass("hoist", hoist),
    Pass("share", share),
    Pass("prune", prune),
    Pass("recompute", recompute),
)

OPTIONAL = tuple(step.name for step in (*PREPARE, *FINISH) if step.optional)


def differentiation(wrt: Sequence[str]) -> tuple[Pass, Pass]:
    """The passes that add one objective of all losses, and its gradients by the named nodes."""
    return (
        Pass("objective", objective, optional=False),
        Pass("derive", lambda graph: derive(graph, graph.objectives[NAME], wrt), optional=False),
    )


def run_passes(
    graph: Graph, passes: Sequence[Pass], *, without: Collection[str] = (), trace: Trace | None = None
) -> Graph:
    """Run the passes in order, verifying the graph after each.

    `without` names optional passes to leave out; results agree to rounding. `trace` is called with the name of each
    pass and the graph after it. Raises `unknown-pass` for a name in `without` that is no optional pass.
    """
    for name in without:
        if name not in OPTIONAL:
            help = nearest(name, OPTIONAL) or listing(OPTIONAL)
            fail("unknown-pass", f"there is no optional pass `{name}`", help=help)
    for step in passes:
        if step.name not in without:
            graph = step.run(graph)
            verify(graph, step.name)
            if trace is not None:
                trace(step.name, graph)
    return graph


def compile_graph(
    graph: Graph, *, wrt: Sequence[str] = (), without: Collection[str] = (), trace: Trace | None = None
) -> Graph:
    """The graph of a network, differentiated by `wrt` if that names nodes, ready to be scheduled."""
    passes = (*preparation(wrt), *(differentiation(wrt) if wrt else ()), *FINISH)
    return run_passes(graph, passes, without=without, trace=trace)
