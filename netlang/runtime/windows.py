"""Whether convolutions may be computed by fewer products: see `netlang.schedule.winograd`."""

from __future__ import annotations

import os

from netlang.diagnostics import fail

VARIABLE = "NETLANG_WINOGRAD"


def fewer_products() -> bool:
    """Whether they may, which is so unless the environment says no.

    Raises `NetlangError` for what is neither yes nor no.
    """
    said = os.environ.get(VARIABLE, "").strip() or "1"
    if said not in ("0", "1"):
        fail("bad-setting", f"{VARIABLE} is `{said}`, and must be 0 or 1", help=f"{VARIABLE}=0")
    return said == "1"
