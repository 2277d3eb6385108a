"""The pass `share`: equal nodes become one, also where a loop over time reads them before they are computed."""

from __future__ import annotations

import numpy as np

from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.graph.verify import verify
from netlang.passes.share import share
from netlang.targets.reference import evaluate


def test_a_node_of_a_loop_reads_what_is_left_of_two_that_come_after_it() -> None:
    module = module_from_text(
        "net N:\n    input x[4]\n    h[t < 4] = x[t] + (a[t-1] else 0) + (b[t-1] else 1)\n"
        "    a[t < 4] = exp(-h[t])\n    b[t < 4] = exp(-h[t])\n    output h\n"
    )
    plain = elaborate(module, module.nets()[0], training=False)
    shared = share(plain)
    verify(shared, "share")
    assert len(shared.nodes) == len(plain.nodes) - 1
    x = np.array([1.0, 2.0, -1.0, 0.5])
    assert (evaluate(shared, {"x": x})["h"] == evaluate(plain, {"x": x})["h"]).all()
