"""The command line: arguments in, exit code out; what a command does lives in the rest of netlang."""

from netlang.cli.entry import main

__all__ = ["main"]
