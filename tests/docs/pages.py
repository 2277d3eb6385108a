"""Runs a page of the documentation: every block of code in it, in order, in one folder and one Python session.

What a block is for stands in the first words after its opening fence:

- `python`: run; a block of `>>>` lines is compared with the output that it shows, `...` stands for anything;
- `net`, `net NAME.net`: must be in the canonical layout and check without errors or warnings, and is kept as NAME.net;
  `net NAME.net wrong` is only kept, to show what is said about it;
- `console`: lines that start with `$ netlang` are run, and what follows them must be their output;
- anything else (`sh`, `text`, none) is only shown.
"""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netlang.diagnostics import Source
from netlang.language import format
from netlang.passes.check import check

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Command = Callable[[list[str]], tuple[int, str]]


@dataclass(frozen=True)
class Block:
    """A fenced block: the words of its opening fence, its text, and the line of the page on which the text starts."""

    words: tuple[str, ...]
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page in Markdown, in order."""
    for match in _FENCE.finditer(page):
        yield Block(tuple(match[1].split()), match[2], page.count("\n", 0, match.start(2)) + 1)


class Reader:
    """Somebody who does everything that a page says; `command` runs `netlang` and gives exit code and output."""

    def __init__(self, page: Path, folder: Path, command: Command) -> None:
        self.page, self.folder, self.command = page, folder, command
        self.names: dict[str, Any] = {"__name__": page.stem}
        self.files = 0

    def follow(self) -> None:
        readers = {"python": self.python, "net": self.net, "console": self.console}
        for block in blocks(self.page.read_text(encoding="utf-8")):
            if block.language in readers:
                try:
                    readers[block.language](block)
                except Exception as error:
                    raise AssertionError(f"{self.page.name}:{block.line}: {type(error).__name__}: {error}") from error

    def python(self, block: Block) -> None:
        name = f"{self.page.name}:{block.line}"
        if not block.text.startswith(">>>"):
            # blank lines in front, so that a traceback has the lines of the page
            exec(compile("\n" * (block.line - 1) + block.text, str(self.page), "exec"), self.names)  # noqa: S102
            return
        test = doctest.DocTestParser().get_doctest(block.text, self.names, name, str(self.page), block.line - 1)
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
        failed = runner.run(test, out=report.append, clear_globs=False).failed
        self.names.update(test.globs)
        assert not failed, "\n" + "".join(report)

    def net(self, block: Block) -> None:
        self.files += 1
        path = self.folder / (block.words[1] if len(block.words) > 1 else f"block_{self.files}.net")
        path.write_text(block.text, encoding="utf-8")
        if "wrong" in block.words:
            return
        canonical = format(Source(path.name, block.text))
        assert canonical == block.text, f"the canonical layout is\n{canonical}"
        found = check(str(path))
        assert not found, "\n".join(f"{d.code}: {d.message}" for d in found)

    def console(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, _, expected = part.partition("\n")
            program, *arguments = shlex.split(line, comments=True)
            assert program == "netlang", f"`{program}` in a console block"
            code, output = self.command(arguments)
            expected = expected.strip("\n")
            assert code == int("error[" in expected), f"`{line}` ended with exit code {code}:\n{output}"
            if expected:
                shown = re.escape(expected).replace(re.escape("..."), ".*?")
                assert re.fullmatch(shown, output.strip("\n"), re.DOTALL), f"`{line}` printed\n{output}"
