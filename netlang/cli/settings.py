"""The values of `--set name=value`: JSON's numbers, booleans, texts and lists; a bare word is a text. And `--size`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from netlang.diagnostics import fail

Setting = int | float | bool | str | list[Any]

_NAME = re.compile(r"[^\W\d]\w*")
_WORD = re.compile(r"[^\W\d][\w.]*")
_CONSTANTS = ("NaN", "Infinity")  # what Python's reader of JSON takes for numbers
_HELP = "a value is a number, `true`, `false`, a text or a list: `--set classes=10`, `--set widths=[64,32]`"


def read_settings(texts: Iterable[str]) -> dict[str, Setting]:
    """The settings by name. Raises `NetlangError` (`bad-setting-value`)."""
    settings: dict[str, Setting] = {}
    for text in texts:
        name, equals, written = text.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            fail("bad-setting-value", f"`{text[:60]}` is not `name=value`", place="--set", help=_HELP)
        if name in settings:
            fail("bad-setting-value", f"`{name}` is set twice", place="--set", help="set each name once")
        settings[name] = _value(name, written.strip())
    return settings


def _value(name: str, written: str) -> Setting:
    try:
        value = json.loads(written, parse_constant=_refuse)
    except (ValueError, RecursionError):  # no JSON, an integer of thousands of digits, a list too deep
        if _WORD.fullmatch(written) and written not in _CONSTANTS:
            return written
        value = None
    if not _is_setting(value):
        fail("bad-setting-value", f"`{name}` cannot be `{written[:60]}`", place="--set", help=_HELP)
    return value  # type: ignore[no-any-return]


def _is_setting(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_setting(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int | str)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no setting")


def read_sizes(texts: Iterable[str]) -> dict[str, int]:
    """The sizes of `--size name=n` by name. Raises `NetlangError` (`bad-setting-value`)."""
    sizes: dict[str, int] = {}
    for text in texts:
        name, _, written = (part.strip() for part in text.partition("="))
        if not _NAME.fullmatch(name) or not written.isascii() or not written.isdecimal() or not int(written):
            fail(
                "bad-setting-value",
                f"`{text[:60]}` is not a name and a whole number from 1 up",
                place="--size",
                help="write `--size T=64`",
            )
        sizes[name] = int(written)
    return sizes
