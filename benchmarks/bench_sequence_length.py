"""How training an LSTM grows with the length of its sequences: time, memory, and what is compiled.

python -m benchmarks.bench_sequence_length            # a table; some minutes
python -m benchmarks.bench_sequence_length --most 1000

Each length is measured in a process of its own, so that its peak of memory is its own and nothing is compiled before.
Truncated are the same steps in windows of `WINDOW`, the state carried from one to the next. Time is processor time,
the least of several training steps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

import netlang
from netlang.schedule.text import program_text

LENGTHS = (10, 30, 100, 300, 1000, 3000, 10_000)
BATCH, FEATURES, WINDOW = 8, 32, 100

TEXT = f"""
net Sequence(n=64):
    input  x[T, {FEATURES}]
    target y[T, n]
    state  h0[n] ~ zeros, c0[n] ~ zeros
    h, c = x -> lstm(n, h0=h0, c0=c0)
    h0 <- h[T-1]
    c0 <- c[T-1]
    output h
    loss   mean(t, k) (h[t, k] - y[t, k])^2

train Sequence:
    optimizer sgd(lr=0.01)
    batch     {BATCH}
    shuffle   false
"""


def measure(length: int, window: int) -> dict[str, float | str]:
    """One length, in windows: seconds to compile, seconds for a step, and the most memory beyond a short one's."""
    os.environ["NETLANG_CACHE"] = tempfile.mkdtemp()
    net = netlang.loads(TEXT)
    start = time.process_time()
    program = net.program("step")
    compiled = time.process_time() - start
    random = np.random.default_rng(0)
    short = random.standard_normal((BATCH, 1, FEATURES)), np.zeros((BATCH, 1, 64))
    net.step(x=short[0], y=short[1])
    net.reset()
    x = random.standard_normal((BATCH, length, FEATURES), np.float32)
    y = np.zeros((BATCH, length, 64), np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(3 if length >= 1000 else 10):
        net.reset()
        start = time.process_time()
        for k in range(0, length, window):
            net.step(x=x[:, k : k + window], y=y[:, k : k + window])
        times.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = hashlib.sha256(program_text(program.program).encode()).hexdigest()[:12]
    return {"compile": compiled, "seconds": min(times), "mebibytes": (peak - before) / 1024, "program": text}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--most", type=int, default=LENGTHS[-1], help="the greatest length")
    parser.add_argument("--one", nargs=2, type=int, metavar=("LENGTH", "WINDOW"), help="measure one, print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    print("| steps | whole: us a step | MiB | truncated: us a step | MiB | seconds to compile | program |")
    print("|---|---|---|---|---|---|---|")
    for length in (n for n in LENGTHS if n <= options.most):
        found = []
        for window in (length, WINDOW):
            command = [sys.executable, "-m", "benchmarks.bench_sequence_length", "--one", str(length), str(window)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        whole, cut = found
        print(
            f"| {length:,} | {1e6 * whole['seconds'] / length:.0f} | {whole['mebibytes']:.1f} "
            f"| {1e6 * cut['seconds'] / length:.0f} | {cut['mebibytes']:.1f} "
            f"| {whole['compile']:.2f} | {whole['program']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
