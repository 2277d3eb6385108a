"""Integer expressions: extents, index arithmetic and places in a tensor, as polynomials in canonical form.

A polynomial is a sum of `coefficient * product of atoms`. Atoms are the indices of an equation, run-time sizes (the
batch), floor divisions and remainders by a constant, and reads of integer tensors. Equality of polynomials is equality
of their canonical text, `key`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import lcm
from typing import Any


class Keyed:
    """Equality, hash and order by a canonical text."""

    key: str

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Keyed) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<{self.key}>"


class Atom(Keyed):
    """A factor of a monomial."""


@dataclass(frozen=True, eq=False, repr=False)
class Index(Atom):
    """An index of an equation or of a reduction."""

    name: str

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return self.name


@dataclass(frozen=True, eq=False, repr=False)
class Size(Atom):
    """A size known at run time only; at least 1."""

    name: str

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"|{self.name}|"


@dataclass(frozen=True, eq=False, repr=False)
class Floor(Atom):
    """`value // divisor`, rounded down."""

    value: Int
    divisor: int

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"{_operand(self.value)}//{self.divisor}"


@dataclass(frozen=True, eq=False, repr=False)
class Modulo(Atom):
    """`value % divisor`, with the sign of the (positive) divisor."""

    value: Int
    divisor: int

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"{_operand(self.value)}%{self.divisor}"


@dataclass(frozen=True, eq=False, repr=False)
class Fetch(Atom):
    """The integer that an integer tensor holds at `indices`; known to be in `0 <= v < bound`."""

    tensor: str
    indices: tuple[Int, ...]
    bound: Int

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return f"{self.tensor}[{', '.join(i.key for i in self.indices)}]"


Monomial = tuple[Atom, ...]


class Int(Keyed):
    """A polynomial with integer coefficients, immutable; build it with `integer(...)` and the operators."""

    __slots__ = ("_fetches", "_indices", "key", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        ordered = [(m, c) for m, c in terms.items() if c]
        if len(ordered) > 1:
            ordered.sort(key=_place_of_term)
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(ordered)

    def __getattr__(self, name: str) -> Any:
        """The key and what it depends on, found when first asked for: those of most intermediate results never are."""
        found: Any
        if name == "key":
            found = _text(self.terms)
        elif name == "_indices":
            found = frozenset(atom.name for atom in self.atoms() if isinstance(atom, Index))
        elif name == "_fetches":
            found = tuple(atom for atom in self.atoms() if isinstance(atom, Fetch))
        else:
            raise AttributeError(name)
        setattr(self, name, found)
        return found

    def __str__(self) -> str:
        """As a person writes it: sizes without the bars that set them apart from indices in `key`."""
        return self.key.replace("|", "")

    # --- arithmetic ---

    def __add__(self, other: IntLike) -> Int:
        other = integer(other)
        if not other.terms:
            return self
        terms = dict(self.terms)
        for monomial, c in other.terms:
            terms[monomial] = terms.get(monomial, 0) + c
        return Int(terms)

    __radd__ = __add__

    def __neg__(self) -> Int:
        return Int({m: -c for m, c in self.terms})

    def __sub__(self, other: IntLike) -> Int:
        return self + -integer(other)

    def __rsub__(self, other: IntLike) -> Int:
        return integer(other) - self

    def __mul__(self, other: IntLike) -> Int:
        other = integer(other)
        if not self.terms or not other.terms:
            return ZERO
        if other.is_constant:
            by = other.constant
            return self if by == 1 else Int({m: c * by for m, c in self.terms})
        if self.is_constant:
            return other * self
        terms: dict[Monomial, int] = {}
        for m1, c1 in self.terms:
            for m2, c2 in other.terms:
                m = tuple(sorted(m1 + m2, key=lambda a: a.key))
                terms[m] = terms.get(m, 0) + c1 * c2
        return Int(terms)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Int:
        """Floor division by a positive constant; multiples of the divisor come out of the floor."""
        if divisor == 1:
            return self
        whole = Int({m: c // divisor for m, c in self.terms if m and c % divisor == 0})
        rest = self - whole * divisor
        if rest.is_constant:
            return whole + rest.constant // divisor
        carried = rest.constant // divisor
        return whole + carried + Int({(Floor(rest - carried * divisor, divisor),): 1})

    def __mod__(self, divisor: int) -> Int:
        if divisor == 1:
            return ZERO
        rest = Int({m: c % divisor if not m or c % divisor == 0 else c for m, c in self.terms})
        if rest.is_constant:
            return integer(rest.constant % divisor)
        return Int({(Modulo(rest, divisor),): 1})

    # --- questions ---

    @property
    def is_constant(self) -> bool:
        return not self.terms or (len(self.terms) == 1 and not self.terms[0][0])

    @property
    def constant(self) -> int:
        """The constant term (the value, where `is_constant`)."""
        return self.terms[-1][1] if self.terms and not self.terms[-1][0] else 0

    @property
    def single(self) -> Atom | None:
        """The atom that this expression is, where it is one alone."""
        if len(self.terms) == 1:
            monomial, c = self.terms[0]
            if c == 1 and len(monomial) == 1:
                return monomial[0]
        return None

    @property
    def index(self) -> Index | None:
        """The index that this expression is, where it is a bare index."""
        return atom if isinstance(atom := self.single, Index) else None

    def atoms(self) -> Iterable[Atom]:
        """Every atom, also those inside floors, remainders and fetches, outermost first."""
        for monomial, _ in self.terms:
            for atom in monomial:
                yield atom
                if isinstance(atom, Floor | Modulo):
                    yield from atom.value.atoms()
                elif isinstance(atom, Fetch):
                    for index in atom.indices:
                        yield from index.atoms()

    def indices(self) -> frozenset[str]:
        """Names of the indices that it depends on."""
        return self._indices  # type: ignore[no-any-return]

    def fetches(self) -> tuple[Fetch, ...]:
        """The reads of integer tensors that it depends on, outermost first."""
        return self._fetches  # type: ignore[no-any-return]

    def sides(self) -> tuple[Int, Int]:
        """What is subtracted in it and what is added, as the two sides of a comparison with zero: `low <= high`."""
        low = Int({m: -c for m, c in self.terms if c < 0})
        return low, self + low

    def coefficient(self, atom: Atom) -> int:
        """The integer coefficient of the monomial that is `atom` alone."""
        return dict(self.terms).get((atom,), 0)

    def is_linear_in(self, name: str) -> bool:
        """True where the index occurs once, alone in its monomial, outside any floor, remainder or fetch."""
        return sum(1 for a in self.atoms() if a == Index(name)) == 1 and self.coefficient(Index(name)) != 0

    # --- rewriting ---

    def rewrite(self, change: Callable[[Atom], Int | None]) -> Int:
        """Replace atoms, innermost first: `change` sees each rebuilt atom and returns its replacement or None."""
        found = {atom: _rewrite_atom(atom, change) for monomial, _ in self.terms for atom in monomial}
        if all(new.single is atom for atom, new in found.items()):
            return self
        terms: dict[Monomial, int] = {}
        for monomial, c in self.terms:
            product = integer(c)
            for atom in monomial:
                product = found[atom] * product
            for each, factor in product.terms:
                terms[each] = terms.get(each, 0) + factor
        return Int(terms)

    def substitute(self, values: Mapping[str, Int]) -> Int:
        """Replace indices by integer expressions."""
        if (alone := self.index) is not None:
            return values.get(alone.name, self)
        if not values or not (self.indices() & values.keys()):
            return self
        return self.rewrite(lambda a: values.get(a.name) if isinstance(a, Index) else None)

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The value, with every run-time size given; raises KeyError for an index or a size not given."""
        total = 0
        for monomial, c in self.terms:
            for atom in monomial:
                if isinstance(atom, Floor):
                    c *= atom.value.evaluate(sizes) // atom.divisor
                elif isinstance(atom, Modulo):
                    c *= atom.value.evaluate(sizes) % atom.divisor
                elif isinstance(atom, Index | Size):
                    c *= sizes[atom.name]
                else:
                    raise KeyError(atom.key)
            total += c
        return total

    def bounds(self, extents: Mapping[str, Int]) -> tuple[Int, Int] | None:
        """The least and the greatest value for indices in `0 <= i < extents[i]`, or None where not known.

        The ends are expressions in run-time sizes only, and tight where each index occurs once.
        """
        low = high = ZERO
        for monomial, c in self.terms:
            ends = None
            for atom in monomial:
                part = _atom_bounds(atom, extents)
                if part is None or (len(monomial) > 1 and not is_nonnegative(part[0])):
                    return None
                ends = part if ends is None else (ends[0] * part[0], ends[1] * part[1])
            ends = ends or (ONE, ONE)
            low += c * (ends[0] if c > 0 else ends[1])
            high += c * (ends[1] if c > 0 else ends[0])
        return low, high


