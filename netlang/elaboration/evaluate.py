"""Expressions of the language to values: names, subscripts with their guards, reductions, products, conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from netlang.diagnostics import Span, fail, nearest
from netlang.elaboration.arithmetic import (
    COMPARISONS,
    FUNCTIONS,
    binary,
    choose,
    comparison,
    conjunction,
    describe,
    disjunction,
    negative,
    opposite,
    plainest,
    to_tensor,
    to_truth,
)
from netlang.elaboration.calls import Calls
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.initial import DISTRIBUTIONS
from netlang.elaboration.reductions import Reductions
from netlang.elaboration.subscripts import NoMember, Subscripts
from netlang.elaboration.values import (
    Absent,
    Builtin,
    Distribution,
    Family,
    Indices,
    Instance,
    Places,
    Tensor,
    Truth,
    Value,
    node_tensor,
)
from netlang.graph.constructors import at_least_zero, every, is_zero, mul, negate
from netlang.graph.expression import FALSE, TRUE, Const, Reduce
from netlang.graph.integer import Int, index, integer
from netlang.graph.nodes import Param, State
from netlang.graph.sizes import only_sizes
from netlang.graph.text import shape_text
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator

CONSTANTS = {"pi": math.pi, "inf": math.inf}
TRAINING = "training"


class Evaluator:
    """Evaluates expressions on behalf of an `Elaborator`, which applies definitions and stores nodes."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.subscripts = Subscripts(self)
        self.reductions = Reductions(self)
        self.calls = Calls(self)
        self.forms: dict[type, Callable[..., Value]] = {
            tree.Number: lambda e, c: e.value,
            tree.Boolean: lambda e, c: e.value,
            tree.Text: lambda e, c: e.value,
            tree.Name: self.name,
            tree.Unary: self.unary,
            tree.Binary: self.binary,
            tree.Conditional: self.conditional,
            tree.Guarded: self.guarded,
            tree.Subscript: self.subscripts.subscript,
            tree.Call: self.calls.call,
            tree.Reduction: self.reductions.reduction,
            tree.Pipeline: self.calls.pipeline,
            tree.ListLiteral: lambda e, c: [self(item, c) for item in e.items],
            tree.Rest: self.rest,
            tree.Interval: self.interval,
        }

    def __call__(self, e: tree.Expression, context: Context) -> Value:
        return self.forms[type(e)](e, context)

    # --- wholes ---

    def complete(self, e: tree.Expression, frame: Frame, indices: Indices | None = None) -> Value:
        """The value of an expression in which every read must be inside its tensor."""
        context = Context(frame, indices or frame.indices, [], known=every(self.elaborator.builder.requirements))
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
                label=outside.needs,
                help="say what such a read gives: `(... else 0)`",
            )

    def number(self, e: tree.Expression, frame: Frame, what: str) -> int | float:
        value = self.complete(e, frame)
        if isinstance(value, bool) or not isinstance(value, int | float):
            fail(
                "type-mismatch",
                f"{what} must be a number known at compile time, found {describe(value)}",
                e.span,
                help="use numbers, arguments of the definition and extents",
            )
        return value

    def extent(self, e: tree.Expression, frame: Frame, what: str) -> Int:
        """An extent: a whole number that is at least 1, or a run-time size."""
        value = self.complete(e, frame)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | Int):
            found = str(value) if isinstance(value, float) else describe(value)
            fail(
                "bad-extent",
                f"{what} must be a whole number, found {found}",
                e.span,
                help="use `//` for a rounded quotient" if isinstance(value, float) else "give a whole number",
            )
        extent = integer(value)
        at_least_one = at_least_zero(extent - 1)
        if at_least_one not in (TRUE, FALSE) and only_sizes(at_least_one):
            said = "" if str(extent).replace(" ", "") == e.span.text.replace(" ", "") else f", {extent},"
            self.elaborator.builder.require(at_least_one, [f"{what}{said} must be at least 1"], e.span)
        elif at_least_one != TRUE:
            fail(
                "bad-extent",
                f"{what} must be at least 1, found {extent}",
                e.span,
                help="check the sizes that it is made of",
            )
        if extent.is_constant and extent.constant > 2**40:
            fail(
                "number-too-large",
                f"{what} is {extent}, which no machine holds",
                e.span,
                help="check the sizes that it is made of",
            )
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
        if e.id == TRAINING:
            return self.elaborator.training
        if "." in e.id:
            return self.dotted(e, context.frame)
        module = context.frame.module
        definition = module.find("callable", e.id) or module.find("initializer", e.id)
        if definition is not None:
            return Instance(definition, module, (), (), e.span)
        if e.id in FUNCTIONS:
            return Builtin(e.id)
        if e.id in DISTRIBUTIONS:
            return Distribution(e.id, ())
        self.unknown(e, context)

    def local(self, name: str, frame: Frame, span: Span) -> Value | None:
        """A name of the frame; a definition further down is elaborated now. In a `for` it means this round's."""
        if name in frame.recurring:
            return frame.recurring[name]
        if name not in frame.names and name not in frame.later:
            return None
        if name in frame.later and (name not in frame.names or isinstance(frame.names[name], Family)):
            self.elaborator.force(name, frame, span)
        value = frame.names[name]
        if isinstance(value, Family) and frame.round is not None:
            return value.members.get(frame.round, value)
        return value

    def callee(self, name: tree.Name, frame: Frame) -> Value | None:
        """What a name that is applied means in the frame, if anything.

        While the name itself is being defined it means what it does elsewhere: `relu = x -> relu`.
        """
        return None if name.id in frame.active else self.local(name.id, frame, name.span)

    def dotted(self, e: tree.Name, frame: Frame) -> Value:
        """A parameter or state of an instance: `embed.W`."""
        first = e.id.split(".")[0]
        if first in frame.later:
            self.elaborator.force(first, frame, e.span)
        node = self.elaborator.builder.nodes.get(frame.parameter_path(e.id))
        if node is None or not isinstance(node, Param | State):
            known = [n.name for n in self.elaborator.builder.nodes.values() if isinstance(n, Param | State)]
            instance = frame.names.get(first)
            unapplied = isinstance(instance, Instance) and not instance.sharing.count
            help = f"apply `{first}` above: only then its parameters have shapes" if unapplied else nearest(e.id, known)
            fail("unknown-name", f"no parameter is called `{e.id}`", e.span, help=help)
        return node_tensor(node)

    def unknown(self, e: tree.Name, context: Context) -> NoReturn:
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
        builder = self.elaborator.builder
        shown = next((roots for roots in (builder.outputs, builder.losses, builder.metrics) if e.id in roots), None)
        help = nearest(e.id, (word for word in known if word != e.id)) or f"define it above: `{e.id} = ...`"
        if shown is not None:
            help = f"what is shown as `{e.id}` has no name to compute with: write `{e.id} = ...` in a line before"
        fail("unknown-name", f"`{e.id}` is not defined", e.span, help=help)

    def rest(self, e: tree.Rest, context: Context) -> Value:
        fail(
            "misplaced-rest",
            "`...` stands for dimensions, inside brackets only",
            e.span,
            help="write it where indices stand: `x[c, ...]`",
        )

    def interval(self, e: tree.Interval, context: Context) -> Value:
        first, last = (self.number(b, context.frame, "an end of a range") for b in (e.first, e.last))
        if first != int(first) or last != int(last):
            fail("bad-value", "the ends of a range are whole numbers", e.span, help="use `//` for a rounded quotient")
        if last - first >= 100_000:
            fail(
                "number-too-large",
                f"the range has {int(last - first) + 1:,} members",
                e.span,
                help="a range has at most 100,000 members",
            )
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
        if e.op == "/" and context.exact and isinstance(dividend := plainest(left), int | Int):
            return self.exact_quotient(dividend, right, e, context)
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
            fail(
                "index-arithmetic",
                "an index is divided by a positive constant only",
                e.span,
                help="divide by a whole number of at least 1",
            )
        value = integer(left)
        context.needs(is_zero(value % right), e.span, f"`{e.span.text}` is not a whole number everywhere")
        return value // right

    def matrix_product(self, left: Value, right: Value, e: tree.Binary) -> Tensor:
        a, b = to_tensor(left, e.left.span), to_tensor(right, e.right.span)
        if isinstance(left, Absent) or isinstance(right, Absent):
            return Tensor((), lambda at: Const(0.0))
        if a.free or b.free:
            rest = a.shape[:-1] if b.free else b.shape[1:]
            return Tensor(rest, lambda at: Const(0.0))
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
                label=f"{a.shape[-1]} columns against {inner} rows",
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
        holds = TRUE if condition.shape else condition.element(())
        for branch, known in ((e.then, holds), (e.otherwise, TRUE if condition.shape else negate(holds))):
            inner = context.inner(known)
            branches.append(to_tensor(self(branch, inner), branch.span))
            context.pending += inner.pending
        return choose(condition, branches[0], branches[1], e.span)

    def guarded(self, e: tree.Guarded, context: Context) -> Value:
        inner = context.inner()
        try:
            value = self(e.body, inner)
        except NoMember:
            return self(e.otherwise, context)
        if not inner.pending:
            return value  # every read is inside: the alternative is never taken
        conditions = every(p.condition for p in inner.pending)
        other = context.inner(negate(conditions))
        otherwise = self(e.otherwise, other)
        context.pending += other.pending
        if conditions == FALSE and not (isinstance(value, Tensor) and value.shape):
            return otherwise
        truth = Truth((), lambda at: conditions)
        return choose(truth, to_tensor(value, e.body.span), to_tensor(otherwise, e.otherwise.span), e.span)
