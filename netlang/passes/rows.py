"""The body of one equation in a step: where it reads rows of the sequence, what the step has of them.

While a body is rewritten, the number of the row that is computed is the index `NOW`. Conditions known to hold where an
expression is evaluated go along with it, as they show which rows it reads: those up to the row `now` alone can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from netlang.diagnostics import Span
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
    TRUE,
    ZERO,
    All,
    Any,
    Apply,
    AtLeastZero,
    Compare,
    Condition,
    Const,
    Expr,
    IsZero,
    Not,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.integer import ZERO as NOTHING
from netlang.graph.integer import Atom, Fetch, Floor, Index, Int, Modulo, Size, fetch, index, integer, product, size
from netlang.graph.nodes import Equation, Node
from netlang.graph.traversal import read_depth, rewrite, tensor_reads
from netlang.passes.decided import NEUTRAL, Facts, decided, proved

if TYPE_CHECKING:
    from netlang.passes.stream import Step

NOW = "clock.now"  # the input of a step that says which row it is; the index of it while a body is rewritten
_GUARD = "say what such a read gives: `(... else 0)`"
_ROWS = "reduce over the rows themselves: `sum(s) (x[s] if s <= t else 0)`"


class RefusalError(Exception):
    """A part of the net that no step can compute; caught where there is another way."""

    def __init__(self, code: str, message: str, span: Span | None, help: str) -> None:
        super().__init__(message)
        self.code, self.message, self.span, self.help = code, message, span, help


class Body:
    """The body of one equation, rewritten for the rows that a step computes of it."""

    def __init__(self, step: Step, node: Equation, dimensions: Mapping[int, bool], settled: bool) -> None:
        self.step, self.node, self.settled = step, node, settled
        self.length = step.length
        self.now = index(NOW)
        names = node.indices
        self.values = {names[k]: self.now for k, past in dimensions.items() if not past}
        self.written = dict(node.extents) | dict(node.body.ranges if isinstance(node.body, Reduce) else ())
        self.past = [names[k] for k, past in dimensions.items() if past]
        self.kept = tuple(name for name in names if name not in self.values)
        self.extents = {name: n for name, n in node.extents.items() if name in self.kept} | {NOW: self.length}

    def equation(self, name: str, shape: tuple[Int, ...]) -> Equation:
        facts = tuple(at_least_zero(self.now - index(i)) for i in self.past)
        body = self.node.body
        if isinstance(body, Reduce):
            body = self.reduction(body, facts)
        else:
            body = select(every(facts), self.expr(body, facts), ZERO)
        clock = {NOW: fetch(NOW, (), self.length)}
        body = rewrite(body, ints=lambda value: value.substitute(clock))
        return Equation(name, shape, self.node.dtype, self.node.origin, self.kept, body)

    def reduction(self, e: Reduce, facts: Facts) -> Reduce:
        """The reduction over rows so far; a settled one must leave out later ones by itself."""
        self.extents |= dict(e.ranges)
        neutral = Const(NEUTRAL.get(e.op, 0.0))
        guarded = isinstance(e.body, Select) and e.body.otherwise == neutral
        condition, inner = (e.body.condition, e.body.then) if isinstance(e.body, Select) and guarded else (TRUE, e.body)
        wanted: list[Condition] = []
        for name, extent in e.ranges:
            if Size(self.step.name) not in extent.atoms():
                continue
            if any(c < 0 for m, c in extent.terms if m):
                raise self.refuse("no-stream", f"`{self.node.name}` reduces over {extent} places", _ROWS)
            if e.op not in NEUTRAL:
                raise self.refuse("no-stream", f"`{self.node.name}` searches among the rows of the sequence", _ROWS)
            wanted.append(at_least_zero(self.ends_now(extent) - 1 - index(name)))
        if not self.settled:
            facts = (*facts, *wanted)
        condition = self.guard(condition, inner, facts)
        known = (*facts, condition)
        for within in wanted:
            if not self.proved(within, known):
                self.require_nothing_beyond(within, e, neutral)
                facts = known = (*known, within)
        return Reduce(e.op, e.ranges, select(every([*facts, condition]), self.expr(inner, known), neutral))

    def require_nothing_beyond(self, within: Condition, e: Reduce, neutral: Const) -> None:
        """Refuse a reduction that later rows contribute to."""
        body = rewrite(e.body, ints=lambda value: value.substitute(self.values))
        beyond = (negate(within), *(at_least_zero(self.now - index(i)) for i in self.past))
        if decided(self.step.graph, body, beyond, self.extents) != neutral.value:
            raise self.refuse(
                "not-causal",
                f"`{self.node.name}` takes together all rows of the sequence, those after the step as well",
                "let only rows up to the step count: `sum(s) (x[s] if s <= t else 0)`",
            )

    def ends_now(self, value: Int) -> Int:
        """The value where the sequence ends with the row `now`."""
        return value.rewrite(lambda atom: self.now + 1 if atom == Size(self.step.name) else None)

    # --- expressions, with the conditions known to hold where they are evaluated ---

    def expr(self, e: Expr, known: Facts) -> Expr:
        if isinstance(e, Apply):
            return apply(e.op, *(self.expr(a, known) for a in e.args))
        if isinstance(e, Select):
            condition = self.guard(e.condition, e.then, known)
            then = self.expr(e.then, (*known, condition))
            return select(condition, then, self.expr(e.otherwise, (*known, negate(condition))))
        if isinstance(e, Read):
            tensor, places = self.access(e.tensor, e.indices, known)
            return Read(tensor, places)
        return whole(self.integer(e.value, known)) if isinstance(e, Whole) else e

    def guard(self, c: Condition, inside: Expr, known: Facts) -> Condition:
        """A condition; where it cannot be known in a step because what it guards is later, that is what is refused."""
        try:
            return self.condition(c, known)
        except RefusalError:
            for tensor, places in tensor_reads(inside):
                node = self.step.graph[tensor]
                later = [p.substitute(self.values) - self.now - 1 for p in places]
                for k in self.step.over(node):
                    if self.proved(at_least_zero(later[k]), known):
                        raise self.ahead(tensor, places[k]) from None
            raise

    def condition(self, c: Condition, known: Facts) -> Condition:
        c = decide(c, self.written)
        if isinstance(c, IsZero):
            return is_zero(self.integer(c.value, known))
        if isinstance(c, AtLeastZero):
            return at_least_zero(self.integer(c.value, known))
        if isinstance(c, Compare):
            return compare(c.op, self.expr(c.left, known), self.expr(c.right, known))
        if isinstance(c, Not):
            return negate(self.condition(c.part, known))
        if isinstance(c, All):
            for part in sorted(c.parts, key=read_depth):  # the order of their evaluation
                known = (*known, self.condition(part, known))
            return every(known[-len(c.parts) :] if c.parts else ())
        assert isinstance(c, Any)
        return some(self.condition(part, known) for part in c.parts)

    def integer(self, value: Int, known: Facts) -> Int:
        total = NOTHING
        for monomial, c in value.terms:
            total += product([integer(c), *(self.atom(atom, known) for atom in monomial)])
        return total

    def atom(self, atom: Atom, known: Facts) -> Int:
        if isinstance(atom, Index):
            return self.values.get(atom.name, index(atom.name))
        if isinstance(atom, Floor):
            return self.integer(atom.value, known) // atom.divisor
        if isinstance(atom, Modulo):
            return self.integer(atom.value, known) % atom.divisor
        if isinstance(atom, Fetch):
            tensor, places = self.access(atom.tensor, atom.indices, known)
            return fetch(tensor, places, atom.bound)
        assert isinstance(atom, Size)
        if atom.name != self.step.name:
            return size(atom.name)
        if self.settled:
            raise self.refuse(
                "not-causal",
                f"`{self.node.name}` depends on how long the whole sequence is",
                f"do without `{atom.name}` in what is computed for each of its rows",
            )
        return self.now + 1

    # --- reads ---

    def access(self, tensor: str, written: tuple[Int, ...], known: Facts) -> tuple[str, tuple[Int, ...]]:
        """The tensor of the step that has what is read, and the places there."""
        places = tuple(self.integer(place, known) for place in written)
        node, step = self.step.graph[tensor], self.step
        dimensions = step.over(node) if tensor in step.varying else []
        for k, place in enumerate(places):
            if k not in dimensions:
                self.limit(place, node.shape[k], known)
        if not dimensions:
            return step.node(tensor, (), self.settled), places
        for k in dimensions:
            if not self.proved(at_least_zero(self.now - places[k]), known):
                raise self.ahead(tensor, written[k])
        if len(dimensions) == 1 and places[dimensions[0]] != self.now:
            found = self.back(node, dimensions[0], places, known)
            if found is not None:
                return found
        roles = tuple(places[k] != self.now for k in dimensions)
        name = step.node(tensor, roles, self.settled)
        return name, tuple(p for k, p in enumerate(places) if k not in dimensions or roles[dimensions.index(k)])

    def back(
        self, node: Node, dimension: int, places: tuple[Int, ...], known: Facts
    ) -> tuple[str, tuple[Int, ...]] | None:
        """A read of a row that is at most a constant number of steps back."""
        back = self.now - places[dimension]
        static = {name: n for name, n in self.extents.items() if n.is_constant}
        ends = back.bounds(static)
        if ends is None or not ends[1].is_constant:
            return None
        try:
            self.step.node(node.name, (False,), True)
        except RefusalError:
            if self.settled:
                raise
            return None
        present = not self.proved(at_least_zero(back - 1), known)
        kept, count = self.step.kept_back(node, ends[1].constant, present)
        if count == 1:
            return kept, without(places, dimension)
        return kept, tuple(p % count if k == dimension else p for k, p in enumerate(places))

    def limit(self, place: Int, extent: Int, known: Facts) -> None:
        """Note how long the sequence may be for a read by the number of a row to be inside."""
        if place.indices() & {NOW, *self.past}:
            for inside in (place, extent - 1 - place):
                if not self.proved(at_least_zero(inside), known):
                    self.limited(inside)

    def limited(self, value: Int) -> None:
        """Note how long the sequence may be for a value not to be negative."""
        for name in self.past:
            if value.is_linear_in(name):
                value = value.substitute({name: self.now if value.coefficient(Index(name)) < 0 else NOTHING})
        slope = value.coefficient(Index(NOW))
        ends = (value - slope * self.now).bounds({k: n for k, n in self.extents.items() if k != NOW})
        if slope >= 0 or ends is None:
            raise self.refuse("no-stream", f"`{self.node.name}` may read outside a tensor in some steps", _GUARD)
        self.step.limit(ends[0] - slope, -slope, self.node.origin.span)

    def proved(self, wanted: Condition, known: Facts) -> bool:
        return proved(wanted, known, self.extents)

    def ahead(self, tensor: str, place: Int) -> RefusalError:
        message = f"`{self.node.name}` reads `{tensor}` at `{place}`, a row that may come after the step"
        return self.refuse("not-causal", message, "read rows up to the step only, by the place or by a condition")

    def refuse(self, code: str, message: str, help: str) -> RefusalError:
        return RefusalError(code, message, self.node.origin.span, help)


def without(values: tuple[Int, ...], place: int) -> tuple[Int, ...]:
    """The values but for one."""
    return values[:place] + values[place + 1 :]
