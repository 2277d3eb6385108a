"""Random networks as text, for property tests: `network(Seeded(7))` is always the same one, `networks()` shrinks.

Every network is well conditioned, so that what two targets compute can be compared to rounding: inputs and parameters
are of the order of 1, each tensor carries a bound of its magnitude, and what may grow past `LARGE` is squashed. The
functions used are smooth or piecewise smooth on the values that they meet.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

from netlang.elaboration.modules import Module, module_from_text
from netlang.graph.nodes import BATCH, Input, Param, State
from netlang.passes.lift import lift
from netlang.runtime.model import Model

LARGE = 6.0  # the bound from which a value is squashed
ELEMENTS = 48  # of a tensor, at most
POINTS = 2000  # of the index space of an equation, at most
WIDE = 24  # times as many, in networks with a long dimension

T = TypeVar("T")
Scope = Mapping[str, int]  # the extents of the indices in scope
Array = np.ndarray[Any, Any]


class Choices(Protocol):
    """Where a generator takes its decisions from."""

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""


class Seeded:
    """Decisions that follow from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def whole(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


@dataclass(frozen=True)
class Drawn:
    """Decisions drawn by Hypothesis, which knows how to make a failing network smaller."""

    draw: st.DrawFn

    def whole(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))


@dataclass(frozen=True)
class Network:
    """A network as text. `statistics`: examples depend on each other through the batch; `noise`: it draws numbers."""

    text: str
    equations: int
    statistics: bool
    noise: bool

    @cached_property
    def module(self) -> Module:
        return module_from_text(self.text)

    def model(self, without: Sequence[str] = ()) -> Model:
        return Model(self.module, self.module.nets()[0], without=tuple(without))

    def arrays(self, batch: int, seed: int = 0, **sizes: int) -> dict[str, Array]:
        """Values of inputs, targets, parameters and states, exact in float32 too; reals are float64."""
        rng = np.random.default_rng(seed)
        arrays: dict[str, Array] = {}
        sizes[BATCH] = batch
        for node in lift(self.model().training):
            if isinstance(node, Input | Param | State):
                shape = tuple(extent.evaluate(sizes) for extent in node.shape)
                if isinstance(node, Input) and node.classes is not None:
                    arrays[node.name] = rng.integers(0, node.classes.evaluate(sizes), shape)
                else:
                    arrays[node.name] = rng.uniform(-1, 1, shape).astype(np.float32).astype(np.float64)
        return arrays

    def __repr__(self) -> str:
        return f"\n{self.text}"


def network(choices: Choices, equations: int = 30) -> Network:
    """A random network of at most that many equations, not counting losses."""
    return _Generator(choices).network(equations)


@st.composite
def networks(draw: st.DrawFn, equations: int = 10) -> Network:
    return network(Drawn(draw), equations)


# --- what a network is made of --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Real:
    """A tensor of real numbers of at most `bound` in magnitude."""

    name: str
    shape: tuple[int, ...]
    bound: float = 1.0


@dataclass(frozen=True)
class Whole:
    """A tensor of whole numbers below `classes`."""

    name: str
    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True)
class Term:
    """The text of an expression, closed (it can stand as a factor), and a bound of its magnitude."""

    text: str
    bound: float


