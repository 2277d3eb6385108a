"""The functions of the library that occur in a derivation: their names, what they are, and their derivatives."""

from __future__ import annotations

from dataclasses import replace

from netlang.draw.derivation.recognize import ARGUMENT, Template, Templates
from netlang.draw.formula.element import Virtual, Vocabulary
from netlang.graph.expression import ZERO, Expr, Read
from netlang.passes.algebra import rational
from netlang.passes.partials import partials


class Occurring:
    """Names of functions of tensors, as they are recognised: `virtual` tensors, and the templates that they are of."""

    def __init__(self, templates: Templates) -> None:
        self.templates = templates
        self.virtual: dict[str, Virtual] = {}
        self.used: dict[str, Template] = {}

    def named(self, template: Template, tensor: str, prime: bool = False) -> str:
        """The virtual tensor of a function of a tensor, or of its derivative there."""
        name = f"{template.name}{chr(39) if prime else ''}({tensor})"
        self.virtual[name] = Virtual(template.name, tensor, prime, template.is_pointwise)
        self.used[template.name] = template
        return name

    def note(self, name: str) -> None:
        """A function of one number of this name occurs in a formula, if there is one."""
        for template in self.templates.pointwise():
            if template.name == name:
                self.used.setdefault(name, template)

    def words(self, words: Vocabulary, template: Template) -> Vocabulary:
        """A vocabulary in which the value of the template's function has a name."""
        made = Virtual(template.name, ARGUMENT, False, True)
        return replace(words, virtual={**words.virtual, _value(template): made})


def derivative(template: Template) -> Expr | None:
    """The derivative of a function of one number, in terms of its argument and its value."""
    if not template.is_pointwise:
        return None
    variable = Read(ARGUMENT, ())
    found = partials(template.stable, ARGUMENT.__eq__, Read(_value(template), ()))
    return rational(found[variable]) if variable in found else ZERO


def _value(template: Template) -> str:
    return f"{template.name}({ARGUMENT})"
