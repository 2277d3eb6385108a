"""Subscripts: which element is read, and the proof or the guard that it is inside its tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from netlang.diagnostics import NetlangError, Span, fail
from netlang.elaboration.arithmetic import (
    describe,
    to_tensor,
)
from netlang.elaboration.frame import Context
from netlang.elaboration.values import (
    Absent,
    Family,
    Places,
    Tensor,
    Value,
)
from netlang.graph.constructors import within
from netlang.graph.expression import TRUE, Const, Whole
from netlang.graph.integer import Int, integer, reduce_ranges
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.evaluate import Evaluator


class NoMember(NetlangError):  # noqa: N818  # caught by name as a case, not an error
    """A member of a family that does not exist (yet); an `else` absorbs it."""

    def __init__(self, family: str, key: int, span: Span, known: list[int]) -> None:
        from netlang.diagnostics import Diagnostic

        reach = f"it has {known[0]} to {known[-1]}" if known else "it has no members yet"
        super().__init__(
            Diagnostic(
                "unknown-member",
                f"`{family}` has no member {key}",
                span,
                notes=(reach,),
                help="say what stands in for it: `(... else x)`",
            )
        )


def _outside(e: tree.Subscript, k: int, span: Span, extent: Int, ends: tuple[Int, Int] | None) -> str:
    """What is wrong with a read of dimension `k` at the place written at `span`."""
    dimension = f"dimension {k + 1} of `{e.base.span.text}` from 0 to {extent - 1}"
    if ends is None:
        return f"`{e.span.text}` may read outside: {dimension.replace(' from ', ' runs from ')}"
    if ends[0] == ends[1]:
        return f"`{e.span.text}` reads outside: {dimension.replace(' from ', ' runs from ')}"
    return f"`{e.span.text}` reads outside: `{span.text}` runs from {ends[0]} to {ends[1]}, {dimension}"


class Subscripts:
    """Evaluates subscripts on behalf of an `Evaluator`."""

    def __init__(self, evaluate: Evaluator) -> None:
        self.evaluate = evaluate
        self.elaborator = evaluate.elaborator

    def subscript(self, e: tree.Subscript, context: Context) -> Value:
        family = context.frame.names.get(e.base.id) if isinstance(e.base, tree.Name) else None
        if isinstance(family, Family):
            return self.member(family, e, context)
        base = self.evaluate(e.base, replace(context, exact=False))
        if isinstance(base, list):
            return self.item(base, e, context)
        if isinstance(base, Absent):
            return base
        tensor = to_tensor(base, e.base.span)
        if tensor.free:
            return tensor
        places = self.places(e, tensor, context)
        extents = context.indices.extents
        for k, (place, (extent, span)) in enumerate(zip(places, self.dimensions(e, tensor), strict=False)):
            place = reduce_ranges(place, extents)
            condition = within(place, extent, extents)
            if condition != TRUE:
                context.needs(condition, span, _outside(e, k, span, extent, place.bounds(extents)))
        rest = tensor.shape[len(places) :]
        fixed = tuple(reduce_ranges(p, extents) for p in places)
        return Tensor(rest, lambda at: tensor.element(fixed + at), tensor.dtype, bound=tensor.bound, maker=tensor.maker)

    @staticmethod
    def dimensions(e: tree.Subscript, tensor: Tensor) -> list[tuple[Int, Span]]:
        """The extent that each place indexes and the span to blame."""
        spans: list[Span] = []
        extra = tensor.rank - len(e.indices) + 1
        for i in e.indices:
            spans += [i.span] * (extra if isinstance(i, tree.Rest) else 1)
        return list(zip(tensor.shape, spans, strict=False))

    def places(self, e: tree.Subscript, tensor: Tensor, context: Context) -> Places:
        out: list[Int] = []
        inner = replace(context, exact=True)
        for i in e.indices:
            if isinstance(i, tree.Rest):
                if context.indices.rest is None:
                    fail(
                        "misplaced-rest",
                        "no `...` is in scope here",
                        i.span,
                        help="write it on the left of the equation too: `y[..., i] = x[..., i]`",
                    )
                out += [b.value for b in context.indices.rest]
            else:
                out.append(self.place(i, inner))
        if len(out) > tensor.rank:
            fail(
                "rank-mismatch",
                f"`{e.span.text}` has {len(out)} indices, but `{e.base.span.text}` {tensor.describe()}",
                e.span,
                notes=[f"it comes from {tensor.maker}"] if tensor.maker else (),
                help="write one index for each dimension, or fewer for a part",
            )
        return tuple(out)

    def place(self, e: tree.Expression, context: Context) -> Int:
        """An index expression as an integer polynomial."""
        value = self.evaluate(e, context)
        if isinstance(value, int | Int) and not isinstance(value, bool):
            return integer(value)
        if isinstance(value, Tensor) and not value.shape:
            scalar = value.scalar
            if isinstance(scalar, Whole):
                return scalar.value
            if isinstance(scalar, Const) and scalar.value.is_integer():
                return integer(int(scalar.value))
            if value.dtype == "int":
                fail(
                    "index-arithmetic",
                    f"give `{e.span.text}` a name of its own before it is an index",
                    e.span,
                    help=f"write `k = {e.span.text}` in a line before, and read at `k`",
                )
        fail(
            "index-arithmetic",
            f"an index is a whole number, found {describe(value)}",
            e.span,
            help="indices are sums of indices times constants, `//`, `%` and reads of integer tensors",
        )

    def member(self, family: Family, e: tree.Subscript, context: Context) -> Value:
        key = self.evaluate(e.indices[0], context) if len(e.indices) == 1 else None
        if not isinstance(key, int):
            fail(
                "rank-mismatch",
                f"`{family.name}[...]` takes one whole number",
                e.span,
                help=f"write the number of a round: `{family.name}[1]`",
            )
        frame = context.frame
        if key == frame.round and family.name in frame.later:
            self.elaborator.force(family.name, frame, e.span)
        if key not in family.members:
            outside = NoMember(family.name, key, e.span, sorted(family.members))
            raise outside
        return family.members[key]

    def item(self, items: Sequence[Value], e: tree.Subscript, context: Context) -> Value:
        key = self.evaluate(e.indices[0], context) if len(e.indices) == 1 else None
        if not isinstance(key, int) or not 0 <= key < len(items):
            fail(
                "bad-value",
                f"`{e.span.text}` is not in the list, which has {len(items)} items",
                e.span,
                help=f"pick one by a number known at compile time, from 0 to {len(items) - 1}",
            )
        return items[key]