IntLike = Int | int


def integer(value: IntLike) -> Int:
    return value if isinstance(value, Int) else _constant(value)


@lru_cache(1024)
def _constant(value: int) -> Int:
    return Int({(): value})


@lru_cache(1024)
def index(name: str) -> Int:
    return Int({(Index(name),): 1})


def size(name: str) -> Int:
    return Int({(Size(name),): 1})


def fetch(tensor: str, indices: tuple[Int, ...], bound: Int) -> Int:
    return Int({(Fetch(tensor, indices, bound),): 1})


def product(values: Iterable[Int]) -> Int:
    total = integer(1)
    for value in values:
        total = total * value
    return total


def row_major(indices: Iterable[Int], extents: Iterable[Int]) -> Int:
    """The place of an element among all those of a tensor, in row-major order."""
    place = ZERO
    for i, extent in zip(indices, extents, strict=True):
        place = place * extent + i
    return place


def place_in(ranges: Sequence[tuple[str, Int]]) -> Int:
    """The row-major place of indices among their ranges."""
    return row_major((index(name) for name, _ in ranges), (extent for _, extent in ranges))


def is_nonnegative(value: Int) -> bool:
    """True where `value >= 0` can be proved from every run-time size being at least 1."""
    rounded = [atom for monomial, _ in value.terms for atom in monomial if isinstance(atom, Floor | Modulo)]
    if rounded:
        if any(len(m) > 1 and not all(isinstance(a, Size) for a in m) for m, _ in value.terms):
            return False
        d = lcm(*(atom.divisor for atom in rounded))
        scaled = value * d + (d - 1)  # not negative for the same integers, and its floors are by divisors of d
        return any(is_nonnegative(least) for least in (_without_floors(scaled), _without_floors(scaled, drop=True)))
    if any(c < 0 for m, c in value.terms if m) or any(not isinstance(a, Size) for a in value.atoms()):
        return False
    return sum(c for _, c in value.terms) >= 0


