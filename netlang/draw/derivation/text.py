"""Derivations as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlang.draw.derivation.conventions import conventions
from netlang.draw.derivation.steps import Derivation, Equality, Result, Step
from netlang.draw.formula.formula import Formula
from netlang.draw.formula.text import formula_text

INDENT = "    "


def derivation_text(d: Derivation) -> str:
    """The derivation in Unicode text: the network, the steps back from the objective, and the gradients."""
    lines = [f"{d.net}: the derivatives of {_objective(d)}", ""]
    if d.functions:
        lines += ["Functions", "", *_aligned(d.functions), ""]
    lines += ["Forward", ""]
    for title, equations in d.forward:
        lines += [*([f"  {title}"] if title else []), *_aligned(equations), ""]
    lines += ["Notation", "", *(f"{INDENT}{line}" for line in conventions(d)), "", "Backward", ""]
    section = ""
    for step in d.steps:
        if step.section != section:
            section = step.section
            if section:
                lines += [f"  {section}", ""]
        lines += [*_step(step), ""]
    lines += ["Gradients", "", *_aligned([r.final for r in d.gradients])]
    return "\n".join(lines) + "\n"


def _objective(d: Derivation) -> str:
    return d.symbol if d.symbol == d.objective else f"{d.symbol} = {d.objective}"


def _aligned(equations: Sequence[Equality]) -> list[str]:
    """Equations below each other, their signs of equality aligned, the shapes at the end."""
    rows = [(formula_text(e.left), formula_text(e.right), e.shape) for e in equations]
    left = max((len(r[0]) for r in rows if len(r[0]) <= 24), default=0)
    right = max((len(r[1]) for r in rows if len(r[1]) <= 48), default=0)
    return [f"{INDENT}{a:<{left}} = {b:<{right if c else 0}}{f'   ({c})' if c else ''}" for a, b, c in rows]


def _step(step: Step) -> list[str]:
    head = f"  {step.number}. {_equality(step.forward)}"
    lines = [head, *(f"{INDENT} {_equality(place)}" for place in step.places)]
    lines += [f"{INDENT} · {rule}" for rule in step.rules]
    for result in step.results:
        lines += ["", *(f"{INDENT}   {line}" for line in _result(result))]
    if step.also:
        lines += ["", f"{INDENT} (gives a part of the derivative by {', '.join(step.also)} too)"]
    return lines


def _result(result: Result) -> Iterable[str]:
    previous: Formula | None = None
    rows: list[tuple[str, str]] = []
    for form in (result.raw, *result.forms):
        rows.append(("" if form.left == previous else formula_text(form.left), formula_text(form.right)))
        previous = form.left
    width = max(len(left) for left, _ in rows)
    for k, (left, right) in enumerate(rows):
        yield f"{left:<{width}} = {right}" + (f"   ({result.shape})" if k == len(rows) - 1 and result.shape else "")


def _equality(e: Equality) -> str:
    return f"{formula_text(e.left)} = {formula_text(e.right)}"
