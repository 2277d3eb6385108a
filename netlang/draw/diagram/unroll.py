"""A network unrolled in time: which blocks there are at every step, and what goes from copy to copy.

A block whose tensors have the time as a dimension has a copy for each step, one without is there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from netlang.draw.diagram.blocks import Block, blocks, visible
from netlang.draw.diagram.timing import Timing
from netlang.draw.recurrent import carried
from netlang.graph.graph import Graph
from netlang.graph.nodes import Node, Param, State

Copy = tuple[str, int | None]  # a block, and the step that it is of


@dataclass
class Arrow:
    """What goes from one copy of a block to another: tensors, and whether a recurrence carries them."""

    tensors: dict[str, None] = field(default_factory=dict)
    carried: bool = False


class Unrolled:
    """The blocks of a graph at so many steps, and the arrows between their copies."""

    def __init__(self, graph: Graph, steps: int) -> None:
        self.whole, self.graph, self.steps = graph, visible(graph), steps
        self.timing = Timing(self.graph, steps)
        self.carried = carried(self.graph)
        diagram = blocks(self.graph, together=False)
        self.blocks = {block.name: block for block in diagram.blocks}
        self.block_of = dict(diagram.block_of)
        self.timed = {name: n for name, block in self.blocks.items() if (n := self.copies(block))}
        self.starts = [n for n in (*self.graph.params, *self.graph.states) if self.is_start(n)]
        for node in self.starts:
            self.block_of[node.name] = node.name
        for node in self.starts:
            self.blocks.pop(node.name, None)
        self.arrows: dict[tuple[Copy, Copy], Arrow] = {}
        self.constants: dict[Copy, dict[str, None]] = {}  # what a recurrence begins with
        for node in self.graph:
            self.connect(node)

    # --- what there is once, and what at every step ---

    def copies(self, block: Block) -> int:
        """How many steps a block has; 0 where it is not in time."""
        inside = set(block.members)
        leaving = [n for n in block.members if n in self.graph.roots or not inside.issuperset(self.graph.users[n])]
        computed = [self.graph[n] for n in leaving if not isinstance(self.graph[n], Param | State)]
        if not computed or any(n.name not in self.timing.axes for n in computed):
            return 0
        return max(self.timing.steps(n) for n in computed)

    def is_start(self, node: Node) -> bool:
        """Whether a parameter or state is what a recurrence begins with: one step alone reads it."""
        users = [self.graph[u] for u in self.graph.users[node.name]]
        seen = {
            k
            for user in users
            for k in self.timing.range(user)
            for read in self.timing.reads(user, k)
            if read.tensor == node.name
        }
        return self.steps > 1 and len(seen) == 1 and None not in seen

    # --- who reads whom ---

    def connect(self, node: Node) -> None:
        head = self.block_of[node.name]
        for k in self.timing.range(node):
            for read in self.timing.reads(node, k):
                operand = self.graph[read.tensor]
                tail = self.block_of[operand.name]
                if isinstance(operand, Param | State) and tail != operand.name:
                    continue
                is_carried = (operand.name, node.name) in self.carried
                for source in read.steps:
                    for copy in self.copies_at(head, k, source):
                        self.arrow((tail, source if tail in self.timed else None), copy, operand, is_carried)
            for value in self.timing.beginnings(node, k):
                self.constants.setdefault((head, k), {})[value] = None

    def copies_at(self, block: str, step: int | None, source: int | None) -> Sequence[Copy]:
        """The copies of a block that a read at a step belongs to; what is not in time belongs to all, or to its own."""
        if block not in self.timed:
            return [(block, None)]
        if step is None:
            return [(block, k) for k in range(self.timed[block]) if source is None or source == k]
        return [(block, step)]

    def arrow(self, tail: Copy, head: Copy, tensor: Node, is_carried: bool) -> None:
        if tail == head or (tail[0] == head[0] and not is_carried):
            return
        arrow = self.arrows.setdefault((tail, head), Arrow())
        arrow.tensors[tensor.name] = None
        arrow.carried |= is_carried and tail[1] != head[1]

    def handed_over(self) -> list[tuple[Copy, State]]:
        """The states that go on in the next call, and the copy of a block that gives each its value."""
        found: list[tuple[Copy, State]] = []
        for state in self.graph.states:
            following = self.whole.updates.get(state.name)
            for read in self.timing.reads(self.whole[following], None) if following is not None else ():
                block = self.block_of.get(read.tensor, "")
                found += [((block, k), state) for k in read.steps if block in self.timed and k is not None]
        return found

    def depths(self) -> dict[str, int]:
        """For each block its level within a step: above all that lead to it, right below the first that it leads to."""
        before: dict[str, set[str]] = {name: set() for name in self.blocks}
        for (tail, head), arrow in self.arrows.items():
            if tail[0] in before and tail[0] != head[0] and not arrow.carried:
                before[head[0]].add(tail[0])
        depth: dict[str, int] = {}
        pending = list(before)
        while pending:
            ready = [name for name in pending if before[name] <= depth.keys()]
            for name in ready or pending[:1]:  # blocks that lead into each other within a step: in the order written
                depth[name] = 1 + max((depth[b] for b in before[name] if b in depth), default=-1)
                pending.remove(name)
        for name in reversed(depth):
            after = [depth[head] for head in before if name in before[head]]
            depth[name] = min(after, default=depth[name] + 1) - 1
        return depth
