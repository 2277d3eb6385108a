"""Noise of whole numbers: `noise k[5]: class(V) ~ categorical(p)` draws k with probabilities in proportion to p.

By inversion: the running sums of the weights are a recurrence, and a draw is the first place where they exceed a
uniform part of their total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlang.diagnostics import fail
from netlang.elaboration.arithmetic import describe, stretched, stretches, to_tensor
from netlang.elaboration.build import PLAIN_INDICES
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.values import Tensor, node_tensor
from netlang.graph.constructors import add, at_least_zero, mul, read, select, sub
from netlang.graph.expression import ZERO, Apply, Reduce
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation, Origin, Random
from netlang.graph.text import shape_text
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator

NAME = "categorical"


def is_categorical(init: tree.Expression) -> bool:
    """Whether an initial value is written as this distribution."""
    return isinstance(init, tree.Call) and init.callee.id == NAME


def categorical(
    elaborator: Elaborator,
    path: str,
    init: tree.Expression,
    shape: tuple[Int, ...],
    classes: Int | None,
    frame: Frame,
    origin: Origin,
    maker: str,
) -> Tensor:
    """Integers from 0 to `classes` - 1, drawn for each example; `path` is the name of the node.

    The weights have the shape [classes], or further dimensions in front that go with `shape`; those below 0 count as 0.
    """
    if not isinstance(init, tree.Call) or not is_categorical(init):
        fail(
            "bad-declaration",
            "noise of a class is drawn by `categorical(weights)`",
            init.span,
            help="give a weight for each class, or leave out `class(...)`",
        )
    context = Context(frame, frame.indices, [])
    positional, named = elaborator.evaluate.calls.arguments(init.arguments, context)
    if len(positional) != 1 or named:
        fail(
            "wrong-arity",
            f"`{NAME}` takes a tensor with a weight for each class",
            init.span,
            help=f"write `{NAME}(p)`, with `p[classes]`",
        )
    weights = to_tensor(positional[0], init.arguments[0].value.span)
    if weights.free:
        fail(
            "cyclic-definition",
            f"the weights of `{path}` are defined by its draws",
            init.arguments[0].value.span,
            help="noise is drawn before what is computed from it: let the weights depend on other tensors",
        )
    if classes is None:
        fail(
            "bad-declaration",
            f"`{NAME}` draws whole numbers",
            init.span,
            help=f"say so: `: class({weights.shape[-1] if weights.shape else 'n'})` behind the name",
        )
    if not weights.shape or weights.shape[-1] != classes or not stretches(weights.shape[:-1], shape):
        fail(
            "shape-mismatch",
            f"the weights are {describe(weights)}, and the draws {shape_text(shape)} of {classes} classes",
            init.arguments[0].value.span,
            help=f"give a weight for each class: a tensor of shape [{classes}]",
        )
    builder = elaborator.builder
    part = builder.equation(builder.unused(f"{path}.weight"), _at_least_zero(weights), origin)
    sums = builder.unused(f"{path}.cumulative")
    indices = (*_letters(weights.rank - 1), "v")
    *front, v = map(index, indices)
    before = select(at_least_zero(v - 1), read(sums, *front, v - 1), ZERO)
    builder.add(Equation(sums, weights.shape, "real", origin, indices, add(before, part.element((*front, v)))))
    draw = builder.unused(f"{path}.uniform")
    builder.add(Random(draw, shape, "real", origin, "uniform", draw, True))
    places = _letters(len(shape))
    at = tuple(map(index, places))
    row = stretched(weights.shape[:-1], shape, at)
    above = sub(read(sums, *row, v), mul(read(draw, *at), read(sums, *row, classes - 1)))
    search = Reduce("search", (("v", classes),), above)
    found = builder.add(Equation(builder.unused(path), shape, "int", origin, places, search))
    return node_tensor(found, classes, maker)


def _letters(count: int) -> tuple[str, ...]:
    return tuple(PLAIN_INDICES[k] if k < len(PLAIN_INDICES) else f"i{k}" for k in range(count))


def _at_least_zero(weights: Tensor) -> Tensor:
    return Tensor(weights.shape, lambda at: Apply("max", (ZERO, weights.element(at))))
