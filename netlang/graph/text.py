"""The graph as deterministic text: `netlang compile --emit graph` and the golden files of the tests."""

from __future__ import annotations

from collections.abc import Iterable

from netlang.graph.constructors import base_and_exponent
from netlang.graph.expression import (
    All,
    Any,
    Apply,
    AtLeastZero,
    Compare,
    Condition,
    Const,
    Expr,
    IsZero,
    Not,
    Read,
    Reduce,
    Select,
    Whole,
)
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, size
from netlang.graph.nodes import Equation, Extern, Input, Node, Random, View

_SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(5)


def number(value: float) -> str:
    """A float as short as it reads back: `2`, `0.5`, `1e-05`."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def _number(value: float) -> str:
    return ("-inf" if value < 0 else "inf") if value in (float("inf"), -float("inf")) else number(value)


def expression_text(e: Expr) -> str:
    """An expression in netlang's own notation."""
    return _expr(e)[0]


def _range(name: str, extent: Int) -> str:
    """An index with its extent; that of the batch goes without saying."""
    return name if extent == size(name) else f"{name} < {extent}"


def condition_text(c: Condition) -> str:
    if isinstance(c, IsZero):
        return _equal(c.value, "==")
    if isinstance(c, AtLeastZero):
        low, high = c.value.sides()
        return f"{low} <= {high}"
    if isinstance(c, Compare):
        return f"{_expr(c.left)[0]} {c.op} {_expr(c.right)[0]}"
    if isinstance(c, Not):
        if isinstance(c.part, IsZero):
            return _equal(c.part.value, "!=")
        return f"not ({condition_text(c.part)})"
    if isinstance(c, All):
        return " and ".join(_nested(p) for p in c.parts) if c.parts else "true"
    assert isinstance(c, Any)
    return " or ".join(_nested(p) for p in c.parts) if c.parts else "false"


def _nested(c: Condition) -> str:
    return f"({condition_text(c)})" if isinstance(c, All | Any) and len(c.parts) > 1 else condition_text(c)


def _equal(value: Int, op: str) -> str:
    low, high = value.sides()
    return f"{high} {op} {low}"


def _expr(e: Expr) -> tuple[str, int]:
    """Text and binding strength."""
    if isinstance(e, Const):
        return _number(e.value), _ATOM if e.value >= 0 else _SUM
    if isinstance(e, Whole):
        return str(e.value), _ATOM if e.value.single else _PRODUCT if len(e.value.terms) == 1 else _SUM
    if isinstance(e, Read):
        return f"{e.tensor}[{', '.join(map(str, e.indices))}]" if e.indices else e.tensor, _ATOM
    if isinstance(e, Select):
        return (
            f"({expression_text(e.then)} if {condition_text(e.condition)} else {expression_text(e.otherwise)})",
            _ATOM,
        )
    if isinstance(e, Reduce):
        ranges = ", ".join(_range(name, extent) for name, extent in e.ranges)
        return f"{e.op}({ranges}) {_wrap(e.body, _PRODUCT)}", _PRODUCT
    assert isinstance(e, Apply)
    if e.op == "add":
        return _sum(e.args), _SUM
    if e.op == "mul":
        return _product(e.args), _PRODUCT
    if e.op == "pow":
        base, exponent = e.args
        if exponent == Const(0.5):
            return f"sqrt({expression_text(base)})", _ATOM
        if isinstance(exponent, Const) and exponent.value < 0:
            return _product((e,)), _PRODUCT
        return f"{_wrap(base, _ATOM)}^{_wrap(exponent, _ATOM)}", _POWER
    return f"{e.op}({', '.join(expression_text(a) for a in e.args)})", _ATOM


def _wrap(e: Expr, strength: int) -> str:
    text, own = _expr(e)
    return text if own >= strength else f"({text})"


def _sum(terms: Iterable[Expr]) -> str:
    out = ""
    for term in terms:
        text = _wrap(term, _PRODUCT) if not isinstance(term, Const) else _number(term.value)
        if not out:
            out = text
        elif text.startswith("-"):
            out += f" - {text[1:]}"
        else:
            out += f" + {text}"
    return out


def _product(factors: tuple[Expr, ...]) -> str:
    sign, over, under = "", [], []
    for factor in factors:
        base, exponent = base_and_exponent(factor)
        if factor == Const(-1.0) and len(factors) > 1:
            sign = "-"
        elif exponent < 0:
            under.append(_wrap(base if exponent == -1 else Apply("pow", (base, Const(-exponent))), _POWER))
        elif isinstance(factor, Const):
            over.append(_number(factor.value))
        else:
            over.append(_wrap(factor, _UNARY))
    text = sign + (" * ".join(over) or "1")
    for divisor in under:
        text += f" / {divisor}"
    return text


def shape_text(shape: Iterable[Int]) -> str:
    return "[" + ", ".join(str(extent) for extent in shape) + "]"


def node_text(node: Node) -> str:
    """One line: what the node is."""
    if isinstance(node, Equation):
        ranges = ", ".join(_range(i, n) for i, n in zip(node.indices, node.shape, strict=True))
        left = f"{node.name}[{ranges}]" if ranges else node.name
        return f"{left} = {expression_text(node.body)}" + ("  : int" if node.dtype == "int" else "")
    kind = type(node).__name__.lower()
    text = f"{node.name}{shape_text(node.shape)}"
    if isinstance(node, Input):
        return f"{node.role} {text}" + (f": class({node.classes})" if node.classes is not None else "")
    if isinstance(node, Random):
        return f"random {text} ~ {node.distribution}" + ("" if node.per_example else "  : once")
    if isinstance(node, View):
        return f"view {text} = {node.operand}"
    if isinstance(node, Extern):
        return f"extern {text} = {node.operation}({', '.join(node.inputs)})"
    return f"{kind} {text}"


def graph_text(graph: Graph) -> str:
    """The whole graph, a line for each node in definition order, then the roots."""
    lines = [f"graph {graph.name}" + (" (batched)" if graph.lifted else "")]
    lines += [f"  {node_text(node)}" for node in graph]
    for title, roots in graph.root_maps.items():
        if roots:
            lines.append(f"{title}")
            lines += [f"  {name} = {node}" for name, node in roots.items()]
    return "\n".join(lines) + "\n"
