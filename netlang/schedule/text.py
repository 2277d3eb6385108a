"""The Program as deterministic text: `netlang compile --emit program` and the golden files of the tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netlang.graph.expression import Condition, Expr, Read
from netlang.graph.integer import ZERO, Int
from netlang.graph.nodes import Origin
from netlang.graph.text import condition_text, expression_text, shape_text
from netlang.graph.traversal import rewrite, rewrite_condition
from netlang.schedule.program import (
    Alone,
    Assign,
    Buffer,
    Combine,
    Dot,
    Extreme,
    Guard,
    Kernel,
    Local,
    Multiply,
    Once,
    Pack,
    Program,
    Search,
    Share,
    Statement,
    Step,
    Store,
    Transform,
    Turn,
)


def program_text(program: Program) -> str:
    """Buffers with the kernels that they live from and to, then every kernel with its equations and loops."""
    lines = [f"program {program.name}"]
    if program.sizes or program.keys:
        lines.append(f"sizes {' '.join(program.sizes)}" + (f"; keys {' '.join(program.keys)}" if program.keys else ""))
    lines += ["buffers", *(f"  {_buffer(b)}" for b in program.buffers.values())]
    first = len(program.prepared)
    for title, start, kernels in (("prepared", 0, program.prepared), ("kernels", first, program.kernels)):
        lines += [title] if kernels or title == "kernels" else []
        for number, kernel in enumerate(kernels, start):
            lines += [f"  {line}" for line in _kernel(number, kernel)]
    if program.outputs:
        lines.append("outputs")
        lines += [f"  {root} = {t.buffer}{shape_text(t.shape)}" for root, t in program.outputs.items()]
    return "\n".join(lines) + "\n"


def source_text(text: str, origin: Origin) -> str:
    """An equation with the place that it was written at."""
    where = f"{origin.span.source.name}:{origin.span.line}" if origin.span is not None else ""
    return f"{text}  ({where})" if where else text


def _buffer(buffer: Buffer) -> str:
    life = f" {buffer.first}..{buffer.last}" if buffer.kind in ("temporary", "scratch") else ""
    life += " of each thread" if buffer.private else ""
    slot = f" in {buffer.slot}" if buffer.slot not in ("", buffer.name) else ""
    return f"{buffer.kind} {buffer.name}{shape_text(buffer.shape)} {buffer.dtype}{life}{slot}"


def _kernel(number: int, kernel: Kernel) -> Iterator[str]:
    yield f"{number}: {kernel.kind} {kernel.name}" + (" (flat)" if kernel.flat else "")
    for text, origin in kernel.sources:
        yield f"    # {source_text(text, origin)}"
    if kernel.contraction is not None:
        roles = kernel.contraction
        parts = (("batch", roles.batch), ("left", roles.left), ("right", roles.right), ("summed", roles.summed))
        yield "    # " + "; ".join(f"{name} {' '.join(indices) or '-'}" for name, indices in parts)
    yield from _statements(kernel.body, "    ")


def _statements(body: Iterable[Statement], margin: str) -> Iterator[str]:
    for s in body:
        if isinstance(s, Assign):
            yield f"{margin}{s.name} = {_expression(s.value)}"
        elif isinstance(s, Combine):
            yield f"{margin}{s.name} {s.op}= {_expression(s.value)}"
        elif isinstance(s, Extreme):
            yield f"{margin}{s.name}, {s.best} {s.op}= {s.place.key}, {_expression(s.value)}"
        elif isinstance(s, Search):
            yield f"{margin}{s.name} = first {s.index} in 0 .. {s.extent.key} where {_expression(s.value)} > 0"
        elif isinstance(s, Store):
            left = expression_text(Read(s.tensor, s.indices))
            yield f"{margin}{left} {s.op}= {_expression(s.value)}"
        elif isinstance(s, Guard):
            yield f"{margin}if {_condition(s.condition)}:"
            yield from _statements(s.body, margin + "    ")
        elif isinstance(s, Pack):
            lanes = f"lanes {_end('min', s.lanes)} by {s.lane.key}"
            to = "" if s.to == ZERO else f" from {s.to.key}"
            panels = f"panels of {s.panel} of {expression_text(s.source)}, {lanes}"
            at = "" if s.at == ZERO else f" at {s.at.key}"
            yield f"{margin}{s.target}{to}{at} = {panels}, {_steps(s.steps)}"
        elif isinstance(s, Multiply):
            rows = f"rows {_end('min', s.rows)} by {s.row.key}"
            at = "" if s.first == ZERO else f" from {s.first.key}"
            at += "" if s.to == ZERO else f", lane {s.to.key}"
            sign = f"{at} =" if s.start == ZERO else f"{at} (+)= [{s.start.key}]"
            right = expression_text(s.right)
            if s.turn == ZERO:
                place = s.right.indices[-1]
                right = s.right.tensor if place == ZERO else f"{s.right.tensor} at {place.key}"
            right += "" if s.lane == ZERO else f" from lane {s.lane.key}, lanes {s.lanes.key}"
            yield f"{margin}{s.target}{sign} {expression_text(s.left)}, {rows} * {right}, {_steps(s.steps)}"
        elif isinstance(s, Dot):
            left = f"{expression_text(s.left)}, rows {s.rows.key} by {s.row.key}"
            right = f"{expression_text(s.right)}, lanes {s.lanes.key} by {s.lane.key}"
            yield f"{margin}{s.target} = {left} * {right}, {_steps(s.steps)}"
        elif isinstance(s, Turn):
            at = "" if s.first == ZERO else f" from {s.first.key}"
            size = f"rows {_end('min', s.rows)}, lanes {s.lanes.key}"
            to = "" if s.to == ZERO else f" from {s.to.key}"
            yield f"{margin}{s.target}{to} = {s.source}{at} turned, {size}"
        elif isinstance(s, Transform):
            target = expression_text(Read(s.target, s.to))
            source = f"{expression_text(s.source)} by {', '.join(move.key for move in s.moves)}"
            lanes = f"lanes {_end('min', s.lanes)} by {s.lane.key}"
            sizes = ", ".join(f"{rows} x {columns}" for rows, columns in s.sizes)
            yield f"{margin}{target} by {s.apart.key} = {source} transformed, {lanes}, {sizes}"
        elif isinstance(s, Share):
            grain = f" by {s.grain}" if s.grain > 1 else ""
            yield f"{margin}share {s.extent.key}{grain} as {s.first} .. {s.last}:"
            yield from _statements(s.body, margin + "    ")
        elif isinstance(s, Once | Alone):
            yield f"{margin}{'once' if isinstance(s, Once) else 'alone'}:"
            yield from _statements(s.body, margin + "    ")
        else:
            yield f"{margin}for {s.index} in {_end('max', s.starts)} .. {_end('min', s.stops)}:"
            yield from _statements(s.body, margin + "    ")


def _end(function: str, ends: tuple[Int, ...]) -> str:
    texts = [e.key for e in ends]
    return texts[0] if len(texts) == 1 else f"{function}({', '.join(texts)})"


def _steps(steps: tuple[Step, ...]) -> str:
    return "steps " + "; ".join(f"{_end('min', s.counts)} by {s.left.key}, {s.right.key}" for s in steps)


def _named(e: Expr) -> Expr | None:
    return Read(e.name, ()) if isinstance(e, Local) else None


def _expression(e: Expr) -> str:
    return expression_text(rewrite(e, _named))


def _condition(c: Condition) -> str:
    return condition_text(rewrite_condition(c, _named))
