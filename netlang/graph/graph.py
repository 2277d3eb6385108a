"""The Graph: nodes, what reads what, and the roots that say what the nodes are for. The only user of networkx.

A graph is immutable. A pass makes a new one from nodes and roots with `Graph.build` or `graph.evolve`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from netlang.diagnostics import InternalError, fail
from netlang.graph.nodes import Input, Node, Param, Scope, State, is_batched
from netlang.graph.recurrence import Component, Loop, components, flattened
from netlang.graph.sizes import Requirement

if TYPE_CHECKING:
    import networkx


# the fields of a graph that map names of the user's to nodes, in the order they are printed in
ROOTS = ("outputs", "losses", "metrics", "objectives", "updates", "initial", "gradients")


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


def reached(start: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """The names in `start`, and all that come from them by `following`."""
    seen: set[str] = set()
    stack = list(start)
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack.extend(following(name))
    return seen


@dataclass(frozen=True)
class Graph:
    """A network (and, after derivation, its backward pass and its updates) as a graph of tensor equations.

    `nodes` keeps definition order. The root maps give node names: `outputs`, `losses`, `metrics` by the user's names;
    `updates` and `initial` by the name of the parameter or state; `gradients` by the name of the differentiated node.
    `requirements` must hold of the run-time sizes. `lifted` says that the batch dimension is explicit.
    """

    name: str
    nodes: Mapping[str, Node]
    outputs: Mapping[str, str] = field(default_factory=_nothing)
    losses: Mapping[str, str] = field(default_factory=_nothing)
    metrics: Mapping[str, str] = field(default_factory=_nothing)
    updates: Mapping[str, str] = field(default_factory=_nothing)
    initial: Mapping[str, str] = field(default_factory=_nothing)
    gradients: Mapping[str, str] = field(default_factory=_nothing)
    objectives: Mapping[str, str] = field(default_factory=_nothing)
    scopes: tuple[Scope, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    lifted: bool = False

    @staticmethod
    def build(name: str, nodes: Iterable[Node], **parts: Any) -> Graph:
        """A graph from nodes in definition order; the root maps are copied and frozen."""
        table: dict[str, Node] = {}
        for node in nodes:
            if node.name in table:
                raise InternalError("Graph.build", f"two nodes have the name `{node.name}`")
            table[node.name] = node
        frozen: dict[str, Any] = {
            k: MappingProxyType(dict(v)) if isinstance(v, Mapping) else v for k, v in parts.items()
        }
        return Graph(name, MappingProxyType(table), **frozen)

    def evolve(self, nodes: Iterable[Node] | None = None, **parts: Any) -> Graph:
        """This graph with other nodes or roots."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "nodes")}
        return Graph.build(self.name, self.nodes.values() if nodes is None else nodes, **(kept | parts))

    def __reduce__(self) -> Any:
        """Nodes and roots, without what was derived from them."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "nodes")}
        plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in parts.items()}
        return _built, (self.name, tuple(self), plain)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    @cached_property
    def network(self) -> networkx.MultiDiGraph:
        """The frozen NetworkX graph: an edge for each operand, keyed by its position; a vertex holds its `node`."""
        import networkx

        network = networkx.MultiDiGraph(name=self.name)
        network.add_nodes_from((n.name, {"node": n}) for n in self)
        for node in self:
            for position, operand in enumerate(node.operands):
                if operand not in self.nodes:
                    raise InternalError("Graph", f"`{node.name}` reads `{operand}`, which is not in the graph")
                network.add_edge(operand, node.name, key=position)
        return networkx.freeze(network)

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """Nodes after their operands, and cycles as loops over time; among free choices in definition order."""
        found = components(self)
        if isinstance(found, list):
            first = self.nodes[found[0]]
            fail(
                "cyclic-definition",
                f"`{found[0]}` is defined by itself: {' -> '.join([*found, found[0]])}",
                first.origin.span,
                help="a tensor may refer to itself at an earlier time step only",
            )
        return found

    @cached_property
    def in_loops(self) -> frozenset[str]:
        """The nodes that loops over time compute."""
        return frozenset(node.name for part in self.components if isinstance(part, Loop) for node in part.nodes)

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """Nodes, each after its operands; those of a loop over time in the order of a step."""
        return flattened(self.components)

    @cached_property
    def users(self) -> Mapping[str, tuple[str, ...]]:
        """For each node the names of the nodes that read it."""
        found: dict[str, dict[str, None]] = {name: {} for name in self.nodes}
        for node in self:
            for operand in node.operands:
                found[operand][node.name] = None
        return {name: tuple(users) for name, users in found.items()}

    def ancestors(self, roots: Iterable[str]) -> set[str]:
        """The roots and everything that they are computed from."""
        return reached(roots, lambda name: self.nodes[name].operands)

    def descendants(self, roots: Iterable[str]) -> set[str]:
        """The roots and everything computed from them."""
        return reached(roots, self.users.__getitem__)

    def prune(self, roots: Iterable[str]) -> Graph:
        """The part that the roots need; roots maps lose the entries whose node is gone."""
        keep = self.ancestors(roots)
        maps = {kind: {k: v for k, v in nodes.items() if v in keep} for kind, nodes in self.root_maps.items()}
        return self.evolve([n for n in self if n.name in keep], **maps)

    @property
    def root_maps(self) -> dict[str, Mapping[str, str]]:
        """The root maps by the names of their fields."""
        return {kind: getattr(self, kind) for kind in ROOTS}

    @property
    def roots(self) -> tuple[str, ...]:
        """Every node that a root map names."""
        return tuple(dict.fromkeys(name for nodes in self.root_maps.values() for name in nodes.values()))

    def renamed_roots(self, names: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The root maps with node names replaced, for `evolve`."""
        return {kind: {k: names.get(v, v) for k, v in nodes.items()} for kind, nodes in self.root_maps.items()}

    def inputs(self, role: str) -> tuple[Input, ...]:
        return tuple(n for n in self if isinstance(n, Input) and n.role == role)

    @property
    def params(self) -> tuple[Param, ...]:
        return tuple(n for n in self if isinstance(n, Param))

    @property
    def states(self) -> tuple[State, ...]:
        return tuple(n for n in self if isinstance(n, State))

    @property
    def carried(self) -> tuple[str, ...]:
        """The states of a lifted graph of which each example of a batch has its own."""
        return tuple(s.name for s in self.states if is_batched(s))


def _built(name: str, nodes: Iterable[Node], parts: Mapping[str, Any]) -> Graph:
    return Graph.build(name, nodes, **parts)
