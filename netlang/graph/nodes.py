"""The kinds of node, a closed set; one frozen node for each vertex of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from netlang.diagnostics import Span
from netlang.graph.expression import Expr, Reduce
from netlang.graph.integer import Int, index, size
from netlang.graph.traversal import operands

BATCH = "batch"  # the reserved index over the examples of a batch, and the run-time size of its range


@dataclass(frozen=True)
class Origin:
    """Where a node comes from: the text that defines it and the layer instance that it belongs to (`""`: the net)."""

    span: Span | None
    scope: str = ""


@dataclass(frozen=True)
class Node:
    """A tensor: `shape` in integer expressions over run-time sizes; `dtype` is "real" or "int"."""

    name: str
    shape: tuple[Int, ...]
    dtype: str
    origin: Origin

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the tensors that it is computed from, in order of first appearance."""
        return ()


@dataclass(frozen=True)
class Input(Node):
    """Given at each call. `role` is "input", "target", "clock" (a scalar of the training loop, such as the step) or
    "vocabulary" (a table of what the net's vocabulary knows of its symbols)."""

    role: str = "input"
    classes: Int | None = None

    @property
    def per_example(self) -> bool:
        """Whether each example of a batch brings its own."""
        return self.role in ("input", "target")


@dataclass(frozen=True)
class Param(Node):
    """Learned; its first value is the node `graph.initial[name]`."""


@dataclass(frozen=True)
class State(Node):
    """Kept between calls; its next value is the node `graph.updates[name]`, where there is one."""


@dataclass(frozen=True)
class Random(Node):
    """Independent draws. `distribution` is a row of `netlang.random`; `stream` separates equal distributions.

    Counter-based: the element at a place is a function of the seed, the step, the stream and the place alone.
    """

    distribution: str
    stream: str
    per_example: bool = True


@dataclass(frozen=True)
class Equation(Node):
    """`name[indices] = body`, with `0 <= index < extent` for the extents in `shape`.

    In normal form the body holds at most one reduction, at its root.
    """

    indices: tuple[str, ...]
    body: Expr

    @cached_property
    def operands(self) -> tuple[str, ...]:
        return tuple(operands(self.body))

    @property
    def extents(self) -> dict[str, Int]:
        """The range of each index on the left-hand side."""
        return dict(zip(self.indices, self.shape, strict=True))

    @property
    def places(self) -> tuple[Int, ...]:
        """The left-hand side's indices as integer expressions."""
        return tuple(index(i) for i in self.indices)


@dataclass(frozen=True)
class View(Node):
    """The same elements in row-major order under another shape."""

    operand: str

    @property
    def operands(self) -> tuple[str, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Extern(Node):
    """A registered operation that no equation can say; `attributes` are its static arguments."""

    operation: str
    inputs: tuple[str, ...]
    attributes: tuple[tuple[str, float | int | str | bool], ...] = ()

    @property
    def operands(self) -> tuple[str, ...]:
        return self.inputs


@dataclass(frozen=True)
class Scope:
    """One application of a definition: the row of a summary, the box of a diagram.

    `owner` is the scope that holds its parameters (itself, unless an instance is applied more than once); `definition`
    is the name of what was applied.
    """

    name: str
    definition: str
    kind: str
    owner: str
    parent: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    span: Span | None


def batch_index() -> Int:
    return index(BATCH)


def is_batched(node: Node) -> bool:
    """Whether a node of a lifted graph has a value for each example; a parameter and a batch statistic have not."""
    return bool(node.shape) and node.shape[0] == size(BATCH)


def binds_batch(node: Node) -> bool:
    """Whether the node is a reduction over the batch."""
    return isinstance(node, Equation) and isinstance(node.body, Reduce) and BATCH in dict(node.body.ranges)
