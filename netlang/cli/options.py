"""What several commands take: a file, a net of it, the net's arguments, data, the style of the output."""

from __future__ import annotations

import argparse
from typing import Any, Never


class Parser(argparse.ArgumentParser):
    """A parser whose errors point at the help; options cannot be abbreviated, so that new ones break no script."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> Never:
        self.exit(2, f"{self.format_usage()}{self.prog}: {message}\nhint: `{self.prog} --help` says what it takes\n")


def file(parser: argparse.ArgumentParser, what: str = "a .net text or a .netc artifact") -> None:
    parser.add_argument("file", metavar="FILE", help=what)


def net(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--net", metavar="NAME", help="which net, where the file has several")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="an argument of the net: a number, true, false, a text or a [list] (repeatable)",
    )


def sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        metavar="NAME=N",
        action="append",
        default=[],
        dest="sizes",
        help="a size that is known at run time only, such as the length of a sequence: T=64 (repeatable)",
    )


def style(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        dest="style",
        help="for a person, or JSON for a tool (default: text)",
    )


def output(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", metavar="PATH", help=what)


def data(parser: argparse.ArgumentParser, default: str = "") -> None:
    parser.add_argument(
        "--data",
        metavar="SPEC",
        help=f"a .npz, .csv or .tsv file, idx:NAME=FILE,NAME=FILE or sklearn:digits and its like{default}",
    )
    parser.add_argument(
        "--columns",
        metavar="NAME=COLUMNS",
        action="append",
        default=[],
        help="which columns of a table make an input or target: x=0-3, y=species (repeatable)",
    )


def dtype(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dtype", choices=("float32", "float64"), help="the precision (default: float32)")


def threads(parser: argparse.ArgumentParser) -> None:
    help = "how many threads to use at most (default: NETLANG_THREADS, or one for each processor)"
    parser.add_argument("--threads", metavar="N", type=positive, help=help)


def seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", metavar="N", type=natural, help="the seed of all randomness (default: the recipe's)")


def natural(text: str) -> int:
    """A whole number of at least 0."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 up to 2^63 - 1")
    return value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if not 1 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up to 2^31 - 1")
    return value


natural.__name__ = positive.__name__ = "whole number"  # argparse names the type in its messages
