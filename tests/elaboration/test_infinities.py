"""Infinities in equations: constants like others, though no whole numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.elaboration.nets import net, values

x = np.array([0.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("1 if x[i] < inf else 2", [1, 1, 1]),
        ("1 if x[i] > -inf else 2", [1, 1, 1]),
        ("2 if x[i] > 1 else inf", [np.inf, 2, 2]),
        ("(2 * x[i])^inf", [0, np.inf, np.inf]),
        ("(x[i] + 1)^(-inf)", [1, 0, 0]),
        ("min(x[i], inf)", [0, 2, 3]),
    ],
)
def test_an_infinity_is_a_constant(body: str, expected: list[float]) -> None:
    assert values(net("input x[3]", f"y[i] = {body}", "output y"), x=x)["y"].tolist() == expected
