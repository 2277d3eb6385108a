"""The passes from the graph of one example to the graph that is compiled, as data, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from netlang.diagnostics import fail, listing, nearest
from netlang.graph.graph import Graph
from netlang.graph.verify import verify
from netlang.passes.derive import derive
from netlang.passes.hoist import hoist
from netlang.passes.lift import lift
from netlang.passes.objective import objective
from netlang.passes.prune import prune
from netlang.passes.share import share
from netlang.passes.simplify import simplify
from netlang.passes.stabilize import stabilize

Trace = Callable[[str, Graph], None]


@dataclass(frozen=True)
class Options:
    """What the passes need to know about the network's use.

    `wrt` gives, for each objective, the nodes to differentiate it by; empty for inference. `groups` and `penalties` are
    those of `objective`. `keep` names nodes that must stay nodes of their own.
    """

    wrt: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] | None = None
    penalties: Sequence[str] = ()
    keep: Sequence[str] = ()


@dataclass(frozen=True)
class Pass:
    """A step from graph to graph. One that is not `optional` changes what the graph says, not how."""

    name: str
    run: Callable[[Graph, Options], Graph]
    optional: bool = True


def _objective(graph: Graph, options: Options) -> Graph:
    return objective(graph, options.groups, options.penalties) if options.wrt else graph


def _derive(graph: Graph, options: Options) -> Graph:
    for name, wrt in options.wrt.items():
        graph = derive(graph, graph.objectives.get(name, name), wrt)
    return graph


PASSES: tuple[Pass, ...] = (
    Pass("lift", lambda graph, _: lift(graph), optional=False),
    Pass("stabilize", lambda graph, _: stabilize(graph)),
    Pass("objective", _objective, optional=False),
    Pass("derive", _derive, optional=False),
    Pass("simplify", lambda graph, options: simplify(graph, options.keep)),
    Pass("hoist", lambda graph, options: hoist(graph, options.keep)),
    Pass("share", lambda graph, _: share(graph)),
    Pass("prune", lambda graph, options: prune(graph, [*graph.roots, *options.keep])),
)


def run_passes(
    graph: Graph,
    options: Options | None = None,
    *,
    without: Collection[str] = (),
    trace: Trace | None = None,
    passes: Sequence[Pass] = PASSES,
) -> Graph:
    """Run the passes in order, verifying the graph after each.

    `without` names optional passes to leave out; results agree to rounding. `trace` is called with the name of each
    pass and the graph after it. Raises `unknown-pass` for a name in `without` that is no optional pass.
    """
    optional = [p.name for p in passes if p.optional]
    for name in without:
        if name not in optional:
            fail(
                "unknown-pass", f"there is no optional pass `{name}`", help=nearest(name, optional) or listing(optional)
            )
    options = options or Options()
    for step in passes:
        if step.name not in without:
            graph = step.run(graph, options)
            verify(graph, step.name)
            if trace is not None:
                trace(step.name, graph)
    return graph


def compile_graph(
    graph: Graph,
    *,
    wrt: Sequence[str] = (),
    penalties: Sequence[str] = (),
    without: Collection[str] = (),
    trace: Trace | None = None,
) -> Graph:
    """The graph of a network with one objective of all losses, differentiated by `wrt`, ready to be scheduled."""
    options = Options({"objective": tuple(wrt)} if wrt else {}, penalties=penalties)
    return run_passes(graph, options, without=without, trace=trace)
