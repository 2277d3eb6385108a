"""Fixtures shared by all tests: golden files, kept in `tests/golden` and rewritten with `pytest --update-golden`."""

from __future__ import annotations

import difflib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what the tests got")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` asserts that `text` equals `tests/golden/<name>`; `--update-golden` rewrites that file.

    Names may have folders (`"language/lenet5.tree"`). Texts are compared with one newline at their end.
    """
    update = bool(request.config.getoption("--update-golden"))

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        actual = text.rstrip("\n") + "\n"
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(actual, encoding="utf-8", newline="\n")
            return
        if not path.exists():
            pytest.fail(f"there is no golden file {name}; run pytest --update-golden to write it")
        expected = path.read_text(encoding="utf-8")
        if actual != expected:
            changes = difflib.unified_diff(
                expected.splitlines(), actual.splitlines(), f"golden/{name}", "this run", lineterm=""
            )
            pytest.fail("\n".join(changes), pytrace=False)

    return compare


@pytest.fixture(autouse=True)
def untuned(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs are those that the model of their cost chooses, whatever has been tuned here or by another test."""
    file = tmp_path_factory.getbasetemp() / f"tilings-{uuid.uuid4().hex}.json"
    monkeypatch.setattr("netlang.runtime.choices.FILE", str(file))


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tests run in several processes, none of them starts others to compile: these would wait for each other."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        monkeypatch.setattr("netlang.targets.cpu.workers._processors", lambda: 1)
