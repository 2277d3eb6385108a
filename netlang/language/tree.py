"""The syntax tree: what the parser makes of a `.net` file, one frozen node for each construct, each with its span.

Spans do not take part in comparison, so two texts that differ in layout only have equal trees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netlang.diagnostics import Span


@dataclass(frozen=True, kw_only=True)
class Tree:
    span: Span = field(compare=False, repr=False)


# --- expressions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number(Tree):
    """A literal as written; `value` is an `int` where the text has neither a point nor an exponent."""

    value: int | float
    text: str = field(compare=False)


@dataclass(frozen=True)
class Text(Tree):
    value: str


@dataclass(frozen=True)
class Boolean(Tree):
    value: bool


@dataclass(frozen=True)
class Name(Tree):
    """A plain name, or a dotted path into instances: `conv_1.W`."""

    id: str


@dataclass(frozen=True)
class Rest(Tree):
    """The `...` of a dimension list, an index list or a reduction: all the dimensions not named."""


@dataclass(frozen=True)
class Unary(Tree):
    op: str  # "-" or "not"
    operand: Expression


@dataclass(frozen=True)
class Binary(Tree):
    op: str  # + - * / // % ^ @ == != < <= > >= and or
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Conditional(Tree):
    """`then if condition else otherwise`."""

    then: Expression
    condition: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Guarded(Tree):
    """`body else otherwise`: the second where a read in the first falls outside its tensor."""

    body: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Subscript(Tree):
    """`base[i, j + 1, ...]`."""

    base: Expression
    indices: tuple[Expression, ...]


@dataclass(frozen=True)
class Argument(Tree):
    name: str | None
    value: Expression


@dataclass(frozen=True)
class Call(Tree):
    """`name(a, key=b)`; what `name` is (function, layer, loss, instance) is decided by elaboration."""

    callee: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class IndexRange(Tree):
    """An index where it is introduced, `i` or `i < n`, or the rest (`name` is `"..."`)."""

    name: str
    extent: Expression | None


@dataclass(frozen=True)
class Reduction(Tree):
    """`sum(i < n, j) body`; `op` is one of sum, mean, prod, max, min, argmax, argmin."""

    op: str
    indices: tuple[IndexRange, ...]
    body: Expression


@dataclass(frozen=True)
class Pipeline(Tree):
    """`source -> stage -> stage`; each stage is a `Name`, a `Call` or a `Subscript` (`stage[k]`)."""

    source: Expression
    stages: tuple[Expression, ...]


@dataclass(frozen=True)
class ListLiteral(Tree):
    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Interval(Tree):
    """`first..last`, both ends included; only after `for ... in`."""

    first: Expression
    last: Expression


Expression = (
    Number
    | Text
    | Boolean
    | Name
    | Rest
    | Unary
    | Binary
    | Conditional
    | Guarded
    | Subscript
    | Call
    | Reduction
    | Pipeline
    | ListLiteral
    | Interval
)


# --- statements ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassType(Tree):
    """`class(n)`: an integer from 0 to n - 1."""

    count: Expression


@dataclass(frozen=True)
class Declared(Tree):
    """One declared tensor: `W[units, d]: class(k) ~ he_normal if bias`; `dims` is None for a scalar (no brackets)."""

    name: str
    dims: tuple[Expression, ...] | None
    type: ClassType | None
    init: Expression | None
    condition: Expression | None


@dataclass(frozen=True)
class Declaration(Tree):
    kind: str  # input, target, param, state, noise
    items: tuple[Declared, ...]


@dataclass(frozen=True)
class Assign(Tree):
    """`a = value`, or `a, b = value` for a layer that returns several tensors."""

    names: tuple[Name, ...]
    value: Expression


@dataclass(frozen=True)
class Equation(Tree):
    """`y[k < n, i, ...] = value`."""

    name: Name
    indices: tuple[IndexRange, ...]
    value: Expression


@dataclass(frozen=True)
class Update(Tree):
    """`mu <- value when condition`: the next value of a state (or, in an optimizer, of the weight)."""

    name: Name
    value: Expression
    condition: Expression | None


@dataclass(frozen=True)
class Objective(Tree):
    """`output x`, `output y = expr`, `loss expr`, `metric name = expr`; `output a, b` makes one of these for each."""

    kind: str  # output, loss, metric
    name: Name | None
    value: Expression


@dataclass(frozen=True)
class Require(Tree):
    condition: Expression
    message: Text


@dataclass(frozen=True)
class Return(Tree):
    values: tuple[Expression, ...]


@dataclass(frozen=True)
class For(Tree):
    name: Name
    iterable: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Setting(Tree):
    """A line of a `train` section: `optimizer sgd(lr=0.1)`, `batch 64`, `penalty l2(1e-4) over conv_1.W`."""

    keyword: Name
    values: tuple[Expression, ...]
    over: tuple[Name, ...]


@dataclass(frozen=True)
class Minimize(Tree):
    """`minimize d_loss over D with adam(lr=2e-4)` in a `train` section; `optimizer` is None where `with` is absent."""

    loss: Name
    over: tuple[Name, ...]
    optimizer: Expression | None


Statement = Declaration | Assign | Equation | Update | Objective | Require | Return | For | Setting | Minimize


# --- definitions and files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter(Tree):
    """A parameter of a definition: `x[c, h, w]`, `y: class(C)`, `units`, `bias=true`."""

    name: str
    dims: tuple[Expression, ...] | None
    type: ClassType | None
    default: Expression | None


@dataclass(frozen=True)
class Definition(Tree):
    """A top-level definition. A one-line `fn f(x) = e` has the body `(Return((e,)),)` and `inline` set.

    `kind` is one of net, layer, fn, loss, metric, optimizer, schedule, penalty, initializer, train; a `train` section
    has the name of the net it trains.
    """

    kind: str
    name: Name
    parameters: tuple[Parameter, ...]
    doc: Text | None
    body: tuple[Statement, ...]
    inline: bool


@dataclass(frozen=True)
class Import(Tree):
    path: Text


@dataclass(frozen=True)
class Comment(Tree):
    """A `# ...` comment; `alone` where nothing else stands on its line."""

    text: str
    alone: bool


@dataclass(frozen=True)
class File(Tree):
    imports: tuple[Import, ...]
    definitions: tuple[Definition, ...]
    comments: tuple[Comment, ...] = field(compare=False)
