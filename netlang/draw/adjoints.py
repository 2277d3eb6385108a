"""Adjoints as a person would leave them: derived, simplified, and with library functions recognised.

Three derivations of one graph have the same nodes: `raw`, from the equations as they stand; one in which a function of
the library has a derivative that is a symbol, `σ'(z)`; and one in which derivatives are written with the value of the
function (`p (1 - p)`), as the table of scalar functions gives them after `stabilize`. An adjoint becomes the shortest
of what the last two lead to, where adjoints without a sum are written into each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from netlang.draw.element import Virtual, Vocabulary
from netlang.draw.nesting import separated, taken_out
from netlang.draw.recognize import ARGUMENT, Recognizer, Template, Templates
from netlang.graph import integer
from netlang.graph.expression import (
    ONE,
    TRUE,
    ZERO,
    Apply,
    Condition,
    Const,
    Expr,
    Read,
    Reduce,
    Select,
    Whole,
    bound_indices,
    free_indices,
    fresh,
    mul,
    parts,
    reads,
    rewrite,
    rewrite_condition,
    substitute,
    walk,
)
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Equation, Node, Origin, Param, View
from netlang.graph.scalars import SCALARS
from netlang.passes.algebra import rational
from netlang.passes.derive import PREFIX, derive
from netlang.passes.partials import partials
from netlang.passes.simplify import simplify_body
from netlang.passes.stabilize import stabilize

MOST_INLINED = 40.0  # the weight up to which adjoints are written into each other
SLACK = 3.0  # by which what that gives may be longer than the form with the adjoints' names


@dataclass(frozen=True)
class _Derived:
    """A derived graph, and placeholders of derivatives among its nodes."""

    graph: Graph

    def body(self, name: str) -> Expr:
        node = self.graph[name]
        assert isinstance(node, Equation)
        return node.body


class Adjoints:
    """The adjoints between `sought` and the scalar `goal`.

    `order` has the tensors with an adjoint to print, from the goal back; `hidden` the nodes that are written out where
    they are read; `local` the adjoint's expression by the adjoints of its readers; `final` a graph with the simplest.
    """

    def __init__(self, graph: Graph, goal: str, sought: Sequence[str], templates: Templates) -> None:
        self.goal, self.sought, self.templates = goal, sought, templates
        pruned = graph.prune([goal])
        pruned = pruned.evolve([_with_unit_indices(pruned, node) for node in pruned])
        self.virtual: dict[str, Virtual] = {}
        self.used: dict[str, Template] = {}
        self.arguments: dict[str, str] = {}  # the arguments of functions that got a name, and the node they are for
        self.recognizer = Recognizer(templates, pruned, self._named)
        self.graph = self._with_arguments(pruned)
        self.recognizer = Recognizer(templates, self.graph, self._named)
        raw, symbolic, valued = (
            _without_unit_guards(derive(g, goal, sought)) for g in (self.graph, self._symbolic(), self._valued())
        )
        self.raw = raw.evolve([_seeded(n, PREFIX + goal) for n in raw])
        self.primal = {PREFIX + n: n for n in self.graph.nodes if PREFIX + n in self.raw.nodes}
        self.active = {n for a, n in self.primal.items()}
        self.wanted = self.active
        self.hidden = self._hidden()
        self.named = self._names()
        self.local: dict[str, Expr] = {}
        self.bodies: dict[str, Equation] = {}  # the simplest so far, by the name of the adjoint
        self.short: dict[str, Equation] = {}
        self._simplify(symbolic, valued)
        self.final = symbolic.evolve([self.bodies.get(n.name, n) for n in symbolic])
        self.order = [
            n.name
            for n in reversed(self.graph.order)
            if n.name in self.active and n.name != goal and n.name not in self.hidden
        ]

    def recognize(self, body: Expr) -> Expr:
        return self.recognizer.recognized(body)

    def define(self, name: str) -> None:
        """Note that a function of one number of this name occurs in a formula."""
        for template in self.templates.pointwise():
            if template.name == name:
                self.used.setdefault(name, template)

    # --- functions ----------------------------------------------------------------------------------------------------

    def _named(self, template: Template, tensor: str, prime: bool = False) -> str:
        name = f"{template.name}{chr(39) if prime else ''}({tensor})"
        self.virtual[name] = Virtual(template.name, tensor, prime, template.is_pointwise)
        self.used[template.name] = template
        return name

    def functions(self) -> list[tuple[Template, Expr | None]]:
        """The templates that occur, and the derivatives of those of one number, in terms of the value."""
        found = [(t, _derivative(t)) for t in self.used.values()]
        return [(t, prime if prime is None else self.recognize(prime)) for t, prime in found]

    def function_words(self, words: Vocabulary, template: Template) -> Vocabulary:
        """A vocabulary in which the value of the template's function has a name."""
        made = Virtual(template.name, ARGUMENT, False, True)
        return replace(words, virtual={**words.virtual, _value(template): made})

    def _with_arguments(self, graph: Graph) -> Graph:
        """A function of an expression, `σ(W x + b)`, as a function of a tensor of its own."""
        nodes: list[Node] = []
        for node in graph:
            if isinstance(node, Equation):
                found = self.recognizer.function_of(node)
                argument = found[1] if found else _only_argument(node.body)
                if argument is not None and len(reads(argument)) > 1:
                    name = fresh(f"{node.name}.z", graph.nodes)
                    inner = Read(name, node.places)
                    body = substituted(found[0].body, inner) if found else Apply(_row(node.body), (inner,))
                    nodes.append(replace(node, name=name, body=argument))
                    node = replace(node, body=body)
                    self.arguments[name] = node.name
            nodes.append(node)
        return graph.evolve(nodes)

    def _symbolic(self) -> Graph:
        """Functions of one tensor as products with a tensor that stands for their derivative."""
        placeholders: list[Node] = []
        nodes: list[Node] = []
        for node in self.graph:
            found = self.recognizer.function_of(node) if isinstance(node, Equation) else None
            if found is not None and isinstance(found[1], Read):
                assert isinstance(node, Equation)
                template, tensor = found[0], found[1].tensor
                if found[1].indices != node.places:
                    nodes.append(node)
                    continue
                name = self._named(template, tensor, prime=True)
                if name not in [p.name for p in placeholders]:
                    placeholders.append(Param(name, self.graph[tensor].shape, "real", Origin(None)))
                node = replace(node, body=mul(Read(name, node.places), Read(tensor, node.places)))
            nodes.append(node)
        return self.graph.evolve([*placeholders, *nodes])

    def _valued(self) -> Graph:
        """Each equation by itself in the form whose derivative is written with the value."""
        nodes: list[Node] = []
        for node in self.graph:
            if isinstance(node, Equation) and any(isinstance(e, Apply) for e in walk(node.body)):
                operands = [Param(o, self.graph[o].shape, self.graph[o].dtype, Origin(None)) for o in node.operands]
                stable = stabilize(Graph.build("", [*operands, node]))[node.name]
                assert isinstance(stable, Equation)
                node = stable
            nodes.append(node)
        return self.graph.evolve(nodes)

    # --- what is written out where it is read -------------------------------------------------------------------------

    def _hidden(self) -> frozenset[str]:
        """Parts of an equation that elaboration made nodes of, adjoints of these, and terms of an adjoint."""
        kept = {self.goal, *self.sought, *self.graph.outputs.values(), *self.arguments}
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
            simple = Reduce(body.op, body.ranges, self._simpler(body.body, extents))
            return taken_out(simple) if node.name in self.hidden else simple
        return self._simpler(body, node.extents)

    def _simpler(self, body: Expr, extents: Mapping[str, Int]) -> Expr:
        after = self.recognize(simplify_body(body, extents))
        recognized = self.recognize(body)
        if recognized != body:
            after = min(after, self.recognize(simplify_body(recognized, extents)), key=weight)
        return rewrite(after, self._by_its_name)

    def _by_its_name(self, e: Expr) -> Expr | None:
        """A function of a tensor that a tensor of the network is equal to."""
        if isinstance(e, Read) and e.tensor in self.named:
            return Read(self.named[e.tensor], e.indices)
        return None

    def _names(self) -> dict[str, str]:
        """The tensors of the network that are a function of another one, by the virtual tensor's name."""
        found: dict[str, str] = {}
        for node in self.graph:
            body = self.recognize(node.body) if isinstance(node, Equation) else None
            if isinstance(node, Equation) and isinstance(body, Read) and body.indices == node.places:
                found.setdefault(body.tensor, node.name)
        return {name: tensor for name, tensor in found.items() if name in self.virtual}

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
        mark = 2 * sum(not parts_of_condition(c) for c in walk(e.condition) if isinstance(c, Condition))
        return mark if e.then == ONE else mark + weight(e.then)
    inner = sum(weight(part) for part in parts(e))
    if isinstance(e, Apply):
        if e.op in ("add", "mul"):
            free = e.op == "mul" and e.args[0] == Const(-1.0)
            return inner + len(e.args) - 1 - (1 if free else 0)
        return inner + (0 if e.op == "pow" else 1)
    return inner + 2


