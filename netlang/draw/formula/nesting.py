"""Equations written into each other: reductions nest, and no index that one binds is used around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from netlang.graph.constructors import mul
from netlang.graph.expression import Apply, Expr, Read, Reduce
from netlang.graph.integer import index
from netlang.graph.traversal import bound_indices, free_indices, fresh, rewrite, substitute

Definition = Callable[[Read], Expr | None]


def nested(body: Expr, definition: Definition, around: Iterable[str] = ()) -> Expr:
    """The body with reads in place of which `definition` has an expression, and so on inside these.

    `around` are indices in use where the body stands.
    """
    used = {*around, *free_indices(body), *bound_indices(body)}

    def change(e: Expr) -> Expr | None:
        found = definition(e) if isinstance(e, Read) else None
        if found is None:
            return None
        if isinstance(found, Reduce):
            found = _renamed(found, used)
        return nested(found, definition, used)

    return rewrite(body, change)


def separated(e: Expr, used: Set[str]) -> Expr:
    """The expression with other names for the indices bound inside it that are used around it."""
    return rewrite(e, lambda part: _renamed(part, used) if isinstance(part, Reduce) else None)


def taken_out(e: Expr) -> Expr:
    """A sum with the factors of its terms that do not depend on its indices in front of it."""
    if not isinstance(e, Reduce) or e.op != "sum" or not (isinstance(e.body, Apply) and e.body.op == "mul"):
        return e
    bound = {name for name, _ in e.ranges}
    outside = [f for f in e.body.args if not free_indices(f) & bound]
    inside = [f for f in e.body.args if free_indices(f) & bound]
    return mul(*outside, Reduce(e.op, e.ranges, mul(*inside))) if outside and inside else e


def instance(body: Expr, indices: Iterable[str], access: Read) -> Expr:
    """An equation's body at the place where its tensor is read."""
    places = dict(zip(indices, access.indices, strict=True))
    if isinstance(body, Reduce):
        body = _renamed(body, {name for place in access.indices for name in place.indices()})
    return substitute(body, places)


def _renamed(e: Reduce, used: Set[str]) -> Reduce:
    """The reduction with fresh names for the bound indices that are used already."""
    taken = {*used, *free_indices(e), *(name for name, _ in e.ranges)}
    names: dict[str, str] = {}
    for name, _ in e.ranges:
        if name in used:
            names[name] = _next(name, taken)
            taken.add(names[name])
    if not names:
        return e
    ranges = tuple((names.get(name, name), extent) for name, extent in e.ranges)
    return Reduce(e.op, ranges, substitute(e.body, {old: index(new) for old, new in names.items()}))


def _next(name: str, taken: set[str]) -> str:
    """The next letter of the alphabet that is free, as one would choose by hand; else a number is added."""
    if len(name) == 1 and "a" <= name < "z":
        for code in range(ord(name) + 1, ord("z") + 1):
            if chr(code) not in taken:
                return chr(code)
    return fresh(name, taken)
