"""The `backward` view: the equations of the forward pass, and beside each one its adjoint."""

from __future__ import annotations

from collections.abc import Mapping

from netlang.diagnostics import fail
from netlang.draw.diagram.blocks import blocks, scalar_root, visible
from netlang.draw.diagram.dot import Dot, font, lines, small
from netlang.draw.diagram.equations import EQUATION_LINES, EQUATION_WIDTH, draw_node, parameter_rows
from netlang.draw.diagram.kinds import learned
from netlang.draw.diagram.layers import hand_over, heading
from netlang.draw.diagram.style import BACKWARD, FRAME, PAINTS
from netlang.draw.notation import TIMES, equation_label, shape_label, wrap
from netlang.draw.recurrent import carried, within_step
from netlang.graph.graph import Graph
from netlang.graph.nodes import Input, Node, Param, State

_MOST = 48  # forward nodes; a larger network is drawn by blocks
_FILL = "#fdf3f1"


def backward(graph: Graph) -> str:
    """DOT of a derived graph: forward on the left, adjoints on the right, gradients along dashed red arrows.

    A graph without gradients is derived first, by its parameters (its inputs, where it has none). Raises NetlangError
    (`no-objective`) where it has no loss and no scalar output.
    """
    graph = graph if graph.gradients else _derived(graph)
    forward = visible(graph)
    if len(forward) > _MOST:
        return _by_blocks(graph, forward)
    weights = learned(forward)
    dot = _page(graph)
    groups = _adjoints(graph, forward)
    for node in forward:
        draw_node(dot, forward, node, weights, "", **({} if isinstance(node, Param | State) else {"group": "forward"}))
    for primal, nodes in groups.items():
        rows = [row for node in nodes for row in wrap(equation_label(graph, node), EQUATION_WIDTH, EQUATION_LINES)]
        label = lines(*(font(row) for row in rows), small(shape_label(nodes[-1].shape)))
        column = {} if primal in forward.nodes and isinstance(forward[primal], Param) else {"group": "backward"}
        dot.node(f"d/{primal}", label, fillcolor=_FILL, color=BACKWARD, **column)
    rows_of = parameter_rows(forward)
    for node in forward:
        if node.name not in rows_of:
            beside = [p for p, reader in rows_of.items() if reader == node.name]
            _row(dot, beside, node.name, [p for p in (node.name, *beside) if p in groups])
    back, forth = carried(forward), within_step(forward)
    for node in forward:
        for operand in node.operands:
            if (operand, node.name) in back:
                hand_over(dot, operand, node.name, back[operand, node.name])
            if (operand, node.name) in forth:
                dot.edge(operand, node.name, weight=1 if operand in rows_of else 8)
    home = {node.name: primal for primal, nodes in groups.items() for node in nodes}
    _gradient_edges(dot, graph, groups, home, {name: name for name in forward.nodes}, frozenset(rows_of))
    return dot.text()


def _derived(graph: Graph) -> Graph:
    from netlang.passes.derive import derive

    root = scalar_root(graph)
    if not root:
        message = f"`{graph.name}` has neither a loss nor a scalar output to differentiate"
        fail("no-objective", message, help="add a line `loss name(prediction, target)`")
    reached = graph.ancestors([root])
    params = [p.name for p in graph.params if p.name in reached]
    inputs = [n.name for n in graph.inputs("input") if n.name in reached and n.dtype == "real"]
    return derive(graph, root, params or inputs)


