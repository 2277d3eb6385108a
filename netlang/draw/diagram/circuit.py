"""A circuit with values: operations as nodes, on each wire the forward value above and the gradient below."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from netlang.diagnostics import fail, listing, nearest
from netlang.draw.diagram.blocks import scalar_root, visible
from netlang.draw.diagram.dot import Dot, Markup, font
from netlang.draw.diagram.explode import explode, is_slice
from netlang.draw.diagram.style import BACKWARD, FORWARD, SMALL, TEXT, WIRE
from netlang.draw.notation import MINUS, TIMES, number_label, shape_label, shorten, value_label
from netlang.graph.expression import Apply, Const, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Extern, Input, Node, Param, Random, State, View
from netlang.graph.text import expression_text, shape_text
from netlang.passes.cost import is_contraction

Array = NDArray[np.float64]
_SHAPES = "give nested lists, as in `W=[[1, 2], [3, 4]]`"


def circuit(graph: Graph, at: Mapping[str, float | Array]) -> str:
    """DOT of a per-example graph as a circuit, evaluated at the values of its inputs, parameters and states.

    Values are float64; arrays have the shapes of the graph. Gradients are those of the first loss, else of the first
    scalar output; where there is neither, only forward values are drawn. Raises NetlangError: `unknown-name`,
    `missing-value`, `bad-value`, `array-shape`.
    """
    from netlang.targets.reference import evaluate

    graph = visible(graph)
    arrays = _given(graph, at)
    exploded = explode(graph)
    wires = [n.name for n in exploded if n.dtype == "real"]
    objective = scalar_root(exploded)
    derived = exploded
    if objective:
        from netlang.passes.derive import derive

        derived = derive(exploded, objective, [name for name in wires if name in exploded.ancestors([objective])])
    values = evaluate(derived, arrays)
    forward = {name: values[name] for name in exploded.nodes}
    gradients = {name: values[node] for name, node in derived.gradients.items() if name in exploded.nodes}
    return _draw(graph, exploded, forward, gradients)


def _given(graph: Graph, at: Mapping[str, float | Array]) -> dict[str, Array]:
    """The values as float64 arrays, one for each input, parameter and state of the graph and no others."""
    sources = {n.name: n for n in graph if isinstance(n, Input | Param | State)}
    for name in at:
        if name not in sources:
            message = f"`{graph.name}` has no input or parameter `{name}`"
            fail("unknown-name", message, help=nearest(name, sources) or f"there are {listing(sources)}")
    missing = [name for name in sources if name not in at]
    if missing:
        example = ",".join(f"{name}=..." for name in missing)
        fail("missing-value", f"no value is given for {listing(missing)}", help=f"add `{example}` to the values")
    arrays: dict[str, Array] = {}
    for name, node in sources.items():
        try:
            arrays[name] = np.asarray(at[name], dtype=np.float64)
        except (ValueError, TypeError):  # ragged lists, texts
            fail("bad-value", f"the value of `{name}` is not a number or an array of numbers", help=_SHAPES)
        if node.dtype == "int" and (arrays[name] != np.floor(arrays[name])).any():
            fail("bad-value", f"`{name}` holds integers, the value given does not", help="give whole numbers")
        if len(arrays[name].shape) != len(node.shape) or any(
            extent.is_constant and extent.constant != length
            for extent, length in zip(node.shape, arrays[name].shape, strict=True)
        ):
            message = f"`{name}` has shape {shape_text(node.shape)}, the value given has {list(arrays[name].shape)}"
            fail("array-shape", message, node.origin.span, help=_SHAPES)
    return arrays


def _draw(graph: Graph, exploded: Graph, forward: Mapping[str, Array], gradients: Mapping[str, Array]) -> str:
    dot = Dot(graph.name)
    dot.attributes |= {"rankdir": "LR", "ranksep": 0.22, "nodesep": 0.3}
    finals = {*graph.outputs.values(), *graph.losses.values()}
    titles = {node: name for name, node in [*graph.losses.items(), *graph.outputs.items()]}
    given = {n.name for n in exploded if not n.operands}
    picked = {n.name for n in exploded if isinstance(n, Equation) and is_slice(n.body) and n.operands[0] in given}
    # a tensor of which single elements alone are used is drawn as these elements
    dissolved = {name for name in given if exploded.users[name] and set(exploded.users[name]) <= picked} - finals
    picked = {name for name in picked if exploded[name].operands[0] in dissolved}
    for node in exploded:
        if node.name in dissolved:
            continue
        source = node.name in given or node.name in picked
        hoisted = node.name.rpartition(".")[0] in graph.nodes  # a reduction that a named equation contains
        named = node.name in picked or (node.name in graph.nodes and not hoisted)
        name = titles.get(node.name, node.name if named else "")
        label = _wire(name, forward[node.name], gradients.get(node.name), source or node.name not in finals)
        dot.node(f"{node.name} wire", label, shape="plain", style="", fillcolor="white")
        if not source:
            text = operation_label(node)
            wide = len(text) > 3
            shape = {"shape": "box", "style": "rounded,filled"} if wide else {"shape": "circle", "style": "filled"}
            size = {"margin": "0.1,0.05"} if wide else {"margin": "0.01", "width": 0.44, "fixedsize": "true"}
            face = {"fillcolor": "#eef3f9", "color": WIRE, "fontsize": TEXT + 1}
            dot.node(node.name, text, **shape, **size, **face)  # type: ignore[arg-type]  # mixed value types
            dot.edge(node.name, f"{node.name} wire", arrowhead="none", headport="w", weight=4)
        for operand in () if source else exploded.network.predecessors(node.name):
            for _ in range(exploded.network.number_of_edges(operand, node.name)):
                dot.edge(f"{operand} wire", node.name, arrowsize=0.55, tailport="e")
    return dot.text()


def _wire(name: str, value: Array, gradient: Array | None, leads_on: bool) -> Markup:
    """A stretch of wire with its name at its beginning (at its end, for a result)."""
    above = font(value_label(value), size=SMALL + 1, color=FORWARD)
    below = (
        font(value_label(gradient), size=SMALL + 1, color=BACKWARD)
        if gradient is not None
        else font(" ", size=SMALL + 1)
    )
    title = f'<TD ROWSPAN="2">{font(name, bold=True)}</TD>' if name else ""
    line = f'<TD SIDES="B" BORDER="1" COLOR="{WIRE}" VALIGN="BOTTOM">{above}</TD>'
    first = title + line if leads_on else line + title
    return Markup(
        '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="3">'
        f'<TR>{first}</TR><TR><TD VALIGN="TOP">{below}</TD></TR></TABLE>'
    )


# --- operations ----------------------------------------------------------------------------------------------------

_REDUCTIONS = {"sum": "\N{N-ARY SUMMATION}", "prod": "\N{N-ARY PRODUCT}"}


def operation_label(node: Node) -> str:
    """What the circle of an operation says: `+`, `×`, `exp`, `1/x`, `+1`, `max`, `Σ`."""
    if isinstance(node, Equation):
        return _body_label(node.body)
    if isinstance(node, View):
        return shape_label(node.shape)
    if isinstance(node, Extern):
        return node.operation
    return node.distribution if isinstance(node, Random) else node.name


def _body_label(body: Expr) -> str:
    if isinstance(body, Reduce):
        return TIMES if is_contraction(body) else _REDUCTIONS.get(body.op, body.op)
    if not isinstance(body, Apply):
        if isinstance(body, Read):
            return f"[{', '.join(i.key for i in body.indices)}]" if is_slice(body) else "="
        return shorten(expression_text(body), 36)
    constant = next((a.value for a in body.args if isinstance(a, Const)), None)
    if body.op == "add":
        if constant is not None:
            return f"+{number_label(constant)}" if constant >= 0 else number_label(constant)
        return MINUS if any(isinstance(a, Apply) for a in body.args) else "+"
    if body.op == "mul":
        if constant is not None:
            return f"{TIMES}{number_label(constant)}"
        return "\N{DIVISION SIGN}" if any(isinstance(a, Apply) for a in body.args) else TIMES
    if body.op == "pow":
        return _power_label(constant)
    return body.op if constant is None else f"{body.op}({number_label(constant)}, x)"


def _power_label(exponent: float | None) -> str:
    if exponent is None:
        return "x^y"
    known = {-1.0: "1/x", 0.5: "\N{SQUARE ROOT}", 2.0: "x\N{SUPERSCRIPT TWO}", 3.0: "x\N{SUPERSCRIPT THREE}"}
    return known.get(exponent, f"x^{number_label(exponent)}")
