"""The picture of an unrolled network: time from left to right, what is computed from what from the bottom up.

Every box has its place on a grid, which Graphviz keeps (`neato`); it draws the boxes and leads the arrows around them.
"""

from __future__ import annotations

from netlang.diagnostics import fail
from netlang.draw.diagram.blocks import Block, visible
from netlang.draw.diagram.dot import Dot, Markup, Value, font, lines, small
from netlang.draw.diagram.layers import heading
from netlang.draw.diagram.style import INK, LOOP, PAINTS
from netlang.draw.diagram.unroll import Arrow, Copy, Unrolled
from netlang.draw.notation import count_label, shape_label
from netlang.graph.graph import Graph
from netlang.graph.integer import product
from netlang.graph.nodes import Input, Node, Param, State
from netlang.graph.recurrence import Loop

MOST_STEPS = 12
ROW, GAP, LETTER = 82.0, 62.0, 6.6  # points: from row to row, between columns, the width of a letter

Place = tuple[float, float]


def unrolled(graph: Graph, steps: int) -> str:
    """DOT of a network with recurrences as layers, unrolled for so many steps.

    Raises NetlangError: `bad-unroll`, `nothing-to-unroll`.
    """
    if not 1 <= steps <= MOST_STEPS:
        fail("bad-unroll", f"{steps} steps cannot be drawn", help=f"unroll for 1 to {MOST_STEPS} steps")
    if not any(isinstance(component, Loop) for component in visible(graph).components):
        fail(
            "nothing-to-unroll",
            f"`{graph.name}` has no recurrence",
            help="a tensor that refers to itself a step back is unrolled in time: `h[t] = ... (h[t-1] else 0)`",
        )
    return _Grid(Unrolled(graph, steps)).text()


