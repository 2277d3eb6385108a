"""Threads: as many as are asked for, the same bits for any number, and nothing that waits for a thread that is late."""

from __future__ import annotations

import copy
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import netlang
from netlang.cli.entry import main
from netlang.diagnostics import NetlangError
from netlang.runtime.net import Net
from netlang.runtime.synthetic import random_inputs
from netlang.schedule import threads as sharing
from netlang.schedule.program import Alone, Once, Share, statements
from netlang.schedule.schedule import schedule
from netlang.schedule.work import cycles
from netlang.targets.cpu import program as cpu

CONVOLUTIONS = """
net Small:
    input  image[3, 13, 11]
    target y: class(5)
    h = image -> conv(16, 3, pad=1) -> batchnorm -> relu -> maxpool(2) -> conv(24, 3, stride=2) -> relu
    scores = h -> flatten -> dense(40) -> tanh -> dropout(0.3) -> dense(5)
    output scores
    loss   cross_entropy(scores, y)

train Small:
    optimizer adam
"""
RECURRENT = """
net Reader:
    input  text[T]: class(20)
    target y[T]: class(20)
    h = text -> embedding(24) -> lstm(40) -> gru(24)
    scores = h -> dense(20)
    output scores
    loss   mean(t) cross_entropy(scores[t], y[t])

train Reader:
    optimizer sgd(lr=0.01, momentum=0.9)
"""
ATTENTION = """
net Looker:
    input  text[T]: class(20)
    target y[T]: class(20)
    h = text -> embedding(32) -> transformer_encoder(4, activation=gelu, causal=true)
    scores = h -> dense(20)
    output scores
    loss   mean(t) cross_entropy(scores[t], y[t])

train Looker:
    optimizer sgd(lr=0.01)
"""
DENSE = """
net Wide:
    input  x[300]
    target y[7]
    p = x -> dense(200) -> sigmoid -> dense(7)
    output p
    loss   mse(p, y)

train Wide:
    optimizer adam
    penalty   l2(0.01)
"""


@pytest.fixture(autouse=True)
def small_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "ENOUGH", 1)
    monkeypatch.setattr(sharing, "PIECE", 1)


def trained(text: str, threads: int, batch: int, dtype: str = "float32") -> list[bytes]:
    """What a net is after some steps, and what it then gives."""
    net = netlang.loads(text, dtype=dtype, threads=threads, seed=3)
    data = random_inputs(net, batch, {"T": 17}, np.random.default_rng(0))
    for _ in range(3):
        net.step(**data)
    given = {node.name: data[node.name] for node in net.inputs}
    return [a.tobytes() for a in (*net.values.values(), *net.forward(**given).values())]


@pytest.mark.parametrize("text", [CONVOLUTIONS, RECURRENT, ATTENTION, DENSE])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_any_number_of_threads_gives_the_same_bits(text: str, batch: int) -> None:
    one = trained(text, 1, batch)
    for threads in (2, 3, 4):
        assert trained(text, threads, batch) == one


def test_and_in_float64() -> None:
    assert trained(RECURRENT, 3, 9, "float64") == trained(RECURRENT, 1, 9, "float64")


def test_and_in_every_run() -> None:
    assert len({tuple(trained(CONVOLUTIONS, threads, 20)) for threads in (4, 2, 4, 3, 1, 2, 4)}) == 1


@pytest.mark.parametrize("text", [CONVOLUTIONS, RECURRENT, ATTENTION])
def test_most_of_the_work_is_shared(text: str) -> None:
    """Nothing large is left to one thread."""
    kernels = netlang.loads(text).compiled("step").program.program.kernels
    sizes = {"batch": 64, "T": 64}
    alone = [
        cycles(s.body, dict(k.extents)).evaluate(sizes)
        for k in kernels
        for s in statements(k.body)
        if isinstance(s, Alone)
    ]
    assert sum(alone) < 0.02 * sum(k.work.evaluate(sizes) for k in kernels)
    assert alone  # and what is small is not


