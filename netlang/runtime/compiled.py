"""What computes a use of a net: its interface, its program, and how inputs of shapes met before are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy.typing as npt

from netlang.graph.graph import Graph
from netlang.graph.nodes import Input, Random, is_batched
from netlang.graph.sizes import Requirement
from netlang.runtime.arguments import Argument, Known
from netlang.runtime.inputs import arguments
from netlang.targets.cpu.program import Binding, CpuProgram

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Interface:
    """What the runs of a program have to know of the graph that it computes.

    `roots` are the nodes that are computed, by name, and `batched` those of them with a value for each example;
    `inputs` are those of the graph, in every role; `carried` are the states of which each example of the batch has its
    own, and `streams` those of the random nodes. `changes` says whether parameters or other states get new values.
    """

    roots: Mapping[str, str]
    batched: frozenset[str]
    inputs: tuple[Input, ...]
    carried: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    streams: Mapping[str, str]
    changes: bool

    @staticmethod
    def of(graph: Graph, roots: Mapping[str, str], updates: Mapping[str, str]) -> Interface:
        return Interface(
            dict(roots),
            frozenset(node for node in roots.values() if is_batched(graph[node])),
            tuple(n for n in graph if isinstance(n, Input)),
            graph.carried,
            graph.requirements,
            {n.name: n.stream for n in graph if isinstance(n, Random)},
            not updates.keys() <= set(graph.carried),
        )

    def of_role(self, role: str) -> tuple[Input, ...]:
        return tuple(n for n in self.inputs if n.role == role)


@dataclass(frozen=True, eq=False)
class Compiled:
    """A use of a net: what it computes of what, and the program."""

    interface: Interface
    program: CpuProgram
    bindings: dict[tuple[int, ...], Binding] = field(default_factory=dict)  # to the net's arrays, by run-time sizes

    @cached_property
    def roots(self) -> Mapping[str, str]:
        """The nodes that are computed, by name."""
        return self.interface.roots

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """The states of which each example of the batch has its own."""
        return self.interface.carried

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The run-time sizes that a run needs."""
        return self.program.outline.sizes

    @cached_property
    def changes(self) -> bool:
        """Whether a run changes parameters, or states that are not those of an example."""
        return self.interface.changes

    @cached_property
    def declared(self) -> Mapping[str, Argument]:
        """What may be given."""
        return arguments((n for n in self.interface.inputs if n.per_example), self.program.dtype)

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
        return tuple((name, self.interface.streams[name]) for name in self.program.outline.keys)

    @cached_property
    def reads_clock(self) -> bool:
        return any(node.name in self._buffers for node in self.interface.of_role("clock"))

    @cached_property
    def vocabulary(self) -> tuple[Input, ...]:
        """The tables of a vocabulary among the inputs."""
        return self.interface.of_role("vocabulary")

    @cached_property
    def moves(self) -> bool:
        """Whether the net has other arrays for it at times: states of the examples, or tables of a vocabulary."""
        return bool(self.carried or self.vocabulary)

    @cached_property
    def is_pure(self) -> bool:
        """Whether the inputs are all that changes from run to run, the values of parameters and states aside."""
        return not (self.keys or self.reads_clock or self.moves)

    @cached_property
    def _buffers(self) -> set[str]:
        return {b.name for b in self.program.outline.of_kind("input")}


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
        if self.only is not None:  # in a third of the time
            return {self.outputs[0][0]: values[self.only]}
        return {name: values[node][0] if is_first else values[node] for name, node, is_first in self.outputs}
