"""Which step reads which: the equations of a network with recurrences, at numbered steps of a short sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from netlang.draw.recurrent import carried, time_axes
from netlang.graph.constructors import decide, negate
from netlang.graph.expression import FALSE, Apply, Const, Expr, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Atom, Int, Size, integer
from netlang.graph.nodes import Equation, Node, View
from netlang.graph.recurrence import Loop
from netlang.graph.sizes import run_time_sizes
from netlang.graph.traversal import rewrite, rewrite_condition, substitute, tensor_reads, walk

Places = tuple[Int, ...]


@dataclass(frozen=True)
class StepRead:
    """A read of `tensor`, at `steps` of it; `(None,)` where the tensor is not in time."""

    tensor: str
    steps: tuple[int | None, ...]


class Timing:
    """A network as if every sequence had `length` steps. The steps of constant length that it has are cut to these."""

    def __init__(self, graph: Graph, length: int) -> None:
        self.graph, self.length = graph, length
        self.axes = time_axes(graph)
        self.carried = carried(graph)
        self.sizes = dict.fromkeys(run_time_sizes(graph), length)
        constant = [c.steps.constant for c in graph.components if isinstance(c, Loop) and c.steps.is_constant]
        self.cut = max(constant, default=length) - length  # how many steps a constant length has too many

    def steps(self, node: Node) -> int:
        """How many steps a tensor in time has."""
        return self.count(node.shape[self.axes[node.name]])

    def count(self, extent: Int) -> int:
        return max(0, extent.constant - self.cut if extent.is_constant else self.known(extent).constant)

    def range(self, node: Node) -> Sequence[int | None]:
        """The steps at which a tensor is computed; `[None]` for one that is not in time."""
        return range(self.steps(node)) if node.name in self.axes else [None]

    def reads(self, node: Node, step: int | None) -> Iterator[StepRead]:
        """What is read for a step of a tensor."""
        if isinstance(node, View):
            operand = self.graph[node.operand]
            yield StepRead(node.operand, tuple(self.range(operand)))
        if isinstance(node, Equation):
            extents = {i: self.known(n) for i, n in node.extents.items()}
            for tensor, places in self._inside(self._at(node, step), extents):
                yield StepRead(tensor, self._steps_read(tensor, places))

    def beginnings(self, node: Node, step: int | None) -> Iterator[str]:
        """The numbers that stand in for what a recurrence carries, at a step that has none before it."""
        if not isinstance(node, Equation) or not any(user == node.name for _, user in self.carried):
            return
        for e in walk(node.body):
            if isinstance(e, Select) and isinstance(e.otherwise, Const):
                reads_back = any((tensor, node.name) in self.carried for tensor, _ in tensor_reads(e.then))
                condition = rewrite_condition(e.condition, ints=lambda value: self._number(node, step, value))
                if reads_back and decide(condition, {}) == FALSE:
                    yield f"{e.otherwise.value:g}"

    # --- inside ---

    def known(self, value: Int) -> Int:
        """With the length for each run-time size."""

        def change(atom: Atom) -> Int | None:
            return integer(self.sizes[atom.name]) if isinstance(atom, Size) and atom.name in self.sizes else None

        return value.rewrite(change)

    def _number(self, node: Equation, step: int | None, value: Int) -> Int:
        if step is not None:
            value = value.substitute({node.indices[self.axes[node.name]]: integer(step)})
        return self.known(value)

    def _at(self, node: Equation, step: int | None) -> Expr:
        return rewrite(node.body, ints=lambda value: self._number(node, step, value))

    def _inside(self, e: Expr, extents: Mapping[str, Int]) -> Iterator[tuple[str, Places]]:
        if isinstance(e, Select):
            yield from tensor_reads(e.condition)
            for branch, condition in ((e.then, e.condition), (e.otherwise, negate(e.condition))):
                if decide(condition, extents) != FALSE:
                    yield from self._inside(branch, extents)
        elif isinstance(e, Reduce):
            along = {name: self.count(extent) for name, extent in e.ranges if self._is_time(name, e.body)}
            inner = {**extents, **{name: self.known(extent) for name, extent in e.ranges}}
            for values in product(*(range(n) for n in along.values())):
                places = {name: integer(k) for name, k in zip(along, values, strict=True)}
                yield from self._inside(substitute(e.body, places), inner)
        elif isinstance(e, Apply):
            for part in e.args:
                yield from self._inside(part, extents)
        else:
            yield from tensor_reads(e)

    def _is_time(self, name: str, body: Expr) -> bool:
        """Whether an index of a reduction goes over the time of a tensor."""
        return any(
            tensor in self.axes and name in places[self.axes[tensor]].indices() for tensor, places in tensor_reads(body)
        )

    def _steps_read(self, tensor: str, places: Places) -> tuple[int | None, ...]:
        if tensor not in self.axes:
            return (None,)
        extent = self.graph[tensor].shape[self.axes[tensor]]
        place, count = places[self.axes[tensor]], self.count(extent)
        if not place.is_constant:
            return tuple(range(count))
        k = place.constant
        if k >= count and extent.is_constant:
            k -= self.cut  # counted from the end
        return (k,) if 0 <= k < count else ()
