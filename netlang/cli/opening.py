"""From a command's options to what it works on: a model, a net, data; and results to files."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netlang.cli.settings import read_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from netlang.runtime.model import Model
    from netlang.runtime.net import Net
    from netlang.runtime.sources.table import Columns

ARTIFACT = ".netc"


def open_model(options: argparse.Namespace) -> Model:
    """The model of the net that the options name, from a text or an artifact. Raises `NetlangError`."""
    from netlang.runtime.model import load_model

    if options.file.endswith(ARTIFACT):
        return open_net(options).model
    return load_model(options.file, options.net, read_settings(options.settings))


def open_net(options: argparse.Namespace) -> Net:
    """The net that the options name, with its values. Raises `NetlangError`."""
    import netlang
    from netlang.diagnostics import fail

    settings = read_settings(options.settings)
    dtype, seed, threads = (getattr(options, name, None) for name in ("dtype", "seed", "threads"))
    reserved = [name for name in settings if name in ("path", "net", "dtype", "seed", "threads")]
    if reserved:
        fail(
            "unknown-argument",
            f"`--set {reserved[0]}=...` is not an argument of a net",
            place="--set",
            help=f"use the option `--{reserved[0]}`" if reserved[0] != "path" else "give the path as it is",
        )
    arguments: dict[str, Any] = dict(settings)
    return netlang.load(options.file, options.net, dtype=dtype, seed=seed, threads=threads, **arguments)


def columns_of(options: argparse.Namespace) -> Columns | None:
    """The column mapping of `--columns`, or None."""
    from netlang.runtime.sources import parse_columns

    return parse_columns(options.columns) if options.columns else None


def written_values(texts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The arrays of `--at`; a vector may be written as on the slide, `x=(0.2, 0.4)`. Raises `NetlangError`."""
    from netlang.draw.diagram.values import read_values

    return read_values(",".join(texts).translate(str.maketrans("()", "[]")))


def beside(file: str, suffix: str) -> str:
    """A file in the current folder that is named like another."""
    return os.path.splitext(os.path.basename(file))[0] + suffix


def require_writable(path: str) -> None:
    """Refuse a path that cannot be written before the work, not after it. Raises `NetlangError` (`cannot-write`)."""
    from netlang.diagnostics import fail

    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        reason = "its folder does not exist"
    elif os.path.isdir(path):
        reason = "it is a folder"
    elif not os.access(folder, os.W_OK):
        reason = "its folder may not be written to"
    else:
        return
    fail("cannot-write", f"`{path}` cannot be written: {reason}", place=path, help="choose another path")


def write_text(path: str, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all; a device such as /dev/stdout in place. Raises `NetlangError`."""
    from netlang.runtime.storage import replacing

    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with open(path, "w", encoding="utf-8", newline="\n") as device:
            device.write(text)
        return
    mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else None
    with replacing(path) as file:
        file.write(text.encode("utf-8"))
    if mode is not None:
        os.chmod(path, mode)
