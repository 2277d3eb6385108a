"""The house rules that a program can check: who may import what, and that Python knows no layer of the library."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from netlang.elaboration.modules import standard_library

ROOT = Path(__file__).parent.parent / "netlang"
MODULES = sorted(ROOT.rglob("*.py"))

# one folder each that may import these packages
ONLY_IN = {
    "lark": ("language",),
    "networkx": ("graph",),
    "numba": ("targets/cpu",),
    "llvmlite": ("targets/cpu",),
    "pygraphviz": ("draw",),
    "safetensors": ("runtime",),
    "sklearn": ("runtime",),
    "tqdm": ("runtime",),
}

EVERYWHERE = {"diagnostics", "explanations", "random", "cache", "garbage"}
# what a folder of ours may import from the others besides
MAY_IMPORT = {
    "language": set(),
    "graph": set(),
    "elaboration": {"language", "graph"},
    "passes": {"language", "graph", "elaboration"},
    "schedule": {"graph"},
    "targets": {"graph", "schedule"},
    "draw": {"graph", "elaboration", "passes", "targets", "language"},
    "runtime": {"graph", "language", "elaboration", "passes", "schedule", "targets", "draw"},
    "cli": {"runtime", "draw", "elaboration", "passes", "schedule", "graph", "language", "targets"},
}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_stay_in_their_place(path: Path) -> None:
    own = path.relative_to(ROOT)
    for module in imports(ast.parse(path.read_text())):
        package, *rest = module.split(".")
        if package in ONLY_IN:
            assert any(str(own).startswith(folder) for folder in ONLY_IN[package]), f"{own} imports {module}"
        if package == "netlang" and rest and own.parts[0] in MAY_IMPORT and len(own.parts) > 1:
            allowed = MAY_IMPORT[own.parts[0]] | {own.parts[0]} | EVERYWHERE
            assert rest[0] in allowed, f"{own} imports {module}"


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names that the code defines or uses and words of its texts, with their lines; docstrings speak freely."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            for word in re.findall(r"\w+", node.value):
                yield node.lineno, word
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_names_a_layer_a_loss_or_an_optimizer(path: Path) -> None:
    names = {d.name.id for d in standard_library() if d.kind in ("layer", "loss", "optimizer")}
    assert len(names) > 30
    found = [(line, word) for line, word in words(ast.parse(path.read_text())) if word in names]
    assert not found, f"{path.relative_to(ROOT)} names {found}"
