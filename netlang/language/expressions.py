"""The tree builder's lower half: the methods that make expressions, indices and dimensions.

Methods are named as the rules of the grammar; each gets the list of its rule's parts, tokens and what was made of them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, NamedTuple

from netlang.diagnostics import Source, Span, fail
from netlang.language import tree
from netlang.language.layout import Token

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_LARGEST = 2**63 - 1


class _Dimensions(NamedTuple):
    span: Span
    indices: tuple[tree.Expression, ...]


class ExpressionBuilder:
    """Makes the expressions of one source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    # --- lists and parts --------------------------------------------------------------------------------------------

    def absent(self, parts: list[Any]) -> None:
        return None

    def nothing(self, parts: list[Any]) -> list[Any]:
        return []

    def start(self, parts: list[Any]) -> Any:
        return parts[0]

    line = start

    def second(self, parts: list[Any]) -> Any:
        return parts[1]

    def first(self, parts: list[Any]) -> list[Any]:
        return [parts[0]]

    def more(self, parts: list[Any]) -> list[Any]:
        parts[0].append(parts[2])
        return parts[0]  # type: ignore[no-any-return]

    def first_statement(self, parts: list[Any]) -> list[Any]:
        return parts[0] if isinstance(parts[0], list) else [parts[0]]

    def more_statements(self, parts: list[Any]) -> list[Any]:
        parts[0].extend(self.first_statement(parts[1:]))
        return parts[0]  # type: ignore[no-any-return]

    def another(self, parts: list[Any]) -> list[Any]:
        parts[0].append(parts[1])
        return parts[0]  # type: ignore[no-any-return]

    def extended(self, parts: list[Any]) -> list[Any]:
        parts[0].extend(parts[1])
        return parts[0]  # type: ignore[no-any-return]

    # --- expressions ------------------------------------------------------------------------------------------------

    def number(self, parts: list[Token]) -> tree.Number:
        (token,) = parts
        span = self._at(token)
        value: int | float
        if token.text.isdigit():
            digits = token.text.lstrip("0") or "0"
            value = int(digits) if len(digits) < 20 else _LARGEST + 1
            if value > _LARGEST:
                fail(
                    "number-too-large",
                    "this integer does not fit in 64 bits",
                    span,
                    help=f"the largest is {_LARGEST}; write it with an exponent to make it a real number",
                )
        else:
            value = float(token.text)
            if math.isinf(value):
                fail(
                    "number-too-large", "this number is larger than any float64", span, help="write `inf` for infinity"
                )
        return tree.Number(span=span, value=value, text=token.text)

    def text(self, parts: list[Token]) -> tree.Text:
        """A string, or several in a row, which a space joins."""
        span = Span(self._source, parts[0].start, parts[-1].end)
        return tree.Text(span=span, value=" ".join(map(self._unescaped, parts)))

    def _unescaped(self, token: Token) -> str:
        def unescape(match: re.Match[str]) -> str:
            if match[1] not in _ESCAPES:
                at = token.start + 1 + match.start()
                fail(
                    "unknown-escape",
                    f"`{match[0]}` stands for nothing in a string",
                    Span(self._source, at, at + 2),
                    help="a backslash itself is written `\\\\`",
                )
            return _ESCAPES[match[1]]

        inner = token.text[1:-1]
        return re.sub(r"\\(.)", unescape, inner) if "\\" in inner else inner

    def true(self, parts: list[Token]) -> tree.Boolean:
        return tree.Boolean(span=self._at(parts[0]), value=parts[0].kind == "true")

    false = true

    def name(self, parts: list[Token]) -> tree.Name:
        return tree.Name(span=self._at(parts[0]), id=parts[0].text)

    def rest(self, parts: list[Token]) -> tree.Rest:
        return tree.Rest(span=self._at(parts[0]))

    def grouped(self, parts: list[Any]) -> Any:
        """A parenthesized expression is the expression, with a span that takes in the parentheses."""
        opening, inner, closing = parts
        return dataclasses.replace(inner, span=Span(self._source, opening.start, closing.end))

    def list_literal(self, parts: list[Any]) -> tree.ListLiteral:
        return tree.ListLiteral(span=Span(self._source, parts[0].start, parts[-1].end), items=tuple(parts[1]))

    def empty_list(self, parts: list[Any]) -> tree.ListLiteral:
        return tree.ListLiteral(span=Span(self._source, parts[0].start, parts[-1].end), items=())

    def subscript(self, parts: list[Any]) -> tree.Subscript:
        base, _, indices, closing = parts
        return tree.Subscript(span=self._from(base, closing.end), base=base, indices=tuple(indices))

    def positional(self, parts: list[Any]) -> tree.Argument:
        (value,) = parts
        return tree.Argument(span=value.span, name=None, value=value)

    def named(self, parts: list[Any]) -> tree.Argument:
        name, _, value = parts
        self._plain(name)
        return tree.Argument(span=Span(self._source, name.start, value.span.end), name=name.text, value=value)

    def rest_argument(self, parts: list[Token]) -> tree.Argument:
        return self.positional([self.rest(parts)])

    def call(self, parts: list[Any]) -> tree.Call:
        callee, _, arguments, closing = parts
        names: set[str] = set()
        for argument in arguments:
            if argument.name is None:
                if isinstance(argument.value, tree.Rest):
                    fail(
                        "misplaced-rest",
                        "`...` cannot be an argument",
                        argument.span,
                        help="it stands for the other dimensions, in `x[...]` and in the indices of a reduction",
                    )
                if names:
                    fail(
                        "positional-after-keyword",
                        "a positional argument after a keyword argument",
                        argument.span,
                        help="give it its name, or move it forward",
                    )
            elif argument.name in names:
                fail("repeated-argument", f"`{argument.name}` is given twice", argument.span, help="remove one of them")
            else:
                names.add(argument.name)
        return tree.Call(
            span=Span(self._source, callee.start, closing.end),
            callee=self.name([callee]),
            arguments=tuple(arguments),
        )

    def empty_call(self, parts: list[Token]) -> tree.Call:
        return self.call([parts[0], parts[1], (), parts[2]])

    def reduction(self, parts: list[Any]) -> tree.Reduction:
        op, _, arguments, _, body = parts
        return tree.Reduction(
            span=Span(self._source, op.start, body.span.end),
            op=op.text,
            indices=self._distinct([self._reduced(op.text, argument) for argument in arguments]),
            body=body,
        )

    def _reduced(self, op: str, argument: tree.Argument) -> tree.IndexRange:
        match argument.value if argument.name is None else None:
            case tree.Rest():
                return tree.IndexRange(span=argument.span, name="...", extent=None)
            case tree.Name(id=name) if "." not in name:
                return tree.IndexRange(span=argument.span, name=name, extent=None)
            case tree.Binary(op="<", left=tree.Name(id=name), right=extent) if "." not in name:
                return tree.IndexRange(span=argument.span, name=name, extent=extent)
        fail(
            "not-an-index",
            f"`{argument.span.text}` is not an index to reduce over",
            argument.span,
            notes=[f"what follows its parentheses makes this `{op}` a reduction"],
            help=f"write `{op}(i) ...`, `{op}(i < n) ...` or `{op}(...) ...`",
        )

    def unary(self, parts: list[Any]) -> tree.Unary:
        op, operand = parts
        return tree.Unary(
            span=Span(self._source, op.start, operand.span.end),
            op=op.text,
            operand=operand,
        )

    def binary(self, parts: list[Any]) -> tree.Binary:
        left, op, right = parts
        return tree.Binary(span=self._from(left, right.span.end), op=op.text, left=left, right=right)

    def compare(self, parts: list[Any]) -> tree.Binary:
        left, op, _ = parts
        if isinstance(left, tree.Binary) and left.op in _COMPARISONS and not _grouped(left):
            shown = f"{left.span.text} and {left.right.span.text} {op.text} ..."
            fail(
                "chained-comparison",
                "comparisons do not chain",
                Span(self._source, op.start, op.end),
                help=f"write `{shown}`" if len(shown) < 80 and "\n" not in shown else "join two comparisons with `and`",
            )
        return self.binary(parts)

    def first_stages(self, parts: list[Any]) -> list[Any]:
        return [parts[0], parts[2]]

    def pipeline(self, parts: list[Any]) -> tree.Pipeline:
        source, *stages = parts[0]
        return tree.Pipeline(span=self._from(source, stages[-1].span.end), source=source, stages=tuple(stages))

    def guarded(self, parts: list[Any]) -> tree.Guarded:
        body, _, otherwise = parts
        return tree.Guarded(span=self._from(body, otherwise.span.end), body=body, otherwise=otherwise)

    def conditional(self, parts: list[Any]) -> tree.Conditional:
        then, _, condition, _, otherwise = parts
        span = self._from(then, otherwise.span.end)
        return tree.Conditional(span=span, then=then, condition=condition, otherwise=otherwise)

    def interval(self, parts: list[Any]) -> tree.Interval:
        first, _, last = parts
        return tree.Interval(span=self._from(first, last.span.end), first=first, last=last)

    # --- indices and dimensions -----------------------------------------------------------------------------------

    def bare_range(self, parts: list[Token]) -> tree.IndexRange:
        self._plain(parts[0])
        return tree.IndexRange(span=self._at(parts[0]), name=parts[0].text, extent=None)

    def bounded_range(self, parts: list[Any]) -> tree.IndexRange:
        name, _, extent = parts
        self._plain(name)
        return tree.IndexRange(
            span=Span(self._source, name.start, extent.span.end),
            name=name.text,
            extent=extent,
        )

    def rest_range(self, parts: list[Token]) -> tree.IndexRange:
        return tree.IndexRange(span=self._at(parts[0]), name="...", extent=None)

    def dimensions(self, parts: list[Any]) -> _Dimensions:
        return _Dimensions(Span(self._source, parts[0].start, parts[2].end), tuple(parts[1]))

    # --- what names may be, and spans -----------------------------------------------------------------------------

    def _distinct(self, ranges: list[tree.IndexRange]) -> tuple[tree.IndexRange, ...]:
        names: set[str] = set()
        for index in ranges:
            if index.name in names:
                fail(
                    "repeated-index",
                    f"the index `{index.name}` is written twice",
                    index.span,
                    help="rename one of them",
                )
            names.add(index.name)
        return tuple(ranges)

    def _plain(self, token: Token) -> None:
        if "." in token.text:
            self._plain_name(self.name([token]))

    def _plain_name(self, name: tree.Name) -> None:
        if "." in name.id:
            fail(
                "dotted-name",
                f"`{name.id}` cannot be defined here, as its name has a point",
                name.span,
                help="points lead into instances of layers; a new name has none",
            )

    def _at(self, token: Token) -> Span:
        return Span(self._source, token.start, token.end)

    def _from(self, node: tree.Tree, end: int) -> Span:
        return Span(self._source, node.span.start, end)


def _grouped(node: tree.Binary) -> bool:
    return node.span.start < node.left.span.start
