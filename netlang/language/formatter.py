"""The formatter behind `netlang fmt`: one canonical layout for a file.

Four spaces for each level, one blank line between definitions, at most one inside them, lines of up to 100 characters.
Line breaks before `->` and `else` and after `=` are the author's where lines fit; comments stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from netlang.diagnostics import Source
from netlang.language import tree
from netlang.language.folding import fold
from netlang.language.notation import ITEM, LOOSEST, OPERATOR, OR, PIPE, STAGE, Writer, quoted
from netlang.language.parser import parse

_STEP = 4
_Item = tree.Import | tree.Definition


def format(source: Source) -> str:
    """The text of a file in the canonical layout; its tree is the same.

    Raises `NetlangError` where the file does not parse.
    """
    return _Formatter(parse(source), source).text()


class _Formatter:
    def __init__(self, file: tree.File, source: Source) -> None:
        self._source = source
        items: list[_Item] = [*file.imports, *file.definitions]
        self._items = sorted(items, key=lambda item: item.span.start)
        self._comments = file.comments
        self._taken = 0  # how many of the comments are written
        self._limit = 0  # where, in the source, the next definition starts
        self._lines: list[str] = []
        self._last = -1  # where, in the source, what was written last ended
        self._fresh = True  # whether a block has just been opened, so that no blank line is wanted

    def text(self) -> str:
        end = len(self._source.text)
        earlier: _Item | None = None
        for k, item in enumerate(self._items):
            self._limit = self._items[k + 1].span.start if k + 1 < len(self._items) else end
            self._comments_above(item.span.start, 0, earlier is not None and _apart(earlier, item))
            if isinstance(item, tree.Import):
                self._statement(item, 0)
            else:
                self._definition(item)
            earlier = item
        rest = self._comments[self._taken :]
        self._comments_above(end, 0, bool(rest) and isinstance(earlier, tree.Definition) and not earlier.inline)
        return "\n".join(self._lines).strip("\n") + "\n"

    # --- definitions ------------------------------------------------------------------------------------------------

    def _definition(self, item: tree.Definition) -> None:
        writer = Writer()
        writer.put(f"{item.kind} {item.name.id}", item.span.start)
        if item.parameters:
            writer.close("(")
            _parameters(writer, item.parameters)
        if item.inline:
            self._inline(item, writer)
            return
        writer.close(":")
        head = max([item.name.span.end, *(parameter.span.end for parameter in item.parameters)])
        self._header(writer, item.span.start, head, (item.doc or item.body[0]).span.start, 0)
        if item.doc:
            self._statement(item.doc, _STEP)
        self._body(item.body, _STEP)

    def _inline(self, item: tree.Definition, writer: Writer) -> None:
        (returned,) = item.body
        assert isinstance(returned, tree.Return)
        writer.close(" =")
        writer.value(item.parameters[-1] if item.parameters else item.name, returned.values[0])
        if item.doc:
            writer.put(quoted(item.doc), item.doc.span.start, broken=True)
        self._write(writer, item.span.start, item.span.end, 0)

    def _header(self, writer: Writer, start: int, head: int, body: int, indent: int) -> None:
        """The line that opens a block; a comment at its end may stand before or after the colon."""
        self._blank(start)
        inside = self._take(lambda c: c.span.start < body and (c.span.start < head or not c.alone))
        self._lines += fold(writer.pieces, inside, indent, 2 * _STEP)
        self._last = inside[-1].span.end if inside else head
        self._fresh = True

    def _body(self, body: Sequence[tree.Statement], indent: int) -> None:
        column = body[0].span.column - 1 if body else _STEP
        k = 0
        while k < len(body):
            statement = body[k]
            self._comments_above(statement.span.start, indent)
            if isinstance(statement, tree.For):
                writer = Writer()
                writer.put(f"for {statement.name.id} in", statement.span.start)
                writer.expression(statement.iterable, space=True)
                writer.close(":")
                inner = statement.body[0].span.start
                self._header(writer, statement.span.start, statement.iterable.span.end, inner, indent)
                self._body(statement.body, indent + _STEP)
                k += 1
                continue
            others = self._listed(body, k)
            self._statement(statement, indent, others)
            k += 1 + len(others)
        self._comments_below(column, indent)

    def _listed(self, statements: Sequence[tree.Statement], k: int) -> list[tree.Objective]:
        """The objectives that stand in one list with statement `k`: `output a, b`.

        The span of the first starts at the keyword, that of a later one after it.
        """
        found: list[tree.Objective] = []
        if isinstance(statements[k], tree.Objective):
            for following in range(k + 1, len(statements)):
                statement = statements[following]
                if not isinstance(statement, tree.Objective):
                    break
                if re.compile(rf"{statement.kind}\b(?!\.)").match(self._source.text, statement.span.start):
                    break
                found.append(statement)
        return found

    # --- statements -------------------------------------------------------------------------------------------------

    def _statement(self, node: tree.Tree, indent: int, others: Sequence[tree.Objective] = ()) -> None:
        writer = Writer()
        at = node.span.start
        match node:
            case tree.Import(path=path):
                writer.put(f"import {quoted(path)}", at)
            case tree.Text():
                writer.put(quoted(node), at)
            case tree.Declaration(kind=kind, items=items):
                writer.put(kind, at)
                _listed(writer, items, _declared)
            case tree.Assign(names=names, value=value):
                writer.put(f"{', '.join(name.id for name in names)} =", at)
                writer.value(names[-1], value)
            case tree.Equation(name=name, indices=indices, value=value):
                writer.put(f"{name.id}[", at)
                writer.ranges(indices, "] =")
                writer.value(indices[-1], value)
            case tree.Update(name=name, value=value, condition=condition):
                writer.put(f"{name.id} <-", at)
                writer.value(name, value)
                if condition is not None:
                    writer.lead("when", condition, STAGE, value)
                    writer.expression(condition, OR, space=True)
            case tree.Objective(kind=kind):
                writer.put(kind, at)
                _listed(writer, (node, *others), _objective)
            case tree.Require(condition=condition, message=message):
                writer.put("require", at)
                writer.expression(condition, space=True)
                writer.close(",")
                broken = "\n" in self._source.text[condition.span.end : message.span.start]
                writer.put(quoted(message), message.span.start, space=True, rank=ITEM, broken=broken)
            case tree.Return(values=values):
                writer.put("return", at)
                writer.listed(values)
            case tree.Setting(keyword=keyword, values=values, over=over):
                writer.put(keyword.id, at)
                writer.listed(values)
                _over(writer, over, values[-1])
            case tree.Minimize(loss=loss, over=over, optimizer=optimizer):
                writer.put(f"minimize {loss.id}", at)
                _over(writer, over, loss)
                if optimizer is not None:
                    writer.lead("with", optimizer, STAGE, over[-1])
                    writer.expression(optimizer, space=True)
        last = others[-1] if others else node
        self._write(writer, at, last.span.end, indent)

    def _write(self, writer: Writer, start: int, end: int, indent: int) -> None:
        self._blank(start)
        inside = self._comments_until(end)
        self._lines += fold(writer.pieces, inside, indent)
        self._last = max(end, inside[-1].span.end if inside else 0)
        self._fresh = False

    # --- comments and blank lines -----------------------------------------------------------------------------------

    def _comments_until(self, end: int) -> tuple[tree.Comment, ...]:
        """Take the comments in a statement that ends there, and the one at the end of its last line."""
        stop = self._source.text.find("\n", end)
        stop = stop if stop >= 0 else len(self._source.text)
        return self._take(lambda c: c.span.start < end or (c.span.start < stop and not c.alone))

    def _take(self, wanted: Callable[[tree.Comment], bool]) -> tuple[tree.Comment, ...]:
        """The next comments, as long as they are wanted."""
        first = self._taken
        while self._taken < len(self._comments) and wanted(self._comments[self._taken]):
            self._taken += 1
        return self._comments[first : self._taken]

    def _comments_above(self, start: int, indent: int, blank: bool = False) -> None:
        """Write the comments before the next thing; `blank` says that a blank line has to come before all that."""
        for comment in self._take(lambda c: c.span.start < start):
            self._comment(comment, indent, blank)
            blank = False
        if blank:
            self._lines.append("")
            self._fresh = True

    def _comments_below(self, column: int, indent: int) -> None:
        """Write the comments after the last statement of a block that are indented as deep as the block."""
        for comment in self._take(lambda c: c.span.start < self._limit and c.span.column > column):
            self._comment(comment, indent)

    def _comment(self, comment: tree.Comment, indent: int, blank: bool = False) -> None:
        if blank:
            self._lines.append("")
        else:
            self._blank(comment.span.start)
        self._lines.append(" " * indent + comment.text)
        self._last, self._fresh = comment.span.end, False

    def _blank(self, start: int) -> None:
        """Keep one blank line where the author had any, except at the start of a block."""
        between = self._source.text[max(self._last, 0) : start]
        if self._lines and not self._fresh and between.count("\n") > 1 and re.search(r"\n[ \t\r]*\n", between):
            self._lines.append("")


def _apart(earlier: _Item, later: _Item) -> bool:
    """Whether a blank line has to stand between two items: not between imports, nor between one-line definitions."""
    if isinstance(earlier, tree.Definition) and isinstance(later, tree.Definition):
        return not (earlier.inline and later.inline)
    return type(earlier) is not type(later)


def _parameters(writer: Writer, parameters: Sequence[tree.Parameter]) -> None:
    with writer.inside():
        for k, parameter in enumerate(parameters):
            if k:
                writer.close(",")
            writer.put(parameter.name, parameter.span.start, space=k > 0, rank=ITEM)
            _shape(writer, parameter)
            if parameter.default is not None:
                writer.close("=")
                writer.expression(parameter.default)
    writer.close(")")


_Part = TypeVar("_Part", tree.Declared, tree.Objective)


def _listed(writer: Writer, parts: Sequence[_Part], write: Callable[[Writer, _Part, int | None], None]) -> None:
    """The parts of a declaration or of a list of objectives."""
    if len(parts) == 1:
        write(writer, parts[0], None)
        return
    with writer.inside():
        for k, part in enumerate(parts):
            if k:
                writer.close(",")
            write(writer, part, ITEM if k else None)


def _declared(writer: Writer, item: tree.Declared, rank: int | None) -> None:
    writer.put(item.name, item.span.start, space=True, rank=rank)
    _shape(writer, item)
    if item.init is not None:
        writer.close(" ~")
        writer.expression(item.init, LOOSEST if item.condition is None else PIPE, space=True)
    if item.condition is not None:
        if item.init is not None:
            writer.lead("if", item.condition, STAGE, item.init)
        else:
            writer.put("if", item.condition.span.start, space=True, rank=OPERATOR)
        writer.expression(item.condition, OR, space=True)


def _shape(writer: Writer, item: tree.Parameter | tree.Declared) -> None:
    """The dimensions and the type of a declared tensor."""
    if item.dims is not None:
        writer.close("[")
        writer.bracketed(item.dims, "]")
    if item.type is not None:
        writer.close(": class(")
        writer.bracketed((item.type.count,), ")")


def _objective(writer: Writer, item: tree.Objective, rank: int | None) -> None:
    if item.name is None:
        mark = len(writer.pieces)
        writer.expression(item.value, space=True)
        writer.allow(mark, rank, space=True)
    else:
        writer.put(f"{item.name.id} =", item.name.span.start, space=True, rank=rank)
        writer.value(item.name, item.value)


def _over(writer: Writer, names: Sequence[tree.Name], previous: tree.Tree) -> None:
    if names:
        writer.lead("over", names[0], STAGE, previous)
        writer.listed(names)