# A function of one number, written with `{0}`, and a bound of its value for arguments of at most a given magnitude.
FUNCTIONS: tuple[tuple[str, Callable[[float], float]], ...] = (
    ("tanh({0})", lambda b: 1),
    ("sin({0})", lambda b: 1),
    ("cos(2 * {0})", lambda b: 1),
    ("erf({0})", lambda b: 1),
    ("sigmoid({0})", lambda b: 1),
    ("softplus({0})", lambda b: b + 1),
    ("exp(-{0}^2)", lambda b: 1),
    ("exp(sin({0}))", lambda b: 3),
    ("log(1 + {0}^2)", lambda b: b),
    ("log(1.5 + cos({0}))", lambda b: 1),
    ("sqrt({0}^2 + 0.5)", lambda b: b + 1),
    ("({0}^2 + 0.5)^-0.5", lambda b: 1.5),
    ("({0}^2 + 0.5)^0.7", lambda b: b**1.4 + 1),
    ("(2 + sin({0}))^cos({0})", lambda b: 3),
    ("abs({0})", lambda b: b),
    ("relu({0})", lambda b: b),
    ("max({0}, 0.1)", lambda b: b + 1),
    ("min(0.3, {0})", lambda b: b),
    ("({0} if {0} > 0.1 else 0.2 * {0})", lambda b: b),
    ("leaky_relu({0}, 0.1)", lambda b: b),
    ("(log({0}) if {0} > 0.1 else {0})", lambda b: b + 2.3),
    ("(1 / {0} if abs({0}) > 0.2 else {0})", lambda b: 5),
    ("(sqrt({0}) if {0} > 0.05 else 0)", lambda b: b + 1),
    ("elu({0})", lambda b: b + 1),
    ("swish({0})", lambda b: b),
    ("gelu({0})", lambda b: b),
    ("hard_sigmoid(3 * {0})", lambda b: 1),
    ("softsign({0})", lambda b: 1),
    ("{0}^2", lambda b: b**2),
    ("{0}^3", lambda b: b**3),
    ("(-{0})", lambda b: b),
    ("(1 - {0})", lambda b: b + 1),
    ("({0} / 3)", lambda b: b / 3),
    ("({0} / (1 + {0}^2))", lambda b: 0.5),
    ("sign({0} + 0.05)", lambda b: 1),
)

# Of two numbers.
OPERATORS: tuple[tuple[str, Callable[[float, float], float]], ...] = (
    ("{0} + {1}", lambda a, b: a + b),
    ("{0} - {1}", lambda a, b: a + b),
    ("{0} * {1}", lambda a, b: a * b),
    ("{0} * {1}", lambda a, b: a * b),
    ("{0} / (1.5 + {1}^2)", lambda a, b: a),
    ("{0} / (2 + sin({1}))", lambda a, b: a),
    ("max({0}, {1})", max),
    ("min({0}, {1})", max),
    ("({0} if {0} > {1} else {1} * {1})", lambda a, b: max(a, b * b)),
    ("({0} - {1})^2", lambda a, b: (a + b) ** 2),
    ("{0} * {0} - {1}", lambda a, b: a * a + b),
    ("{0} + {0} + 0.5 * {1}", lambda a, b: 2 * a + b),
)

LAYERS = """
layer affine(x[d], n):
    param W[n, d] ~ xavier, b[n] ~ zeros
    return W @ x + b

loss probe(y[...]) = mean(...) sin(3 * y[...] + 1)
    "A number that depends on every element of a tensor, and on each differently."
"""


