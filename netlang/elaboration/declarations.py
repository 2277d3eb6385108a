"""Declarations: inputs, targets, parameters, states and noise become nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from netlang.diagnostics import fail
from netlang.elaboration.categorical import categorical, is_categorical
from netlang.elaboration.evaluate import CONSTANTS, TRAINING
from netlang.elaboration.frame import Frame
from netlang.elaboration.values import (
    Absent,
    Tensor,
    Value,
    node_tensor,
)
from netlang.graph.integer import Int, size
from netlang.graph.nodes import BATCH, Input, Node, Origin, Param, State
from netlang.graph.text import shape_text
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator


class Declarations:
    """Elaborates declarations on behalf of an `Elaborator`."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator

    def declaration(self, s: tree.Declaration, frame: Frame) -> None:
        if frame.round is not None:
            fail(
                "misplaced-statement",
                f"`{s.kind}` has no place in a `for`",
                s.span,
                help="put it into a layer of its own",
            )
        for item in s.items:
            if item.name in frame.later and item.name not in frame.active:
                frame.active.append(item.name)
                value = self.declared(s.kind, item, frame)
                frame.active.remove(item.name)
                self.elaborator.define(item.name, value, frame)

    def declared(self, kind: str, item: tree.Declared, frame: Frame) -> Value:
        if item.condition is not None:
            holds = self.elaborator.evaluate.complete(item.condition, frame)
            if not isinstance(holds, bool):
                fail(
                    "bad-value",
                    f"whether `{item.name}` exists must be known at compile time",
                    item.condition.span,
                    help="use a condition of arguments and extents, or `training`",
                )
            if not holds:
                return Absent(item.name)
            if kind in ("input", "target"):
                self.sizes(item, frame)
        shape = self.dims(item.dims or (), frame)
        if frame.kind == "optimizer":  # a state for each weight, in the shape of the weight
            weight = frame.names[frame.weight]
            assert isinstance(weight, Tensor)
            shape = weight.shape
        origin = Origin(item.span, frame.owner if kind in ("param", "state") else frame.scope)
        maker = f"`{item.name}` at {item.span.line}:{item.span.column}"
        if kind in ("input", "target"):
            return self.given(kind, item, shape, frame, origin, maker)
        return self.made(kind, item, shape, frame, origin, maker)

    def sizes(self, item: tree.Declared, frame: Frame) -> None:
        """A name in the shape of an input that is nothing else becomes a run-time size."""
        for dim in item.dims or ():
            if (
                isinstance(dim, tree.Name)
                and dim.id not in (BATCH, TRAINING)
                and dim.id not in frame.names
                and dim.id not in frame.later
                and dim.id not in CONSTANTS
                and "." not in dim.id
                and frame.module.find("callable", dim.id) is None
            ):
                frame.names[dim.id] = size(dim.id)
                frame.spans.setdefault(dim.id, dim.span)

    def given(
        self, kind: str, item: tree.Declared, shape: tuple[Int, ...], frame: Frame, origin: Origin, maker: str
    ) -> Tensor:
        """An input or a target."""
        if item.init is not None:
            fail(
                "bad-declaration",
                f"`{kind}` takes no initial value",
                item.init.span,
                help=f"leave it out: {kind}s are given when the net runs",
            )
        classes = None
        if item.type is not None:
            classes = self.elaborator.evaluate.extent(item.type.count, frame, "the number of classes")
        node = Input(item.name, shape, "real" if classes is None else "int", origin, kind, classes)
        self.elaborator.builder.add(node)
        return node_tensor(node, classes, maker)

    def made(
        self, kind: str, item: tree.Declared, shape: tuple[Int, ...], frame: Frame, origin: Origin, maker: str
    ) -> Tensor:
        """A parameter, a state or noise."""
        if kind == "noise":
            return self.noise(item, shape, frame, origin, maker)
        if item.type is not None:
            fail(
                "bad-declaration",
                f"a `{kind}` holds real numbers",
                item.type.span,
                help="`class(...)` is for inputs, targets and noise",
            )
        for dim, extent in zip(item.dims or (), shape, strict=False):
            if not extent.is_constant:
                fail(
                    "bad-extent",
                    f"a `{kind}` has constant extents, found {extent}",
                    dim.span,
                    help="what is kept between calls cannot grow with the input: give a number",
                )
        path = frame.parameter_path(item.name)
        if path in self.elaborator.builder.nodes:
            return self.shared(path, shape, item, maker)
        if item.init is None and (kind, frame.kind) != ("param", "net"):
            example = "normal(0, 0.1)" if kind == "param" else "zeros"
            fail(
                "missing-initializer",
                f"`{item.name}` has no initial value",
                item.span,
                help=f"write one: `{kind} {item.name}{_brackets(item)} ~ {example}`",
            )
        node: Node = (Param if kind == "param" else State)(path, shape, "real", origin)
        self.elaborator.builder.add(node)
        self.elaborator.initializers.initialize(node, item.init, frame, item.span)
        return node_tensor(node, None, maker)

    def shared(self, path: str, shape: tuple[Int, ...], item: tree.Declared, maker: str) -> Tensor:
        """The parameter of an instance that is applied again; a state reads as updated by the application before."""
        node = self.elaborator.builder.nodes[path]
        if node.shape != shape:
            fail(
                "sharing-mismatch",
                f"`{path}` has shape {shape_text(node.shape)} in one application and {shape_text(shape)} in another",
                item.span,
                help="apply a shared instance to tensors of one shape, or make a second instance",
            )
        following = self.elaborator.builder.updates.get(path)
        if following is None:
            return node_tensor(node, None, maker)
        return replace(node_tensor(self.elaborator.builder.nodes[following], None, maker), slot=path)

    def dims(self, dims: Sequence[tree.Expression], frame: Frame) -> tuple[Int, ...]:
        out: list[Int] = []
        for d in dims:
            if isinstance(d, tree.Rest):
                if frame.rest is None:
                    fail(
                        "misplaced-rest",
                        f"`{frame.title}` has no parameter with `...`",
                        d.span,
                        help="declare one: `x[c, ...]`",
                    )
                out += frame.rest
            else:
                out.append(self.elaborator.evaluate.extent(d, frame, f"the extent `{d.span.text}`"))
        return tuple(out)

    def noise(self, item: tree.Declared, shape: tuple[Int, ...], frame: Frame, origin: Origin, maker: str) -> Tensor:
        if item.init is None:
            fail(
                "missing-initializer",
                f"`{item.name}` has no distribution",
                item.span,
                help=f"write one: `noise {item.name}{_brackets(item)} ~ normal(0, 1)`",
            )
        path = frame.path(item.name)
        if item.type is not None or is_categorical(item.init):
            classes = None
            if item.type is not None:
                classes = self.elaborator.evaluate.extent(item.type.count, frame, "the number of classes")
            return categorical(self.elaborator, path, item.init, shape, classes, frame, origin, maker)
        value = self.elaborator.initializers.drawn(item.init, shape, frame, origin, path, per_example=True)
        return self.elaborator.builder.equation(self.elaborator.builder.unused(path), value, origin, maker=maker)


def _brackets(item: tree.Declared) -> str:
    return "" if item.dims is None else "[" + ", ".join(d.span.text for d in item.dims) + "]"
