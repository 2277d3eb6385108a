"""The value of a printed formula: what a reader would compute from it, to compare with the derived gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from netlang.draw.derivation.steps import Derivation, Equality
from netlang.draw.formula.formula import (
    Adjoint,
    Bracket,
    Call,
    Cases,
    Column,
    Element,
    Floor,
    Formula,
    Fraction,
    Hadamard,
    Logic,
    Norm,
    Number,
    Power,
    Product,
    Reduction,
    Relation,
    Sum,
    Symbol,
    Transpose,
)

Array = np.ndarray

_ROWS: dict[str, Callable] = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "abs": np.abs, "sign": np.sign,
    "max": np.maximum, "min": np.minimum, "floor": np.floor, "erf": np.vectorize(math.erf),
}  # fmt: skip
_RELATIONS: dict[str, Callable] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "=": np.equal, "!=": np.not_equal,
    "mod": np.mod,
}  # fmt: skip
_REDUCTIONS: dict[str, Callable] = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}
_OUTSIDE = {"max": -math.inf, "min": math.inf}


@dataclass
class Reader:
    """Computes formulas from `tensors` and `adjoints`, arrays by their printed names.

    A vector is a column where formulas multiply matrices; `places` are the values of indices.
    """

    tensors: Mapping[str, Array]
    adjoints: Mapping[str, Array]
    functions: Mapping[tuple[str, bool], Equality]
    sizes: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    outside: float = 0.0

    @staticmethod
    def of(d: Derivation, tensors: Mapping[str, Array], adjoints: Mapping[str, Array], **more) -> Reader:
        functions = {}
        for e in d.functions:
            call = e.left.base if isinstance(e.left, Element) else e.left
            assert isinstance(call, Call)
            functions[call.name, call.prime] = e
        return Reader(tensors, adjoints, functions, **more)

    def equation(self, e: Equality, shape: tuple[int, ...]) -> Array:
        """The tensor that the right side says the left side is."""
        if isinstance(e.left, Element):
            names = [i.name for i in e.left.indices if isinstance(i, Symbol)]
            out = np.empty(shape)
            for place in np.ndindex(*shape):
                out[place] = np.squeeze(self.at(dict(zip(names, place, strict=True)))(e.right))
            return out
        if isinstance(e.right, Call) and e.right.name == "reshape":
            return self.array(e.right.args[0]).reshape(shape)
        value = np.asarray(self(e.right))
        if value.size == 1 or value.shape == shape:
            return np.broadcast_to(np.squeeze(value) if value.size == 1 else value, shape)
        assert value.size == math.prod(shape), (value.shape, shape)
        assert value.shape == (*shape, 1), (value.shape, shape)
        return value.reshape(shape)

    def at(self, places: Mapping[str, int], outside: float | None = None) -> Reader:
        return Reader(
            self.tensors,
            self.adjoints,
            self.functions,
            self.sizes,
            {**self.places, **places},
            self.outside if outside is None else outside,
        )

    def __call__(self, f: Formula) -> Array | float:
        return getattr(self, f"_{type(f).__name__.lower()}")(f)

    def array(self, f: Formula) -> Array:
        """A whole tensor in its own shape, not as a column."""
        if isinstance(f, Symbol):
            return np.asarray(self.tensors[f.name])
        if isinstance(f, Adjoint):
            return np.asarray(self.adjoints[f.of])
        value = np.asarray(self(f))
        return value[:, 0] if value.ndim == 2 and value.shape[1] == 1 else value

    # --- the kinds of formula ---

    def _number(self, f: Number) -> float:
        return f.value

    def _symbol(self, f: Symbol) -> Array | float:
        return self.places[f.name] if f.name in self.places else _column(self.array(f))

    def _adjoint(self, f: Adjoint) -> Array:
        return _column(self.array(f))

    def _element(self, f: Element) -> float:
        array = self.array(f.base)
        place = tuple(int(np.squeeze(self(i))) for i in f.indices)
        inside = all(0 <= i < n for i, n in zip(place, array.shape, strict=True))
        return float(array[place]) if inside else self.outside

    def _sum(self, f: Sum) -> Array:
        return sum((sign * np.asarray(self(term)) for sign, term in f.terms), start=np.zeros(()))

    def _product(self, f: Product) -> Array:
        out: Array = np.ones(())
        for factor in f.factors:
            value = np.asarray(self(factor))
            out = out @ value if out.size > 1 and value.size > 1 else out * value
        return out

    def _hadamard(self, f: Hadamard) -> Array:
        values = [np.asarray(self(part)) for part in f.factors]
        assert len({v.shape for v in values if v.size > 1}) < 2, [v.shape for v in values]
        return math.prod(values, start=np.ones(()))

    def _fraction(self, f: Fraction) -> Array:
        return np.asarray(self(f.over)) / self(f.under)

    def _power(self, f: Power) -> Array:
        return np.asarray(self(f.base)) ** self(f.exponent)

    def _transpose(self, f: Transpose) -> Array:
        return np.asarray(self(f.base)).T

    def _column(self, f: Column) -> Array:
        return np.asarray([[float(np.squeeze(self(e)))] for e in f.elements])

    def _norm(self, f: Norm) -> float:
        return float(np.linalg.norm(self(f.base)))

    def _call(self, f: Call) -> Array:
        if f.name == "onehot":
            # the length is what the other term of the sum has; given by the tests as the only class count
            return np.eye(self.sizes["classes"])[:, [int(np.squeeze(self(f.args[0])))]]
        if f.name == "size":
            return np.asarray(self.sizes["batch"])
        if f.name == "sqrt":
            return np.sqrt(self(f.args[0]))
        if f.row:
            return _ROWS[f.name](*(self(a) for a in f.args))
        definition = self.functions[f.name, f.prime]
        argument = self.array(f.args[0])
        inner = Reader({"x": argument}, {}, self.functions, self.sizes)
        if isinstance(definition.left, Element):
            return _column(inner.equation(definition, argument.shape))
        body = lambda x: float(np.squeeze(Reader({"x": np.asarray(x)}, {}, self.functions)(definition.right)))  # noqa: E731
        return np.vectorize(body)(np.asarray(self(f.args[0])))

    def _floor(self, f: Floor) -> Array:
        return np.floor(self(f.base))

    def _relation(self, f: Relation) -> Array:
        return _RELATIONS[f.op](self(f.left), self(f.right))

    def _logic(self, f: Logic) -> bool:
        values = (bool(np.squeeze(self(p))) for p in f.parts)
        return not next(values) if f.op == "not" else all(values) if f.op == "and" else any(values)

    def _bracket(self, f: Bracket) -> Array:
        return np.asarray(self(f.statement), dtype=float)

    def _cases(self, f: Cases) -> Array:
        return np.where(self(f.statement), self(f.then), self(f.otherwise))

    def _reduction(self, f: Reduction) -> float:
        names = [name for name, _ in f.ranges]
        counts = [self.sizes["batch"] if extent is None else int(self(extent)) for _, extent in f.ranges]
        values = [
            float(np.squeeze(self.at(dict(zip(names, place, strict=True)), _OUTSIDE.get(f.op, 0.0))(f.body)))
            for place in itertools.product(*map(range, counts))
        ]
        return float(_REDUCTIONS[f.op](values))


def _column(array: Array) -> Array:
    return array[:, None] if array.ndim == 1 else array
