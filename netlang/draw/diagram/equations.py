"""The `graph` view: every equation as a box, the parameters it reads, and an arrow from each operand."""

from __future__ import annotations

from netlang.draw.diagram.blocks import visible
from netlang.draw.diagram.dot import Dot, Markup, Value, font, lines, small
from netlang.draw.diagram.kinds import kind, learned
from netlang.draw.diagram.layers import hand_over, heading
from netlang.draw.diagram.style import FRAME, GROUP, INK, LOOP, PAINTS, SMALL
from netlang.draw.notation import equation_label, shape_label, wrap
from netlang.draw.recurrent import carried, within_step
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Extern, Input, Node, Param, State, View

EQUATION_WIDTH, EQUATION_LINES = 44, 4  # of an equation, in characters and rows


def equations(graph: Graph) -> str:
    """DOT of a network, a box for each node of the graph, framed by the outermost scopes."""
    graph = visible(graph)
    weights = learned(graph)
    dot = Dot(graph.name)
    dot.attributes |= {"rankdir": "TB", "ranksep": 0.35, "nodesep": 0.3, "labelloc": "t", "newrank": "true"}
    dot.attributes["label"] = heading(graph, [paint_of(graph, n, weights) for n in graph])
    parents = {s.name: s.parent for s in graph.scopes}
    definitions = {s.name: s.definition for s in graph.scopes}
    framed: dict[str, list[Node]] = {}
    for node in graph:
        scope = node.origin.scope
        while parents.get(scope):
            scope = parents[scope]
        framed.setdefault("" if isinstance(node, Input) else scope, []).append(node)
    for scope, nodes in framed.items():
        if scope and len(nodes) > 1:
            label = lines(font(scope, size=SMALL + 1, bold=True) + small(f"  {definitions.get(scope, '')}"))
            with dot.cluster(scope, label, style="rounded,filled", color=FRAME, fillcolor=GROUP, labeljust="l"):
                for node in nodes:
                    draw_node(dot, graph, node, weights, scope)
        else:
            for node in nodes:
                draw_node(dot, graph, node, weights, "")
    for parameter, reader in parameter_rows(graph).items():
        dot.same_rank(parameter, reader)
    forth = within_step(graph)
    for node in graph:
        for operand in node.operands:
            if (operand, node.name) in forth:
                # heavier edges are straighter: the stream of data is, the parameters keep to the side
                dot.edge(operand, node.name, weight=1 if isinstance(graph[operand], Param | State) else 8)
    _draw_loops(dot, graph)
    draw_outputs(dot, graph)
    return dot.text()


def _draw_loops(dot: Dot, graph: Graph) -> None:
    """What recurrences hand over; where several equations read it, by a box for the value of the other step."""
    readers: dict[tuple[str, str], list[str]] = {}
    for (operand, user), place in carried(graph).items():
        readers.setdefault((operand, place), []).append(user)
    for (operand, place), users in readers.items():
        if len(users) == 1:
            hand_over(dot, operand, users[0], place)
            continue
        there = f"{operand}[{place}]"
        look: dict[str, Value] = {"color": LOOP, "fillcolor": "white", "style": "rounded,filled,dashed"}
        dot.node(there, lines(font(f"{operand.rsplit('.', 1)[-1]}[{place}]")), **look)
        dot.edge(operand, there, color=LOOP, penwidth=1.5, constraint="false")
        for user in users:
            dot.edge(there, user, color=LOOP, penwidth=1.5)


def parameter_rows(graph: Graph) -> dict[str, str]:
    """The equation beside which a parameter or state stands, on its row, so that the data runs straight down.

    That is the first one of its own scope to read it; others stand by themselves.
    """
    rows: dict[str, str] = {}
    for node in graph:
        users = graph.users[node.name]
        if isinstance(node, Param | State) and users and graph[users[0]].origin.scope == node.origin.scope:
            rows[node.name] = users[0]
    return rows


def draw_outputs(dot: Dot, graph: Graph) -> None:
    for name, node in graph.outputs.items():
        label = lines(font(name, bold=True), small("output"))
        dot.node(f"output {name}", label, fillcolor="white", color=INK, style="rounded,filled,bold")
        dot.edge(node, f"output {name}")


def paint_of(graph: Graph, node: Node, weights: frozenset[str]) -> str:
    return "loss" if node.name in graph.losses.values() else kind(node, weights)


def draw_node(dot: Dot, graph: Graph, node: Node, weights: frozenset[str], scope: str, **extra: Value) -> None:
    """The box of one node: parameters and states are ovals, inputs rounded, computed tensors show their equation."""
    painted = paint_of(graph, node, weights)
    paint = PAINTS[painted]
    attributes: dict[str, Value] = {"fillcolor": paint.fill, "color": paint.line, **extra}
    if isinstance(node, Param | State):
        attributes |= {"shape": "ellipse", "style": "filled" if isinstance(node, Param) else "filled,dashed"}
        attributes["margin"] = "0.06,0.04"
    elif isinstance(node, Input):
        attributes["style"] = "rounded,filled,dashed" if node.role == "target" else "rounded,filled,bold"
    dot.node(node.name, node_label(graph, node, scope), **attributes)


def node_label(graph: Graph, node: Node, scope: str) -> Markup:
    shape = shape_label(node.shape)
    if isinstance(node, Equation | View | Extern):
        rows = wrap(equation_label(graph, node, scope), EQUATION_WIDTH, EQUATION_LINES)
        return lines(*(font(row) for row in rows), small(shape))
    name = equation_label(graph, node, scope)
    what = f"{type(node).__name__.lower()} " if isinstance(node, State) else ""
    return lines(font(name, bold=True), small(what + (shape or "scalar")))
