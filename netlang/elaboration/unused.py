"""Names of the text that nothing refers to: parameters of definitions, and names defined in bodies."""

from __future__ import annotations

from collections.abc import Iterator

from netlang.diagnostics import Diagnostic, Span, Warnings
from netlang.elaboration.modules import Module
from netlang.language import tree
from netlang.language.names import names_in


def unused_names(module: Module) -> tuple[Diagnostic, ...]:
    """Warnings about the file's own definitions, in the order of the text.

    A `train` section may use the arguments of its net. Optimizers and schedules have parameters by convention, so only
    those that they name themselves, with defaults, count.
    """
    warnings = Warnings()
    for definition in module.own:
        if definition.kind == "train":
            continue
        section = module.find("train", definition.name.id) if definition.kind == "net" else None
        used = {name.split(".")[0] for name in names_in([definition, *([section] if section else [])])}
        for parameter in definition.parameters:
            if parameter.name not in used and parameter.dims is None and parameter.type is None:
                _parameter(definition, parameter, warnings)
        for name in _assigned(definition.body):
            if name.id not in used:
                warnings.add(
                    "dead-tensor",
                    f"`{name.id}` is computed but nothing uses it",
                    name.span,
                    help="remove it, or make it an output" if definition.kind == "net" else "remove it",
                )
    return tuple(warnings.found)


def same_statement(module: Module, one: Span, other: Span) -> bool:
    """Whether two places of a file's own definitions belong to one statement."""
    statements = [s for d in module.own for s in _flat(d.body)]
    return any(_holds(s.span, one) and _holds(s.span, other) for s in statements)


def _flat(body: tuple[tree.Statement, ...]) -> Iterator[tree.Statement]:
    for statement in body:
        if isinstance(statement, tree.For):
            yield from _flat(statement.body)
        else:
            yield statement


def _holds(whole: Span, part: Span) -> bool:
    return whole.source is part.source and whole.start <= part.start and part.end <= whole.end


def _parameter(definition: tree.Definition, parameter: tree.Parameter, warnings: Warnings) -> None:
    warnings.add(
        "unused-argument",
        f"`{definition.name.id}` does not use its argument `{parameter.name}`",
        Span(parameter.span.source, parameter.span.start, parameter.span.start + len(parameter.name)),
        help="remove it, or use it",
    )


def _assigned(body: tuple[tree.Statement, ...]) -> Iterator[tree.Name]:
    for statement in body:
        if isinstance(statement, tree.Assign):
            yield from statement.names[-1:]  # of several results the earlier ones cannot be left out
        elif isinstance(statement, tree.Equation):
            yield statement.name
        elif isinstance(statement, tree.For):
            yield from _assigned(statement.body)
