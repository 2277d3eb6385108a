"""The number that an expression is where conditions hold that decide it: a score that is `-inf` beyond a mask, say."""

from __future__ import annotations

import math
from collections.abc import Mapping

from netlang.elaboration.proof import unproved
from netlang.graph.constructors import conjuncts, every, negate
from netlang.graph.expression import TRUE, Apply, Condition, Const, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation
from netlang.graph.scalars import SCALARS
from netlang.graph.traversal import substitute

NEUTRAL = {"sum": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf, "argmax": -math.inf, "argmin": math.inf}

Facts = tuple[Condition, ...]


def decided(graph: Graph, e: Expr, known: Facts, extents: Mapping[str, Int]) -> float | None:
    """The value of `e` for all places where `known` holds; None where it is not one number, or cannot be seen to be.

    What is not decided is taken to be finite: `-inf` plus it is `-inf`, and 0 times it is 0.
    """
    found: dict[Expr, float | None] = {}
    open_: set[str] = set()  # tensors on the way: what a recurrence computes is not decided

    def of(e: Expr) -> float | None:
        if isinstance(e, Const):
            return e.value
        if isinstance(e, Apply):
            return _applied(e, [of(argument) for argument in e.args])
        if isinstance(e, Reduce):
            neutral = NEUTRAL[e.op] if e.op in ("sum", "prod", "max", "min") else None
            return neutral if neutral is not None and of(e.body) == neutral else None
        if isinstance(e, Select):
            return choice(e)
        if isinstance(e, Read) and e not in found and e.tensor not in open_:
            open_.add(e.tensor)
            found[e] = element(e)
            open_.remove(e.tensor)
        return found.get(e)

    def choice(e: Select) -> float | None:
        if proved(e.condition, known, extents):
            return of(e.then)
        if any(proved(negate(part), known, extents) for part in conjuncts(e.condition)):
            return of(e.otherwise)
        then = of(e.then)
        return then if then is not None and then == of(e.otherwise) else None

    def element(e: Read) -> float | None:
        node = graph[e.tensor]
        if not isinstance(node, Equation):
            return None
        body, places = node.body, dict(zip(node.indices, e.indices, strict=True))
        if isinstance(body, Reduce):  # its indices are not those of the place
            own = {name: f"{node.name}.{name}" for name, _ in body.ranges}
            inner = substitute(body.body, {name: index(new) for name, new in own.items()})
            body = Reduce(body.op, tuple((own[name], extent) for name, extent in body.ranges), inner)
        return of(substitute(body, places))

    return of(e)


def _applied(e: Apply, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if e.op == "add" and -math.inf in known and math.inf not in known:
        return -math.inf
    if e.op == "mul" and 0 in known:
        return 0.0
    if e.op == "constant":
        return values[0]
    fold = SCALARS[e.op].fold
    if fold is None or len(known) < len(values):
        return None
    try:
        return float(fold(*known))
    except (ArithmeticError, ValueError):
        return None


def proved(wanted: Condition, known: Facts, extents: Mapping[str, Int]) -> bool:
    """Whether a condition follows from others, for indices in `0 <= i < extents[i]`."""
    return unproved(wanted, every(known), extents) == TRUE
