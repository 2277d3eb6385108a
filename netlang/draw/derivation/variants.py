"""The graphs that a derivation differentiates: the network itself, and two in which its derivatives are short.

All three have the same nodes with the same adjoints, so that what follows from them can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from netlang.draw.derivation.occurring import Occurring
from netlang.draw.derivation.recognize import ARGUMENT, Recognizer
from netlang.graph import integer
from netlang.graph.constructors import mul, select
from netlang.graph.expression import ONE, TRUE, Apply, Expr, Read, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import index
from netlang.graph.nodes import Equation, Node, Origin, Param
from netlang.graph.scalars import SCALARS
from netlang.graph.traversal import fresh, reads, rewrite, rewrite_condition, walk
from netlang.passes.stabilize import stabilize


def with_arguments(graph: Graph, recognizer: Recognizer) -> tuple[Graph, dict[str, str]]:
    """A function of an expression, `σ(W x + b)`, as a function of a tensor of its own.

    Gives with each such tensor the name of the one that is computed from it.
    """
    nodes: list[Node] = []
    arguments: dict[str, str] = {}
    for node in graph:
        if isinstance(node, Equation):
            found = recognizer.function_of(node)
            argument = found[1] if found else _only_argument(node.body)
            if argument is not None and len(reads(argument)) > 1:
                name = fresh(f"{node.name}.z", graph.nodes)
                inner = Read(name, node.places)
                body = _at(found[0].body, inner) if found else rewrite(node.body, _exchange(argument, inner))
                nodes.append(replace(node, name=name, body=argument))
                node = replace(node, body=body)
                arguments[name] = node.name
        nodes.append(node)
    return graph.evolve(nodes), arguments


def symbolic(graph: Graph, recognizer: Recognizer, occurring: Occurring) -> Graph:
    """Functions of one tensor as products with a tensor that stands for their derivative."""
    placeholders: dict[str, Node] = {}
    nodes: list[Node] = []
    for node in graph:
        found = recognizer.function_of(node) if isinstance(node, Equation) else None
        if found is not None and isinstance(node, Equation):
            template, argument = found
            if isinstance(argument, Read) and argument.indices == node.places:
                name = occurring.named(template, argument.tensor, prime=True)
                placeholders[name] = Param(name, graph[argument.tensor].shape, "real", Origin(None))
                node = replace(node, body=mul(Read(name, node.places), argument))
        nodes.append(node)
    return graph.evolve([*placeholders.values(), *nodes])


def valued(graph: Graph) -> Graph:
    """Each equation, by itself, in the form whose derivative is written with the value, as `stabilize` makes it."""
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Equation) and any(isinstance(e, Apply) for e in walk(node.body)):
            operands = [Param(o, graph[o].shape, graph[o].dtype, Origin(None)) for o in node.operands if o != node.name]
            node = stabilize(Graph.build("", [*operands, node]))[node.name]
        nodes.append(node)
    return graph.evolve(nodes)


def with_unit_indices(graph: Graph) -> Graph:
    """Equations with one element read other tensors of one element at their own index, not at the constant 0."""

    def changed(node: Node) -> Node:
        unit = (
            next((i for i, n in node.extents.items() if n == integer.ONE), None) if isinstance(node, Equation) else ""
        )
        if not unit or not isinstance(node, Equation):
            return node

        def change(e: Expr) -> Expr | None:
            single = isinstance(e, Read) and graph[e.tensor].shape == (integer.ONE,)
            return Read(e.tensor, (index(unit),)) if single and isinstance(e, Read) else None

        return replace(node, body=rewrite(node.body, change))

    return graph.evolve([changed(node) for node in graph])


def without_unit_guards(graph: Graph) -> Graph:
    """An index with a single place is 0, so that a guard that says this says nothing."""

    def changed(node: Node) -> Node:
        if not isinstance(node, Equation):
            return node
        unit = {i: integer.ZERO for i, n in node.extents.items() if n == integer.ONE}

        def change(e: Expr) -> Expr | None:
            if not isinstance(e, Select):
                return None
            condition = rewrite_condition(e.condition, ints=lambda value: value.substitute(unit))
            return select(condition, e.then, e.otherwise) if condition == TRUE else None

        return replace(node, body=rewrite(node.body, change))

    return graph.evolve([changed(node) for node in graph])


def seeded(graph: Graph, seed: str) -> Graph:
    """With the derivative of the objective by itself, which is 1, written out."""

    def changed(node: Node) -> Node:
        if not isinstance(node, Equation) or seed not in node.operands:
            return node
        return replace(node, body=rewrite(node.body, _exchange(Read(seed, ()), ONE)))

    return graph.evolve([changed(node) for node in graph])


def _only_argument(body: Expr) -> Expr | None:
    """The argument of a scalar function of one argument that is the whole body."""
    if isinstance(body, Apply) and SCALARS[body.op].arity == 1:
        return body.args[0]
    return None


def _at(body: Expr, argument: Expr) -> Expr:
    """A template's body at an argument."""
    return rewrite(body, _exchange(Read(ARGUMENT, ()), argument))


def _exchange(old: Expr, new: Expr) -> Callable[[Expr], Expr | None]:
    return lambda e: new if e == old else None