def _by_blocks(graph: Graph, forward: Graph) -> str:
    diagram = blocks(forward, opening=False)
    dot = _page(graph)
    for block in diagram.blocks:
        times = font(f"  {TIMES} {block.count}", bold=True) if block.count > 1 else ""
        detail = small(block.name if block.name != block.title else "")
        paint = PAINTS[block.kind]
        label = lines(font(block.title, bold=True) + times, detail)
        dot.node(block.name, label, fillcolor=paint.fill, color=paint.line, group="forward")
    for edge in diagram.edges:
        dot.edge(edge.tail, edge.head, weight=8)
    groups: dict[str, list[Node]] = {}
    for primal, nodes in _adjoints(graph, forward).items():
        if primal in diagram.block_of:
            groups.setdefault(diagram.block_of[primal], []).extend(nodes)
    learning = [p.name for p in graph.params if p.name in graph.gradients]
    for name in groups:
        own = [p.rsplit(".", 1)[-1] for p in learning if diagram.block_of.get(p) == name]
        said = ", ".join(own) if len(own) < 4 else f"{len(own)} parameter tensors"
        label = lines(font(f"d/{name}", bold=True), small(f"gradient of {said}" if own else ""))
        dot.node(f"d/{name}", label, fillcolor=_FILL, color=BACKWARD, group="backward")
        _row(dot, [], name, [name])
    home = {node.name: block for block, nodes in groups.items() for node in nodes}
    _gradient_edges(dot, graph, groups, home, diagram.block_of, frozenset())
    return dot.text()


def _page(graph: Graph) -> Dot:
    dot = Dot(graph.name)
    dot.attributes |= {"rankdir": "TB", "ranksep": 0.45, "nodesep": 0.45, "labelloc": "t", "newrank": "true"}
    dot.attributes["label"] = heading(visible(graph), [])
    return dot


def _adjoints(graph: Graph, forward: Graph) -> dict[str, list[Node]]:
    """The nodes of the backward pass by the forward node that they differentiate, helper nodes with their adjoint."""
    primal_of = {adjoint: primal for primal, adjoint in graph.gradients.items()}
    groups: dict[str, list[Node]] = {}
    for node in graph.prune(list(graph.gradients.values())):
        if node.name in forward.nodes:
            continue
        primal = primal_of.get(node.name) or _primal(node.name, forward)
        groups.setdefault(primal, []).append(node)
    return groups


def _primal(name: str, forward: Graph) -> str:
    base = name.removeprefix("d/")
    while base not in forward.nodes and "." in base:
        base = base.rsplit(".", 1)[0]
    return base if base in forward.nodes else name.removeprefix("d/")


def _row(dot: Dot, parameters: list[str], primal: str, adjoints: list[str]) -> None:
    """From left to right: the parameters that a node reads, the node, its adjoint, the parameters' gradients."""
    if parameters or adjoints:
        dot.same_rank(*parameters, primal, *(f"d/{name}" for name in adjoints))
    if primal in adjoints:
        dot.edge(primal, f"d/{primal}", style="invis")


def _gradient_edges(
    dot: Dot,
    graph: Graph,
    groups: Mapping[str, list[Node]],
    home: Mapping[str, str],
    block_of: Mapping[str, str],
    parameters: frozenset[str],
) -> None:
    """Red dashes carry gradients upwards; thin grey lines bring the forward values that an adjoint uses again."""
    gradient: dict[tuple[str, str], None] = {}
    back, forth = carried(graph), within_step(graph)
    returned: dict[tuple[str, str], str] = {}  # from step to step
    value: dict[tuple[str, str], None] = {}
    for primal, nodes in groups.items():
        for node in nodes:
            for operand in node.operands:
                if operand in home and home[operand] != primal:
                    if (operand, node.name) in back:
                        returned[home[operand], primal] = back[operand, node.name]
                    if (operand, node.name) in forth:
                        gradient[home[operand], primal] = None
                elif (
                    operand in block_of
                    and not isinstance(graph[operand], Input | State)
                    and block_of[operand] != primal
                ):
                    value[block_of[operand], primal] = None
    for source, target in gradient:
        if target in parameters:  # on the same row
            dot.edge(f"d/{source}", f"d/{target}", style="dashed", color=BACKWARD)
            continue
        # written from the lower row to the upper one, so that the rows follow the forward pass
        dot.edge(f"d/{target}", f"d/{source}", dir="back", style="dashed", color=BACKWARD, weight=8)
    for (source, target), place in returned.items():
        hand_over(dot, f"d/{source}", f"d/{target}", place)
    for source, target in value:
        dot.edge(source, f"d/{target}", color=FRAME, style="dotted", constraint="false", arrowsize=0.45)
