"""What a net may know of the symbols of its vocabulary: how often each occurs, and its way down a Huffman tree."""

from __future__ import annotations

from collections.abc import Sequence

from netlang.diagnostics import Span, fail
from netlang.elaboration.arithmetic import describe
from netlang.elaboration.build import Builder
from netlang.elaboration.values import Tensor, Value, node_tensor
from netlang.graph.integer import integer
from netlang.graph.nodes import Input, Origin

# what each takes, and whether it holds integers
SYMBOL_TABLES = {
    "symbol_counts": (("V",), False),
    "symbol_nodes": (("V", "D"), True),
    "symbol_turns": (("V", "D"), False),
}


def symbol_table(builder: Builder, name: str, values: Sequence[Value], span: Span) -> Tensor:
    """The tensor `[V]` or `[V, D]` of a table for V symbols; the runtime fills it from the net's vocabulary."""
    parameters, whole = SYMBOL_TABLES[name]
    if len(values) != len(parameters):
        fail(
            "wrong-arity",
            f"`{name}` takes ({', '.join(parameters)}), found {len(values)} arguments",
            span,
            help=f"write `{name}({', '.join(parameters)})`, with V symbols"
            + (" and codes of at most D turns" if len(parameters) > 1 else ""),
        )
    extents: list[int] = []
    for value, parameter in zip(values, parameters, strict=True):
        least = 2 if parameter == "V" else 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            fail(
                "bad-value",
                f"{parameter} of `{name}` is a whole number of at least {least} that is known at compile time, "
                f"found {describe(value)}",
                span,
                help=f"write `{name}({', '.join(parameters)})` with numbers or arguments of the net",
            )
        extents.append(value)
    path = ".".join([name, *map(str, extents)])
    bound = integer(extents[0] - 1) if whole else None
    node = builder.nodes.get(path)
    if node is None:
        shape = tuple(map(integer, extents))
        node = builder.add(Input(path, shape, "int" if whole else "real", Origin(None), "vocabulary", bound))
    return node_tensor(node, bound, f"`{name}` at {span.line}:{span.column}")
