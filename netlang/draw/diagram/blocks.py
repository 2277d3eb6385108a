"""A graph as blocks and edges between them: one block for each scope, for each net-level tensor, for each input."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from netlang.draw.diagram.kinds import kind, leading, learned
from netlang.draw.diagram.repeats import Run, runs
from netlang.draw.notation import equation_label
from netlang.graph.graph import Graph
from netlang.graph.integer import product
from netlang.graph.nodes import Input, Node, Param, Scope, State

MOST_BLOCKS = 32  # more than this, and inner scopes are folded into their outermost one


@dataclass(frozen=True)
class Block:
    """A box: `title` in the user's words, `name` below it; `frame` is the expanded scope that it lies in.

    `parameters` counts what the block owns (of one of `count` equal blocks); `owner` is the scope whose parameters it
    uses instead of its own, where an instance is applied again. An `idle` block gives back its input: a layer that does
    something in training only.
    """

    name: str
    title: str
    kind: str
    frame: str
    members: tuple[str, ...]
    parameters: int
    count: int = 1
    owner: str = ""
    scope: str = ""
    idle: bool = False


@dataclass(frozen=True)
class Frame:
    """An expanded scope; `count` says how many equal ones it stands for."""

    name: str
    title: str
    parent: str
    count: int


@dataclass(frozen=True)
class Edge:
    """`tensor`, a node of the graph, goes from block `tail` to block `head`."""

    tail: str
    head: str
    tensor: str


@dataclass(frozen=True)
class Diagram:
    blocks: tuple[Block, ...]
    frames: tuple[Frame, ...]
    edges: tuple[Edge, ...]
    block_of: Mapping[str, str]


def visible(graph: Graph) -> Graph:
    """What a picture of the network shows: the outputs and losses and all that they need."""
    roots = [*graph.outputs.values(), *graph.losses.values()]
    return graph.prune(roots) if roots else graph


def scalar_root(graph: Graph) -> str:
    """The node that gradients are of: the first scalar among the losses, then the outputs; `""` where there is none."""
    roots = [*graph.losses.values(), *graph.outputs.values()]
    return next((r for r in roots if not graph[r].shape and graph[r].dtype == "real"), "")


def blocks(graph: Graph, *, opening: bool = True, together: bool = True) -> Diagram:
    """The blocks of a graph; with `opening`, scopes that contain layers are opened where the whole stays small.

    With `together`, consecutive equal scopes are one block.
    """
    if not opening:
        return _Blocks(graph, frozenset(), together).diagram()
    opened = frozenset(s.parent for s in graph.scopes if s.parent and s.kind == "layer")
    diagram = _Blocks(graph, opened, together).diagram()
    return diagram if len(diagram.blocks) <= MOST_BLOCKS else _Blocks(graph, frozenset(), together).diagram()


class _Blocks:
    """One way to cut a graph into blocks: the scopes in `opened` become frames, all others one block each."""

    def __init__(self, graph: Graph, opened: frozenset[str], together: bool) -> None:
        self.graph = graph
        self.opened = opened
        self.weights = learned(graph)
        self.scopes: dict[str, Scope] = {s.name: s for s in graph.scopes}
        self.members: dict[str, list[str]] = {name: [] for name in self.scopes}
        for node in graph:
            for scope in self.path(node):
                self.members[scope].append(node.name)
        self.runs: dict[str, Run] = {}
        self.alias: dict[str, str] = {}  # node of a repeated scope -> the same node of the run's first scope
        if together:
            self.find_runs()

    def path(self, node: Node) -> list[str]:
        """The scopes around a node, outermost first."""
        found: list[str] = []
        name = node.origin.scope
        while name in self.scopes and name not in found:
            found.insert(0, name)
            name = self.scopes[name].parent
        return found

    def find_runs(self) -> None:
        children: dict[str, list[Scope]] = {}
        for scope in self.graph.scopes:
            if self.members[scope.name]:
                children.setdefault(scope.parent, []).append(scope)
        for parent, siblings in children.items():
            if parent in self.scopes and parent not in self.opened:
                continue
            for run in runs(self.graph, siblings, self.members):
                first, *others = run.scopes
                self.runs[first] = run
                for other in others:
                    self.alias.update(zip(self.members[other], self.members[first], strict=True))

    def home(self, node: Node) -> tuple[str, str]:
        """The frame and the name of the block that a computed node belongs to."""
        frame = ""
        for scope in self.path(node):
            if scope not in self.opened:
                return frame, scope
            frame = scope
        inner = node.name[len(frame) + 1 :] if frame and node.name.startswith(f"{frame}.") else node.name
        return frame, f"{frame}.{inner.split('.')[0]}" if frame else inner.split(".")[0]

    def diagram(self) -> Diagram:
        held: dict[str, list[Node]] = {}
        frame_of: dict[str, str] = {}
        block_of: dict[str, str] = {}

        def put(node: Node, frame: str, block: str) -> None:
            held.setdefault(block, []).append(node)
            frame_of.setdefault(block, frame)
            block_of[node.name] = block

        kept = [n for n in self.graph if n.name not in self.alias]
        for node in kept:
            if isinstance(node, Input):
                put(node, "", node.name)
            elif not isinstance(node, Param | State):
                put(node, *self.home(node))
        for node in kept:
            if isinstance(node, Param | State):
                put(node, *self.keeper(node, block_of, frame_of))
        for name, first in self.alias.items():
            block_of[name] = block_of[first]
        made = [self.block(name, nodes, frame_of[name]) for name, nodes in held.items()]
        edges, idle = self.with_idle(made, self.edges(kept, block_of))
        made += idle
        used = {b.frame for b in made} - {""}
        while missing := {self.scopes[f].parent for f in used} - used - {""}:
            used |= missing
        frames = tuple(self.frame(s) for s in self.graph.scopes if s.name in used)
        return Diagram(tuple(made), frames, tuple(edges), block_of)

    def keeper(self, node: Node, block_of: Mapping[str, str], frame_of: Mapping[str, str]) -> tuple[str, str]:
        """Where a parameter is counted: in its scope's block, else in the only block that reads it, else by itself."""
        frame, block = self.home(node)
        if block in frame_of:
            return frame_of[block], block
        users = {block_of[u] for u in self.graph.users[node.name] if u in block_of}
        if len(users) == 1:
            only = users.pop()
            return frame_of[only], only
        return frame, node.name

    def block(self, name: str, nodes: list[Node], frame: str) -> Block:
        scope = self.scopes.get(name)
        losses = set(self.graph.losses.values())
        computed = [n for n in nodes if not isinstance(n, Param | State)] or nodes
        painted = leading(kind(n, self.weights) for n in computed)
        if any(n.name in losses for n in nodes) or (scope is not None and scope.kind == "loss"):
            painted = "loss"
        owner = scope.owner if scope is not None and scope.owner != scope.name else ""
        return Block(
            name,
            self.title(scope) if scope is not None else self.loose_title(name, computed),
            painted,
            frame,
            tuple(n.name for n in nodes),
            sum(product(n.shape).constant for n in nodes if isinstance(n, Param)),
            len(self.runs[name].scopes) if name in self.runs else 1,
            owner,
            scope.name if scope is not None else "",
        )

    def title(self, scope: Scope) -> str:
        """The application as written at the net's level, `conv(20, 5, pad=2)`; inside, the definition's name."""
        written = scope.span.text if scope.span is not None and not scope.parent else ""
        fits = written.startswith(scope.definition) and "\n" not in written and len(written) <= 40
        return written if fits else scope.definition

    def loose_title(self, name: str, nodes: list[Node]) -> str:
        """A tensor defined by an equation of its own: the equation where it is short, else the name."""
        if isinstance(nodes[0], Input | Param | State):
            return name
        short = name.rsplit(".", 1)[-1]
        origin = nodes[-1].origin
        written = " ".join(origin.span.text.split()) if origin.span is not None else ""
        written = re.sub(r"^(loss|output|metric) ", "", written)
        if re.match(rf"{re.escape(short)}(\[[^\]]*\])? =", written) and "->" not in written and len(written) <= 44:
            return written
        text = equation_label(self.graph, nodes[-1], origin.scope)
        return text if len(nodes) == 1 and len(text) <= 36 else short

    def frame(self, scope: Scope) -> Frame:
        count = len(self.runs[scope.name].scopes) if scope.name in self.runs else 1
        return Frame(scope.name, self.title(scope), scope.parent, count)

    def edges(self, kept: list[Node], block_of: Mapping[str, str]) -> list[Edge]:
        found: dict[Edge, None] = {}
        for node in kept:
            for operand in node.operands:
                tail, head = block_of[operand], block_of[node.name]
                weight = isinstance(self.graph[operand], Param | State) and tail != operand
                if tail != head and not weight:
                    found[Edge(tail, head, operand)] = None
        return list(found)

    def with_idle(self, made: list[Block], edges: list[Edge]) -> tuple[list[Edge], list[Block]]:
        """Idle scopes put on the edge that they stand on, where it is plain which one that is."""
        frames = {block.name: block.frame for block in made}
        idle: list[Block] = []
        for scope in self.graph.scopes:
            shown = not scope.parent or scope.parent in self.opened
            if self.members[scope.name] or len(scope.inputs) != 1 or scope.inputs != scope.outputs or not shown:
                continue
            after = [e for e in edges if e.tensor == scope.inputs[0] and self.is_after(e.head, scope)]
            if len(after) != 1 or frames[after[0].head] != scope.parent:
                continue
            (edge,) = after
            edges[edges.index(edge)] = Edge(edge.tail, scope.name, edge.tensor)
            edges.append(Edge(scope.name, edge.head, edge.tensor))
            frames[scope.name] = scope.parent
            idle.append(
                Block(scope.name, self.title(scope), "movement", scope.parent, (), 0, scope=scope.name, idle=True)
            )
        return edges, idle

    def is_after(self, block: str, scope: Scope) -> bool:
        """True unless the file says otherwise: the place of the block's text against the scope's."""
        other = self.scopes[block].span if block in self.scopes else None
        if other is None and block in self.graph.nodes:
            other = self.graph[block].origin.span
        if other is None or scope.span is None or other.source is not scope.span.source:
            return True
        return other.start > scope.span.start
