"""What is kept of a net: it must be what would be worked out anew, and be left alone where anything differs."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime import blueprint
from netlang.runtime.choices import remember
from netlang.runtime.net import Net
from netlang.schedule.text import program_text
from netlang.targets.cpu.cache import SUFFIX, ObjectCache

LAYERS = """
layer scaled(x[n], k=2):
    param a = 0.5 by constant(0.5)
    return a * k * x
"""
TEXT = """
import "layers.net"

net Kept(hidden=7):
    input  x[T, 5]
    target kind: class(3)
    h = x -> dense(hidden) -> tanh
    m[j] = mean(t < T) h[t, j]
    scores = m -> dropout(0.25) -> dense(3)
    output scores
    output m
    loss   cross_entropy(scores, kind)

train Kept:
    optimizer adam(lr=0.01)
    penalty   l2(0.001)
    batch     4
    seed      3
"""
STATEFUL = """
net Carried:
    input x[4]
    target y[4]
    state s[4] ~ zeros
    z = x -> batchnorm -> dense(4)
    m[i] = z[i] + s[i]
    s <- 0.5 * s + x
    output m
    loss mse(m, y)

train Carried:
    optimizer sgd(lr=0.1, momentum=0.9)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETLANG_CACHE", str(tmp_path / "cache"))
    now = blueprint.environment_files()
    monkeypatch.setattr(blueprint, "_own_files", lambda: now)  # whoever works on netlang while its tests run
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "layers.net").write_text("layer twice(x[n]):\n    return 2 * x\n")
    (tmp_path / "kept.net").write_text(TEXT)
    return str(tmp_path / "kept.net")


def is_found(net: Net) -> bool:
    """Whether nothing has been worked out for it."""
    return "model" not in vars(net._blueprint)


def examples(batch: int = 4, steps: int = 6) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {"x": random.normal(size=(batch, steps, 5)), "kind": random.integers(0, 3, batch)}


def course(net: Net) -> dict[str, bytes]:
    """The bits of all that a net can do."""
    data = examples()
    found: dict[str, Any] = {f"first {n}": net.values[n].copy() for n in net.values}
    found |= {f"forward {n}": a for n, a in net.forward(x=data["x"]).items()}
    found["step"] = np.array([net.step(**examples(5, steps)) for steps in (6, 2, 6)])
    loss, gradients = net.gradients(**data)
    found |= {"loss": np.array(loss), **{f"gradient {n}": a for n, a in gradients.items()}}
    _, by_input = net.gradients(wrt=["x"], **data)
    found |= {f"by {n}": a for n, a in by_input.items()}
    found |= {f"measured {n}": a for n, a in net.losses_and_metrics(**data).items()}
    found |= {n: net.values[n] for n in net.values}
    return {name: np.asarray(a).tobytes() for name, a in found.items()}


def outcome(net: Net) -> bytes:
    return bytes(net(examples()["x"])["scores"].tobytes())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_found_gives_the_same_bits(path: str, cache: Path, dtype: str) -> None:
    made = netlang.load(path, dtype=dtype)
    expected = course(made)
    assert not is_found(made)
    net = netlang.load(path, dtype=dtype)
    assert course(net) == expected
    assert is_found(net)
    assert repr(net) == repr(made)
    assert [(n.name, n.shape, n.classes) for n in net.inputs + net.targets] == [
        (n.name, n.shape, n.classes) for n in made.inputs + made.targets
    ]
    assert (net.seed, net.total_epochs) == (3, 10)


