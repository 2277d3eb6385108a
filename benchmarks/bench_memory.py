"""Measure what a step of training takes beside the parameters: predicted, measured, and of PyTorch.

Each in a process of its own: the most that the process held during three steps, less what it held before them. Linux
only, where the peak can be read and reset.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peers import Absent
from benchmarks.report import machine
from benchmarks.workloads import WORKLOADS, Workload
from netlang.graph.nodes import BATCH
from netlang.runtime.memory import peak_bytes

STEPS = 3


def grown(step: Callable[[], object]) -> int:
    """The bytes by which this process grew during some steps, at most."""
    before = _held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for _ in range(STEPS):
        step()
    return _held("VmHWM") - before


def _held(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def own(workload: Workload) -> dict[str, int]:
    """netlang: the optimizer's states are made with the net and so are added to what the steps take."""
    net, data = workload.load(), dict(workload.data)
    compiled = net.compiled("step")
    states = sum(array.nbytes for name, array in net.state.items() if ".optimizer." in name)
    given = sum(array.nbytes for array in (*data.values(), *net.params.values()))
    predicted = peak_bytes(compiled.program.program, {BATCH: workload.batch, **workload.sizes}) - given
    return {"predicted": predicted, "measured": grown(lambda: net.step(**data)) + states}


def peer(workload: Workload) -> dict[str, int]:
    """PyTorch as it is, its libraries warm from another network."""
    from benchmarks.peers.torch import peers

    next(peers(Workload("mlp", "", True, 1))).run()
    return {"torch": grown(next(peers(workload)).run)}


def main() -> int:
    if len(sys.argv) == 3:
        workload = next(w for w in WORKLOADS if w.name == sys.argv[2])
        try:
            print(json.dumps({"own": own, "peer": peer}[sys.argv[1]](workload)))
        except Absent as absent:
            print(json.dumps({"left out": str(absent)}))
        return 0
    if sys.platform != "linux":
        print("left out: memory is measured on Linux only")
        return 0
    rows: dict[str, dict[str, object]] = {}
    for workload in (w for w in WORKLOADS if w.training):
        row = rows[workload.name] = {}
        for who in ("own", "peer"):
            command = [sys.executable, "-m", "benchmarks.bench_memory", who, workload.name]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
            row |= json.loads(done.stdout.splitlines()[-1])
        said = [f"{name} {value / 2**20:.1f} MiB" for name, value in row.items() if isinstance(value, int)]
        print(f"{workload.what}: {', '.join(said)}", flush=True)
    output = Path("build", "benchmarks", "memory.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
