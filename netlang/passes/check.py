"""The pass behind `netlang check`: every net of a file in both modes, its recipe, and the lints."""

from __future__ import annotations

from collections.abc import Mapping

from netlang.diagnostics import Diagnostic, NetlangError, listing, nearest
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import Module, choose_net, load_module
from netlang.elaboration.recipe import read_recipe
from netlang.elaboration.unused import same_statement, unused_names
from netlang.elaboration.values import Value
from netlang.language import tree
from netlang.passes.lift import check_carried, lift
from netlang.passes.lint import lint
from netlang.passes.totals import totals


def check(path: str, net: str | None = None, arguments: Mapping[str, Value] | None = None) -> list[Diagnostic]:
    """What is wrong with a file (errors) and what is likely a mistake (warnings).

    `arguments` are those of the net named; without a name they go to the only net. Raises `NetlangError` where the file
    cannot be read or parsed.
    """
    return check_module(load_module(path), net, arguments)


def check_module(
    module: Module, net: str | None = None, arguments: Mapping[str, Value] | None = None
) -> list[Diagnostic]:
    """The same for a module that is loaded already."""
    whole = net is None and not arguments
    nets = module.nets() if whole else (choose_net(module, net),)
    found: dict[Diagnostic, None] = {}
    for definition in nets:
        found |= dict.fromkeys(_check_net(module, definition, arguments or {}))
    if whole:
        found |= dict.fromkeys(_sections_without_net(module))
    if any(d.severity == "error" for d in found):
        return list(found)  # what an error hides may look unused
    unused = unused_names(module)
    found |= dict.fromkeys(unused)
    return [d for d in found if not any(_repeats(module, d, other) for other in unused)]


def _check_net(module: Module, net: tree.Definition, arguments: Mapping[str, Value]) -> list[Diagnostic]:
    try:
        inference = elaborate(module, net, arguments)
        training = elaborate(module, net, arguments, training=True)
        recipe = read_recipe(module, net, arguments)
        if recipe is not None:
            from netlang.passes.optimize import check_recipe  # only now: it loads the differentiation

            check_recipe(training, module, recipe)
        check_carried(inference, training)
        if inference.metrics:
            totals(lift(inference))
    except NetlangError as error:
        return list(error.diagnostics)
    return list(lint(inference, training))


def _repeats(module: Module, one: Diagnostic, other: Diagnostic) -> bool:
    """Whether a warning of the graph says what one of the text says more exactly."""
    if one is other or one.code != other.code or one.span is None or other.span is None:
        return False
    return same_statement(module, one.span, other.span)


def _sections_without_net(module: Module) -> list[Diagnostic]:
    nets = [name for namespace, name in module.definitions if namespace == "net"]
    return [
        Diagnostic(
            "unknown-name",
            f"no net is called `{section.name.id}`",
            section.name.span,
            help=nearest(section.name.id, nets) or f"there are {listing(nets)}",
        )
        for section in module.own
        if section.kind == "train" and section.name.id not in nets
    ]
