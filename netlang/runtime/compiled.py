"""What computes a use of a net: the graph, its program, and how inputs of shapes met before are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy.typing as npt

from netlang.graph.graph import Graph
from netlang.graph.nodes import Input, Node, Random
from netlang.runtime.arguments import Argument, Known
from netlang.runtime.inputs import arguments
from netlang.targets.cpu.program import Binding, CpuProgram

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Compiled:
    """The graph of a use, its roots by name, and the program that computes them."""

    graph: Graph
    roots: Mapping[str, str]
    program: CpuProgram
    bindings: dict[tuple[int, ...], Binding] = field(default_factory=dict)  # to the net's arrays, by run-time sizes

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """The states of which each example of the batch has its own."""
        return self.graph.carried

    @cached_property
    def declared(self) -> Mapping[str, Argument]:
        """What may be given."""
        return arguments((n for n in self.graph if isinstance(n, Input) and n.per_example), self.program.dtype)

    @cached_property
    def read(self) -> tuple[str, ...]:
        """What must be given, in the order of the text."""
        return tuple(name for name in self.declared if name in self._buffers)

    @cached_property
    def known(self) -> Known[Fit]:
        return Known(self.declared[name] for name in self.read)

    @cached_property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """The random nodes, each with its stream."""
        return tuple((name, _stream(self.graph[name])) for name in self.program.program.keys)

    @cached_property
    def reads_clock(self) -> bool:
        return any(node.name in self._buffers for node in self.graph.inputs("clock"))

    @cached_property
    def moves(self) -> bool:
        """Whether the net has other arrays for it at times: states of the examples, or tables of a vocabulary."""
        return bool(self.carried or self.graph.inputs("vocabulary"))

    @cached_property
    def is_pure(self) -> bool:
        """Whether the inputs are all that changes from run to run, the values of parameters and states aside."""
        return not (self.keys or self.reads_clock or self.moves)

    @cached_property
    def _buffers(self) -> set[str]:
        return {b.name for b in self.program.program.of_kind("input")}


class Fit(NamedTuple):
    """How inputs of certain shapes are run.

    They are `batch` examples, or a `single` one without the dimension of the batch. `is_direct` says that they go to
    the program as they are. `outputs` has the name, the node, and whether its first element is meant, of each root;
    `only` is the node where there is one, which is meant as it is.
    """

    binding: Binding
    batch: int
    single: bool
    is_direct: bool
    outputs: tuple[tuple[str, str, bool], ...]
    only: str | None

    def shown(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, from the values of their nodes."""
        return {name: values[node][0] if is_first else values[node] for name, node, is_first in self.outputs}


def _stream(node: Node) -> str:
    assert isinstance(node, Random)
    return node.stream
