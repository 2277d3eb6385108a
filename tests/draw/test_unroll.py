"""Recurrences in pictures: loops in the views, and the network unrolled in time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.draw.diagram.render import render
from netlang.draw.diagram.views import draw
from netlang.draw.recurrent import carried, time_axes, within_step

NETS = {
    "lstm": """
        input x[T, 4]
        target y[T]: class(5)
        scores = x -> lstm(8) -> dense(5)
        output scores
        loss mean(t) cross_entropy(scores[t], y[t])
    """,
    "bidirectional": """
        input x[T, 4]
        h = x -> bidirectional(gru(3), gru(3)) -> repeat(2, rnn(3))
        output h[T-1]
    """,
    "mutual": """
        input x[12, 4]
        param U[4, 4] ~ xavier, V[4, 4] ~ xavier
        a[t < 12] = tanh(U @ (b[t-1] else 0) + x[t])
        b[t < 12] = sigmoid(V @ a[t] + (c[t-1] else 1))
        c[t < 12] = a[t] * b[t] - (a[t-2] else 0)
        output c[11], b
    """,
    "carried": """
        input x[T, 4]
        state before[8] ~ zeros
        param U[8, 8] ~ orthogonal, W[8, 4] ~ xavier
        h[t < T] = tanh(U @ (h[t-1] else before) + W @ x[t])
        before <- h[T-1]
        output h
    """,
    "elman": """
        input x[T, 4]
        target y
        param W[8, 4] ~ xavier, U[8, 8] ~ orthogonal, v[8] ~ xavier
        h[t < T] = tanh(U @ (h[t-1] else 0) + W @ x[t])
        loss (sum(k) v[k] * h[T-1, k] - y)^2
    """,
    "backwards": """
        input x[T, 4]
        param U[4, 4] ~ orthogonal, last[4] ~ zeros
        h[t < T] = tanh(U @ (h[t+1] else last) + x[T - 1 - t])
        output h[0]
    """,
    "decoder": """
        input x[T, 4], memory[S, 4], length: class(S + 1)
        g = memory -> gru(4)
        output x -> attention_gru(g, 4, length=length)
    """,
}


def net(name: str) -> netlang.Net:
    body = "".join(f"    {line[8:]}\n" for line in NETS[name].strip("\n").splitlines() if line.strip())
    return netlang.loads(f"net {name.title()}:\n{body}")


def arrows(dot: str) -> set[tuple[str, str]]:
    found = re.findall(r'^ +("[^"]+"|\w+) -> ("[^"]+"|\w+)', dot, re.MULTILINE)
    return {(tail.strip('"'), head.strip('"')) for tail, head in found}


@pytest.mark.parametrize("name", NETS)
def test_unrolled(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"draw/unrolled_{name}.dot", net(name).draw(unroll=3))


@pytest.mark.parametrize(
    ("name", "view"),
    [("lstm", "layers"), ("lstm", "graph"), ("mutual", "layers"), ("mutual", "graph"), ("elman", "backward")],
)
def test_loops(name: str, view: str, golden: Callable[[str, str], None]) -> None:
    golden(f"draw/loop_{name}_{view}.dot", net(name).draw(view=view))


def test_what_is_carried() -> None:
    graph = net("mutual").graph
    assert carried(graph) == {
        ("b", "a.sum"): "t - 1",
        ("c", "b"): "t - 1",
        ("a", "c"): "t - 2",
    }
    assert {("a", "c"), ("b", "c"), ("x", "a")} <= within_step(graph)
    assert not {("b", "a.sum"), ("c", "b")} & within_step(graph)


def test_what_is_in_time() -> None:
    graph = net("lstm").graph
    axes = time_axes(graph)
    assert {axes[name] for name in ("x", "lstm_1.h", "dense_1.y", "y")} == {0}
    assert "loss" not in axes
    assert not any(name in axes for name in (p.name for p in graph.params))


def test_steps_read_what_they_read() -> None:
    plain = arrows(net("lstm").draw(unroll=3))
    for k in range(3):
        assert {(f"x@{k}", f"lstm_1@{k}"), (f"lstm_1@{k}", f"dense_1@{k}"), (f"dense_1@{k}", "loss")} <= plain
        assert (f"dense_1@{k}", f"output scores@{k}") in plain
        assert (f"y@{k}", "loss") in plain
    assert {("lstm_1@0", "lstm_1@1"), ("lstm_1@1", "lstm_1@2"), ("begin lstm_1@0", "lstm_1@0")} <= plain
    assert len([1 for tail, _ in plain if tail.startswith("begin")]) == 1
    mutual = arrows(net("mutual").draw(unroll=4))
    assert {(f"a@{k}", f"c@{k + 2}") for k in range(2)} <= mutual
    assert {(f"c@{k}", f"b@{k + 1}") for k in range(3)} <= mutual
    assert ("c@3", "output") in mutual  # the last of those drawn, for c[11]
    back = arrows(net("backwards").draw(unroll=3))
    assert {("h@2", "h@1"), ("h@1", "h@0"), ("last", "h@2"), ("x@2", "h@0"), ("x@0", "h@2")} <= back
    assert ("last", "h@0") not in back
    kept = arrows(net("carried").draw(unroll=3))
    assert {("before", "h@0"), ("h@2", "next before")} <= kept
    assert ("before", "h@1") not in kept
    decoder = arrows(net("decoder").draw(unroll=2))
    assert {(f"gru_1@{s}", f"attention_gru_1@{t}") for s in range(2) for t in range(2)} <= decoder


@pytest.mark.parametrize("steps", [1, 12])
@pytest.mark.parametrize("name", NETS)
def test_any_number_of_steps(name: str, steps: int) -> None:
    dot = net(name).draw(unroll=steps)
    assert f"unrolled for {steps} step{'s' * (steps > 1)}" in dot
    assert dot == net(name).draw(unroll=steps)


def test_boxes_stand_apart() -> None:
    """No two boxes of an unrolled network have one place."""
    for name in NETS:
        places = re.findall(r'pos="([^"]+)"', net(name).draw(unroll=3))
        assert len(places) == len(set(places)) > 5


def test_an_unrolled_network_is_rendered(tmp_path: Path) -> None:
    rendered = render(net("carried").draw(unroll=3), tmp_path / "a.svg")
    if rendered.warning is not None:
        pytest.skip("Graphviz is not installed")
    centres = {}
    for box in re.finditer(r"<title>(?:x|h)(?:@|&#64;)\d</title>.*?</g>", rendered.path.read_text(), re.DOTALL):
        label = re.search(r"(x|h)\[(\d)\]", box[0])
        text = re.search(r'<text [^>]*x="(-?[\d.]+)" y="(-?[\d.]+)"', box[0])
        assert label is not None
        assert text is not None
        centres[label[1], int(label[2])] = float(text[1]), float(text[2])
    assert len(centres) == 6
    for k in range(3):  # inputs below, time to the right
        assert centres["x", k][1] > centres["h", k][1]
        assert k == 0 or centres["h", k][0] > centres["h", k - 1][0]


@pytest.mark.parametrize(
    ("steps", "view", "code"),
    [(0, "layers", "bad-unroll"), (13, "layers", "bad-unroll"), (3, "graph", "bad-unroll")],
)
def test_bad_unrolling(steps: int, view: str, code: str) -> None:
    with pytest.raises(NetlangError, match=code):
        net("lstm").draw(view=view, unroll=steps)


def test_nothing_to_unroll() -> None:
    plain = netlang.loads("net A:\n    input x[3]\n    output x -> dense(2)\n")
    with pytest.raises(NetlangError, match="`A` has no recurrence"):
        draw(plain.graph, unroll=3)
