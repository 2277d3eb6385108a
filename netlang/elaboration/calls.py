"""Calls and pipelines: built-in functions, and what leads to an application of a definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from netlang.diagnostics import Span, fail, nearest
from netlang.elaboration.arithmetic import (
    FUNCTIONS,
    arity,
    describe,
    function,
    to_tensor,
)
from netlang.elaboration.frame import Context
from netlang.elaboration.initial import DISTRIBUTIONS
from netlang.elaboration.symbols import SYMBOL_TABLES, symbol_table
from netlang.elaboration.values import (
    Builtin,
    Distribution,
    Instance,
    Tensor,
    Value,
    single,
)
from netlang.graph.integer import product
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.evaluate import Evaluator


REDUCERS = ("sum", "mean", "prod", "max", "min", "argmax", "argmin")
BUILTINS = frozenset({*FUNCTIONS, *REDUCERS, *SYMBOL_TABLES, "reshape", "size"})


class Calls:
    """Evaluates calls and pipelines on behalf of an `Evaluator`."""

    def __init__(self, evaluate: Evaluator) -> None:
        self.evaluate = evaluate
        self.elaborator = evaluate.elaborator

    def call(self, e: tree.Call, context: Context) -> Value:
        name = e.callee.id
        local = self.evaluate.callee(e.callee, context.frame)
        if name == "repeat":
            fail(
                "type-mismatch",
                "`repeat` stands in a pipeline: `x -> repeat(3, layer(...))`",
                e.span,
                help="lead a tensor into it",
            )
        positional, named = self.arguments(e.arguments, context)
        if isinstance(local, Instance):
            return self.elaborator.applications.apply_instance(local, positional, named, e, context)
        name = local.name if isinstance(local, Builtin) else name
        if name in BUILTINS:
            _unnamed(name, e.arguments)
            return self.builtin(name, positional, e.span, context)
        module = context.frame.module
        definition = module.find("callable", name)
        if definition is None and local is None and (initializer := module.find("initializer", name)) is not None:
            return Instance(initializer, module, tuple(positional), tuple(named), e.span)
        if definition is None and local is None and name in DISTRIBUTIONS:
            _unnamed(name, e.arguments)
            return Distribution(name, tuple(positional))
        if definition is None:
            _not_a_layer(e.callee, local, "parentheses after a name apply a layer or a function")
            self.evaluate.unknown(e.callee, context)
        first = positional[0] if positional else None
        takes_input = bool(definition.parameters) and definition.parameters[0].dims is not None
        if (
            definition.kind == "layer"
            and takes_input
            and not isinstance(first, Tensor)
            and not any(n == definition.parameters[0].name for n, _ in named)
        ):
            return Instance(definition, module, tuple(positional), tuple(named), e.span)
        return self.elaborator.applications.apply(definition, positional, named, e, context)

    def arguments(
        self, written: Iterable[tree.Argument], context: Context
    ) -> tuple[list[Value], list[tuple[str, Value]]]:
        """The values of arguments, without and with names. Loops, as comprehensions would deepen the stack."""
        inner = replace(context, exact=False)
        positional: list[Value] = []
        named: list[tuple[str, Value]] = []
        for a in written:
            value = single(self.evaluate(a.value, inner))
            if a.name is None:
                positional.append(value)
            else:
                named.append((a.name, value))
        return positional, named

    def builtin(self, name: str, values: list[Value], span: Span, context: Context) -> Value:
        if name == "reshape":
            return self.elaborator.applications.reshape(values, span, context)
        if name == "size":
            _arity(name, values, 1, span)
            count = product(to_tensor(values[0], span).shape)
            return count.constant if count.is_constant else count
        if name in SYMBOL_TABLES:
            return symbol_table(self.elaborator.builder, name, values, span)
        if name in REDUCERS and len(values) == 1:
            return self.evaluate.reductions.total(name, to_tensor(values[0], span))
        if name not in FUNCTIONS:
            fail(
                "wrong-arity",
                f"`{name}` takes one tensor, or indices and a body",
                span,
                help=f"write `{name}(i) x[i]`",
            )
        _arity(name, values, arity(name), span)
        return function(name, values, span)

    def pipeline(self, e: tree.Pipeline, context: Context) -> Value:
        value = self.evaluate(e.source, context)
        for stage in e.stages:
            value = self.stage(value, stage, context)
        return value

    def stage(self, value: Value, stage: tree.Expression, context: Context) -> Value:
        value = single(value)
        if isinstance(stage, tree.Call) and stage.callee.id == "repeat":
            return self.repeat(value, stage, context)
        if isinstance(stage, tree.Call):
            name = stage.callee
            positional, named = self.arguments(stage.arguments, context)
        else:
            positional, named = [], []
            if isinstance(stage, tree.Subscript):
                applied = self.evaluate(stage, context)
                return self.apply_value(applied, value, positional, named, stage, context)
            assert isinstance(stage, tree.Name)
            name = stage
        local = self.evaluate.callee(name, context.frame)
        if isinstance(local, Instance):
            return self.apply_value(local, value, positional, named, stage, context)
        builtin = local.name if isinstance(local, Builtin) else name.id
        if builtin in BUILTINS:
            _unnamed(builtin, stage.arguments if isinstance(stage, tree.Call) else ())
            return self.elaborator.applications.apply_function_stage(builtin, [value, *positional], stage, context)
        definition = context.frame.module.find("callable", name.id)
        if definition is None:
            _not_a_layer(name, local, "a pipeline leads through layers and functions")
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
        return self.elaborator.applications.apply(definition, [value, *positional], named, stage, context, staged=True)

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
            fail(
                "not-a-layer",
                f"`{stage.span.text}` is {describe(applied)}, not a layer",
                stage.span,
                help="a pipeline leads through layers and functions",
            )
        return self.elaborator.applications.apply_instance(applied, [value, *positional], named, stage, context)

    def repeat(self, value: Value, stage: tree.Call, context: Context) -> Value:
        arguments = stage.arguments
        if len(arguments) != 2 or any(a.name for a in arguments):
            fail(
                "wrong-arity",
                "`repeat` takes a count and a layer: `repeat(3, name(64))`",
                stage.span,
                help="write the count first, then what is repeated",
            )
        count = self.evaluate.number(arguments[0].value, context.frame, "the count of `repeat`")
        if count != int(count) or not 0 <= count <= 100_000:
            fail(
                "bad-value",
                f"the count of `repeat` must be a whole number from 0 to 100000, found {count}",
                arguments[0].span,
                help="give a whole number",
            )
        layer = arguments[1].value
        if not isinstance(layer, tree.Name | tree.Call | tree.Subscript):
            fail(
                "not-a-layer",
                f"`{layer.span.text}` is not a layer",
                layer.span,
                help="repeat a layer or a function, with its arguments but without its input",
            )
        for _ in range(int(count)):
            value = self.stage(value, layer, context)
        return value


def _unnamed(name: str, written: Iterable[tree.Argument]) -> None:
    for a in written:
        if a.name is not None:
            fail(
                "unknown-argument",
                f"`{name}` takes no named arguments",
                a.span,
                help="give its arguments by position",
            )


def _not_a_layer(name: tree.Name, local: Value | None, help: str) -> None:
    """Fail where the name to apply is that of something else."""
    if local is not None:
        fail("not-a-layer", f"`{name.id}` is {describe(local)}, not a layer", name.span, help=help)


def _arity(name: str, values: Sequence[Value], count: int, span: Span) -> None:
    if len(values) != count:
        fail(
            "wrong-arity",
            f"`{name}` takes {count} argument{'s' * (count != 1)}, found {len(values)}",
            span,
            help=f"give it {count}",
        )
