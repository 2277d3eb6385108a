"""A long run by hand: `python -m tests.properties.campaign FIRST COUNT [EQUATIONS]` checks that many networks.

Prints each failing seed with what failed; `strategies.network(Seeded(seed), equations)` is the network.
"""

from __future__ import annotations

import sys

from tests.properties.checks import (
    OPTIONAL,
    Compiled,
    assert_close,
    assert_close_in_float32,
    dump,
    formatted,
    stepped,
    wrong_slopes,
)
from tests.strategies import Network, Seeded, network


def check(net: Network, batch: int) -> None:
    once, twice = formatted(net.text)
    assert once == twice
    assert dump(once) == dump(net.text)
    one, arrays = Compiled(net), net.arrays(batch)
    expected = one.reference(arrays, batch)
    for without in [OPTIONAL, *((name,) for name in OPTIONAL)]:
        assert_close(Compiled(net, without).reference(arrays, batch), expected, 1e-10, f"without {without}")
    wrong, _ = wrong_slopes(one, arrays, batch)
    assert not wrong, wrong[0]
    assert_close(one.run(one.program("float64"), arrays, batch), expected, 1e-12)
    assert_close_in_float32(one, one.run(one.program("float32"), arrays, batch), arrays, batch)
    assert_close(*stepped(net, batch), 1e-12)


def main(first: int, count: int, equations: int = 10) -> int:
    failed = 0
    for seed in range(first, first + count):
        try:
            check(network(Seeded(seed), equations), 1 + seed % 5)
        except Exception as error:  # whatever goes wrong is a finding
            failed += 1
            sys.stdout.write(f"{seed}: {type(error).__name__}: {str(error)[:500]}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count} networks, {failed} failed\n")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:])) else 0)
