"""Identifiers for generated kernels: near to the user's names, unique, and none that means something else there."""

from __future__ import annotations

import keyword
import re

from netlang.schedule.program import NARROW, PANELS, transform_name
from netlang.schedule.winograd.interpolation import transforms

# what a generated module may name (see `intrinsics`), and what Python does
RESERVED = frozenset(
    {
        *("f32", "f64", "real", "i64", "i32", "u8", "overlap", "offset", "memory", "sizes", "range", "where"),
        *("prepare", "run"),
        *("max", "min", "abs", "floor", "sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "pow"),
        *("isnan", "inf", "nan", "pi", "uniform", "normal", "share", "another", "alone", "team"),
        *("pack", "turn", "dot", *(f"multiply_{panel}" for panel in (NARROW, *PANELS))),
        *map(transform_name, transforms()),
    }
)

# of what has the name of a tensor, or of an index: `relu_1_value` goes into `relu_1`, `batch` runs to `batch_size`
SUFFIXES = {"scalar": "_value", "index": "_index", "size": "_size"}


def identifier(name: str) -> str:
    """A Python identifier like `name`: `d/conv_1.y` is `d_conv_1_y`."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "x"
    return f"_{text}" if text[0].isdigit() or keyword.iskeyword(text) or text in RESERVED else text


class Names:
    """Unique identifiers within one scope, remembered by what they stand for.

    Canonical names are numbered by order of first use, so that texts which differ in names alone are equal.
    """

    def __init__(self, canonical: bool = False) -> None:
        self.canonical = canonical
        self._of: dict[tuple[str, str], str] = {}
        self._used: set[str] = set(RESERVED)

    def of(self, domain: str, name: str) -> str:
        """The identifier of a `name` among the names of its domain (buffer, key, size, index, scalar)."""
        known = self._of.get((domain, name))
        if known is None:
            base = f"{domain}{len(self._of)}" if self.canonical else identifier(name or domain)
            if base in self._used and domain in SUFFIXES:
                base += SUFFIXES[domain]
            known = self._of[domain, name] = self.unique(base)
        return known

    def prefer(self, domain: str, name: str, base: str) -> None:
        """Call a name by another base than its own."""
        self._of[domain, name] = self.unique(f"{domain}{len(self._of)}" if self.canonical else base)

    def unique(self, base: str) -> str:
        """`base`, or `base_2`, `base_3`, ..., whichever is free first; taken from now on."""
        name, k = base, 2
        while name in self._used:
            name, k = f"{base}_{k}", k + 1
        self._used.add(name)
        return name

    def used(self, domain: str) -> tuple[str, ...]:
        """The names of a domain that were asked for, in order."""
        return tuple(name for d, name in self._of if d == domain)
