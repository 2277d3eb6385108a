"""Every form of every gradient that a derivation prints has the value that finite differences have."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.draw.derivation.adjoints import Adjoints
from netlang.draw.derivation.recognize import Templates
from netlang.draw.derivation.writer import derivation
from netlang.draw.formula.text import formula_text
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import load_module, module_from_text, standard_library
from netlang.graph.nodes import Input, Param, Random, State
from netlang.passes.derive import PREFIX
from netlang.targets.reference import evaluate
from tests.draw.formula_values import Reader

HEAD = "net N:"
TEXTS = {
    "softmax": """
    input s[5]
    target y: class(5)
    loss cross_entropy(s, y)""",
    "neuron": """
    input s
    target y
    p = sigmoid(s)
    loss binary_cross_entropy(p, y)""",
    "two ways": """
    input x[3]
    target y[3]
    h = x -> dense(3) -> swish
    loss mse(h + 2 * x * h, y)""",
    "attention": """
    input q[3, 2], k[4, 2]
    a[i, j] = sum(c) q[i, c] * k[j, c]
    s = softmax(a)
    loss sum(i, j) s[i, j]^2""",
    "products": """
    input A[2, 3], B[3, 2], u[2], v[2]
    z = A @ (B @ u)
    f = sum(i) z[i] * v[i] * u[i]
    output f""",
    "quotients": """
    input a[4], b[4]
    loss sum(i) a[i] / (1 + b[i]^2)""",
    "extremes": """
    input x[6]
    loss max(i) x[i] * min(j) x[j]""",
    "factors": """
    input x[4]
    loss prod(i) x[i]""",
    "places": """
    input w[3], x[2]
    z = w[0] * x[0] + w[1] * x[1] + w[2]
    f = sigmoid(z)
    output f""",
    "pooling": """
    input x[1, 4, 4]
    target y: class(3)
    s = x -> conv(2, 3, pad=1, stride=1) -> relu -> maxpool(2) -> flatten -> dense(3)
    loss cross_entropy(s, y)""",
    "strides": """
    input x[2, 5, 5]
    h = x -> conv(2, 3, stride=2) -> gelu -> avgpool(2)
    loss sum(c, i, j) h[c, i, j]^2""",
    "margins": """
    input x[3]
    target y: class(4)
    s = x -> dense(4)
    loss svm(s, y)""",
    "leaks": """
    input x[3]
    target y[4]
    p = x -> dense(4) -> leaky_relu -> dense(4) -> elu
    loss huber(p, y)""",
    "normal": """
    input x[4]
    target y[4]
    p = x -> dense(4) -> layernorm -> tanh
    loss mae(p, y)""",
    "batch": """
    input x[3]
    target y[3]
    p = x -> dense(3) -> batchnorm -> softplus
    loss mse(p, y)""",
    "batch classes": """
    input x[3]
    target y: class(4)
    s = x -> batchnorm -> dense(4)
    loss cross_entropy(s, y)""",
    "soft": """
    input s[3]
    target t[3]
    loss soft_cross_entropy(s, softmax(t))""",
    "recurrence": """
    input x[3, 2]
    param W[2, 2], U[2, 2], v[2]
    h[t < 3] = tanh(U @ (h[t-1] else 0) + W @ x[t])
    loss (sum(k) v[k] * h[2, k])^2""",
    "backwards": """
    input x[3, 2]
    param w[2]
    h[t < 3, i] = sigmoid(w[i] * (h[t+1, i] else 0.5) + x[t, i])
    loss sum(i) h[0, i]^2""",
    "gates": """
    input x[3, 2]
    target y[3, 2]
    p = x -> lstm(2)
    loss mse(p, y)""",
    "logs": """
    input s[3]
    target y: class(3)
    loss nll(log_softmax(s), y)""",
}
EXAMPLES = ("three_layer", "norm_squared", "xor", "autoencoder", "iris_mlp", "logistic_regression", "perceptron")


FUNCTIONS = [d.name.id for d in standard_library() if d.kind == "fn" and d.parameters[0].name == "x"]  # of a tensor


def modules():
    for name in FUNCTIONS:
        text = f"{HEAD}\n    input x[4]\n    target t[4]\n    y = {name}(x)\n    loss sum(i) (y[i] - t[i])^2\n"
        yield pytest.param(lambda text=text: module_from_text(text), id=f"function {name}")
    for name, text in TEXTS.items():
        yield pytest.param(lambda text=text: module_from_text(f"{HEAD}{text}\n"), id=name)
    for name in EXAMPLES:
        yield pytest.param(lambda name=name: load_module(f"examples/{name}.net"), id=name)


@pytest.mark.parametrize("load", list(modules()))
def test_every_form_has_the_value_of_the_gradient(load):
    module = load()
    graph = elaborate(module, module.nets()[0], training=True)
    d = derivation(graph, module=module)
    goal = d.objective
    adjoints = Adjoints(d.graph, goal, [r.tensor for r in d.gradients], Templates(module))
    sizes = {"batch": 3}
    rng = np.random.default_rng(0)
    arrays = {}
    for node in adjoints.raw:
        if isinstance(node, Input | Param | State | Random):
            shape = tuple(n.evaluate(sizes) for n in node.shape)
            arrays[node.name] = rng.uniform(0.2, 0.9, shape)
            if node.dtype == "int":
                sizes["classes"] = node.classes.evaluate({})
                arrays[node.name] = rng.integers(0, sizes["classes"], shape)
            elif isinstance(node, Param):
                arrays[node.name] = rng.standard_normal(shape)
    values = evaluate(adjoints.raw, arrays, sizes)
    tensors = {d.labels.get(name, name): value for name, value in values.items()}
    gradients = {d.labels.get(p, p): values[name] for name, p in adjoints.primal.items() if p != goal}
    read = Reader.of(d, tensors, gradients, sizes=sizes)
    compared = 0
    for step in d.steps:
        for result in step.results:
            exact = values[PREFIX + result.tensor]
            for form in (result.raw, *result.forms):
                right = formula_text(form.right)
                got = read.equation(form, exact.shape)
                np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-12, err_msg=f"{result.tensor} = {right}")
                compared += 1
    assert compared
