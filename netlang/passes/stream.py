"""From a net over a sequence to one that takes a row at a time: what is computed once, and what each step computes.

In a step the sequence ends with the row `now`: the run-time size T is `now + 1`. Which rows of a tensor over T a step
needs follows from the outputs backwards. The row `now` is a value of the step. Rows a constant number of steps back are
*kept*, in as many places as steps, which are used again in turn. Rows at places that a reduction runs over are kept
all, in a state over T, whose run-time size is then the room there is; so is the key-value cache of an attention.

A row can be kept if it is *settled*: if later rows do not change it. What is not, as the mean over all rows, and what
is computed from it, is computed from kept rows in every step; and it cannot be an output over T, nor be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from netlang.diagnostics import Span, fail, listing
from netlang.graph.constructors import conjuncts, is_zero, read, select, whole
from netlang.graph.expression import AtLeastZero, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, Size, fetch, index, integer, is_nonnegative, product, size
from netlang.graph.nodes import Equation, Input, Node, Origin, Param, State, View
from netlang.graph.sizes import Requirement, run_time_sizes
from netlang.graph.traversal import fresh, integers, rewrite, substitute, walk
from netlang.passes.rows import NOW, Body, RefusalError, without

Roles = tuple[bool, ...]  # for each dimension over T of a tensor: whether it is all rows so far, or the row `now`


@dataclass(frozen=True)
class Streamed:
    """A net over the run-time size `size`, in two lifted graphs.

    `prologue` computes what does not depend on the sequence: its outputs are inputs of the step, by the same names.
    `step` has the inputs `rows` without their dimension over T, the input `NOW`, a scalar integer, and states that it
    updates: the rows kept, which are zero at the beginning. A dimension of extent `size` in it is the room for rows; it
    must be at least `now + 1`. Outputs have the names of the net's. `limits` say how long the sequence can be.
    """

    prologue: Graph
    step: Graph
    size: str
    rows: tuple[str, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Limit:
    """The sequence has at most `room // each` rows; `room` may name other run-time sizes."""

    room: Int
    each: int
    span: Span | None


def stream(graph: Graph, over: str | None = None) -> Streamed:
    """The parts of a lifted inference graph, for its outputs.

    `over` names the run-time size; by default it is the one of the outputs, else of the inputs. Updates of states are
    left out: a state is what it is at the beginning. Raises the diagnostics `no-stream` where there is no such size, or
    the net has something over it that no step can compute, and `not-causal` where a row of an output depends on later
    ones.
    """
    if not graph.outputs:
        fail("no-stream", f"`{graph.name}` has no output to stream", help="add a line `output name`")
    graph = graph.prune(graph.outputs.values())
    name = _size(graph, over)
    return Step(_without_padding(graph, Size(name)), name).run()


def _size(graph: Graph, over: str | None) -> str:
    inputs = run_time_sizes(n for n in graph if isinstance(n, Input))
    outputs = run_time_sizes(graph[name] for name in graph.outputs.values())
    if over is not None:
        if over not in inputs:
            fail("no-stream", f"no input of `{graph.name}` has the run-time size `{over}`", help=_there_are(inputs))
        return over
    for found in (outputs, inputs):
        if len(found) == 1:
            return found[0]
    if inputs:
        fail(
            "no-stream",
            f"`{graph.name}` has the run-time sizes {listing(inputs)}: one of them is what it streams over",
            help=f"say which one: `over={inputs[0]!r}`",
        )
    fail(
        "no-stream",
        f"`{graph.name}` has no run-time size to stream over",
        help="give an input one: `input x[T, 3]`",
    )


def _there_are(sizes: Sequence[str]) -> str:
    return f"its run-time sizes are {listing(sizes)}" if sizes else "its inputs have none: `input x[T, 3]` has one"


class Step:
    """Makes the nodes of the step as they are asked for."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name, self.length = graph, name, size(name)
        self.varying = graph.descendants(node.name for node in graph if _mentions(node, Size(name)))
        self.nodes: dict[str, Node] = {}
        self.updates: dict[str, str] = {}
        self.limits: dict[tuple[Int, int], Limit] = {}
        self.made: dict[tuple[object, ...], str] = {}
        self.refused: dict[tuple[object, ...], RefusalError] = {}

    def run(self) -> Streamed:
        outputs: dict[str, str] = {}
        try:
            for requirement in self.graph.requirements:
                self.require(requirement)
            for name, node in self.graph.outputs.items():
                outputs[name] = self.output(self.graph[node])
        except RefusalError as refused:
            fail(refused.code, refused.message, refused.span, help=refused.help)
        self.nodes[NOW] = Input(NOW, (), "int", Origin(None), "clock", self.length)
        step = Graph.build(self.graph.name, self.nodes.values(), outputs=outputs, updates=self.updates, lifted=True)
        step = step.prune([*step.outputs.values(), *self._needed_updates(step)])
        once = [n.name for n in step if isinstance(n, Input) and not isinstance(self.graph.nodes.get(n.name), Input)]
        once = [name for name in once if name != NOW]
        prologue = self.graph.evolve(outputs={n: n for n in once}, losses={}, metrics={}, updates={}, initial={})
        rows = tuple(n.name for n in self.graph if isinstance(n, Input) and n.name in self.varying & step.nodes.keys())
        return Streamed(prologue.prune(once), step, self.name, rows, tuple(self.limits.values()))

    def _needed_updates(self, step: Graph) -> list[str]:
        """The next values of the states that the outputs need, and of those that these need."""
        needed = step.ancestors(step.outputs.values())
        while True:
            following = [value for state, value in step.updates.items() if state in needed]
            more = step.ancestors([*needed, *following])
            if more == needed:
                return following
            needed = more

    def require(self, requirement: Requirement) -> None:
        """Note how long a sequence the net allows; refuse what it does not allow from the beginning."""
        for part in conjuncts(requirement.condition):
            values = [value for inner in walk(part) for value in integers(inner)]
            if not any(Size(self.name) in value.atoms() for value in values):
                continue
            value = part.value if isinstance(part, AtLeastZero) else self.length * self.length
            each = value.coefficient(Size(self.name))
            room = value - each * self.length
            if Size(self.name) in room.atoms() or (each > 0 and not is_nonnegative(room + each)):
                raise RefusalError(
                    "no-stream",
                    f"not for every number of rows: {requirement.text()}",
                    requirement.span,
                    f"what is streamed begins with a sequence of one row, `{self.name} = 1`",
                )
            if each < 0:
                self.limit(room, -each, requirement.span)

    def limit(self, room: Int, each: int, span: Span | None) -> None:
        """Note that the sequence has at most `room // each` rows."""
        self.limits.setdefault((room, each), Limit(room, each, span))

    def output(self, node: Node) -> str:
        dimensions = self.over(node)
        return self.node(node.name, (False, *(True for _ in dimensions[1:])) if dimensions else (), bool(dimensions))

    # --- nodes ---

    def over(self, node: Node) -> list[int]:
        """The dimensions over T of a node."""
        found = [k for k, extent in enumerate(node.shape) if extent == self.length]
        for k, extent in enumerate(node.shape):
            if k not in found and Size(self.name) in extent.atoms():
                raise RefusalError(
                    "no-stream",
                    f"`{node.name}` has {extent} places for a sequence of {self.name}",
                    node.origin.span,
                    f"a tensor that is streamed has one row for each: `{self.name}` places",
                )
        return found

    def node(self, name: str, roles: Roles, settled: bool) -> str:
        """The node of the step for these rows of a node of the net.

        Without `settled` it may depend on how long the sequence is so far; where that need not be, it is settled.
        """
        if name not in self.varying:
            return self.fixed(self.graph[name])
        key = (name, roles, True)
        if key in self.made:
            return self.made[key]
        if key not in self.refused:
            before = dict(self.made), dict(self.nodes), dict(self.updates), dict(self.limits)
            try:
                return self._once(key, name, roles, True)
            except RefusalError as refused:
                self.refused[key] = refused
                self.made, self.nodes, self.updates, self.limits = before
        if settled:
            raise self.refused[key]
        return self._once((name, roles, False), name, roles, False)

    def _once(self, key: tuple[object, ...], name: str, roles: Roles, settled: bool) -> str:
        if key not in self.made:
            self._make(key, self.graph[name], roles, settled)
        return self.made[key]

    def _make(self, key: tuple[object, ...], node: Node, roles: Roles, settled: bool) -> None:
        if isinstance(node, Equation | Input) and settled and roles == (True,):
            self.made[key] = self.kept_rows(node)
            return
        made = self.made[key] = self.unused(f"{node.name}.rows" if roles and all(roles) else node.name)
        dimensions = dict(zip(self.over(node), roles, strict=True))
        shape = tuple(n for k, n in enumerate(node.shape) if dimensions.get(k, True))
        if isinstance(node, Equation):
            self.nodes[made] = Body(self, node, dimensions, settled).equation(made, shape)
        elif isinstance(node, View):
            operand = self.node(node.operand, self.behind(node, roles), settled)
            self.nodes[made] = View(made, shape, node.dtype, node.origin, operand)
        elif isinstance(node, Input) and roles == (False,):
            self.nodes[made] = replace(node, shape=shape)
        else:
            raise RefusalError(
                "no-stream",
                f"`{node.name}` is not known row by row",
                node.origin.span,
                f"what is given for a step is one row of an input `x[{self.name}, ...]`",
            )

    def behind(self, view: View, roles: Roles) -> Roles:
        """The roles of the dimensions over T of what a view shows; what is between them must be viewed by itself."""
        operand = self.graph[view.operand]
        one, other = (self._between(node) for node in (view, operand))
        if one != other:
            raise RefusalError(
                "no-stream",
                f"`{view.name}` puts the rows of `{operand.name}` together",
                view.origin.span,
                f"keep `{self.name}` as a dimension of its own",
            )
        return roles

    def _between(self, node: Node) -> list[Int]:
        """How many elements there are in the dimensions before, between and after those over T."""
        ends = [-1, *self.over(node), len(node.shape)]
        return [product(node.shape[a + 1 : b]) for a, b in pairwise(ends)]

    def fixed(self, node: Node) -> str:
        """A node that does not depend on the sequence: an input, from the prologue where it is computed."""
        if node.name not in self.nodes:
            known = isinstance(node, Param | State | Input) or (isinstance(node, Equation) and not node.operands)
            self.nodes[node.name] = node if known else Input(node.name, node.shape, node.dtype, node.origin)
        return node.name

    def unused(self, name: str) -> str:
        taken = {**self.nodes, **dict.fromkeys(self.made.values())}
        return name if name not in taken and name in self.graph.nodes else fresh(name, {**taken, **self.graph.nodes})

    # --- what is kept ---

    def kept_rows(self, node: Node) -> str:
        """All rows so far, the row `now` among them."""
        return self._ring(node, f"{node.name}.rows", self.length)[1]

    def kept_back(self, node: Node, steps: int, present: bool) -> tuple[str, int]:
        """A tensor with the last rows, and in how many places; without `present` those before the row `now`.

        A tensor of one place has no dimension for it.
        """
        if steps == 1 and not present:
            key = (node.name, "before")
            if key not in self.made:
                self.made[key] = self.unused(f"{node.name}.before")
                (dimension,) = self.over(node)
                shape = without(node.shape, dimension)
                self.nodes[self.made[key]] = State(self.made[key], shape, node.dtype, node.origin)
                self.updates[self.made[key]] = self.node(node.name, (False,), True)
            return self.made[key], 1
        places = steps + present
        old, new = self._ring(node, f"{node.name}.last{places}", integer(places))
        return (new if present else old), places

    def _ring(self, node: Node, base: str, places: Int) -> tuple[str, str]:
        """The state that holds rows, each at its number modulo the places, before and after the row `now` is there."""
        key = (base, "state")
        if key not in self.made:
            old, new = self.made[key], self.made[base, "next"] = self.unused(base), self.unused(f"{base}.next")
            (dimension,) = self.over(node)
            shape = tuple(places if k == dimension else n for k, n in enumerate(node.shape))
            self.nodes[old] = State(old, shape, node.dtype, node.origin)
            self.updates[old] = new
            row = self.node(node.name, (False,), True)
            names = tuple(f"i{k}" for k in range(len(shape)))
            at = tuple(index(name) for name in names)
            now = fetch(NOW, (), self.length)
            here = is_zero(at[dimension] - (now % places.constant if places.is_constant else now))
            body = select(here, _element(node, row, without(at, dimension)), _element(node, old, at))
            self.nodes[new] = Equation(new, shape, node.dtype, node.origin, names, body)
        return self.made[key], self.made[base, "next"]


