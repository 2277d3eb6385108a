"""The generated pages of the manual are as `make docs` would write them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from netlang.elaboration.modules import standard_library

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


def test_generated_pages_are_up_to_date(generator: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert generator["main"](["--check"]) == 0, f"{capsys.readouterr().out}run `make docs`"


def test_the_library_page_has_every_definition_with_its_signature(generator: dict[str, Any]) -> None:
    page = generator["library_page"]()
    for definition in standard_library():
        assert f"### {definition.name.id}\n" in page
    assert "```\nlayer conv(x[c, h, w], filters, size, stride=1, pad=0" in page
    assert "```\nfn relu(x) = max(0, x)\n```" in page


def test_every_link_of_the_pages_leads_somewhere(generator: dict[str, Any]) -> None:
    for name, text in generator["pages"]().items():
        headings = [line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")]
        anchors = {generator["_anchor"](h) for h in headings} | {h.lower() for h in headings} | {"constant-1"}
        links = {part.split(")")[0] for part in text.split("](#")[1:]}
        assert links <= anchors, f"{name}: {links - anchors}"