def test_what_is_carried_from_turn_to_turn_is_of_all_threads() -> None:
    """Of a sum over the batch, chunk by chunk, a thread may do rows in one turn that another did in the turn before."""
    net = netlang.loads(DENSE, threads=2)
    buffers = net.compiled("step").program.program.buffers
    carried = [b for name, b in buffers.items() if name.startswith("d/dense_") and name.endswith(".sums")]
    assert len(carried) == 2
    assert not any(b.private for b in carried)
    assert buffers["dense_1.y.sum.sums2"].private  # sums of a block of rows, which one thread does from begin to end


@pytest.mark.parametrize(("batch", "own"), [(64, True), (1000, False)])
def test_a_small_copy_is_made_by_each_thread_for_itself(batch: int, own: bool) -> None:
    """What another thread has just written comes slowly; but many large copies would fill the memory."""
    assert trained(DENSE, 3, batch) == trained(DENSE, 1, batch)
    panels = netlang.loads(DENSE).compiled("step").program.program.buffers["dense_1.y.sum.panels"]
    assert panels.apart is not None
    elements, apart = (n.evaluate({"batch": batch}) for n in (panels.elements, panels.apart))
    assert elements == -(-batch // 32) * 32 * 300
    assert apart == (elements if own else 0)


def test_once_for_all_parts_that_a_thread_takes() -> None:
    """A slower thread still does less: what has copies of its own has several parts for each thread."""
    wide = DENSE.replace("dense(200)", "dense(2048)")
    kernels = netlang.loads(wide).compiled("step").program.program.kernels
    (kernel,) = (k for k in kernels if k.sources[0][0].startswith("dense_1.y.sum["))
    shared = [s for s in statements(kernel.body) if isinstance(s, Share)]
    (product,) = (s for s in shared if any(isinstance(inside, Once) for inside in s.body))
    assert 0 < product.least < 512
    assert trained(wide, 3, 70) == trained(wide, 1, 70)


def test_nets_in_several_threads_of_the_caller() -> None:
    """Runs that meet do not wait for each other's helpers."""
    nets = [netlang.loads(CONVOLUTIONS, threads=3, seed=k) for k in range(4)]
    x = np.random.default_rng(0).normal(size=(16, 3, 13, 11)).astype(np.float32)
    wanted = [net(x) for net in nets]
    wrong: list[int] = []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(30) if not np.array_equal(nets[k](x), wanted[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nets_come_and_go() -> None:
    """A helper that is late may still look at a net that is gone."""
    x = np.random.default_rng(0).normal(size=(8, 300)).astype(np.float32)
    found = {netlang.loads(DENSE, threads=4, seed=1)(x).tobytes() for _ in range(25)}
    assert len(found) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    net = netlang.loads(DENSE, threads=3, seed=1)
    x = np.random.default_rng(0).normal(size=(8, 300)).astype(np.float32)
    wanted = net(x)
    child = os.fork()
    if not child:
        os._exit(int(not np.array_equal(net(x), wanted)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_copy_has_as_many() -> None:
    assert copy.copy(netlang.loads(DENSE, threads=3)).threads == 3


@pytest.mark.parametrize("wanted", [0, -1, 1.5, "two", True])
def test_what_is_no_number_of_threads(wanted: object) -> None:
    with pytest.raises(NetlangError) as error:
        netlang.loads(DENSE, threads=wanted)  # type: ignore[arg-type]
    assert error.value.diagnostics[0].code == "bad-setting"


def test_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETLANG_THREADS", "3")
    assert netlang.loads(DENSE).threads == 3
    assert netlang.loads(DENSE, threads=2).threads == 2
    monkeypatch.setenv("NETLANG_THREADS", "many")
    with pytest.raises(NetlangError) as error:
        netlang.loads(DENSE)
    assert "NETLANG_THREADS" in error.value.diagnostics[0].message


def test_the_command_line_says_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wide.net").write_text(DENSE)
    assert main(["bench", str(tmp_path / "wide.net"), "--batch", "4", "--threads", "2", "--seconds", "0.1"]) == 0
    assert "Wide" in capsys.readouterr().out


def test_small_runs_take_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "ENOUGH", 60_000)
    net: Net = netlang.loads(DENSE, threads=4)
    net(np.zeros((1, 300), np.float32))
    (compiled,) = net._compiled.values()
    assert compiled.program.parts({"batch": 1}) == 1
    assert compiled.program.parts({"batch": 1000}) == 4


def test_sums_that_may_become_vectors_have_the_same_bits() -> None:
    """An optimizer writes their loops out, and adds in another order in a vector than in what is left of a run."""
    net = netlang.loads(
        "net Groups:\n    input x[2, 10, 4]\n    y = x -> conv(260, 2, pad=1, dilation=2, groups=2, bias=false)\n"
        "    output y\n    loss sum(k, i, j) y[k, i, j]^2\n"
    )
    graph = net.model.gradient_graph(["conv_1.W"])
    root = graph.gradients["conv_1.W"]
    program, random = schedule(graph, [root]), np.random.default_rng(0)
    arrays = {"x": random.standard_normal((5, 2, 10, 4)), "conv_1.W": random.standard_normal((260, 1, 2, 2))}
    given = {name: value.astype(np.float32) for name, value in arrays.items()}
    found = [cpu.build(program, threads=threads).run(given, {"batch": 5})[root].copy() for threads in (1, 2, 3, 4)]
    assert len({each.tobytes() for each in found}) == 1


@pytest.mark.parametrize("batch", [64, 130, 600])
def test_loops_that_are_vectors_from_some_number_of_turns_on_have_the_same_bits(batch: int) -> None:
    """Before it takes vectors, an optimizer checks what it does not know of addresses, unless turns are few."""
    net = netlang.loads(
        "net Products:\n    input x[T, 4]\n    param A[4, 3] ~ normal(0, 1)\n    param B[4, 4] ~ normal(0, 1)\n"
        "    q[t < T, i < 4, e < 3] = tanh((q[t-1, i, e] else 0.3) * A[i, e] "
        "+ (sum(k) B[i, k] * (sum(f < 3) A[k, f] * (q[t-1, k, f] else 0))) + x[t, i])\n    output q\n"
    )
    graph = net.model.forward_graph
    (root,) = graph.outputs.values()
    program, random = schedule(graph, [root]), np.random.default_rng(0)
    given = {"x": random.standard_normal((batch, 17, 4)), **{n: np.asarray(a, float) for n, a in net.params.items()}}
    sizes = {"batch": batch, "T": 17}
    found = [cpu.build(program, np.float64, threads=n).run(given, sizes)[root].copy() for n in (1, 2, 3, 5)]
    assert len({each.tobytes() for each in found}) == 1


AFFINE = """
net Affine:
    input x[9, 16], u[9, 16]
    param a[16] ~ normal(0, 1), b[16] ~ normal(0, 1), c[16] ~ normal(0, 1)
    param d[16] ~ normal(0, 1), e[16] ~ normal(0, 1), f[16] ~ normal(0, 1)
    y[i, k] = max(0, a[k] * (x[i, k] - b[k]) + c[k] + (d[k] * (u[i, k] - e[k]) + f[k]))
    output y, z = y * sigmoid(y)
"""


@pytest.mark.parametrize("batch", [250, 500, 777])
def test_the_last_turns_of_a_loop_are_computed_as_those_before(batch: int) -> None:
    """Where threads share the rows, other ones are the last of a part, which an optimizer takes one by one."""
    rng = np.random.default_rng(1)
    x, u = rng.standard_normal((2, batch, 9, 16)).astype(np.float32)
    nets = (netlang.loads(AFFINE, threads=threads, seed=0) for threads in (1, 2, 3, 4, 5, 7))
    assert len({net.forward(x=x, u=u)["y"].tobytes() for net in nets}) == 1


def test_two_products_are_added_in_one_way() -> None:
    """Only one of them can be rounded with the sum: in every turn the same."""
    text = "net N:\n    input x[T, 8]\n    loss l = sum(x -> gru(20))\n\n"
    text += "train N:\n    optimizer sgd\n    penalty l2(0.001)\n"
    x = np.random.default_rng(0).standard_normal((1, 7, 8)).astype(np.float32)
    found = []
    for threads in (1, 2, 3, 4):
        net = netlang.loads(text, threads=threads)
        net.step(x=x)
        found.append(b"".join(array.tobytes() for array in net.params.values()))
    assert len(set(found)) == 1
