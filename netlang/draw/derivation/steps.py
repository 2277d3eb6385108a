"""The steps of a derivation, as data for the printers of text, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlang.draw.formula.formula import Formula
from netlang.graph.graph import Graph

CHAIN = "the scalar chain rule"
ACCESS = "the access turned inside out"
VIEW = "a reshape passes its adjoint on"
ADDED = "the contributions of all uses are added"
BACKWARDS = "what is read of the step before gets its adjoint from the step after: a recurrence that runs backwards"
FORWARDS = "what is read of the step after gets its adjoint from the step before: a recurrence that runs forwards"
REDUCED = {
    "sum": "a sum broadcasts its adjoint",
    "prod": "a product gives each factor the product of the others",
    "max": "a max routes its adjoint to its first extreme",
    "min": "a min routes its adjoint to its first extreme",
}


@dataclass(frozen=True)
class Equality:
    """`left = right`; `shape` is that of the tensor, in words."""

    left: Formula
    right: Formula
    shape: str = ""


@dataclass(frozen=True)
class Result:
    """The adjoint of one tensor: `raw` as the rules give it, then the equal forms that lead to the last, simplest one.

    `sought` is true for a tensor that the derivation was asked for.
    """

    tensor: str
    shape: str
    raw: Equality
    forms: tuple[Equality, ...]
    sought: bool

    @property
    def final(self) -> Equality:
        return self.forms[-1] if self.forms else self.raw


@dataclass(frozen=True)
class Step:
    """One equation of the network, and what it gives to the tensors that it reads.

    `also` are tensors that it contributes to, whose adjoint is complete at a later step.
    """

    number: int
    section: str
    forward: Equality
    places: tuple[Equality, ...]
    rules: tuple[str, ...]
    results: tuple[Result, ...]
    also: tuple[str, ...]


@dataclass(frozen=True)
class Derivation:
    """The derivatives of `objective`, which is `symbol` in the formulas, by the tensors of `gradients`."""

    net: str
    symbol: str
    objective: str
    functions: tuple[Equality, ...]
    forward: tuple[tuple[str, tuple[Equality, ...]], ...]
    steps: tuple[Step, ...]
    gradients: tuple[Result, ...]
    graph: Graph  # that was differentiated, lifted where the objective needs the batch
    labels: Mapping[str, str]  # what nodes are called in the formulas, where that is not their name
    padded: bool = False  # an equation reads outside a tensor
