"""The Program: what a graph becomes before code; buffers, and kernels in order, each a nest of loops. Target-neutral.

A kernel's statements are loops, guards, named scalars and stores. Expressions in them are those of the graph, and
`Local`, a scalar that the kernel named before; an integer scalar is an index of its name. A read through a view keeps
the view's shape and reaches the buffer behind it.

Several threads may run a program together. Each goes through every kernel, where `Share` and `Alone` say who does what;
these end for all threads when everything in them is done, so that what comes next finds it. The loops and guards around
them each thread follows by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, get_args

from netlang.graph.expression import Condition, Expr, Read
from netlang.graph.integer import ONE, ZERO, Int, product, row_major
from netlang.graph.nodes import Origin
from netlang.graph.traversal import tensor_reads


@dataclass(frozen=True)
class Buffer:
    """Memory of a program. `kind` is input, param, state, output (all owned by the caller), kept, temporary or scratch.

    What is kept stays from run to run. Temporaries live in an arena from kernel `first` to kernel `last`; those with
    equal `slot` share one place because each takes over from the one before it, element by element. Scratch is what
    one kernel works in; of `private` scratch each thread has its own, so many elements `apart`; where that is 0 at run
    time, all have the same. `dtype` is real, int, or byte: a temporary's int that is below 256.
    """

    name: str
    shape: tuple[Int, ...]
    dtype: str
    kind: str
    first: int = 0
    last: int = 0
    slot: str = ""
    apart: Int | None = None

    @property
    def private(self) -> bool:
        return self.apart is not None

    @property
    def elements(self) -> Int:
        return product(self.shape)

    def itemsize(self, real: int) -> int:
        """The bytes of an element, where a real takes so many."""
        return {"int": 8, "byte": 1}.get(self.dtype, real)


@dataclass(frozen=True)
class Tensor:
    """What a read or a store names: a shape over a buffer's elements in row-major order, or a random node.

    `source` is the node whose elements they are (a view's operand), which may live in the `buffer` of another, as the
    next value of a parameter. `draws` is the distribution of a random node, which has no memory. What is `kept` is the
    same in all runs until somebody changes a parameter (see `kept`).
    """

    name: str
    source: str
    buffer: str
    shape: tuple[Int, ...]
    dtype: str
    draws: str = ""
    passing: int = -1
    kept: bool = False

    @property
    def extents(self) -> tuple[Int, ...]:
        """How many places of each dimension are in memory."""
        return tuple(ONE if k == self.passing else extent for k, extent in enumerate(self.shape))

    @property
    def strides(self) -> tuple[Int, ...]:
        extents = self.extents
        return tuple(ZERO if k == self.passing else product(extents[k + 1 :]) for k in range(len(extents)))

    def place(self, indices: Iterable[Int]) -> Int:
        """The row-major place of an element."""
        return row_major((ZERO if k == self.passing else i for k, i in enumerate(indices)), self.extents)


# --- expressions and statements ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Local(Expr):
    """A real scalar that the kernel has named."""

    name: str

    @property
    def key(self) -> str:  # type: ignore[override]
        return f"%{self.name}"


@dataclass(frozen=True)
class Assign:
    """`name = value`, a scalar of the kernel (an accumulator where `Combine` follows)."""

    name: str
    dtype: str
    value: Expr


@dataclass(frozen=True)
class Combine:
    """`name = op(name, value)` for a reduction's op (sum, prod, max or min)."""

    name: str
    op: str
    value: Expr


@dataclass(frozen=True)
class Extreme:
    """Where `value` is more extreme than `best` (argmax, argmin), or the first NaN: `best, name = value, place`."""

    name: str
    best: str
    op: str
    value: Expr
    place: Int


@dataclass(frozen=True)
class Search:
    """`name` is the first `index` in range(extent) where `value` is above 0, else the last one.

    Found by bisection: the value does not decrease with the index.
    """

    name: str
    index: str
    extent: Int
    value: Expr


@dataclass(frozen=True)
class Store:
    """`tensor[indices] = value`, or `op(tensor[indices], value)` where there is an `op`."""

    tensor: str
    indices: tuple[Int, ...]
    value: Expr
    op: str = ""


@dataclass(frozen=True)
class Guard:
    """The statements, where the condition holds."""

    condition: Condition
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Loop:
    """`for index in range(max(starts), min(stops))`."""

    index: str
    starts: tuple[Int, ...]
    stops: tuple[Int, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Share:
    """The statements for each part of `extent` units: from the index `first` to before `last`, multiples of `grain`.

    No part has less than a grain, unless it is empty or the only one. A thread may have several parts, of not less than
    `least` units each; where that is 0, it has one.
    """

    first: str
    last: str
    extent: Int
    grain: int
    body: tuple[Statement, ...]
    least: int = 0


@dataclass(frozen=True)
class Once:
    """Statements in a `Share`, which each thread does for itself with the first part that it takes."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Alone:
    """The statements, by one thread."""

    body: tuple[Statement, ...]


LANES = 16  # of a vector, on most machines
PANELS = (16, 32)  # lanes that a product works on together
NARROW = 4  # lanes beyond the last full vector, of which a vector has several turns
SUMS = 28  # vectors that a product keeps in registers


@dataclass(frozen=True)
class Step:
    """A summed loop of a product: as many turns as the least of `counts`, and how far each moves in the factors."""

    counts: tuple[Int, ...]
    left: Int
    right: Int


@dataclass(frozen=True)
class Pack:
    """A copy of a factor in panels: `target[panel, turns of steps, lane in panel]`.

    `panel` is how many lanes a panel has, `source` the element of the first lane and the first turn; the least of
    `lanes` is how many lanes there are, `lane` how far apart. Of a step, `left` is how far it moves in the target, and
    `right` in the source; the order of the steps does not matter. The first panel is written from lane `to` on;
    the panels are those from lane `first` on. They begin at the element `at` of the target.
    """

    target: str
    to: Int
    panel: int
    source: Read
    lanes: tuple[Int, ...]
    lane: Int
    steps: tuple[Step, ...]
    first: Int = ZERO
    at: Int = ZERO

    @property
    def elements(self) -> Int:
        """How many elements the panels have."""
        lanes = (self.lanes[0] + (self.panel - 1)) // self.panel * self.panel
        return lanes * product(step.counts[0] for step in self.steps)


@dataclass(frozen=True)
class Multiply:
    """`target[r, l] = sum(steps) left * right` for rows r and lanes l of all panels, by register tiles.

    `target` is a matrix, scratch or a view of a result, which is written from row `first` and lane `to` on; the least
    of `rows` is how many there are. Of few rows, whole panels are written where the matrix has room for them. `left` is
    the element of row 0 and the first turn of the steps, for all lanes; rows are `row` apart. `right` is the first
    element of panels of `panel` of the `lanes` each that `Pack` has made with the same steps; the first panel is that
    of lane `lane`. Where `turn` is not 0, it is the element of lane 0 and the first turn in a matrix: lanes lie side by
    side, with room for full vectors, and each turn is `turn` behind the one before. Where `start` is not 0, the sum is
    added to the target. Rows of a target that `is_far` come from afar, each from a page of its own. A panel of `NARROW`
    wants a last step of 1 of the left factor.
    """

    target: str
    first: Int
    rows: tuple[Int, ...]
    left: Read
    row: Int
    right: Read
    panel: int
    lanes: Int
    steps: tuple[Step, ...]
    start: Int
    to: Int = ZERO
    lane: Int = ZERO
    turn: Int = ZERO
    is_far: bool = False


@dataclass(frozen=True)
class Dot:
    """`target[r, l] = sum(steps) left * right` for few rows, with both factors where they are.

    `left` is the element of row 0 and `right` that of lane 0, at the first turn of the steps; rows are `row` apart, and
    lanes `lane`. Either that is 1, or else the last step is, in both factors. The lanes go into the target from lane
    `first` on.
    """

    target: str
    rows: Int
    left: Read
    row: Int
    right: Read
    lane: Int
    lanes: Int
    steps: tuple[Step, ...]
    first: Int = ZERO


@dataclass(frozen=True)
class Turn:
    """`target[l, r] = source[r, l]` for `rows` rows from row `first` of the source on, and for `lanes` lanes.

    Both are scratch matrices; the target is written from row `to` on.
    """

    target: str
    to: Int
    source: str
    first: Int
    rows: tuple[Int, ...]
    lanes: Int


@dataclass(frozen=True)
class Transform:
    """The elements of one or two dimensions, times a matrix in each of them, for each lane.

    `target[n, l] = sum(p, q) A[s, p] * B[t, q] * source[p, q, l]`, where n counts the places (s, t). The matrices have
    `sizes` of rows and columns, which say which they are (see `netlang.schedule.winograd.interpolation`). `source` is
    the element with p, q and l zero; `moves` are the distances of the next p and q, `lane` that of the next lane. `to`
    is the place in the target of the first result; the results of the next place are `apart`, lanes side by side. The
    least of `lanes` is how many there are; but for filters, those up to the end of the last vector are written too.
    """

    target: str
    to: tuple[Int, ...]
    apart: Int
    source: Read
    moves: tuple[Int, ...]
    lane: Int
    lanes: tuple[Int, ...]
    sizes: tuple[tuple[int, int], ...]


def transform_name(sizes: Iterable[tuple[int, int]]) -> str:
    """The name of a function that transforms."""
    return "_".join(("transform", *(f"{rows}x{columns}" for rows, columns in sizes)))


Block = Pack | Multiply | Dot | Turn | Transform
Nested = Guard | Loop | Share | Once | Alone
"""What has statements inside."""
Statement = Assign | Combine | Extreme | Search | Store | Nested | Block
Body = tuple[Statement, ...]


# --- kernels -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contraction:
    """The roles of the indices of a sum of products, for later choices of tiles: `C[batch, left, right]`.

    `batch` indices are in both of the first two factors, `left` and `right` in one of them, `summed` are reduced.
    """

    factors: tuple[Expr, Expr]
    batch: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]
    summed: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """A sum of products, known by its sizes and by how its factors lie in memory; and how it may be tiled.

    `tilings` are by rising cost, as the model says it; `taken` is the one that the kernel has.
    """

    key: str
    tilings: tuple[str, ...]
    taken: str


@dataclass(frozen=True)
class Kernel:
    """A loop nest that computes one or more nodes; `sources` are their definitions, each with where it comes from.

    `ranges` is the space of output elements, `extents` the extent of every index of the nest. `kind` is elementwise,
    reduction or contraction. `flat` says that the one loop runs over all elements, whatever their number is.
    `same_place` names buffers that are read, but only where the kernel stores, and before it does. `work` is about how
    many cycles of a processor it takes. `problems` are the sums of products in it that are tiled.
    """

    name: str
    kind: str
    ranges: tuple[tuple[str, Int], ...]
    extents: Mapping[str, Int]
    body: tuple[Statement, ...]
    sources: tuple[tuple[str, Origin], ...]
    flat: bool = False
    contraction: Contraction | None = None
    same_place: frozenset[str] = frozenset()
    work: Int = ZERO
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Program:
    """Buffers, and the kernels that fill them in order.

    `prepared` are kernels that come before, and fill what is kept: only where parameters have changed, those that are
    `copied`. `outputs` maps each root to the tensor that holds it; `sizes` and `keys` are the run-time sizes and the
    random nodes whose keys a run needs, in the order of the slots of the target's table.
    """

    name: str
    buffers: Mapping[str, Buffer]
    tensors: Mapping[str, Tensor]
    kernels: tuple[Kernel, ...]
    outputs: Mapping[str, Tensor]
    sizes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    prepared: tuple[Kernel, ...] = ()
    copied: tuple[str, ...] = ()

    def of_kind(self, *kinds: str) -> tuple[Buffer, ...]:
        return tuple(b for b in self.buffers.values() if b.kind in kinds)

    @property
    def temporaries(self) -> tuple[Buffer, ...]:
        """The buffers that lie in the arena."""
        return self.of_kind("temporary", "scratch")


def alone(program: Program, kernel: Kernel) -> Program:
    """A program of one kernel of another, all of whose memory is temporary."""
    touched = {program.tensors[tensor].buffer for tensor, _, _ in accesses(kernel.body)}
    buffers = {
        name: replace(buffer, kind="scratch" if buffer.kind == "scratch" else "temporary", first=0, last=0, slot=name)
        for name, buffer in program.buffers.items()
        if name in touched
    }
    nothing = MappingProxyType[str, Tensor]({})
    return replace(program, buffers=MappingProxyType(buffers), prepared=(), kernels=(kernel,), outputs=nothing)


def outlined(program: Program) -> Program:
    """What a program is to those who run its code: buffers, outputs, and of each kernel how much work it is."""

    def bare(kernel: Kernel) -> Kernel:
        return replace(
            kernel,
            ranges=(),
            extents={},
            body=(),
            sources=(),
            contraction=None,
            same_place=frozenset(),
            problems=(),
        )

    kernels, prepared = tuple(map(bare, program.kernels)), tuple(map(bare, program.prepared))
    buffers, outputs = dict(program.buffers), dict(program.outputs)
    return replace(program, buffers=buffers, tensors={}, kernels=kernels, outputs=outputs, prepared=prepared)


# --- traversal -----------------------------------------------------------------------------------------------------


def statements(body: Iterable[Statement]) -> Iterator[Statement]:
    """Every statement, outermost first."""
    for statement in body:
        yield statement
        if isinstance(statement, Nested):
            yield from statements(statement.body)


def expressions(statement: Statement) -> tuple[Expr | Condition, ...]:
    """The expressions and conditions directly in a statement."""
    if isinstance(statement, Assign | Combine | Extreme | Search | Store):
        return (statement.value,)
    if isinstance(statement, Pack | Transform):
        return (statement.source,)
    if isinstance(statement, Multiply | Dot):
        return (statement.left, statement.right)
    return (statement.condition,) if isinstance(statement, Guard) else ()


def places(statement: Statement) -> tuple[Int, ...]:
    """The integer expressions directly in a statement."""
    if isinstance(statement, Store):
        return statement.indices
    if isinstance(statement, Extreme):
        return (statement.place,)
    if isinstance(statement, Search):
        return (statement.extent,)
    if isinstance(statement, Block):
        return tuple(n for name in _FIELDS[type(statement)] for n in _integers(getattr(statement, name)))
    if isinstance(statement, Share):
        return (statement.extent,)
    return (*statement.starts, *statement.stops) if isinstance(statement, Loop) else ()


def accesses(body: Iterable[Statement]) -> Iterator[tuple[str, tuple[Int, ...], bool]]:
    """Every access: the tensor's name, the indices, and whether it is a store; a store's value comes before it."""
    for statement in statements(body):
        for root in expressions(statement):
            yield from ((tensor, indices, False) for tensor, indices in tensor_reads(root))
        for value in places(statement):
            yield from ((fetch.tensor, fetch.indices, False) for fetch in value.fetches())
        if isinstance(statement, Store):
            yield statement.tensor, statement.indices, True
        elif isinstance(statement, Transform):
            yield statement.target, statement.to, True
        elif isinstance(statement, Block):
            if isinstance(statement, Turn):
                yield statement.source, (ZERO, ZERO), False
            yield statement.target, (ZERO, ZERO), True


def rewrite_statements(
    body: Iterable[Statement],
    expr: Callable[[Expr], Expr],
    condition: Callable[[Condition], Condition],
    ints: Callable[[Int], Int],
) -> tuple[Statement, ...]:
    """The statements with every expression, condition and integer expression mapped; loop indices stay."""

    def one(s: Statement) -> Statement:
        if isinstance(s, Assign):
            return Assign(s.name, s.dtype, expr(s.value))
        if isinstance(s, Combine):
            return Combine(s.name, s.op, expr(s.value))
        if isinstance(s, Extreme):
            return Extreme(s.name, s.best, s.op, expr(s.value), ints(s.place))
        if isinstance(s, Search):
            return Search(s.name, s.index, ints(s.extent), expr(s.value))
        if isinstance(s, Store):
            return Store(s.tensor, tuple(map(ints, s.indices)), expr(s.value), s.op)
        if isinstance(s, Guard):
            return Guard(condition(s.condition), tuple(map(one, s.body)))
        if isinstance(s, Block):
            return type(s)(*(_with_integers(getattr(s, name), ints) for name in _FIELDS[type(s)]))
        if isinstance(s, Share):
            return replace(s, extent=ints(s.extent), body=tuple(map(one, s.body)))
        if isinstance(s, Once | Alone):
            return type(s)(tuple(map(one, s.body)))
        return Loop(s.index, tuple(map(ints, s.starts)), tuple(map(ints, s.stops)), tuple(map(one, s.body)))

    return tuple(map(one, body))


_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in get_args(Block)}


def _integers(value: object) -> Iterator[Int]:
    """The integer expressions in a field of a block, those aside that say which element is read."""
    if isinstance(value, Int):
        yield value
    elif isinstance(value, Step):
        yield from (*value.counts, value.left, value.right)
    elif isinstance(value, tuple):
        for each in value:
            yield from _integers(each)


def _with_integers(value: Any, ints: Callable[[Int], Int]) -> Any:
    """What a field of a block holds, with every integer expression mapped."""
    if isinstance(value, Int):
        return ints(value)
    if isinstance(value, Read):
        return Read(value.tensor, tuple(map(ints, value.indices)))
    if isinstance(value, Step):
        return Step(tuple(map(ints, value.counts)), ints(value.left), ints(value.right))
    if isinstance(value, tuple):
        return tuple(_with_integers(each, ints) for each in value)
    return value
