"""The canonical layout: the model examples keep theirs, the project's own files are in it, and each rule of it."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from netlang.diagnostics import NetlangError
from netlang.language import format, index_definitions, parse
from netlang.language.layout import tokens
from tests.language.test_formatter import check
from tests.language.texts import EXAMPLES, source

ROOT = Path(__file__).parents[2]
OWN = sorted([*(ROOT / "netlang" / "library").glob("*.net"), *(ROOT / "examples").glob("*.net")])

# What the model examples have that no simple rule gives, and what it becomes.
MODELS: dict[str, dict[str, str]] = {
    "adversarial": {},
    "circuit": {},
    "lenet5": {},
    "two_layer": {},
    "layers": {
        "fn relu(x)       =": "fn relu(x)    =",
        "fn sigmoid(x)    =": "fn sigmoid(x) =",
        "fn swish(x)      =": "fn swish(x)   =",
        "*mu  + momentum*m        when": "*mu + momentum*m   when",
        "momentum*v        when": "momentum*v  when",
        "    s = x                                                        if": "    s = x if",
    },
    "losses": {"(lr, k)  =": "(lr, k) ="},
    "sharing": {"dense(64)                     #": "dense(64)  #", "left  ->": "left ->"},
}


@pytest.mark.parametrize("name", MODELS)
def test_the_models_keep_their_layout(name: str) -> None:
    (path,) = [path for path in EXAMPLES if path.stem == name]
    text = path.read_text(encoding="utf-8")
    wanted = text
    for theirs, ours in MODELS[name].items():
        assert theirs in wanted
        wanted = wanted.replace(theirs, ours)
    assert format(source(text)) == wanted


@pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_own_files_are_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format(source(text)) == text
    assert max(map(len, text.splitlines())) <= 120


def laid_out(body: str) -> str:
    """The lines of a body in the canonical layout."""
    head = "net N:\n"
    formatted = check(head + "".join(f"    {line}\n" for line in body.splitlines()))
    assert formatted.startswith(head)
    return "".join(line[4:] + "\n" for line in formatted.removeprefix(head).splitlines())


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("input x\ntarget y\nloss mse(x, y)", "input  x\ntarget y\nloss   mse(x, y)\n"),
        ("input x\n\ntarget y", "input x\n\ntarget y\n"),
        ("input x\n# then\ntarget y", "input x\n# then\ntarget y\n"),
        ("input x\ny = x\noutput y", "input x\ny = x\noutput y\n"),
        (
            "param W[n, d] ~ he_normal\nparam b[n] ~ zeros if bias\nstate s ~ ones",
            "param W[n, d] ~ he_normal\nparam b[n]    ~ zeros      if bias\nstate s       ~ ones\n",
        ),
        ("param W[n, d] ~ ones, b ~ zeros\nparam c ~ ones", "param W[n, d] ~ ones, b ~ zeros\nparam c ~ ones\n"),
        (
            "mu <- a + b when training\nvariance <- a when training\nw <- w - lr * gradient(mu, variance)",
            "mu       <- a + b  when training\nvariance <- a      when training\n"
            "w        <- w - lr * gradient(mu, variance)\n",
        ),
        ("mu <- a when training", "mu <- a when training\n"),
        ("x = f(a) # one\nlonger = g(b) # two\nz = x", "x = f(a)       # one\nlonger = g(b)  # two\nz = x\n"),
    ],
)
def test_columns(body: str, wanted: str) -> None:
    assert laid_out(body) == wanted


def test_a_column_that_would_make_a_line_too_long_is_none() -> None:
    name, value = "x" * 60, "y" * 50
    text = f"param W ~ {value}\nparam {name} ~ zeros"
    assert laid_out(text) == f"{text}\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("fn f(x) = x\nfn longer(x) = x\n", "fn f(x)      = x\nfn longer(x) = x\n"),
        ("fn f(x) = x\n\nfn longer(x) = x\n", "fn f(x) = x\n\nfn longer(x) = x\n"),
        ('fn f(x) = x\n    "f"\nfn g(x) = x\n', 'fn f(x) = x\n    "f"\n\nfn g(x) = x\n'),
        ("train N:\n    batch 3\n    optimizer adam\n", "train N:\n    batch     3\n    optimizer adam\n"),
    ],
)
def test_definitions(text: str, wanted: str) -> None:
    assert check(text) == wanted


LONG = "a_rather_long_name"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        # the author's choice, outside brackets
        ("s = x\n    -> f -> g\n    -> h", "s = x\n    -> f -> g\n    -> h\n"),
        ("s = x -> f\n    -> g", "s = x -> f\n      -> g\n"),
        ("s = a if c\n    else b", "s = a if c\n    else b\n"),
        # not the author's choice
        ("s = f(\n    a,\n    b,\n)", "s = f(a, b)\n"),
        ("s =\n    a + b", "s = a + b\n"),
        ("s = (x\n    -> f) + 1", "s = (x -> f) + 1\n"),
        # too long
        (
            f"s[i < 3] = {' + '.join([LONG] * 5)} + b[i]",
            f"s[i < 3] =\n    {' + '.join([LONG] * 5)} + b[i]\n",
        ),
        (
            f"s = {LONG}({', '.join([LONG] * 7)})",
            f"s = {LONG}({', '.join([LONG] * 4)},\n{' ' * 23}{', '.join([LONG] * 3)})\n",
        ),
        (
            f"s = image\n    -> {LONG}({', '.join([LONG] * 6)})",
            f"s = image\n    -> {LONG}({', '.join([LONG] * 4)},\n{' ' * 26}{LONG}, {LONG})\n",
        ),
        # too long, and the author has broken it
        (
            f"s = {LONG} * ({LONG} + {LONG}\n    + b + {LONG} + {LONG} + 1 + c)",
            f"s = {LONG} * ({LONG} + {LONG}\n{' ' * 26}+ b + {LONG} + {LONG} + 1 + c)\n",
        ),
    ],
)
def test_breaks(body: str, wanted: str) -> None:
    assert laid_out(body) == wanted


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("y = f(a,\n    b # last\n    )", "y = f(a,\n      b  # last\n    )\n"),
        ("y = f(a,\n    # below\n    ) + 1", "y = f(a\n    # below\n    ) + 1\n"),
        ("y = (a # one\n    ) # two", "y = a  # one\n# two\n"),
    ],
)
def test_comments_before_a_closing_bracket(body: str, wanted: str) -> None:
    assert laid_out(body) == wanted


def test_texts_of_several_strings() -> None:
    text = 'layer f(x):\n    "One."\n    "Two" "three."\n    # why\n    "Four."\n    return x\n'
    (definition,) = parse(source(text)).definitions
    assert definition.doc is not None
    assert definition.doc.value == "One. Two three. Four."
    assert check(text) == ('layer f(x):\n    "One."\n    "Two"\n    "three."\n    # why\n    "Four."\n    return x\n')


def test_long_texts_are_cut() -> None:
    words = " ".join(["word"] * 30)
    text = f'fn f(x) = x\n    "{words}"\n\nfn g(x):\n    require x > 0, "{words}"\n    return x\n'
    first, second = " ".join(["word"] * 22), " ".join(["word"] * 8)
    assert check(text) == (
        f'fn f(x) = x\n    "{first} word"\n    "{second.removesuffix(" word")}"\n\n'
        f'fn g(x):\n    require x > 0,\n        "{first}"\n        "{second}"\n    return x\n'
    )


def scattered(text: str, random: random.Random) -> str:
    """A definition with line breaks and comments between its tokens."""
    found = [token for token in tokens(source(text), 0, len(text)) if token.text]
    often, talkative = random.choice([0.02, 0.1, 0.3]), random.choice([0, 0.3, 0.7])
    parts = [text[: found[0].end]]
    for token, following in pairwise(found):
        gap = text[token.end : following.start]
        if "\n" not in gap and random.random() < often:
            gap = "  # at the end" if random.random() < talkative else ""
            gap += "\n" + " " * random.choice([9, 12, 20])
            gap += "# alone\n         " if random.random() < talkative else ""
        parts.append(gap + following.text)
    return "".join(parts)


@pytest.mark.parametrize("seed", range(150))
def test_any_breaks_and_comments(seed: int) -> None:
    chosen = random.Random(seed)
    text = chosen.choice(OWN).read_text(encoding="utf-8")
    entry = chosen.choice(index_definitions(source(text)))
    text = text[entry.start : entry.end]
    before = scattered(text, chosen)
    try:
        parse(source(before))
    except NetlangError:  # a break in the head of a block
        before = text
    check(before)
