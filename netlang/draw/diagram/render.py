"""From DOT text to a picture: the system's `dot`, else pygraphviz, else the `.dot` file itself and a hint."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

from netlang.diagnostics import Diagnostic, NetlangError, fail, listing, nearest

FORMATS = ("svg", "png", "pdf", "dot")
_SECONDS = 120
_HINT = "install Graphviz (https://graphviz.org/download), or run `pip install pygraphviz`"
_RESOLUTION = "-Gdpi=160"  # of PNG files, in dots an inch


@dataclass(frozen=True)
class Rendered:
    """The file written, and a warning where it is not the one asked for."""

    path: Path
    warning: Diagnostic | None = None


def render(text: str, path: str | Path) -> Rendered:
    """Write DOT text as `path`, in the format that its suffix says: .svg, .png, .pdf or .dot.

    Without Graphviz the `.dot` file is written beside and a `no-graphviz` warning returned. Raises NetlangError with
    `unknown-format`, `cannot-write` or `drawing-failed`.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        written = f"`.{suffix}` is not a picture format" if suffix else f"`{path}` has no suffix that names a format"
        formats = listing(f".{f}" for f in FORMATS)
        hint = nearest(suffix, FORMATS)
        fail("unknown-format", written, place=str(path), help=f"{hint + ' ' if hint else ''}the formats are {formats}")
    if suffix == "dot":
        _write(path, text.encode())
        return Rendered(path)
    picture = _system(text, suffix)
    if picture is None:
        picture = _pygraphviz(text, suffix)
    if picture is not None:
        _write(path, picture)
        return Rendered(path)
    beside = path.with_suffix(".dot")
    _write(beside, text.encode())
    message = f"Graphviz is not installed, so `{beside}` was written instead of `{path}`"
    return Rendered(beside, Diagnostic("no-graphviz", message, help=_HINT, severity="warning", place=str(path)))


def _options(suffix: str) -> list[str]:
    return [_RESOLUTION] if suffix == "png" else []


def _system(text: str, suffix: str) -> bytes | None:
    """The picture by the `dot` executable, or None where there is none."""
    program = shutil.which("dot")
    if program is None:
        return None
    command = [program, f"-T{suffix}", *_options(suffix)]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_SECONDS, check=False)
    except OSError:
        return None
    except subprocess.TimeoutExpired:
        fail(
            "drawing-failed",
            f"`dot` did not finish in {_SECONDS} seconds",
            help="draw the `layers` view, or write a .dot file",
        )
    if done.returncode != 0 or not done.stdout:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        fail(
            "drawing-failed",
            "`dot` could not draw the picture",
            notes=complaint[:3],
            help="write a .dot file and inspect it",
        )
    return done.stdout


def _pygraphviz(text: str, suffix: str) -> bytes | None:
    """The picture by pygraphviz, whose wheels bundle Graphviz, or None where it is missing or lacks the format."""
    try:
        import pygraphviz
    except (ImportError, OSError):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = pygraphviz.AGraph(string=text)
            picture = graph.draw(format=suffix, prog="dot", args=" ".join(_options(suffix)))
    except (OSError, ValueError):
        return None
    return picture if isinstance(picture, bytes) and picture else None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except (OSError, ValueError) as wrong:  # ValueError: a null character in the path
        reason = (getattr(wrong, "strerror", None) or str(wrong)).lower()
        message = f"`{path}` cannot be written: {reason}"
        error = Diagnostic(
            "cannot-write", message, place=str(path), help="choose a file in a folder that you may write to"
        )
        raise NetlangError(error) from None
