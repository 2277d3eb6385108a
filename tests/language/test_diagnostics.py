"""What the parser says about slips: the code, the exact place, and (in a golden file) the whole message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.language import decode, parse
from tests.language.texts import source

# A text with one slip, the code of its diagnostic, line and column, and the text that is marked.
SLIPS = [
    ("net A:\n    x = (1 + 2\n    y = 3\n", "unclosed", "2:9", "("),
    ("net A:\n    x = f(1, 2\n    y = g(3)\n    output y\n", "unclosed", "2:10", "("),
    ("net A:\n    x = f(a[1, 2)\n", "unclosed", "2:12", "["),
    ("net A:\n    x = 1)\n", "unopened", "2:10", ")"),
    ("net A\n    input x\n", "missing-colon", "1:6", ""),
    ("net A(n=3)\n    input x\n", "missing-colon", "1:11", ""),
    ("net A:\n    for k in 1..4\n        a = 3\n", "missing-colon", "2:18", ""),
    ("net A:\ninput x\n", "missing-body", "1:6", ":"),
    ("net A:\n    input x\n      y = 3\n", "syntax", "3:7", "y"),
    ("net A:\n        input x\n      y = x\n", "indentation", "3:7", "y"),
    ("net A:\n\tinput x\n", "indentation", "2:1", "\t"),
    ("net A: input x\n", "text-after-colon", "1:8", "input"),
    ("net A:\n    input loss\n", "reserved-word", "2:11", "loss"),
    ("net A:\n    loss = 3\n", "reserved-word", "2:5", "loss"),
    ("net A:\n    param W[3] ~ zeros, class[2]\n", "reserved-word", "2:25", "class"),
    ("fn f(x, input) = 3\n", "reserved-word", "1:9", "input"),
    ("fn f(x) = if x then y\n", "syntax", "1:11", "if"),
    ("fn f(x) = x ->\n", "missing-stage", "1:13", "->"),
    ("fn f(x) = x -> 3\n", "not-a-stage", "1:16", "3"),
    ("fn f(x) = x -> relu + 1\n", "operator-after-stage", "1:21", "+"),
    ("fn f(x) = x ** 2\n", "unknown-operator", "1:13", "**"),
    ("fn f(x) := x\n", "unknown-operator", "1:9", ":="),
    ("net A:\n    x := 3\n", "unknown-operator", "2:7", ":="),
    ("net A:\n    x += 3\n", "unknown-operator", "2:7", "+="),
    ("fn f(x) = 1 if x = 2 else 3\n", "single-equals", "1:18", "="),
    ('net A:\n    require x = 2, "m"\n', "single-equals", "2:15", "="),
    ("fn f(x) = 1 if x > 2\n", "missing-else", "1:21", ""),
    ("fn f(x) = a < b < c\n", "chained-comparison", "1:17", "<"),
    ("fn f(x) = x $ 2\n", "unexpected-character", "1:13", "$"),
    ('fn f(x) = "abc\n', "unterminated-string", "1:11", '"abc'),
    ("fn f(x) = 2x\n", "malformed-number", "1:11", "2x"),
    ("fn f(x) = 1.5.2\n", "unexpected-character", "1:14", "."),
    ("fn f(x) = .5\n", "unexpected-character", "1:11", "."),
    ("fn f(x) = 9223372036854775808\n", "number-too-large", "1:11", "9223372036854775808"),
    ("fn f(x) = 1e999\n", "number-too-large", "1:11", "1e999"),
    ('fn f(x) = "a\\q"\n', "unknown-escape", "1:13", "\\q"),
    ("fn f(x):\n    input y\n    return y\n", "misplaced-statement", "2:5", "input"),
    ("layer f(x):\n    minimize a over B\n", "misplaced-statement", "2:5", "minimize"),
    ("net f(x):\n    return x\n", "misplaced-statement", "2:5", "return"),
    ("layer f(x):\n    for k in 1..3:\n        output y\n", "misplaced-statement", "3:9", "output"),
    ("train T:\n    param x\n", "misplaced-statement", "2:5", "param"),
    ("train T:\n    batch = 64\n", "syntax", "2:11", "="),
    ("train T:\n    batch\n", "syntax", "2:10", ""),
    ("net A:\n    output\n", "syntax", "2:5", "output"),
    ("net A:\n    relu(x)\n", "not-a-statement", "2:9", "("),
    ("net A:\n    layer b(x):\n        return x\n", "misplaced-statement", "2:5", "layer"),
    ("net A:\n    if x:\n        y = 3\n", "misplaced-statement", "2:5", "if"),
    ("fn f(x) = g(a=1, 2)\n", "positional-after-keyword", "1:18", "2"),
    ("fn f(x) = g(a=1, a=2)\n", "repeated-argument", "1:18", "a=2"),
    ("fn f(x, x) = 3\n", "repeated-parameter", "1:9", "x"),
    ("fn f(x) = sum(i, 3) x[i]\n", "not-an-index", "1:18", "3"),
    ("fn f(x) = sum(i, i) x[i]\n", "repeated-index", "1:18", "i"),
    ("fn f(x) = g(...)\n", "misplaced-rest", "1:13", "..."),
    ("net A(x) = 3\n", "block-needed", "1:10", "="),
    ("foo = 3\n", "expected-definition", "1:1", "foo"),
    ("# c\n  net A:\n    input x\n", "indentation", "2:3", "net"),
    ("net A:\n    input x\nfoo\n", "expected-definition", "3:1", "foo"),
    ("import foo\n", "syntax", "1:8", "foo"),
    ('import "a.net" "b"\n', "syntax", "1:16", '"b"'),
    ("net A:\n    x = 1 +\n", "syntax", "2:12", ""),
    ("net A:\n    x[0] = 1\n", "syntax", "2:7", "0"),
    ("net A:\n    x[i < 3 = 1\n", "unclosed", "2:6", "["),
    ("net A:\n    a.b = 1\n", "dotted-name", "2:5", "a.b"),
    ("net A:\n    x = 3 4\n", "syntax", "2:11", "4"),
    ("net A:\n    x = [1, 2\n", "unclosed", "2:9", "["),
    ("net:\n    input x\n", "syntax", "1:4", ":"),
    ("net A(x:\n    input y\n", "unclosed", "1:6", "("),
    ("net A:\n    input x[]\n", "syntax", "2:13", "]"),
    ("net A:\n    x = a − b\n", "unexpected-character", "2:11", "−"),
    ("net A:\n    param W ~\n", "syntax", "2:14", ""),
    ("net A:\n    y = x if\n", "syntax", "2:13", ""),
    ("net A:\n    for 3 in x:\n        y = 2\n", "syntax", "2:9", "3"),
    ("net A:\n    for k of x:\n        y = 2\n", "syntax", "2:11", "of"),
    ("net A:\n    y = f(x,, y)\n", "syntax", "2:13", ","),
    ("net A:\n    y = x<-1\n", "unknown-operator", "2:10", "<-"),
    ("net A:\n    y: class = 3\n", "not-a-statement", "2:6", ":"),
    ("net A:\n    input y: int\n", "syntax", "2:14", "int"),
    ('net A:\n    input x\n    "doc"\n', "syntax", "3:5", '"doc"'),
    ("layer f(x):\n    return\n", "syntax", "2:5", "return"),
    ("layer f(x):\n    return x, \n", "syntax", "2:14", ""),
    ("train T:\n    minimize a\n", "syntax", "2:15", ""),
    ("train T:\n    optimizer sgd(lr=1) over\n", "syntax", "2:29", ""),
    ("layer f(x):\n    state m ~ zeros\n    m <- 3 when\n", "syntax", "3:16", ""),
    ("fn f(x) = {x}\n", "unexpected-character", "1:11", "{"),
    ("fn f(x) = x;\n", "unexpected-character", "1:12", ";"),
    ("net A:\n    x = a\n        b\n", "syntax", "3:9", "b"),
    ("net A:\n    require x\n", "syntax", "2:14", ""),
    ('fn f(x) = x "doc" 3\n', "syntax", "1:19", "3"),
    ("fn\n", "syntax", "1:3", ""),
    ("train:\n    batch 3\n", "syntax", "1:6", ":"),
    ("fn f(x) = not\n", "syntax", "1:14", ""),
    ("net A:\n    y = x == not z\n", "syntax", "2:14", "not"),
    ("fn f(x) = 2 ^ sum(i) x[i]\n", "syntax", "1:22", "x"),
    ("fn f(x) = sum(i) x[i] sum(j) y[j]\n", "syntax", "1:23", "sum"),
    ("net 3:\n    input x\n", "syntax", "1:5", "3"),
    ("net A:\n    input x,\n    output x\n", "syntax", "2:13", ""),
    ("fn f(x) = x @@ y\n", "syntax", "1:14", "@"),
    ("fn f(x) = a\xa0+ b\n", "unexpected-character", "1:12", "\xa0"),
    ("fn f(x) = “a”\n", "unexpected-character", "1:11", "“"),
    ("net A:\n    x = a and\n", "syntax", "2:14", ""),
    ("net A:\n    x, y\n", "syntax", "2:9", ""),
    ("net A:\n    x = a, b\n", "syntax", "2:10", ","),
    ("net A:\n    input image[1, 28, 28] -> conv(3)\n", "syntax", "2:28", "->"),
    ("fn f(x) = x[1:2]\n", "syntax", "1:14", ":"),
    ("fn f(x) = x.\n", "unexpected-character", "1:12", "."),
    ("fn f(x) = f(x)(y)\n", "syntax", "1:15", "("),
    ("net A(3):\n    input x\n", "syntax", "1:7", "3"),
    ("net A(n=):\n    input x\n", "syntax", "1:9", ")"),
    ("layer f(x):\n    param W[3 ~ zeros\n    return x\n", "unclosed", "2:12", "["),
    ("net A:\n    x = [1, 2)\n", "unclosed", "2:9", "["),
    ("net A:\n    for k in 1..:\n        x = k\n", "syntax", "2:17", ":"),
    ("optimizer o(w, g):\n    output w\n", "misplaced-statement", "2:5", "output"),
    ("loss l(x):\n    param w\n    return w\n", "misplaced-statement", "2:5", "param"),
    ("net A:\n    x = a ? b\n", "unexpected-character", "2:11", "?"),
    ('import "a.net"\n  x = 3\n', "syntax", "2:3", "x"),
    ("train T:\n    for k in 1..2:\n        batch 3\n", "misplaced-statement", "2:5", "for"),
    ("fn f(x) = x if a else\n", "syntax", "1:22", ""),
    ('fn f(x) = x -> conv(3) -> "relu"\n', "not-a-stage", "1:27", '"relu"'),
    ("fn f(x) = x -> if\n", "reserved-word", "1:16", "if"),
    ("fn f(x) = a ! b\n", "unexpected-character", "1:13", "!"),
    ("fn f(x) = (a = b)\n", "single-equals", "1:14", "="),
    ("layer f(x):\n    y[i] <- 3\n    return y\n", "syntax", "2:10", "<-"),
    ("layer f(x):\n    mean = 3\n    sum(i) = 4\n    return mean\n", "syntax", "3:5", "sum"),
]


def diagnostics(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(NetlangError) as caught:
        parse(source(text))
    return caught.value.diagnostics


@pytest.mark.parametrize(("text", "code", "place", "marked"), SLIPS)
def test_place(text: str, code: str, place: str, marked: str) -> None:
    (diagnostic,) = diagnostics(text)
    assert diagnostic.span is not None
    assert (diagnostic.code, f"{diagnostic.span.line}:{diagnostic.span.column}") == (code, place)
    assert diagnostic.span.text == marked


def test_messages(golden: Callable[[str, str], None]) -> None:
    golden("language/diagnostics.txt", "\n\n".join(diagnostics(text)[0].render() for text, *_ in SLIPS))


def test_messages_keep_the_house_style() -> None:
    for text, *_ in SLIPS:
        (diagnostic,) = diagnostics(text)
        assert diagnostic.message[0].islower() or diagnostic.message[0] == "`"
        assert not diagnostic.message.endswith(".")
        assert not diagnostic.help.endswith(".")
        assert "\n" not in diagnostic.message + diagnostic.help


def test_one_slip_in_each_definition() -> None:
    text = "fn f(x) = (x\n\nnet A\n    input x\n\nfn g(x) = x\n\ntrain A:\n    batch = 3\nfn h(x) = $\n"
    found = [(d.code, d.span and d.span.line) for d in diagnostics(text)]
    assert found == [("unclosed", 1), ("missing-colon", 3), ("syntax", 9), ("unexpected-character", 10)]


def test_there_is_an_end_to_the_slips_reported() -> None:
    assert len(diagnostics("fn f(x) = $\n" * 1000)) == 20


def test_a_tab_is_at_the_tab() -> None:
    (diagnostic,) = diagnostics("net A:\n  \tinput x\n")
    assert (diagnostic.code, str(diagnostic.span)) == ("indentation", "test.net:2:3")


def test_the_words_in_a_missing_place() -> None:
    (diagnostic,) = diagnostics("net A:\n    x = 1 +\n")
    assert diagnostic.message == "expected an expression, found end of line"
    (diagnostic,) = diagnostics("net A:\n    for k of x:\n        y = k\n")
    assert diagnostic.message == "expected `in`, found `of`"


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"", "empty-file", "a.net"),
        (b" \r\n\t\n", "empty-file", "a.net"),
        (b"\xef\xbb\xbf", "empty-file", "a.net"),
        (b"net A:\n  \xff\xfe", "not-text", "a.net:2"),
        (b"net A:\n\n\x00\x01", "not-text", "a.net:3"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not-text", "a.net:1"),
    ],
)
def test_files_that_are_no_texts(data: bytes, code: str, place: str) -> None:
    with pytest.raises(NetlangError) as caught:
        decode("a.net", data)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.place) == (code, place)


def test_decoding_drops_marks_and_carriage_returns() -> None:
    assert decode("a.net", "\ufefffn f(\u03b1) = \u03b1\r\n".encode()).text == "fn f(\u03b1) = \u03b1\n"
    assert decode("a.net", b"# only a comment").text == "# only a comment"
