"""The parser: tokens and table in, syntax tree out; the first slip in each definition becomes a diagnostic."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from netlang.diagnostics import Diagnostic, NetlangError, Source, Span, fail
from netlang.language.builder import Builder
from netlang.language.layout import DEFINITIONS, DEPTH, Token, comments, tokens, too_deep
from netlang.language.tables import Table, table
from netlang.language.tree import Definition, File, Import

MOST_DIAGNOSTICS = 20
"""How many syntax errors are reported at once."""

_STACK = 10 * DEPTH  # more than any expression needs that is not too deep
_ITEM = re.compile(
    rf"""(?:^|(?<=\A\ufeff))(import|{"|".join(DEFINITIONS)})\b(?:[ \t]+(?:([^\W\d]\w*)|"([^"\n]*)"))?""", re.MULTILINE
)


class Entry(NamedTuple):
    """Where a top-level item stands: the characters `start <= k < end`, comments and blank lines after it included."""

    kind: str
    name: str
    start: int
    end: int


def parse(source: Source) -> File:
    """The syntax tree of a whole file.

    Raises `NetlangError` with the first slip of each definition that has one.
    """
    entries = index_definitions(source)
    found: list[Diagnostic] = []
    items: list[Import | Definition] = []
    try:
        _check_lead(source, entries[0].start if entries else len(source.text))
    except NetlangError as error:
        found.extend(error.diagnostics)
    for entry in entries:
        try:
            items.append(_parse_item(source, entry.start, entry.end))
        except NetlangError as error:
            found.extend(error.diagnostics)
            if len(found) >= MOST_DIAGNOSTICS:
                break
    if found:
        raise NetlangError(*found)
    return File(
        span=Span(source, 0, len(source.text)),
        imports=tuple(item for item in items if isinstance(item, Import)),
        definitions=tuple(item for item in items if isinstance(item, Definition)),
        comments=comments(source),
    )


def parse_definition(source: Source, start: int, end: int) -> Definition:
    """The definition at characters `start <= k < end` of a source; spans are offsets in the whole source.

    Raises `NetlangError` where it has a slip, or where an import stands there.
    """
    item = _parse_item(source, start, end)
    if isinstance(item, Import):
        fail(
            "expected-definition",
            "expected a definition, found an import",
            item.span,
            help="give the part of the text that holds a definition",
        )
    return item


def index_definitions(source: Source) -> tuple[Entry, ...]:
    """Where the imports and definitions of a text stand, by their keywords in the first column; nothing is parsed.

    The name of an import is its path; the name is empty where the text has none.
    """
    matches = list(_ITEM.finditer(source.text))
    ends = [match.start() for match in matches[1:]] + [len(source.text)] * bool(matches)
    return tuple(
        Entry(match[1], match[2] or match[3] or "", match.start(), end)
        for match, end in zip(matches, ends, strict=True)
    )


def decode(name: str, data: bytes) -> Source:
    """The source in the bytes of a file: UTF-8, with or without a byte order mark, any line ends.

    Raises `NetlangError` where the file is empty or is not text.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fail(
            "not-text",
            f"`{name}` is not a text in UTF-8",
            place=f"{name}:{line}",
            notes=[f"byte {error.start} is 0x{data[error.start]:02x}"],
            help="save it as UTF-8, if it is a netlang file at all",
        )
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        fail(
            "not-text",
            f"`{name}` is a binary file",
            place=f"{name}:{line}",
            notes=["it has a zero byte"],
            help="give a netlang file",
        )
    text = text.replace("\r\n", "\n")
    if not text.strip():
        fail("empty-file", f"`{name}` is empty", place=name, help="a file has at least one definition")
    return Source(name, text)


def _check_lead(source: Source, end: int) -> None:
    """Only comments may stand before the first definition."""
    lead = re.compile(r"\ufeff?(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*(?:#[^\n]*)?").match(source.text, 0, end)
    at = lead.end() if lead else 0
    if at >= end:
        return
    from netlang.language import slips  # only a text with a slip needs them

    stray = next(tokens(source, at, end))
    slip = slips.Slip(source, (), stray, frozenset())
    raise NetlangError(slips.explain(slip))


def _parse_item(source: Source, start: int, end: int) -> Import | Definition:
    """Run the LALR automaton over one item."""
    grammar = table()
    actions, gotos, rules = grammar.actions, grammar.gotos, _bound(grammar, Builder(source))
    state = grammar.start
    stack = [state]
    values: list[Any] = []
    for token in tokens(source, start, end):
        kind = token[0]
        while True:
            action = actions[state].get(kind)
            if action is None:
                raise NetlangError(_explain(source, start, end, token, stack))
            if action >= 0:
                state = action
                stack.append(state)
                values.append(token)
                if len(stack) > _STACK:
                    too_deep(Span(source, token.start, token.end))
                break
            made, length, method = rules[~action]
            if method is None:
                stack.pop()
            elif length:
                parts = values[-length:]
                del stack[-length:], values[-length:]
                values.append(method(parts))
            else:
                values.append(method(()))
            state = gotos[stack[-1]][made]
            stack.append(state)
            if state == grammar.end:
                return values[-1]  # type: ignore[no-any-return]
    raise AssertionError("the last token ends every item")


def _bound(grammar: Table, builder: Builder) -> list[tuple[str, int, Any]]:
    return [(made, length, method and getattr(builder, method)) for made, length, method in grammar.rules]


def _explain(source: Source, start: int, end: int, token: Token, stack: list[int]) -> Diagnostic:
    """The diagnostic for the token that the automaton refused. A bracket that is never closed is the likelier cause."""
    from netlang.language import slips

    before: list[Token] = []
    try:
        reached = False
        for other in tokens(source, start, end):
            reached = reached or other == token
            if not reached:
                before.append(other)
    except NetlangError as error:
        (lexical,) = error.diagnostics
        if lexical.code == "unclosed" and lexical.span is not None and lexical.span.start <= token.start:
            return lexical
    return slips.explain(slips.Slip(source, tuple(before), token, _expected(stack)))


def _expected(stack: list[int]) -> frozenset[str]:
    """The kinds of tokens that the automaton would take next."""
    grammar = table()
    taken = set()
    for kind in grammar.actions[stack[-1]]:
        trial = list(stack)
        while True:
            action = grammar.actions[trial[-1]].get(kind)
            if action is None:
                break
            if action >= 0:
                taken.add(kind)
                break
            made, length, _ = grammar.rules[~action]
            if length:
                del trial[-length:]
            trial.append(grammar.gotos[trial[-1]][made])
            if trial[-1] == grammar.end:
                taken.add(kind)
                break
    return frozenset(taken)
