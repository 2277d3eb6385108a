"""The conventions of notation that a derivation makes use of, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from netlang.draw.derivation.steps import Derivation, Equality
from netlang.draw.formula.binding import is_outer
from netlang.draw.formula.formula import Bracket, Call, Column, Element, Hadamard, Product, parts


def conventions(d: Derivation) -> list[str]:
    """A sentence for each convention that a reader of the derivation meets."""
    met = [part for equation in _equations(d) for side in (equation.left, equation.right) for part in parts(side)]
    kinds = {type(part) for part in met}
    lines = ["The derivative by a tensor has the shape of the tensor."]
    if Element in kinds:
        lines.append("Indices begin at 0; a range k < 4 is 0, 1, 2, 3.")
    if Hadamard in kinds:
        lines.append("a ⊙ b is the elementwise product; functions and quotients of tensors are elementwise too.")
    if any(isinstance(p, Product) and len(p.factors) > 1 and is_outer(p) for p in met):
        lines.append("A transposed vector at the end, as in a ⊙ b cᵀ, multiplies all that stands before it.")
    if Column in kinds:
        lines.append("(a, b) is the vector, a column, of a and b.")
    if Bracket in kinds:
        lines.append("[S] is 1 where S holds, else 0 (Iverson's bracket).")
    if any(isinstance(p, Call) and p.name == "onehot" for p in met):
        lines.append("onehot(y) is the vector that is 1 at the place y, else 0.")
    if d.padded:
        lines.append("An element outside its tensor counts as 0 in a sum, and is never the largest.")
    return lines


def _equations(d: Derivation) -> Iterator[Equality]:
    for _, equations in d.forward:
        yield from equations
    for step in d.steps:
        yield from step.places
        for result in step.results:
            yield result.raw
            yield from result.forms