def _without_floors(value: Int, *, drop: bool = False) -> Int:
    """A lower bound: floors and remainders alone in their terms make way for the least that they can be.

    The least of `v // d` is `(v - d + 1) / d`, or with `drop` 0 where v is not negative.
    """
    least = ZERO
    for monomial, c in value.terms:
        atom = monomial[0] if len(monomial) == 1 else None
        if drop and isinstance(atom, Floor) and c > 0 and is_nonnegative(atom.value):
            continue
        if isinstance(atom, Floor) and c % atom.divisor == 0:
            least += c // atom.divisor * (atom.value if c < 0 else atom.value - atom.divisor + 1)
        elif isinstance(atom, Modulo):
            least += min(0, c) * (atom.divisor - 1)
        else:
            least += Int({monomial: c})
    return least


def _rewrite_atom(atom: Atom, change: Callable[[Atom], Int | None]) -> Int:
    if isinstance(atom, Floor | Modulo):
        value = atom.value.rewrite(change)
        if value is not atom.value:
            whole = value // atom.divisor if isinstance(atom, Floor) else value % atom.divisor
            if not isinstance(whole.single, Floor | Modulo):
                return whole
            atom = whole.single
    elif isinstance(atom, Fetch):
        indices = tuple(i.rewrite(change) for i in atom.indices)
        bound = atom.bound.rewrite(change)
        if bound is not atom.bound or any(a is not b for a, b in zip(indices, atom.indices, strict=True)):
            atom = Fetch(atom.tensor, indices, bound)
    changed = change(atom)
    return Int({(atom,): 1}) if changed is None else changed


def _atom_bounds(atom: Atom, extents: Mapping[str, Int]) -> tuple[Int, Int] | None:
    if isinstance(atom, Index):
        return (ZERO, extents[atom.name] - 1) if atom.name in extents else None
    if isinstance(atom, Size):
        return size(atom.name), size(atom.name)
    if isinstance(atom, Fetch):
        return ZERO, atom.bound - 1
    if isinstance(atom, Modulo):
        inner = atom.value.bounds(extents)
        if inner and is_nonnegative(inner[0]) and is_nonnegative(atom.divisor - 1 - inner[1]):
            return inner
        return ZERO, integer(atom.divisor - 1)
    if isinstance(atom, Floor):
        inner = atom.value.bounds(extents)
        return None if inner is None else (inner[0] // atom.divisor, inner[1] // atom.divisor)
    raise TypeError(atom)


def reduce_ranges(value: Int, extents: Mapping[str, Int]) -> Int:
    """Drop floors and remainders that the ranges of the indices decide: `(4*j + r) // 4` is `j` for `r < 4`."""

    def change(atom: Atom) -> Int | None:
        if not isinstance(atom, Floor | Modulo):
            return None
        whole = Int({m: c // atom.divisor for m, c in atom.value.terms if c % atom.divisor == 0})
        rest = atom.value - whole * atom.divisor
        ends = rest.bounds(extents)
        if ends is None or not (is_nonnegative(ends[0]) and is_nonnegative(atom.divisor - 1 - ends[1])):
            return None
        return whole if isinstance(atom, Floor) else rest

    if not any(isinstance(atom, Floor | Modulo) for atom in value.atoms()):
        return value
    return value.rewrite(change)


def _place_of_term(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """Products of many atoms come first, the constant last."""
    return -len(term[0]), [atom.key for atom in term[0]]


def _operand(value: Int) -> str:
    return value.key if isinstance(value.single, Index | Size) else f"({value.key})"


def _text(terms: tuple[tuple[Monomial, int], ...]) -> str:
    parts: list[str] = []
    for monomial, c in terms:
        size = abs(c)
        if len(monomial) == 1 and size == 1:
            text = monomial[0].key
        else:
            factors = [f"({a.key})" if isinstance(a, Floor | Modulo) else a.key for a in monomial]
            text = "*".join(factors if size == 1 and factors else [str(size), *factors])
        if parts:
            parts.append(f" - {text}" if c < 0 else f" + {text}")
        else:
            parts.append(f"-{text}" if c < 0 else text)
    return "".join(parts) or "0"


ZERO = Int({})
ONE = Int({(): 1})
