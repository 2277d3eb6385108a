"""The `layers` view: a box for each layer, inputs and outputs at the ends, shapes on the arrows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlang.draw.diagram.blocks import Block, Diagram, Frame, blocks, visible
from netlang.draw.diagram.dot import Dot, Markup, font, lines, small
from netlang.draw.diagram.style import FRAME, GROUP, INK, LOOP, MUTED, PAINTS, SHARED, SMALL, TITLE
from netlang.draw.notation import TIMES, count_label, shape_label
from netlang.draw.recurrent import carried, within_step
from netlang.graph.graph import Graph
from netlang.graph.integer import product

NARROW = "\N{NO-BREAK SPACE}" * 2
_WIDE = 5  # up to so many boxes in a row the picture runs from left to right, else from top to bottom


def layers(graph: Graph) -> str:
    """DOT of a network as layers; repeated blocks are drawn once, common parameters are linked."""
    graph = visible(graph)
    diagram = blocks(graph)
    outputs = [(f"output {name}", name, node) for name, node in graph.outputs.items()]
    direction = "LR" if depth([(e.tail, e.head) for e in diagram.edges]) <= _WIDE else "TB"
    dot = Dot(graph.name)
    dot.attributes |= {"rankdir": direction, "ranksep": 0.42, "nodesep": 0.38, "labelloc": "t"}
    dot.attributes["label"] = heading(graph, [b.kind for b in diagram.blocks])
    borders = _borders(diagram)
    _boxes(dot, graph, diagram, "", borders)
    for identifier, name, _ in outputs:
        dot.node(identifier, lines(font(name, bold=True), small("output")), fillcolor="white", color=INK)
    loops = _loops(graph, diagram)
    for edge in diagram.edges:
        if (edge.tensor, edge.head) not in loops.within:
            continue
        dot.edge(edge.tail, edge.head, label=f" {shape_label(graph[edge.tensor].shape)} ")
    for (tail, head), said in loops.back.items():
        hand_over(dot, tail, head, ", ".join(said))
    for identifier, _, node in outputs:
        dot.edge(diagram.block_of[node], identifier, label=f" {shape_label(graph[node].shape)} ")
    _links(dot, diagram, borders)
    return dot.text()


def hand_over(dot: Dot, tail: str, head: str, said: str) -> None:
    """An arrow for what a recurrence hands from step to step; it does not say what stands above what."""
    dot.edge(tail, head, label=Markup(small(f" {said} ", LOOP)), color=LOOP, penwidth=1.5, constraint="false")


@dataclass(frozen=True)
class _Loops:
    """What recurrences hand from step to step, by the blocks of tail and head; and (tensor, head) for the rest."""

    back: Mapping[tuple[str, str], Mapping[str, None]]
    within: frozenset[tuple[str, str]]


def _loops(graph: Graph, diagram: Diagram) -> _Loops:
    back: dict[tuple[str, str], dict[str, None]] = {}
    for (operand, user), place in carried(graph).items():
        if operand in diagram.block_of and user in diagram.block_of:
            ends = diagram.block_of[operand], diagram.block_of[user]
            back.setdefault(ends, {})[f"{operand.rsplit('.', 1)[-1]}[{place}]"] = None
    within = frozenset((o, diagram.block_of[u]) for o, u in within_step(graph) if u in diagram.block_of)
    return _Loops(back, within | {(e.tensor, e.head) for e in diagram.edges if e.head not in diagram.block_of.values()})


def heading(graph: Graph, kinds: list[str], said: str = "") -> Markup:
    """The net's name, its parameters, what else is said of the picture, and a legend of the colours that occur."""
    total = count_label(sum(product(p.shape).constant for p in graph.params), "parameter")
    total = ", ".join(part for part in (total, said) if part)
    title = font(graph.name, size=TITLE + 2, bold=True) + (
        font(f"   {total}", size=SMALL + 1, color=MUTED) if total else ""
    )
    shown = [PAINTS[k] for k in dict.fromkeys(kinds) if k not in ("terminal", "target", "param", "state")]
    legend = "".join(
        f'<TD WIDTH="12" HEIGHT="12" FIXEDSIZE="TRUE" BGCOLOR="{p.fill}" BORDER="1" COLOR="{p.line}"></TD>'
        f'<TD ALIGN="LEFT">{small(p.meaning + NARROW)}</TD>'
        for p in shown
    )
    row = (
        f'<TR><TD><TABLE BORDER="0" CELLBORDER="0" CELLSPACING="3"><TR>{legend}</TR></TABLE></TD></TR>'
        if legend
        else ""
    )
    return Markup(f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="2"><TR><TD>{title}</TD></TR>{row}</TABLE>')


def depth(edges: list[tuple[str, str]]) -> int:
    """The number of nodes on the longest path; edges that close a cycle are passed over."""
    successors: dict[str, list[str]] = {}
    entered: dict[str, int] = {}
    for tail, head in edges:
        successors.setdefault(tail, []).append(head)
        entered[head] = entered.get(head, 0) + 1
        entered.setdefault(tail, 0)
    level = {name: 1 for name, n in entered.items() if n == 0}
    ready = list(level)
    while ready:
        name = ready.pop()
        for head in successors.get(name, ()):
            level[head] = max(level.get(head, 1), level[name] + 1)
            entered[head] -= 1
            if entered[head] == 0:
                ready.append(head)
    return max(level.values(), default=1)


def _boxes(dot: Dot, graph: Graph, diagram: Diagram, frame: str, borders: dict[str, str]) -> None:
    for inner in diagram.frames:
        if inner.parent == frame:
            with dot.cluster(inner.name, _frame_label(inner), **_FRAME):
                _boxes(dot, graph, diagram, inner.name, borders)
    for block in diagram.blocks:
        if block.frame == frame:
            _box(dot, graph, block, borders.get(block.scope, ""))


_FRAME: dict[str, str | float] = {
    "style": "rounded,filled", "color": FRAME, "fillcolor": GROUP, "margin": 12.0, "labeljust": "l"
}  # fmt: skip


def _frame_label(frame: Frame) -> Markup:
    times = font(f"  {TIMES} {frame.count}", bold=True) if frame.count > 1 else ""
    return lines(font(frame.title, bold=True) + times, small(frame.name), align="LEFT")


def _box(dot: Dot, graph: Graph, block: Block, border: str) -> None:
    paint = PAINTS[block.kind]
    attributes: dict[str, str | float] = {"fillcolor": paint.fill, "color": border or paint.line}
    if block.idle:
        attributes["style"] = "rounded,filled,dashed"
    if border:
        attributes["penwidth"] = 2.2
    if block.kind in ("terminal", "target"):
        node = graph[block.name]
        role = "target" if block.kind == "target" else getattr(node, "role", "input")
        classes = getattr(node, "classes", None)
        label = lines(font(block.title, bold=True), small(f"{role}, one of {classes.key}" if classes else role))
        dot.node(
            block.name,
            label,
            **(attributes | {"style": "rounded,filled,dashed" if role == "target" else "rounded,filled"}),
        )
        return
    times = font(f"  {TIMES} {block.count}", bold=True) if block.count > 1 else ""
    count = count_label(block.parameters, "parameter")
    name = block.name.removeprefix(f"{block.frame}.")
    detail = [name] if block.scope and name != block.title else []
    detail += [f"{block.count} {TIMES} {count}" if block.count > 1 else count] if count else []
    detail += ["idle outside training"] if block.idle else []
    detail += [f"shares the parameters of {block.owner}"] if block.owner else []
    label = lines(font(block.title, bold=True) + times, small("  \N{MIDDLE DOT}  ".join(detail)))
    dot.node(block.name, label, **attributes)


def _borders(diagram: Diagram) -> dict[str, str]:
    """A border colour for the scopes of each instance that is applied more than once."""
    owners = list(dict.fromkeys(b.owner for b in diagram.blocks if b.owner))
    colors = {owner: SHARED[k % len(SHARED)] for k, owner in enumerate(owners)}
    chosen = {b.scope: colors[b.owner or b.scope] for b in diagram.blocks if (b.owner or b.scope) in colors}
    return {scope: color for scope, color in chosen.items() if scope}


def _links(dot: Dot, diagram: Diagram, borders: dict[str, str]) -> None:
    for block in diagram.blocks:
        if block.owner and block.owner in borders:
            color = borders[block.owner]
            dot.edge(block.owner, block.name, style="dotted", dir="none", constraint="false", color=color, penwidth=1.6)
