"""Applications of layers, functions and instances: frames, scopes, sharing, and whom to blame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, repeat, takewhile
from typing import TYPE_CHECKING

from netlang.diagnostics import Diagnostic, NetlangError, Span, fail
from netlang.elaboration.arithmetic import describe, to_tensor
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.values import (
    Instance,
    Several,
    Sharing,
    Tensor,
    Value,
    depends_on_indices,
    node_tensor,
)
from netlang.graph.integer import Int, integer, product
from netlang.graph.nodes import Origin, Scope, View
from netlang.graph.text import shape_text
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator


MOST_NOTES = 4  # of a message, before the applications around it are left out
DEEPEST = 40  # applications inside applications
MOST_INSIDE = 20_000  # applications, at any depth, inside one that the net writes


class Applications:
    """Applies definitions on behalf of an `Elaborator`."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.depth = 0
        self.inside = 0
        self.scope_names: set[str] = set()

    def apply_instance(
        self,
        instance: Instance,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        e: tree.Expression,
        context: Context,
    ) -> Value:
        """Apply an instance; from the second time on it shares the parameters of the first."""
        if instance.definition.kind == "initializer":
            fail("not-a-layer", f"{describe(instance)} is not applied", e.span, help="it stands after `~`")
        inputs = len(list(takewhile(lambda p: p.dims is not None, instance.definition.parameters)))
        arguments = [*positional[:inputs], *instance.positional, *positional[inputs:]]
        return self.apply(
            instance.definition, arguments, [*instance.named, *named], e, context, instance=instance, staged=True
        )

    def apply(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        e: tree.Expression,
        context: Context,
        *,
        instance: Instance | None = None,
        staged: bool = False,
    ) -> Value:
        self.inside = self.inside + 1 if self.depth else 0
        self.depth += 1
        if self.inside > MOST_INSIDE:
            fail(
                "expression-too-large",
                f"`{definition.name.id}` is applied more than {MOST_INSIDE:,} times",
                e.span,
                help="definitions that apply each other twice double and double again: name what they share",
            )
        if self.depth > DEEPEST:
            fail(
                "recursive-definition",
                f"`{definition.name.id}` is applied inside itself more than {DEEPEST} levels deep",
                e.span,
                help="a definition that applies itself needs a condition that ends it",
            )
        noted = len(self.elaborator.builder.requirements)
        try:
            if definition.kind == "layer":
                return self.layer(definition, positional, named, e, context, instance)
            value = self.function(definition, positional, named, e, context)
            if staged and not context.frame.pure and not context.indices.named and isinstance(value, Tensor):
                return self.staged(definition.name.id, definition.kind, value, positional, e, context)
            return value
        except NetlangError as error:
            raise self.blame(error, definition, e.span) from None
        except RecursionError:
            fail(
                "too-deep",
                f"`{definition.name.id}` is applied inside itself, or its equations are nested too deeply",
                e.span,
                help="a definition that applies itself needs a condition that ends it",
            )
        finally:
            self.depth -= 1
            self.attribute(noted, e.span)

    def attribute(self, noted: int, span: Span) -> None:
        """What the library requires of run-time sizes, from the `noted`th on, is the user's to meet, at `span`."""
        is_library = self.elaborator.module.is_library
        requirements = self.elaborator.builder.requirements
        for condition, requirement in list(requirements.items())[noted:]:
            if is_library(requirement.span.source) and not is_library(span.source):
                requirements[condition] = replace(requirement, span=span)

    def function(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        e: tree.Expression,
        context: Context,
    ) -> Value:
        frame = Frame(context.frame.module.home(definition), definition.kind, definition.name.id, "", "", True)
        self.elaborator.arguments.bind(definition, positional, named, frame, _head(e), written=_written(e))
        value = self.elaborator.body(definition.body, frame)
        if value is None:
            fail(
                "missing-return",
                f"`{definition.name.id}` returns nothing",
                definition.name.span,
                help="end it with `return ...`",
            )
        if isinstance(value, Tensor) and value.node is None:
            maker = f"`{definition.name.id}` at {e.span.line}:{e.span.column}"
            own = Tensor(value.shape, value.element, value.dtype, None, value.bound, maker)
            return self.elaborator.builder.metered(own, definition.name.id, e.span)
        return value

    def apply_function_stage(self, name: str, values: list[Value], stage: tree.Expression, context: Context) -> Value:
        """A built-in function in a pipeline."""
        if name == "reshape":
            return self.reshape(values, stage.span, context)
        value = self.elaborator.evaluate.calls.builtin(name, values, stage.span, context)
        if isinstance(value, Tensor) and not context.frame.pure and not context.indices.named:
            return self.staged(name, "fn", value, values, stage, context)
        return value

    def staged(
        self,
        title: str,
        kind: str,
        value: Tensor,
        inputs: Sequence[Value],
        e: tree.Expression,
        context: Context,
    ) -> Tensor:
        """The result of a function in a pipeline, as a node and a row of the summary."""
        if value.node is not None:
            return value
        scope = self.scope_name(title, context.frame)
        path = self.elaborator.builder.unused(scope)
        maker = f"`{title}` at {e.span.line}:{e.span.column}"
        tensor = self.elaborator.builder.equation(path, value, Origin(e.span, scope), maker=maker)
        self.scope(scope, title, kind, scope, context.frame.scope, _nodes(inputs), [path], e.span)
        return tensor

    def layer(
        self,
        definition: tree.Definition,
        positional: Sequence[Value],
        named: Sequence[tuple[str, Value]],
        e: tree.Expression,
        context: Context,
        instance: Instance | None,
    ) -> Value:
        title = definition.name.id
        if context.indices.named or context.indices.rest is not None:
            fail(
                "layer-in-equation",
                f"the layer `{title}` stands inside an equation",
                e.span,
                help="apply it to a whole tensor first and index the result",
            )
        if context.frame.pure:
            fail(
                "layer-in-function",
                f"the layer `{title}` stands inside the {context.frame.kind} `{context.frame.title}`",
                e.span,
                help=f"make `{context.frame.title}` a layer",
            )
        scope, owner = self.instance_scope(title, instance, context.frame)
        names = chain((p.name for p in definition.parameters), repeat("x"))  # too many arguments fail further down
        positional = [self.as_node(v, f"{scope}.{n}", e, context) for v, n in zip(positional, names, strict=False)]
        named = [(n, self.as_node(v, f"{scope}.{n}", e, context)) for n, v in named]
        module = context.frame.module if instance is None else instance.module
        frame = Frame(module.home(definition), "layer", title, scope, owner, False)
        self.elaborator.arguments.bind(definition, positional, named, frame, _head(e), written=_written(e))
        value = self.elaborator.body(definition.body, frame)
        if value is None:
            fail("missing-return", f"`{title}` returns nothing", definition.name.span, help="end it with `return ...`")
        results = list(value.values) if isinstance(value, Several) else [value]
        maker = f"`{title}` at {e.span.line}:{e.span.column}"
        inputs = [*positional, *(v for _, v in named)]
        for k, result in enumerate(results):
            tensor = to_tensor(result, e.span)
            if tensor.node is None:
                base = "y" if len(results) == 1 else f"y{k + 1}"
                path = self.elaborator.builder.unused(f"{scope}.{base}")
                tensor = self.elaborator.builder.equation(path, tensor, Origin(definition.body[-1].span, scope))
            results[k] = Tensor(tensor.shape, tensor.element, tensor.dtype, tensor.node, tensor.bound, maker)
        self.scope(scope, title, "layer", owner, context.frame.scope, _nodes(inputs), _nodes(results), e.span)
        return results[0] if len(results) == 1 else Several(tuple(results))

    def as_node(self, value: Value, path: str, e: tree.Expression, context: Context) -> Value:
        """An argument of a layer that is a tensor without a node gets one."""
        if not isinstance(value, Tensor) or value.node is not None or not value.shape:
            return value
        builder = self.elaborator.builder
        return builder.equation(builder.unused(path), value, Origin(e.span, context.frame.scope))

    def instance_scope(self, title: str, instance: Instance | None, frame: Frame) -> tuple[str, str]:
        """The paths of the nodes and of the parameters of an application."""
        home = Sharing() if instance is None else instance.sharing
        if not home.scope:
            home.scope = self.scope_name(title, frame)
            home.owner = frame.owner + home.scope[len(frame.scope) :]
        home.count += 1
        return home.scope if home.count == 1 else f"{home.scope}@{home.count}", home.owner

    def scope_name(self, title: str, frame: Frame) -> str:
        """`dense_1`, `dense_2`, ...: the first name that neither the text nor another application uses."""
        while True:
            frame.counters[title] = frame.counters.get(title, 0) + 1
            name = f"{title}_{frame.counters[title]}"
            path = frame.path(name)
            if name not in frame.spans and path not in self.scope_names and path not in self.elaborator.builder.nodes:
                return path

    def scope(
        self,
        name: str,
        definition: str,
        kind: str,
        owner: str,
        parent: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        span: Span,
    ) -> None:
        self.scope_names.add(name)
        self.elaborator.builder.scopes.append(
            Scope(name, definition, kind, owner, parent, tuple(inputs), tuple(outputs), span)
        )

    def reshape(self, values: list[Value], span: Span, context: Context) -> Value:
        if len(values) < 2:
            fail("wrong-arity", "`reshape` takes a tensor and the new extents", span, help="`reshape(x, 4, 5)`")
        tensor = to_tensor(values[0], span)
        if depends_on_indices(tensor):
            fail(
                "layer-in-equation", "`reshape` stands inside an equation", span, help="reshape the whole tensor first"
            )
        shape = []
        for v in values[1:]:
            if isinstance(v, bool) or not isinstance(v, int | Int):
                fail(
                    "bad-extent",
                    f"an extent is a whole number, found {describe(v)}",
                    span,
                    help="give whole numbers: `reshape(x, 4, 5)`",
                )
            shape.append(integer(v))
        if product(shape) != product(tensor.shape):
            fail(
                "shape-mismatch",
                f"cannot view {shape_text(tensor.shape)} as {shape_text(shape)}",
                span,
                label=f"{product(tensor.shape)} elements against {product(shape)}",
                help="the number of elements stays the same",
            )
        if tuple(shape) == tensor.shape:
            return tensor
        if tensor.dtype == "int":
            fail(
                "type-mismatch",
                "`reshape` takes a tensor of real numbers",
                span,
                help="labels keep their shape; reshape what is computed from them",
            )
        builder, origin = self.elaborator.builder, Origin(span, context.frame.scope)
        path = builder.unused(context.frame.path("view"))
        if tensor.node is None:
            tensor = builder.equation(builder.unused(f"{path}.x"), tensor, origin)
        assert tensor.node is not None
        node = View(path, tuple(shape), "real", origin, tensor.node)
        builder.add(node)
        return node_tensor(node, None, f"`reshape` at {span.line}:{span.column}")

    @contextmanager
    def blamed_on(self, definition: tree.Definition, span: Span) -> Iterator[None]:
        """Inside, errors of a library definition are shown at `span`."""
        try:
            yield
        except NetlangError as error:
            raise self.blame(error, definition, span) from None

    def blame(self, error: NetlangError, definition: tree.Definition, span: Span) -> NetlangError:
        """An error inside a library definition is shown where the user applied it, one inside the user's own there."""
        out = []
        for d in error.diagnostics:
            inside = d.span is not None and self.elaborator.module.is_library(d.span.source)
            if inside and not self.elaborator.module.is_library(span.source):
                assert d.span is not None
                place = f"in `{definition.name.id}`, at {d.span}" + (
                    f": {d.label}" if d.label and d.code != "requirement" else ""
                )
                d = Diagnostic(d.code, d.message, span, "", (*d.notes, place), d.help, d.severity)
            elif (
                _lies_in(d.span, definition.span) and not _lies_in(span, definition.span) and len(d.notes) < MOST_NOTES
            ):
                d = replace(d, notes=(*d.notes, f"`{definition.name.id}` is applied at {span}"))
            out.append(d)
        return NetlangError(*out)


def _head(e: tree.Expression) -> Span:
    """The name of what is applied."""
    return e.callee.span if isinstance(e, tree.Call) else e.span


def _written(e: tree.Expression) -> Sequence[tree.Argument]:
    return e.arguments if isinstance(e, tree.Call) else ()


def _lies_in(span: Span | None, whole: Span) -> bool:
    return span is not None and span.source == whole.source and whole.start <= span.start and span.end <= whole.end


def _nodes(values: Sequence[Value]) -> list[str]:
    return [v.node for v in values if isinstance(v, Tensor) and v.node is not None]
