"""Short text for pictures: shapes, counts, values, and equations the way the reader wrote them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from netlang.graph.constructors import conjuncts
from netlang.graph.expression import ZERO, Apply, AtLeastZero, Condition, Const, Expr, IsZero, Read, Select
from netlang.graph.graph import Graph
from netlang.graph.integer import Floor, Int, Modulo
from netlang.graph.nodes import Equation, Extern, Node, Random, View
from netlang.graph.text import expression_text
from netlang.graph.traversal import operands, reads, rename_tensors, rewrite, walk

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
TIMES = "\N{MULTIPLICATION SIGN}"
INDENT = "\N{NO-BREAK SPACE}" * 4
_TOGETHER = re.compile(r"\[[^\]]{,40}\]|\w+\(\w+ < [^()]{,40}\)")
MINUS = "\N{MINUS SIGN}"


def shape_label(shape: Iterable[Int]) -> str:
    """`50 × 14 × 14`; nothing for a scalar."""
    return f" {TIMES} ".join(map(str, shape))


def count_label(count: int, noun: str) -> str:
    """`1,256,080 parameters`, `1 parameter`; nothing for none."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}" if count else ""


def shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + ELLIPSIS


def wrap(text: str, width: int, most: int) -> list[str]:
    """Lines of about `width` characters, broken at spaces outside brackets; what is after `most` lines is left out."""
    rows: list[str] = []
    row = ""
    for word in _words(text):
        if row and len(row) + 1 + len(word) > width:
            rows.append(row)
            row = INDENT + word
        else:
            row = f"{row} {word}" if row else word
    rows.append(row)
    if len(rows) > most:
        rows = [*rows[: most - 1], f"{rows[most - 1]} {ELLIPSIS}"]
    return [shorten(row, width + 16) for row in rows]


def _words(text: str) -> list[str]:
    """Pieces between spaces; the indices of a tensor and the ranges of a reduction stay in one piece."""
    return _TOGETHER.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text).split(" ")


# --- equations -----------------------------------------------------------------------------------------------------


def equation_label(graph: Graph, node: Node, scope: str = "") -> str:
    """The definition of a node in netlang's notation; names of its own scope lose the scope's name."""

    def local(name: str) -> str:
        return _local(name, scope)

    name = local(node.name)
    if isinstance(node, Equation):
        body = guards_as_else(graph, node.body, local)
        left = f"{name}[{', '.join(node.indices)}]" if node.indices else name
        if _is_pointwise(node):  # every tensor is read at the same place, so the place says nothing
            left, body = name, rewrite(body, lambda e: Read(e.tensor, ()) if isinstance(e, Read) else None)
        return f"{left} = {expression_text(body)}".replace("[]", "")
    if isinstance(node, View):
        return f"{name} = {local(node.operand)} as {shape_label(node.shape)}"
    if isinstance(node, Random):
        return f"{name} ~ {node.distribution}"
    if isinstance(node, Extern):
        return f"{name} = {node.operation}({', '.join(local(i) for i in node.inputs)})"
    return name


def _is_pointwise(node: Equation) -> bool:
    plain = all(isinstance(part, Const | Read | Apply) for part in walk(node.body))
    return plain and all(access.indices == node.places for access in reads(node.body))


def _local(name: str, scope: str) -> str:
    for prefix in (f"{scope}.", f"d/{scope}."):
        if scope and name.startswith(prefix):
            return name[: len(prefix) - len(scope) - 1] + name[len(prefix) :]
    return name


def guards_as_else(graph: Graph, body: Expr, local: Callable[[str], str] = str) -> Expr:
    """For printing only: reads with names changed by `local`, and guards as the reader wrote them.

    A select that only keeps a read inside its tensor becomes an opaque `(x[i - 1] else 0)`, and of a guarded
    product the factor alone that needs it.
    """

    def show(e: Expr) -> Expr:
        names = {access.tensor: local(access.tensor) for access in reads(e)}
        return rename_tensors(e, names | {name: local(name) for name in operands(e)})

    def change(e: Expr) -> Expr | None:
        if not (isinstance(e, Select) and is_guard(graph, e)):
            return None
        then = e.then
        if isinstance(then, Apply) and then.op == "mul" and e.otherwise == ZERO:
            for k, factor in enumerate(then.args):
                guarded = Select(e.condition, factor, ZERO)
                if isinstance(factor, Read) and is_guard(graph, guarded):
                    inner = Read(f"({expression_text(show(factor))} else 0)", ())
                    return Apply("mul", (*then.args[:k], inner, *then.args[k + 1 :]))
        return Read(f"({expression_text(show(then))} else {expression_text(show(e.otherwise))})", ())

    return show(rewrite(body, change))


def is_guard(graph: Graph, e: Select) -> bool:
    """True where the condition says no more than that the reads in `then` are inside their tensors."""
    inside: set[Condition] = set()
    for access in reads(e.then):
        if access.tensor not in graph.nodes:  # already opaque
            continue
        for place, extent in zip(access.indices, graph[access.tensor].shape, strict=True):
            inside |= {AtLeastZero(place), AtLeastZero(extent - 1 - place)}
            for atom in place.atoms():
                if isinstance(atom, Floor):
                    inside |= {IsZero(Int({(Modulo(atom.value, atom.divisor),): 1})), IsZero(atom.value % atom.divisor)}
                    inside |= {AtLeastZero(atom.value), AtLeastZero(extent * atom.divisor - 1 - atom.value)}
    parts = conjuncts(e.condition)
    return bool(parts) and all(part in inside for part in parts)


# --- values --------------------------------------------------------------------------------------------------------


def number_label(value: float) -> str:
    """Four significant digits with a true minus sign."""
    text = f"{value:.4g}"
    return "0" if text == "-0" else text.replace("-", MINUS)


def value_label(value: np.ndarray, most: int = 4) -> str:
    """A scalar, a vector or a small matrix (a line for each row); of what is larger the corner and the range."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 0:
        return number_label(float(array))
    if array.ndim == 1:
        return _row(array, most + 2)
    if array.ndim == 2 and array.shape[0] <= most:
        return "\n".join(_row(row, most) for row in array)
    low, high = (number_label(float(v)) for v in (array.min(), array.max())) if array.size else ("0", "0")
    return f"{f' {TIMES} '.join(map(str, array.shape))} in {low} .. {high}"


def _row(row: np.ndarray, most: int) -> str:
    shown = [number_label(float(v)) for v in row[:most]] + ([ELLIPSIS] if len(row) > most else [])
    return f"[{', '.join(shown)}]"
