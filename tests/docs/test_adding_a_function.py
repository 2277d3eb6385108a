"""What docs/architecture.md promises: a scalar function is a row of the table, and nothing else."""

from __future__ import annotations

import subprocess
import sys

ROWS = """
import math
from netlang.graph.expression import Apply
from netlang.graph.scalars import SCALARS, Scalar

SCALARS["sinh"] = Scalar(
    "sinh", 1, lambda a, y: (Apply("cosh", a),),
    "sinh({0})", "0.5 * (exp({0}) - exp(-{0}))", r"\\sinh {0}", math.sinh,
)
SCALARS["cosh"] = Scalar(
    "cosh", 1, lambda a, y: (Apply("sinh", a),),
    "cosh({0})", "0.5 * (exp({0}) + exp(-{0}))", r"\\cosh {0}", math.cosh,
)

import numpy as np
import netlang
from netlang.runtime.gradcheck import gradcheck

net = netlang.loads('''
net N:
    input x[3]
    param w[3]
    output y = 2 * sinh(w * x - 1) / 3
    loss s = sum(i) cosh(w[i] * x[i])
''', dtype="float64")
x = np.array([1.0, 2.0, 3.0])
np.testing.assert_allclose(net(x), 2 * np.sinh(net.params["w"] * x - 1) / 3, rtol=1e-13)
assert all(checked.error < 1e-6 for checked in gradcheck(net))
assert "dL/dw    = sinh(w ⊙ x) ⊙ x" in net.derive(), net.derive()
"""


def test_two_rows_are_two_functions() -> None:
    done = subprocess.run([sys.executable, "-c", ROWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