def parts_of_condition(c: Condition) -> list[Condition]:
    return [part for part in parts(c) if isinstance(part, Condition)]


def _without_unit_guards(graph: Graph) -> Graph:
    """An index with a single place is 0, so that a guard that says this says nothing."""

    def cleared(node: Node) -> Node:
        if not isinstance(node, Equation):
            return node
        unit = {i: integer.ZERO for i, n in node.extents.items() if n == integer.ONE}

        def change(e: Expr) -> Expr | None:
            if not isinstance(e, Select):
                return None
            condition = rewrite_condition(e.condition, ints=lambda value: value.substitute(unit))
            return e.then if condition == TRUE else None

        return replace(node, body=rewrite(node.body, change))

    return graph.evolve([cleared(node) for node in graph])


def _only_argument(body: Expr) -> Expr | None:
    """The argument of a scalar function of one argument that is the whole body."""
    if isinstance(body, Apply) and SCALARS[body.op].arity == 1:
        return body.args[0]
    return None


def _row(body: Expr) -> str:
    assert isinstance(body, Apply)
    return body.op


def substituted(body: Expr, argument: Expr) -> Expr:
    """A template's body at an argument."""
    return rewrite(body, lambda e: argument if e == Read(ARGUMENT, ()) else None)


def _seeded(node: Node, seed: str) -> Node:
    """With the derivative of the objective by itself, which is 1, written out."""
    if not isinstance(node, Equation) or seed not in node.operands:
        return node
    return replace(node, body=rewrite(node.body, lambda e: ONE if isinstance(e, Read) and e.tensor == seed else None))


# --- templates -------------------------------------------------------------------------------------------------------


def _value(template: Template) -> str:
    return f"{template.name}({ARGUMENT})"


def _derivative(template: Template) -> Expr | None:
    """The derivative of a function of one number, where it is shorter in terms of the value then so."""
    if not template.is_pointwise:
        return None
    variable = Read(ARGUMENT, ())
    found = partials(template.stable, ARGUMENT.__eq__, Read(_value(template), ()))
    return rational(found[variable]) if variable in found else ZERO


def _with_unit_indices(graph: Graph, node: Node) -> Node:
    """An equation with one element reads other tensors of one element at its own index, not at the constant 0."""
    if not isinstance(node, Equation):
        return node
    unit = next((i for i, n in node.extents.items() if n == integer.ONE), None)
    if unit is None:
        return node

    def change(e: Expr) -> Expr | None:
        if not isinstance(e, Read):
            return None
        shape = graph[e.tensor].shape
        if len(shape) != 1 or shape[0] != integer.ONE:
            return None
        return Read(e.tensor, (index(unit),))

    return replace(node, body=rewrite(node.body, change))
