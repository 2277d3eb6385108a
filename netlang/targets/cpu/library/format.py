"""What the maker of a library and its reader agree on. Imports nothing, as the reader needs nothing of the compiler."""

from __future__ import annotations

FORMAT, VERSION = "netlang-native", 2

MANIFEST = "netlang_manifest"
"""The exported symbol of the manifest: its length (8 bytes, little-endian), SHA-256 (32 bytes), JSON, and a zero."""

MANIFEST_HEAD = 8 + 32

VALUES = ".values"
"""The suffix of the file with the bytes of the net's struct, where they are not in the library."""

STATUSES = {
    "NETLANG_OK": "done",
    "NETLANG_NULL": "an argument is a null pointer",
    "NETLANG_SIZE": "a size is less than 1, or too small or too large for the net",
    "NETLANG_CLASS": "an integer is not one of the classes of its input",
    "NETLANG_PROCESSOR": "this processor lacks a feature that the library was compiled for",
}
"""What the functions return, from 0 on."""

CLOCK = ("steps_done", "epochs_done", "total_steps", "total_epochs")
"""The counters of a training run, with which the struct of a net begins: those of `netlang.Net`, as int64."""
