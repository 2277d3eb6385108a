"""Recognition of the functions of the library, and of the user's file, in expressions: `e^s[i] / sum(j) e^s[j]` is
`softmax(s)[i]`.

Every `fn` of one tensor is elaborated as a template, and unified with parts of an expression. No function is named
here: whatever the text defines can be recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from netlang.diagnostics import NetlangError
from netlang.draw.formula.nesting import Definition as Definition_
from netlang.draw.formula.nesting import instance, nested
from netlang.draw.formula.signs import row_sign
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import Module, module_from_text, standard_library
from netlang.graph.constructors import apply, base_and_exponent, mul, power, select
from netlang.graph.expression import Apply, Const, Expr, Read, Reduce, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Int
from netlang.graph.matching import Binding, Matcher, Part
from netlang.graph.nodes import Equation
from netlang.graph.traversal import reads, rename_tensors
from netlang.language.tree import Definition
from netlang.passes.algebra import cost, expand
from netlang.passes.stabilize import stabilize

ARGUMENT = "(x)"  # the tensor of a template, a name that no net can have
_WRITTEN = "x"
_UNKNOWN = 9973  # stands for an extent that is known at run time only, over which no reduction is recognised
_NET = "net Template:\n    input {input}\n    y = {function}({argument})\n    output y\n"


@dataclass(frozen=True)
class Template:
    """A function of the tensor `ARGUMENT`: its value at `indices` is `body`, where reductions are nested.

    `name` is the sign that the function is conventionally written with, else its name. `stable` is the body after the
    pass `stabilize`, for functions of one number.
    """

    name: str
    indices: tuple[str, ...]
    body: Expr
    stable: Expr

    @property
    def is_pointwise(self) -> bool:
        return not self.indices


class Templates:
    """The functions that can be recognised, elaborated on first use."""

    def __init__(self, module: Module | None = None) -> None:
        library = standard_library()
        self.module = module or Module("", {}, library)
        own = [d for d in self.module.definitions.values() if d.kind == "fn"]
        known = {d.name.id for d in own}
        shared = [library.find("callable", n) for n in library.names("callable") if n not in known]
        self.functions = [d for d in (*own, *shared) if d is not None and d.kind == "fn" and _takes_one(d)]
        self.made: dict[tuple[int, ...], list[Template]] = {}

    def pointwise(self) -> list[Template]:
        """The functions of one number, those with the larger bodies first."""
        return self._of(())

    def of_shape(self, shape: Sequence[Int]) -> list[Template]:
        """The functions of a whole tensor of the shape, along dimensions that are known before run time."""
        if not shape:
            return []
        return self._of(tuple(extent.constant if extent.is_constant else _UNKNOWN for extent in shape))

    def _of(self, shape: tuple[int, ...]) -> list[Template]:
        if shape not in self.made:
            found = [self._template(d, shape) for d in self.functions if (d.parameters[0].dims is None) == (not shape)]
            self.made[shape] = sorted((t for t in found if t is not None), key=lambda t: -cost(t.body))
        return self.made[shape]

    def _template(self, definition: Definition, shape: tuple[int, ...]) -> Template | None:
        name = definition.name.id
        declared = _WRITTEN + (f"[{', '.join(map(str, shape))}]" if shape else "")
        try:
            net = module_from_text(_NET.format(input=declared, function=name, argument=_WRITTEN)).own[0]
            graph = elaborate(Module(name, self.module.definitions, self.module.library), net)
        except NetlangError:  # the function does not take such a tensor
            return None
        result = graph[next(iter(graph.outputs.values()))]
        if not isinstance(result, Equation):
            return None
        body = nested(result.body, definitions(graph), result.indices)
        stable = stabilize(graph.prune([result.name]))[result.name]
        assert isinstance(stable, Equation)
        sign = None
        if isinstance(stable.body, Apply) and all(isinstance(a, Read) for a in stable.body.args):
            sign = row_sign(stable.body.op)
        if isinstance(body, Read | Const):
            return None
        renamed = {_WRITTEN: ARGUMENT}
        return Template(
            sign or name, result.indices, rename_tensors(body, renamed), rename_tensors(stable.body, renamed)
        )


def _takes_one(definition: Definition) -> bool:
    first, *rest = definition.parameters or (None,)
    return first is not None and first.default is None and all(p.default is not None for p in rest)


def definitions(graph: Graph) -> Definition_:
    """What tensors are where they are read, by the equations of a graph."""

    def definition(access: Read) -> Expr | None:
        node = graph.nodes.get(access.tensor)
        return instance(node.body, node.indices, access) if isinstance(node, Equation) else None

    return definition


# --- unification -----------------------------------------------------------------------------------------------------


class Unifier(Matcher):
    """Unifies templates with expressions; `definition` gives what a tensor is where it is read."""

    def __init__(self, definition: Definition_) -> None:
        self.definition = definition

    def match(self, pattern: Part, e: Part, known: Binding) -> Iterator[Binding]:
        if isinstance(pattern, Read) and pattern.tensor == ARGUMENT and not pattern.indices:
            if isinstance(e, Expr) and known.argument in (None, e):
                yield Binding(known.places, e)
        elif isinstance(pattern, Apply) and pattern.op == "mul" and isinstance(e, Apply) and e.op == "add":
            yield from self._scaled(pattern, e, known)  # -(a + b) is kept as -a - b
        elif isinstance(pattern, Reduce) and isinstance(e, Read):
            body = self.definition(e)
            if isinstance(body, Reduce):
                yield from self.match(pattern, body, known)
        else:
            yield from super().match(pattern, e, known)

    def _scaled(self, pattern: Apply, e: Expr, known: Binding) -> Iterator[Binding]:
        """A constant times the argument, where the expression is a sum."""
        if len(pattern.args) == 2 and isinstance(pattern.args[0], Const):
            yield from self.match(pattern.args[1], expand(mul(power(pattern.args[0], -1), e)) or e, known)


def _reciprocals(factors: Sequence[Expr]) -> list[Part]:
    """The factors of a product, a negative power as so many reciprocals."""
    out: list[Part] = []
    for factor in factors:
        base, exponent = base_and_exponent(factor)
        out += [power(base, -1)] * int(-exponent) if exponent in (-2, -3) else [factor]
    return out


# --- in expressions --------------------------------------------------------------------------------------------------

Named = Callable[[Template, str], str]


class Recognizer:
    """Replaces what a function gives by reads of a tensor with a name for the reader.

    `named` makes the name of that tensor from the function and the tensor that it is applied to.
    """

    def __init__(self, templates: Templates, graph: Graph, named: Named) -> None:
        self.templates, self.graph, self.named = templates, graph, named
        self.unify = Unifier(definitions(graph))

    def recognized(self, e: Expr) -> Expr:
        """The expression with what is recognised replaced, larger parts first."""
        if isinstance(e, Reduce):
            return Reduce(e.op, e.ranges, self.recognized(e.body))
        if not isinstance(e, Apply | Select):
            return e
        made = self._change(e)
        if made is not None:
            return self.recognized(made)
        if isinstance(e, Select):
            return select(e.condition, self.recognized(e.then), self.recognized(e.otherwise))
        return apply(e.op, *map(self.recognized, e.args))

    def function_of(self, node: Equation) -> tuple[Template, Expr] | None:
        """The function of one number that the equation applies to each element of a tensor, and that element."""
        for template in self.templates.pointwise():
            for found in self.unify.match(template.body, node.body, Binding()):
                if found.argument is not None and not isinstance(found.argument, Const):
                    return template, found.argument
        return None

    def _change(self, e: Apply | Select) -> Expr | None:
        for template, pattern in self._patterns():
            for found, rest in self._instances(pattern, e):
                if isinstance(found.argument, Read):
                    name = self.named(template, found.argument.tensor)
                    return self._with_rest(Read(name, found.argument.indices), rest)
        for tensor in dict.fromkeys(access.tensor for access in reads(e)):
            node = self.graph.nodes.get(tensor)
            for template in self.templates.of_shape(node.shape) if node is not None else ():
                body = rename_tensors(template.body, {ARGUMENT: tensor})
                for found, rest in self._instances(body, e):
                    places = tuple(found.places[i] for i in template.indices if i in found.places)
                    if len(places) == len(template.indices):
                        return self._with_rest(Read(self.named(template, tensor), places), rest)
        return None

    def _patterns(self) -> Iterator[tuple[Template, Expr]]:
        """The functions of one number as they are defined, and as `stabilize` leaves them."""
        for template in self.templates.pointwise():
            yield template, template.body
            if template.stable != template.body:
                yield template, template.stable

    def _instances(self, pattern: Expr, e: Apply | Select) -> Iterator[tuple[Binding, Sequence[Part]]]:
        """The ways to see the expression, or some factors of a product, as the template."""
        if isinstance(pattern, Apply) and isinstance(e, Apply) and pattern.op == "mul" == e.op:
            yield from self.unify.some(pattern.args, _reciprocals(e.args), Binding())
        else:
            for found in self.unify.match(pattern, e, Binding()):
                yield found, []

    def _with_rest(self, made: Read, rest: Sequence[Part]) -> Expr:
        return mul(made, *cast(Sequence[Expr], rest))
