"""Derivations as LaTeX and HTML: golden files, well-formed mathematics, escaped names, nothing from the network."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from netlang.diagnostics import NetlangError
from netlang.draw.derivation.formats import write_derivation
from netlang.draw.derivation.html import derivation_html
from netlang.draw.derivation.writer import derivation
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import load_module, module_from_text

NETS = ("three_layer", "norm_squared", "lenet5", "xor", "svm_classifier")
CORE = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "msub", "msup", "msubsup", "munder",
    "mtable", "mtr", "mtd",
}  # fmt: skip


def example(name: str):
    module = load_module(f"examples/{name}.net")
    return derivation(elaborate(module, module.nets()[0], training=True), module=module)


@pytest.mark.parametrize(
    ("name", "form", "suffix"), [("three_layer", "latex", "tex"), ("norm_squared", "html", "html")]
)
def test_golden(name: str, form: str, suffix: str, golden: Callable[[str, str], None]):
    golden(f"derivation/{name}.{suffix}", write_derivation(example(name), form))


@pytest.mark.parametrize("name", NETS)
def test_latex_is_balanced(name: str):
    text = write_derivation(example(name), "latex")
    depth = 0
    for mark in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if mark == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\left") == text.count(r"\right") + text.count(r"\leftarrow")
    opened: list[str] = []
    for verb, environment in re.findall(r"\\(begin|end)\{(\w+\*?)\}", text):
        if verb == "begin":
            opened.append(environment)
        else:
            assert opened.pop() == environment
    assert not opened
    assert text.isascii()
    for formula in re.findall(r"\\begin\{align\*\}(.*?)\\end\{align\*\}", text, re.DOTALL):
        assert "\n\n" not in formula  # a blank line ends the mathematics
        assert not re.search(r"\^\{[^{}]*\}\^", formula)  # a double superscript


@pytest.mark.parametrize(("form", "infinity"), [("text", "-∞"), ("latex", r"-\infty"), ("html", "∞")])
def test_infinity_is_a_sign(form: str, infinity: str):
    text = """
net A:
    input x[3]
    param W[3, 3]
    s[i, j] = W[i, j] * x[j] if j <= i else -inf
    y = softmax(s)
    loss sum(i, j) y[i, j] * x[j]
"""
    module = module_from_text(text)
    graph = elaborate(module, module.nets()[0], training=True)
    assert infinity in write_derivation(derivation(graph, module=module), form)


@pytest.mark.parametrize("name", NETS)
def test_mathematics_is_core_mathml(name: str):
    page = write_derivation(example(name), "html")
    formulas = re.findall(r"<math.*?</math>", page, re.DOTALL)
    assert len(formulas) > 10
    for formula in formulas:
        for part in ElementTree.fromstring(formula).iter():
            assert part.tag in CORE
            if part.tag in ("msub", "msup", "mfrac", "munder"):
                assert len(part) == 2
            if part.tag == "msubsup":
                assert len(part) == 3


def test_a_page_asks_for_nothing():
    page = derivation_html(example("norm_squared"), "<svg></svg>")
    assert "<figure><svg></svg></figure>" in page
    assert not re.search(r"https?:|src=|href=|<script|@import|url\(", page)


def test_names_are_escaped():
    text = "net N:\n    input a_b[2], weird_name_2[2]\n    f_1 = sum(i) a_b[i] * weird_name_2[i]\n    output f_1\n"
    module = module_from_text(text)
    d = derivation(elaborate(module, module.nets()[0]), module=module)
    assert r"\mathit{a\_b}" in write_derivation(d, "latex")
    assert "<mi>a_b</mi>" in write_derivation(d, "html")


def test_size_is_linear_in_the_network():
    def size(depth: int) -> int:
        layers = " -> ".join(["dense(8) -> tanh"] * depth)
        text = f"net N:\n    input x[8]\n    target y[8]\n    p = x -> {layers}\n    loss mse(p, y)\n"
        module = module_from_text(text)
        return len(write_derivation(derivation(elaborate(module, module.nets()[0]), module=module)))

    assert size(24) - size(16) < 1.2 * (size(16) - size(8))


def test_unknown_format():
    with pytest.raises(NetlangError) as caught:
        write_derivation(example("norm_squared"), "latx")
    assert caught.value.diagnostics[0].code == "unknown-format"
    assert "`latex`" in caught.value.diagnostics[0].help
