"""What a network costs: parameters, multiply-adds, activation memory and receptive field, for each layer and in all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeGuard

from netlang.graph.constructors import conjuncts
from netlang.graph.expression import Apply, Expr, IsZero, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Index, Int, Modulo
from netlang.graph.nodes import BATCH, Equation, Extern, Node, Scope
from netlang.graph.sizes import chosen_sizes, settled
from netlang.graph.traversal import walk
from netlang.passes.derive import PREFIX, derive
from netlang.passes.objective import NAME, objective
from netlang.passes.receptive import Fields, receptive_fields

FLOAT32 = 4  # bytes

# applications that training or measuring needs and inference does not
_BESIDE_THE_NETWORK = frozenset({"loss", "metric", "penalty", "optimizer", "schedule", "initializer"})

_REDUCTIONS = frozenset({"sum", "prod", "max", "min", "argmax", "argmin", "search"})


@dataclass(frozen=True)
class LayerCost:
    """One application of a definition; the last row is what the net itself says in equations.

    Applications inside another (`parent`, "" for the net) have rows of their own and are not counted again.
    `macs` are multiply-adds of contractions for one example (`backward_macs`: those of the derived equations, None
    where no derived graph was given); `activations` counts the elements of the tensors that the definition names, for
    one example. `shared` names the layer that holds its parameters where an instance is applied again.
    """

    name: str
    layer: str
    kind: str
    parent: str
    depth: int
    output_shape: tuple[int | str, ...]
    parameters: int
    macs: int
    backward_macs: int | None
    activations: int
    receptive_field: Fields
    shared: str = ""

    @property
    def activation_bytes(self) -> int:
        """Activation memory in float32."""
        return FLOAT32 * self.activations


@dataclass(frozen=True)
class Cost:
    """The costs of a network's layers, in order of application; `states` counts the elements kept between calls.

    `sizes` are the run-time sizes that the numbers are for.
    """

    net: str
    layers: tuple[LayerCost, ...]
    states: int
    sizes: Mapping[str, int]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def backward_macs(self) -> int | None:
        known = [layer.backward_macs for layer in self.layers if layer.backward_macs is not None]
        return sum(known) if known else None

    @property
    def activations(self) -> int:
        return sum(layer.activations for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Activation memory in float32."""
        return FLOAT32 * self.activations


def with_gradients(graph: Graph) -> Graph:
    """The graph with the gradients of all losses by all parameters, whose multiply-adds `cost` counts too."""
    graph = objective(graph)
    return derive(graph, graph.objectives[NAME], [p.name for p in graph.params])


def cost(graph: Graph, derived: Graph | None = None, sizes: Mapping[str, int] | None = None) -> Cost:
    """The costs of one example's inference.

    `graph` is the network of one example, as elaborated for inference; `derived`, the graph that holds its adjoints,
    gives the multiply-adds of the backward pass. `sizes` gives run-time sizes other than the batch; what it leaves out
    is as small as the network allows. Raises `NetlangError` (`size-unknown`, `requirement`) for sizes that do not fit.
    """
    chosen = chosen_sizes(graph, graph.requirements, sizes)
    known = {BATCH: 1, **chosen}
    rows = _Rows(graph)
    needed = graph.ancestors([*graph.outputs.values(), *graph.losses.values()] or graph.nodes)
    counts = _counts(rows, needed, known)
    backward = None
    if derived is not None:
        adjoints = [n for n in derived if n.name.startswith(PREFIX)]
        backward = _tally((_carried_through(rows, derived, n), multiply_adds(n, known)) for n in adjoints)
    fields = receptive_fields(graph, known)
    layers = []
    for scope in rows.scopes:
        parameters, macs, activations = (count.get(scope.name) for count in counts)
        unused = parameters is None and macs is None and activations is None
        if unused and (scope.name == "" or scope.kind in _BESIDE_THE_NETWORK):
            continue
        output = rows.output(scope, needed)
        layers.append(
            LayerCost(
                name=scope.name or graph.name,
                layer=scope.definition,
                kind=scope.kind,
                parent=scope.parent,
                depth=rows.depth(scope),
                output_shape=() if output is None else tuple(_extent(extent, sizes or {}) for extent in output.shape),
                parameters=parameters or 0,
                macs=macs or 0,
                backward_macs=None if backward is None else backward.get(scope.name, 0),
                activations=activations or 0,
                receptive_field={} if output is None else fields[output.name],
                shared=scope.owner if parameters is None and scope.owner in counts[0] else "",
            )
        )
    return Cost(graph.name, tuple(layers), sum(elements(s, known) for s in graph.states), chosen)


def _extent(extent: Int, sizes: Mapping[str, int]) -> int | str:
    """An extent as a number, or as text where a size in it was not given."""
    known = settled([extent], sizes)
    return str(extent) if known is None else known[0]


def _counts(rows: _Rows, needed: set[str], sizes: Mapping[str, int]) -> tuple[dict[str, int], ...]:
    """Parameters, multiply-adds and activations by row."""
    graph = rows.graph
    computed = [n for n in graph if n.name in needed and isinstance(n, Equation | Extern) and rows.counted(n)]
    return (
        _tally((rows.holder(p), elements(p, sizes)) for p in graph.params),
        _tally((rows.row(n), multiply_adds(n, sizes)) for n in computed),
        _tally((rows.row(n), elements(n, sizes)) for n in computed if not _is_part(graph, n)),
    )


