"""From objects and data to a shared library, by the system's linker or that of the package ziglang."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from netlang.diagnostics import fail

COMPILERS = ("cc", "gcc", "clang")


def linker() -> list[str]:
    """The command that links: `CC`, else a C compiler on the path, else ziglang. Raises `no-linker`."""
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    fail(
        "no-linker",
        "there is nothing here that links a shared library",
        help="install a C compiler (`cc`), or `pip install 'netlang[native]'`, which brings one",
    )


@dataclass(frozen=True)
class Data:
    """Read-only bytes and their names, each with whether others than the library see it."""

    content: bytes
    names: Mapping[str, bool]


def link(objects: Sequence[bytes], data: Sequence[Data], name: str, triple: str) -> bytes:
    """The shared library `name` from objects and data.

    Raises `NetlangError`: `no-linker`, `link-failed`.
    """
    command = linker()
    with tempfile.TemporaryDirectory(prefix="netlang-") as folder:
        sources = []
        for k, code in enumerate(objects):
            path = Path(folder, f"{k}.o")
            path.write_bytes(code)
            sources.append(str(path))
        for k, each in enumerate(data):
            Path(folder, f"{k}.bin").write_bytes(each.content)
        assembly = Path(folder, "data.s")
        assembly.write_text(_data(data, folder, "apple" in triple), encoding="utf-8")
        output = Path(folder, "library")
        try:
            done = subprocess.run(
                [*command, *_options(name, triple), "-o", str(output), *sources, str(assembly), "-lm"],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            _failed(command, [str(error)])
        if done.returncode or not output.exists():
            _failed(command, done.stderr.strip().splitlines()[-5:])
        return output.read_bytes()


def _failed(command: Sequence[str], said: Sequence[str]) -> NoReturn:
    fail(
        "link-failed",
        f"`{' '.join(command)}` did not link the library",
        notes=[line.strip() for line in said],
        help="set `CC` to a C compiler that works, or install the package ziglang and leave `CC` unset",
    )


def _options(name: str, triple: str) -> list[str]:
    """No start-up code, no undefined symbols, nothing that is written and executed."""
    if "apple" in triple:
        return ["-dynamiclib", f"-Wl,-install_name,@rpath/{name}"]
    options = ["-Wl,--no-undefined", "-Wl,--as-needed", "-Wl,-z,noexecstack", "-Wl,-z,relro"]
    return ["-shared", "-nostartfiles", *options, f"-Wl,-soname,{name}"]


def _data(data: Sequence[Data], folder: str, is_mach: bool) -> str:
    """Assembly that takes the files in; `.incbin` and the rest of it is understood by GCC, Clang and Zig."""
    lines = [".section __TEXT,__const" if is_mach else ".section .rodata"]
    for k, each in enumerate(data):
        lines.append(".p2align 6")
        for name, is_exported in each.names.items():
            label = f"_{name}" if is_mach else name
            lines += [f".globl {label}", f"{label}:"]
            if not is_exported:
                lines.append(f".private_extern {label}" if is_mach else f".hidden {label}")
        path = os.path.join(folder, f"{k}.bin").replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'.incbin "{path}"')
    return "\n".join([*lines, *([] if is_mach else ['.section .note.GNU-stack,"",%progbits']), ""])
