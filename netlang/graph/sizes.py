"""Run-time sizes: what a graph requires of them, and how the shapes of arrays give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from netlang.diagnostics import Span, fail, listing, nearest
from netlang.graph.constructors import decide
from netlang.graph.expression import TRUE, Condition, Expr
from netlang.graph.integer import Atom, Floor, Int, Modulo, Size, integer
from netlang.graph.nodes import BATCH, Node
from netlang.graph.traversal import integers, rewrite_condition, walk

MOST_TRIED = 10_000


@dataclass(frozen=True)
class Requirement:
    """A condition on run-time sizes that must hold when the net runs.

    `message` says it in texts and extents, which become numbers where the sizes are known.
    """

    condition: Condition
    message: tuple[str | Int, ...]
    span: Span

    def text(self, sizes: Mapping[str, int] | None = None) -> str:
        """The message for these sizes; symbolic without."""
        return "".join(str(p.evaluate(sizes) if sizes and isinstance(p, Int) else p) for p in self.message)

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it holds for these sizes; those not given leave it open, which counts as holding."""

        def known(atom: Atom) -> Int | None:
            return integer(sizes[atom.name]) if isinstance(atom, Size) and atom.name in sizes else None

        condition = rewrite_condition(self.condition, ints=lambda value: value.rewrite(known))
        return decide(condition, {}) == TRUE or not _sizes_in(self.condition) <= sizes.keys()


def check(requirements: Iterable[Requirement], sizes: Mapping[str, int]) -> None:
    """Raise the diagnostic `requirement` for the first that does not hold."""
    for requirement in requirements:
        if not requirement.holds(sizes):
            said = ", ".join(f"{name} = {value}" for name, value in sizes.items() if name != BATCH)
            fail(
                "requirement",
                f"{requirement.text(sizes)}; here {said}",
                requirement.span,
                label="this must hold",
                help="give inputs of such sizes",
            )


def run_time_sizes(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The run-time sizes, the batch aside, in the order in which shapes name them."""
    found = (a.name for node in nodes for extent in node.shape for a in extent.atoms() if isinstance(a, Size))
    return tuple(name for name in dict.fromkeys(found) if name != BATCH)


def chosen_sizes(
    nodes: Iterable[Node], requirements: Sequence[Requirement], given: Mapping[str, int] | None = None, least: int = 1
) -> dict[str, int]:
    """A value for each run-time size: those given, for others the least from `least` on that meets what is required.

    Raises `NetlangError`: `size-unknown` for a name that is no run-time size, `requirement`.
    """
    names = run_time_sizes(nodes)
    given = given or {}
    for name in given:
        if name not in names:
            fail(
                "size-unknown",
                f"there is no run-time size `{name}`",
                help=nearest(name, names) or (f"there are {listing(names)}" if names else "all sizes are constant"),
            )
    open_ones = [name for name in names if name not in given]
    for value in range(least, least + MOST_TRIED if open_ones else least + 1):
        sizes = {**given, **dict.fromkeys(open_ones, value)}
        if all(r.holds(sizes) for r in requirements):
            break
    check(requirements, sizes)
    return sizes


def matches(shape: Sequence[Int], given: Sequence[int], sizes: dict[str, int]) -> bool:
    """Whether an array of shape `given` can be a tensor of this shape; sizes that it decides are added to `sizes`."""
    learn(shape, given, sizes)
    return settled(shape, sizes) == tuple(given)


def learn(shape: Sequence[Int], given: Sequence[int], sizes: dict[str, int]) -> None:
    """Add the sizes that a tensor of this shape decides by an array of shape `given`: those that are extents alone."""
    for extent, length in zip(shape, given, strict=False) if len(shape) == len(given) else ():
        atom = extent.single
        if isinstance(atom, Size) and length >= 1:
            sizes.setdefault(atom.name, length)


def written(shape: Sequence[Int]) -> str:
    """A shape as messages say it: `[T, 64]`."""
    return f"[{', '.join(map(str, shape))}]"


def settled(shape: Sequence[Int], sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The shape in numbers; None where a size is not known."""
    try:
        return tuple(extent.evaluate(sizes) for extent in shape)
    except KeyError:
        return None


def only_sizes(condition: Condition) -> bool:
    """Whether a condition is about run-time sizes alone."""
    parts = list(walk(condition))
    if any(isinstance(part, Expr) for part in parts):
        return False
    atoms = (a for part in parts for value in integers(part) for a in value.atoms())
    return all(isinstance(a, Size | Floor | Modulo) for a in atoms)


def _sizes_in(condition: Condition) -> set[str]:
    found = (a for part in walk(condition) for value in integers(part) for a in value.atoms())
    return {a.name for a in found if isinstance(a, Size)}
