"""The pass `derive`: backpropagation, by three rules on equations.

For `Y[I] = f(... X[a(I, R)] ...)` and the adjoint `d/Y`, the derivative of the objective by `Y`:

1. the scalar chain rule gives the partial derivative of the body by each read of `X` (`partials`);
2. a sum broadcasts its adjoint; a max or a min routes it to its first extreme; a product gives each factor the product
   of the others;
3. the access is turned inside out, so that `d/X[J]` gathers from every place that reads `X[J]` (`invert`).

The sweep treats each node once, so the result is linear in the size of the network. Nothing here knows what a layer is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from netlang.diagnostics import InternalError, fail, nearest
from netlang.graph.constructors import add, every, is_zero, mul, read, reduce, select
from netlang.graph.expression import ONE, ZERO, Expr, Read, Reduce
from netlang.graph.graph import Graph, reached
from netlang.graph.integer import Int, fetch, index, place_in, product
from netlang.graph.nodes import BATCH, Equation, Extern, Node, View, is_batched
from netlang.graph.traversal import fresh, reads, substitute
from netlang.graph.traversal import replace as exchange
from netlang.passes.invert import collapse, invert
from netlang.passes.partials import partials, real_reads

PREFIX = "d/"  # of the names of adjoints


def derive(graph: Graph, objective: str, wrt: Sequence[str]) -> Graph:
    """Add the adjoints `d/NODE` of what lies between `wrt` and the scalar node `objective`.

    `graph.gradients` names the adjoint of each node in `wrt`; where the objective does not depend on it, that is a
    zero of its shape. Nodes on no path from `wrt` to the objective get no adjoint. Raises `not-a-scalar` for an
    objective with dimensions, `unknown-tensor` and `not-differentiable` for a node in `wrt`.
    """
    _check(graph, objective, wrt)
    sweep = _Sweep(graph, objective, wrt)
    return graph.evolve(sweep.nodes(), gradients={**graph.gradients, **{name: sweep.adjoint[name] for name in wrt}})


def _check(graph: Graph, objective: str, wrt: Iterable[str]) -> None:
    for name in (objective, *wrt):
        if name not in graph.nodes:
            fail("unknown-tensor", f"`{graph.name}` has no tensor `{name}`", help=nearest(name, graph.nodes))
        if graph[name].dtype != "real":
            fail(
                "not-differentiable",
                f"`{name}` holds integers, which have no derivative",
                graph[name].origin.span,
                help="differentiate by a real tensor",
            )
    if graph[objective].shape:
        fail(
            "not-a-scalar",
            f"`{objective}` is not a single number, so it has no gradient",
            graph[objective].origin.span,
            help="reduce it, as in `sum(i) ...`",
        )


def differentiable_operands(node: Node) -> list[str]:
    """The operands through whose values the node varies, once each."""
    if node.dtype != "real":
        return []
    if isinstance(node, Equation):
        body = node.body.body if isinstance(node.body, Reduce) else node.body
        return list(dict.fromkeys(real_reads(body)))
    return list(node.operands)


@dataclass
class _Contributions:
    """What an adjoint is the sum of: elementwise terms and terms that need a node of their own."""

    inlined: list[Expr] = field(default_factory=list)
    separate: list[Node] = field(default_factory=list)  # their names are given when they are all known


class _Sweep:
    def __init__(self, graph: Graph, objective: str, wrt: Sequence[str]) -> None:
        self.graph = graph
        self.objective = objective
        self.taken = dict.fromkeys(graph.nodes)
        self.helpers: list[Node] = []
        self.extremes: dict[str, str] = {}
        self.active = _between(graph, wrt, objective)
        backward = [node for node in reversed(list(graph)) if node.name in self.active or node.name in wrt]
        self.order = backward
        self.adjoint = {node.name: self._name(PREFIX + node.name) for node in backward}
        self.places = {node.name: _place_names(graph, node) for node in backward}
        self.contributions = {node.name: _Contributions() for node in backward}

    def _name(self, base: str) -> str:
        name = fresh(base, self.taken)
        self.taken[name] = None
        return name

    def nodes(self) -> list[Node]:
        """The nodes of the graph, followed by the adjoints from the objective back to the sources."""
        for node in self.order:
            if node.name in self.active:
                self._propagate(node)
        adjoints = [a for node in self.order for a in self._adjoint(node)]
        return [*self.graph, *self.helpers, *adjoints]

    # --- from the adjoint of a node to contributions to the adjoints of its operands ----------------------------------

    def _propagate(self, node: Node) -> None:
        if isinstance(node, View):
            if node.operand in self.active:
                source = self.graph[node.operand]
                view = View("", source.shape, "real", source.origin, self.adjoint[node.name])
                self.contributions[source.name].separate.append(view)
        elif isinstance(node, Equation) and node.dtype == "real":
            for variable, partial, ranges in self._partials(node):
                self._contribute(node, variable, partial, ranges)
        elif isinstance(node, Extern) and any(name in self.active for name in node.inputs):
            fail(
                "not-differentiable",
                f"the operation `{node.operation}` has no derivative",
                node.origin.span,
                help="register one with the operation, or do not train what lies before it",
            )

    def _partials(self, node: Equation) -> list[tuple[Read, Expr, tuple[tuple[str, Int], ...]]]:
        """Rules 1 and 2: each read, the partial derivative of the node by it, and the ranges of the reduction."""
        body = node.body
        if not isinstance(body, Reduce):
            own = Read(node.name, node.places)
            return [(v, p, ()) for v, p in partials(body, self.active.__contains__, own).items()]
        inner = partials(body.body, self.active.__contains__)
        if not inner:
            return []
        if body.op == "sum":
            return [(v, p, body.ranges) for v, p in inner.items()]
        if body.op in ("max", "min"):
            extent = product(n for _, n in body.ranges)
            first = fetch(self._first_extreme(node, body), node.places, extent)
            chosen = is_zero(first - place_in(body.ranges))
            return [(v, select(chosen, p, ZERO), body.ranges) for v, p in inner.items()]
        if body.op == "prod":
            others = Read(self._others(node, body), (*node.places, *(index(i) for i, _ in body.ranges)))
            return [(v, mul(others, p), body.ranges) for v, p in inner.items()]
        raise InternalError("`derive`", f"node `{node.name}`: the reduction `{body.op}` of real type")

    def _first_extreme(self, node: Equation, body: Reduce) -> str:
        """The node of the place of the first extreme, one for each max or min."""
        if node.name not in self.extremes:
            name = self._name(f"{node.name}.arg{body.op}")
            self.extremes[node.name] = name
            self.helpers.append(
                replace(node, name=name, dtype="int", body=Reduce(f"arg{body.op}", body.ranges, body.body))
            )
        return self.extremes[node.name]

    def _others(self, node: Equation, body: Reduce) -> str:
        """The node of the products of all factors but one; a product divided by the factor fails at zero."""
        name = self._name(f"{node.name}.others")
        taken = {*node.indices, *(i for i, _ in body.ranges)}
        inner: dict[str, Int] = {}
        ranges: list[tuple[str, Int]] = []
        for i, extent in body.ranges:
            other = fresh(i, taken)
            taken.add(other)
            inner[i] = index(other)
            ranges.append((other, extent))
        same = every(is_zero(index(i) - inner[i]) for i, _ in body.ranges)
        factors = Reduce("prod", tuple(ranges), select(same, ONE, substitute(body.body, inner)))
        shape = (*node.shape, *(extent for _, extent in body.ranges))
        indices = (*node.indices, *(i for i, _ in body.ranges))
        self.helpers.append(Equation(name, shape, "real", node.origin, indices, factors))
        return name

    def _contribute(self, node: Equation, variable: Read, partial: Expr, ranges: Sequence[tuple[str, Int]]) -> None:
        """Rule 3: what the operand receives through one read."""
        operand = self.graph[variable.tensor]
        places = self.places[operand.name]
        outer = dict(zip(places, operand.shape, strict=True))
        own = {**node.extents, **dict(ranges)}
        # the equation's indices are renamed out of the way of the operand's
        moved = {i: f"{i}'" for i in own}
        moves = {i: index(j) for i, j in moved.items()}
        solved = invert(
            [i.substitute(moves) for i in variable.indices],
            [index(j) for j in places],
            {moved[i]: extent for i, extent in own.items()},
            outer,
        )
        term = mul(Read(self.adjoint[node.name], node.places), partial)
        here = Read(operand.name, tuple(index(j) for j in places))
        term = exchange(substitute(term, moves), cast(Read, substitute(variable, moves)), here)
        term = select(solved.guard, substitute(term, solved.values), ZERO)
        left, term = collapse(solved.ranges, term, outer)
        if term == ZERO:
            return
        renamed: dict[str, str] = {}
        for i in left:
            renamed[i] = fresh(i.split("'")[0], [*places, *renamed.values()])
        term = substitute(term, {i: index(j) for i, j in renamed.items()})
        into = self.contributions[operand.name]
        if left:
            summed = reduce("sum", [(renamed[i], extent) for i, extent in left.items()], term)
            into.separate.append(Equation("", operand.shape, "real", operand.origin, places, summed))
        else:
            into.inlined.append(term)

    # --- the adjoint as the sum of its contributions ------------------------------------------------------------------

    def _adjoint(self, node: Node) -> list[Node]:
        """The node `d/NODE`, after the nodes of the contributions that need their own."""
        name, places = self.adjoint[node.name], self.places[node.name]
        parts = self.contributions[node.name]
        seed = [ONE] if node.name == self.objective else []
        if len(parts.separate) == 1 and not parts.inlined and not seed:
            return [replace(parts.separate[0], name=name)]
        separate = [replace(part, name=self._name(f"{name}.{k}")) for k, part in enumerate(parts.separate, 1)]
        terms = [read(part.name, *(index(i) for i in places)) for part in separate]
        total = add(*seed, *parts.inlined, *terms)
        return [*separate, Equation(name, node.shape, "real", node.origin, places, total)]


def _between(graph: Graph, wrt: Iterable[str], objective: str) -> set[str]:
    """The nodes on a path of real values from `wrt` to the objective."""
    before: dict[str, list[str]] = {node.name: differentiable_operands(node) for node in graph}
    after: dict[str, list[str]] = {name: [] for name in before}
    for name, operands in before.items():
        for operand in operands:
            after[operand].append(name)
    return reached([objective], before.__getitem__) & reached(wrt, after.__getitem__)


def _place_names(graph: Graph, node: Node) -> tuple[str, ...]:
    """Names for the indices of the adjoint: those of the equation, else those by which the tensor is read first."""
    if isinstance(node, Equation):
        return node.indices
    chosen: list[str] = []
    used = _first_read(graph, node.name)
    for k in range(len(node.shape)):
        bare = used.indices[k].index if used is not None else None
        base = bare.name if bare is not None else BATCH if k == 0 and is_batched(node) else f"i{k}"
        chosen.append(fresh(base, chosen))
    return tuple(chosen)


def _first_read(graph: Graph, name: str) -> Read | None:
    for user in graph.users[name]:
        node = graph[user]
        if isinstance(node, Equation):
            for found in reads(node.body):
                if found.tensor == name:
                    return found
    return None
