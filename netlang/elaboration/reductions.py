"""Reductions: the indices that they introduce, how far these run, and the sum, mean or extreme over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from netlang.diagnostics import Span, fail
from netlang.elaboration.arithmetic import (
    to_tensor,
)
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.values import (
    Bound,
    Indices,
    Tensor,
    Value,
    bind,
)
from netlang.graph.constructors import div, reduce, whole
from netlang.graph.expression import Reduce
from netlang.graph.integer import Int, index, product, size
from netlang.graph.nodes import BATCH
from netlang.graph.traversal import free_indices
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.evaluate import Evaluator


class Reductions:
    """Evaluates reductions on behalf of an `Evaluator`."""

    def __init__(self, evaluate: Evaluator) -> None:
        self.evaluate = evaluate
        self.elaborator = evaluate.elaborator

    def reduction(self, e: tree.Reduction, context: Context) -> Value:
        ranges, indices = self.introduce(e.indices, e.body, context)
        inner = replace(context, indices=indices, pending=[], exact=False)
        body = to_tensor(self.evaluate(e.body, inner), e.body.span)
        names = {name for name, _ in ranges}
        for pending in inner.pending:
            if free_indices(pending.condition) & names:
                fail(
                    "read-outside",
                    pending.message,
                    pending.span,
                    label=pending.needs,
                    help=f"say inside the `{e.op}` what such a read gives: `(... else 0)`",
                )
        context.pending += inner.pending
        return reduced(e.op, ranges, body)

    def introduce(
        self, written: Iterable[tree.IndexRange], body: tree.Expression, context: Context
    ) -> tuple[list[tuple[str, Int]], Indices]:
        """The indices of a reduction: names unique in the whole elaboration, extents written or from bare uses."""
        named: dict[str, Bound] = {}
        rest: tuple[Bound, ...] | None = None
        ranges: list[tuple[str, Int]] = []
        for item in written:
            if item.name == "...":
                rest = tuple(self.rest_indices(item.span, context.frame))
                ranges += [(b.name, b.extent) for b in rest]
                continue
            if item.name == BATCH and item.extent is None:
                bound = bind(BATCH, size(BATCH))
            else:
                extent = self.index_extent(item, body, context)
                bound = bind(self.elaborator.unique.index(item.name), extent)
            named[item.name] = bound
            ranges.append((bound.name, bound.extent))
        return ranges, context.indices.extended(named, rest)

    def rest_indices(self, span: Span, frame: Frame) -> list[Bound]:
        if frame.rest is None:
            fail(
                "misplaced-rest",
                f"`{frame.title}` has no parameter with `...`",
                span,
                help="declare one: `x[c, ...]`",
            )
        return [bind(self.elaborator.unique.index("rstuvw"[k % 6]), n) for k, n in enumerate(frame.rest)]

    def index_extent(self, item: tree.IndexRange, body: tree.Expression, context: Context) -> Int:
        """The extent of an index: written, or that of the dimension it indexes alone."""
        if item.extent is not None:
            return self.evaluate.extent(item.extent, context.frame, f"the extent of `{item.name}`")
        found: list[tuple[Int, Span]] = []
        self.bare_uses(item.name, body, context, False, found)
        if not found:
            fail(
                "unknown-extent",
                f"nothing says how far `{item.name}` runs",
                item.span,
                help=f"write its extent: `{item.name} < n`",
            )
        extent, first = found[0]
        for other, span in found:
            if other != extent:
                fail(
                    "extent-conflict",
                    f"`{item.name}` runs over {extent} in `{first.text}`, over {other} in `{span.text}`",
                    span,
                    notes=[f"`{first.text}` is at {first.line}:{first.column}"],
                    help=f"write the extent that is meant: `{item.name} < n`, and `else` where a read falls outside",
                )
        return extent

    def bare_uses(self, name: str, e: object, context: Context, guarded: bool, found: list[tuple[Int, Span]]) -> None:
        """Collect the extents of the dimensions that the index `name` alone indexes, outside guards if possible."""
        if isinstance(e, tree.Subscript):
            for position, i in enumerate(e.indices):
                if isinstance(i, tree.Name) and i.id == name:
                    extent = self.dimension_of(e, position, context)
                    if extent is not None:
                        found.append((extent, e.span))
                else:
                    self.bare_uses(name, i, context, guarded, found)
            if not isinstance(e.base, tree.Name):
                self.bare_uses(name, e.base, context, guarded, found)
        elif isinstance(e, tree.Reduction):
            if all(i.name != name for i in e.indices):
                self.bare_uses(name, e.body, context, guarded, found)
        elif isinstance(e, tree.Guarded):
            self.bare_uses(name, e.otherwise, context, guarded, found)
            if not found:  # a guarded read may run past its tensor: it decides only where nothing else does
                self.bare_uses(name, e.body, context, True, found)
        else:
            for child in _children(e):
                self.bare_uses(name, child, context, guarded, found)

    def dimension_of(self, e: tree.Subscript, position: int, context: Context) -> Int | None:
        if isinstance(e.base, tree.Name) and e.base.id in context.frame.active:
            return None
        if not isinstance(e.base, tree.Name | tree.Subscript):
            return None
        base = self.evaluate(e.base, Context(context.frame, context.indices, []))
        if not isinstance(base, Tensor):
            return None
        before = [isinstance(i, tree.Rest) for i in e.indices]
        if any(before[:position]):
            position += base.rank - len(e.indices)
            position = position if 0 <= position < base.rank else base.rank
        return base.shape[position] if position < base.rank else None

    def total(self, op: str, tensor: Tensor) -> Tensor:
        ranges = [(self.elaborator.unique.index("ijklmn"[k % 6]), n) for k, n in enumerate(tensor.shape)]
        body = Tensor((), lambda at: tensor.element(tuple(index(i) for i, _ in ranges)), tensor.dtype)
        return reduced(op, ranges, body)


def reduced(op: str, ranges: list[tuple[str, Int]], body: Tensor) -> Tensor:
    """The reduction of a tensor-valued body; `mean` is a sum divided by the number of terms."""
    count = product(n for _, n in ranges)
    fixed = tuple(ranges)
    if op == "mean":
        return Tensor(body.shape, lambda at: div(reduce("sum", fixed, body.element(at)), whole(count)))
    if op in ("argmax", "argmin"):
        return Tensor(body.shape, lambda at: Reduce(op, fixed, body.element(at)), "int", bound=count)
    return Tensor(body.shape, lambda at: reduce(op, fixed, body.element(at)))


def _children(e: object) -> Iterable[object]:
    if isinstance(e, tree.Unary):
        return (e.operand,)
    if isinstance(e, tree.Binary):
        return e.left, e.right
    if isinstance(e, tree.Conditional):
        return e.then, e.condition, e.otherwise
    if isinstance(e, tree.Call):
        return tuple(a.value for a in e.arguments)
    if isinstance(e, tree.Pipeline):
        return (e.source, *e.stages)
    if isinstance(e, tree.ListLiteral):
        return e.items
    return ()