def _without_padding(graph: Graph, length: Size) -> Graph:
    """The graph with tensors of another number of rows, as `T + 2`, written into what reads them, where they can be."""
    nodes = dict(graph.nodes)

    def padding(name: str) -> Equation | None:
        node = nodes[name]
        if not isinstance(node, Equation) or isinstance(node.body, Reduce) or node.dtype != "real":
            return None
        return node if any(length in n.atoms() and n.single != length for n in node.shape) else None

    def inside(e: Expr) -> Expr | None:
        node = padding(e.tensor) if isinstance(e, Read) else None
        if node is None or not isinstance(e, Read):
            return None
        return substitute(node.body, dict(zip(node.indices, e.indices, strict=True)))

    for node in graph.order:
        if isinstance(node, Equation) and node.name not in node.operands and any(map(padding, node.operands)):
            body = node.body
            if isinstance(body, Reduce):
                body = Reduce(body.op, body.ranges, rewrite(body.body, inside))
            else:
                body = rewrite(body, inside)
            nodes[node.name] = replace(node, body=body)
    return graph.evolve(nodes.values()).prune(graph.outputs.values())


def _mentions(node: Node, wanted: Size) -> bool:
    values = [*node.shape, *([node.classes] if isinstance(node, Input) and node.classes is not None else [])]
    if isinstance(node, Equation):
        values += [value for part in walk(node.body) for value in integers(part)]
    return any(wanted in value.atoms() for value in values)


def _element(node: Node, tensor: str, at: tuple[Int, ...]) -> Expr:
    return whole(fetch(tensor, at, integer(1 << 62))) if node.dtype == "int" else read(tensor, *at)
