"""Derivations as text: the lecture's results, whole derivations as golden files, and what can be asked for wrongly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netlang.diagnostics import NetlangError
from netlang.draw.derivation.text import derivation_text
from netlang.draw.derivation.writer import derivation
from netlang.draw.formula.text import formula_text
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import load_module, module_from_text

SOFTMAX = "net N:\n    input s[5]\n    target y: class(5)\n    loss cross_entropy(s, y)\n"
BINARY = "net N:\n    input s\n    target y\n    p = sigmoid(s)\n    loss binary_cross_entropy(p, y)\n"


def example(name: str):
    module = load_module(f"examples/{name}.net")
    return derivation(elaborate(module, module.nets()[0], training=True), module=module)


def derived(text: str, of: str | None = None, wrt: list[str] | None = None):
    module = module_from_text(text)
    return derivation(elaborate(module, module.nets()[0], training=True), of, wrt, module)


def gradients(d) -> dict[str, str]:
    return {formula_text(r.final.left): formula_text(r.final.right) for r in d.gradients}


# --- the lecture's results -------------------------------------------------------------------------------------------


def test_softmax_with_cross_entropy():
    assert gradients(derived(SOFTMAX)) == {"dL/ds": "softmax(s) - onehot(y)"}


def test_sigmoid_with_binary_cross_entropy():
    assert gradients(derived(BINARY)) == {"dL/ds": "p - y"}


def test_three_layers():
    assert gradients(example("three_layer")) == {
        "dL/dW3": "(p - y) v2ᵀ",
        "dL/dW2": "W3ᵀ(p - y) ⊙ σ'(z2) v1ᵀ",
        "dL/dW1": "W2ᵀ(W3ᵀ(p - y) ⊙ σ'(z2)) ⊙ σ'(z1) xᵀ",
    }


def test_the_squared_norm():
    assert gradients(example("norm_squared")) == {"df/dW": "2 q xᵀ", "df/dx": "2 Wᵀ q"}


@pytest.mark.parametrize("name", ["three_layer", "norm_squared", "softmax_classifier", "lenet5", "svm_classifier"])
def test_whole_derivation(name: str, golden: Callable[[str, str], None]):
    golden(f"derivation/{name}.txt", derivation_text(example(name)))


def test_columns_of_a_matrix():
    assert gradients(example("xor")) == {
        "dL/dW1": "W2ᵀ(p - y) ⊙ (1 - h²) (a, b)ᵀ",
        "dL/db1": "W2ᵀ(p - y) ⊙ (1 - h²)",
        "dL/dW2": "(p - y) hᵀ",
        "dL/db2": "p - y",
    }


def test_softmax_within_a_network():
    text = "net N:\n    input a[3]\n    target t[3]\n    s = softmax(a)\n    loss sum(i) t[i] * s[i]\n"
    assert gradients(derived(text, wrt=["a"])) == {"dL/da": "s ⊙ (t - sᵀ t)"}


def test_a_function_of_the_user_is_recognised():
    text = "fn bump(x) = exp(-x^2)\n\nnet N:\n    input x[3]\n    param W[2, 3]\n    h = bump(W @ x)\n"
    d = derived(text + "    loss sum(i) h[i]^2\n")
    assert gradients(d) == {"dL/dW": "2 h ⊙ bump'(h.z) xᵀ"}
    functions = {formula_text(e.left): formula_text(e.right) for e in d.functions}
    assert functions == {"bump(x)": "exp(-x²)", "bump'(x)": "-2 x bump(x)"}


def test_batch_statistics_lift_the_network():
    text = "net N:\n    input x[3]\n    target y[3]\n    p = x -> batchnorm\n    loss mse(p, y)\n"
    d = derived(text)
    assert d.symbol == "L"
    assert d.objective == "mean of mse"
    assert gradients(d)["dL/d(batchnorm_1.β)[k]"] == "Σ(batch) dL/d(batchnorm_1.y)[batch, k]"


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_by_an_intermediate_tensor_and_of_an_output():
    d = derived("net N:\n    input x[3]\n    q = 2 * x\n    f = sum(i) q[i]^2\n    output f\n", "f", ["q"])
    assert gradients(d) == {"df/dq": "2 q"}


@pytest.mark.parametrize(
    ("of", "wrt", "code", "help"),
    [
        ("bse", None, "unknown-tensor", "did you mean `mse`?"),
        (None, ["W2"], "unknown-tensor", "did you mean `W`?"),
        ("p", None, "not-a-scalar", "reduce it"),
        (None, ["q"], "independent", "it depends on"),
        (None, ["k"], "unknown-tensor", ""),
    ],
)
def test_diagnostics(of: str | None, wrt: list[str] | None, code: str, help: str):
    text = "net N:\n    input x[3], q\n    target y[2]\n    param W[2, 3]\n    p = W @ x\n"
    text += "    output p, q\n    loss mse(p, y)\n"
    with pytest.raises(NetlangError) as caught:
        derived(text, of, wrt)
    assert caught.value.diagnostics[0].code == code
    assert help in caught.value.diagnostics[0].help


def test_several_outputs_need_a_choice():
    with pytest.raises(NetlangError) as caught:
        derived("net N:\n    input x\n    a = 2 * x\n    b = 3 * x\n    output a, b\n")
    assert caught.value.diagnostics[0].code == "no-objective"
    assert "`a`, `b`" in caught.value.diagnostics[0].help


RECURRENT = """
net Elman(n=8):
    input x[T, 4]
    target y
    param W[n, 4] ~ xavier, U[n, n] ~ orthogonal, b[n] ~ zeros, v[n] ~ xavier
    h[t < T] = tanh(U @ (h[t-1] else 0) + W @ x[t] + b)
    p = sum(k) v[k] * h[T-1, k]
    loss (p - y)^2
"""


def test_the_adjoint_of_a_recurrence_is_one(golden: Callable[[str, str], None]) -> None:
    module = module_from_text(RECURRENT)
    text = derivation_text(derivation(elaborate(module, module.nets()[0], training=True)))
    assert "dL/dp v[i] [t + 1 = T] + Σ(i2 < 8) dL/dh[t + 1, i2] U[i2, i] (1 - h[t + 1, i2]²)" in text
    assert "a recurrence that runs backwards" in text
    golden("derivation/elman.txt", text)
