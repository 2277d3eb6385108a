"""netlang: a declarative language for neural networks, and its compiler.

    net = netlang.load("lenet5.net", classes=10)
    scores = net(images)

Importing it is cheap; the compiler and the libraries under it are loaded on first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from netlang.diagnostics import Diagnostic, InternalError, NetlangError

if TYPE_CHECKING:
    from netlang.runtime.data import Dataset
    from netlang.runtime.export import save_native
    from netlang.runtime.history import History
    from netlang.runtime.native import NativeNet, load_native
    from netlang.runtime.net import Net
    from netlang.runtime.sources import open_data

__all__ = [
    "Dataset",
    "Diagnostic",
    "History",
    "InternalError",
    "NativeNet",
    "Net",
    "NetlangError",
    "load",
    "load_native",
    "loads",
    "open_data",
    "save_native",
]

_LAZY = {
    "Dataset": "netlang.runtime.data",
    "History": "netlang.runtime.history",
    "NativeNet": "netlang.runtime.native",
    "Net": "netlang.runtime.net",
    "load_native": "netlang.runtime.native",
    "open_data": "netlang.runtime.sources",
    "save_native": "netlang.runtime.export",
}


def load(
    path: str | os.PathLike[str],
    net: str | None = None,
    *,
    dtype: str | None = None,
    seed: int | None = None,
    threads: int | None = None,
    **arguments: Any,
) -> Net:
    """A net from a `.net` text or a `.netc` artifact.

    `net` names one where the text has several; `arguments` are the net's own (`classes=10`); `dtype` is "float32" (the
    default) or "float64"; `seed` replaces the recipe's; `threads` is how many threads it may use, by default what
    NETLANG_THREADS says, or else one for each processor. An artifact brings its arguments, seed and values along.

    Raises `NetlangError` for whatever is wrong with the file.
    """
    name = os.fsdecode(path)
    if name.endswith(".netc"):
        from netlang.runtime.saving import load as load_artifact

        if net is not None or arguments or seed is not None:
            from netlang.diagnostics import fail

            fail(
                "fixed-names",
                f"`{name}` has its net, arguments and seed",
                place=name,
                help="give only the path, or load the `.net` text",
            )
        return load_artifact(name, dtype=dtype, threads=threads)
    from netlang.runtime.blueprint import open_blueprint
    from netlang.runtime.net import Net

    return Net(open_blueprint(name, net, arguments), dtype=dtype or "float32", seed=seed, threads=threads)


def loads(
    text: str,
    net: str | None = None,
    *,
    dtype: str = "float32",
    seed: int | None = None,
    threads: int | None = None,
    **arguments: Any,
) -> Net:
    """A net from text in netlang."""
    from netlang.elaboration.modules import module_from_text
    from netlang.runtime.model import load_model
    from netlang.runtime.net import Net

    module = module_from_text(text)
    return Net(load_model(module.name, net, arguments, module), dtype=dtype, seed=seed, threads=threads)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("netlang")
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'netlang' has no attribute {name!r}")
