"""The tree builder: for each rule of the grammar, the method that makes its node from the nodes of its parts.

The parser calls these methods while it parses, innermost first, so no method recurses and depth costs no stack. They
also check what the grammar leaves open, where the spans are at hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from netlang.diagnostics import NetlangError, Span, fail
from netlang.language import tree
from netlang.language.expressions import ExpressionBuilder
from netlang.language.layout import BLOCKS, DEPTH, Token, too_deep

# What may stand in the body of each kind of definition.
_PURE = {"Assign", "Equation", "Require", "Return", "For"}
_ALLOWED = {
    "net": {"Assign", "Equation", "Require", "For", "Update", *("input", "target", "param", "state", "noise")}
    | {"output", "loss", "metric"},
    "layer": _PURE | {"Update", "param", "state", "noise"},
    "optimizer": {"Assign", "Equation", "Require", "For", "Update", "state"},
    "train": {"Setting", "Minimize"},
}


class Builder(ExpressionBuilder):
    """Makes the nodes of one source; the names of its public methods are those in the grammar."""

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
        span = Span(self._source, word.start, message[-1].end)
        return tree.Require(span=span, condition=condition, message=self.text(message))

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

    def body(self, parts: list[Any]) -> tuple[list[Token] | None, list[Any]]:
        return None, parts[0]

    def documented(self, parts: list[Any]) -> tuple[list[Token] | None, list[Any]]:
        return parts[0], parts[1]

    def only_documented(self, parts: list[Any]) -> tuple[list[Token] | None, list[Any]]:
        return parts[0], []

    def block(self, parts: list[Any]) -> tree.Definition:
        kind, name, parameters, _, _, (doc, body), _ = parts
        self._check_body(kind.kind, body)
        end = body[-1].span.end if body else doc[-1].end
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
        return self._definition(kind, name, parameters, doc, body, doc[-1].end if doc else value.span.end, inline=True)

    def train(self, parts: list[Any]) -> tree.Definition:
        word, name, _, _, settings, _ = parts
        self._check_body(word.kind, settings)
        return self._definition(word, name, [], None, tuple(settings), settings[-1].span.end, inline=False)

    def _definition(
        self,
        kind: Token,
        name: Token,
        parameters: list[tree.Parameter],
        doc: list[Token] | None,
        body: tuple[tree.Statement, ...],
        end: int,
        inline: bool,
    ) -> tree.Definition:
        self._plain(name)
        names: set[str] = set()
        for parameter in parameters:
            self._check_depth(parameter)
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
            doc=self.text(doc) if doc else None,
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
                from netlang.language.slips import misplaced  # only a text with a slip needs it

                raise NetlangError(misplaced(word, kind, statement.span))
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


def _parts(node: tree.Tree) -> Iterator[tree.Tree]:
    """The nodes directly under a node; of an argument its value."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, tree.Tree):
                yield part.value if isinstance(part, tree.Argument) else part
