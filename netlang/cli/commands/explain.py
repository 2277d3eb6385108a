"""`netlang explain`: explain a diagnostic by its code, with an example that triggers it and the way out."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code", metavar="CODE", nargs="?", help="a code such as shape-mismatch (default: list them all)"
    )


def run(options: argparse.Namespace) -> int:
    from netlang.explanations import catalogue, explain

    if options.code is None:
        entries = catalogue()
        width = max(map(len, entries))
        for code, explanation in entries.items():
            print(f"{code:{width}}  {explanation.title}")
        return 0
    print(explain(options.code).text(), end="")
    return 0
