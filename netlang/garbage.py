"""A pause of Python's cyclic garbage collector, for work that makes many objects and few cycles.

The collector walks all live objects again and again while they become more: compiling a network of 50 layers takes a
seventh less without.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the collector, which goes on afterwards if it was on."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
