"""What to say about a token that cannot stand where it does, in the user's terms.

The parser knows the kinds of tokens that could have stood there; the common slips are recognized by these and by the
tokens around, in the order of `_SLIPS`, and everything else is `expected ..., found ...`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netlang.diagnostics import Diagnostic, Source, Span
from netlang.language.layout import BLOCKS, CONNECTIVES, DEFINITIONS, RESERVED, STATEMENTS, Token

_PLACES = {
    "input": ("net",),
    "target": ("net",),
    "output": ("net",),
    "metric": ("net",),
    "loss": ("net",),
    "param": ("net", "layer"),
    "state": ("net", "layer", "optimizer"),
    "noise": ("net", "layer"),
    "Update": ("net", "layer", "optimizer"),
    "return": ("layer", "fn", "loss", "metric", "schedule", "penalty", "initializer"),
    "Return": ("layer", "fn", "loss", "metric", "schedule", "penalty", "initializer"),
    "minimize": ("train",),
}
_ARITHMETIC = ("+", "-", "MULTIPLY", "^")
_SHOWN = {"Update": "`<-`", "Return": "`return`", "For": "`for`", "Assign": "an assignment", "Equation": "an equation"}


def misplaced(word: str, kind: str, span: Span) -> Diagnostic:
    """For a statement (its keyword, or the name of its node) in the body of a definition that cannot have it."""
    shown = _SHOWN.get(word, f"`{word}`")
    places = _PLACES.get(word, ())
    if kind == "train":
        help = "a `train` section has settings, such as `batch 64`, and `minimize` lines"
    elif places:
        named = [f"{'an' if place[0] in 'aeiou' else 'a'} `{place}`" for place in places]
        help = (
            f"it belongs in {', '.join(named[:-1])} or {named[-1]}" if len(named) > 1 else f"it belongs in {named[0]}"
        )
    else:
        help = ""
    if word in RESERVED or word == "Return":
        span = Span(span.source, span.start, span.start + len(word))
    article = "an" if kind[0] in "aeiou" else "a"
    return Diagnostic("misplaced-statement", f"{shown} cannot stand in {article} `{kind}`", span, help=help)


@dataclass(frozen=True)
class Slip:
    """A token that cannot stand where it does: `before` are the tokens up to it, `expected` the kinds that could."""

    source: Source
    before: Sequence[Token]
    token: Token
    expected: frozenset[str]

    @property
    def span(self) -> Span:
        return Span(self.source, self.token.start, self.token.end)

    @property
    def previous(self) -> Token:
        """The last token with text."""
        return next((t for t in reversed(self.before) if t.text), self.token)

    @property
    def statement(self) -> list[Token]:
        """The tokens of the same statement before this one."""
        found: list[Token] = []
        for token in reversed(self.before):
            if token.kind in ("NEWLINE", "INDENT", "DEDENT"):
                break
            found.append(token)
        return found[::-1]

    @property
    def starts_statement(self) -> bool:
        return bool(self.before) and not self.statement

    @property
    def continues(self) -> bool:
        """Whether this token is the first of a line that continues a statement."""
        start = self.source.text.rfind("\n", 0, self.token.start) + 1
        return bool(self.statement) and not self.source.text[start : self.token.start].strip()

    @property
    def definition(self) -> str:
        return self.before[0].kind if self.before else ""

    @property
    def wants_expression(self) -> bool:
        return "NUMBER" in self.expected

    def found(self) -> str:
        match self.token.kind:
            case "NEWLINE":
                return "end of line"
            case "DEDENT" | "$END":
                return "the end of the block"
            case "INDENT":
                return "an indented line"
            case "STRING":
                return "a string"
            case _:
                return f"`{self.token.text}`"


def explain(slip: Slip) -> Diagnostic:
    """The diagnostic for a slip."""
    for recognize in _SLIPS:
        diagnostic = recognize(slip)
        if diagnostic is not None:
            return diagnostic
    return _unexpected(slip)


def _no_definition(slip: Slip) -> Diagnostic | None:
    if slip.before and slip.expected != {"$END"}:
        return None
    if slip.token.kind in (*DEFINITIONS, "import"):
        return Diagnostic(
            "indentation",
            f"this `{slip.token.text}` is indented",
            slip.span,
            help="imports and definitions start in the first column",
        )
    return Diagnostic(
        "expected-definition",
        f"expected a definition, found {slip.found()}",
        slip.span,
        help="a definition starts with a word such as `net`, `layer` or `fn`, and what belongs to it is indented",
    )


def _missing_colon(slip: Slip) -> Diagnostic | None:
    if ":" not in slip.expected or not slip.statement:
        return None
    head = slip.statement[0].kind
    if head not in (*DEFINITIONS, "for") or not (slip.continues or slip.token.kind == "NEWLINE"):
        return None
    if head == "for" and slip.definition == "train":
        return None
    end = slip.previous.end
    return Diagnostic(
        "missing-colon",
        f"this `{head}` line needs a `:` at its end",
        Span(slip.source, end, end),
        help="end it with `:`" + ("" if head in (*BLOCKS, "for") else ", or with `=` and an expression"),
    )


def _text_after_colon(slip: Slip) -> Diagnostic | None:
    if slip.expected != {"INDENT"}:
        return None
    return Diagnostic(
        "text-after-colon",
        f"expected the end of the line after `:`, found {slip.found()}",
        slip.span,
        help="write the body on the next lines, indented by four spaces",
    )


def _misplaced(slip: Slip) -> Diagnostic | None:
    word = slip.token.kind
    if not slip.starts_statement:
        return None
    if word in STATEMENTS:
        return misplaced(word, slip.definition, slip.span)
    if word in (*DEFINITIONS, "import"):
        return Diagnostic(
            "misplaced-statement",
            f"`{word}` cannot stand inside a definition",
            slip.span,
            help="definitions start in the first column",
        )
    if word == "if":
        return Diagnostic(
            "misplaced-statement",
            "there is no `if` statement",
            slip.span,
            help="write `name = a if condition else b`",
        )
    return None


def _spelling(slip: Slip) -> Diagnostic | None:
    """Operators of other languages."""
    token, previous = slip.token, slip.previous
    adjacent = previous.end == token.start
    if token.text == "*" and previous.text == "*" and adjacent:
        span = Span(slip.source, previous.start, token.end)
        return Diagnostic("unknown-operator", "`**` is not an operator", span, help="write `^` for a power")
    if token.text == "=" and previous.text == ":" and adjacent:
        span = Span(slip.source, previous.start, token.end)
        return Diagnostic("unknown-operator", "`:=` is not an operator", span, help="write `=`, or `<-` for a state")
    if token.text == ":" and slip.source.text.startswith("=", token.end):
        span = Span(slip.source, token.start, token.end + 1)
        return Diagnostic("unknown-operator", "`:=` is not an operator", span, help="write `=`, or `<-` for a state")
    if len(slip.statement) == 1 and token.kind in _ARITHMETIC and slip.source.text.startswith("=", token.end):
        span = Span(slip.source, token.start, token.end + 1)
        return Diagnostic(
            "unknown-operator",
            f"`{token.text}=` is not an operator",
            span,
            help="a name is defined once; write the next value of a state with `<-`",
        )
    if token.text == "<-" and "<" in slip.expected:
        return Diagnostic(
            "unknown-operator",
            "`<-` cannot stand in an expression",
            slip.span,
            help="write `< -` with a space to compare with a negative number",
        )
    if token.text == "=" and "COMPARE" in slip.expected:
        if slip.definition == "train" and len(slip.statement) == 1:
            return None
        return Diagnostic(
            "single-equals",
            "`=` does not compare",
            slip.span,
            help="write `==` to compare; only a plain name can stand left of `=` to be defined",
        )
    return None


def _setting(slip: Slip) -> Diagnostic | None:
    if slip.definition != "train" or slip.token.text not in ("=", ":") or len(slip.statement) != 1:
        return None
    word = slip.statement[0].text
    if word == "train":
        return None
    return Diagnostic(
        "syntax",
        f"a setting has no `{slip.token.text}`",
        slip.span,
        help=f"write `{word} value`",
    )


def _stage(slip: Slip) -> Diagnostic | None:
    if slip.previous.kind == "->" and slip.statement:
        if slip.token.kind in ("NEWLINE", ")", "]", ",", "DEDENT"):
            return Diagnostic(
                "missing-stage",
                "nothing follows this `->`",
                Span(slip.source, slip.previous.start, slip.previous.end),
                help="write a layer after it, as in `x -> relu`",
            )
        if slip.token.kind not in RESERVED:
            return Diagnostic(
                "not-a-stage",
                f"{slip.found()} is not the application of a layer",
                slip.span,
                help="a stage is a name or a call, as in `x -> name -> other(10)`",
            )
    if (
        "->" in slip.expected
        and "+" not in slip.expected
        and slip.token.kind in ("+", "-", "MULTIPLY", "^", "COMPARE", "<")
    ):
        return Diagnostic(
            "operator-after-stage",
            f"`{slip.token.text}` cannot follow a stage of a pipeline",
            slip.span,
            help="put the pipeline in parentheses, as in `(x -> relu) + 1`",
        )
    return None


def _reserved(slip: Slip) -> Diagnostic | None:
    word, span = slip.token.kind, slip.span
    statement = slip.statement
    if len(statement) == 1 and statement[0].kind in RESERVED and word in ("=", "<-"):
        word, span = statement[0].kind, Span(slip.source, statement[0].start, statement[0].end)
    elif not _stands_for_a_name(slip):
        return None
    return Diagnostic(
        "reserved-word",
        f"`{word}` is a reserved word and cannot be a name",
        span,
        help=f"choose another name, such as `{word}_`",
    )


def _stands_for_a_name(slip: Slip) -> bool:
    if slip.wants_expression and slip.token.kind in (*CONNECTIVES, "not"):
        return False
    return slip.token.kind in RESERVED and bool({"NAME", "REDUCER"} & slip.expected)


def _missing_else(slip: Slip) -> Diagnostic | None:
    if "else" in slip.expected and "if" not in slip.expected and slip.token.kind in ("NEWLINE", ")", "]", ","):
        return Diagnostic(
            "missing-else",
            f"expected `else`, found {slip.found()}",
            slip.span,
            help="write `a if condition else b`, so that there is a value in both cases",
        )
    return None


def _nothing_after(slip: Slip) -> Diagnostic | None:
    if slip.token.kind != "NEWLINE" or len(slip.statement) != 1:
        return None
    word = slip.statement[0]
    if word.kind not in ("output", "loss", "metric", "return", *("input", "target", "param", "state", "noise")):
        return None
    return Diagnostic(
        "syntax",
        f"`{word.text}` of nothing",
        Span(slip.source, word.start, word.end),
        help=f"write what it is, as in `{word.text} y`",
    )


def _bare_expression(slip: Slip) -> Diagnostic | None:
    statement = slip.statement
    if len(statement) == 1 and statement[0].kind == "NAME" and slip.expected >= {"=", "<-", "["}:
        return Diagnostic(
            "not-a-statement",
            f"expected `=`, `<-` or `[` after `{statement[0].text}`, found {slip.found()}",
            slip.span,
            help="a statement gives a value a name, as in `y = x -> relu`",
        )
    return None


_SLIPS = (
    _no_definition,
    _spelling,
    _text_after_colon,
    _missing_colon,
    _misplaced,
    _setting,
    _stage,
    _nothing_after,
    _reserved,
    _missing_else,
    _bare_expression,
)


def _unexpected(slip: Slip) -> Diagnostic:
    help = ""
    if slip.continues and slip.token.kind in ("NAME", "REDUCER", *STATEMENTS):
        help = "this line continues the one above, as it is indented deeper; indent both alike to start a new statement"
    elif slip.token.kind in ("NAME", "NUMBER", "(") and "MULTIPLY" in slip.expected:
        help = "a product needs its `*`"
        if _reducer(slip.statement):
            help = "a reduction that is not the last factor of a term needs parentheses"
        elif slip.token.kind == "(":
            help = "only a name can be called; a product needs its `*`"
    elif slip.token.kind == ":" and "]" in slip.expected:
        help = "there are no slices; write an equation over an index, as in `y[i < 3] = x[i + 1]`"
    elif slip.token.kind == "not":
        help = "put the negation in parentheses"
    return Diagnostic("syntax", f"expected {_wanted(slip.expected)}, found {slip.found()}", slip.span, help=help)


def _reducer(statement: Sequence[Token]) -> bool:
    """Whether the tokens end in `sum(...)` or its like."""
    depth = 0
    for k in range(len(statement) - 1, 0, -1):
        depth += (statement[k].kind == ")") - (statement[k].kind == "(")
        if not depth:
            return statement[k].kind == "(" and statement[k - 1].kind == "REDUCER"
    return False


_NAMED = {
    "NAME": "a name",
    "STRING": "a string",
    "NEWLINE": "end of line",
    "INDENT": "an indented block",
    "DEDENT": "the end of the block",
    "$END": "the end of the definition",
}
_OPERATORS = frozenset(("(", "+", "-", "MULTIPLY", "COMPARE", "<", "^", "and", "or", "->", "[", "if", "else"))


def _wanted(expected: frozenset[str]) -> str:
    """What could have stood there: an expression, a statement, an operator, names of tokens."""
    if not expected:
        return "nothing more"
    rest = set(expected)
    said = []
    if "NUMBER" in rest:
        said.append("an expression")
        rest -= {"NUMBER", "NAME", "REDUCER", "STRING", "true", "false", "(", "[", "-", "not"}
    elif rest >= {"return", "for", "param"}:
        said.append("a statement")
        rest -= {*STATEMENTS, "NAME", "STRING", "DEDENT"}
    elif rest >= {"NAME", "optimizer"}:
        said.append("a setting")
        rest -= {*STATEMENTS, *DEFINITIONS, "NAME", "DEDENT"}
    elif "+" in rest or "->" in rest or "MULTIPLY" in rest:
        operators = "an operator" if "+" in rest else "`->`"
        rest -= _OPERATORS
        said.append(operators)
    rest -= {"REDUCER"} if "NAME" in rest else set()
    order = sorted(rest, key=lambda kind: (kind in ("NEWLINE", "DEDENT"), kind))
    said += [_NAMED.get(kind, f"`{kind}`") for kind in order]
    return f"{', '.join(said[:-1])} or {said[-1]}" if len(said) > 1 else said[0]


def _choice(words: Sequence[str]) -> str:
    quoted = [f"`{word}`" for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]
