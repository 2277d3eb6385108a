"""The documentation says what is so: every page is followed, block by block, as a reader would."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from netlang.cli import main
from tests.docs.pages import Reader, blocks

ROOT = Path(__file__).parents[2]
DRAWS = shutil.which("dot") is not None or importlib.util.find_spec("pygraphviz") is not None
PICTURE = re.compile(r"netlang draw|\.draw\(")  # in a page, by command or call
LINKS = any(map(shutil.which, ("cc", "gcc", "clang"))) or importlib.util.find_spec("ziglang") is not None
NATIVE = re.compile(r"netlang compile .*--native|save_native\(")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not DRAWS and PICTURE.search(page.read_text(encoding="utf-8")):
        pytest.skip("it draws pictures, and there is neither Graphviz nor pygraphviz")
    if not LINKS and NATIVE.search(page.read_text(encoding="utf-8")):
        pytest.skip("it makes native libraries, and there is nothing that links them")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)

    def command(arguments: list[str]) -> tuple[int, str]:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    Reader(page, tmp_path, command).follow()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in blocks(text):
        text = text.replace(block.text, "")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src|srcset)=\"([^\"]+)\"", text):
        address = target[0] or target[1]
        if not address.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / address).exists(), f"{page.name} links to {address}, which is not there"
