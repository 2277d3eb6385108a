"""What a body gives besides names: the next values of states, and the outputs, losses and metrics of a net."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from netlang.diagnostics import fail
from netlang.elaboration.arithmetic import describe, stretched, stretches, to_tensor
from netlang.elaboration.frame import Context, Frame
from netlang.elaboration.values import Builtin, Distribution, Family, Instance, Tensor, Truth, Value, single
from netlang.graph.nodes import Origin, Param, State
from netlang.language import tree

if TYPE_CHECKING:
    from netlang.elaboration.elaborator import Elaborator


class Results:
    """Elaborates updates and objectives on behalf of an `Elaborator`."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator

    def update(self, s: tree.Update, frame: Frame) -> None:
        if s.condition is not None:
            condition = self.elaborator.evaluate.complete(s.condition, frame)
            if not isinstance(condition, bool):
                fail(
                    "bad-value",
                    "`when` takes a condition known at compile time",
                    s.condition.span,
                    help="use `training`",
                )
            if not condition:
                return
        found = self.elaborator.evaluate.local(s.name.id, frame, s.name.span)
        state = self.updatable(s.name, found, frame)
        value = to_tensor(self.elaborator.evaluate.complete(s.value, frame), s.value.span)
        if not stretches(value.shape, state.shape):
            fail(
                "shape-mismatch",
                f"`{s.name.id}` {state.describe()}, its next value {value.describe()}",
                s.value.span,
                help="a state keeps its shape; reduce or index the next value to fit it",
            )
        full = Tensor(state.shape, lambda at: value.element(stretched(value.shape, state.shape, at)))
        assert state.slot is not None
        path = self.elaborator.builder.unused(f"{state.slot}.next")
        after = self.elaborator.builder.equation(path, full, Origin(s.span, frame.scope))
        self.elaborator.builder.updates[state.slot] = path
        frame.names[s.name.id] = replace(after, slot=state.slot)  # from here on the name means the next value

    def updatable(self, name: tree.Name, found: Value | None, frame: Frame) -> Tensor:
        if found is None:
            self.elaborator.evaluate.unknown(name, Context(frame, frame.indices, []))
        node = self.elaborator.builder.nodes.get(found.slot) if isinstance(found, Tensor) and found.slot else None
        if not isinstance(node, State) and not (frame.kind == "optimizer" and isinstance(node, Param)):
            fail(
                "not-a-state",
                f"`{name.id}` is not a state",
                name.span,
                help=f"declare it: `state {name.id}[...] ~ zeros`; other names are defined once, with `=`",
            )
        assert isinstance(found, Tensor)
        return found

    def objective(self, s: tree.Objective, frame: Frame) -> None:
        roots = {
            "output": self.elaborator.builder.outputs,
            "loss": self.elaborator.builder.losses,
            "metric": self.elaborator.builder.metrics,
        }[s.kind]
        name = s.name.id if s.name is not None else _title(s.value, s.kind)
        value = single(self.elaborator.evaluate.complete(s.value, frame))
        if isinstance(value, Instance | Builtin | Distribution | Family | str | list):
            fail(
                "type-mismatch",
                f"`{s.kind}` takes a tensor, found {describe(value)}",
                s.value.span,
                help="apply a layer to its input, and pick a member of a family",
            )
        if isinstance(value, Truth):
            value = self.elaborator.stored(value, name, s.span, frame, s.span)
        tensor = to_tensor(value, s.value.span)
        if s.kind != "output" and tensor.shape:
            fail(
                "loss-not-scalar",
                f"a {s.kind} is one number for an example; `{s.value.span.text}` {tensor.describe()}",
                s.value.span,
                help="reduce it: `mean(...)` or `sum(...)`",
            )
        # losses and metrics are reported together, by name
        taken = roots if s.kind == "output" else self.elaborator.builder.losses | self.elaborator.builder.metrics
        if name in taken:
            fail(
                "duplicate-name",
                f"the {s.kind} `{name}` is defined twice" if name in roots else f"`{name}` names a loss and a metric",
                s.span,
                help=f"name it: `{s.kind} other = ...`",
            )
        if tensor.node is None:
            path = self.elaborator.builder.unused(name)
            tensor = self.elaborator.builder.equation(path, tensor, Origin(s.span, name if s.kind != "output" else ""))
            if s.kind != "output" and isinstance(s.value, tree.Call):
                self.elaborator.applications.scope(name, s.value.callee.id, s.kind, name, "", (), [path], s.span)
        assert tensor.node is not None
        roots[name] = tensor.node


def _title(e: tree.Expression, kind: str) -> str:
    if isinstance(e, tree.Name):
        return e.id
    if isinstance(e, tree.Call):
        return e.callee.id
    if isinstance(e, tree.Pipeline):
        last = e.stages[-1]
        return _title(last, kind)
    return kind
