"""Expressions of the language to values: names, subscripts with their guards, reductions, products, conditions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from netlang.diagnostics import NetlangError, Span, fail, nearest
from netlang.graph.expression import (
    FALSE,
    TRUE,
    All,
    AtLeastZero,
    Condition,
    Const,
    Reduce,
    Whole,
    div,
    every,
    free_indices,
    is_zero,
    mul,
    whole,
    within,
)
from netlang.graph.integer import Int, index, integer, is_nonnegative, product, reduce_ranges, size
from netlang.graph.nodes import BATCH, Param, State
from netlang.graph.text import condition_text, shape_text
from netlang.language import tree
from netlang.passes.arithmetic import (
    COMPARISONS,
    FUNCTIONS,
    arity,
    binary,
    choose,
    comparison,
    conjunction,
    describe,
    disjunction,
    function,
    negative,
    opposite,
    to_tensor,
    to_truth,
)
from netlang.passes.modules import Module
from netlang.passes.values import (
    Absent,
    Bound,
    Family,
    Indices,
    Instance,
    Pending,
    Places,
    Tensor,
    Truth,
    Value,
    bind,
    node_tensor,
)

if TYPE_CHECKING:
    from netlang.passes.elaborate import Elaborator

REDUCERS = ("sum", "mean", "prod", "max", "min", "argmax", "argmin")
CONSTANTS = {"pi": math.pi, "inf": math.inf}


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
    rest: tuple[Int, ...] | None = None
    counters: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    inputs: list[str] = field(default_factory=list)
    indices: Indices = field(default_factory=Indices)
    weight: str = ""  # of an optimizer: the name of its first parameter
    round: int | None = None  # the value of the loop variable, inside a `for`

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

    def inner(self, indices: Indices | None = None) -> Context:
        return Context(self.frame, self.indices if indices is None else indices, [])


class Evaluator:
    """Evaluates expressions on behalf of an `Elaborator`, which applies definitions and stores nodes."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.forms: dict[type, Callable[..., Value]] = {
            tree.Number: lambda e, c: e.value,
            tree.Boolean: lambda e, c: e.value,
            tree.Text: lambda e, c: e.value,
            tree.Name: self.name,
            tree.Unary: self.unary,
            tree.Binary: self.binary,
            tree.Conditional: self.conditional,
            tree.Guarded: self.guarded,
            tree.Subscript: self.subscript,
            tree.Call: self.call,
            tree.Reduction: self.reduction,
            tree.Pipeline: self.pipeline,
            tree.ListLiteral: lambda e, c: [self(item, c) for item in e.items],
            tree.Rest: self.rest,
            tree.Interval: self.interval,
        }

    def __call__(self, e: tree.Expression, context: Context) -> Value:
        return self.forms[type(e)](e, context)

    # --- wholes ---

    def complete(self, e: tree.Expression, frame: Frame, indices: Indices | None = None) -> Value:
        """The value of an expression in which every read must be inside its tensor."""
        context = Context(frame, indices or frame.indices, [])
        value = self(e, context)
        self.require_inside(context)
        return value

    @staticmethod
    def require_inside(context: Context) -> None:
        if context.pending:
            outside = context.pending[0]
            fail(
                "read-outside",
                outside.message,
                outside.span,
                label=f"needs {condition_text(outside.condition)}".replace("#", "_"),
                help="say what such a read gives: `(... else 0)`",
            )

    def number(self, e: tree.Expression, frame: Frame, what: str) -> int | float:
        value = self.complete(e, frame)
        if isinstance(value, bool) or not isinstance(value, int | float):
            fail("type-mismatch", f"{what} must be a number known at compile time, found {describe(value)}", e.span)
        return value

    def extent(self, e: tree.Expression, frame: Frame, what: str) -> Int:
        """An extent: a whole number that is at least 1, or a run-time size."""
        value = self.complete(e, frame)
        if isinstance(value, float) and value == math.floor(value) and math.isfinite(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | Int):
            found = str(value) if isinstance(value, float) else describe(value)
            fail(
                "bad-extent",
                f"{what} must be a whole number, found {found}",
                e.span,
                help="use `//` for a rounded quotient",
            )
        extent = integer(value)
        if not is_nonnegative(extent - 1):
            fail(
                "bad-extent",
                f"{what} must be at least 1, found {extent.key}".replace("|", ""),
                e.span,
                help="check the sizes that it is made of",
            )
        if extent.is_constant and extent.constant > 2**40:
            fail("number-too-large", f"{what} is {extent.key}, which no machine holds", e.span)
        return extent

    # --- names ---

    def name(self, e: tree.Name, context: Context) -> Value:
        bound = context.indices.named.get(e.id)
        if bound is not None:
            return bound.value
        found = self.local(e.id, context.frame, e.span)
        if found is not None:
            return found
        if e.id in CONSTANTS:
            return CONSTANTS[e.id]
        if e.id == "training":
            return self.elaborator.training
        if "." in e.id:
            return self.dotted(e, context.frame)
        definition = context.frame.module.find("callable", e.id)
        if definition is not None:
            return Instance(definition, context.frame.module, (), (), e.span)
        self.unknown(e, context)

    def local(self, name: str, frame: Frame, span: Span) -> Value | None:
        """A name of the frame; a definition further down is elaborated now."""
        if name in frame.names:
            frame.used.add(name)
            return frame.names[name]
        if name in frame.later:
            self.elaborator.force(name, frame, span)
            frame.used.add(name)
            return frame.names[name]
        return None

    def dotted(self, e: tree.Name, frame: Frame) -> Value:
        """A parameter or state of an instance: `embed.W`."""
        first = e.id.split(".")[0]
        if first in frame.later:
            self.elaborator.force(first, frame, e.span)
        node = self.elaborator.builder.nodes.get(frame.parameter_path(e.id))
        if node is None or not isinstance(node, Param | State):
            known = [n.name for n in self.elaborator.builder.nodes.values() if isinstance(n, Param | State)]
            fail("unknown-name", f"no parameter is called `{e.id}`", e.span, help=nearest(e.id, known))
        frame.used.add(first)
        return node_tensor(node)

    def unknown(self, e: tree.Name, context: Context) -> Value:
        frame = context.frame
        known = [
            *frame.names,
            *frame.later,
            *context.indices.named,
            *frame.module.library.names("callable"),
            *FUNCTIONS,
            *CONSTANTS,
        ]
        known += [n for s, n in frame.module.definitions if s == "callable"]
        fail(
            "unknown-name",
            f"`{e.id}` is not defined",
            e.span,
            help=nearest(e.id, known) or f"define it above: `{e.id} = ...`",
        )

    def rest(self, e: tree.Rest, context: Context) -> Value:
        fail("misplaced-rest", "`...` stands for dimensions, inside brackets only", e.span)

    def interval(self, e: tree.Interval, context: Context) -> Value:
        first, last = (self.number(b, context.frame, "an end of a range") for b in (e.first, e.last))
        if first != int(first) or last != int(last):
            fail("bad-value", "the ends of a range are whole numbers", e.span)
        if last - first >= 100_000:
            fail("number-too-large", f"the range has {int(last - first) + 1:,} members", e.span)
        return list(range(int(first), int(last) + 1))

    # --- operators ---

    def unary(self, e: tree.Unary, context: Context) -> Value:
        value = self(e.operand, context)
        return negative(value, e.span) if e.op == "-" else opposite(value, e.span)

    def binary(self, e: tree.Binary, context: Context) -> Value:
        if e.op in ("and", "or"):
            return self.logical(e, context)
        left, right = self(e.left, context), self(e.right, context)
        if e.op in COMPARISONS:
            return comparison(e.op, left, right, e.span)
        if e.op == "@":
            return self.matrix_product(left, right, e)
        if e.op == "/" and context.exact and isinstance(left, int | Int):
            return self.exact_quotient(left, right, e, context)
        return binary(e.op, left, right, e.span)

    def logical(self, e: tree.Binary, context: Context) -> Value:
        left = self(e.left, context)
        if isinstance(left, bool):
            return left if left == (e.op == "or") else self.condition(e.right, context)
        right = self.condition(e.right, context)
        if isinstance(right, bool):
            to_truth(left, e.left.span)
            return right if right == (e.op == "or") else left
        return (conjunction if e.op == "and" else disjunction)(left, right, e.span)

    def condition(self, e: tree.Expression, context: Context) -> bool | Truth:
        value = self(e, context)
        return value if isinstance(value, bool) else to_truth(value, e.span)

    def exact_quotient(self, left: int | Int, right: Value, e: tree.Binary, context: Context) -> Int:
        """`i / c` in a subscript: a read where it is not a whole number counts as outside."""
        if isinstance(right, bool) or not isinstance(right, int) or right < 1:
            fail("index-arithmetic", "an index is divided by a positive constant only", e.span)
        value = integer(left)
        condition = is_zero(value % right)
        if condition != TRUE:
            message = f"`{e.span.text}` is not a whole number everywhere"
            context.pending.append(Pending(condition, e.span, message))
        return value // right

    def matrix_product(self, left: Value, right: Value, e: tree.Binary) -> Tensor:
        a, b = to_tensor(left, e.left.span), to_tensor(right, e.right.span)
        if isinstance(left, Absent) or isinstance(right, Absent):
            return Tensor((), lambda at: Const(0.0))
        if not a.rank or not b.rank or b.rank > 2:
            fail(
                "shape-mismatch",
                f"`@` multiplies matrices and vectors, found {describe(a)} and {describe(b)}",
                e.span,
                help="use `*` for an elementwise product, or write the sum: `sum(k) A[i, k] * B[k, j]`",
            )
        inner = b.shape[0]
        if a.shape[-1] != inner:
            fail(
                "shape-mismatch",
                f"`{e.span.text}` multiplies {shape_text(a.shape)} by {shape_text(b.shape)}",
                e.span,
                label=f"{a.shape[-1].key} columns against {inner.key} rows".replace("|", ""),
                notes=[f"{shape_text(t.shape)} is {t.maker}" for t in (a, b) if t.maker],
                help="the last dimension of the left operand must equal the first of the right one",
            )
        k = self.elaborator.unique.index("k")
        rank = a.rank - 1

        def element(at: Places) -> Reduce:
            body = mul(a.element((*at[:rank], index(k))), b.element((index(k), *at[rank:])))
            return Reduce("sum", ((k, inner),), body)

        return Tensor(a.shape[:-1] + b.shape[1:], element)

    # --- conditions and guards ---

    def conditional(self, e: tree.Conditional, context: Context) -> Value:
        condition = self.condition(e.condition, context)
        if isinstance(condition, bool):
            return self(e.then if condition else e.otherwise, context)
        branches = []
        for branch, holds in ((e.then, condition), (e.otherwise, opposite(condition, e.condition.span))):
            inner = context.inner()
            branches.append(to_tensor(self(branch, inner), branch.span))
            assert isinstance(holds, Truth)
            known = _conjuncts(holds.element(())) if not holds.shape else ()
            context.pending += [p for p in inner.pending if not any(_implies(k, p.condition) for k in known)]
        return choose(condition, branches[0], branches[1], e.span)

    def guarded(self, e: tree.Guarded, context: Context) -> Value:
        inner = context.inner()
        try:
            value = self(e.body, inner)
        except _NoMember:
            return self(e.otherwise, context)
        if not inner.pending:
            return value  # every read is inside: the alternative is never taken
        conditions = every(p.condition for p in inner.pending)
        otherwise = self(e.otherwise, context)
        if conditions == FALSE:
            return otherwise
        truth = Truth((), lambda at: conditions)
        return choose(truth, to_tensor(value, e.body.span), to_tensor(otherwise, e.otherwise.span), e.span)

    # --- subscripts ---

    def subscript(self, e: tree.Subscript, context: Context) -> Value:
        base = self(e.base, replace(context, exact=False))
        if isinstance(base, Family):
            return self.member(base, e, context)
        if isinstance(base, list):
            return self.item(base, e, context)
        if isinstance(base, Absent):
            return base
        tensor = to_tensor(base, e.base.span)
        places = self.places(e, tensor, context)
        extents = context.indices.extents
        for k, (place, (extent, span)) in enumerate(zip(places, self.dimensions(e, tensor), strict=False)):
            condition = within(reduce_ranges(place, extents), extent, extents)
            if condition != TRUE:
                ends = reduce_ranges(place, extents).bounds(extents)
                reach = f", which runs from {ends[0].key} to {ends[1].key}" if ends else ""
                message = f"`{e.span.text}` reads outside dimension {k + 1} of {shape_text(tensor.shape)}"
                context.pending.append(Pending(condition, span, (message + reach).replace("|", "")))
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
                notes=[f"`{e.base.span.text}` is {tensor.maker}"] if tensor.maker else (),
                help="write one index for each dimension, or fewer for a part",
            )
        return tuple(out)

    def place(self, e: tree.Expression, context: Context) -> Int:
        """An index expression as an integer polynomial."""
        value = self(e, context)
        if isinstance(value, int | Int) and not isinstance(value, bool):
            return integer(value)
        if isinstance(value, Tensor) and not value.shape:
            scalar = value.scalar
            if isinstance(scalar, Whole):
                return scalar.value
            if isinstance(scalar, Const) and scalar.value == int(scalar.value):
                return integer(int(scalar.value))
            if value.dtype == "int":
                fail("index-arithmetic", f"give `{e.span.text}` a name of its own before it is an index", e.span)
        fail(
            "index-arithmetic",
            f"an index is a whole number, found {describe(value)}",
            e.span,
            help="indices are sums of indices times constants, `//`, `%` and reads of integer tensors",
        )

    def member(self, family: Family, e: tree.Subscript, context: Context) -> Value:
        key = self(e.indices[0], context) if len(e.indices) == 1 else None
        if not isinstance(key, int):
            fail("rank-mismatch", f"`{family.name}[...]` takes one whole number", e.span)
        if key not in family.members:
            outside = _NoMember(family.name, key, e.span, sorted(family.members))
            raise outside
        return family.members[key]

    def item(self, items: Sequence[Value], e: tree.Subscript, context: Context) -> Value:
        key = self(e.indices[0], context) if len(e.indices) == 1 else None
        if not isinstance(key, int) or not 0 <= key < len(items):
            fail(
                "bad-value",
                f"`{e.span.text}` is not in the list, which has {len(items)} items",
                e.span,
                help="items count from 0",
            )
        return items[key]

    # --- reductions ---

    def reduction(self, e: tree.Reduction, context: Context) -> Value:
        ranges, indices = self.introduce(e.indices, e.body, context)
        inner = Context(context.frame, indices, [])
        body = to_tensor(self(e.body, inner), e.body.span)
        names = {name for name, _ in ranges}
        for pending in inner.pending:
            if free_indices(pending.condition) & names:
                fail(
                    "read-outside",
                    pending.message,
                    pending.span,
                    label=f"needs {condition_text(pending.condition)}".replace("#", "_"),
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
            if item.name in named:
                fail("duplicate-index", f"the index `{item.name}` is introduced twice", item.span)
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
            return self.extent(item.extent, context.frame, f"the extent of `{item.name}`")
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
                    f"`{item.name}` runs over {extent.key} in `{first.text}`, over {other.key} in `{span.text}`".replace(
                        "|", ""
                    ),
                    span,
                    notes=[f"`{first.text}` is at {first.line}:{first.column}"],
                    help=f"write the extent that is meant, `{item.name} < ...`, and an `else` where a read falls outside",
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
        base = self(e.base, Context(context.frame, context.indices, []))
        if not isinstance(base, Tensor):
            return None
        before = [isinstance(i, tree.Rest) for i in e.indices]
        if any(before[:position]):
            position += base.rank - len(e.indices)
            position = position if 0 <= position < base.rank else base.rank
        return base.shape[position] if position < base.rank else None

    # --- calls and pipelines ---

    def call(self, e: tree.Call, context: Context) -> Value:
        name = e.callee.id
        local = context.indices.named.get(name) or context.frame.names.get(name)
        if local is None and name in context.frame.later:
            local = self.local(name, context.frame, e.callee.span)
        if not isinstance(local, Instance):
            if name in FUNCTIONS or name in REDUCERS or name in ("reshape", "size"):
                return self.builtin(e, context)
            local = None
        if name == "repeat":
            fail("type-mismatch", "`repeat` stands in a pipeline: `x -> repeat(3, layer(...))`", e.span)
        positional, named = self.arguments(e.arguments, context)
        if local is not None:
            context.frame.used.add(name)
            return self.elaborator.apply_instance(local, positional, named, e, context)
        definition = context.frame.module.find("callable", name)
        if definition is None:
            self.unknown(e.callee, context)
            raise AssertionError
        first = positional[0] if positional else None
        takes_input = bool(definition.parameters) and definition.parameters[0].dims is not None
        if (
            definition.kind == "layer"
            and takes_input
            and not isinstance(first, Tensor)
            and not any(n == definition.parameters[0].name for n, _ in named)
        ):
            return Instance(definition, context.frame.module, tuple(positional), tuple(named), e.span)
        return self.elaborator.apply(definition, positional, named, e, context)

    def arguments(
        self, written: Iterable[tree.Argument], context: Context
    ) -> tuple[list[Value], list[tuple[str, Value]]]:
        inner = replace(context, exact=False)
        positional = [self(a.value, inner) for a in written if a.name is None]
        return positional, [(a.name, self(a.value, inner)) for a in written if a.name is not None]

    def builtin(self, e: tree.Call, context: Context) -> Value:
        name = e.callee.id
        for a in e.arguments:
            if a.name is not None:
                fail("unknown-argument", f"`{name}` takes no named arguments", a.span)
        values = [self(a.value, replace(context, exact=False)) for a in e.arguments]
        return self.apply_builtin(name, values, e.span, context)

    def apply_builtin(self, name: str, values: list[Value], span: Span, context: Context) -> Value:
        if name == "reshape":
            return self.elaborator.reshape(values, span, context)
        if name == "size":
            _arity(name, values, 1, span)
            count = product(to_tensor(values[0], span).shape)
            return count.constant if count.is_constant else count
        if name in REDUCERS and len(values) == 1:
            return self.total(name, to_tensor(values[0], span))
        if name not in FUNCTIONS:
            fail(
                "wrong-arity",
                f"`{name}` takes one tensor, or indices and a body",
                span,
                help=f"write `{name}(i) x[i]`",
            )
        _arity(name, values, arity(name), span)
        return function(name, values, span)

    def total(self, op: str, tensor: Tensor) -> Tensor:
        ranges = [(self.elaborator.unique.index("ijklmn"[k % 6]), n) for k, n in enumerate(tensor.shape)]
        body = Tensor((), lambda at: tensor.element(tuple(index(i) for i, _ in ranges)), tensor.dtype)
        return reduced(op, ranges, body)

    def pipeline(self, e: tree.Pipeline, context: Context) -> Value:
        value = self(e.source, context)
        for stage in e.stages:
            value = self.stage(value, stage, context)
        return value

    def stage(self, value: Value, stage: tree.Expression, context: Context) -> Value:
        if isinstance(stage, tree.Call) and stage.callee.id == "repeat":
            return self.repeat(value, stage, context)
        if isinstance(stage, tree.Call):
            name = stage.callee
            positional, named = self.arguments(stage.arguments, context)
        else:
            positional, named = [], []
            if isinstance(stage, tree.Subscript):
                applied = self(stage, context)
                return self.apply_value(applied, value, positional, named, stage, context)
            assert isinstance(stage, tree.Name)
            name = stage
        local = self.local(name.id, context.frame, name.span)
        if isinstance(local, Instance):
            return self.apply_value(local, value, positional, named, stage, context)
        if name.id in FUNCTIONS or name.id in ("reshape", "size", *REDUCERS):
            return self.elaborator.apply_function_stage(name.id, [value, *positional], stage, context)
        definition = context.frame.module.find("callable", name.id)
        if definition is None:
            if local is not None:
                fail(
                    "not-a-layer",
                    f"`{name.id}` is {describe(local)}, not a layer",
                    name.span,
                    help="a pipeline leads through layers and functions",
                )
            known = [
                *context.frame.module.library.names("callable"),
                *FUNCTIONS,
                *(n for s, n in context.frame.module.definitions if s == "callable"),
            ]
            known += [n for n, v in context.frame.names.items() if isinstance(v, Instance)]
            fail(
                "unknown-name",
                f"no layer or function is called `{name.id}`",
                name.span,
                help=nearest(name.id, known) or f"define it: `layer {name.id}(x[d]):`",
            )
        return self.elaborator.apply(definition, [value, *positional], named, stage, context, staged=True)

    def apply_value(
        self,
        applied: Value,
        value: Value,
        positional: list[Value],
        named: list[tuple[str, Value]],
        stage: tree.Expression,
        context: Context,
    ) -> Value:
        if not isinstance(applied, Instance):
            fail("not-a-layer", f"`{stage.span.text}` is {describe(applied)}, not a layer", stage.span)
        return self.elaborator.apply_instance(applied, [value, *positional], named, stage, context)

    def repeat(self, value: Value, stage: tree.Call, context: Context) -> Value:
        arguments = stage.arguments
        if len(arguments) != 2 or any(a.name for a in arguments):
            fail("wrong-arity", "`repeat` takes a count and a layer: `repeat(3, residual(64))`", stage.span)
        count = self.number(arguments[0].value, context.frame, "the count of `repeat`")
        if count != int(count) or not 0 <= count <= 100_000:
            fail(
                "bad-value",
                f"the count of `repeat` must be a whole number from 0 to 100000, found {count}",
                arguments[0].span,
            )
        layer = arguments[1].value
        if not isinstance(layer, tree.Name | tree.Call | tree.Subscript):
            fail("not-a-layer", f"`{layer.span.text}` is not a layer", layer.span)
        for _ in range(int(count)):
            value = self.stage(value, layer, context)
        return value


class _NoMember(NetlangError):
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


def reduced(op: str, ranges: list[tuple[str, Int]], body: Tensor) -> Tensor:
    """The reduction of a tensor-valued body; `mean` is a sum divided by the number of terms."""
    count = product(n for _, n in ranges)
    fixed = tuple(ranges)
    if op == "mean":
        return Tensor(body.shape, lambda at: div(_sum("sum", fixed, body, at), whole(count)))
    if op in ("argmax", "argmin"):
        return Tensor(body.shape, lambda at: Reduce(op, fixed, body.element(at)), "int", bound=count)
    return Tensor(body.shape, lambda at: _sum(op, fixed, body, at))


def _sum(op: str, ranges: tuple[tuple[str, Int], ...], body: Tensor, at: Places) -> Reduce:
    return Reduce(op, ranges, body.element(at))


def _conjuncts(c: Condition) -> tuple[Condition, ...]:
    return c.parts if isinstance(c, All) else (c,)


def _implies(known: Condition, wanted: Condition) -> bool:
    """Whether `known` proves one of the conjuncts of `wanted`, and the rest are none."""
    for part in _conjuncts(wanted):
        if part == known:
            continue
        if isinstance(part, AtLeastZero) and isinstance(known, AtLeastZero):
            difference = part.value - known.value
            if is_nonnegative(difference):
                continue
        return False
    return True


def _arity(name: str, values: Sequence[Value], count: int, span: Span) -> None:
    if len(values) != count:
        fail("wrong-arity", f"`{name}` takes {count} argument{'s' * (count != 1)}, found {len(values)}", span)


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
