"""Where an expression stands: the frame of its definition, the indices in scope, the reads that wait for an `else`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from netlang.diagnostics import Span
from netlang.elaboration.modules import Module
from netlang.elaboration.proof import unproved
from netlang.elaboration.values import Indices, Pending, Tensor, Value
from netlang.graph.constructors import every
from netlang.graph.expression import TRUE, Condition
from netlang.graph.integer import Int
from netlang.language import tree


@dataclass
class Frame:
    """The body of a definition while it is elaborated.

    `scope` is the path that its nodes get; `owner` the path that its parameters get (they differ where an instance is
    applied again). `later` holds the statements of names not reached yet, so that a definition may be used before its
    line. A pure frame (of a function) stores no nodes.
    """

    module: Module
    kind: str
    title: str
    scope: str
    owner: str
    pure: bool
    names: dict[str, Value] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    later: dict[str, tree.Statement] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    recurring: dict[str, Tensor] = field(default_factory=dict)  # those of the active names that may be read
    rest: tuple[Int, ...] | None = None
    counters: dict[str, int] = field(default_factory=dict)
    indices: Indices = field(default_factory=Indices)
    weight: str = ""  # of an optimizer: the name of its first parameter
    round: int | None = None  # the value of the loop variable, inside a `for`
    counter: str = ""  # the name of the loop variable

    def member(self, name: str) -> str:
        """The name, with the round of the `for` that it is in."""
        return name if self.round is None else f"{name}[{self.round}]"

    def path(self, name: str) -> str:
        return f"{self.scope}.{name}" if self.scope else name

    def parameter_path(self, name: str) -> str:
        return f"{self.owner}.{name}" if self.owner else name


@dataclass
class Context:
    """Where an expression stands: its frame, the indices in scope, and the reads still waiting for an `else`."""

    frame: Frame
    indices: Indices
    pending: list[Pending]
    exact: bool = False  # inside a subscript: `/` is exact division
    known: Condition = TRUE  # about sizes by what is required, about indices by the conditions around

    def inner(self, known: Condition = TRUE) -> Context:
        """The context of a part whose reads are gathered apart, and that is evaluated only where `known` holds."""
        return replace(self, pending=[], known=every([self.known, known]))

    def needs(self, condition: Condition, span: Span, message: str) -> None:
        """Note that the text at `span` may be evaluated only where `condition` holds, unless it is known to hold."""
        if self.known != TRUE:
            condition = unproved(condition, self.known, self.indices.extents)
        if condition != TRUE:
            self.pending.append(Pending(condition, span, message))
