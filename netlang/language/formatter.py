"""The formatter behind `netlang fmt`: one canonical layout for a file.

- A level is indented by four spaces. One blank line stands between definitions (none has to between definitions in one
  line); inside them the author's are kept, as one.
- A line has up to 120 characters. Outside brackets, a break before `->`, `if`, `else`, `when`, `over` or `with` is the
  author's to choose; any other stays only where the line would be too long without it, or where a comment is inside.
- A line that is too long is broken outside brackets and lists first, and there at the best place: after a comma, before
  a `->`, after the `=` (where more than one call follows), before an `else`, an operator of a sum, one of a product.
- A stage on a new line stands under the first `->` of its pipeline, what is in brackets or in a list under the first
  thing there, and all else is indented by four. What has to start beyond column 60 for that is indented by four too.
- In consecutive lines, what follows the keyword stands in one column, and so do the `~` of lines that declare one
  tensor each, the `<-` of updates and the `=` of definitions in one line. The conditions of declarations and updates
  stand in one column too, two spaces behind the longest, and so do comments at the end of lines. A blank line, a
  comment on its own line, a block and a statement of several lines end such a table.
- Documentation and messages are one string for each line, which a space joins to the next; too long a string is cut.
- A comment stays on its own line, or at the end of what it followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from netlang.diagnostics import Source
from netlang.language import columns, tree
from netlang.language.folding import WIDTH, Line, fold
from netlang.language.layout import tokens
from netlang.language.notation import LOOSEST, OR, PIPE, Writer, quoted
from netlang.language.parser import parse
from netlang.language.pieces import CLAUSE, ITEM, OPERATOR, Piece

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
        self._table: list[Line] = []  # the last lines, as long as they are consecutive statements of one line each
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
        self._end_table()
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
        self._header(writer, item.span.start, (item.doc or item.body[0]).span.start, 0)
        if item.doc:
            self._statement(item.doc, _STEP)
        self._body(item.body, _STEP)

    def _inline(self, item: tree.Definition, writer: Writer) -> None:
        (returned,) = item.body
        assert isinstance(returned, tree.Return)
        writer.put("=", space=True, column=columns.BODY)
        writer.value(returned.values[0])
        if item.doc:
            for line in _literals(item.doc, WIDTH - _STEP):
                writer.line(*line)
        self._write(writer, item.span.start, item.span.end, 0)

    def _header(self, writer: Writer, start: int, body: int, indent: int) -> None:
        """The line that opens a block; a comment at its end may stand before or after the colon."""
        self._blank(start)
        inside = self._comments_until(writer.pieces, body)
        self._put(fold(writer.pieces, inside, self._source.text, indent, 2 * _STEP))
        self._end_table()
        self._last = max([start, *(piece.at for piece in writer.pieces), *(comment.span.end for comment in inside)])
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
                self._header(writer, statement.span.start, statement.body[0].span.start, indent)
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
                writer.put(f"import {quoted(path.value)}", at)
            case tree.Text():
                for line in _literals(node, WIDTH - indent):
                    writer.line(*line)
            case tree.Declaration(kind=kind, items=items):
                writer.put(kind, at)
                _listed(writer, items, _declared)
            case tree.Assign(names=names, value=value):
                writer.put(f"{', '.join(name.id for name in names)} =", at)
                writer.value(value)
            case tree.Equation(name=name, indices=indices, value=value):
                writer.put(f"{name.id}[", at)
                writer.ranges(indices, "] =")
                writer.value(value)
            case tree.Update(name=name, value=value, condition=condition):
                writer.put(name.id, at)
                writer.put("<-", space=True, column=columns.NEXT)
                writer.value(value)
                if condition is not None:
                    writer.lead("when", condition, CLAUSE, column=columns.CONDITION)
                    writer.expression(condition, OR, space=True)
            case tree.Objective(kind=kind):
                writer.put(kind, at)
                _listed(writer, (node, *others), _objective)
            case tree.Require(condition=condition, message=message):
                writer.put("require", at)
                writer.expression(condition, space=True)
                writer.close(",")
                first, *rest = _literals(message, WIDTH - indent - _STEP)
                writer.put(*first, space=True, rank=ITEM)
                for line in rest:
                    writer.line(*line)
            case tree.Return(values=values):
                writer.put("return", at)
                writer.listed(values)
            case tree.Setting(keyword=keyword, values=values, over=over):
                writer.put(keyword.id, at)
                writer.listed(values)
                _over(writer, over)
            case tree.Minimize(loss=loss, over=over, optimizer=optimizer):
                writer.put("minimize", at)
                writer.put(loss.id, loss.span.start, space=True)
                _over(writer, over)
                if optimizer is not None:
                    writer.lead("with", optimizer, CLAUSE)
                    writer.expression(optimizer, space=True)
        if isinstance(node, tree.Declaration | tree.Objective | tree.Setting | tree.Minimize):
            writer.mark(1, columns.SUBJECT)
        last = others[-1] if others else node
        self._write(writer, at, last.span.end, indent, 0 if isinstance(node, tree.Text) else _STEP)

    def _write(self, writer: Writer, start: int, end: int, indent: int, step: int = _STEP) -> None:
        self._blank(start)
        stop = self._source.text.find("\n", end)
        inside = self._comments_until(writer.pieces, stop if stop >= 0 else len(self._source.text))
        self._put(fold(writer.pieces, inside, self._source.text, indent, step))
        self._last = max(end, inside[-1].span.end if inside else 0)
        self._fresh = False

    # --- lines ------------------------------------------------------------------------------------------------------

    def _put(self, lines: list[Line]) -> None:
        """Add the lines of a statement."""
        if len(lines) > 1:
            self._end_table()
        self._table += lines
        if len(lines) > 1:
            self._lines += map(str, lines)
            self._table.clear()

    def _plain(self, line: str) -> None:
        """Add a line that is no statement: a comment or a blank line."""
        self._end_table()
        self._lines.append(line)

    def _end_table(self) -> None:
        self._lines += columns.aligned(self._table)
        self._table.clear()

    # --- comments and blank lines -----------------------------------------------------------------------------------

    def _comments_until(self, pieces: Sequence[Piece], stop: int) -> tuple[tree.Comment, ...]:
        """Take the comments between pieces, and one behind them at the end of the last line, before `stop`."""
        last = max(piece.at for piece in pieces)
        inside = self._take(lambda c: c.span.start < last)
        following = self._comments[self._taken : self._taken + 1]
        if following and following[0].span.start < stop and not following[0].alone:
            self._taken += 1
            return (*inside, *following)
        return inside

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
            self._plain("")
            self._fresh = True

    def _comments_below(self, column: int, indent: int) -> None:
        """Write the comments after the last statement of a block that are indented as deep as the block."""
        for comment in self._take(lambda c: c.span.start < self._limit and c.span.column > column):
            self._comment(comment, indent)

    def _comment(self, comment: tree.Comment, indent: int, blank: bool = False) -> None:
        if blank:
            self._plain("")
        else:
            self._blank(comment.span.start)
        self._plain(" " * indent + comment.text)
        self._last, self._fresh = comment.span.end, False

    def _blank(self, start: int) -> None:
        """Keep one blank line where the author had any, except at the start of a block."""
        between = self._source.text[max(self._last, 0) : start]
        if (self._lines or self._table) and not self._fresh and re.search(r"\n[ \t\r]*\n", between):
            self._plain("")


def _apart(earlier: _Item, later: _Item) -> bool:
    """Whether a blank line has to stand between two items: not between imports, nor between one-line definitions."""
    if isinstance(earlier, tree.Definition) and isinstance(later, tree.Definition):
        return not all(item.inline and item.doc is None for item in (earlier, later))
    return type(earlier) is not type(later)


def _literals(text: tree.Text, room: int) -> Iterator[tuple[str, int]]:
    """The strings of a text, each with where it is in the source: the author's, a long one cut at its last spaces."""
    for token in tokens(text.span.source, text.span.start, text.span.end):
        if token.kind != "STRING":
            continue
        at, rest = token.start, token.text[1:-1].replace("\t", "\\t")
        while len(rest) > room - 2 and " " in rest:
            end = rest.rfind(" ", 0, room - 1)
            end = end if end >= 0 else rest.index(" ")
            yield f'"{rest[:end]}"', at
            at, rest = -1, rest[end + 1 :]
        yield f'"{rest}"', at