def elements(node: Node, sizes: Mapping[str, int]) -> int:
    """The number of elements of a tensor."""
    return prod(extent.evaluate(sizes) for extent in node.shape)


def multiply_adds(node: Node, sizes: Mapping[str, int]) -> int:
    """Multiply-adds of a contraction; 0 for anything else.

    They are the places of the iteration space. Reads outside count (padding is multiplied too), but of the places that
    exact division skips, as in a transposed convolution, only the share that divides, and of the rows of a table only
    those that are read: the gradient of a lookup.
    """
    if not isinstance(node, Equation) or not is_contraction(node.body):
        return 0
    places = elements(node, sizes) * prod(extent.evaluate(sizes) for _, extent in node.body.ranges)
    zeros = _zeros(node.body.body)
    rows = prod(node.extents[name].evaluate(sizes) for name in _looked_up(node, zeros))
    return -(-places // (rows * prod(_divisors(zeros))))


def _looked_up(node: Equation, zeros: Iterable[Int]) -> set[str]:
    """Indices that integer tensors say: of each such equation one."""
    lookups = [value for value in zeros if any(value.fetches())]
    said = ([i for i in node.indices if abs(value.coefficient(Index(i))) == 1] for value in lookups)
    return {names[0] for names in said if names}


def _zeros(e: Expr) -> set[Int]:
    """What guards want to be zero."""
    guards = (part.condition for part in walk(e) if isinstance(part, Select) and not _read_factors(part.otherwise))
    return {c.value for guard in guards for c in conjuncts(guard) if isinstance(c, IsZero)}


def _divisors(zeros: Iterable[Int]) -> list[int]:
    """The divisors of remainders that are zero."""
    atoms = {atom for value in zeros for atom in value.atoms() if len(value.terms) == 1}
    return [atom.divisor for atom in atoms if isinstance(atom, Modulo)]


def is_contraction(body: Expr) -> TypeGuard[Reduce]:
    """True for a sum of a product of at least two reads, guards aside."""
    return isinstance(body, Reduce) and body.op == "sum" and _read_factors(body.body) >= 2


def _read_factors(e: Expr) -> int:
    """The number of reads that are multiplied, looking through guards."""
    if isinstance(e, Read):
        return 1
    if isinstance(e, Select):
        return max(_read_factors(e.then), _read_factors(e.otherwise))
    if isinstance(e, Apply) and e.op == "mul":
        return sum(_read_factors(factor) for factor in e.args)
    return 0


class _Rows:
    """Which application each node is counted under.

    A function applied inside a layer is counted under the layer. What belongs to no application is the net's own.
    """

    def __init__(self, graph: Graph) -> None:
        net = Scope("", graph.name, "net", "", "", (), tuple(graph.outputs.values()), None)
        self.graph = graph
        self.by_name = {"": net} | {scope.name: scope for scope in graph.scopes}
        self.scopes = (*self._within(""), net)

    def row(self, node: Node) -> str:
        return self._fold(self.by_name.get(node.origin.scope, self.by_name[""]))

    def holder(self, node: Node) -> str:
        """The row of a parameter: its owner's, the first application of a shared instance."""
        scope = node.origin.scope
        if scope in self.by_name:
            return self.row(node)
        return next((s.name for s in self.scopes if s.owner == scope), "")

    def counted(self, node: Node) -> bool:
        scope = self.by_name.get(node.origin.scope, self.by_name[""])
        return not any(s.kind in _BESIDE_THE_NETWORK for s in self._chain(scope))

    def depth(self, scope: Scope) -> int:
        return len(self._chain(scope)) - 1

    def output(self, scope: Scope, needed: set[str]) -> Node | None:
        """The tensor that the application gives."""
        present = [self.graph[name] for name in scope.outputs if name in needed]
        own = [n for n in self.graph if n.name in needed and n.origin.scope == scope.name]
        return next(iter(present), own[-1] if own else None)

    def _within(self, parent: str) -> Iterator[Scope]:
        """The rows inside a scope, each before those inside it."""
        for scope in self.graph.scopes:
            if self.by_name.get(scope.parent, self.by_name[""]).name == parent:
                if self._fold(scope) == scope.name:
                    yield scope
                yield from self._within(scope.name)

    def _chain(self, scope: Scope) -> list[Scope]:
        """The scope and those around it, inside the net."""
        chain = []
        while scope.name:
            chain.append(scope)
            scope = self.by_name.get(scope.parent, self.by_name[""])
        return chain

    def _fold(self, scope: Scope) -> str:
        while scope.kind == "fn" and scope.parent:
            scope = self.by_name.get(scope.parent, self.by_name[""])
        return scope.name


def _is_part(graph: Graph, node: Node) -> bool:
    """True for a reduction split off an equation (`y.sum` of `y`): computed on the way, not a tensor of the text."""
    whole, _, last = node.name.rpartition(".")
    return last.rstrip("0123456789") in _REDUCTIONS and whole in graph.nodes and graph[whole].origin == node.origin


def _carried_through(rows: _Rows, derived: Graph, adjoint: Node) -> str:
    """The row of the layer that an adjoint goes back through: that of the adjoint which it reads.

    The adjoint of a layer's input is a tensor of the layer before, but the work is this layer's.
    """
    behind = [derived[name] for name in adjoint.operands if name.startswith(PREFIX)]
    return rows.row(behind[0] if behind else adjoint)


def _tally(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for name, count in counts:
        total[name] = total.get(name, 0) + count
    return total
