"""Which tiling a sum of products takes: the first by the model of the cost, or another one that was timed as faster.

A choice is kept by the key of its problem. The key has no names of a network in it, so layers that are alike share it,
those of other networks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence, Sequence

from netlang.graph.expression import Read
from netlang.graph.integer import Int, index
from netlang.schedule.order import Group
from netlang.schedule.program import NARROW, Problem, Tensor
from netlang.schedule.tiling import Axis, Tiling

Names = Mapping[str, Int]


def chosen(
    tensors: Mapping[str, Tensor],
    choices: Mapping[str, str],
    problems: MutableSequence[Problem],
    group: Group,
    factors: Sequence[Read],
    found: Sequence[Tiling],
) -> Tiling:
    """The tiling of those found, by rising cost, that `choices` has for this problem, else the first.

    The problem is added to `problems`.
    """
    names = _canonical(group)
    by_text = {_tiling_text(tiling, names): tiling for tiling in reversed(found)}
    texts = tuple(reversed(by_text))
    key = _problem_key(group, factors, tensors, names)
    wanted = choices.get(key)
    taken = wanted if wanted in by_text else texts[0]
    problems.append(Problem(key, texts, taken))
    return by_text[taken]


def _canonical(group: Group) -> Names:
    """New names of the indices of a group, and of those of its sum, by their places alone."""
    assert group.reduction is not None
    kinds = (("i", [i for i, _ in group.ranges]), ("s", [i for i, _ in group.reduction.ranges]), ("t", group.fixed))
    return {name: index(f"{kind}{k}") for kind, names in kinds for k, name in enumerate(names)}


def _problem_key(group: Group, factors: Sequence[Read], tensors: Mapping[str, Tensor], names: Names) -> str:
    reduction = group.reduction
    assert reduction is not None
    extents = [_texts((extent for _, extent in ranges), names) for ranges in (group.ranges, reduction.ranges)]
    places = _texts((tensors[f.tensor].place(f.indices) for f in factors), names)
    stored = Tensor("", "", "", group.shape, "real").place(group.places)
    kept = [f"{k} kept" for k, factor in enumerate(factors) if tensors[factor.tensor].kept]
    return "; ".join([*extents, *places.split(", "), _texts([stored], names), *kept])


def _tiling_text(tiling: Tiling, names: Names) -> str:
    def axis(found: Axis) -> str:
        return " ".join(names[name].key for name in found.names) or "none"

    steps = ", ".join(_texts((*step.counts, step.left, step.right), names) for step in tiling.steps)
    copied = ", left copied" if tiling.is_copied else ""
    panel = f"{tiling.panel} and {NARROW}" if tiling.is_narrow else str(tiling.panel)
    return f"rows {axis(tiling.rows)}, lanes {axis(tiling.lanes)} by {panel}, steps ({steps}){copied}"


def _texts(values: Iterable[Int], names: Names) -> str:
    return ", ".join(value.substitute(names).key for value in values)