class _Grid:
    def __init__(self, net: Unrolled) -> None:
        self.net, self.graph = net, net.graph
        self.scopes = {scope.name for scope in self.graph.scopes}
        self.labels = {b: self.label(block, 0 if b in net.timed else None) for b, block in net.blocks.items()}
        widest = max(LETTER * len(line) for b in net.timed for line in self.words(net.blocks[b]))
        self.column = widest + 24 + GAP
        self.dot = Dot(self.graph.name)

    # --- where ---

    def x(self, step: float) -> float:
        return round(step * self.column, 1)

    def rows(self) -> dict[str, float]:
        """The height of each block, and of each output under `output NAME`.

        Outputs stand above what gives them, targets above what they are compared with."""
        depth = {name: (float(level), k) for k, (name, level) in enumerate(self.net.depths().items())}
        for name, (level, k) in depth.items():
            if self.net.blocks[name].kind == "target":
                depth[name] = (level + 1.3, k)
        for k, (name, tensor) in enumerate(self.graph.outputs.items()):
            depth[f"output {name}"] = (depth[self.net.block_of[tensor]][0] + 0.5, k)
        heights: dict[str, float] = {}
        for name in sorted(depth, key=lambda name: depth[name]):
            heights[name] = ROW * len(heights)
        return heights

    def across(self, name: str) -> float:
        """Where a block that is there once stands: in the middle of the steps that it has to do with."""
        near = [head[1] for tail, head in self.net.arrows if tail[0] == name]
        near += [tail[1] for tail, head in self.net.arrows if head[0] == name]
        steps = [k for k in near if k is not None]
        if steps:
            return sum(steps) / len(steps)
        after = [head[0] for tail, head in self.net.arrows if tail == (name, None)]
        return self.across(after[0]) if after else self.net.steps - 1

    # --- what ---

    def text(self) -> str:
        dot, net = self.dot, self.net
        dot.attributes |= {"layout": "neato", "splines": "true", "overlap": "true", "inputscale": 72, "labelloc": "t"}
        said = f"unrolled for {net.steps} step{'s' * (net.steps != 1)}"
        dot.attributes["label"] = heading(self.graph, [b.kind for b in net.blocks.values()], said)
        heights = self.rows()
        for name, block in net.blocks.items():
            paint = PAINTS[block.kind]
            look: dict[str, Value] = {"fillcolor": paint.fill, "color": paint.line}
            if block.kind == "target":
                look["style"] = "rounded,filled,dashed"
            for k in range(net.timed[name]) if name in net.timed else [None]:
                x = self.x(k if k is not None else self.across(name))
                self.put(_id(name, k), self.label(block, k), (x, heights[name]), **look)
            if name in net.timed:
                self.shared(block, heights[name])
                self.beginnings(block, heights[name])
        self.outputs(heights)
        for (tail, head), arrow in net.arrows.items():
            self.arrow(tail, head, arrow)
        for name in net.timed:
            self.handed_over(name, heights[name])
        return dot.text()

    def put(self, name: str, label: Markup, place: Place, **look: Value) -> None:
        self.dot.node(name, label, pos=f"{place[0]:g},{place[1]:g}!", **look)

    def words(self, block: Block) -> list[str]:
        """The lines of a block's label, the first of which is bold."""
        if block.scope in self.scopes and block.name == block.scope:
            return [block.title, block.name]
        node = self.graph.nodes.get(block.name)
        return [block.name.rsplit(".", 1)[-1], *([node.role] if isinstance(node, Input) else [])]

    def label(self, block: Block, step: int | None) -> Markup:
        first, *rest = self.words(block)
        if step is None and not rest:
            return lines(font(block.title, bold=True))
        if rest and not isinstance(self.graph.nodes.get(block.name), Input):
            return lines(
                font(first, bold=True), small(rest[0] + _at(step) if rest[0] != first or step is not None else "")
            )
        return lines(font(first + _at(step), bold=True), *(small(line) for line in rest))

    def shared(self, block: Block, height: float) -> None:
        """The parameters of a block, the same at every step."""
        starting = {node.name for node in self.net.starts}
        own = [n for n in block.members if isinstance(self.graph[n], Param) and n not in starting]
        if own:
            name = f"shared {block.name}"
            names = [n.rsplit(".", 1)[-1] for n in own]
            said = ", ".join(names) if len(names) <= 4 else f"{len(names)} parameter tensors"
            count = count_label(sum(product(self.graph[n].shape).constant for n in own), "parameter")
            label = lines(font(said, bold=True), small(count))
            self.put(name, label, (self.x(-1) - (170 if self.net.starts else 60), height - ROW / 2), **_oval(Param))
            for k in range(self.net.timed[block.name]):
                look: dict[str, Value] = {"style": "dotted", "dir": "none", "color": PAINTS["param"].line}
                self.dot.edge(name, _id(block.name, k), **look)

    def beginnings(self, block: Block, height: float) -> None:
        """What a recurrence begins with: at the left, or at the right where time runs backwards."""
        last = self.net.timed[block.name] - 1
        begun = [
            (n, h[1]) for n in self.net.starts for t, h in self.net.arrows if t[0] == n.name and h[0] == block.name
        ]
        for j, (node, step) in enumerate(begun):
            what = "state" if isinstance(node, State) else "parameter"
            label = lines(font(node.name, bold=True), small(what))
            place = self.x(last + 1 if step == last > 0 else -1), height + _beside(j, len(begun))
            self.put(node.name, label, place, **_oval(type(node)))
        for k in range(last + 1):
            values = self.net.constants.get((block.name, k))
            if values:
                name = f"begin {_id(block.name, k)}"
                x = self.x(k + 0.45 * (1 if k == last > 0 else -1))
                look: dict[str, Value] = {"shape": "plaintext", "style": "", "margin": "0.05,0.02", "width": 0.1}
                self.put(name, lines(font(", ".join(values))), (x, height + 30 * bool(begun)), **look)
                self.hand(name, _id(block.name, k))

    def handed_over(self, block: str, height: float) -> None:
        """States for the next call, to the right of what gives them."""
        given = [(copy, state) for copy, state in self.net.handed_over() if copy[0] == block]
        for j, (copy, state) in enumerate(given):
            label = lines(font(state.name, bold=True), small("for the next call"))
            place = self.x(self.net.timed[block]), height + _beside(j, len(given))
            self.put(f"next {state.name}", label, place, **_oval(State))
            self.hand(_id(*copy), f"next {state.name}")

    def outputs(self, heights: dict[str, float]) -> None:
        for name, tensor in self.graph.outputs.items():
            node, block = self.graph[tensor], self.net.block_of[tensor]
            in_time = block in self.net.timed and tensor in self.net.timing.axes
            for k in self.net.timing.range(node) if in_time else [None]:
                x = self.x(k if k is not None else self.across(block))
                label = lines(font(name + _at(k), bold=True), small("output"))
                here = _id(f"output {name}", k)
                self.put(here, label, (x, heights[f"output {name}"]), fillcolor="white", color=INK)
                self.dot.edge(_id(block, k), here, label=self.shape(node, k))

    def arrow(self, tail: Copy, head: Copy, arrow: Arrow) -> None:
        if tail[0] in {node.name for node in self.net.starts}:
            self.hand(_id(*tail), _id(*head))
        elif arrow.carried:
            names = ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in arrow.tensors))
            self.hand(_id(*tail), _id(*head), label=Markup(small(names, LOOP)))
        else:
            first = self.graph[next(iter(arrow.tensors))]
            self.dot.edge(_id(*tail), _id(*head), label=self.shape(first, tail[1]))

    def hand(self, tail: str, head: str, **more: Value) -> None:
        """An arrow from step to step."""
        self.dot.edge(tail, head, color=LOOP, penwidth=1.5, **more)

    def shape(self, node: Node, step: int | None) -> str:
        shape = node.shape
        if step is not None and node.name in self.net.timing.axes:
            axis = self.net.timing.axes[node.name]
            shape = shape[:axis] + shape[axis + 1 :]
        return f" {shape_label(shape)} " if shape else ""


def _id(block: str, step: int | None) -> str:
    return block if step is None else f"{block}@{step}"


def _at(step: int | None) -> str:
    return "" if step is None else f"[{step}]"


def _beside(j: int, count: int) -> float:
    """How far above the middle the j-th of several boxes stands."""
    return 26.0 * (count - 1 - 2 * j)


def _oval(kind: type[Node]) -> dict[str, Value]:
    """The look of what is kept: a parameter, or dashed a state."""
    paint = PAINTS["state" if kind is State else "param"]
    style = "filled,dashed" if kind is State else "filled"
    return {"shape": "ellipse", "style": style, "margin": "0.03,0.01", "fillcolor": paint.fill, "color": paint.line}