def test_states_of_examples_and_of_layers(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "carried.net"
    file.write_text(STATEFUL)
    random = np.random.default_rng(1)
    x, y = random.normal(size=(3, 4)), random.normal(size=(3, 4))

    def run(net: Net) -> list[bytes]:
        outputs = [net(x), net(x), np.array([net.step(x=x, y=y) for _ in range(3)]), net(x)]
        return [np.asarray(a).tobytes() for a in (*outputs, *net.state.values(), *net.params.values())]

    expected = run(netlang.load(file))
    net = netlang.load(file)
    assert run(net) == expected
    assert is_found(net)


def test_the_model_is_there_for_those_who_ask(path: str, cache: Path) -> None:
    made = netlang.load(path)
    texts = [made.program().source, made.program("step").source, made.summary(), made.derive(), made.draw()]
    net = netlang.load(path)
    found = [net.program().source, net.program("step").source, net.summary(), net.derive(), net.draw()]
    assert found == texts
    assert program_text(net.program().program) == program_text(made.program().program)
    assert [n.name for n in net.graph] == [n.name for n in made.graph]
    assert net.program().module.ir() == made.program().module.ir()


def test_a_text_that_changed_since_is_not_the_text_of_the_net(path: str, cache: Path) -> None:
    netlang.load(path)
    net = netlang.load(path)
    Path(path).write_text("no text at all")
    assert net.model.module.texts["kept.net"] == TEXT


CHANGES: dict[str, Any] = {
    "text": lambda path: Path(path).write_text(TEXT.replace("tanh", "sigmoid")),
    "comment": lambda path: Path(path).write_text(TEXT + "# no\n"),
    "import": lambda path: Path(path).with_name("layers.net").write_text("layer twice(x[n]):\n    return 3 * x\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_text_is_worked_out(path: str, cache: Path, change: str) -> None:
    first = netlang.load(path)(examples()["x"])["scores"]
    CHANGES[change](path)
    net = netlang.load(path)
    assert not is_found(net)
    assert (net(examples()["x"])["scores"] == first).all() == (change != "text")


def test_what_an_import_says_counts(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "layers.net").write_text("layer times(x[n]):\n    return 2 * x\n")
    file = tmp_path / "main.net"
    file.write_text('import "layers.net"\n\nnet N:\n    input x[3]\n    output x -> times\n')
    assert netlang.load(file)(np.ones(3)).tolist() == [2, 2, 2]
    assert netlang.load(file)(np.ones(3)).tolist() == [2, 2, 2]
    (tmp_path / "layers.net").write_text("layer times(x[n]):\n    return 3 * x\n")
    assert netlang.load(file)(np.ones(3)).tolist() == [3, 3, 3]
    (tmp_path / "layers.net").write_text("layer other(x[n]):\n    return 3 * x\n")
    for _ in range(2):
        with pytest.raises(NetlangError) as error:
            netlang.load(file)
        assert error.value.diagnostics[0].code == "unknown-name"
    (tmp_path / "layers.net").unlink()
    with pytest.raises(NetlangError) as error:
        netlang.load(file)
    assert error.value.diagnostics[0].code == "import-not-found"


def test_arguments_are_told_apart(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "n.net"
    file.write_text("net N(k=1, b=false):\n    input x[2]\n    output y\n    y = (k if b else 2 * k) * x\n")
    cases: list[tuple[dict[str, Any], float]] = [({}, 2), ({"k": 3}, 6), ({"k": 3, "b": True}, 3), ({"k": 0.5}, 1)]
    for _ in range(2):
        for arguments, factor in cases:
            assert netlang.load(file, **arguments)(np.ones(2)).tolist() == [factor, factor]
    assert is_found(netlang.load(file, k=3))
    assert not is_found(netlang.load(file, k=4))
    assert netlang.load(file, k=np.int64(3))(np.ones(2)).tolist() == [6, 6]


def test_a_text_with_a_mistake_is_refused_every_time(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "n.net"
    right = "net N:\n    input x[2]\n    target y[2]\n    output x -> dense(2) as z\n    loss mse(z, y)\n"
    wrong = "\ntrain N:\n    optimizer nothing(lr=1)\n"
    file.write_text(right.replace("    output x -> dense(2) as z\n", "    z = x -> dense(2)\n    output z\n") + wrong)
    said = []
    for _ in range(3):
        with pytest.raises(NetlangError) as error:
            netlang.load(file)
        said.append([d.render() for d in error.value.diagnostics])
    assert said[0] == said[1] == said[2]


def test_netlang_itself_counts(path: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netlang.load(path).program()
    assert is_found(netlang.load(path))
    monkeypatch.setattr(blueprint, "environment", lambda: "another")
    net = netlang.load(path)
    net.program()
    assert not is_found(net)


def test_nothing_is_kept_by_a_process_whose_files_have_changed(
    path: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blueprint, "_own_files", lambda: "changed")
    netlang.load(path).program()
    assert not is_found(netlang.load(path))


def test_tilings_that_were_timed_count(path: str, cache: Path) -> None:
    netlang.load(path).program()
    remember({"no problem of this net": "x"}, np.float32)
    net = netlang.load(path)
    assert is_found(net)
    net.program()
    assert not is_found(net)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "gone"])
def test_a_damaged_entry_is_worked_out_again(path: str, cache: Path, damage: str) -> None:
    expected = outcome(netlang.load(path))
    for entry in cache.glob(f"*{SUFFIX}"):
        content = entry.read_bytes()
        if damage == "gone":
            entry.unlink()
        else:
            bad = {"cut": content[:-1], "changed": content[:-9] + b"x" + content[-8:], "empty": b""}[damage]
            entry.write_bytes(bad)
    net = netlang.load(path)
    assert outcome(net) == expected
    assert not is_found(net)
    net = netlang.load(path)
    assert outcome(net) == expected
    assert is_found(net)


def test_code_that_is_gone_is_compiled_again(path: str, cache: Path) -> None:
    expected = outcome(netlang.load(path))
    for entry in cache.glob(f"*{SUFFIX}"):
        if b"netlang.runtime.blueprint" not in entry.read_bytes():
            entry.unlink()
    assert outcome(netlang.load(path)) == expected


def test_an_entry_that_cannot_be_read_is_worked_out_again(path: str, cache: Path) -> None:
    expected = outcome(netlang.load(path))
    for payload in (b"no pickle", b"cos\nno_such_name\n.", b"\x80\x05N."):
        for entry in cache.glob(f"*{SUFFIX}"):
            if b"netlang.runtime.blueprint" in entry.read_bytes():
                ObjectCache(cache).store(entry.stem, payload)
        assert outcome(netlang.load(path)) == expected


def test_a_folder_that_cannot_be_used(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETLANG_CACHE", str(tmp_path / "file" / "cache"))
    nets = [netlang.load(path) for _ in range(2)]
    assert not any(map(is_found, nets))
    assert outcome(nets[0]) == outcome(nets[1])


def test_a_folder_that_others_may_write_is_not_read(path: str, cache: Path) -> None:
    netlang.load(path)
    cache.chmod(0o777)
    assert not is_found(netlang.load(path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to the administrator")
def test_a_folder_that_is_for_reading(path: str, cache: Path) -> None:
    expected = outcome(netlang.load(path))
    cache.chmod(0o500)
    try:
        net = netlang.load(path)
        assert outcome(net) == expected
        assert is_found(net)
    finally:
        cache.chmod(0o700)


WARM = """
import json, sys
import netlang
net = netlang.load(sys.argv[1])
net.program()
net.program("step")
ours = ["netlang." + name for name in ("language", "elaboration", "passes", "schedule.schedule", "targets.reference")]
print(json.dumps([name for name in ["numba", "networkx", "lark", *ours] if name in sys.modules]))
print(json.dumps([net.step(**{k: v for k, v in eval(sys.argv[2]).items()}) for _ in range(2)]))
"""


def test_processes_at_the_same_time(path: str, cache: Path) -> None:
    given = "{'x': [[[0.5] * 5] * 3] * 2, 'kind': [0, 2]}"
    command = [sys.executable, "-c", WARM, path, given]
    together = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    first = [process.communicate()[0].splitlines()[1] for process in together]
    assert len(set(first)) == 1
    heavy, steps = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert json.loads(heavy) == []
    assert steps == first[0]


# --- values --------------------------------------------------------------------------------------------------------


def test_values_are_drawn_when_they_are_asked_for(path: str, cache: Path) -> None:
    expected = {name: a.copy() for name, a in netlang.load(path).values.items()}
    net = netlang.load(path)
    assert not net.values.known
    net(examples()["x"])
    assert set(net.values.known) == {n for n in expected if ".optimizer." not in n}
    net.params["dense_1.W"] = np.ones((7, 5))
    other = copy.copy(net)
    assert (other.params["dense_1.W"] == 1).all()
    other.params["dense_1.W"][...] = 2
    assert (net.params["dense_1.W"] == 1).all()
    for name in expected:
        if name != "dense_1.W":
            assert (net.values[name] == expected[name]).all()
            assert (other.values[name] == expected[name]).all()


def test_a_new_run_begins_with_states_that_were_never_drawn(path: str, cache: Path) -> None:
    net = netlang.load(path)
    net.begin()
    assert not net.values.known
    data = examples()
    first = net.step(**data)
    held = {n: net.values[n] for n in net.values if ".optimizer." in n}
    assert any(a.any() for a in held.values())
    net.begin()
    assert all(net.values[n] is a for n, a in held.items())
    assert all((a == 0).all() for a in held.values())
    assert first != net.step(**data)
