"""The benchmarks run where no peer is installed, refuse to time what is wrong, and say what they found."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from benchmarks import bench_peers, compare, processor, report
from benchmarks.compare import Row, Turn, in_turns, medians
from benchmarks.peers import Absent, Peer
from benchmarks.processor import Processors
from benchmarks.workloads import NETS, WORKLOADS, Workload
from netlang.diagnostics import Source
from netlang.language import format
from netlang.passes.check import check

MLP = Workload("mlp", "MLP", True, 8)


@pytest.mark.parametrize("path", sorted(NETS.glob("*.net")), ids=lambda path: path.stem)
def test_a_network_is_written_as_it_should_be(path: Path) -> None:
    text = path.read_text()
    assert format(Source(path.name, text)) == text
    assert not check(str(path))


def test_every_network_is_timed() -> None:
    assert {w.net for w in WORKLOADS} == {path.stem for path in NETS.glob("*.net")}
    assert len({w.name for w in WORKLOADS}) == len(WORKLOADS)


class Fake:
    """Peers that are netlang itself, one of them wrong, in the place of a framework."""

    def peers(self, workload: Workload) -> Iterator[Peer]:
        net, data = workload.load(), workload.data
        right = net.gradients(**data)[1]
        wrong = {name: np.zeros_like(g) if name == "dense_1.W" else g for name, g in right.items()}
        yield Peer("right", lambda: right, lambda: None)
        yield Peer("wrong", lambda: wrong, lambda: None)
        raise Absent("absent is not installed")

    def in_float64(self, workload: Workload) -> Peer:
        raise Absent("absent is not installed")


def test_what_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "jax", "onnx"):
        monkeypatch.setattr(compare, name, Fake())
    row = compare.compare(MLP, 0.001)
    assert list(row.times) == ["netlang", "right"]
    assert row.differences["netlang"] < 1e-5
    assert row.differences["wrong"] == pytest.approx(1)
    assert "absent is not installed" in row.left_out
    assert "wrong for mlp-train-8: its gradients are wrong by 1" in row.left_out


def test_a_run_without_peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("torch", "jax", "onnx"):
        monkeypatch.setattr(compare, name, Fake())
        monkeypatch.setattr(Fake, "peers", lambda self, workload: (_ for _ in ()).throw(Absent("nothing is there")))
    monkeypatch.setattr("sys.argv", ["bench", "mlp-infer-1", "--seconds", "0.001", "-o", str(tmp_path)])
    assert bench_peers.main() == 0
    found = json.loads((tmp_path / "peers.json").read_text())
    assert found["left_out"] == ["nothing is there"]
    assert [row["workload"] for row in found["rows"]] == ["mlp-infer-1"]


def test_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that the calls advance; the first call of a turn is slower and does not count."""
    monkeypatch.setattr(compare, "PAUSE", 0.0)
    state = {"now": 0.0}
    order: list[str] = []

    def call(name: str, takes: float) -> None:
        slower = 5 if not order or order[-1] != name else 1
        order.append(name)
        state["now"] += takes * slower

    calls = {"a": lambda: call("a", 0.0125), "b": lambda: call("b", 1.0)}
    found = medians(in_turns(calls, 20, lambda: state["now"]))
    assert found["a"] == pytest.approx(12.5)
    assert found["b"] == pytest.approx(1000)
    turns = [(name, len(list(group))) for name, group in itertools.groupby(order[4:])]
    assert turns[:4] == [("a", 9), ("b", 2), ("a", 9), ("b", 2)]


class Shared:
    """Two processors that are one in the second of six turns, and far from each other in the third."""

    def __init__(self) -> None:
        self.shares = iter([0.99, 0.52, 0.97, 0.9, 1.0, 1.0])
        self.exchanges = iter([63.0, 64.0, 330.0, 149.0, 60.0, 61.0])

    def share(self) -> float:
        return next(self.shares)

    def exchange(self) -> float:
        return next(self.exchanges)


