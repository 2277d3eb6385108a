"""Whatever the text, the parser answers with a tree or with diagnostics, and in time linear in the text."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.language import format, parse
from tests.language.texts import EXAMPLES, source

MANY = 100_000
SOME = 20_000


@pytest.mark.parametrize(
    "text",
    [
        "(" * MANY,
        "(" * MANY + "x" + ")" * MANY,
        "[" * MANY,
        "f(" * MANY,
        "x[" * MANY,
        "-" * MANY + "x",
        "not " * MANY + "x",
        "x^" * MANY + "x",
        "x else " * MANY + "x",
        "x if y else " * MANY + "x",
        "sum(i) " * SOME + "x",
        "x + " * SOME + "x",
        "x * " * SOME + "x",
        "x and " * SOME + "x",
        "x" + "[i]" * SOME,
    ],
    ids=lambda text: text[:12],
)
def test_deep_nesting(text: str) -> None:
    start = time.process_time()
    with pytest.raises(NetlangError) as caught:
        parse(source(f"fn f(x) = {text}\n"))
    assert time.process_time() - start < 5
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "too-deep"
    assert diagnostic.help == "give a part of it a name"


@pytest.mark.parametrize(
    "text", ["(" * 199 + "x" + ")" * 199, "x + " * 199 + "x", "-" * 198 + "x", "f(" * 95 + ")" * 95]
)
def test_nesting_that_is_deep_enough(text: str) -> None:
    text = f"fn f(x) = {text}\n"
    assert parse(source(format(source(text)))) == parse(source(text))


def test_deep_blocks() -> None:
    loops = "".join("  " * (k + 1) + f"for k{k} in 1..3:\n" for k in range(300))
    with pytest.raises(NetlangError) as caught:
        parse(source(f"net A:\n{loops}{'  ' * 301}x = 3\n"))
    assert caught.value.diagnostics[0].code == "too-deep"


@pytest.mark.parametrize(
    "text",
    [
        "net A:\n" + "    x = f(a, b[2]) + 3*c -> g  # c\n" * 4_000,
        "fn f(x) = x  # c\n# d\n" * 4_000,
        "net A:\n    x = [" + "1, " * SOME + "2]\n",
        "net A:\n    x = y" + " -> f" * SOME + "\n",
        "net A:\n    output " + "x, " * SOME + "x\n",
        "# comment\n" * MANY,
        "\n" * MANY,
        '"' * MANY,
        "fn f(x) = " + '"' * MANY,
        "\r" * MANY,
        "a" * MANY,
        "1" * MANY,
        "fn f(x) = " + "1" * MANY,
        "fn f(x) = 0." + "1" * MANY,
        "net A:\n    " + "a." * MANY + "a = 3",
        ")" * MANY,
        "fn f(x) = x" + ")" * MANY,
        "net " * MANY,
        "net\n" * MANY,
        "\\" * MANY,
        'fn f(x) = "' + "\\" * MANY,
        "net A:" * MANY,
        " " * MANY + "x",
        "fn f(x)" + " \n" * MANY + "= x",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_long_texts(text: str) -> None:
    start = time.process_time()
    if not problems(text):
        assert format(source(text)).strip() or not text.strip()
    assert time.process_time() - start < 8


PIECES = [
    *(
        "(",
        ")",
        "[",
        "]",
        ":",
        ",",
        "=",
        "->",
        "<-",
        "~",
        "^",
        "-",
        "..",
        "...",
        "\n",
        "\n    ",
        "\t",
        '"',
        "#",
        "\\",
        "\0",
    ),
    *(
        "if ",
        "else ",
        "for ",
        "in ",
        "when ",
        "over ",
        "with ",
        "class",
        "not ",
        "sum(i) ",
        "1e999",
        "9" * 30,
        "$",
        "\u2212",
    ),
    *(
        "net ",
        "train ",
        "layer ",
        "fn ",
        "loss ",
        "import ",
        "output ",
        "param ",
        "minimize ",
        "\ufeff",
        "\r",
        "\U0001d54f",
    ),
]


def mutated(text: str, chance: random.Random) -> str:
    """The text with a few pieces removed, doubled, moved or put in."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((1, 1, 2, 5, 40)))
        change = chance.randrange(5)
        if change == 0:
            text = text[:start] + text[end:]
        elif change == 1:
            text = text[:end] + text[start:]
        elif change == 2:
            target = chance.randrange(len(text) + 1)
            text = text[:target] + text[start:end] + text[target:]
        else:
            text = text[:start] + chance.choice(PIECES) + text[start if change == 3 else end :]
    return text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_mutations(path: Path) -> None:
    original = path.read_text(encoding="utf-8")
    chance = random.Random(path.stem)
    accepted = 0
    for _ in range(400):
        text = mutated(original, chance)
        found = problems(text)
        assert all(0 <= d.span.start <= d.span.end <= len(text) for d in found if d.span is not None)
        assert all(d.span is not None and d.render() for d in found)
        if not found:
            accepted += 1
            formatted = format(source(text))
            assert parse(source(formatted)) == parse(source(text))
            assert format(source(formatted)) == formatted
    assert accepted


def problems(text: str) -> tuple[Diagnostic, ...]:
    try:
        parse(source(text))
    except NetlangError as error:
        return error.diagnostics
    return ()
