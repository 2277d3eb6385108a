"""Diagnostics of what texts mean: for each slip the code, the exact place, and (in a golden file) the whole message.

The slips of the text itself are in `language/test_diagnostics.py`, one example of every code in `test_explanations.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

from netlang.diagnostics import Diagnostic, NetlangError
from netlang.elaboration.modules import module_from_text
from netlang.passes.check import check_module

Slip = tuple[str, str, str, str]

NET = """\
net A(n=3):
    input x[3], image[1, 8, 8], M[2, 3]
    target y: class(n), t[3]
"""

# lines of the net with one slip, the code of its diagnostic, line and column, and the text that is marked
IN_NETS: Sequence[Slip] = [
    ("    output image -> conv(20, 5, stride=0)\n", "requirement", "4:21", "conv(20, 5, stride=0)"),
    ("    output x -> dense(-1)\n", "bad-extent", "4:17", "dense(-1)"),
    ("    output x -> dense(2.5)\n", "bad-extent", "4:17", "dense(2.5)"),
    ('    output x -> dense("a")\n', "bad-extent", "4:17", 'dense("a")'),
    ("    output image -> conv(20, 5.5)\n", "bad-extent", "4:21", "conv(20, 5.5)"),
    ("    output image -> conv(20, 5, groups=3)\n", "requirement", "4:21", "conv(20, 5, groups=3)"),
    ("    output image -> conv(20)\n", "missing-argument", "4:21", "conv"),
    ("    output image -> maxout(10)\n", "shape-mismatch", "4:21", "maxout"),
    ("    output x -> dropout(2)\n", "requirement", "4:17", "dropout(2)"),
    ("    output dropout(x, 0.5, 3)\n", "wrong-arity", "4:28", "3"),
    ("    output x -> dense(units)\n", "unknown-name", "4:23", "units"),
    ("    output x -> dense(x)\n", "static-argument", "4:23", "x"),
    ("    output relu()\n", "missing-argument", "4:12", "relu"),
    ("    output relu(x, x)\n", "wrong-arity", "4:20", "x"),
    ("    output exp(x, x)\n", "wrong-arity", "4:12", "exp(x, x)"),
    ("    output x -> repeat(2.5, relu)\n", "bad-value", "4:24", "2.5"),
    ("    output x -> repeat(relu, 2)\n", "type-mismatch", "4:24", "relu"),
    ("    output x -> repeat(2)\n", "wrong-arity", "4:17", "repeat(2)"),
    ("    output x -> repeat(2, 3 + 1)\n", "not-a-layer", "4:27", "3 + 1"),
    ("    output repeat(2, relu)\n", "type-mismatch", "4:12", "repeat(2, relu)"),
    ("    output reshape(x, 2, 2)\n", "shape-mismatch", "4:12", "reshape(x, 2, 2)"),
    ("    output reshape(x, 1.5, 2)\n", "bad-extent", "4:12", "reshape(x, 1.5, 2)"),
    ("    output reshape(x)\n", "wrong-arity", "4:12", "reshape(x)"),
    ("    output x + image\n", "shape-mismatch", "4:12", "x + image"),
    ("    output M @ image\n", "shape-mismatch", "4:12", "M @ image"),
    ("    output x @ M\n", "shape-mismatch", "4:12", "x @ M"),
    ("    output image @ x\n", "shape-mismatch", "4:12", "image @ x"),
    ("    output M -> maxout(2)\n", "shape-mismatch", "4:17", "maxout"),
    ("    output x[1, 2]\n", "rank-mismatch", "4:12", "x[1, 2]"),
    ("    output x[3]\n", "read-outside", "4:14", "3"),
    ("    output x[-1]\n", "read-outside", "4:14", "-1"),
    ("    output x[0.5]\n", "index-arithmetic", "4:14", "0.5"),
    ("    output x[t[0]]\n", "index-arithmetic", "4:14", "t[0]"),
    ("    z[i < 4] = x[i]\n    output z\n", "read-outside", "4:18", "i"),
    ("    z[i] = x[i] + x[i - 1]\n    output z\n", "read-outside", "4:21", "i - 1"),
    ("    z[i] = x[i / 2]\n    output z\n", "unknown-extent", "4:7", "i"),
    ("    z[i < 3, j < 3] = x[i * j]\n    output z\n", "read-outside", "4:25", "i * j"),
    ("    z[i < 0] = x[i]\n    output z\n", "bad-extent", "4:11", "0"),
    ("    output sum(i < 5) x[i]\n", "read-outside", "4:25", "i"),
    ("    output sum(k) x[2 * k]\n", "unknown-extent", "4:16", "k"),
    ("    output max(i) M[i]\n    metric sum(i, j) M[i, j + 1]\n", "unknown-extent", "5:19", "j"),
    ("    output x if M > 0 else image\n", "shape-mismatch", "4:12", "x if M > 0 else image"),
    ("    output x if 3 else 2\n", "type-mismatch", "4:17", "3"),
    ("    output x + true\n", "type-mismatch", "4:12", "x + true"),
    ('    output x + "a"\n', "type-mismatch", "4:12", 'x + "a"'),
    ("    output x < 3 and 2\n", "type-mismatch", "4:22", "2"),
    ('    output x if x == "a" else 0\n', "type-mismatch", "4:17", 'x == "a"'),
    ("    output (dense(3)) + 1\n", "type-mismatch", "4:12", "(dense(3)) + 1"),
    ("    output sqrt(-4) * x\n", "bad-value", "4:12", "sqrt(-4)"),
    ("    output log(-1) * x\n", "bad-value", "4:12", "log(-1)"),
    ("    output (-8) ^ 0.5 * x\n", "bad-value", "4:12", "(-8) ^ 0.5"),
    ("    output x // 2\n", "type-mismatch", "4:12", "x // 2"),
    ("    output 7 // 0 * x\n", "division-by-zero", "4:12", "7 // 0"),
    ("    output 2^63 * 3 * x\n", "number-too-large", "4:12", "2^63"),
    ("    output x * [1, 2, 3]\n", "type-mismatch", "4:12", "x * [1, 2, 3]"),
    ("    output [1, 2][2] * x\n", "bad-value", "4:12", "[1, 2][2]"),
    ("    param W[n / 2] ~ zeros\n    output W\n", "bad-extent", "4:13", "n / 2"),
    ("    param W[0] ~ zeros\n    output W\n", "bad-extent", "4:13", "0"),
    ("    param W[n] ~ zerus\n    output W\n", "unknown-name", "4:18", "zerus"),
    ("    param W[n] ~ normal(0)\n    output W\n", "wrong-arity", "4:18", "normal(0)"),
    ("    param W[n] ~ normal(0, -1)\n    output W\n", "bad-value", "4:18", "normal(0, -1)"),
    ("    param W[n] ~ uniform(0, b=1)\n    output W\n", "unknown-argument", "4:18", "uniform(0, b=1)"),
    ("    param W[n] ~ [1, 2]\n    output W\n", "shape-mismatch", "4:18", "[1, 2]"),
    ("    param W[2, 2] ~ [[1, 2], [3]]\n    output W\n", "shape-mismatch", "4:21", "[[1, 2], [3]]"),
    ('    param W[2] ~ ["a", 2]\n    output W\n', "type-mismatch", "4:18", '["a", 2]'),
    ("    param b[n] ~ haar\n    output b\n", "bad-value", "4:18", "haar"),
    ("    param W[n]: class(3) ~ zeros\n    output W\n", "bad-declaration", "4:17", "class(3)"),
    ("    param W[n] ~ zeros if x > 0\n    output W\n", "bad-value", "4:27", "x > 0"),
    ("    noise z[n]\n    output z\n", "missing-initializer", "4:11", "z[n]"),
    ("    noise z[n] ~ bernoulli(2)\n    output z\n", "bad-value", "4:18", "bernoulli(2)"),
    ("    state s[n] ~ zeros\n    s <- M\n    output s\n", "shape-mismatch", "5:10", "M"),
    ("    state s[n] ~ zeros\n    s <- mean(batch) x when x > 0\n    output s\n", "bad-value", "5:29", "x > 0"),
    ("    x <- 2 * x\n    output x\n", "not-a-state", "4:5", "x"),
    ("    q <- 2 * x\n    output x\n", "unknown-name", "4:5", "q"),
    ("    output x\n    output x\n", "duplicate-name", "5:5", "output x"),
    ("    output dense(3)\n", "type-mismatch", "4:12", "dense(3)"),
    ("    loss x\n", "loss-not-scalar", "4:10", "x"),
    ("    loss cross_entropy(t, t)\n", "shape-mismatch", "4:27", "t"),
    ("    loss cross_entropy(x, x)\n", "shape-mismatch", "4:27", "x"),
    ("    loss mse(x, image)\n", "shape-mismatch", "4:17", "image"),
    ("    loss a = mse(x, t)\n    loss a = mae(x, t)\n", "duplicate-name", "5:5", "loss a = mae(x, t)"),
    ('    require x > 0, "positive"\n    output x\n', "bad-value", "4:13", "x > 0"),
    (
        '    require n > 5, "n is {n}, and must be more than 5"\n    output x\n',
        "requirement",
        "4:5",
        'require n > 5, "n is {n}, and must be more than 5"',
    ),
    ("    for k in 3:\n        a = k * x\n    output x\n", "type-mismatch", "4:14", "3"),
    ("    for k in 1..2.5:\n        a = k * x\n    output a[1]\n", "bad-value", "4:14", "1..2.5"),
    ("    for k in 1..3000000:\n        a = k * x\n    output a[1]\n", "number-too-large", "4:14", "1..3000000"),
    ("    for n in 1..3:\n        a = n * x\n    output a[1]\n", "duplicate-name", "4:9", "n"),
    ("    for k in 1..3:\n        a = k * x\n    output a[4]\n", "unknown-member", "6:12", "a[4]"),
    ("    for k in 1..3:\n        a = k * x\n    output a\n", "type-mismatch", "6:12", "a"),
    ("    for k in 1..3:\n        a = k * x\n    output a[x]\n", "rank-mismatch", "6:12", "a[x]"),
    ("    for k in 1..3:\n        param W[3]\n    output x\n", "misplaced-statement", "5:9", "param W[3]"),
    ("    a = b\n    b = c\n    c = a + x\n    output c\n", "cyclic-definition", "6:9", "a"),
    ("    a[i] = a[i] + x[i]\n    output a\n", "cyclic-definition", "4:5", "a[i] = a[i] + x[i]"),
    ("    a[i < 3] = softmax(a) + x[i]\n    output a\n", "unknown-shape", "4:24", "a"),
]

TRAINED = """\
net A(n=3):
    input x[3]
    target t[3]
    param W[3] ~ ones
    loss mse(W * x, t)
