"""The command line: exit codes, streams, formats, and what each command prints."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netlang.cli import entry, main
from netlang.cli.settings import read_settings
from netlang.diagnostics import InternalError, NetlangError

EXAMPLES = Path(__file__).parents[2] / "examples"
LENET = str(EXAMPLES / "lenet5.net")
CIRCUIT = str(EXAMPLES / "circuit.net")
IRIS = str(EXAMPLES / "iris_mlp.net")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


# --- exit codes and streams ----------------------------------------------------------------------------------------


def test_a_fine_file(run: Run) -> None:
    assert run("check", LENET) == (0, f"{LENET}: no errors\n", "")


def test_diagnostics_go_to_standard_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text("net A:\n    input x\n    output y\n")
    code, out, err = run("check", "a.net")
    assert (code, out) == (1, "")
    assert err == (
        "error[unknown-name]: `y` is not defined\n"
        " --> a.net:3:12\n"
        "  |\n"
        "3 |     output y\n"
        "  |            ^\n"
        "  |\n"
        "  = help: define it above: `y = ...`\n\n"
    )


def test_diagnostics_as_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text("net A:\n    input x\n    output y\n")
    code, out, err = run("check", "a.net", "--format", "json")
    assert (code, out) == (1, "")
    assert json.loads(err) == {
        "diagnostics": [
            {
                "severity": "error",
                "code": "unknown-name",
                "message": "`y` is not defined",
                "file": "a.net",
                "line": 3,
                "column": 12,
                "end_line": 3,
                "end_column": 13,
                "label": "",
                "notes": [],
                "help": "define it above: `y = ...`",
            }
        ]
    }


def test_json_of_a_fine_file(run: Run) -> None:
    code, out, err = run("check", LENET, "--format", "json")
    assert (code, out, json.loads(err)) == (0, "", {"diagnostics": []})


def test_several_files_are_all_checked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text("net A:\n    input x\n    output y\n")
    (tmp_path / "b.net").write_text("net A\n")
    code, _, err = run("check", "a.net", "b.net", LENET)
    assert code == 1
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("error")] == [
        "error[unknown-name]",
        "error[missing-colon]",
    ]


def test_warnings_are_fine_unless_strict(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text("net A:\n    input x, y\n    output x\n")
    code, out, err = run("check", "a.net")
    assert (code, out) == (0, "a.net: no errors, 1 warning\n")
    assert err.startswith("warning[unused-input]: nothing uses the input `y`\n --> a.net:2:14\n")
    assert run("check", "a.net", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["chek"], "invalid choice: 'chek'"),
        (["check"], "the following arguments are required: FILE"),
        (["check", LENET, "--fromat", "json"], "unrecognized arguments: --fromat json"),
        (["check", LENET, "--format", "yaml"], "invalid choice: 'yaml'"),
        (["train", IRIS, "--epochs", "many"], "argument --epochs: invalid whole number value: 'many'"),
        (["train", IRIS, "--batch", "0"], "argument --batch: 0 is not a whole number from 1 up to 2^31 - 1"),
        (["check", LENET, "--str"], "unrecognized arguments: --str"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: netlang")
    assert said in err
    assert "--help` says what it takes\n" in err


def test_help_of_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in entry.COMMANDS:
        assert f"    {command}" in out
        code, text, err = run(command, "--help")
        assert (code, err) == (0, "")
        assert text.startswith(f"usage: netlang {command}")


def test_version(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version") == (0, f"netlang {version('netlang')}\n", "")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 1, "error[out-of-memory]: there is not enough memory\n"),
        (OSError(28, "No space left on device", "x"), 1, "error[file-error]: a file cannot be used: no space left on"),
        (InternalError("`simplify`", "a lost node"), 1, "internal error in `simplify`: a lost node. This is a defect"),
        (KeyError("x"), 1, "internal error: KeyError: 'x'\nhint: set NETLANG_TRACEBACK=1"),
    ],
)
def test_every_end_has_a_code_and_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fails(options: Any) -> int:
        raise error

    monkeypatch.setattr(entry.COMMANDS["explain"], "run", fails)
    monkeypatch.delenv("NETLANG_TRACEBACK", raising=False)
    found, _, err = run("explain")
    assert found == code
    assert err.startswith(said)
    assert "Traceback" not in err


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netlang.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_closed_pipe_is_quiet() -> None:
    shell = f'"{sys.executable}" -m netlang.cli explain | head -n 1'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("array-label")
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "netlang.cli", "summary", LENET]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error[file-error]: a file cannot be used: no space left on device\n")
    assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = process("derive", str(EXAMPLES / "three_layer.net"), "--wrt", "W3", env=environment)
    assert done.returncode == 0, done.stderr
    assert "dL" in done.stdout


def test_deep_nesting_is_a_diagnostic(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deep.net").write_text(f"net A:\n    input x\n    output {'(' * 100_000}x{')' * 100_000}\n")
    start = time.process_time()
    code, _, err = run("check", "deep.net")
    assert time.process_time() - start < 1
    assert code == 1
    assert err.startswith("error[too-deep]: this expression is nested more than 200 levels deep\n --> deep.net:3:212\n")


# --- fmt -----------------------------------------------------------------------------------------------------------

UGLY = "net A:\n  input   x\n  output x+1\n"
NEAT = "net A:\n    input  x\n    output x + 1\n"


def test_fmt_writes_in_place_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(UGLY)
    assert run("fmt", "a.net") == (0, "a.net: reformatted\n", "")
    assert (tmp_path / "a.net").read_text() == NEAT
    assert run("fmt", "a.net") == (0, "", "")


def test_fmt_check_writes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(UGLY)
    assert run("fmt", "--check", "a.net") == (1, "a.net: would be reformatted\n", "")
    assert (tmp_path / "a.net").read_text() == UGLY
    (tmp_path / "a.net").write_text(NEAT)
    assert run("fmt", "--check", "a.net") == (0, "", "")


def test_fmt_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(UGLY.encode())))
    assert run("fmt", "-") == (0, NEAT, "")


def test_fmt_leaves_a_broken_file_and_formats_the_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text("net A\n")
    (tmp_path / "b.net").write_text(UGLY)
    code, out, err = run("fmt", "a.net", "b.net")
    assert (code, out) == (1, "b.net: reformatted\n")
    assert err.startswith("error[missing-colon]")
    assert (tmp_path / "a.net").read_text() == "net A\n"


def test_fmt_keeps_permissions(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(UGLY)
    (tmp_path / "a.net").chmod(0o640)
    assert run("fmt", "a.net")[0] == 0
    assert (tmp_path / "a.net").stat().st_mode & 0o777 == 0o640


# --- settings ------------------------------------------------------------------------------------------------------


def test_settings() -> None:
    given = ["n=10", "p=0.5", "deep=true", 'mode="fast"', "kind=slow", "widths=[64, 32]", "m=-3", "lr=1e-3"]
    assert read_settings(given) == {
        "n": 10, "p": 0.5, "deep": True, "mode": "fast", "kind": "slow", "widths": [64, 32], "m": -3, "lr": 1e-3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["n", "=3", "2n=3", "n=", "n=1=2", "n=[1", "n={}", "n=null", "n=[null]", "n=1e999", "n=NaN", "n=1,2",
     "n=" + "[" * 100_000, "n=" + "9" * 10_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_bad_setting(text: str) -> None:
    with pytest.raises(NetlangError) as error:
        read_settings([text])
    (found,) = error.value.diagnostics
    assert (found.code, found.place) == ("bad-setting-value", "--set")


def test_a_setting_given_twice() -> None:
    with pytest.raises(NetlangError, match="`n` is set twice"):
        read_settings(["n=1", "n=2"])


def test_settings_reach_the_net(run: Run) -> None:
    code, out, _ = run("summary", LENET, "--set", "classes=7", "--format", "json")
    assert code == 0
    assert json.loads(out)["layers"][-1]["output_shape"] == [7]


def test_a_net_of_several(run: Run, tmp_path: Path) -> None:
    two = "net A:\n    input x[2]\n    output x -> dense(3)\nnet B:\n    input x[2]\n    output x -> dense(5)\n"
    (tmp_path / "two.net").write_text(two)
    code, _, err = run("summary", "two.net")
    assert code == 1
    assert err.startswith("error[several-nets]: `two.net` defines 2 nets: `A`, `B`\n --> two.net\n")
    code, out, _ = run("summary", "two.net", "--net", "B", "--format", "json")
    assert (code, json.loads(out)["parameters"]) == (0, 15)
    assert run("check", "two.net")[0] == 0


# --- what commands print -------------------------------------------------------------------------------------------


def test_summary_as_json_has_the_numbers_of_the_lecture(run: Run) -> None:
    code, out, _ = run("summary", LENET, "--format", "json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["net"], facts["parameters"], facts["macs"]) == ("LeNet5", 1256080, 6522000)
    assert {"name", "layer", "output_shape", "parameters", "macs"} <= set(facts["layers"][0])


def test_summary_as_a_table(run: Run) -> None:
    code, out, _ = run("summary", LENET)
    assert code == 0
    assert out.startswith("LeNet5\n\nlayer ")
    assert "1,256,080" in out
    assert out.endswith("for one example\n")


def test_summary_with_the_memory_of_a_batch(run: Run) -> None:
    code, out, _ = run("summary", LENET, "--batch", "64")
    assert code == 0
    assert " for inference and " in out
    sizes = [json.loads(run("summary", LENET, "--batch", n, "--format", "json")[1])["memory"] for n in ("8", "64")]
    assert all(sizes[0][use] < sizes[1][use] for use in ("forward_bytes", "step_bytes"))


def test_summary_with_the_backward_pass(run: Run) -> None:
    code, out, _ = run("summary", LENET, "--backward", "--format", "json")
    assert (code, json.loads(out)["backward_macs"]) == (0, 11422000)


def test_draw_a_circuit(run: Run, tmp_path: Path) -> None:
    code, out, err = run("draw", CIRCUIT, "--at", "x=-2,y=5", "--at", "z=-4", "-o", "circuit.dot")
    assert (code, out, err) == (0, "wrote circuit.dot\n", "")
    text = (tmp_path / "circuit.dot").read_text()
    assert text.startswith("digraph")
    assert "-12" in text.replace("\N{MINUS SIGN}", "-")


def test_vectors_may_be_written_as_on_the_slide(run: Run) -> None:
    code, out, _ = run("run", str(EXAMPLES / "norm_squared.net"), "--at", "W=((0.1,0.5),(-0.3,0.8)),x=(0.2,0.4)")
    assert (code, out) == (0, "f = 0.116\n")


def test_run_a_circuit(run: Run) -> None:
    assert run("run", CIRCUIT, "--at", "x=-2,y=5,z=-4")[:2] == (0, "f = -12.\n")
    code, out, _ = run("run", CIRCUIT, "--at", "x=-2,y=5,z=-4", "--format", "json")
    assert (code, json.loads(out)) == (0, {"f": -12.0})


def test_run_over_data_to_a_file(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.arange(5.0), y=np.ones(5), z=np.full(5, 2.0))
    assert run("run", CIRCUIT, "--data", "in.npz", "--batch", "2", "-o", "out.npz")[:2] == (0, "wrote out.npz\n")
    with np.load(tmp_path / "out.npz") as written:
        np.testing.assert_array_equal(written["f"], (np.arange(5.0) + 1) * 2)


def test_compile_to_an_artifact_that_runs(run: Run, tmp_path: Path) -> None:
    assert run("compile", CIRCUIT) == (0, "wrote circuit.netc\n", "")
    assert run("run", "circuit.netc", "--at", "x=-2,y=5,z=-4")[:2] == (0, "f = -12.\n")


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("graph", "graph Circuit\n  input x[]\n"),
        ("graph:lift", "graph Circuit (batched)\n"),
        ("program", "program Circuit\n"),
        ("kernels", "(x[batch] + y[batch]) * z[batch]"),
        ("llvm", "define "),
        ("asm", "nl_run"),
    ],
)
def test_emitted_stages(run: Run, stage: str, said: str) -> None:
    code, out, err = run("compile", CIRCUIT, "--emit", stage)
    assert (code, err) == (0, "")
    assert said in out


def test_derive_to_a_file(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("derive", str(EXAMPLES / "three_layer.net"), "--format", "html", "-o", "d.html")
    assert (code, out) == (0, "wrote d.html\n")
    assert "<html" in (tmp_path / "d.html").read_text()


def test_gradcheck(run: Run) -> None:
    code, out, _ = run("gradcheck", str(EXAMPLES / "three_layer.net"), "--format", "json")
    facts = json.loads(out)
    assert (code, facts["fine"]) == (0, True)
    assert [row["name"] for row in facts["tensors"]] == ["W1", "W2", "W3", "x"]
    assert all(row["error"] < 1e-7 and row["checked"] for row in facts["tensors"])


RECURRENT = """
net R:
    input  x[T, 2]
    h = x -> rnn(3)
    loss   value = sum(h[T-1]^2)
