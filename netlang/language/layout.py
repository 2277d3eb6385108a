"""From characters to tokens: the lexer, with indentation turned into block structure.

A line that ends in `:` opens a block, and the deeper lines after it are its statements. A deeper line where no block
was opened continues the statement above it; inside brackets line ends mean nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from netlang.diagnostics import Source, Span, fail
from netlang.language.tree import Comment

DEFINITIONS = ("net", "layer", "fn", "loss", "metric", "optimizer", "schedule", "penalty", "initializer", "train")
BLOCKS = ("net", "layer", "optimizer", "train")  # the definitions that cannot be one expression
STATEMENTS = (
    *("input", "target", "param", "state", "noise", "output", "loss", "metric"),
    *("require", "return", "for", "minimize"),
)
CONNECTIVES = ("if", "else", "when", "over", "with", "in", "and", "or")
RESERVED = frozenset((*DEFINITIONS, *STATEMENTS, *CONNECTIVES, "import", "not", "true", "false", "class"))
REDUCERS = ("sum", "mean", "prod", "max", "min", "argmax", "argmin")

DEPTH = 200
"""How deep brackets, and the expressions they make, may nest."""


class Token(NamedTuple):
    """A token; `kind` is its spelling where it has only one, and `start` and `end` are offsets in the source."""

    kind: str
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    rf"""[ \t]*(?:
      (?P<reducer>(?:{"|".join(sorted(REDUCERS, reverse=True))})(?=[ ]*\())
    | (?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)
    | (?P<symbol>\.\.\.|\.\.|->|<-|//|[=!<>]=|[-+*/%@^<>=,:~()\[\]])
    | (?P<number>(?>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\w))
    | (?P<newline>\r?\n[ \t]*)
    | (?P<comment>\#[^\n]*)
    | (?P<string>"(?:[^"\\\n]|\\[^\n])*")
    | (?P<end>\Z)
    | (?P<stray>.)
    )""",
    re.VERBOSE | re.DOTALL,
)

_CLASSES = {
    **dict.fromkeys(("==", "!=", "<=", ">=", ">"), "COMPARE"),
    **dict.fromkeys(("*", "/", "//", "%", "@"), "MULTIPLY"),
}
_CLOSES = {")": "(", "]": "["}


def tokens(source: Source, start: int, end: int) -> Iterator[Token]:
    """The tokens of the definition at characters `start <= k < end`, layout tokens included, `$END` last."""
    text = source.text
    blocks = [0]
    brackets: list[Token] = []
    previous = Token("NEWLINE", "", start, start)
    for match in _TOKEN.finditer(text, start, end):
        group = match.lastgroup or "stray"
        first, last = match.span(group)
        if group == "comment":
            continue
        if group == "newline":
            if text[last : last + 1] in ("\n", "#", "") or last >= end or text.startswith("\r\n", last):
                continue
            _refuse_tabs(source, match[group], last)
            if not brackets:
                column = last - text.rindex("\n", first, last) - 1
                for token in _line_start(source, previous, blocks, column, last):
                    previous = token
                    yield token
            continue
        if group == "end":
            break
        spelling = match[group]
        if group == "name":
            kind = spelling if spelling in RESERVED else "NAME"
        elif group == "symbol":
            kind = _CLASSES.get(spelling, spelling)
        elif group == "stray":
            _refuse(source, first, end)
        else:
            kind = group.upper()
        token = Token(kind, spelling, first, last)
        if group == "symbol":
            if kind in ("(", "["):
                brackets.append(token)
                if len(brackets) > DEPTH:
                    too_deep(Span(source, first, last))
            elif kind in _CLOSES:
                _close(source, brackets, token)
        previous = token
        yield token
    if brackets:
        _unclosed(source, brackets[-1])
    if previous.kind == ":":
        _missing_body(source, previous)
    yield Token("NEWLINE", "", previous.end, previous.end)
    for _ in blocks[1:]:
        yield Token("DEDENT", "", previous.end, previous.end)
    yield Token("$END", "", previous.end, previous.end)


def _line_start(source: Source, previous: Token, blocks: list[int], column: int, at: int) -> Iterator[Token]:
    """The layout tokens in front of a line indented by `column`; `blocks` holds the indentations of the open blocks."""
    if previous.kind == ":":
        if column <= blocks[-1]:
            _missing_body(source, previous)
        blocks.append(column)
        yield Token("INDENT", "", at, at)
        return
    if column > blocks[-1]:
        return
    ended = previous.end
    yield Token("NEWLINE", "", ended, ended)
    if column == blocks[-1]:
        return
    known = [width for width in blocks if width]
    while blocks[-1] > column:
        blocks.pop()
        yield Token("DEDENT", "", ended, ended)
    if blocks[-1] != column:
        fail(
            "indentation",
            f"this line is indented by {_spaces(column)}, which no open block is",
            Span(source, at, at + 1),
            notes=[f"the open blocks are indented by {' and '.join(map(str, known))} spaces"],
            help="indent it as the block that it belongs to",
        )


def comments(source: Source) -> tuple[Comment, ...]:
    """All the comments of a text, in order."""
    found = []
    alone = True
    for match in _TOKEN.finditer(source.text):
        group = match.lastgroup
        if group == "newline":
            alone = True
        elif group == "comment":
            start = match.start("comment")
            text = match["comment"].rstrip()
            found.append(Comment(span=Span(source, start, start + len(text)), text=text, alone=alone))
        elif not (match.start() == 0 and match[0] == "\N{BYTE ORDER MARK}"):
            alone = False
    return tuple(found)


def too_deep(span: Span) -> NoReturn:
    fail(
        "too-deep",
        f"this expression is nested more than {DEPTH} levels deep",
        span,
        help="give a part of it a name",
    )


def _refuse_tabs(source: Source, space: str, end: int) -> None:
    if "\t" in space:
        at = end - len(space) + space.index("\t")
        fail("indentation", "a tab in the indentation", Span(source, at, at + 1), help="indent with spaces only")


def _close(source: Source, brackets: list[Token], token: Token) -> None:
    if not brackets:
        fail("unopened", f"this `{token.text}` closes nothing", Span(source, token.start, token.end), help="remove it")
    opened = brackets.pop()
    if opened.kind != _CLOSES[token.kind]:
        _unclosed(source, opened, token)


def _unclosed(source: Source, opened: Token, closing: Token | None = None) -> NoReturn:
    wanted = {"(": ")", "[": "]"}[opened.kind]
    notes = []
    if closing is not None:
        line, column = source.place(closing.start)
        notes = [f"the `{closing.text}` at {line}:{column} does not close it"]
    fail(
        "unclosed",
        f"this `{opened.text}` is never closed",
        Span(source, opened.start, opened.end),
        notes=notes,
        help=f"write `{wanted}` where it ends",
    )


def _missing_body(source: Source, colon: Token) -> NoReturn:
    fail(
        "missing-body",
        "nothing is indented under this `:`",
        Span(source, colon.start, colon.end),
        help="write the body on the next lines, indented by four spaces",
    )


_LOOKALIKES = {
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014", "-"),
    **dict.fromkeys("\u00d7\u00b7\u2217\u22c5", "*"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb'", '"'),
    **dict.fromkeys("\u00f7", "/"),
    **dict.fromkeys("\u2264", "<="),
    **dict.fromkeys("\u2265", ">="),
    **dict.fromkeys("\u2260", "!="),
    **dict.fromkeys("\u2192", "->"),
    **dict.fromkeys("\u2190", "<-"),
    **dict.fromkeys("\u2026", "..."),
    **dict.fromkeys("\u00a0\u2003\u2009\u3000", "a plain space"),
    "{": "[",
    "}": "]",
    ";": "a new line",
    "&": "and",
    "|": "or",
    "!": "not",
}


def _refuse(source: Source, at: int, end: int) -> NoReturn:
    """Say what is wrong with a character that starts no token."""
    text = source.text
    char = text[at]
    if char == '"':
        stop = text.find("\n", at, end)
        fail(
            "unterminated-string",
            "this string has no closing quote on its line",
            Span(source, at, (stop if stop >= 0 else end)),
            help='end it with `"`; a quote inside a string is written `\\"`',
        )
    if char.isdigit():
        word = re.compile(r"[\w.]*").match(text, at, end)
        stop = word.end() if word else at + 1
        fail(
            "malformed-number",
            f"`{text[at:stop]}` is neither a number nor a name",
            Span(source, at, stop),
            help="a name starts with a letter, and a product needs its `*`",
        )
    span = Span(source, at, at + 1)
    if char == ".":
        number = text[at + 1 : at + 2].isdigit()
        fail(
            "unexpected-character",
            "unexpected `.`",
            span,
            help="a number has a digit on both sides of its point, as in `0.5`" if number else "",
        )
    named = f"`{char}`" if char.isprintable() and not char.isspace() else f"character U+{ord(char):04X}"
    if not char.isascii():
        named += f" ({unicodedata.name(char, f'U+{ord(char):04X}').lower()})"
    meant = _LOOKALIKES.get(char, "")
    quoted = meant if " " in meant else f"`{meant}`"
    fail("unexpected-character", f"unexpected {named}", span, help=f"write {quoted}" if meant else "")


def _spaces(count: int) -> str:
    return "1 space" if count == 1 else f"{count} spaces"