train A:
"""

IN_SECTIONS: Sequence[Slip] = [
    ("    optimizer sgdd(lr=1)\n", "unknown-name", "7:15", "sgdd"),
    ("    optimizer 3\n", "bad-setting", "7:15", "3"),
    ('    optimizer sgd(lr="a")\n', "type-mismatch", "7:15", 'sgd(lr="a")'),
    ("    optimizer sgd(rate=1)\n", "unknown-argument", "7:15", "sgd(rate=1)"),
    ("    optimizer sgd(lr=1)\n    batch 2.5\n", "bad-setting", "8:11", "2.5"),
    ("    optimizer sgd(lr=1)\n    batch 32, 64\n", "bad-setting", "8:5", "batch 32, 64"),
    ("    optimizer sgd(lr=1)\n    epochs -1\n", "bad-setting", "8:12", "-1"),
    ("    optimizer sgd(lr=1)\n    validation 2\n", "bad-setting", "8:16", "2"),
    ("    optimizer sgd(lr=1)\n    clip 0\n", "bad-setting", "8:10", "0"),
    ("    optimizer sgd(lr=1)\n    data 3\n", "bad-setting", "8:10", "3"),
    ("    optimizer sgd(lr=1)\n    columns x\n", "unknown-name", "8:13", "x"),
    ("    optimizer sgd(lr=1)\n    normalize z\n", "bad-setting", "8:15", "z"),
    ("    optimizer sgd(lr=1)\n    shuffle 3\n", "bad-setting", "8:13", "3"),
    ("    optimizer sgd(lr=1)\n    penalty l3(1)\n", "unknown-name", "8:13", "l3"),
    ("    optimizer sgd(lr=1)\n    penalty l2(1) over V\n", "unknown-name", "8:24", "V"),
    ("    optimizer sgd(lr=1)\n    schedule step\n", "missing-argument", "8:14", "step"),
    ("    minimize mse over W\n", "no-optimizer", "7:5", "minimize mse over W"),
    ("    minimize msr over W with sgd(lr=1)\n", "unknown-loss", "7:14", "msr"),
    (
        "    minimize mse over W with sgd(lr=1)\n    minimize mse over W with sgd(lr=1)\n",
        "duplicate-setting",
        "8:23",
        "W",
    ),
]


def errors(text: str) -> list[Diagnostic]:
    try:
        found = check_module(module_from_text(text, "a.net"))
    except NetlangError as error:
        found = list(error.diagnostics)
    return [d for d in found if d.severity == "error"]


@pytest.mark.parametrize("slip", IN_NETS, ids=lambda slip: slip[0].strip())
def test_a_slip_in_a_net(slip: Slip) -> None:
    _check(NET, slip)


@pytest.mark.parametrize("slip", IN_SECTIONS, ids=lambda slip: slip[0].strip())
def test_a_slip_in_a_train_section(slip: Slip) -> None:
    _check(TRAINED, slip)


def _check(head: str, slip: Slip) -> None:
    lines, code, place, marked = slip
    (diagnostic,) = errors(head + lines)
    assert diagnostic.span is not None
    found = (diagnostic.code, f"{diagnostic.span.line}:{diagnostic.span.column}", diagnostic.span.text)
    assert found == (code, place, marked)


def test_the_whole_messages(golden: Callable[[str, str], None]) -> None:
    heads = [(NET, IN_NETS), (TRAINED, IN_SECTIONS)]
    blocks = [errors(head + lines)[0].render() for head, slips in heads for lines, *_ in slips]
    text = re.sub(r"(netlang/library/\w+\.net):\d+:\d+", r"\1", "\n\n".join(blocks))
    golden("diagnostics/slips.txt", text)


def test_the_slips_are_of_many_kinds() -> None:
    assert len({code for _, code, _, _ in [*IN_NETS, *IN_SECTIONS]}) >= 25