"""


def test_gradients_of_parameters(run: Run) -> None:
    code, out, _ = run("gradients", str(EXAMPLES / "xor.net"), "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert list(found["parameters"]) == ["W1", "b1", "W2", "b2"]
    assert found["norm"] == pytest.approx(sum(x * x for x in found["parameters"].values()) ** 0.5)
    code, out, _ = run("gradients", str(EXAMPLES / "xor.net"))
    assert out.splitlines()[-1] == f"all together  {found['norm']:.3e}"


def test_gradients_through_time(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.net").write_text(RECURRENT)
    code, out, _ = run("gradients", "r.net", "--through-time", "--size", "T=40", "--format", "json")
    norms = json.loads(out)["through_time"]["rnn_1.h"]
    assert (code, len(norms)) == (0, 40)
    code, out, _ = run("gradients", "r.net", "--through-time", "--size", "T=40")
    header, *rows = out.splitlines()
    assert (code, header.split(), len(rows)) == (0, ["step", "rnn_1.h"], 16)
    assert rows[0].split() == ["0", f"{norms[0]:.3e}"]
    assert rows[-1].split() == ["39", f"{norms[-1]:.3e}"]


def test_gradients_through_time_of_data_are_drawn(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.net").write_text(RECURRENT)
    np.savez(tmp_path / "d.npz", x=np.ones((4, 7, 2), np.float32))
    assert run("gradients", "r.net", "-o", "g.svg", "--data", "d.npz") == (0, "wrote g.svg\n", "")
    assert (tmp_path / "g.svg").read_text().startswith("<svg")
    code, _, err = run("gradients", "r.net", "-o", "g.png")
    assert (code, "error[unknown-format]" in err) == (1, True)


def test_gradcheck_fails_beyond_the_tolerance(run: Run) -> None:
    code, out, _ = run("gradcheck", str(EXAMPLES / "three_layer.net"), "--tolerance", "1e-300")
    assert code == 1
    assert "more than 1e-300" in out


def test_bench(run: Run) -> None:
    code, out, _ = run("bench", IRIS, "--batch", "8", "--seconds", "0.01", "--format", "json")
    facts = json.loads(out)
    assert (code, facts["net"], facts["batch"]) == (0, "IrisMlp", 8)
    assert min(facts[name] for name in ("forward_ms", "step_ms", "gflops", "peak_bytes")) > 0
    code, out, _ = run("bench", CIRCUIT, "--seconds", "0.01")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["Circuit,", "forward", "memory"])


def test_train_evaluate_and_run(run: Run, tmp_path: Path) -> None:
    code, out, err = run("train", IRIS, "--epochs", "3", "-o", "iris.netc")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in lines] == [
        ["epoch", "1/3"],
        ["epoch", "2/3"],
        ["epoch", "3/3"],
        ["wrote", "iris.netc"],
    ]
    code, out, _ = run("evaluate", "iris.netc", "--format", "json")
    assert code == 0
    measured = json.loads(out)
    assert set(measured) == {"cross_entropy", "accuracy"}
    assert f"accuracy {measured['accuracy']:.4f}" in lines[2]  # of the same held-out examples
    code, out, _ = run("run", "iris.netc", "--data", "sklearn:iris", "--format", "json")
    assert (code, np.shape(json.loads(out)["scores"])) == (0, (150, 3))


def test_a_resumed_run_ends_as_an_uninterrupted_one(run: Run, tmp_path: Path) -> None:
    assert run("train", IRIS, "--epochs", "2", "--checkpoint", "half.netc", "-o", "a.netc")[0] == 0
    # a run says in advance how many epochs it has; schedules look ahead
    code, out, _ = run("train", IRIS, "--epochs", "4", "--resume", "half.netc", "-o", "resumed.netc")
    assert (code, out.splitlines()[0].split()[:2]) == (0, ["epoch", "3/4"])
    assert run("train", IRIS, "--epochs", "4", "-o", "whole.netc")[0] == 0
    code, resumed, _ = run("evaluate", "resumed.netc", "--format", "json")
    assert (code, resumed) == (0, run("evaluate", "whole.netc", "--format", "json")[1])


def test_a_checkpoint_of_another_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "iris.net").write_text(Path(IRIS).read_text())
    assert run("train", "iris.net", "--epochs", "1", "--checkpoint", "c.netc")[0] == 0
    (tmp_path / "iris.net").write_text(Path(IRIS).read_text().replace("epochs     60", "epochs     2"))
    code, _, err = run("train", "iris.net", "--epochs", "2", "--resume", "c.netc")
    assert code == 0
    assert err.startswith("warning[changed-since-checkpoint]: `iris.net` or its arguments are not those of the check")


def test_an_output_that_cannot_be_written_stops_before_the_training(run: Run) -> None:
    code, out, err = run("train", IRIS, "-o", "nowhere/iris.netc")
    assert (code, out) == (1, "")
    assert err.startswith("error[cannot-write]: `nowhere/iris.netc` cannot be written: its folder does not exist\n")


def test_explain(run: Run) -> None:
    code, out, err = run("explain", "unclosed")
    assert (code, err) == (0, "")
    assert out.startswith("unclosed: a bracket is never closed\n")
    code, out, _ = run("explain")
    assert code == 0
    assert len(out.splitlines()) > 120
    code, _, err = run("explain", "unclosd")
    assert (code, err) == (
        1,
        "error[unknown-code]: there is no diagnostic `unclosd`\n  = help: did you mean `unclosed`?\n\n",
    )


# --- speed ---------------------------------------------------------------------------------------------------------


def test_what_checking_loads() -> None:
    """Parsing and checking need none of the heavy libraries; this is what keeps the command quick."""
    program = (
        "import sys\n"
        "from netlang.cli import main\n"
        f"assert main(['check', {LENET!r}]) == 0\n"
        "heavy = {'numpy', 'numba', 'llvmlite', 'lark', 'scipy', 'sklearn', 'graphviz', 'safetensors', 'networkx'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
