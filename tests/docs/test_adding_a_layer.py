"""What docs/adding-a-layer.md promises: a text alone gives shapes, gradients, a diagram, a derivation and kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.runtime.gradcheck import gradcheck
from netlang.targets.reference.evaluate import evaluate
from tests.docs.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-layer.md"


@pytest.fixture
def excited(tmp_path: Path) -> Path:
    """The page's network, in a folder with the page's definitions."""
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.language == "net":
            (tmp_path / block.words[1]).write_text(block.text, encoding="utf-8")
    return tmp_path / "excited.net"


def test_shapes_follow_and_are_checked(excited: Path) -> None:
    layers = {row["name"]: row for row in netlang.load(excited).summary("json")["layers"]}
    assert layers["excite_1"]["output_shape"] == [8, 8, 8]
    assert layers["excite_1"]["parameters"] == 4 * 8 + 8 * 4
    assert layers["excite_1"]["macs"] == 4 * 8 + 8 * 4
    with pytest.raises(netlang.NetlangError) as caught:
        netlang.load(excited.with_name("seven.net"))([[[0.0] * 8] * 8])
    assert caught.value.diagnostics[0].message == "7 channels cannot be reduced by a factor of 2"


def test_values_are_those_of_the_paper(excited: Path) -> None:
    """The layer, written a second time in NumPy (Hu et al., 2018, equations 2 to 4), on the compiled target."""
    text = excited.with_name("blocks.net").read_text(encoding="utf-8")
    net = netlang.loads(f"{text}\nnet N:\n    input x[4, 3, 5]\n    output x -> excite\n", dtype="float64")
    x = np.random.default_rng(1).standard_normal((6, 4, 3, 5))
    squeezed = np.clip(x.mean(axis=(2, 3)) @ net.params["excite_1.V"].T, 0, 1)
    gate = 1 / (1 + np.exp(-squeezed @ net.params["excite_1.U"].T))
    np.testing.assert_allclose(net(x), x * gate[:, :, None, None], rtol=1e-12)


def test_gradients_agree_with_differences_and_with_the_reference(excited: Path) -> None:
    net = netlang.load(excited, dtype="float64")
    checked = gradcheck(net, batch=2, samples=5)
    assert {"excite_1.V", "excite_1.U", "image"} <= {c.name for c in checked}
    assert all(c.error < 1e-6 for c in checked)

    images = np.random.default_rng(2).standard_normal((3, 1, 8, 8))
    digits = np.array([1, 2, 3])
    loss, gradients = net.gradients(image=images, digit=digits, wrt=["excite_1.U"])
    graph = net.model.gradient_graph(("excite_1.U",))
    values = evaluate(graph, {"image": images, "digit": digits, **net.params}, {"batch": 3})
    assert loss == pytest.approx(float(values[graph.objectives["objective"]]), rel=1e-12)
    np.testing.assert_allclose(gradients["excite_1.U"], values[graph.gradients["excite_1.U"]], rtol=1e-10, atol=1e-14)


def test_it_is_drawn_derived_and_compiled(excited: Path) -> None:
    net = netlang.load(excited)
    assert "excite" in net.draw()
    assert "64 parameters" in net.draw()
    assert "dL/d(excite_1.U) = dL/d(excite_1.g) ⊙ σ'(excite_1.a)" in net.derive(wrt=["excite_1.U"])
    assert "excite_1.V" in net.program().source


def test_the_optimizer_takes_steps_of_one_size(excited: Path) -> None:
    net = netlang.load(excited)
    before = net.params["conv_1.W"].copy()
    net.step(image=np.random.default_rng(3).standard_normal((4, 1, 8, 8)), digit=[0, 1, 2, 3])
    moved = np.abs(net.params["conv_1.W"] - before)
    # `cosine` gives the whole rate in the first step
    np.testing.assert_allclose(moved, 2e-3, rtol=1e-3)
