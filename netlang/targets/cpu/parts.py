"""A generated module in parts, each of which compiles by itself: kernels apart from each other and from the entries.

Where it comes apart depends on the text alone, so the code is the same whoever compiles the parts. The last part has
the entries and the heads of the kernels that they call, whose body is `...`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

SIZE = 40_000  # characters of kernels, about, that take a second to compile


def parts(source: str, entries: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The text and the entries of each part, the large ones first but for that of the entries; else the whole module.

    It stays whole where it is small, or where kernels call kernels.
    """
    whole = [(source, tuple(entries))]
    if len(source) < 2 * SIZE:
        return whole
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    kernels = [f for f in functions if f.name not in entries]
    names = {f.name for f in kernels}
    called = (n.func for f in kernels for n in ast.walk(f) if isinstance(n, ast.Call))
    if any(isinstance(function, ast.Name) and function.id in names for function in called):
        return whole
    lines = source.splitlines()
    texts = {f.name: "\n".join(lines[f.lineno - 1 : f.end_lineno]) for f in functions}
    count = round(sum(len(texts[name]) for name in names) / SIZE)
    if count < 2:
        return whole
    heads = [f"def {f.name}({ast.unparse(f.args)}):\n    ..." for f in kernels]
    own = [texts[f.name] for f in functions if f.name in entries]
    shares = _shared([texts[kernel.name] for kernel in kernels], count)
    return [*((_joined(share), ()) for share in shares), (_joined([*heads, *own]), tuple(entries))]


def _shared(texts: Iterable[str], count: int) -> list[list[str]]:
    """The texts in so many lists of about the same length, each in the order in which they came."""
    shares: list[list[str]] = [[] for _ in range(count)]
    lengths = [0] * count
    order = {text: k for k, text in enumerate(texts)}
    for text in sorted(order, key=len, reverse=True):
        least = lengths.index(min(lengths))
        shares[least].append(text)
        lengths[least] += len(text)
    return [sorted(share, key=order.__getitem__) for share in shares]


def _joined(texts: Iterable[str]) -> str:
    return "\n\n\n".join(texts) + "\n"
