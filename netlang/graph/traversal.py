"""Walking and rewriting expressions: what they read, which indices they depend on, substitution."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import TypeVar, cast

from netlang.graph.constructors import (
    apply,
    at_least_zero,
    compare,
    decide,
    every,
    is_zero,
    negate,
    select,
    some,
    whole,
)
from netlang.graph.expression import (
    All,
    Any,
    Apply,
    AtLeastZero,
    Compare,
    Condition,
    Expr,
    IsZero,
    Not,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.integer import Fetch, Int, reduce_ranges

T = TypeVar("T")


def parts(node: Expr | Condition) -> tuple[Expr | Condition, ...]:
    """The expressions and conditions directly inside."""
    if isinstance(node, Apply):
        return node.args
    if isinstance(node, Select):
        return node.condition, node.then, node.otherwise
    if isinstance(node, Reduce):
        return (node.body,)
    if isinstance(node, Compare):
        return node.left, node.right
    if isinstance(node, All | Any):
        return node.parts
    if isinstance(node, Not):
        return (node.part,)
    return ()


def integers(node: Expr | Condition) -> tuple[Int, ...]:
    """The integer expressions directly inside."""
    if isinstance(node, Read):
        return node.indices
    if isinstance(node, Whole | IsZero | AtLeastZero):
        return (node.value,)
    if isinstance(node, Reduce):
        return tuple(extent for _, extent in node.ranges)
    return ()


def walk(node: Expr | Condition) -> Iterator[Expr | Condition]:
    """Every expression and condition in it, outermost first, left to right."""
    waiting = [node]
    while waiting:
        first = waiting.pop()
        yield first
        waiting += parts(first)[::-1]


def reads(node: Expr) -> list[Read]:
    """The distinct reads of real values, in order of appearance."""
    return list(dict.fromkeys(n for n in walk(node) if isinstance(n, Read)))


def read_depth(node: Expr | Condition) -> int:
    """How deep reads nest in it: 0 without reads, and a read is one deeper than what its indices read.

    What keeps a read inside its tensor speaks of its indices alone, so it is less deep than the read: the conditions of
    a conjunction are evaluated in this order.
    """
    deepest = 0
    for inner in walk(node):
        depth = max(map(_integer_depth, integers(inner)), default=0)
        deepest = max(deepest, depth + isinstance(inner, Read))
    return deepest


def _integer_depth(value: Int) -> int:
    return max((1 + max(map(_integer_depth, fetch.indices), default=0) for fetch in value.fetches()), default=0)


def tensor_reads(node: Expr | Condition) -> tuple[tuple[str, tuple[Int, ...]], ...]:
    """Every read of a tensor, labels and places included, as its name and the indices, in order of appearance."""
    return _remembered(node, "tensor_reads", lambda: tuple(_tensor_reads(node)))


def _tensor_reads(node: Expr | Condition) -> Iterator[tuple[str, tuple[Int, ...]]]:
    for inner in walk(node):
        if isinstance(inner, Read):
            yield inner.tensor, inner.indices
        for value in integers(inner):
            yield from ((fetch.tensor, fetch.indices) for fetch in value.fetches())


def operands(node: Expr | Condition) -> list[str]:
    """Names of all tensors that it reads, labels and places included, in order of first appearance."""
    return list(dict.fromkeys(tensor for tensor, _ in tensor_reads(node)))


def free_indices(node: Expr | Condition) -> frozenset[str]:
    """Names of the indices that it depends on and does not bind."""
    return _remembered(node, "free_indices", lambda: _free_indices(node))


def _free_indices(node: Expr | Condition) -> frozenset[str]:
    names = {name for value in integers(node) for name in value.indices()}
    names.update(*map(free_indices, parts(node)))
    bound = {name for name, _ in node.ranges} if isinstance(node, Reduce) else ()
    return frozenset(names.difference(bound))


def _remembered(node: Expr | Condition, name: str, find: Callable[[], T]) -> T:
    """What is found once of a node, which never changes: passes ask again and again."""
    known = vars(node)
    if name not in known:
        known[name] = find()
    return cast(T, known[name])


def bound_indices(node: Expr) -> dict[str, Int]:
    """The indices that reductions inside bind, with their extents."""
    return {name: extent for n in walk(node) if isinstance(n, Reduce) for name, extent in n.ranges}


def rewrite(
    node: Expr, change: Callable[[Expr], Expr | None] | None = None, ints: Callable[[Int], Int] | None = None
) -> Expr:
    """Rebuild bottom-up through the constructors.

    `ints` maps every integer expression; `change` sees each rebuilt expression and returns its replacement or None.
    """
    return cast(Expr, _rewrite(node, change, ints))


def rewrite_condition(
    node: Condition, change: Callable[[Expr], Expr | None] | None = None, ints: Callable[[Int], Int] | None = None
) -> Condition:
    return cast(Condition, _rewrite(node, change, ints))


def _rewrite(
    node: Expr | Condition, change: Callable[[Expr], Expr | None] | None, ints: Callable[[Int], Int] | None
) -> Expr | Condition:
    def integer_(value: Int) -> Int:
        return value if ints is None else ints(value)

    before = parts(node)
    inner = tuple([_rewrite(p, change, ints) for p in before])
    unchanged = all(a is b for a, b in zip(before, inner, strict=True)) and (
        ints is None or all(integer_(value) is value for value in integers(node))
    )
    if isinstance(node, Condition):
        return node if unchanged else _rebuild_condition(node, inner, integer_)
    out: Expr = node
    if unchanged:
        pass
    elif isinstance(node, Apply):
        out = apply(node.op, *cast(tuple[Expr, ...], inner))
    elif isinstance(node, Select):
        out = select(cast(Condition, inner[0]), cast(Expr, inner[1]), cast(Expr, inner[2]))
    elif isinstance(node, Reduce):
        out = Reduce(node.op, tuple((n, integer_(e)) for n, e in node.ranges), cast(Expr, inner[0]))
    elif isinstance(node, Read):
        out = Read(node.tensor, tuple(integer_(i) for i in node.indices))
    elif isinstance(node, Whole):
        out = whole(integer_(node.value))
    if change is not None:
        changed = change(out)
        if changed is not None:
            out = changed
    return out


def _rebuild_condition(
    node: Condition, inner: tuple[Expr | Condition, ...], integer_: Callable[[Int], Int]
) -> Condition:
    if isinstance(node, IsZero):
        return is_zero(integer_(node.value))
    if isinstance(node, AtLeastZero):
        return at_least_zero(integer_(node.value))
    if isinstance(node, Compare):
        return compare(node.op, cast(Expr, inner[0]), cast(Expr, inner[1]))
    if isinstance(node, All):
        return every(cast(tuple[Condition, ...], inner))
    if isinstance(node, Any):
        return some(cast(tuple[Condition, ...], inner))
    return negate(cast(Condition, inner[0]))


def substitute(node: Expr, values: Mapping[str, Int]) -> Expr:
    """Replace free indices by integer expressions. Indices that the expression binds must not occur in `values`."""
    return rewrite(node, ints=lambda value: value.substitute(values)) if values else node


def within_ranges(body: Expr, extents: Mapping[str, Int]) -> Expr:
    """The body without the floors, the remainders and the guards that the ranges of its indices decide."""

    def decided(e: Expr) -> Expr | None:
        return select(decide(e.condition, extents), e.then, e.otherwise) if isinstance(e, Select) else None

    return rewrite(body, decided, lambda value: reduce_ranges(value, extents))


def replace(node: Expr, old: Expr, new: Expr) -> Expr:
    """Replace every occurrence of a subexpression."""
    return rewrite(node, lambda e: new if e == old else None)


def rename_tensors(node: Expr, names: Mapping[str, str]) -> Expr:
    """Rename tensors in reads and fetches."""
    if not names:
        return node

    def ints(value: Int) -> Int:
        return value.rewrite(
            lambda a: (
                Int({(Fetch(names[a.tensor], a.indices, a.bound),): 1})
                if isinstance(a, Fetch) and a.tensor in names
                else None
            )
        )

    return rewrite(
        node, lambda e: Read(names[e.tensor], e.indices) if isinstance(e, Read) and e.tensor in names else None, ints
    )


def fresh(base: str, taken: Container[str]) -> str:
    """A name like `base` that is not taken: the base, else the base with the least number that is free."""
    if base not in taken:
        return base
    k = 2
    while f"{base}{k}" in taken:
        k += 1
    return f"{base}{k}"
