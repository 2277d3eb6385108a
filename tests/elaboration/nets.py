"""Nets written in tests: their graphs, their values for one example, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.graph import Graph
from netlang.graph.verify import verify
from netlang.targets.reference import evaluate

Array = NDArray[Any]


def graph(text: str, *, training: bool = False, **arguments: Any) -> Graph:
    """The verified graph of the first net of a text."""
    module = module_from_text(text)
    result = elaborate(module, module.nets()[0], arguments, training=training)
    verify(result, "elaborate")
    return result


def values(text: str, *, training: bool = False, **arrays: ArrayLike) -> dict[str, Array]:
    """Outputs, losses, metrics and next values of one example; parameters not given have their initial values."""
    net = graph(text, training=training)
    first = evaluate(net, {}, only=net.initial.values())
    start = {name: first[node] for name, node in net.initial.items()}
    found = evaluate(net, start | {name: np.asarray(array) for name, array in arrays.items()})
    roots = {**net.outputs, **net.losses, **net.metrics, **net.updates}
    return {name: found[node] for name, node in roots.items()}


def wrong(text: str, **arguments: Any) -> Diagnostic:
    """The one diagnostic that the first net of a text gets."""
    with pytest.raises(NetlangError) as caught:
        graph(text, **arguments)
    assert len(caught.value.diagnostics) == 1
    return caught.value.diagnostics[0]


def place(diagnostic: Diagnostic) -> tuple[str, int, int]:
    """Code, line and column."""
    assert diagnostic.span is not None
    return diagnostic.code, diagnostic.span.line, diagnostic.span.column


def net(*lines: str, before: str = "") -> str:
    """The text of a net with these lines, after definitions."""
    return before + "net N:\n" + "".join(f"    {line}\n" for line in lines)