def test_turns_without_all_processors_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "PAUSE", 0.0)
    state = {"now": 0.0}
    # two calls to warm up; in each turn one that does not count, and one
    takes = iter([1, 1, 9, 1, 9, 7, 9, 7, 9, 3, 9, 5, 9, 6])

    def call() -> None:
        state["now"] += next(takes)

    turns = in_turns({"netlang": call}, 75, lambda: state["now"], cast(Processors, Shared()))["netlang"]
    row = Row(MLP, {"netlang": turns}, {})
    assert row.times == {"netlang": 5500}
    assert row.speed == "all processors were there in 5 of 6 turns, near each other in 4"
    assert row.of_whole_turns().turns == {"netlang": [turns[0], *turns[2:]]}
    assert row.of_whole_turns().times == {"netlang": 5000}
    assert row.of_whole_turns(near=True).times == {"netlang": 4000}
    few = Row(MLP, {"netlang": turns, "torch": turns[:3]}, {})
    assert few.of_whole_turns().turns == {}
    left_out = "mlp-train-8: all processors were there in 7 of 9 turns, near each other in 5"
    assert few.of_whole_turns().left_out == [left_out]


@pytest.mark.skipif(len(processor.places()) < 2, reason="there is one processor")
def test_a_number_goes_there_and_back() -> None:
    """In more than a nanosecond, and no thread waits for ever for one that does not come."""
    both = Processors(processor.places()[:2])
    found = both.exchange()
    assert found is None or found > 1  # one of them may not have been there
    assert Processors(processor.places()[:1]).exchange() is None
    number, (first, second) = processor.exchanges()
    second()  # the first never comes
    assert number[0] == 0
    first()
    assert number[0] == 1


@pytest.mark.parametrize(
    ("spans", "share"), [([(0, 1), (0, 1)], 1.0), ([(0, 1), (1, 2)], 0.5), ([(0, 1), (0, 4)], 0.25)]
)
def test_a_processor_that_waits_for_its_turn_counts(
    spans: list[tuple[float, float]], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one does alone takes a second; what two do, from the first that begins to the last that ends."""
    waiting = [(0.0, 1.0)] * 4 + spans
    monkeypatch.setattr(processor, "_timed", lambda call: waiting.pop(0))
    assert Processors([processor.places()[0]] * 2).share() == pytest.approx(share)


ROWS = [
    Row(MLP, {"netlang": [Turn([1.0])], "torch": [Turn([4.0])], "JAX": [Turn([0.5])]}, {"torch": 1e-7, "JAX": 1e-7}),
    Row(Workload("rnn", "RNN", False, 1), {"netlang": [Turn([2.0])], "torch": [Turn([3.0])]}, {"torch": 1e-7}),
]


def test_the_table() -> None:
    assert report.table(ROWS).splitlines() == [
        "| | netlang | torch | JAX |",
        "|---|---|---|---|",
        "| MLP, train step, batch 8 | 1 ms | 4 (4.00x) | 0.5 (0.50x) |",
        "| RNN, inference, batch 1 | 2 ms | 3 (1.50x) |  |",
    ]


def test_the_chart() -> None:
    """A point for each peer, further right the slower it is."""
    chart = ElementTree.fromstring(report.chart(ROWS))
    places = {}
    for circle in chart.iter("{http://www.w3.org/2000/svg}circle"):
        for title in circle:
            places[title.text] = float(circle.attrib["cx"])
    assert sorted(places, key=lambda t: places[t]) == ["JAX: 0.50", "torch: 1.50", "torch: 4.00"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is not reset here")
def test_memory_that_is_held_only_during_a_step_is_measured() -> None:
    step = "lambda: np.ones(10_000_000).sum()"
    code = f"import numpy as np; from benchmarks.bench_memory import grown; print(grown({step}))"
    command = [sys.executable, "-c", code]  # a process of its own has no memory from before that it could take again
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert 79e6 < int(done.stdout) < 100e6
