"""Random mutations of the example files: whatever the text says, checking it ends soon and in diagnostics only.

    python tests/fuzz_mutations.py 20000 [SEED]

The suite runs a smaller number of the same (`tests/test_mutations.py`).
"""

from __future__ import annotations

import random
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from netlang.diagnostics import NetlangError
from netlang.elaboration.modules import module_from_text
from netlang.passes.check import check_module

ROOT = Path(__file__).parents[1]
SECONDS = 1.0  # the longest that checking may take, of processor time
TRIES = (
    3  # a text is slow if it is so each time: a collection of everybody's garbage, or a busy neighbour, are not its own
)
TOKEN = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)?|\s+|->|<-|//|[<>=!]=|\.\.\.?|.", re.DOTALL)

# what an example does not have, but a user's text may
FOREIGN = TOKEN.findall(
    """
repeat(3, relu) for k in 1..4: else if not and or training batch ... argmax(i) max(p < 2) @ // % ^ <- ~ -inf 1e999 0 -1
99999999999999999999 1000000 0.5 2^40 [1, 2] "text" noise state require import reshape size mean(batch, i) normal(0, 1)
bernoulli(0.5) return layer fn residual optimizer minimize over with penalty clip é \t \x00 \N{ZERO WIDTH SPACE}
"""
)


@dataclass(frozen=True)
class Failure:
    """A text that ended in something other than diagnostics, or too late."""

    text: str
    reason: str


def texts() -> list[str]:
    """The examples, and a text with what they lack."""
    files = [*sorted((ROOT / "examples").glob("*.net")), *sorted((ROOT / "tests/language/examples").glob("*.net"))]
    return [file.read_text(encoding="utf-8") for file in files]


def mutations(count: int, seed: int = 0) -> Iterator[str]:
    """Mutated texts, the same ones for the same seed."""
    source = random.Random(seed)
    originals = texts()
    pool = [token for text in originals for token in TOKEN.findall(text) if token.strip()] + FOREIGN
    for _ in range(count):
        text = source.choice(originals)
        for _ in range(source.choice((1, 1, 1, 2, 3, 5))):
            split = source.choice((TOKEN.findall, TOKEN.findall, list, str.splitlines))
            pieces: list[str] = split(text)  # type: ignore[operator, assignment]  # three ways to cut a text
            newline = "\n" if split is str.splitlines else ""
            if pieces:
                source.choice(CHANGES)(pieces, source, pool)
            text = newline.join(pieces)
        yield text


def _delete(pieces: list[str], source: random.Random, pool: list[str]) -> None:
    start = source.randrange(len(pieces))
    del pieces[start : start + source.choice((1, 1, 2, 5))]


def _insert(pieces: list[str], source: random.Random, pool: list[str]) -> None:
    pieces.insert(source.randrange(len(pieces) + 1), source.choice(pool))


def _replace(pieces: list[str], source: random.Random, pool: list[str]) -> None:
    pieces[source.randrange(len(pieces))] = source.choice(pool)


def _alike(pieces: list[str], source: random.Random, pool: list[str]) -> None:
    """Put a word for a word, a number for a number, an operator for an operator: most such texts parse."""
    at = source.randrange(len(pieces))
    alike = [piece for piece in source.choices(pool, k=60) if _kind(piece) == _kind(pieces[at])]
    if alike:
        pieces[at] = source.choice(alike)


def _kind(piece: str) -> str:
    if not piece or piece.isspace():
        return "space"
    return "word" if piece.isidentifier() else "number" if piece[0].isdigit() else "sign"


def _swap(pieces: list[str], source: random.Random, pool: list[str]) -> None:
    i, j = source.randrange(len(pieces)), source.randrange(len(pieces))
    pieces[i], pieces[j] = pieces[j], pieces[i]


def _duplicate(pieces: list[str], source: random.Random, pool: list[str]) -> None:
    start = source.randrange(len(pieces))
    run = pieces[start : start + source.choice((1, 1, 3, 8))]
    at = source.randrange(len(pieces) + 1)
    pieces[at:at] = run * source.choice((1, 1, 2, 20))


CHANGES: tuple[Callable[[list[str], random.Random, list[str]], None], ...] = (
    _delete,
    _insert,
    _replace,
    _alike,
    _alike,
    _alike,
    _swap,
    _duplicate,
)


def attempt(text: str) -> tuple[str, str]:
    """Check a text: what it came to (a code, or "fine"), and why that is a failure, if it is."""
    for _ in range(TRIES):
        start = time.process_time()
        outcome, reason = _checked(text)
        seconds = time.process_time() - start
        if reason or seconds < SECONDS:
            return outcome, reason
    return "failure", f"it took {seconds:.1f} seconds"


def _checked(text: str) -> tuple[str, str]:
    try:
        found = check_module(module_from_text(text, "mutation.net"))
        outcome = found[0].code if found else "fine"
    except NetlangError as error:
        found = list(error.diagnostics)
        outcome = found[0].code
    except Exception:
        return "failure", traceback.format_exc()
    try:
        for diagnostic in found:
            diagnostic.render()
            diagnostic.as_json()
    except Exception:
        return "failure", traceback.format_exc()
    return outcome, ""


def run(count: int, seed: int = 0) -> tuple[Counter[str], list[Failure]]:
    """Check so many mutated texts; returns what they came to, and the failures."""
    outcomes: Counter[str] = Counter()
    failures: list[Failure] = []
    for text in mutations(count, seed):
        outcome, reason = attempt(text)
        outcomes[outcome] += 1
        if reason:
            failures.append(Failure(text, reason))
    return outcomes, failures


if __name__ == "__main__":
    total, failed = run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for name, number in total.most_common():
        sys.stdout.write(f"{number:6} {name}\n")
    for k, failure in enumerate(failed):
        sys.stdout.write(f"\n=== failure {k}: {failure.reason}\n{failure.text}\n")
    sys.exit(bool(failed))
