"""The commands in the catalogue of diagnostics do what they are said to do."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from netlang.cli import main
from netlang.diagnostics import NetlangError
from netlang.explanations import Explanation, catalogue

EXAMPLES = Path(__file__).parents[2] / "examples"

# what no test can bring about cheaply, or a test of the module that raises it does already
ELSEWHERE = {
    "artifact-extra", "artifact-manifest", "artifact-member", "artifact-missing", "artifact-tampered",
    "artifact-version", "tensors-corrupt", "preprocess-corrupt", "file-too-large", "cache-unwritable", "no-graphviz",
    "drawing-failed", "out-of-memory", "array-missing", "array-label", "size-unknown", "missing-dependency",
    "extern-not-compiled", "file-error", "changed-since-checkpoint", "not-finite", "cannot-write",
    "no-window", "unknown-system", "no-linker", "link-failed", "native-version", "native-damaged",
    "native-other-machine", "native-not-compiled", "input-size",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the examples and the files that the commands speak of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "model.net").write_text("net A:\n    input x[3]\n    output x\n")
    (tmp_path / "two_nets.net").write_text("net A:\n    input x\n    output x\nnet B:\n    input x\n    output x\n")
    (tmp_path / "running.net").write_text(
        "net A:\n    input x\n    param w ~ ones\n    state s ~ zeros\n    s <- s + w*x\n    output s\n    loss s^2\n\n"
        "train A:\n    optimizer sgd(lr=0.1)\n"
    )
    (tmp_path / "blocks.net").write_text("fn f(x) = x\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "lm.net").write_text(
        "net L:\n    input text[T]: class(9)\n    output text\n    loss mean(t) (1 if text[t] > 0 else 0)\n"
        "train L:\n    vocabulary characters\n    optimizer sgd(lr=0.1)\n"
    )
    (tmp_path / "README.md").write_text("# a text\n")
    (tmp_path / "table.csv").write_text("a,b,y\n0,n/a,1\n1,0,1\n")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and nothing else")
    x, species = np.zeros((6, 4)), np.arange(6) % 3
    np.savez(tmp_path / "complex.npz", x=x * 1j, species=species)
    np.savez(tmp_path / "empty.npz", x=x[:0], species=species[:0])
    np.savez(tmp_path / "fractions.npz", x=x, species=species / 2)
    np.savez(tmp_path / "uneven.npz", x=x, species=species[:5])
    np.savez(tmp_path / "missing_values.npz", x=x * np.nan, species=species)
    return tmp_path


def test_the_list_of_commands_that_are_not_tried_is_not_too_long() -> None:
    assert set(catalogue()) >= ELSEWHERE


@pytest.mark.parametrize(
    "entry", [e for e in catalogue().values() if e.command and e.code not in ELSEWHERE], ids=lambda e: e.code
)
def test_a_command_triggers_its_diagnostic(
    entry: Explanation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "digits.netc" in entry.command:
        assert main(["compile", "examples/digits.net"]) == 0
        capsys.readouterr()
    code = 0
    for line in re.split(r"\n|; (?=netlang summary)", entry.command):
        code = command(line, capsys)
    assert code == 1
    found = capsys.readouterr().err
    assert re.findall(r"^(?:error|warning)\[([a-z-]+)\]", found, re.MULTILINE) == [entry.code], found


def command(line: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Run a line of shell, as far as the catalogue uses it, in this process; returns its exit code."""
    words = shlex.split(line, comments=True)
    target = None
    if ">" in words:
        target = words[words.index(">") + 1]
        words = words[: words.index(">")]
    match words:
        case ["netlang", *arguments]:
            return main(arguments)
        case ["python", "-c", text]:
            try:
                exec(text, {})  # noqa: S102  # a text of ours
            except NetlangError as error:
                sys.stderr.write(str(error))
                return 1
        case ["touch", name]:
            Path(name).touch()
        case ["echo", text]:
            sys.stdout.write(f"{text}\n")
        case ["cp", source, to]:
            Path(to).write_bytes(Path(source).read_bytes())
        case ["head", "-c", count, name]:
            assert target is not None
            Path(target).write_bytes(Path(name).read_bytes()[: int(count)])
            return 0
        case _:
            pytest.fail(f"the test does not know the command {words}")
    if target is not None:
        Path(target).write_text(capsys.readouterr().out)
    return 0
