"""Time netlang next to PyTorch, JAX and ONNX Runtime: `python -m benchmarks.bench_peers --help`.

Every result is compared before it is timed. What is not installed is left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.compare import Row, compare
from benchmarks.processor import Processors
from benchmarks.report import chart, document, table
from benchmarks.workloads import WORKLOADS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help="only these (repeatable)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each peer and workload (default: 3)")
    parser.add_argument("--threads", type=int, metavar="N", help="keep to so many processors (default: all; Linux)")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: for --threads 1 on a busy machine"
    )
    parser.add_argument("--whole", action="store_true", help="count only turns in which all processors were there")
    parser.add_argument("--near", action="store_true", help="and had the same last cache")
    parser.add_argument("-o", "--output", type=Path, default=Path("build", "benchmarks"), help="a folder")
    options = parser.parse_args()
    if unknown := set(options.workloads) - set(names):
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    if (options.whole or options.near) and options.clock == "cpu":
        parser.error("--whole and --near go with the wall clock: processor time is that of a processor which is there")
    if options.threads is not None:  # before a peer counts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    processors = Processors() if options.clock == "wall" else None
    rows: list[Row] = []
    left_out: dict[str, None] = {}
    options.output.mkdir(parents=True, exist_ok=True)
    for workload in WORKLOADS:
        if options.workloads and workload.name not in options.workloads:
            continue
        timed = compare(workload, options.seconds, options.peer, options.clock, processors)
        row = timed.of_whole_turns(near=options.near) if options.whole or options.near else timed
        rows += [row] if row.turns else []
        for reason in row.left_out:
            if reason not in left_out:
                print(f"left out: {reason}", flush=True)
        left_out |= dict.fromkeys(row.left_out)
        if row.turns:
            found = ", ".join(f"{name} {value:.4g}" for name, value in row.times.items())
            print(f"{workload.what}: {found} ms" + (f"; {timed.speed}" if processors else ""), flush=True)
        # written after each, so that a run that is stopped leaves what it found
        (options.output / "peers.json").write_text(
            json.dumps(document(rows, list(left_out), options.clock), indent=2) + "\n"
        )
        (options.output / "peers.md").write_text(table(rows) + "\n")
        (options.output / "peers.svg").write_text(chart(rows))
    print(f"\n{table(rows)}\n\nwrote {options.output}/peers.json, peers.md and peers.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
