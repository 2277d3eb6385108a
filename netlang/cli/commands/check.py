"""`netlang check`: check a file, and warn of what is allowed but likely a mistake."""

from __future__ import annotations

import argparse

from netlang.cli import options as take
from netlang.cli.report import report
from netlang.cli.settings import read_settings
from netlang.diagnostics import NetlangError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a .net file")
    take.net(parser)
    take.style(parser)
    parser.add_argument("--strict", action="store_true", help="end with exit code 1 on warnings too")


def run(options: argparse.Namespace) -> int:
    from netlang.passes.check import check

    settings = read_settings(options.settings)
    found = []
    for file in options.files:
        try:
            found += check(file, options.net, settings)
        except NetlangError as error:
            found += error.diagnostics
    if found or options.style == "json":
        report(found, options.style)
    errors = sum(d.severity == "error" for d in found)
    if options.style == "text" and not errors:
        warnings = f", {len(found)} warning{'s' * (len(found) != 1)}" if found else ""
        print(f"{', '.join(options.files)}: no errors{warnings}")
    return int(errors > 0 or (options.strict and bool(found)))
