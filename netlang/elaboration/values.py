"""What an expression of the language can be while a network is elaborated: tensors, numbers, instances, families."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from netlang.diagnostics import Span
from netlang.elaboration.modules import Module
from netlang.graph.constructors import whole
from netlang.graph.expression import FALSE, Condition, Expr, Read
from netlang.graph.integer import Index, Int, fetch, index
from netlang.graph.nodes import BATCH, Node, Param, State
from netlang.graph.text import condition_text, shape_text
from netlang.graph.traversal import free_indices
from netlang.language.tree import Definition

Places = tuple[Int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor as a function from places to scalar expressions; nothing is stored until it is named.

    `node` is the node that it reads, where it is exactly one; `slot` the state or parameter whose present value it is;
    `maker` says where it came from, for messages; `bound` is the exclusive upper bound of an integer tensor. A `free`
    tensor stands for one whose shape is being found: it goes with every shape.
    """

    shape: tuple[Int, ...]
    element: Callable[[Places], Expr]
    dtype: str = "real"
    node: str | None = None
    bound: Int | None = None
    maker: str = ""
    slot: str | None = None
    free: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def scalar(self) -> Expr:
        """The one element of a tensor without dimensions."""
        return self.element(())

    def describe(self) -> str:
        return f"has shape {shape_text(self.shape)}" if self.shape else "is a scalar"


def depends_on_indices(tensor: Tensor) -> bool:
    """Whether the tensor is one of many, such as `x[t]` inside an equation over `t`."""
    places = tuple(index(f"#{k}") for k in range(tensor.rank))
    return not free_indices(tensor.element(places)) <= {BATCH, *(f"#{k}" for k in range(tensor.rank))}


@dataclass(frozen=True)
class Truth:
    """A tensor of truth values, as a function from places."""

    shape: tuple[Int, ...]
    element: Callable[[Places], Condition]


@dataclass
class Sharing:
    """Where an instance is at home: the paths of its nodes and of its parameters, and how often it was applied."""

    scope: str = ""
    owner: str = ""
    count: int = 0


@dataclass(frozen=True)
class Instance:
    """A layer with its arguments but without its input: `dense(64)`. Applied twice, it shares its parameters.

    It is at home where it is named, else where it is first applied.
    """

    definition: Definition
    module: Module
    positional: tuple[Value, ...]
    named: tuple[tuple[str, Value], ...]
    span: Span
    sharing: Sharing = field(default_factory=Sharing)


@dataclass(frozen=True)
class Family:
    """The values that a name took in the rounds of a `for`: `stage[k]`."""

    name: str
    members: dict[int, Value]


@dataclass(frozen=True)
class Builtin:
    """A function of the language as a value, `tanh`: an argument that is applied later."""

    name: str


@dataclass(frozen=True)
class Distribution:
    """A distribution as a value, `normal(0, 0.1)`: an argument from which first values are drawn later."""

    name: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True)
class Several:
    """What a layer with several results returns."""

    values: tuple[Value, ...]


def single(value: Value) -> Value:
    """What stands for a value where one is meant: of several results the first."""
    return value.values[0] if isinstance(value, Several) else value


@dataclass(frozen=True)
class Absent:
    """A parameter whose condition is false; reads as zero."""

    name: str


Static = bool | int | float | str | Int | list  # type: ignore[type-arg]  # lists hold values
Value = Tensor | Truth | Instance | Builtin | Distribution | Family | Several | Absent | Static


def node_tensor(node: Node, bound: Int | None = None, maker: str = "") -> Tensor:
    """The tensor that a node holds."""
    if node.dtype == "int":
        assert bound is not None
        limit = bound
        return Tensor(node.shape, lambda at: whole(fetch(node.name, at, limit)), "int", node.name, bound, maker)
    slot = node.name if isinstance(node, Param | State) else None
    return Tensor(node.shape, lambda at: Read(node.name, at), "real", node.name, None, maker, slot)


class Names:
    """Makes index names that are unique within one elaboration: `k#7`. The node they end up in shortens them."""

    def __init__(self) -> None:
        self._count = 0

    def index(self, base: str) -> str:
        self._count += 1
        return f"{base}#{self._count}"


@dataclass(frozen=True)
class Bound:
    """An index in scope: its integer expression and its extent."""

    value: Int
    extent: Int

    @property
    def name(self) -> str:
        atom = self.value.terms[0][0][0]
        assert isinstance(atom, Index)
        return atom.name


def bind(name: str, extent: Int) -> Bound:
    return Bound(index(name), extent)


@dataclass
class Indices:
    """The indices in scope of an expression: by name, and those of the rest (`...`)."""

    named: dict[str, Bound] = field(default_factory=dict)
    rest: tuple[Bound, ...] | None = None

    def extended(self, named: dict[str, Bound], rest: tuple[Bound, ...] | None) -> Indices:
        return Indices(self.named | named, self.rest if rest is None else rest)

    @property
    def extents(self) -> dict[str, Int]:
        return {b.name: b.extent for b in (*self.named.values(), *(self.rest or ()))}


@dataclass(frozen=True)
class Pending:
    """A read that may fall outside its tensor under `condition`'s negation; an `else` absorbs it."""

    condition: Condition
    span: Span
    message: str

    @property
    def needs(self) -> str:
        """The condition, with the indices called as the user calls them; nothing where none could help."""
        if self.condition == FALSE:
            return ""
        return re.sub(r"#\d+|\[\]", "", f"needs {condition_text(self.condition)}")
