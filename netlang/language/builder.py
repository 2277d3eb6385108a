"""The tree builder: for each rule of the grammar, the method that makes its node from the nodes of its parts.

The parser calls these methods while it parses, innermost first, so no method recurses and depth costs no stack. They
also check what the grammar leaves open, where the spans are at hand.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from netlang.diagnostics import Source, Span, fail
from netlang.language import tree
from netlang.language.layout import BLOCKS, DEPTH, Token, too_deep
from netlang.language.slips import misplaced

# What may stand in the body of each kind of definition.
_PURE = {"Assign", "Equation", "Require", "Return", "For"}
_ALLOWED = {
    "net": {"Assign", "Equation", "Require", "For", "Update", *("input", "target", "param", "state", "noise")}
    | {"output", "loss", "metric"},
    "layer": _PURE | {"Update", "param", "state", "noise"},
    "optimizer": {"Assign", "Equation", "Require", "For", "Update", "state", "noise"},
    "initializer": _PURE | {"noise"},
    "train": {"Setting", "Minimize"},
}
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_LARGEST = 2**63 - 1


class _Dimensions(NamedTuple):
    span: Span
    indices: tuple[tree.Expression, ...]


class Builder:
    """Makes the nodes of one source; the names of its public methods are those in the grammar."""

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

    def more_settings(self, parts: list[Any]) -> list[Any]:
        parts[0].append(parts[1])
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
        (token,) = parts

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
        return tree.Text(span=self._at(token), value=re.sub(r"\\(.)", unescape, inner) if "\\" in inner else inner)

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

    # --- statements -------------------------------------------------------------------------------------------------

    def class_type(self, parts: list[Any]) -> tree.ClassType:
        _, word, _, count, closing = parts
        return tree.ClassType(span=Span(self._source, word.start, closing.end), count=count)

    def drawn_declared(self, parts: list[Any]) -> tree.Declared:
        name, dims, type_, _, init, *condition = parts
        return self._declared(name, dims, type_, init, condition[1] if condition else None)

    optional_drawn_declared = drawn_declared

    def plain_declared(self, parts: list[Any]) -> tree.Declared:
        name, dims, type_, *condition = parts
        return self._declared(name, dims, type_, None, condition[1] if condition else None)

    optional_declared = plain_declared

    def _declared(self, name: Token, dims: Any, type_: Any, init: Any, condition: Any) -> tree.Declared:
        self._plain(name)
        end = max([name.end, *(part.span.end for part in (dims, type_, init, condition) if part is not None)])
        return tree.Declared(
            span=Span(self._source, name.start, end),
            name=name.text,
            dims=None if dims is None else dims.indices,
            type=type_,
            init=init,
            condition=condition,
        )

    def declaration(self, parts: list[Any]) -> tree.Declaration:
        kind, items = parts
        span = Span(self._source, kind.start, items[-1].span.end)
        return tree.Declaration(span=span, kind=kind.text, items=tuple(items))

    def assign(self, parts: list[Any]) -> tree.Assign:
        names, _, value = parts
        for name in names:
            self._plain_name(name)
        return tree.Assign(span=self._from(names[0], value.span.end), names=tuple(names), value=value)

    def equation(self, parts: list[Any]) -> tree.Equation:
        name, _, ranges, _, _, value = parts
        self._plain(name)
        return tree.Equation(
            span=Span(self._source, name.start, value.span.end),
            name=self.name([name]),
            indices=self._distinct(ranges),
            value=value,
        )

    def update(self, parts: list[Any]) -> tree.Update:
        name, _, value, *rest = parts
        self._plain(name)
        condition = rest[1] if rest else None
        return tree.Update(
            span=Span(self._source, name.start, (condition or value).span.end),
            name=self.name([name]),
            value=value,
            condition=condition,
        )

    def objectives(self, parts: list[Any]) -> list[tree.Objective]:
        """One objective for each item; the span of the first one takes in the keyword."""
        kind, items = parts
        made: list[tree.Objective] = []
        for item in items:
            start = kind.start if not made else item.span.start
            name = None
            if item.name is not None:
                name = tree.Name(
                    span=Span(self._source, item.span.start, item.span.start + len(item.name)), id=item.name
                )
            span = Span(self._source, start, item.span.end)
            made.append(tree.Objective(span=span, kind=kind.text, name=name, value=item.value))
        return made

    def require(self, parts: list[Any]) -> tree.Require:
        word, condition, _, message = parts
        span = Span(self._source, word.start, message.end)
        return tree.Require(span=span, condition=condition, message=self.text([message]))

    def return_(self, parts: list[Any]) -> tree.Return:
        word, values = parts
        return tree.Return(span=Span(self._source, word.start, values[-1].span.end), values=tuple(values))

    def for_(self, parts: list[Any]) -> tree.For:
        word, name, _, iterable, _, _, body, _ = parts
        self._plain(name)
        return tree.For(
            span=Span(self._source, word.start, body[-1].span.end),
            name=self.name([name]),
            iterable=iterable,
            body=tuple(body),
        )

    def setting(self, parts: list[Any]) -> tree.Setting:
        keyword, values, *rest = parts
        self._plain(keyword)
        over = rest[1] if rest else []
        return tree.Setting(
            span=Span(self._source, keyword.start, (over or values)[-1].span.end),
            keyword=self.name([keyword]),
            values=tuple(values),
            over=tuple(over),
        )

    def minimize(self, parts: list[Any]) -> tree.Minimize:
        word, loss, _, over, *rest = parts
        optimizer = rest[1] if rest else None
        return tree.Minimize(
            span=Span(self._source, word.start, (optimizer or over[-1]).span.end),
            loss=self.name([loss]),
            over=tuple(over),
            optimizer=optimizer,
        )

    # --- definitions ------------------------------------------------------------------------------------------------

    def import_(self, parts: list[Token]) -> tree.Import:
        span = Span(self._source, parts[0].start, parts[1].end)
        return tree.Import(span=span, path=self.text([parts[1]]))

    def parameter(self, parts: list[Any]) -> tree.Parameter:
        name, dims, type_, default = parts
        self._plain(name)
        end = max([name.end, *(part.span.end for part in (dims, type_, default) if part is not None)])
        return tree.Parameter(
            span=Span(self._source, name.start, end),
            name=name.text,
            dims=None if dims is None else dims.indices,
            type=type_,
            default=default,
        )

    def body(self, parts: list[Any]) -> tuple[Token | None, list[Any]]:
        return None, parts[0]

    def documented(self, parts: list[Any]) -> tuple[Token | None, list[Any]]:
        return parts[0], parts[2]

    def only_documented(self, parts: list[Any]) -> tuple[Token | None, list[Any]]:
        return parts[0], []

    def block(self, parts: list[Any]) -> tree.Definition:
        kind, name, parameters, _, _, (doc, body), _ = parts
        self._check_body(kind.kind, body)
        end = body[-1].span.end if body else doc.end
        return self._definition(kind, name, parameters, doc, tuple(body), end, inline=False)

    def inline(self, parts: list[Any]) -> tree.Definition:
        kind, name, parameters, equals, value, doc, _ = parts
        if kind.kind in BLOCKS:
            fail(
                "block-needed",
                f"a {kind.text} is not one expression",
                self._at(equals),
                help=f"end the line with `:` and write the body of the {kind.text} on the next lines, indented",
            )
        body = (tree.Return(span=value.span, values=(value,)),)
        self._check_depth(body[0])
        return self._definition(kind, name, parameters, doc, body, doc.end if doc else value.span.end, inline=True)

    def train(self, parts: list[Any]) -> tree.Definition:
        word, name, _, _, settings, _ = parts
        self._check_body(word.kind, settings)
        return self._definition(word, name, [], None, tuple(settings), settings[-1].span.end, inline=False)

    def _definition(
        self,
        kind: Token,
        name: Token,
        parameters: list[tree.Parameter],
        doc: Token | None,
        body: tuple[tree.Statement, ...],
        end: int,
        inline: bool,
    ) -> tree.Definition:
        self._plain(name)
        names: set[str] = set()
        for parameter in parameters:
            if parameter.name in names:
                fail(
                    "repeated-parameter",
                    f"`{name.text}` has two parameters `{parameter.name}`",
                    parameter.span,
                    help="rename one of them",
                )
            names.add(parameter.name)
        return tree.Definition(
            span=Span(self._source, kind.start, end),
            kind=kind.kind,
            name=self.name([name]),
            parameters=tuple(parameters),
            doc=self.text([doc]) if doc else None,
            body=body,
            inline=inline,
        )

    # --- checks -----------------------------------------------------------------------------------------------------

    def _check_body(self, kind: str, body: Iterable[tree.Statement]) -> None:
        pending = list(body)
        for statement in pending:
            self._check_depth(statement)
        allowed = _ALLOWED.get(kind, _PURE)
        while pending:
            statement = pending.pop()
            word = getattr(statement, "kind", type(statement).__name__)
            if word not in allowed:
                misplaced(word, kind, statement.span)
            if isinstance(statement, tree.For):
                pending.extend(statement.body)

    def _check_depth(self, statement: tree.Tree) -> None:
        """Refuse nesting that later passes, which recurse, could not follow; a short text cannot be deep."""
        if statement.span.end - statement.span.start <= DEPTH:
            return
        level: list[tree.Tree] = [statement]
        for _ in range(DEPTH + 1):
            level = [part for node in level for part in _parts(node)]
            if not level:
                return
        too_deep(level[0].span)

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

    # --- spans ------------------------------------------------------------------------------------------------------

    def _at(self, token: Token) -> Span:
        return Span(self._source, token.start, token.end)

    def _from(self, node: tree.Tree, end: int) -> Span:
        return Span(self._source, node.span.start, end)


def _parts(node: tree.Tree) -> Iterator[tree.Tree]:
    """The nodes directly under a node."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, tree.Tree):
            yield value
        elif isinstance(value, tuple):
            yield from (part for part in value if isinstance(part, tree.Tree))


def _grouped(node: tree.Binary) -> bool:
    return node.span.start < node.left.span.start
