"""The catalogue behind `netlang explain`: what each diagnostic code means, an example, and the way out.

The texts are the `.toml` files of this folder, one for each part of netlang, a table for each code. An `example` is a
netlang text that `netlang check` refuses with that code (the tests check it); a `command` is for what only shows when
a network runs.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from netlang.diagnostics import fail, nearest

WIDTH = 96
_FIELDS = {"title", "cause", "example", "command", "remedy"}


@dataclass(frozen=True)
class Explanation:
    """A code, what it means in a line, why it comes about, what triggers it, and the way out (both in Markdown)."""

    code: str
    part: str
    title: str
    cause: str
    remedy: str
    example: str = ""
    command: str = ""

    def text(self) -> str:
        """The explanation for a terminal."""
        blocks = [f"{self.code}: {self.title}", _wrapped(self.cause)]
        if self.example:
            blocks.append("For example:\n\n" + textwrap.indent(self.example.rstrip("\n"), "    "))
        if self.command:
            blocks.append("For example:\n\n" + textwrap.indent(self.command.rstrip("\n"), "    "))
        blocks.append(_wrapped(f"The way out: {self.remedy}"))
        return "\n\n".join(blocks) + "\n"


@cache
def catalogue() -> Mapping[str, Explanation]:
    """Every explanation by its code, in alphabetical order."""
    found: dict[str, Explanation] = {}
    for file in resources.files(__name__).iterdir():
        if file.name.endswith(".toml"):
            part = file.name.removesuffix(".toml")
            for code, entry in tomllib.loads(file.read_text("utf-8")).items():
                assert code not in found, f"{code} is explained twice"
                assert set(entry) <= _FIELDS, f"{code} has an unknown field"
                found[code] = Explanation(code, part, **entry)
    return dict(sorted(found.items()))


def explain(code: str) -> Explanation:
    """The explanation of a code. Raises `NetlangError` (`unknown-code`) with the nearest one."""
    known = catalogue()
    wanted = code.strip().lower()
    if wanted not in known:
        fail(
            "unknown-code",
            f"there is no diagnostic `{code}`",
            help=nearest(wanted, known) or "`netlang explain` lists them all",
        )
    return known[wanted]


def _wrapped(text: str) -> str:
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
    return "\n\n".join(textwrap.fill(paragraph, WIDTH, break_on_hyphens=False) for paragraph in paragraphs)
