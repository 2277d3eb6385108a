"""The catalogue of diagnostics: it has every code, and its examples do what they say."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.elaboration.modules import module_from_text
from netlang.explanations import Explanation, catalogue, explain
from netlang.passes.check import check_module

SOURCE = Path(netlang.__file__).parent
MAKERS = {"fail", "refuse", "_refuse", "Diagnostic", "warnings.add"}  # what takes a code as its first argument


def raised() -> Iterator[tuple[str, str]]:
    """Every code in the source, with the file and line that raises it."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name, code = ast.unparse(node.func), node.args[0]
            if (name in MAKERS or name.split(".")[-1] in {"refuse", "_refuse"}) and isinstance(code, ast.Constant):
                yield str(code.value), f"{path.relative_to(SOURCE)}:{node.lineno}"


def test_every_code_is_explained() -> None:
    missing = {code: place for code, place in raised() if code not in catalogue()}
    assert not missing


def test_every_explanation_is_of_a_code_that_is_raised() -> None:
    assert not set(catalogue()) - {code for code, _ in raised()}


def test_every_diagnostic_has_a_way_out_and_the_house_style() -> None:
    """A message is lower-case and has no full stop; all but the author's own words (`require`) come with a help."""
    lacking = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("fail", "Diagnostic", "warnings.add"):
                continue
            code, message = node.args[0], node.args[1]
            if not isinstance(code, ast.Constant) or code.value in ("requirement", "file-error"):
                continue
            text = "".join(
                p.value for p in ast.walk(message) if isinstance(p, ast.Constant) and isinstance(p.value, str)
            )
            helped = any(keyword.arg == "help" for keyword in node.keywords)
            if not helped or text.endswith(".") or re.match(r"[A-Z](?!raphviz)", text):
                lacking.append(f"{path.relative_to(SOURCE)}:{node.lineno} {code.value}")
    assert not lacking


@pytest.mark.parametrize("entry", catalogue().values(), ids=lambda e: e.code)
def test_an_explanation_is_written_like_the_others(entry: Explanation) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", entry.code)
    assert not entry.title.endswith(".")
    assert entry.title[0].islower() or entry.title[0] in "`G"
    assert entry.cause.rstrip().endswith(".")
    assert entry.remedy.rstrip().endswith(".")
    assert bool(entry.example) != bool(entry.command)


@pytest.mark.parametrize("entry", [e for e in catalogue().values() if e.example], ids=lambda e: e.code)
def test_an_example_triggers_its_diagnostic(entry: Explanation, golden: Callable[[str, str], None]) -> None:
    """Only that diagnostic, with the message in the golden file: code, place, marked text, notes and help."""
    try:
        found = check_module(module_from_text(entry.example, "example.net"))
    except NetlangError as error:
        found = list(error.diagnostics)
    assert [d.code for d in found] == [entry.code]
    rendered = re.sub(r"(netlang/library/\w+\.net):\d+:\d+", r"\1", found[0].render())  # the library may grow
    golden(f"diagnostics/{entry.code}.txt", f"{entry.example.strip()}\n\n{rendered}")


def test_an_explanation_for_a_terminal() -> None:
    assert explain("missing-body").text() == (
        "missing-body: nothing is indented under a colon\n"
        "\n"
        "The line after a `:` is not indented deeper than the line with the `:`.\n"
        "\n"
        "For example:\n"
        "\n"
        "    net A:\n"
        "    input x\n"
        "\n"
        "The way out: indent the lines of the body by four spaces.\n"
    )


def test_an_unknown_code_gets_the_nearest() -> None:
    with pytest.raises(NetlangError) as error:
        explain("shape-mismach")
    assert [(d.code, d.help) for d in error.value.diagnostics] == [("unknown-code", "did you mean `shape-mismatch`?")]


def test_codes_are_found_in_any_case() -> None:
    assert explain(" Shape-Mismatch ").code == "shape-mismatch"
