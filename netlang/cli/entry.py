"""The entry point: the parser of arguments, and every way in which a command can end as an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from netlang.cli.commands import (
    bench,
    check,
    compile,
    derive,
    draw,
    evaluate,
    explain,
    fmt,
    gradcheck,
    gradients,
    neighbours,
    run,
    sample,
    summary,
    train,
)
from netlang.cli.report import report
from netlang.diagnostics import Diagnostic, InternalError, NetlangError

FINE, DIAGNOSED, USAGE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141

COMMANDS: dict[str, ModuleType] = {
    "check": check,
    "fmt": fmt,
    "summary": summary,
    "draw": draw,
    "derive": derive,
    "compile": compile,
    "train": train,
    "evaluate": evaluate,
    "run": run,
    "neighbours": neighbours,
    "sample": sample,
    "gradcheck": gradcheck,
    "gradients": gradients,
    "bench": bench,
    "explain": explain,
}

_EXIT_CODES = "exit codes: 0 fine, 1 diagnostics, 2 wrong usage, 130 interrupted"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `netlang` with these arguments (by default the process's) and return its exit code; never raises."""
    _print_what_the_terminal_can()
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE
    style = getattr(options, "style", "text")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except NetlangError as error:
        report(error.diagnostics, style)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader is gone: nothing more may be written, not even what Python flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except MemoryError:
        report(
            [Diagnostic("out-of-memory", "there is not enough memory", help="make the network or the batch smaller")],
            style,
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        report([Diagnostic("file-error", f"a file cannot be used: {reason}", place=str(error.filename or ""))], style)
    except Exception as error:
        if os.environ.get("NETLANG_TRACEBACK"):
            raise
        message = str(error) if isinstance(error, InternalError) else f"internal error: {type(error).__name__}: {error}"
        print(" ".join(message.split()), file=sys.stderr)
        print("hint: set NETLANG_TRACEBACK=1 to see where it was raised", file=sys.stderr)
    return DIAGNOSED


def _parser() -> argparse.ArgumentParser:
    from netlang.cli.options import Parser

    parser = Parser(
        prog="netlang",
        description="A declarative language for neural networks, and its compiler.",
        epilog=f"{_EXIT_CODES}. `netlang COMMAND --help` says what a command takes.",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for name, module in COMMANDS.items():
        text = (module.__doc__ or "").strip()
        first = text.splitlines()[0].partition(": ")[2].rstrip(".")
        command = commands.add_parser(
            name, help=first, description=f"{first[0].upper()}{first[1:]}.", epilog=_EXIT_CODES
        )
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    """`--version`; reading the metadata takes longer than parsing the arguments, so it waits until asked."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"netlang {version('netlang')}")
        parser.exit()


def _print_what_the_terminal_can() -> None:
    """A terminal without a letter shows a question mark for it, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
