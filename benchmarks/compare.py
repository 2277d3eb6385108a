"""One workload: netlang and its peers are checked to compute the same, then timed in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np

from benchmarks.peers import Absent, Array, Peer, jax, onnx, torch
from benchmarks.processor import Processors
from benchmarks.workloads import Workload

EXACT = 1e-9
"""How far PyTorch in float64 may be from netlang in float64: relative, by the norm of a tensor."""

TOLERANCE = {False: 1e-3, True: 0.2}
"""How far float32 may be from that, in inference and in training, where rounding decides on which side of its corner a
rectifier is: through the fifty layers of a ResNet, gradients by the first are off by several percent, in any framework.
"""

TURN = 0.1  # seconds, unless that is less than a call
MOST_IN_A_TURN = 200
LEAST_TURNS = 3
PAUSE = 0.2  # seconds before a turn, in which the threads of the one before go to sleep
SETTLE = 0.01  # seconds of calls at the beginning of a turn that are not counted, or one call
WHOLE = 0.9  # of what so many processors can do, before a turn in which they are all there
NEAR = 150.0  # nanoseconds, up to which a number goes there and back between processors with the same last cache


@dataclass(frozen=True)
class Turn:
    """Some calls, in milliseconds each; and what was measured of all processors just before, if it was.

    That is what they did, as a share of what they can, and the nanoseconds in which a number goes there and back.
    """

    times: Sequence[float]
    share: float | None = None
    exchange: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all processors were there: it is chosen by their speed, whatever the calls took."""
        return self.share is not None and self.share >= WHOLE

    @property
    def is_near(self) -> bool:
        """Whether they were all there, and had the same last cache."""
        return self.is_whole and self.exchange is not None and self.exchange <= NEAR


@dataclass(frozen=True)
class Row:
    """What was timed of netlang and its peers, and how far the result of each is from that in float64."""

    workload: Workload
    turns: Mapping[str, Sequence[Turn]]
    differences: Mapping[str, float]
    left_out: Sequence[str] = field(default=())

    @cached_property
    def times(self) -> dict[str, float]:
        """Medians in milliseconds."""
        return medians(self.turns)

    @property
    def speed(self) -> str:
        turns = [turn for its in self.turns.values() for turn in its]
        there, near = (sum(map(attrgetter(what), turns)) for what in ("is_whole", "is_near"))
        return f"all processors were there in {there} of {len(turns)} turns, near each other in {near}"

    def of_whole_turns(self, *, near: bool = False) -> Row:
        """Of turns with all processors, `near` each other, alone; of none, with the reason in `left_out`, where these
        are too few for one of the peers."""
        wanted = attrgetter("is_near" if near else "is_whole")
        whole = {name: [turn for turn in its if wanted(turn)] for name, its in self.turns.items()}
        if min(map(len, whole.values())) >= LEAST_TURNS:
            return replace(self, turns=whole)
        return replace(self, turns={}, left_out=[*self.left_out, f"{self.workload.name}: {self.speed}"])

    def ratio(self, peer: str) -> float:
        """How many times longer a peer takes."""
        return self.times[peer] / self.times["netlang"]

    def as_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload.name,
            "what": self.workload.what,
            "ms": dict(self.times),
            "ratio": {peer: self.ratio(peer) for peer in self.times if peer != "netlang"},
            "difference": dict(self.differences),
            "processors": {name: [turn.share for turn in its] for name, its in self.turns.items()},
            "exchange_ns": {name: [turn.exchange for turn in its] for name, its in self.turns.items()},
        }


CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""What time is: that of all, or that which the process has used, which on a busy machine says more of one thread."""


def compare(
    workload: Workload,
    seconds: float,
    chosen: Sequence[str] = (),
    clock: str = "wall",
    processors: Processors | None = None,
) -> Row:
    """Check and time a workload, each peer for about `seconds`; `chosen` names the peers, all where it is empty.

    A peer that computes something else is not timed, as there would be nothing to compare. Raises `AssertionError`
    where that is netlang. The speed of `processors` is measured before each turn.
    """
    own, wanted = _netlang(workload), _netlang(workload, "float64").results()
    peers, left_out = [own], list[str]()
    differences: dict[str, float] = {}
    for module in (torch, jax, onnx):
        peers += [peer for peer in _present(module, workload, left_out) if not chosen or peer.name in chosen]
    with suppress(Absent):
        differences["torch in float64"] = exact = _difference(torch.in_float64(workload).results(), wanted)
        assert exact < EXACT, f"{workload.name}: netlang and PyTorch differ in float64 by {exact}"
    differences |= {peer.name: _difference(peer.results(), wanted) for peer in peers}
    equal = {peer.name: peer.run for peer in peers if differences[peer.name] < TOLERANCE[workload.training]}
    assert own.name in equal, f"{workload.name}: netlang is {differences[own.name]} from its result in float64"
    for peer in peers:
        if peer.name not in equal:
            what = "gradients" if workload.training else "outputs"
            left_out.append(f"{peer.name} for {workload.name}: its {what} are wrong by {differences[peer.name]:.1g}")
    return Row(workload, in_turns(equal, seconds, CLOCKS[clock], processors), differences, left_out)


def _present(module: Any, workload: Workload, left_out: list[str]) -> Iterator[Peer]:
    """The peers that a module has, up to the one that is absent, which goes into `left_out`."""
    try:
        yield from module.peers(workload)
    except Absent as absent:
        left_out.append(str(absent))


def _netlang(workload: Workload, dtype: str = "float32") -> Peer:
    net, data = workload.load(dtype), workload.data
    inputs = {node.name: data[node.name] for node in net.inputs}
    if not workload.training:
        arrays = [*inputs.values()]
        return Peer("netlang", lambda: net.forward(**inputs), lambda: net(*arrays))
    given: dict[str, Any] = dict(data)
    return Peer("netlang", lambda: net.gradients(**given)[1], lambda: net.step(**given))


def _difference(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """The largest distance of two tensors of a name, relative to the norm of the second."""
    assert found.keys() == wanted.keys(), set(found) ^ set(wanted)
    assert all(found[name].shape == array.shape for name, array in wanted.items())
    return max(_norm(found[name] - array) / max(_norm(array), 1e-30) for name, array in wanted.items())


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array))


def in_turns(
    calls: Mapping[str, Callable[[], Any]],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    processors: Processors | None = None,
) -> dict[str, list[Turn]]:
    """Time calls, warm; they take turns, and so share what else the machine does.

    A turn is some calls of one, the first not counted; each has at least three. Before a turn is a pause: the threads
    of some peers look for work long after their last call, and would be in the way of the next.
    """
    counts: dict[str, int] = {}
    for name, call in calls.items():
        call()
        start = clock()
        call()
        counts[name] = max(1, min(MOST_IN_A_TURN, int(TURN / (clock() - start))))
    turns: dict[str, list[Turn]] = {name: [] for name in calls}
    end = clock() + seconds * len(calls)
    while clock() < end or min(map(len, turns.values())) < LEAST_TURNS:
        for name, call in calls.items():
            time.sleep(PAUSE)
            before = (processors.share(), processors.exchange()) if processors else ()
            turns[name].append(Turn(_times(call, counts[name], clock), *before))
    return turns


def _times(call: Callable[[], Any], count: int, clock: Callable[[], float]) -> list[float]:
    settled = clock() + SETTLE
    call()
    while clock() < settled:
        call()
    times = []
    for _ in range(count):
        start = clock()
        call()
        times.append(1e3 * (clock() - start))
    return times


def medians(turns: Mapping[str, Sequence[Turn]]) -> dict[str, float]:
    """The median time of each call, in milliseconds."""
    return {name: statistics.median(time for turn in its for time in turn.times) for name, its in turns.items()}
