"""Puts tensors into a growing graph in normal form: each nested reduction becomes a node of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import NoReturn

from netlang.diagnostics import Span, fail
from netlang.elaboration.values import Places, Tensor, node_tensor
from netlang.graph.constructors import apply, as_integer, compare, conjuncts, every, negate, select, some
from netlang.graph.expression import (
    ONE,
    TRUE,
    ZERO,
    All,
    Any,
    Apply,
    Compare,
    Condition,
    Const,
    Expr,
    Not,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, fetch, index, is_nonnegative, product
from netlang.graph.nodes import Equation, Node, Origin, Scope
from netlang.graph.sizes import Requirement
from netlang.graph.traversal import free_indices, fresh, parts, rewrite, walk

LARGEST_EXPRESSION = 20_000
MOST_USES = 4_000  # of parts without a node of their own, in one equation
PLAIN_INDICES = "ijklmn"

LEAST, GREATEST = Const(float("-inf")), Const(float("inf"))
IDENTITY = {"sum": ZERO, "prod": ONE, "max": LEAST, "min": GREATEST, "argmax": LEAST, "argmin": GREATEST}


@dataclass
class Builder:
    """Nodes, roots and scopes under construction."""

    name: str
    nodes: dict[str, Node] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    losses: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    updates: dict[str, str] = field(default_factory=dict)
    initial: dict[str, str] = field(default_factory=dict)
    scopes: list[Scope] = field(default_factory=list)
    requirements: dict[Condition, Requirement] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)  # where the search for a name that is not taken goes on
    spent: int = 0  # uses of parts that have no node of their own, in the equation under construction

    def graph(self) -> Graph:
        return Graph.build(
            self.name,
            self.nodes.values(),
            outputs=self.outputs,
            losses=self.losses,
            metrics=self.metrics,
            updates=self.updates,
            initial=self.initial,
            scopes=tuple(self.scopes),
            requirements=tuple(self.requirements.values()),
        )

    def require(self, condition: Condition, message: Iterable[str | Int], span: Span) -> None:
        """Note a condition on run-time sizes; see `Requirement`."""
        self.requirements.setdefault(condition, Requirement(condition, tuple(message), span))

    def add(self, node: Node) -> Node:
        assert node.name not in self.nodes, node.name
        self.nodes[node.name] = node
        return node

    def unused(self, name: str) -> str:
        """A name like `name` that no node has. Names that differ by their number only are found in constant time."""
        if name not in self.nodes:
            return name
        k = self.numbers.get(name, 2)
        while f"{name}{k}" in self.nodes:
            k += 1
        self.numbers[name] = k
        return f"{name}{k}"

    def equation(
        self, name: str, tensor: Tensor, origin: Origin, indices: Iterable[str] | None = None, maker: str = ""
    ) -> Tensor:
        """Store a tensor under a new node name and return the stored tensor.

        `indices` are the index names to show; by default i, j, k, ...
        """
        bases = list(indices or ())
        while len(bases) < tensor.rank:
            bases.append(next(c for c in (*PLAIN_INDICES, f"i{len(bases)}") if c not in bases))
        # the element is taken at unique names; `_shorten` makes them readable
        places = {f"{base}#{k}": extent for k, (base, extent) in enumerate(zip(bases, tensor.shape, strict=True))}
        self.spent = 0
        body = tensor.element(tuple(index(p) for p in places))
        if sum(1 for _ in walk(body)) > LARGEST_EXPRESSION:
            _too_large(f"the equation of `{name}`", LARGEST_EXPRESSION, origin.span)
        return self._store(name, places, body, tensor.dtype, tensor.bound, origin, maker or tensor.maker)

    def metered(self, tensor: Tensor, name: str, span: Span) -> Tensor:
        """A tensor without a node of its own, whose uses in one equation are counted.

        What a function names is expanded where it is used, so that a few lines can double and double again: the size
        of the equation must be limited while it grows, not when it is there.
        """

        def element(at: Places) -> Expr:
            self.spent += 1
            if self.spent > MOST_USES:
                _too_large(f"`{name}`, used again and again,", MOST_USES, span)
            return tensor.element(at)

        return replace(tensor, element=element)

    def _store(
        self,
        name: str,
        places: Mapping[str, Int],
        body: Expr,
        dtype: str,
        bound: Int | None,
        origin: Origin,
        maker: str,
    ) -> Tensor:
        if isinstance(body, Reduce):
            ranges = dict(places) | dict(body.ranges)
            body = Reduce(body.op, body.ranges, self._hoist(body.body, TRUE, ranges, name, origin))
        else:
            body = self._hoist(body, TRUE, places, name, origin)
        indices, body = _shorten(tuple(places), body)
        if dtype == "int" and bound is None:
            bound = whole_bound(body, dict(zip(indices, places.values(), strict=True)))
            dtype = "int" if bound is not None else "real"
        node = Equation(name, tuple(places.values()), dtype, origin, indices, body)
        self.add(node)
        return node_tensor(node, bound, maker)

    def _hoist(self, e: Expr, guard: Condition, ranges: Mapping[str, Int], name: str, origin: Origin) -> Expr:
        """Replace reductions by reads of new nodes. `guard` is what the indices are known to satisfy here."""
        if isinstance(e, Apply):
            return apply(e.op, *(self._hoist(a, guard, ranges, name, origin) for a in e.args))
        if isinstance(e, Select):
            condition = self._hoist_condition(e.condition, guard, ranges, name, origin)
            then, otherwise = (
                self._hoist(branch, every([guard, _of_indices(holds)]), ranges, name, origin)
                for branch, holds in ((e.then, e.condition), (e.otherwise, negate(e.condition)))
            )
            return select(condition, then, otherwise)
        if not isinstance(e, Reduce):
            return e
        inner = self._hoist(e.body, guard, {**ranges, **dict(e.ranges)}, name, origin)
        free = free_indices(Reduce(e.op, e.ranges, inner))
        relevant = _about(free, guard)
        if relevant != TRUE:
            inner = select(relevant, inner, IDENTITY[e.op])
            free |= free_indices(relevant)
        outer = {i: n for i, n in ranges.items() if i in free}
        indices, body = _shorten(tuple(outer), Reduce(e.op, e.ranges, inner))
        dtype = "int" if e.op in ("argmax", "argmin") else "real"
        node = Equation(self.unused(f"{name}.{e.op}"), tuple(outer.values()), dtype, origin, indices, body)
        self.add(node)
        places = tuple(index(i) for i in outer)
        if dtype == "int":
            return Whole(fetch(node.name, places, product(n for _, n in e.ranges)))
        return Read(node.name, places)

    def _hoist_condition(
        self, c: Condition, guard: Condition, ranges: Mapping[str, Int], name: str, origin: Origin
    ) -> Condition:
        if not any(isinstance(n, Reduce) for n in walk(c)):
            return c
        if isinstance(c, Compare):
            return compare(
                c.op,
                self._hoist(c.left, guard, ranges, name, origin),
                self._hoist(c.right, guard, ranges, name, origin),
            )
        inner = [self._hoist_condition(p, guard, ranges, name, origin) for p in parts(c) if isinstance(p, Condition)]
        if isinstance(c, All):
            return every(inner)
        if isinstance(c, Any):
            return some(inner)
        assert isinstance(c, Not)
        return negate(inner[0])


def whole_bound(e: Expr, extents: Mapping[str, Int]) -> Int | None:
    """The exclusive upper bound of an expression of whole numbers; None where it may be negative or is not known."""
    if isinstance(e, Select):
        bounds = [whole_bound(e.then, extents), whole_bound(e.otherwise, extents)]
        if bounds[0] is None or bounds[1] is None:
            return None
        return next((b for b in bounds if b and all(is_nonnegative(b - a) for a in bounds if a)), bounds[0] + bounds[1])
    ends = e.value.bounds(extents) if isinstance(e, Whole) else None
    if isinstance(e, Const) and (value := as_integer(e)) is not None:
        ends = value, value
    return ends[1] + 1 if ends is not None and is_nonnegative(ends[0]) else None


def _too_large(what: str, limit: int, span: Span | None) -> NoReturn:
    fail(
        "expression-too-large",
        f"{what} grows to more than {limit:,} operations",
        span,
        help="give a part that is used several times a name of its own, in the net or in a layer",
    )


def _of_indices(c: Condition) -> Condition:
    """The part of a condition that is about indices only, which a hoisted reduction must keep."""
    return every(p for p in conjuncts(c) if not any(isinstance(n, Compare) for n in walk(p)))


def _about(names: Set[str], c: Condition) -> Condition:
    """The conjuncts that bear on the indices: those that name one, or an index that such a conjunct names."""
    kept: list[Condition] = []
    rest, names = list(conjuncts(c)), set(names)
    while near := [p for p in rest if free_indices(p) & names]:
        kept += near
        rest = [p for p in rest if p not in near]
        names |= {name for p in near for name in free_indices(p)}
    return every(kept)


def _shorten(outer: tuple[str, ...], body: Expr) -> tuple[tuple[str, ...], Expr]:
    """Give indices their short names, `k#7` -> `k`, with a number only where two would clash."""
    bound = [name for n in walk(body) if isinstance(n, Reduce) for name, _ in n.ranges]
    short: dict[str, str] = {}
    for name in (*outer, *bound):
        if name not in short:
            short[name] = name if name == "batch" else fresh(name.split("#")[0], short.values())
    changes = {old: index(new) for old, new in short.items() if old != new}
    body = rewrite(body, _rename_ranges(short), ints=lambda v: v.substitute(changes))
    return tuple(short[i] for i in outer), body


def _rename_ranges(short: Mapping[str, str]) -> Callable[[Expr], Expr | None]:
    def change(e: Expr) -> Expr | None:
        if isinstance(e, Reduce):
            return Reduce(e.op, tuple((short[i], n) for i, n in e.ranges), e.body)
        return None

    return change
