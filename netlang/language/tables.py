"""The parse table: Lark compiles `grammar/netlang.lark` into one, and a JSON copy of it is kept in the user's cache.

Building the table takes Lark about 60 ms, reading it back 3 ms, and a command is to answer in a third of a second. The
copy is plain data and says what it was made from, so it is never stale, and whatever is wrong with it (absent, torn,
not writable) only means that the table is built again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from netlang.cache import cache_folder

_FORMAT = 2


@dataclass(frozen=True)
class Table:
    """An LALR(1) table; kinds of tokens are named by their spelling (`"->"`, `"net"`) where they have only one.

    `actions[s]` maps a kind of token to a state to shift to, or to `~r` where rule `r` is to be reduced; `gotos[s]`
    maps what a rule makes to the state after it. Rules are `(made, length, method)`; `method` is the name of the tree
    builder's method, or None where a rule hands on its only part. The parse starts in state `start` and ends in `end`.
    """

    actions: tuple[dict[str, int], ...]
    gotos: tuple[dict[str, int], ...]
    rules: tuple[tuple[str, int, str | None], ...]
    start: int
    end: int


@cache
def table() -> Table:
    """The table of the grammar that comes with this package."""
    grammar = _grammar_text()
    made_from = f"{_FORMAT}\n{grammar}"
    try:
        path = cache_folder() / f"grammar-{zlib.crc32(made_from.encode()):08x}.json"
    except RuntimeError:  # a user without a home
        return _compile(grammar)
    found = _read(path, made_from)
    if found is None:
        found = _compile(grammar)
        _write(path, found, made_from)
    return found


def _grammar_text() -> str:
    package = Path(__file__).parents[1]
    for folder in (package, package.parent):  # in a wheel, in a checkout
        path = folder / "grammar" / "netlang.lark"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError("grammar/netlang.lark is missing from this installation of netlang")


def _compile(grammar: str) -> Table:
    from lark import Lark
    from lark.lexer import Lexer, PatternStr
    from lark.parsers.lalr_analysis import LALR_Analyzer, Shift

    class NoLexer(Lexer):
        """Lark is only asked for the table; the tokens come from `layout`."""

        def __init__(self, lexer_conf: Any) -> None:
            pass

        def lex(self, lexer_state: Any, parser_state: Any) -> Any:
            raise NotImplementedError

    lark = Lark(grammar, parser="lalr", lexer=NoLexer, keep_all_tokens=True, maybe_placeholders=False)
    kinds = {t.name: t.pattern.value for t in lark.terminals if isinstance(t.pattern, PatternStr)}
    analysis = LALR_Analyzer(lark.parser.parser_conf, strict=True)
    analysis.compute_lalr()  # type: ignore[no-untyped-call]
    parse_table: Any = analysis.parse_table
    numbers = {rule: k for k, rule in enumerate(lark.rules)}
    made = {str(rule.origin.name) for rule in lark.rules}
    actions: list[dict[str, int]] = [{} for _ in parse_table.states]
    gotos: list[dict[str, int]] = [{} for _ in parse_table.states]
    for state, row in parse_table.states.items():
        for symbol, (action, argument) in row.items():
            if symbol in made:
                gotos[state][str(symbol)] = argument
            else:
                actions[state][kinds.get(symbol, str(symbol))] = argument if action is Shift else ~numbers[argument]
    rules = []
    for rule in lark.rules:
        handed_on = rule.alias is None and rule.options.expand1 and len(rule.expansion) == 1
        method = None if handed_on else str(rule.alias or rule.origin.name)
        rules.append((str(rule.origin.name), len(rule.expansion), method))
    start, end = parse_table.start_states["start"], parse_table.end_states["start"]
    return Table(tuple(actions), tuple(gotos), tuple(rules), start, end)


def _read(path: Path, made_from: str) -> Table | None:
    try:
        data = json.loads(path.read_bytes())
        if data["made_from"] != made_from:
            return None
        rules = tuple((str(made), int(length), method) for made, length, method in data["rules"])
        return Table(tuple(data["actions"]), tuple(data["gotos"]), rules, int(data["start"]), int(data["end"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, found: Table, made_from: str) -> None:
    data = {"made_from": made_from, **dataclasses.asdict(found)}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_text(json.dumps(data, separators=(",", ":")), encoding="utf-8")
        os.replace(temporary, path)
