"""Equations that refer to themselves, directly or through others: `h[t] = f(h[t-1])`.

The shape of such a tensor follows from its equation, which reads it. So the equation is elaborated twice: first for the
shape alone, with a free tensor in place of the tensor itself, which takes whatever shape goes with it; then, with what
that left behind undone, for good, with reads of a node that will be there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netlang.elaboration.frame import Frame
from netlang.elaboration.values import Family, Places, Tensor, Value
from netlang.graph.expression import ZERO, Expr, Read
from netlang.graph.integer import Int
from netlang.language import tree
from netlang.language.names import names_in

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator

Shape = tuple[Int, ...]


@dataclass
class Recurrences:
    """Elaborates recurrences on behalf of an `Elaborator`. `exploring` while it is only for a shape."""

    elaborator: Elaborator
    exploring: bool = False
    found: list[str] = field(default_factory=list)  # paths of recurrent tensors

    def is_recurrent(self, name: str, frame: Frame) -> bool:
        """Whether the equation of a name reaches the name again, through lines that are not elaborated yet."""
        seen: set[str] = set()
        pending = [name]
        while pending:
            for word in names_in([frame.later[pending.pop()]]):
                if word == name:
                    return True
                if word in frame.later and word not in seen:
                    seen.add(word)
                    pending.append(word)
        return False

    def shape(self, name: str, frame: Frame, explore: Callable[[], Tensor]) -> Shape:
        """The shape of a recurrent tensor, by `explore`, which elaborates its equation; what that does is undone."""
        state = _State.of(self.elaborator, frame)
        before, self.exploring = self.exploring, True
        frame.recurring[name] = Tensor((), lambda at: ZERO, free=True)
        try:
            return explore().shape
        finally:
            self.exploring = before
            state.restore(self.elaborator, frame)

    def tensor(self, path: str, shape: Shape) -> Tensor:
        """The tensor that the node at `path` will be."""
        self.found.append(path)

        def element(at: Places) -> Expr:
            return Read(path, at)

        return Tensor(shape, element, node=path)


@dataclass(frozen=True)
class _State:
    """What elaborating a statement changes, so that it can be undone."""

    names: dict[str, Value]
    later: dict[str, tree.Statement]
    active: list[str]
    counters: dict[str, int]
    recurring: dict[str, Tensor]
    scopes: set[str]
    sizes: tuple[int, ...]

    @staticmethod
    def of(elaborator: Elaborator, frame: Frame) -> _State:
        names = {n: Family(v.name, dict(v.members)) if isinstance(v, Family) else v for n, v in frame.names.items()}
        return _State(
            names,
            dict(frame.later),
            list(frame.active),
            dict(frame.counters),
            dict(frame.recurring),
            set(elaborator.applications.scope_names),
            tuple(len(made) for made in _made(elaborator)),
        )

    def restore(self, elaborator: Elaborator, frame: Frame) -> None:
        frame.names, frame.later, frame.active = self.names, self.later, self.active
        frame.counters, frame.recurring = self.counters, self.recurring
        elaborator.applications.scope_names = self.scopes
        for made, size in zip(_made(elaborator), self.sizes, strict=True):
            while len(made) > size:
                made.popitem() if isinstance(made, dict) else made.pop()


def _made(elaborator: Elaborator) -> tuple[dict[str, object] | list[object], ...]:
    """What a builder gathers, in order."""
    builder = elaborator.builder
    return builder.nodes, builder.initial, builder.updates, builder.scopes  # type: ignore[return-value]  # invariance
