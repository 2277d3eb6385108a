"""Diagnostics on the standard error stream: as text for a person, as one JSON document for a tool."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from netlang.diagnostics import Diagnostic


def report(diagnostics: Iterable[Diagnostic], style: str = "text") -> None:
    """Write diagnostics; `style` is "text" or "json" (`{"diagnostics": [...]}`, also where there are none)."""
    found = list(diagnostics)
    if style == "json":
        json.dump({"diagnostics": [d.as_json() for d in found]}, sys.stderr, indent=2)
        sys.stderr.write("\n")
        return
    for diagnostic in found:
        print(diagnostic.render(), end="\n\n", file=sys.stderr)
    if found and sys.stderr.isatty():
        print(f"`netlang explain {found[0].code}` says more.", file=sys.stderr)
