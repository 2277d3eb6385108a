"""The derivation of gradients as a list of steps, each with its rule: the chain rule as a lecturer writes it down.

Adjoints are derived by the pass `derive` itself, three times: as the rules give them (what a step prints first), with
the derivatives of library functions kept as symbols, and with these derivatives in terms of the functions' values.
For each adjoint the shorter of the last two is what the step arrives at, so `σ'(z)` stays where it is short and
`p - y` appears where everything else cancels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from netlang.diagnostics import fail, listing, nearest
from netlang.draw.derivation.adjoints import Adjoints
from netlang.draw.derivation.occurring import derivative
from netlang.draw.derivation.recognize import ARGUMENT, Template, Templates
from netlang.draw.derivation.steps import (
    ACCESS,
    ADDED,
    BACKWARDS,
    CHAIN,
    FORWARDS,
    REDUCED,
    VIEW,
    Derivation,
    Equality,
    Result,
    Step,
)
from netlang.draw.formula.element import Vocabulary, element, is_padding
from netlang.draw.formula.formula import Adjoint, Call, Element, Formula, Symbol, parts
from netlang.draw.formula.matrix import NoMatrixFormError, tensor_formula
from netlang.draw.formula.nesting import separated
from netlang.draw.formula.text import formula_text
from netlang.draw.notation import shape_label
from netlang.draw.recurrent import loops
from netlang.elaboration.modules import Module
from netlang.graph.expression import Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int
from netlang.graph.nodes import Equation, Extern, Node, Scope, View, binds_batch
from netlang.graph.recurrence import accesses
from netlang.graph.text import shape_text
from netlang.graph.traversal import bound_indices, free_indices, reads, rewrite, substitute, walk
from netlang.passes.derive import PREFIX
from netlang.passes.lift import lift
from netlang.passes.objective import objective

LOSS = "L"  # what the loss is called, where no tensor of the net has that name
LONGEST = 56  # of a formula that is written in place of an adjoint's name, in characters of text
LONGEST_STEP = 120  # of an adjoint by itself at another step


def derivation(
    graph: Graph, of: str | None = None, wrt: Sequence[str] | None = None, module: Module | None = None
) -> Derivation:
    """Differentiate a scalar of a network step by step.

    `of` is a loss, an output or another scalar tensor (by default the only loss, or else the only output); `wrt` are
    tensors (by default the parameters that it depends on, or the inputs of a net without parameters). `module` gives
    the user's own functions, to be recognised as the library's are. A graph with batch statistics is lifted, and its
    objective is the mean over the batch. Raises `no-objective`, `unknown-tensor`, `not-a-scalar`, `not-differentiable`
    and `independent`.
    """
    goal = _objective(graph, of)
    if _uses_batch(graph, goal) and not graph.lifted:
        graph = lift(graph)
        if graph[goal].shape:
            named = {f"mean of {goal}": [k for k, v in graph.losses.items() if v == goal] or [goal]}
            losses = graph.losses if goal in graph.losses.values() else {**graph.losses, goal: goal}
            graph = objective(graph.evolve(losses=losses), named)
            goal = graph.objectives[f"mean of {goal}"]
    sought = _sought(graph, goal, wrt)
    return _Writer(graph, goal, sought, Templates(module)).derivation()


def _objective(graph: Graph, of: str | None) -> str:
    roots = {**graph.outputs, **graph.losses}
    if of is None:
        choices = graph.losses or graph.outputs
        if len(choices) != 1:
            fail(
                "no-objective",
                f"`{graph.name}` has {len(choices)} {'losses' if graph.losses else 'outputs and no loss'}",
                help=f"say which to differentiate with `--of`: {listing(choices)}",
            )
        of = next(iter(choices))
    name = roots.get(of, of)
    if name not in graph.nodes:
        fail(
            "unknown-tensor",
            f"`{graph.name}` has no tensor `{of}`",
            help=nearest(of, [*roots, *graph.nodes]) or f"there are {listing(roots)}",
        )
    node = graph[name]
    if node.shape:
        fail(
            "not-a-scalar",
            f"`{of}` has shape {shape_text(node.shape)}, and only a single number has a gradient",
            node.origin.span,
            help="reduce it, as in `sum(i) ...`, or name a scalar with `--of`",
        )
    return name


def _sought(graph: Graph, goal: str, wrt: Sequence[str] | None) -> tuple[str, ...]:
    needed = graph.ancestors([goal])
    if wrt is None:
        found: Iterable[Node] = [n for n in graph.params if n.name in needed]
        found = found or [n for n in graph.inputs("input") if n.dtype == "real" and n.name in needed]
        return tuple(n.name for n in found)
    names = []
    for name in wrt:
        node = graph.outputs.get(name, name)
        if node not in graph.nodes:
            known = [n.name for n in (*graph.params, *graph.inputs("input"))]
            fail(
                "unknown-tensor",
                f"`{graph.name}` has no tensor `{name}`",
                help=nearest(name, graph.nodes) or f"there are {listing(known)}",
            )
        if node not in needed:
            fail(
                "independent",
                f"`{goal}` does not depend on `{name}`",
                graph[node].origin.span,
                help=f"it depends on {listing(n.name for n in graph if n.name in needed and n.name != goal)}",
            )
        names.append(node)
    return tuple(dict.fromkeys(names))


def _uses_batch(graph: Graph, goal: str) -> bool:
    return any(binds_batch(graph[name]) for name in graph.ancestors([goal]))


class _Writer:
    def __init__(self, graph: Graph, goal: str, sought: Sequence[str], templates: Templates) -> None:
        self.full, self.goal, self.sought = graph, goal, sought
        self.adjoints = Adjoints(graph, goal, sought, templates)
        self.graph = self.adjoints.graph
        is_loss = goal in graph.losses.values() or goal in graph.objectives.values()
        self.symbol = LOSS if is_loss and LOSS not in graph.nodes else goal
        labels = {node: name for name, node in graph.outputs.items() if name not in graph.nodes}
        labels |= {f"{n}.arg{op}": f"{n}.arg{op}" for n in graph.nodes for op in ("max", "min")}
        labels |= {goal: self.symbol, ARGUMENT: "x"}
        labels |= self.argument_labels()
        self.words, self.raw_words = (
            Vocabulary(
                g, self.symbol, self.adjoints.primal, self.adjoints.hidden, labels, self.adjoints.occurring.virtual
            )
            for g in (self.adjoints.final, self.adjoints.raw)
        )
        self.values: dict[str, Formula] = {}
        self.sequential: set[str] = set()  # adjoints that a recurrence computes
        self.recurring = self.recurrences()
        labels |= {s.outputs[0]: s.name for s in graph.scopes if self._is_view(s)}

    def _is_view(self, scope: Scope) -> bool:
        """A layer that gives another shape is called by its own name, which says what it does."""
        one = self.full.nodes.get(scope.outputs[0]) if len(scope.outputs) == 1 else None
        return (
            isinstance(one, View) and one.name not in self.full.outputs.values() and scope.name not in self.full.nodes
        )

    def argument_labels(self) -> dict[str, str]:
        """A sum that is the argument of a function is called `h.z`, as other arguments of functions are."""
        arguments = {made.tensor for made in self.adjoints.occurring.virtual.values() if made.prime}
        found = {}
        for name in arguments & self.graph.nodes.keys():
            users = self.graph.users[name]
            if len(users) == 1 and name.startswith(f"{users[0]}.") and f"{users[0]}.z" not in self.graph.nodes:
                found[name] = f"{users[0]}.z"
        return found

    def recurrences(self) -> dict[str, str]:
        """The tensors whose adjoint at a step needs one of another step, and what is said of that."""
        found: dict[str, str] = {}
        graph = self.adjoints.raw
        for loop in loops(graph.components):
            self.sequential |= loop.axes.keys() & self.adjoints.primal.keys()
            said = BACKWARDS if loop.backward else FORWARDS
            for node in loop.nodes:
                if any(a.operand in loop.axes and a.step(loop.axes) for a in accesses(node)):
                    users = [node.name, *(u for u in graph.users[node.name] if node.name in self.adjoints.hidden)]
                    found |= {self.adjoints.primal[u]: said for u in users if u in self.adjoints.primal}
        return {name: said for name, said in found.items() if name not in self.adjoints.hidden}

    def derivation(self) -> Derivation:
        results = {name: self.result(name) for name in self.adjoints.order}
        steps = self.steps(results)
        forward = self.forward()
        for result in results.values():
            self.note((result.raw, *result.forms))
        return Derivation(
            self.full.name,
            self.symbol,
            self.goal,
            tuple(self.functions()),
            tuple(forward),
            tuple(steps),
            tuple(results[name] for name in self.sought),
            self.full,
            self.words.labels,
            any(
                isinstance(e, Select) and is_padding(e, self.words)
                for node in self.adjoints.final
                if isinstance(node, Equation)
                for e in walk(node.body)
            ),
        )

    # --- forward ------------------------------------------------------------------------------------------------------

    def forward(self) -> list[tuple[str, tuple[Equality, ...]]]:
        """The equations of the network by section; parameters and inputs are not among them."""
        sections: dict[str, list[Equality]] = {}
        for node in self.graph.order:
            if isinstance(node, Equation | View | Extern) and node.name not in self.words.hidden:
                sections.setdefault(self.section(node), []).append(self.equation(node))
        return [(title, tuple(equations)) for title, equations in sections.items()]

    def section(self, node: Node) -> str:
        scope = next((s for s in self.full.scopes if s.name == node.origin.scope), None)
        if scope is None:
            return ""
        return scope.name if scope.definition == scope.name else f"{scope.name} ({scope.definition})"

    def equation(self, node: Node) -> Equality:
        shape = shape_label(node.shape)
        left = self.words.tensor(node.name)
        if isinstance(node, View):
            return Equality(left, Call("reshape", (self.words.tensor(node.operand),)), shape)
        if isinstance(node, Extern):
            return Equality(left, Call(node.operation, tuple(map(self.words.tensor, node.inputs))), shape)
        assert isinstance(node, Equation)
        return self.form(left, replace(node, body=self.adjoints.recognize(self.words.written_out(node))), {})

    def functions(self) -> list[Equality]:
        """What the library's functions that occur in the formulas are, and their derivatives."""
        found: list[Equality] = []
        described: set[str] = set()
        used = self.adjoints.occurring.used
        while waiting := [template for name, template in used.items() if name not in described]:
            for template in waiting:
                described.add(template.name)
                found += self.function(template)
            self.note(found)  # a function may be written with another one
        return found

    def function(self, template: Template) -> Iterator[Equality]:
        places = tuple(Symbol(i) for i in template.indices)
        value = Call(template.name, (Symbol("x"),))
        yield Equality(Element(value, places) if places else value, element(template.body, self.words))
        prime = derivative(template)
        if prime is not None:
            prime = self.adjoints.recognize(prime)
            words = self.adjoints.occurring.words(self.words, template)
            yield Equality(Call(template.name, (Symbol("x"),), True), element(prime, words))

    def note(self, equations: Iterable[Equality]) -> None:
        """Functions that only their sign in a formula tells of."""
        for equation in equations:
            for part in parts(equation.right):
                if isinstance(part, Call):
                    self.adjoints.occurring.note(part.name)

    # --- adjoints -----------------------------------------------------------------------------------------------------

    def result(self, name: str) -> Result:
        node = self.adjoints.raw[PREFIX + name]
        shape = shape_label(node.shape)
        left = Adjoint(self.symbol, self.words.label(name))
        sought = name in self.sought
        if isinstance(node, View):
            right: Formula = Call("reshape", (self.words.tensor(node.operand),))
            return Result(name, shape, Equality(left, right, shape), (), sought)
        assert isinstance(node, Equation)
        raw = Equality(_element(left, node), element(self.raw_words.written_out(node), self.raw_words), shape)
        forms: list[Equality] = []
        local, final = self.adjoints.local[name], self.adjoints.final[PREFIX + name]
        assert isinstance(final, Equation)
        for body, values in ((local, {}), (final.body, self.values)):
            node = replace(final, body=body)
            node = replace(final, body=self.adjoints.recognize_by_name(self.words.written_out(node)))
            form = self.form(left, node, values)
            if len(formula_text(form.right)) > LONGEST and values:
                form = self.form(left, node, {})
            if form.right not in [f.right for f in (raw, *forms)]:
                forms.append(form)
        if name in self.recurring:
            forms += self.step_to_step(name, left, final, forms[-1] if forms else raw)
        last = forms[-1] if forms else raw
        if not isinstance(last.left, Element) and len(formula_text(last.right)) <= LONGEST:
            self.values[PREFIX + name] = last.right
        return Result(name, shape, raw, tuple(forms), sought)

    def step_to_step(self, name: str, left: Formula, final: Equation, before: Equality) -> list[Equality]:
        """The adjoint at one step by itself at another: with the adjoints between them written out."""
        bodies = self.adjoints.final
        body = self.words.written_out(final)

        def change(e: Expr) -> Expr | None:
            if not isinstance(e, Read) or e.tensor == PREFIX + name or e.tensor not in self.sequential:
                return None
            known = bodies[e.tensor]
            if not isinstance(known, Equation) or isinstance(known.body, Reduce):
                return None
            inner = separated(known.body, free_indices(body) | bound_indices(body).keys())
            return substitute(inner, dict(zip(known.indices, e.indices, strict=True)))

        written = rewrite(body, change)
        if written == body or all(r.tensor != PREFIX + name for r in reads(written)):
            return []
        form = Equality(_element(left, final), element(written, self.words), before.shape)
        return [form] if len(formula_text(form.right)) <= LONGEST_STEP else []

    def form(self, left: Formula, node: Equation, values: Mapping[str, Formula]) -> Equality:
        """An equation in matrix notation where it has one, else in index notation."""
        shape = shape_label(node.shape)
        node = replace(node, body=self.words.written_out(node))
        try:
            return Equality(left, tensor_formula(node.body, node.extents, self.words, values), shape)
        except NoMatrixFormError:
            return Equality(_element(left, node), element(node.body, self.words), shape)

    # --- steps --------------------------------------------------------------------------------------------------------

    def steps(self, results: Mapping[str, Result]) -> list[Step]:
        active = self.adjoints.active
        visible = [n for n in reversed(self.graph.order) if n.name in active and n.name not in self.words.hidden]
        readers: dict[str, list[str]] = {}  # of each tensor, last first
        for node in visible:
            for operand in self.reads(node):
                readers.setdefault(operand, []).append(node.name)
        steps: list[Step] = []
        for node in visible:
            operands = [o for o in self.reads(node) if o in results]
            done = [o for o in operands if readers[o][-1] == node.name]
            if not operands:
                continue
            rules = self.rules(node)
            if any(len(readers[o]) > 1 for o in done):
                rules.append(ADDED)
            rules += dict.fromkeys(self.recurring[o] for o in done if o in self.recurring)
            steps.append(
                Step(
                    len(steps) + 1,
                    self.section(node),
                    self.equation(node),
                    tuple(self.places(node)),
                    tuple(rules),
                    tuple(results[o] for o in done),
                    tuple(self.words.label(o) for o in operands if o not in done),
                )
            )
        return steps

    def group(self, node: Node) -> list[Node]:
        """The node and the hidden nodes that it is written with."""
        found = [node]
        for part in found:
            found += [self.graph[o] for o in part.operands if o in self.words.hidden and self.graph[o] not in found]
        return found

    def reads(self, node: Node) -> list[str]:
        """The tensors that a step's equation reads and gives adjoints to."""
        names = [o for part in self.group(node) for o in part.operands]
        return [n for n in dict.fromkeys(names) if n in self.adjoints.active and n not in self.words.hidden]

    def rules(self, node: Node) -> list[str]:
        found: dict[str, None] = {}
        for part in self.group(node):
            if isinstance(part, View):
                found[VIEW] = None
            if not isinstance(part, Equation):
                continue
            body = part.body
            if isinstance(body, Reduce):
                found[REDUCED[body.op]] = None
                body = body.body
            variables = [r for r in reads(body) if r.tensor in self.adjoints.active]
            if not isinstance(part.body, Reduce) or any(r != body for r in variables):
                found[CHAIN] = None
            if any(not _is_plain(r.indices, part) for r in variables):
                found[ACCESS] = None
        return list(found)

    def places(self, node: Node) -> list[Equality]:
        """What `derive` adds to a maximum, minimum or product: the place of the extreme, the other factors."""
        found = []
        for part in self.group(node):
            for name in (f"{part.name}.argmax", f"{part.name}.argmin", f"{part.name}.others"):
                added = self.adjoints.raw.nodes.get(name)
                if isinstance(added, Equation) and name not in self.graph.nodes:
                    left = _element(Symbol(self.words.label(name)), added)
                    right = element(self.words.written_out(added), self.words)
                    found.append(Equality(left, right, shape_label(added.shape)))
        return found


def _is_plain(indices: Sequence[Int], node: Equation) -> bool:
    """True for a read at all the indices of the equation, which needs no solving."""
    bound = {**node.extents, **(dict(node.body.ranges) if isinstance(node.body, Reduce) else {})}
    bare = [place.index for place in indices]
    names = [place.name for place in bare if place is not None]
    return len(names) == len(indices) == len(set(names)) and set(names) == bound.keys()


def _element(base: Formula, node: Equation) -> Formula:
    places = tuple(Symbol(i) for i in node.indices)
    return Element(base, places) if places else base
