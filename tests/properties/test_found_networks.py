"""Networks that random ones were reduced to when they showed a defect; each stays right."""

from __future__ import annotations

import pytest

from tests.properties.checks import OPTIONAL, Compiled, assert_close, wrong_slopes
from tests.strategies import LAYERS, Network

BATCH = 3

FOUND = {
    # in the adjoint the label is read at a place that another condition of the same guard keeps inside
    "a guarded read through a label, in an extreme": """
    param w[2, 1, 5]
    input y[5]: class(5)
    v[i < 5] = min(j < 1, k < 1) (w[1 - k, y[j], i] else 1)
    loss probe(v)
""",
    # both terms of the adjoint of x have the factor `d/v[i]`, which is outside for i = 3: it stays in their guards
    "a common factor that guards keep inside": """
    input x[4, 12]
    u = sigmoid(x)
    v[i < 3] = max(x[i, i], u[i, i])
    loss probe(v)
""",
    # the power is a node of its own for j = 0 only, and no use in the adjoint of w, which has three places
    "a subexpression that another node has in part": """
    param w[3]
    v[j < 1, k < 2] = 0.5^cos(w[j]) - k
    loss probe(v)
""",
    # forward and backward have the same quotient, with their indices in different orders: one reads the other
    "two equal nodes but for a transposition": """
    input x[4]
    param w[2, 3, 4]
    u = 2 * w
    v = x / (2 + sin(u))
    loss probe(v)
""",
    # without the simplification several groups of factors of one product become nodes, one of which reads another
    "invariants of an invariant": """
    param w, x[4, 4]
    target t[4, 2, 4]
    v[i < 4, j < 2, k < 4] = sin(cos(x[0, i]) if k % 2 == 0 or w > w else 1)
    loss huber(v, t)
""",
    # without the simplification the marks that the stabilization leaves reach the kernels
    "a stable logarithm of a sum": """
    input x[3]
    loss probe(x -> log_softmax)
""",
}


@pytest.mark.parametrize("name", FOUND)
def test_found_network(name: str) -> None:
    text = f"net Found:\n{FOUND[name].strip(chr(10))}\n{LAYERS}"
    network = Network(text, 1, True, False)
    one, plain = Compiled(network), Compiled(network, OPTIONAL)
    arrays = network.arrays(BATCH)
    expected = plain.reference(arrays, BATCH)
    for without in [(), *((name,) for name in OPTIONAL)]:
        assert_close(Compiled(network, without).reference(arrays, BATCH), expected, 1e-10)
    for compiled in (one, plain):
        assert_close(compiled.run(compiled.program("float64"), arrays, BATCH), expected, 1e-12)
    assert wrong_slopes(one, arrays, BATCH) == ([], 0)
