"""Time what comes before the first result: import, checking, compiling, loading. Each in processes of its own.

Compiling is cold (an empty cache) and warm (everything cached); a native library is loaded without the compiler.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import machine
from benchmarks.workloads import NETS
from netlang.diagnostics import NetlangError
from netlang.runtime.export import save_native
from netlang.runtime.model import load_model
from netlang.runtime.net import Net

TIMED = """
import sys, time
start = time.perf_counter()
{code}
print(time.perf_counter() - start)
"""
NUMPY = "import numpy"
IMPORT = "import netlang"
CHECK = "import netlang.cli; netlang.cli.main(['check', {path!r}])"
COMPILE = "import netlang; net = netlang.load({path!r}); net.program({use!r})"
NATIVE = "import netlang; netlang.load_native({path!r})"
NETWORKS = ("mlp", "lenet5", "resnet20", "resnet50")


def seconds(code: str, cache: Path, runs: int = 5) -> float:
    """The median time of code in a fresh process, which finds Python's bytecode, as where netlang is installed."""
    environment = {**os.environ, "NETLANG_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = []
    for _ in range(runs):
        command = [sys.executable, "-c", TIMED.format(code=code)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(float(done.stdout.splitlines()[-1]))
    return statistics.median(found)


def cold_and_warm(path: str, use: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        code = COMPILE.format(path=path, use=use)
        cold = seconds(code, Path(folder), runs=1)
        return {"cold_s": cold, "warm_s": seconds(code, Path(folder), runs=3)}


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold_and_warm(str(NETS / "mlp.net"), "step")  # writes the bytecode
        found: dict[str, object] = {
            "numpy_s": seconds(NUMPY, folder),
            "import_s": seconds(IMPORT, folder),
            "check_lenet5_s": seconds(CHECK.format(path=str(NETS / "lenet5.net")), folder),
        }
        print(f"import numpy {found['numpy_s']:.3f} s, import netlang {found['import_s']:.3f} s", flush=True)
        print(f"netlang check lenet5.net {found['check_lenet5_s']:.3f} s", flush=True)
        for net in NETWORKS:
            path = str(NETS / f"{net}.net")
            for use in ("forward", "step"):
                row = cold_and_warm(path, use)
                found[f"{net}-{use}"] = row
                print(f"{net} {use}: cold {row['cold_s']:.2f} s, warm {row['warm_s']:.2f} s", flush=True)
            library = folder / f"{net}.so"
            try:
                save_native(Net(load_model(path)), library)
            except NetlangError as error:
                print(f"left out: native libraries: {error.diagnostics[0].message}")
                continue
            found[f"{net}-native_s"] = ready = seconds(NATIVE.format(path=str(library)), folder)
            print(f"{net} native library: ready in {ready:.3f} s, NumPy's import included", flush=True)
    output = Path("build", "benchmarks", "start.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"machine": machine(), **found}, indent=2) + "\n")
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
