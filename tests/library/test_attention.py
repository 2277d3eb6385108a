"""Attention and the transformer: equal to PyTorch's with the same weights, and the laws that masks have to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netlang.diagnostics import NetlangError
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import module_from_text
from netlang.passes.pipeline import compile_graph
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import build
from netlang.targets.reference import evaluate
from tests.library.attention_by_torch import (
    BATCH,
    CASES,
    FILE,
    HEADS,
    HIDDEN,
    LENGTHS,
    Case,
    S,
    T,
    by_torch,
    inputs,
    parameters,
)
from tests.library.running import first_values, forward, value

Array = NDArray[Any]

D = 8


# --- equal to PyTorch -----------------------------------------------------------------------------------------------


def text_of(case: Case) -> str:
    """The net of a case, with the cotangent `g` as an input and sum(y * g) as the loss."""
    places = S if case.layer in ("cross", "decoder") else T
    options = "length=n" if case.padded else f"length={places}"
    memory = f", memory[{S}, {D}]" if places == S else ""
    masks = f"{options}{', causal=true' if case.causal and case.layer != 'decoder' else ''}"
    norms = f"hidden={HIDDEN}, prenorm={str(case.prenorm).lower()}"
    applied = {
        "self": f"x -> multihead(x, {HEADS}, {masks})",
        "cross": f"x -> multihead(memory, {HEADS}, {masks})",
        "encoder": f"x -> transformer_encoder({HEADS}, {norms}, {masks})",
        "decoder": f"x -> transformer_decoder(memory, {HEADS}, {norms}, {masks})",
    }[case.layer]
    return (
        f"net N:\n    input x[{T}, {D}], g[{T}, {D}]{memory}, n: class({places + 1})\n"
        f"    y = {applied}\n    output y, n\n    loss value = {BATCH} * sum(i, j) y[i, j] * g[i, j]\n"
    )


def ours(short: str, case: Case) -> str:
    """Our name of a parameter or input."""
    scope = {"self": "", "cross": "", "encoder": "transformer_encoder_1.", "decoder": "transformer_decoder_1."}
    for old, new in (
        ("attention", "multihead_"),
        ("norm", "layernorm_"),
        ("feedforward.", "feedforward_1."),
    ):
        if short.startswith(old):
            return scope[case.layer] + new + short.removeprefix(old)
    return short


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equal_to_torch(case: Case) -> None:
    """In float32: the output to 1e-5, gradients by all parameters and inputs to 1e-4."""
    with np.load(FILE) as kept:
        expected = {key.partition(":")[2]: kept[key] for key in kept.files if key.partition(":")[0] == case.name}
    names = {short: ours(short, case) for short in expected if short != "y"}
    plain = elaborate(module := module_from_text(text_of(case)), module.nets()[0], training=True)
    assert {p.name for p in plain.params} <= set(names.values())
    graph = compile_graph(plain, wrt=list(names.values()))
    arrays = {ours(short, case): array for short, array in (parameters(case) | inputs(case)).items()}
    roots = {"y": graph.outputs["y"], **{short: graph.gradients[name] for short, name in names.items()}}
    program = build(schedule(graph, list(roots.values())), np.float32)
    found = program.run({**arrays, "n": LENGTHS}, {"batch": BATCH}, {})
    for short, root in roots.items():
        tolerance = 1e-5 if short == "y" else 1e-4
        np.testing.assert_allclose(found[root], expected[short], rtol=0, atol=tolerance, err_msg=short)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_file_is_what_torch_gives(case: Case) -> None:
    pytest.importorskip("torch")
    with np.load(FILE) as kept:
        for name, array in by_torch(case).items():
            np.testing.assert_allclose(kept[f"{case.name}:{name}"], array, rtol=0, atol=1e-5, err_msg=name)


# --- formulas -------------------------------------------------------------------------------------------------------


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def softmax(scores: Array) -> Array:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = e / e.sum(axis=-1, keepdims=True)
    return result


def test_additive_attention() -> None:
    q, memory, W, U, v = normal(4, 3), normal(5, 2), normal(6, 3), normal(6, 2), normal(6)
    text = "net N:\n    input q[4, 3], memory[5, 2]\n    output y = q -> additive_attention(memory, 6)\n"
    scores = np.array([[v @ np.tanh(W @ a + U @ b) for b in memory] for a in q])
    given = {f"additive_attention_1.{name}": array for name, array in (("W", W), ("U", U), ("v", v))}
    np.testing.assert_allclose(value(text, q=q, memory=memory, **given), softmax(scores) @ memory, rtol=1e-12)


def test_multiplicative_attention() -> None:
    q, memory, W = normal(4, 3), normal(5, 2), normal(3, 2)
    text = "net N:\n    input q[4, 3], memory[5, 2]\n    output y = q -> multiplicative_attention(memory)\n"
    y = value(text, q=q, memory=memory, **{"multiplicative_attention_1.W": W})
    np.testing.assert_allclose(y, softmax(q @ W @ memory.T) @ memory, rtol=1e-12)


def test_scores_of_any_size_do_not_overflow() -> None:
    """A query that is 1e4 times longer looks at one place only."""
    q, keys, values = 1e4 * normal(3, 1, 4), normal(5, 1, 4), normal(5, 1, 2)
    text = "net N:\n    input q[3, 1, 4], k[5, 1, 4], v[5, 1, 2]\n    output y = attention(q, k, v)\n"
    best = (q[:, 0] @ keys[:, 0].T).argmax(axis=1)
    np.testing.assert_allclose(value(text, q=q, k=keys, v=values), values[best], rtol=1e-12)


def test_sinusoidal_positions() -> None:
    x = normal(7, 5)
    angle = np.arange(7)[:, None] / 10000 ** (2 * (np.arange(5) // 2) / 5)
    expected = x + np.where(np.arange(5) % 2 == 0, np.sin(angle), np.cos(angle))
    np.testing.assert_allclose(
        value("net N:\n    input x[7, 5]\n    output y = x -> sinusoidal_positions\n", x=x), expected, rtol=1e-12
    )


def test_learned_positions() -> None:
    x, P = normal(4, 3), normal(6, 3)
    text = "net N:\n    input x[4, 3]\n    output y = x -> learned_positions(6)\n"
    np.testing.assert_allclose(value(text, x=x, **{"learned_positions_1.P": P}), x + P[:4], rtol=1e-12)


# --- laws -----------------------------------------------------------------------------------------------------------

MASKED = {
    "multihead": "x -> multihead(m, 2, length=n)",
    "additive_attention": "x -> additive_attention(m, 3, length=n)",
    "multiplicative_attention": "x -> multiplicative_attention(m, length=n)",
    "transformer_decoder": "x -> transformer_decoder(m, 2, 3, length=n)",
}


def masked(applied: str, places: int) -> str:
    return (
        f"net N:\n    input x[3, 4], m[{places}, 4], n: class({places + 1})\n"
        f"    y = {applied}\n    output y\n    loss value = sum(i, j) sin(y[i, j])\n"
    )


@pytest.mark.parametrize("applied", MASKED.values(), ids=MASKED)
@settings(max_examples=8, deadline=None)
@given(length=st.integers(0, 5), more=st.integers(1, 4), seed=st.integers(0, 99))
def test_padding_never_changes_a_result(applied: str, length: int, more: int, seed: int) -> None:
    """Neither how much there is of it nor what is in it, which may be no number at all."""
    x, m = normal(2, 3, 4, seed=seed), normal(2, length + more, 4, seed=seed)
    n = np.full(2, length)
    long = forward(masked(applied, length + more), {"x": x, "m": m, "n": n})
    m[:, length:] = np.nan
    spoiled = forward(masked(applied, length + more), {"x": x, "m": m, "n": n})
    np.testing.assert_array_equal(spoiled.outputs["y"], long.outputs["y"])
    if length:
        short = forward(masked(applied, length), {"x": x, "m": m[:, :length], "n": n})
        np.testing.assert_allclose(long.outputs["y"], short.outputs["y"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("applied", MASKED.values(), ids=MASKED)
def test_padding_gets_no_gradient(applied: str) -> None:
    """Also where everything is padding, and nothing is divided by the zero that the weights then sum to."""
    module = module_from_text(masked(applied, 5))
    plain = elaborate(module, module.nets()[0], training=True)
    start = {**first_values(plain), "x": normal(2, 3, 4), "m": normal(2, 5, 4), "n": np.array([0, 3])}
    wrt = [name for name in start if name != "n"]
    graph = compile_graph(plain, wrt=wrt)
    values = evaluate(graph, start, {"batch": 2}, only=graph.gradients.values())
    assert all(np.isfinite(values[graph.gradients[name]]).all() for name in wrt)
    gradient = values[graph.gradients["m"]]
    assert not gradient[0].any()
    assert not gradient[1, 3:].any()
    assert gradient[1, :3].all()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), order=st.permutations(range(4)))
def test_the_order_of_a_batch_does_not_matter(seed: int, order: list[int]) -> None:
    text = masked(MASKED["transformer_decoder"], 5)
    arrays = {"x": normal(4, 3, 4, seed=seed), "m": normal(4, 5, 4, seed=seed), "n": np.array([0, 5, 2, 3])}
    y = forward(text, arrays).outputs["y"]
    moved = forward(text, {name: array[order] for name, array in arrays.items()}).outputs["y"]
    np.testing.assert_allclose(moved, y[order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prenorm", ["true", "false"])
def test_causal_layers_do_not_see_what_comes_later(prenorm: str) -> None:
    applied = f"transformer_encoder(2, 3, causal=true, prenorm={prenorm})"
    text = f"net N:\n    input x[6, 4]\n    output y = x -> {applied}\n"
    x = normal(1, 6, 4)
    y = forward(text, {"x": x}).outputs["y"]
    x[:, 4:] = np.nan
    changed = forward(text, {"x": x}).outputs["y"]
    np.testing.assert_array_equal(changed[:, :4], y[:, :4])
    assert np.isnan(changed[:, 4:]).all()


REFUSED = [
    ("x -> multihead(x, 3)", "3 heads do not divide 4 features evenly"),
    ("x -> multihead(x, 0)", "0 heads do not divide 4 features evenly"),
    ("x -> transformer_encoder(2, drop=-0.5)", "a dropout rate of -0.5 is not from 0 to below 1"),
    ("x -> learned_positions(5)", "a sequence of 6 is longer than the 5 positions that are learned"),
]


@pytest.mark.parametrize(("applied", "message"), REFUSED)
def test_requirements_say_what_does_not_fit(applied: str, message: str) -> None:
    with pytest.raises(NetlangError) as caught:
        value(f"net N:\n    input x[6, 4]\n    output y = {applied}\n", x=np.zeros((6, 4)))
    assert caught.value.diagnostics[0].message == message
