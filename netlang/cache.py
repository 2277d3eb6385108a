"""Where netlang keeps what it can make again: the table of the grammar, and compiled kernels."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`NETLANG_CACHE`, else the user's cache folder of this system. Raises RuntimeError for a user without a home."""
    if chosen := os.environ.get("NETLANG_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "netlang" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "netlang"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netlang"
