"""Adjoints as a person would leave them: derived, simplified, and with library functions recognised.

Three derivations of one graph have the same nodes: `raw`, from the equations as they stand; one in which a function of
the library has a derivative that is a symbol, `σ'(z)`; and one in which derivatives are written with the value of the
function (`p (1 - p)`), as the table of scalar functions gives them after `stabilize`. An adjoint becomes the shortest
of what the last two lead to, where adjoints without a sum are written into each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from netlang.draw.derivation.occurring import Occurring
from netlang.draw.derivation.recognize import Recognizer, Templates
from netlang.draw.derivation.variants import (
    seeded,
    symbolic,
    valued,
    with_arguments,
    with_unit_indices,
    without_unit_guards,
)
from netlang.draw.formula.nesting import separated, taken_out
from netlang.graph.expression import (
    ONE,
    ZERO,
    All,
    Any,
    Apply,
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
from netlang.graph.integer import Int
from netlang.graph.nodes import Equation, View
from netlang.graph.traversal import bound_indices, free_indices, parts, reads, rewrite, substitute, walk
from netlang.passes.derive import PREFIX, derive
from netlang.passes.simplify import simplify_body

MOST_INLINED = 40.0  # the weight up to which adjoints are written into each other
SLACK = 3.0  # by which what that gives may be longer than the form with the adjoints' names


class Adjoints:
    """The adjoints between `sought` and the scalar `goal`.

    `graph` is what was differentiated, with names for the arguments of functions, and `primal` gives the tensor that an
    adjoint belongs to. `order` has the tensors whose adjoint is to be printed, from the goal back; `hidden` the nodes
    that are written out where they are read. `local` is the expression of an adjoint by those of its tensor's readers,
    `raw` a graph with the adjoints as they are derived, and `final` one with the simplest.
    """

    def __init__(self, graph: Graph, goal: str, sought: Sequence[str], templates: Templates) -> None:
        self.goal, self.sought = goal, sought
        self.occurring = Occurring(templates)
        plain = with_unit_indices(graph.prune([goal]))
        recognizer = Recognizer(templates, plain, self.occurring.named)
        self.graph, self.arguments = with_arguments(plain, recognizer)
        self.recognizer = Recognizer(templates, self.graph, self.occurring.named)
        short = symbolic(self.graph, self.recognizer, self.occurring)
        raw, by_symbol, by_value = (
            without_unit_guards(derive(g, goal, sought)) for g in (self.graph, short, valued(self.graph))
        )
        self.raw = seeded(raw, PREFIX + goal)
        self.primal = {PREFIX + n: n for n in self.graph.nodes if PREFIX + n in self.raw.nodes}
        self.active = frozenset(self.primal.values())
        self.hidden = self._hidden()
        self.names = self._names()
        self.local: dict[str, Expr] = {}
        self.bodies: dict[str, Equation] = {}  # the simplest so far, by the name of the adjoint
        self.short: dict[str, Equation] = {}  # by the adjoints of the readers
        self._simplify(by_symbol, by_value)
        self.final = by_symbol.evolve([self.bodies.get(n.name, n) for n in by_symbol])
        visible = self.active - self.hidden - {goal}
        self.order = [n.name for n in reversed(self.graph.order) if n.name in visible]

    def recognize(self, body: Expr) -> Expr:
        """With the functions of the library that occur in it."""
        return self.recognizer.recognized(body)

    def recognize_by_name(self, body: Expr) -> Expr:
        """As `recognize`; a function of a tensor that a tensor of the network is equal to is that tensor."""

        def change(e: Expr) -> Expr | None:
            return Read(self.names[e.tensor], e.indices) if isinstance(e, Read) and e.tensor in self.names else None

        return rewrite(self.recognize(body), change)

    # --- what is written out where it is read -------------------------------------------------------------------------

    def _hidden(self) -> frozenset[str]:
        """Parts of an equation that elaboration made nodes of, adjoints of these, and terms of an adjoint."""
        kept = {self.goal, *self.sought, *self.graph.outputs.values(), *self.arguments}
        kept |= {made.tensor for made in self.occurring.virtual.values() if made.prime}  # `σ'(z)` names it
        owners = dict(self.arguments)  # of what is written out, the equation that it is written into
        for node in reversed(list(self.graph)):
            users = self.graph.users[node.name]
            if len(users) != 1 or node.name in kept or not isinstance(node, Equation):
                continue
            owner = owners.get(users[0], users[0])
            if node.name.startswith(f"{owner}.") and isinstance(self.graph[users[0]], Equation):
                owners[node.name] = owner
        parts = owners.keys() - self.arguments.keys()
        terms = {
            n.name for n in self.raw if n.name.startswith(PREFIX) and n.name not in self.primal and n.dtype == "real"
        }
        return frozenset(parts | {PREFIX + n for n in parts if PREFIX + n in self.raw.nodes} | terms)

    # --- the simplest form --------------------------------------------------------------------------------------------

    def _simplify(self, symbolic: Graph, valued: Graph) -> None:
        for name in [n.name for n in symbolic if n.name.startswith(PREFIX)]:
            node = symbolic[name]
            if isinstance(node, View):
                continue
            assert isinstance(node, Equation)
            other = valued[name]
            assert isinstance(other, Equation)
            short = self._simple(node, self._inlined(node.body, trivial=True))
            if name in self.primal:
                self.local[self.primal[name]] = short
            written = self._simple(other, self._inlined(other.body, trivial=True))
            best = written if weight(written) <= weight(short) else short
            full = self._simple(other, self._inlined(other.body, trivial=False))
            if not isinstance(full, Reduce) and weight(full) < min(self._total(best), weight(best) + SLACK):
                best = full
            self.bodies[name] = replace(node, body=best)
            self.short[name] = replace(node, body=short)

    def _simple(self, node: Equation, body: Expr) -> Expr:
        """The simpler of what simplifying and recognising lead to, in either order."""
        if isinstance(body, Reduce):
            extents = {**node.extents, **dict(body.ranges)}
            inner = self._simpler(body.body, extents)
            if weight(inner) >= weight(body.body):
                inner = self.recognize_by_name(body.body)
            simple = Reduce(body.op, body.ranges, inner)
            return taken_out(simple) if node.name in self.hidden else simple
        return self._simpler(body, node.extents)

    def _simpler(self, body: Expr, extents: Mapping[str, Int]) -> Expr:
        after = self.recognize(simplify_body(body, extents))
        recognized = self.recognize(body)
        if recognized != body:
            after = min(after, self.recognize(simplify_body(recognized, extents)), key=weight)
        return self.recognize_by_name(after)

    def _names(self) -> dict[str, str]:
        """The tensors of the network that are a function of another one, by the virtual tensor's name."""
        found: dict[str, str] = {}
        for node in self.graph:
            body = self.recognize(node.body) if isinstance(node, Equation) else None
            if isinstance(node, Equation) and isinstance(body, Read) and body.indices == node.places:
                found.setdefault(body.tensor, node.name)
        return {name: tensor for name, tensor in found.items() if name in self.occurring.virtual}

    def _inlined(self, body: Expr, trivial: bool) -> Expr:
        """With adjoints of the readers written out: the trivial and the hidden ones, or all that have no sum."""

        def change(e: Expr) -> Expr | None:
            if not isinstance(e, Read) or e.tensor not in self.bodies:
                return None
            hidden = e.tensor in self.hidden
            known = (self.short if trivial and hidden else self.bodies)[e.tensor]
            if weight(known.body) > MOST_INLINED or (trivial and not hidden and reads(known.body)):
                return None
            if isinstance(known.body, Reduce) and not (hidden and pointwise):
                return None
            return substitute(separated(known.body, used), dict(zip(known.indices, e.indices, strict=True)))

        pointwise = not isinstance(body, Reduce)
        used = free_indices(body) | bound_indices(body).keys()
        return rewrite(body, change)

    def _total(self, body: Expr) -> float:
        """The weight with the adjoints that it reads written out."""
        read = [self.bodies.get(r.tensor) for r in reads(body)]
        return weight(body) + sum(weight(k.body) - 1 for k in read if k is not None and not isinstance(k.body, Reduce))


def weight(e: Expr | Condition) -> float:
    """How long an expression is to read: about one for each sign."""
    if isinstance(e, Const | Whole):
        return 1
    if isinstance(e, Read):
        return 2 if e.tensor.endswith(")") else 1
    if isinstance(e, Select) and e.otherwise == ZERO:
        mark = 2 * sum(not isinstance(c, All | Any | Not) for c in walk(e.condition) if isinstance(c, Condition))
        return mark if e.then == ONE else mark + weight(e.then)
    inner = sum(weight(part) for part in parts(e))
    if isinstance(e, Apply):
        if e.op in ("add", "mul"):
            free = e.op == "mul" and e.args[0] == Const(-1.0)
            return inner + len(e.args) - 1 - (1 if free else 0)
        return inner + (0 if e.op == "pow" else 1)
    return inner + 2
