"""The pass `simplify`: equations as a lecturer would write them.

Within an equation: guards that the ranges decide go, sums that an equality fixes collapse, constants fold, and of equal
forms the least stays (`algebra`). Between equations: trivial nodes, and nodes that one elementwise equation alone
reads, are written into their users.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from netlang.graph.constructors import (
    add,
    apply,
    at_least_zero,
    conjuncts,
    const,
    decide,
    every,
    mul,
    negate,
    select,
    whole,
)
from netlang.graph.expression import (
    FALSE,
    PLACES,
    TRUE,
    ZERO,
    Apply,
    AtLeastZero,
    Condition,
    Const,
    Expr,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, integer, product, reduce_ranges
from netlang.graph.nodes import Equation, Node, View
from netlang.graph.scalars import SCALARS
from netlang.graph.traversal import free_indices, reads, rewrite, rewrite_condition, substitute, walk
from netlang.passes.algebra import cost, rational
from netlang.passes.invert import collapse
from netlang.passes.share import is_expensive

_LARGEST = 60.0  # the cost up to which bodies grow by inlining
_CHEAP = 3.0  # the cost of a body that may be computed more than once
_ROUNDS = 8

Extents = Mapping[str, Int]
Known = dict[tuple[Expr, tuple[tuple[str, ...], tuple[Int, ...]]], Expr]


def simplify(graph: Graph) -> Graph:
    """The graph with simple equations. Roots stay nodes of their own.

    `constant` (see `stabilize`) is dropped, so the pass runs after `derive`.
    """
    fixed = set(graph.roots)
    simple: Known = {}
    for _ in range(_ROUNDS):
        before = graph
        graph = graph.evolve([_simple_node(node, simple) for node in graph])
        graph = _inlined(graph, fixed)
        if graph.nodes == before.nodes:
            break
    return _without_copies(graph)


# --- one equation ----------------------------------------------------------------------------------------------------


def _simple_node(node: Node, known: Known) -> Node:
    """The node with a simple body; `known` remembers the bodies that are simple already."""
    if not isinstance(node, Equation):
        return node
    shape = (node.indices, node.shape)
    if (node.body, shape) not in known:
        known[node.body, shape] = body = simplify_body(node.body, node.extents)
        known[body, shape] = body
    return replace(node, body=known[node.body, shape])


def simplify_body(body: Expr, extents: Extents) -> Expr:
    """The simple form of a body whose free indices have the given extents."""
    for _ in range(_ROUNDS):
        simple = _reduction(body, extents) if isinstance(body, Reduce) else _elementwise(body, extents)
        if simple == body:
            return simple
        body = simple
    return body


def _elementwise(body: Expr, extents: Extents) -> Expr:
    return rational(_Simplifier(extents).expr(body, ()))


def _reduction(e: Reduce, extents: Extents) -> Expr:
    single = {name: integer(0) for name, extent in e.ranges if extent == integer(1)}
    ranges = {name: extent for name, extent in e.ranges if name not in single}
    body = _elementwise(substitute(e.body, single), {**extents, **ranges})
    if e.op == "sum":
        ranges, body = collapse(ranges, body, extents)
        body = _elementwise(body, {**extents, **ranges})
    if e.op in ("sum", "max", "min"):
        used = free_indices(body)
        unused = [name for name in ranges if name not in used]
        if e.op == "sum":
            body = mul(body, whole(product(ranges[name] for name in unused)))
        for name in unused:
            del ranges[name]
    if body == ZERO and e.op == "sum":
        return ZERO
    if not ranges:
        return ZERO if e.op in PLACES else body
    return Reduce(e.op, tuple(ranges.items()), body)


class _Simplifier:
    """Local rules, bottom-up, with the ranges of the indices and the conditions known to hold at each place."""

    def __init__(self, extents: Extents) -> None:
        self.extents = extents

    def expr(self, e: Expr, known: Sequence[Condition]) -> Expr:
        if isinstance(e, Apply):
            return self._apply(apply(e.op, *(self.expr(a, known) for a in e.args)))
        if isinstance(e, Select):
            condition = self._condition(e.condition, known)
            if condition == TRUE:
                return self.expr(e.then, known)
            if condition == FALSE:
                return self.expr(e.otherwise, known)
            then = self.expr(e.then, (*known, *conjuncts(condition)))
            otherwise = self.expr(e.otherwise, (*known, *conjuncts(negate(condition))))
            return select(condition, then, otherwise)
        if isinstance(e, Read):
            return Read(e.tensor, tuple(self._int(i) for i in e.indices))
        if isinstance(e, Whole):
            return whole(self._int(e.value))
        return e

    def _int(self, value: Int) -> Int:
        return reduce_ranges(value, self.extents)

    def _condition(self, condition: Condition, known: Sequence[Condition]) -> Condition:
        condition = rewrite_condition(condition, lambda e: self._apply(e) if isinstance(e, Apply) else None, self._int)
        kept = [p for p in conjuncts(decide(condition, self.extents)) if not self._follows(p, known)]
        if any(negate(p) in known for p in kept):
            return FALSE
        for part in tuple(kept):
            others = [p for p in kept if p is not part]
            if self._follows(part, others):
                kept = others
        return every(kept)

    def _follows(self, condition: Condition, known: Sequence[Condition]) -> bool:
        if condition in known:
            return True
        return isinstance(condition, AtLeastZero) and any(
            isinstance(k, AtLeastZero) and decide(at_least_zero(condition.value - k.value), self.extents) == TRUE
            for k in known
        )

    def _apply(self, e: Expr) -> Expr:
        if isinstance(e, Select):
            return select(e.condition, self._apply(e.then), self._apply(e.otherwise))
        if not isinstance(e, Apply):
            return e
        if e.op == "constant":
            return e.args[0]
        if e.op in ("exp", "log"):
            inner = e.args[0]
            if isinstance(inner, Apply) and inner.op == {"exp": "log", "log": "exp"}[e.op]:
                return inner.args[0]
        if e.op in ("max", "min") and e.args[0] == e.args[1]:
            return e.args[0]
        if e.op == "add":
            return _merged_guards(e)
        return _folded(e)


def _folded(e: Apply) -> Expr:
    """A function of constants as its value, where that is a finite number."""
    fold = SCALARS[e.op].fold
    if fold is None or not all(isinstance(a, Const) for a in e.args):
        return e
    try:
        value = fold(*(a.value for a in e.args if isinstance(a, Const)))
    except (ArithmeticError, ValueError):
        return e
    return const(value) if math.isfinite(value) else e


def _merged_guards(e: Apply) -> Expr:
    """Terms under the same condition, or under opposite ones, as one term."""
    rest: list[Expr] = []
    guarded: dict[Condition, Select] = {}
    for term in e.args:
        if not isinstance(term, Select):
            rest.append(term)
        elif term.condition in guarded:
            other = guarded[term.condition]
            guarded[term.condition] = Select(
                term.condition, add(other.then, term.then), add(other.otherwise, term.otherwise)
            )
        elif negate(term.condition) in guarded:
            opposite = negate(term.condition)
            other = guarded[opposite]
            guarded[opposite] = Select(opposite, add(other.then, term.otherwise), add(other.otherwise, term.then))
        else:
            guarded[term.condition] = term
    if len(rest) + len(guarded) == len(e.args):
        return e
    return add(*rest, *(select(s.condition, s.then, s.otherwise) for s in guarded.values()))


# --- between equations -----------------------------------------------------------------------------------------------


def _inlined(graph: Graph, fixed: set[str]) -> Graph:
    """Bodies written into the equations that read them; nodes that nothing reads any more are gone."""
    table: dict[str, Node] = dict(graph.nodes)
    users = graph.users
    for node in graph:
        now = table[node.name]
        if isinstance(now, View):
            table[node.name] = _base_view(now, table)
        elif isinstance(now, Equation):
            table[node.name] = _with_bodies(now, table, users, fixed)
    read = {operand for node in table.values() for operand in node.operands}
    gone = {
        name
        for name, node in table.items()
        if users[name] and name not in read and name not in fixed and _is_made(node)
    }
    return graph.evolve([node for node in table.values() if node.name not in gone])


def _is_made(node: Node) -> bool:
    return isinstance(node, Equation | View)


def _base_view(view: View, table: Mapping[str, Node]) -> View:
    """A view of a view is a view of its base; of an elementwise copy, likewise."""
    operand = table[view.operand]
    while isinstance(operand, View) or (isinstance(operand, Equation) and _copied(operand) is not None):
        base = operand.operand if isinstance(operand, View) else _copied(operand)
        assert base is not None
        if isinstance(operand, Equation) and table[base].shape != operand.shape:
            break  # a copy of a part
        view = replace(view, operand=base)
        operand = table[base]
    return view


def _copied(node: Equation) -> str | None:
    """The tensor that the equation copies as it is."""
    body = node.body
    return body.tensor if isinstance(body, Read) and body.indices == node.places and node.dtype == "real" else None


def _with_bodies(
    user: Equation, table: Mapping[str, Node], users: Mapping[str, tuple[str, ...]], fixed: set[str]
) -> Equation:
    for variable in reads(user.body):
        node = table[variable.tensor]
        body: Expr
        if isinstance(node, View) and node.shape == table[node.operand].shape:
            body = Read(node.operand, variable.indices)
        elif isinstance(node, Equation) and _goes_into(node, variable, user, table, users, fixed):
            body = substitute(node.body, dict(zip(node.indices, variable.indices, strict=True)))
        else:
            continue
        user = replace(user, body=_with_body(user.body, variable, body))
    return user


def _with_body(e: Expr, variable: Read, body: Expr) -> Expr:
    inside = e.body if isinstance(e, Reduce) else e
    inside = rewrite(inside, lambda part: body if part == variable else None)
    return Reduce(e.op, e.ranges, inside) if isinstance(e, Reduce) else inside


def _goes_into(
    node: Equation,
    variable: Read,
    user: Equation,
    table: Mapping[str, Node],
    users: Mapping[str, tuple[str, ...]],
    fixed: set[str],
) -> bool:
    if isinstance(node.body, Reduce) or node.dtype != "real" or node.name in node.operands or node.name == user.name:
        return False
    if isinstance(node.body, Read) or (not node.operands and cost(node.body) <= _CHEAP):
        return True
    if isinstance(user.body, Reduce):
        return False  # a product of reads stays one
    if node.name in fixed:
        return False
    if _is_scaling(node.body) and all(_is_elementwise(table[name]) for name in users[node.name]):
        # a division for each element is not worth a node less
        return _is_bijection(variable, user) or any(isinstance(f, Const) for f in node.body.args)
    if len(users[node.name]) > 1 or cost(node.body) + cost(user.body) > _LARGEST:
        return False
    places = [other for other in reads(user.body) if other.tensor == node.name]
    occurrences = sum(part == variable for part in walk(user.body))
    once = len(places) == 1 and occurrences == 1 and _is_bijection(variable, user)
    return once or (cost(node.body) <= _CHEAP and len(places) == 1 and not is_expensive(node.body))


def _is_elementwise(node: Node) -> bool:
    return isinstance(node, Equation) and not isinstance(node.body, Reduce)


def _is_scaling(e: Expr) -> TypeGuard[Apply]:
    """One read times a constant."""
    return (
        isinstance(e, Apply)
        and e.op == "mul"
        and sum(isinstance(f, Read) for f in e.args) == 1
        and all(isinstance(f, Read | Const) or not any(isinstance(p, Read) for p in walk(f)) for f in e.args)
        and cost(e) <= _CHEAP
    )


def _is_bijection(variable: Read, user: Equation) -> bool:
    """Every element of the user reads another element."""
    bare = [place.index for place in variable.indices]
    return {place.name for place in bare if place is not None} == set(user.indices)


def _without_copies(graph: Graph) -> Graph:
    """Gradients that are copies of another computed node are that node."""
    renamed: dict[str, str] = {}
    for name in graph.gradients.values():
        node = graph[name]
        while isinstance(node, Equation) and (base := _copied(node)) is not None:
            whole = graph[base]
            if not isinstance(whole, Equation) or whole.shape != node.shape:  # a part of it is not a copy
                break
            node = whole
        if node.name != name:
            renamed[name] = node.name
    others = {node for kind, nodes in graph.root_maps.items() if kind != "gradients" for node in nodes.values()}
    read = {operand for node in graph for operand in node.operands}
    gone = {name for name in renamed if name not in others and name not in read}
    gradients = {k: renamed.get(v, v) for k, v in graph.gradients.items()}
    return graph.evolve([n for n in graph if n.name not in gone], gradients=gradients)
