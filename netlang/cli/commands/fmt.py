"""`netlang fmt`: bring files into the canonical layout, in place."""

from __future__ import annotations

import argparse
import sys

from netlang.cli.opening import write_text


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a .net file, or - from standard input to output")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; end with exit code 1 if a file would change"
    )


def run(options: argparse.Namespace) -> int:
    from netlang.diagnostics import NetlangError
    from netlang.language import decode, format

    changed = 0
    broken: list[NetlangError] = []
    for file in options.files:
        try:
            data = _read(file)
            text = format(decode("<stdin>" if file == "-" else file, data))
        except NetlangError as error:
            broken.append(error)
            continue
        different = text.encode("utf-8") != data
        changed += different
        if options.check:
            if different:
                print(f"{file}: would be reformatted")
        elif file == "-":
            sys.stdout.write(text)
        elif different:
            write_text(file, text)
            print(f"{file}: reformatted")
    if broken:
        raise NetlangError(*(d for error in broken for d in error.diagnostics))
    return int(options.check and changed > 0)


def _read(file: str) -> bytes:
    from netlang.elaboration.modules import read_source

    return sys.stdin.buffer.read() if file == "-" else read_source(file)
