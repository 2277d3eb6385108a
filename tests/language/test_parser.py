"""The parser gives the trees that the text means, with exact spans."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from netlang.diagnostics import NetlangError
from netlang.language import expression_text, index_definitions, parse, parse_definition, tables, tree
from tests.language.texts import EXAMPLES, shown, source


def value(text: str) -> tree.Expression:
    """The tree of an expression."""
    (definition,) = parse(source(f"fn f(x) = {text}")).definitions
    (returned,) = definition.body
    assert isinstance(returned, tree.Return)
    return returned.values[0]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_tree_of_example(path: Path, golden: Callable[[str, str], None]) -> None:
    file = parse(source(path.read_text(encoding="utf-8"), path.name))
    comments = [f"{c.span.line}:{c.span.column} {'alone' if c.alone else 'after'} {c.text}" for c in file.comments]
    golden(f"language/{path.stem}.tree", "\n".join([shown(file), *comments]))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1 + 2 * 3", "(+ 1 (* 2 3))"),
        ("1 - 2 - 3", "(- (- 1 2) 3)"),
        ("a / b // c % d @ e", "(@ (% (// (/ a b) c) d) e)"),
        ("-x^2", "(- (^ x 2))"),
        ("2^-1", "(^ 2 (- 1))"),
        ("a^b^c", "(^ a (^ b c))"),
        ("-a * b", "(* (- a) b)"),
        ("a * -b", "(* a (- b))"),
        ("not a == b and c or d", "(or (and (not (== a b)) c) d)"),
        ("a < b + 1", "(< a (+ b 1))"),
        ("(a < b) == c", "(== (< a b) c)"),
        ("2 * sum(j) a[j] * b[j] + c", None),
        ("sum(j) a * b + c", "(+ (reduction sum [(indexrange j -)] (* a b)) c)"),
        ("sum(j) a * sum(k) b", "(reduction sum [(indexrange j -)] (* a (reduction sum [(indexrange k -)] b)))"),
        ("-sum(j) a * b", "(- (reduction sum [(indexrange j -)] (* a b)))"),
        ("max(a, b) - c", "(- (call max [(argument - a) (argument - b)]) c)"),
        ("max(a, b)[i]", "(subscript (call max [(argument - a) (argument - b)]) [i])"),
        ("max(i < 3, ...) (a)", "(reduction max [(indexrange i 3) (indexrange ... -)] a)"),
        ("sum(x^2)", "(call sum [(argument - (^ x 2))])"),
        ("mean", "mean"),
        ("a if b else c if d else e", "(conditional a b (conditional c d e))"),
        ("a else b else c", "(guarded a (guarded b c))"),
        ("a if b else c else d", "(conditional a b (guarded c d))"),
        (
            "x -> f -> g(2)[k] if c else y",
            "(conditional (pipeline x [f (subscript (call g [(argument - 2)]) [k])]) c y)",
        ),
        ("x + y -> f", "(pipeline (+ x y) [f])"),
        ("[1, [], x,]", "(listliteral [1 (listliteral []) x])"),
        ("f(a, k=b if c else d,)", "(call f [(argument - a) (argument k (conditional b c d))])"),
        ("a.b.c[0, ..., -1]", "(subscript a.b.c [0 ... (- 1)])"),
        ('"a\\"b\\\\n"', '"a"b\\n"'),
        ("true and false", "(and true false)"),
        ("5e-4 + 1E5 + 0.25 + inf", "(+ (+ (+ 5e-4 1E5) 0.25) inf)"),
    ],
)
def test_meaning(text: str, meaning: str | None) -> None:
    if meaning is None:
        meaning = "(+ (* 2 (reduction sum [(indexrange j -)] (* (subscript a [j]) (subscript b [j])))) c)"
    assert shown(value(text), -1000) == meaning


def test_numbers_are_integers_unless_written_as_reals() -> None:
    assert value("12") == tree.Number(span=value("1").span, value=12, text="")
    assert isinstance(value("12").value, int)  # type: ignore[union-attr]
    assert value("1e3").value == 1000.0  # type: ignore[union-attr]
    assert isinstance(value("1e3").value, float)  # type: ignore[union-attr]
    assert value("9223372036854775807").value == 2**63 - 1  # type: ignore[union-attr]
    assert value("007").value == 7  # type: ignore[union-attr]


def test_spans_take_in_parentheses_and_nothing_else() -> None:
    text = "fn f(x) =   (a + b) * sum(i) (x[i, 2]) \n"
    product = value("0") and parse(source(text)).definitions[0].body[0].values[0]  # type: ignore[union-attr]
    assert isinstance(product, tree.Binary)
    assert product.span.text == "(a + b) * sum(i) (x[i, 2])"
    assert product.left.span.text == "(a + b)"
    assert product.right.span.text == "sum(i) (x[i, 2])"
    assert (product.span.line, product.span.column) == (1, 13)


def test_spans_of_statements() -> None:
    text = (
        "net A(n=3):\n"
        "    input x[n], y: class(2)  # comment\n"
        "    output x, z = y -> f\n"
        "    for k in 1..2:\n"
        "        a = k\n"
        "\n"
        "train A:\n"
        "    penalty l2(1) over a, b.W\n"
    )
    net, train = parse(source(text)).definitions
    assert net.span.text == text[: text.index("\n\ntrain")]
    assert [part.span.text for part in net.body] == [
        "input x[n], y: class(2)",
        "output x",
        "z = y -> f",
        "for k in 1..2:\n        a = k",
    ]
    assert [item.span.text for item in net.body[0].items] == ["x[n]", "y: class(2)"]  # type: ignore[union-attr]
    assert train.body[0].span.text == "penalty l2(1) over a, b.W"
    assert train.name.span.text == "A"


def test_objectives_of_one_line() -> None:
    (net,) = parse(source("net A:\n    output a, b = c\n    loss f(a)\n")).definitions
    assert [(s.kind, s.name and s.name.id, expression_text(s.value)) for s in net.body] == [  # type: ignore[union-attr]
        ("output", None, "a"),
        ("output", "b", "c"),
        ("loss", None, "f(a)"),
    ]


def test_every_kind_of_definition_in_both_forms() -> None:
    for kind in ("fn", "loss", "metric", "schedule", "penalty", "initializer"):
        inline, block = parse(
            source(f'{kind} f(x) = x\n    "doc"\n{kind} f(x):\n    "doc"\n    return x\n')
        ).definitions
        assert inline.inline
        assert not block.inline
        assert (inline.kind, inline.doc, inline.body) == (kind, block.doc, block.body)


def test_layout_does_not_matter() -> None:
    plain = parse(source("net A:\n  x = a -> b\n  y[i < 2] = f(x, 2)\n  for k in 1..2:\n     z = k\n"))
    airy = parse(
        source(
            "# c\n\nnet A :   # c\n\n      x = a\n  # odd\n        -> b # c\n\n\n"
            "      y[i <\n2] =\n         f(x,\n# inside\n  2\n)\n      for k in 1..2:\n\n       z = k\n  # end"
        )
    )
    assert airy == plain


@pytest.mark.parametrize(
    "change", [lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t.rstrip("\n")]
)
def test_line_ends_and_byte_order_marks(change: Callable[[str], str]) -> None:
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        changed = parse(source(change(text)))
        assert changed == parse(source(text))
        assert [c.text for c in changed.comments] == [c.text for c in parse(source(text)).comments]


def test_index_and_lazy_parsing_agree_with_the_whole() -> None:
    for path in EXAMPLES:
        text = source(path.read_text(encoding="utf-8"))
        whole = parse(text)
        entries = index_definitions(text)
        definitions = [entry for entry in entries if entry.kind != "import"]
        assert [(entry.kind, entry.name) for entry in definitions] == [(d.kind, d.name.id) for d in whole.definitions]
        assert [entry.name for entry in entries if entry.kind == "import"] == [i.path.value for i in whole.imports]
        for entry, definition in zip(definitions, whole.definitions, strict=True):
            alone = parse_definition(text, entry.start, entry.end)
            assert alone == definition
            assert (alone.span.start, alone.span.end) == (definition.span.start, definition.span.end)


def test_an_import_is_not_a_definition() -> None:
    text = source('import "a.net"\n')
    with pytest.raises(NetlangError, match="found an import"):
        parse_definition(text, 0, len(text.text))


def test_names_of_definitions_may_be_those_of_reductions() -> None:
    (definition,) = parse(source("fn mean (x) = mean(x)\n")).definitions
    assert definition.name.id == "mean"


def test_the_grammar_and_the_builder_agree() -> None:
    from netlang.language.builder import Builder

    made = {method for _, _, method in tables.table().rules if method}
    public = {name for name in dir(Builder) if not name.startswith("_")}
    assert made == public


def test_the_table_is_cached_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETLANG_CACHE", str(tmp_path / "new"))
    built = tables.table.__wrapped__()
    (path,) = (tmp_path / "new").iterdir()
    monkeypatch.setattr(tables, "_compile", lambda grammar: pytest.fail("the copy is to be read"))
    assert tables.table.__wrapped__() == built
    monkeypatch.undo()
    monkeypatch.setenv("NETLANG_CACHE", str(tmp_path / "new"))
    for damage in (b"", b"{", b"[]", b'{"actions": 3}', path.read_bytes()[:1000]):
        path.write_bytes(damage)
        assert tables.table.__wrapped__().rules == built.rules
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETLANG_CACHE", str(tmp_path / "file"))  # not a folder: nothing can be kept
    assert tables.table.__wrapped__().rules == built.rules


def test_the_grammar_names_no_layer() -> None:
    grammar = (Path(tables.__file__).parents[2] / "grammar" / "netlang.lark").read_text(encoding="utf-8")
    words = set(re.findall(r'"([a-z]+)"', grammar))
    assert words.isdisjoint({"conv", "dense", "relu", "maxpool", "sgd", "adam", "cross_entropy", "repeat", "flatten"})
