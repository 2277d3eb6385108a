"""Sums over the same places into memory go together where they read the same."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.runtime.net import Net
from netlang.schedule.program import Program
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate

SUMS = """
net Sums(n, m):
    input x[n, m, 20], z[n, m, 20]
    a[k] = sum(i, j) x[i, j, k] * z[i, j, k]
    b[l] = sum(p < n, q < m) ({second})
    output a, b
"""


def program_of(net: Net) -> Program:
    graph = net.model.forward_graph
    return schedule(graph, list(graph.outputs.values()))


@pytest.mark.parametrize(
    ("second", "together"),
    [
        ("x[p, q, l]", True),
        ("x[p, q, l]^2 + z[p, q, l]", True),
        ("x[p, q, l] * a[l]", False),
        ("x[p, q, l] if p < 3 else 0", False),
        ("max(x[p, q, l], z[q % 3, p % 3, l])", True),
    ],
)
@pytest.mark.parametrize(("n", "m"), [(8, 16), (7, 9)])
def test_sums_that_read_the_same_share_their_loops(second: str, together: bool, n: int, m: int) -> None:
    net = netlang.loads(SUMS.replace("{second}", second), n=n, m=m)
    program = program_of(net)
    kernels = [k for k in program.kernels if k.kind != "elementwise"]
    stores = [{source.split("[")[0] for source, _ in k.sources} for k in kernels]
    assert any({"a", "b"} <= names or {"a.parts", "b.parts"} <= names for names in stores) == together
    random = np.random.default_rng(0)
    for batch in (1, 5):
        arrays = {name: random.standard_normal((batch, n, m, 20)) for name in ("x", "z")}
        expected = evaluate(net.model.forward_graph, arrays, {"batch": batch})
        found = [build(program, np.float64, threads=t).run(arrays, {"batch": batch}) for t in (1, 2, 3)]
        for root, value in found[0].items():
            np.testing.assert_allclose(value, expected[root], rtol=1e-9, atol=1e-9, err_msg=root)
            assert all(value.tobytes() == other[root].tobytes() for other in found[1:])
