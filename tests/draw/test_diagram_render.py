"""Pictures from DOT: the system's Graphviz, pygraphviz, and what happens without either."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from netlang.diagnostics import NetlangError
from netlang.draw.diagram import render as module
from netlang.draw.diagram.dot import Dot, font, lines
from netlang.draw.diagram.render import render
from netlang.draw.diagram.views import VIEWS, draw
from tests.draw import nets
from tests.draw.test_diagram import HOSTILE

HEADS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "dot": b"digraph"}
graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="needs the dot program")


def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda _: None)


@graphviz
@pytest.mark.parametrize("suffix", module.FORMATS)
def test_formats(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net.{suffix}"
    done = render(draw(nets.product_circuit()), path)
    assert done == module.Rendered(path)
    assert path.read_bytes().startswith(HEADS[suffix])


@graphviz
@pytest.mark.parametrize("view", VIEWS)
def test_views_are_accepted_without_a_warning(view: str) -> None:
    done = subprocess.run(["dot", "-Tsvg"], input=draw(nets.lenet(), view).encode(), capture_output=True, check=True)
    assert done.stderr == b""


@graphviz
def test_hostile_labels_come_out_as_written(tmp_path: Path) -> None:
    dot = Dot(HOSTILE)
    dot.node(HOSTILE, HOSTILE)
    dot.node("markup", lines(font(HOSTILE)))
    dot.edge(HOSTILE, "markup")
    path = tmp_path / "hostile.svg"
    render(dot.text(), path)
    shown = [element.text or "" for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    first = [text for text in shown if text.startswith('a"b')]
    assert first == ['a"b\\N\\"<B>&amp;</TABLE>'] * 2


def test_pygraphviz_is_the_second_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class AGraph:
        def __init__(self, string: str) -> None:
            self.string = string

        def draw(self, **options: str) -> bytes:
            assert options == {"format": "png", "prog": "dot", "args": "-Gdpi=160"}
            return b"\x89PNG" + self.string.encode()

    no_program(monkeypatch)
    monkeypatch.setitem(sys.modules, "pygraphviz", types.SimpleNamespace(AGraph=AGraph))
    done = render("digraph {}", tmp_path / "net.png")
    assert done == module.Rendered(tmp_path / "net.png")
    assert done.path.read_bytes() == b"\x89PNGdigraph {}"


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_pygraphviz_draws(suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pygraphviz")
    no_program(monkeypatch)
    done = render(draw(nets.lenet()), tmp_path / f"net.{suffix}")
    assert done.warning is None
    assert done.path.read_bytes().startswith(HEADS[suffix])


def test_without_graphviz_the_dot_file_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_program(monkeypatch)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    path = tmp_path / "net.svg"
    done = render("digraph {}", path)
    assert done.path == tmp_path / "net.dot"
    assert done.path.read_text() == "digraph {}"
    assert not path.exists()
    assert done.warning is not None
    assert done.warning.render() == (
        f"warning[no-graphviz]: Graphviz is not installed, so `{done.path}` was written instead of `{path}`\n"
        f" --> {path}\n"
        "  = help: install Graphviz (https://graphviz.org/download), or run `pip install pygraphviz`"
    )


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("net.svgg", "unknown-format", "`.svgg` is not a picture format"),
        ("net", "unknown-format", "`net` has no suffix that names a format"),
        (
            "no/such/folder/net.dot",
            "cannot-write",
            "`no/such/folder/net.dot` cannot be written: no such file or directory",
        ),
    ],
)
def test_wrong_paths(name: str, code: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetlangError) as error:
        render("digraph {}", name)
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == (code, message)
    assert diagnostic.place == name


@graphviz
def test_text_that_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(NetlangError) as error:
        render("digraph {", tmp_path / "net.svg")
    assert error.value.diagnostics[0].code == "drawing-failed"
    assert "syntax error" in error.value.diagnostics[0].notes[0]
