"""Outputs over a data set, in batches."""

from __future__ import annotations

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime.prediction import predict

TEXT = "net A:\n    input x[2]\n    target y: class(3)\n    s = x -> dense(3)\n    output s, d = 2 * x\n"


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_batches_do_not_change_the_outputs(batch: int) -> None:
    net = netlang.loads(TEXT)
    x = np.linspace(-1, 1, 14, dtype=np.float32).reshape(7, 2)
    outputs = predict(net, {"x": x}, batch=batch)
    assert {name: value.shape for name, value in outputs.items()} == {"s": (7, 3), "d": (7, 2)}
    np.testing.assert_allclose(outputs["s"], net.forward(x=x)["s"], rtol=1e-6)
    np.testing.assert_array_equal(outputs["d"], 2 * x)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NetlangError) as error:
        predict(netlang.loads(TEXT), {"x": np.zeros((4, 3))})
    assert error.value.diagnostics[0].code == "data-shape"