def _parameters(writer: Writer, parameters: Sequence[tree.Parameter]) -> None:
    with writer.inside():
        for k, parameter in enumerate(parameters):
            if k:
                writer.close(",")
            writer.put(parameter.name, parameter.span.start, space=k > 0, rank=ITEM if k else None)
            _shape(writer, parameter, last=parameter.default is None)
            if parameter.default is not None:
                writer.close("=")
                writer.expression(parameter.default)
    writer.close(")")


_Part = TypeVar("_Part", tree.Declared, tree.Objective)


def _listed(writer: Writer, parts: Sequence[_Part], write: Callable[[Writer, _Part], None]) -> None:
    """The parts of a declaration or of a list of objectives."""
    if len(parts) == 1:
        write(writer, parts[0])
        return
    with writer.inside():
        for k, part in enumerate(parts):
            if k:
                writer.close(",")
            mark = len(writer.pieces)
            write(writer, part)
            if k:
                writer.allow(mark, ITEM)


def _declared(writer: Writer, item: tree.Declared) -> None:
    writer.put(item.name, item.span.start, space=True)
    _shape(writer, item, last=item.init is None and item.condition is None)
    if item.init is not None:
        writer.put("~", space=True, column=columns.DRAWN)
        writer.expression(item.init, LOOSEST if item.condition is None else PIPE, space=True)
    if item.condition is not None:
        if item.init is not None:
            writer.lead("if", item.condition, CLAUSE, column=columns.CONDITION)
        else:
            writer.put("if", item.condition.span.start, space=True, rank=OPERATOR)
        writer.expression(item.condition, OR, space=True)


def _shape(writer: Writer, item: tree.Parameter | tree.Declared, *, last: bool) -> None:
    """The dimensions and the type of a declared tensor; `last` says that nothing of it follows them."""
    if item.dims is not None:
        writer.close("[")
        writer.bracketed(item.dims, "]", item.span.end - 1 if last and item.type is None else -1)
    if item.type is not None:
        writer.close(": class(")
        writer.bracketed((item.type.count,), ")", item.type.span.end - 1)


def _objective(writer: Writer, item: tree.Objective) -> None:
    if item.name is None:
        writer.expression(item.value, space=True)
    else:
        writer.put(f"{item.name.id} =", item.name.span.start, space=True)
        writer.value(item.value)


def _over(writer: Writer, names: Sequence[tree.Name]) -> None:
    if names:
        writer.lead("over", names[0], CLAUSE)
        writer.listed(names)