class _Generator:
    """One network in the making."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.lines: list[str] = []
        self.reals: list[Real] = []
        self.wholes: list[Whole] = []
        self.instances: list[tuple[str, int, int]] = []  # name, extent of the input, extent of the output
        self.unread: dict[str, None] = {}
        self.count = 0
        self.statistics = self.noise = False
        self.extents = [self.whole(1, 5) for _ in range(3)]
        self.elements, self.points = ELEMENTS, POINTS
        if self.chance(20):  # long enough for whole vectors and a rest
            self.extents[-1] = self.whole(6, 40)
            self.elements, self.points = WIDE * ELEMENTS, WIDE * POINTS

    # --- decisions ---

    def whole(self, low: int, high: int) -> int:
        return self.choices.whole(low, high)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.whole(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """True that often; what is simpler should be the answer False."""
        return self.whole(0, 99) >= 100 - percent

    def extent(self) -> int:
        return self.whole(1, 5) if self.chance(20) else self.pick(self.extents)

    def shape(self, least: int = 0, most: int = 3) -> tuple[int, ...]:
        while True:
            shape = tuple(self.extent() for _ in range(self.whole(least, most)))
            if prod(shape) <= self.elements:
                return shape

    def real(self, least: int = 0, most: int = 4) -> Real | None:
        """A tensor with a rank in that range; rather a late one than an early one."""
        fitting = [t for t in self.reals if least <= len(t.shape) <= most]
        if not fitting:
            return None
        late = self.chance(50)
        chosen = self.pick(fitting[-4:] if late else fitting)
        self.unread.pop(chosen.name, None)
        return chosen

    def name(self, letter: str = "v") -> str:
        self.count += 1
        return f"{letter}{self.count}"

    # --- the network ---

    def network(self, equations: int) -> Network:
        for _ in range(self.whole(1, 3)):
            self.given("input", self.shape())
        self.given("param", self.shape())
        wanted = self.whole(1, equations)
        made = 0
        while made < wanted:
            made += self.pick(_KINDS)(self)
        self.roots()
        head = "net Random:\n" + "".join(f"    {line}\n" for line in self.lines)
        return Network(head + LAYERS, made, self.statistics, self.noise)

    def given(self, kind: str, shape: tuple[int, ...]) -> Real:
        tensor = Real(self.name({"input": "x", "param": "w", "target": "t"}[kind]), shape)
        drawn = self.pick(["", " ~ normal(0, 1)", " ~ xavier", " ~ uniform(-1, 1)"]) if kind == "param" else ""
        self.lines.append(f"{kind} {tensor.name}{_brackets(shape)}{drawn}")
        if kind != "target":
            self.reals.append(tensor)
        return tensor

    def labels(self, classes: int, shape: tuple[int, ...]) -> Whole:
        tensor = Whole(self.name("y"), shape, classes)
        kind = self.pick(["input", "target"])
        self.lines.append(f"{kind} {tensor.name}{_brackets(shape)}: class({classes})")
        self.wholes.append(tensor)
        return tensor

    def define(self, text: str, shape: tuple[int, ...], bound: float, ranges: Scope | None = None) -> int:
        """Add `v = text`, or `v[ranges] = text`; what may be large is squashed."""
        name = self.name()
        if bound > LARGE:
            text, bound = self.squashed(text, bound)
        written = ", ".join(f"{i} < {n}" for i, n in ranges.items()) if ranges else ""
        self.lines.append(f"{name}[{written}] = {text}" if written else f"{name} = {text}")
        self.reals.append(Real(name, shape, bound))
        self.unread[name] = None
        return 1

    def squashed(self, text: str, bound: float) -> tuple[str, float]:
        form = self.pick(["tanh({0})", "sin({0})", "softsign({0})", "scaled"])
        if form == "scaled":
            return f"({text}) * {1 / bound:.3g}", 1.1
        return form.format(f"{3 / bound:.3g} * ({text})" if bound > 30 else f"({text})"), 1.0

    def roots(self) -> None:
        late = [t for t in self.reals if t.name in self.unread][-6:] or self.reals[-1:]
        outputs = late[-self.whole(1, 3) :]
        losses = [self.loss(tensor) for tensor in late]
        named = [f"l{k} = {loss}" for k, loss in enumerate(losses)] if len(losses) > 1 else losses
        self.lines.append(f"output {', '.join(t.name for t in outputs)}")
        self.lines += [f"loss {loss}" for loss in named]

    def loss(self, tensor: Real) -> str:
        kinds = ["probe", "mse", "huber"]
        if len(tensor.shape) == 1 and tensor.shape[0] > 1:
            kinds += ["cross_entropy", "squared_hinge", "svm"]
        kind = self.pick(kinds)
        if kind == "probe":
            return f"probe({tensor.name})" if self.chance(70) else f"0.5 * probe({tensor.name}) + 0.1"
        if kind in ("mse", "huber"):
            return f"{kind}({tensor.name}, {self.given('target', tensor.shape).name})"
        (classes,) = tensor.shape
        known = [w for w in self.wholes if w.classes == classes and not w.shape]
        label = self.pick(known) if known else self.labels(classes, ())
        return f"{kind}({tensor.name}, {label.name})"

    # --- expressions inside an equation ---

    def term(self, scope: Scope, depth: int = 0) -> Term:
        """A scalar expression over the indices in scope."""
        kind = self.whole(0, 9) if depth < 2 else 0
        if kind <= 3:
            return self.read(scope)
        if kind == 4:
            return self.applied(self.term(scope, depth + 1))
        if kind <= 6:
            return self.combined(self.term(scope, depth + 1), self.term(scope, depth + 1))
        if kind == 7:
            then, otherwise = self.term(scope, depth + 1), self.term(scope, depth + 1)
            condition = self.condition(scope)
            return Term(f"({then.text} if {condition} else {otherwise.text})", max(then.bound, otherwise.bound))
        if kind == 8 and scope:
            i, n = self.pick(list(scope.items()))
            inner = self.term(scope, depth + 1)
            return Term(f"((0.5 * {i} - 1) * {inner.text})", max(1.0, n / 2) * inner.bound)
        return self.reduction(scope, depth + 1)

    def applied(self, inner: Term) -> Term:
        form, bound = self.pick(FUNCTIONS)
        return Term(f"({form.format(inner.text)})", bound(inner.bound))

    def combined(self, first: Term, second: Term) -> Term:
        form, bound = self.pick(OPERATORS)
        return Term(f"({form.format(first.text, second.text)})", bound(first.bound, second.bound))

    def reduction(self, scope: Scope, depth: int) -> Term:
        ranges = self.ranges(scope, 1, 2)
        inner = {**scope, **ranges}
        op = self.pick(["sum", "mean", "max", "min", "prod"])
        body = self.term(inner, depth)
        if self.chance(50):
            other = self.read(inner)
            body = Term(f"({body.text} * {other.text})", body.bound * other.bound)
        count = prod(ranges.values())
        if op == "prod" and (count > 6 or self.chance(60)):  # factors of about 1, lest the product is large or tiny
            body = Term(f"(1 + 0.3 * sin({body.text}))", 1.3)
        bound = {"sum": count * body.bound, "prod": min(30.0, max(1.0, body.bound)) ** count}.get(op, body.bound)
        written = ", ".join(f"{i} < {n}" for i, n in ranges.items())
        return Term(f"({op}({written}) {body.text})", bound)

    def ranges(self, scope: Scope, least: int, most: int) -> dict[str, int]:
        """New indices with their extents; the whole index space stays small."""
        free = [i for i in "ijklmpqr" if i not in scope]
        ranges: dict[str, int] = {}
        for i in free[: self.whole(least, most)]:
            n = self.extent()
            if prod(scope.values()) * prod(ranges.values()) * n > self.points:
                n = 1
            ranges[i] = n
        return ranges

    def condition(self, scope: Scope) -> str:
        kind = self.whole(0, 6)
        if kind <= 2 and scope:
            i, n = self.pick(list(scope.items()))
            j = self.pick(list(scope))
            c = self.whole(0, max(0, n - 1))
            form = self.pick(
                ["{i} < {c}", "{i} == {c}", "{i} % 2 == 0", "{i} >= {j}", "{i} != {j}", "2*{i} - {j} > {c}"]
            )
            return form.format(i=i, j=j, c=c)
        if kind == 3 and self.wholes:
            label = self.fetched(scope)
            if label is not None:
                text, classes = label
                other = self.pick([*scope, str(self.whole(0, classes - 1))])
                return f"{text} {self.pick(['==', '!=', '<', '>='])} {other}"
        if kind == 4:
            return f"{self.condition(scope)} {self.pick(['and', 'or'])} {self.condition(scope)}"
        if kind == 5:
            return f"not ({self.condition(scope)})"
        first, op = self.read(scope).text, self.pick(["<", ">", "<=", ">="])
        return f"{first} {op} {self.read(scope).text if self.chance(50) else 0.1}"

    # --- reads ---

    def read(self, scope: Scope, of: Real | None = None, depth: int = 0) -> Term:
        """A read of a tensor somewhere, with an alternative where it may be outside."""
        tensor = of or self.real()
        assert tensor is not None
        places, inside = [], True
        for n in tensor.shape:
            place, known = self.place(scope, n)
            places.append(place)
            inside = inside and known
        text = f"{tensor.name}[{', '.join(places)}]" if places else tensor.name
        if inside:
            return Term(text, tensor.bound)
        if depth < 1 and self.chance(30):
            other = self.read(scope, depth=depth + 1)
        else:
            value = self.pick(["0", "0", "1", "-0.5"])
            other = Term(value, 1.0)
        return Term(f"({text} else {other.text})", max(tensor.bound, other.bound))

    def place(self, scope: Scope, n: int) -> tuple[str, bool]:
        """An index into a dimension of extent `n`, and whether it is surely inside."""
        fitting = [i for i, m in scope.items() if m == n]
        shorter = [i for i, m in scope.items() if m <= n]
        kind = self.whole(0, 13)
        if kind <= 5 and fitting:
            return self.pick(fitting), True
        if kind <= 6 and shorter:
            return self.pick(shorter), True
        if kind == 7 and shorter:
            return f"{n - 1} - {self.pick(shorter)}", True
        if kind == 8 and self.wholes:
            label = self.fetched(scope)
            if label is not None:
                text, classes = label
                return text, classes <= n
        if not scope:
            return str(self.whole(0, n - 1)), True
        i, j = self.pick(list(scope)), self.pick(list(scope))
        if kind == 9:
            return f"({i} + {j}) % {n}", True
        if kind == 10:
            d = self.whole(2, 3)
            return f"{i} // {d}", (scope[i] - 1) // d < n
        if kind == 11:
            form = self.pick(["{i} / {d}", "({i} + {c}) / {d}", "({i} - {j}) / {d}"])
            return form.format(i=i, j=j, c=self.whole(0, 2), d=self.whole(2, 3)), False
        if kind == 12:
            a, b, c = self.whole(1, 3), self.whole(1, 2), self.whole(0, 2)
            return (f"{a}*{i} + {b}*{j} - {c}" if i != j else f"{a}*{i} - {c}"), False
        if kind == 13:
            form = self.pick(["({i} + {j}) // 2", "(2*{i} + {j}) // 3", "({i} - 1) % {n}", "{i} + {j} - 1"])
            return form.format(i=i, j=j, n=n), False
        return str(self.whole(0, n - 1)), True

    def fetched(self, scope: Scope) -> tuple[str, int] | None:
        """A whole number read from a tensor: its text and the number of classes."""
        label = self.pick(self.wholes)
        places = []
        for n in label.shape:
            fitting = [i for i, m in scope.items() if m <= n]
            places.append(self.pick(fitting) if fitting else str(self.whole(0, n - 1)))
        return f"{label.name}{_brackets(places)}", label.classes

    # --- statements: each adds lines and returns the number of equations that it added ---

    def elementwise(self) -> int:
        tensor = self.real()
        assert tensor is not None
        form, bound = self.pick(FUNCTIONS)
        return self.define(form.format(tensor.name), tensor.shape, bound(tensor.bound))

    def broadcast(self) -> int:
        first, second = self.real(), self.real()
        assert first is not None
        assert second is not None
        shape = _together(first.shape, second.shape)
        if shape is None or prod(shape) > self.elements:
            second, shape = first, first.shape  # a repeated read
        form, bound = self.pick(OPERATORS)
        return self.define(form.format(first.name, second.name), shape, bound(first.bound, second.bound))

    def equation(self) -> int:
        ranges = self.ranges({}, 1, 3)
        while prod(ranges.values()) > self.elements:
            ranges.popitem()
        body = self.term(ranges)
        return self.define(body.text, tuple(ranges.values()), body.bound, ranges)

    def reduced(self) -> int:
        ranges = self.ranges({}, 0, 2)
        body = self.reduction(ranges, 1)
        return self.define(body.text, tuple(ranges.values()), body.bound, ranges)

    def contraction(self) -> int:
        """A sum of a product of two or three reads, each with indices of its own choice."""
        ranges = self.ranges({}, 0, 3)
        while prod(ranges.values()) > self.elements:
            ranges.popitem()
        summed = self.ranges(ranges, 1, 2)
        scope = {**ranges, **summed}
        factors = [self.read(scope) for _ in range(self.whole(1, 2))]
        shape = tuple(scope[i] for i in self.some(list(scope), 3))
        if prod(shape) <= self.elements:
            factors.append(self.read(scope, self.given("param", shape)))
        written = ", ".join(f"{i} < {n}" for i, n in summed.items())
        text = f"sum({written}) {' * '.join(f.text for f in factors)}"
        bound = prod(f.bound for f in factors) * prod(summed.values())
        return self.define(text, tuple(ranges.values()), bound, ranges)

    def some(self, options: Sequence[T], most: int) -> list[T]:
        left = list(options)
        return [left.pop(self.whole(0, len(left) - 1)) for _ in range(min(len(left), self.whole(1, most)))]

    def product(self) -> int:
        """`W @ x`, or a batched product of matrices."""
        tensor = self.real(1, 3)
        if tensor is None:
            return self.elementwise()
        if len(tensor.shape) == 3:
            b, m, k = tensor.shape
            n = self.extent()
            if b * m * n > self.elements:
                return self.elementwise()
            w = self.given("param", (b, k, n))
            text = f"sum(k) {tensor.name}[i, l, k] * {w.name}[i, k, j]"
            return self.define(text, (b, m, n), k * tensor.bound, {"i": b, "l": m, "j": n})
        n = self.extent()
        shape = (n, *tensor.shape[1:])
        if prod(shape) > self.elements:
            return self.elementwise()
        w = self.given("param", (n, tensor.shape[0]))
        return self.define(f"{w.name} @ {tensor.name}", shape, tensor.shape[0] * tensor.bound)

    def window(self) -> int:
        """A weighted or extreme window over the last dimension: strided, dilated, padded."""
        tensor = self.real(1, 3)
        if tensor is None:
            return self.elementwise()
        *front, n = tensor.shape
        size, stride, dilation = self.whole(1, 3), self.whole(1, 2), self.whole(1, 2)
        pad = self.whole(0, size)
        steps = (n + 2 * pad - dilation * (size - 1) - 1) // stride + 1
        if steps < 1 or prod(front) * steps > self.elements:
            return self.elementwise()
        names = "ijl"[: len(front)]
        place = f"{stride}*k + {dilation}*p - {pad}"
        read = f"{tensor.name}[{', '.join([*names, place])}]"
        ranges = {**dict(zip(names, front, strict=True)), "k": steps}
        shape = (*front, steps)
        op = self.pick(["sum", "max", "min", "mean"])
        if op == "sum":
            w = self.given("param", (size,))
            return self.define(f"sum(p) {w.name}[p] * ({read} else 0)", shape, size * tensor.bound, ranges)
        return self.define(f"{op}(p < {size}) ({read} else {self.pick(['0', '-0.7'])})", shape, tensor.bound, ranges)

    def extreme(self) -> int:
        """The place of an extreme, for later reads."""
        ranges = self.ranges({}, 0, 1)
        summed = self.ranges(ranges, 1, 2)
        scope = {**ranges, **summed}
        name = self.name("a")
        written = ", ".join(f"{i} < {n}" for i, n in summed.items())
        left = f"{name}[{', '.join(f'{i} < {n}' for i, n in ranges.items())}]" if ranges else name
        self.lines.append(f"{left} = {self.pick(['argmax', 'argmin'])}({written}) {self.term(scope, 1).text}")
        self.wholes.append(Whole(name, tuple(ranges.values()), prod(summed.values())))
        return 1

    def label(self) -> int:
        self.labels(self.extent(), self.shape(0, 1))
        return 0

    def parameter(self) -> int:
        self.given("param", self.shape())
        return 0

    def embedding(self) -> int:
        label = self.pick(self.wholes) if self.wholes else self.labels(self.extent(), self.shape(0, 1))
        n = self.extent()
        n = n if n * label.classes * prod(label.shape) <= self.elements else 1
        table = self.given("param", (label.classes, n))
        names = "ij"[: len(label.shape)]
        ranges = {**dict(zip(names, label.shape, strict=True)), "k": n}
        return self.define(f"{table.name}[{label.name}{_brackets(names)}, k]", (*label.shape, n), 1.0, ranges)

    def view(self) -> int:
        tensor = self.real(1, 4)
        if tensor is None:
            return self.elementwise()
        count = prod(tensor.shape)
        first = self.pick([d for d in range(1, count + 1) if count % d == 0])
        shape = self.pick([(count,), (first, count // first), (1, count), (count // first, 1, first)])
        return self.define(f"reshape({tensor.name}, {', '.join(map(str, shape))})", shape, tensor.bound)

    def shared(self) -> int:
        tensor = self.real(1, 1)
        if tensor is None:
            return self.elementwise()
        known = [(name, n) for name, d, n in self.instances if (d,) == tensor.shape]
        if not known or self.chance(30):
            name, n = self.name("f"), self.extent()
            self.lines.append(f"{name} = {self.pick(['affine', 'dense'])}({n})")
            self.instances.append((name, tensor.shape[0], n))
        else:
            name, n = self.pick(known)
        return 1 + self.define(f"{tensor.name} -> {name}", (n,), tensor.shape[0] * tensor.bound + 1)

    def tied(self) -> int:
        """The parameters of an instance in an equation of another."""
        fitting = [(name, d, n) for name, d, n in self.instances if any(t.shape == (n,) for t in self.reals)]
        if not fitting:
            return self.shared()
        name, d, n = self.pick(fitting)
        tensor = self.pick([t for t in self.reals if t.shape == (n,)])
        return self.define(f"sum(j) {name}.W[j, i] * {tensor.name}[j]", (d,), n * tensor.bound, {"i": d})

    def permuted(self) -> int:
        """Extents that follow from the reads: a transposed tensor, or the diagonal of two."""
        tensor = self.real(1, 3)
        if tensor is None:
            return self.elementwise()
        names = list("ijk"[: len(tensor.shape)])
        order = self.some(names, len(names))
        order += [i for i in names if i not in order]
        extents = dict(zip(names, tensor.shape, strict=True))
        read = Term(f"{tensor.name}{_brackets(names)}", tensor.bound)
        body = self.combined(read, self.applied(read))
        left = self.name()
        text, bound = self.squashed(body.text, body.bound) if body.bound > LARGE else (body.text, body.bound)
        self.lines.append(f"{left}{_brackets(order)} = {text}")
        self.reals.append(Real(left, tuple(extents[i] for i in order), bound))
        self.unread[left] = None
        return 1

    def family(self) -> int:
        """Tensors made by a loop."""
        tensor = self.real()
        assert tensor is not None
        name = self.name("s")
        form, bound = self.pick(FUNCTIONS)
        self.lines.append(f"for k in 1..3:\n        {name} = {form.format(f'(0.4 * k * {tensor.name})')}")
        return 3 + self.define(f"{name}[3] + {name}[1]", tensor.shape, 2 * bound(1.2 * tensor.bound))

    def batched(self) -> int:
        """A statistic of the batch."""
        tensor = self.real(0, 3)
        if tensor is None:
            return self.elementwise()
        self.statistics = True
        names = "ijk"[: len(tensor.shape)]
        ranges = dict(zip(names, tensor.shape, strict=True))
        op = self.pick(["mean", "mean", "max", "min"])
        read = f"{tensor.name}{_brackets(names)}"
        body = self.pick([read, f"sin({read})", f"({read} * {read})"])
        if names and self.chance(30):
            last = names[-1]
            *_, n = ranges.values()
            kept = dict(list(ranges.items())[:-1])
            text = f"{op}(batch, {last} < {n}) {body}"
            return self.define(text, tuple(kept.values()), tensor.bound**2 + 1, kept)
        return self.define(f"{op}(batch) {body}", tensor.shape, tensor.bound**2 + 1, ranges)

    def random(self) -> int:
        shape = self.shape(0, 2)
        self.noise = True
        name = self.name("z")
        drawn = self.pick(["uniform(-1, 1)", "bernoulli(0.6)", "normal(0, 0.3)"])
        self.lines.append(f"noise {name}{_brackets(shape)} ~ {drawn}")
        self.reals.append(Real(name, shape, 1.5))
        return 0

    def layer(self) -> int:
        """A layer of the library."""
        tensor = self.real(1, 3)
        if tensor is None:
            return self.elementwise()
        shape = tensor.shape
        c = shape[0]
        same = [
            "softmax",
            "log_softmax",
            "layernorm",
            "dropout(0.3)",
            "prelu",
            "instancenorm(0.1)",
            "batchnorm(eps=0.1)",
        ]
        same += [f"groupnorm({self.pick([d for d in range(1, c + 1) if c % d == 0])}, eps=0.1)"]
        options = [(s.replace("layernorm", "layernorm(eps=0.1)"), shape, 4.0 + tensor.bound) for s in same]
        options.append(("flatten", (prod(shape),), tensor.bound))
        n = self.extent()
        if len(shape) == 1:
            options.append((f"maxout({n})", (n,), c * tensor.bound + 1))
        if len(shape) == 3:
            options += self.spatial(tensor, n)
        applied, out, bound = self.pick([o for o in options if prod(o[1]) <= self.elements and min(o[1]) > 0])
        self.noise |= "dropout" in applied
        self.statistics |= "batchnorm" in applied
        return self.define(f"{tensor.name} -> {applied}", out, bound)

    def spatial(self, tensor: Real, n: int) -> list[tuple[str, tuple[int, ...], float]]:
        c, h, w = tensor.shape
        size, stride = self.whole(1, 3), self.whole(1, 2)
        pad = self.whole(0, size // 2)

        def steps(m: int, dilation: int = 1) -> int:
            return (m + 2 * pad - dilation * (size - 1) - 1) // stride + 1

        dilation = self.whole(1, 2)
        pooled = (c, steps(h), steps(w))
        sizes = f"{size}, stride={stride}, pad={pad}"
        options: list[tuple[str, tuple[int, ...], float]] = [
            ("global_avgpool", (c,), tensor.bound),
            ("global_maxpool", (c,), tensor.bound),
            (f"upsample({stride})", (c, h * stride, w * stride), tensor.bound),
        ]
        if min(h, w) + 2 * pad >= dilation * (size - 1) + 1 and min(h, w) + 2 * pad >= size:
            spread = size * size * c * tensor.bound + 1
            out = (n, steps(h, dilation), steps(w, dilation))
            options += [
                (f"conv({n}, {sizes}, dilation={dilation})", out, spread),
                (f"maxpool({sizes})", pooled, tensor.bound),
                (f"avgpool({sizes})", pooled, tensor.bound),
            ]
        if (min(h, w) - 1) * stride + size - 2 * pad >= 1:
            grown = (n, (h - 1) * stride + size - 2 * pad, (w - 1) * stride + size - 2 * pad)
            options.append((f"conv_transpose({n}, {sizes})", grown, size * size * c * tensor.bound + 1))
        return options


_KINDS: tuple[Callable[[_Generator], int], ...] = (
    _Generator.elementwise,
    _Generator.elementwise,
    _Generator.broadcast,
    _Generator.broadcast,
    _Generator.equation,
    _Generator.equation,
    _Generator.equation,
    _Generator.reduced,
    _Generator.reduced,
    _Generator.contraction,
    _Generator.contraction,
    _Generator.product,
    _Generator.window,
    _Generator.extreme,
    _Generator.label,
    _Generator.parameter,
    _Generator.embedding,
    _Generator.view,
    _Generator.shared,
    _Generator.tied,
    _Generator.permuted,
    _Generator.family,
    _Generator.batched,
    _Generator.random,
    _Generator.layer,
    _Generator.layer,
)


def _brackets(items: Sequence[object]) -> str:
    return f"[{', '.join(map(str, items))}]" if items else ""


def _together(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a broadcast, aligned at the last dimensions; None where there is none."""
    rank = max(len(first), len(second))
    pairs = zip((1,) * (rank - len(first)) + first, (1,) * (rank - len(second)) + second, strict=True)
    shape = []
    for m, n in pairs:
        if m != n and 1 not in (m, n):
            return None
        shape.append(max(m, n))
    return tuple(shape)
