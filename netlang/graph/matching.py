"""Matching: by which values of its indices a pattern becomes an expression; terms and factors stand in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netlang.graph.expression import Apply, Compare, Condition, Const, Expr, Read, Reduce
from netlang.graph.integer import Int, index
from netlang.graph.traversal import integers, parts

Part = Expr | Condition


@dataclass(frozen=True)
class Binding:
    """What is known of a pattern: the values of its indices, and what its argument stands for, where it has one."""

    places: Mapping[str, Int] = field(default_factory=dict)
    argument: Expr | None = None


class Matcher:
    """Matches patterns with expressions, part by part; a subclass may let `match` see more in a part."""

    def match(self, pattern: Part, e: Part, known: Binding) -> Iterator[Binding]:
        """Every way to see the expression as the pattern that agrees with what is known."""
        if type(pattern) is not type(e) or _label(pattern) != _label(e):
            return
        if isinstance(pattern, Reduce) and isinstance(e, Reduce):
            yield from self._reductions(pattern, e, known)
            return
        places = _places(integers(pattern), integers(e), known.places)
        if places is None:
            return
        known = replace(known, places=places)
        inner, outer = parts(pattern), parts(e)
        if isinstance(pattern, Apply) and pattern.op in ("add", "mul"):
            for found, rest in self.some(inner, outer, known):
                if not rest:
                    yield found
        elif len(inner) == len(outer):
            yield from self._each(inner, outer, known)

    def some(
        self, patterns: Sequence[Part], found: Sequence[Part], known: Binding
    ) -> Iterator[tuple[Binding, Sequence[Part]]]:
        """Each pattern with a different part, in any order; gives the parts left over too."""
        if len(patterns) > len(found):
            return
        if not patterns:
            yield known, found
            return
        for k, e in enumerate(found):
            for binding in self.match(patterns[0], e, known):
                yield from self.some(patterns[1:], [*found[:k], *found[k + 1 :]], binding)

    def _each(self, patterns: Sequence[Part], found: Sequence[Part], known: Binding) -> Iterator[Binding]:
        if not patterns:
            yield known
            return
        for binding in self.match(patterns[0], found[0], known):
            yield from self._each(patterns[1:], found[1:], binding)

    def _reductions(self, pattern: Reduce, e: Reduce, known: Binding) -> Iterator[Binding]:
        """Over the same ranges, whatever their indices are called."""
        if [extent for _, extent in pattern.ranges] != [extent for _, extent in e.ranges]:
            return
        bound = {a: index(b) for (a, _), (b, _) in zip(pattern.ranges, e.ranges, strict=True)}
        for found in self.match(pattern.body, e.body, replace(known, places={**known.places, **bound})):
            yield replace(found, places={name: place for name, place in found.places.items() if name not in bound})


def _label(e: Part) -> str | float:
    """What of an expression is neither in its parts nor in its integers."""
    if isinstance(e, Read):
        return e.tensor
    if isinstance(e, Const):
        return e.value
    return e.op if isinstance(e, Apply | Compare | Reduce) else ""


def _places(patterns: Sequence[Int], found: Sequence[Int], known: Mapping[str, Int]) -> Mapping[str, Int] | None:
    """The values of the indices by which each pattern becomes the other integer; None where there are none."""
    if len(patterns) != len(found):
        return None
    places = dict(known)
    for pattern, value in zip(patterns, found, strict=True):
        if pattern.index is not None and places.setdefault(pattern.index.name, value) == value:
            continue
        if pattern.substitute(places) != value:
            return None
    return places
