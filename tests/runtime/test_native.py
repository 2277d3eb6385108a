"""Native libraries: they compute what the net computes, need NumPy alone, and refuse what they cannot do."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime.preprocess import Normalization
from netlang.targets.cpu.library.digest import PIECE, digest
from netlang.targets.cpu.library.format import VERSION

LINKS = any(map(shutil.which, ("cc", "gcc", "clang"))) or importlib.util.find_spec("ziglang") is not None
pytestmark = pytest.mark.skipif(not LINKS, reason="there is nothing that links a shared library")

TEXT = """
net Reader(classes=5):
    input  image[2, 8, 8], weight[3]
    target digit: class(classes), size
    param  shift[2, 8, 8] ~ zeros
    k = image + shift -> conv(6, 3, pad=1) -> batchnorm -> relu -> maxpool(2) -> flatten -> dropout(0.3)
    scores = k -> dense(classes)
    guess = k -> dense(1)
    output scores, image, shift, weight
    loss   cross_entropy(scores, digit)
    loss   mse(guess[0], size)

train Reader:
    optimizer adam(lr=0.01)
    schedule  step(every=2, factor=0.5)
    penalty   l2(1e-3)
    clip      5
    batch     4
"""


def reader(**options: Any) -> netlang.Net:
    net = netlang.loads(TEXT, **options)
    random = np.random.default_rng(1)
    net.params["shift"] = random.normal(size=(2, 8, 8))
    net.normalization = Normalization.fit(
        {"image": random.normal(3, 2, (9, 2, 8, 8)), "weight": random.normal(-1, 4, (9, 3))}, ["image", "weight"]
    )
    return net


def examples(count: int) -> dict[str, Any]:
    random = np.random.default_rng(count)
    return {
        "image": random.normal(3, 2, (count, 2, 8, 8)),
        "weight": random.normal(size=(count, 3)),
        "digit": random.integers(0, 5, count),
        "size": random.normal(size=count),
    }


def inputs(count: int) -> dict[str, Any]:
    return {name: array for name, array in examples(count).items() if name in ("image", "weight")}


def refusal(path: Any, **options: Any) -> str:
    with pytest.raises(NetlangError) as error:
        netlang.load_native(path, **options)
    return error.value.diagnostics[0].code


@pytest.fixture(scope="module", params=["float32", "float64"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[netlang.Net, Path]:
    net = reader(dtype=request.param)
    path = tmp_path_factory.mktemp("native") / "reader.so"
    netlang.save_native(net, path, training=True)
    return net, path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library without training, for the lowest level of the architecture where it has levels."""
    path = tmp_path_factory.mktemp("plain") / "reader.so"
    levels = "x86-64" if Path("/proc/cpuinfo").exists() and "flags" in Path("/proc/cpuinfo").read_text() else "native"
    netlang.save_native(reader(), path, cpu=levels)
    return path


def close(found: Any, wanted: Any, net: Any) -> None:
    tolerance = 2e-5 if net.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16, 33])
def test_outputs_are_those_of_the_net(compiled: tuple[netlang.Net, Path], batch: int) -> None:
    net, path = compiled
    native = netlang.load_native(path)
    wanted, found = net.forward(**inputs(batch)), native.forward(**inputs(batch))
    assert list(found) == list(wanted) == ["scores", "image", "shift", "weight"]
    for name, value in wanted.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        close(found[name], value, net)


def test_inputs_in_the_order_of_the_text(compiled: tuple[netlang.Net, Path]) -> None:
    net, path = compiled
    native = netlang.load_native(path)
    given = inputs(2)
    assert native.inputs == ("image", "weight")
    close(native(given["image"], given["weight"])["scores"], net(given["image"], given["weight"])["scores"], net)


def test_a_single_example(compiled: tuple[netlang.Net, Path]) -> None:
    net, path = compiled
    alone = {name: array[0] for name, array in inputs(1).items()}
    wanted, found = net.forward(**alone), netlang.load_native(path).forward(**alone)
    for name, value in wanted.items():
        assert found[name].shape == value.shape
        close(found[name], value, net)


@pytest.mark.parametrize("batch", [1, 4, 13])
def test_gradients_are_those_of_the_net(compiled: tuple[netlang.Net, Path], batch: int) -> None:
    net, path = compiled
    (loss, wanted), (other, found) = (
        net.gradients(**examples(batch)),
        netlang.load_native(path).gradients(**examples(batch)),
    )
    close(other, loss, net)
    assert found.keys() == wanted.keys() == net.params.keys()
    for name, value in wanted.items():
        close(found[name], value, net)


def test_steps_of_training_are_those_of_the_net(tmp_path: Path) -> None:
    """With what dropout draws, schedules, statistics of batch normalization, and the optimizer's states."""
    net = reader(seed=3)
    net.step(**examples(4))  # a run that goes on in the library
    netlang.save_native(net, tmp_path / "reader.so", training=True)
    native = netlang.load_native(tmp_path / "reader.so")
    assert native.steps_done == 1
    for k in range(6):
        close(native.step(**examples(3 + k)), net.step(**examples(3 + k)), net)
    assert native.steps_done == net.steps_done == 7
    values = {**native.params, **native.state}
    assert values.keys() == net.values.keys()
    for name, value in net.values.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-4, atol=1e-4)
    fresh = netlang.load_native(tmp_path / "reader.so")
    assert fresh.steps_done == 1


def test_a_library_for_any_processor(plain: Path) -> None:
    native = netlang.load_native(plain)
    assert native.manifest["features"] == []
    close(native.forward(**inputs(3))["scores"], reader().forward(**inputs(3))["scores"], native)
    assert not native.params["shift"].flags.writeable


def test_a_library_without_training_says_so(plain: Path) -> None:
    with pytest.raises(NetlangError) as error:
        netlang.load_native(plain).step(**examples(2))
    assert error.value.diagnostics[0].code == "native-not-compiled"


@pytest.mark.parametrize(
    "change",
    [
        {"image": None},
        {"picture": 0},
        {"image": np.zeros((3, 2, 8, 7))},
        {"image": np.zeros((2, 2, 8, 8))},
        {"image": np.zeros((0, 2, 8, 8)), "weight": np.zeros((0, 3)), "digit": [], "size": []},
        {"image": "dark"},
        {"image": 1 + 1j},
        {"digit": [0, 5, 1]},
        {"digit": [0, -1, 1]},
        {"digit": [0, 0.5, 1]},
        {"digit": [0, np.nan, 1]},
        {"size": [0, np.inf, 1]},
    ],
)
def test_what_the_net_refuses_the_library_refuses(compiled: tuple[netlang.Net, Path], change: dict[str, Any]) -> None:
    net, path = compiled
    given = {name: value for name, value in (examples(3) | change).items() if value is not None}
    codes = []
    for each in (net, netlang.load_native(path)):
        with pytest.raises(NetlangError) as error:
            each.gradients(**given)
        codes.append(error.value.diagnostics[0].code)
    assert codes[0] == codes[1]


def test_calls_from_many_threads(plain: Path) -> None:
    native = netlang.load_native(plain)
    wanted = [native.forward(**inputs(n))["scores"] for n in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = pool.map(lambda n: native.forward(**inputs(n))["scores"], range(1, 9))
            assert all((a == b).all() for a, b in zip(found, wanted, strict=True))


def test_a_library_at_the_same_path_is_the_new_one(tmp_path: Path) -> None:
    net = netlang.loads("net A:\n    input x\n    param w ~ ones\n    output w * x\n")
    for value in (1, 2, 3):
        net.params["w"] = value
        netlang.save_native(net, tmp_path / "a.so")
        assert netlang.load_native(tmp_path / "a.so")(2) == 2 * value


# --- loading -------------------------------------------------------------------------------------------------------

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numba", "llvmlite", "lark", "networkx", "safetensors", "tqdm", "sklearn"}:
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Blocker())
import netlang
net = netlang.load_native(sys.argv[1])
image = [[[0.5] * 8] * 8] * 2
print(net.forward(image=image, weight=[1, 2, 3])["scores"].tolist())
print(sorted(m for m in sys.modules if m.startswith("netlang")))
"""


def test_it_needs_numpy_alone(plain: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKER, plain], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores, modules = done.stdout.splitlines()
    wanted = reader().forward(image=np.full((2, 8, 8), 0.5), weight=[1, 2, 3])["scores"]
    np.testing.assert_allclose(json.loads(scores), wanted, rtol=1e-4, atol=1e-5)
    assert "netlang.runtime.net" not in modules
    assert "netlang.graph" not in modules


def edited(path: Path, target: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert len(old) == len(new)
    assert content.count(old) >= 1
    target.write_bytes(content.replace(old, new))
    return target


def test_a_damaged_manifest(plain: Path, tmp_path: Path) -> None:
    damaged = edited(plain, tmp_path / "a.so", b'"dtype": "float32"', b'"dtype": "float64"')
    assert refusal(damaged) == "native-damaged"


def test_damaged_values(plain: Path, tmp_path: Path) -> None:
    shift = reader().params["shift"].tobytes()[:64]
    damaged = edited(plain, tmp_path / "a.so", shift, bytes(64))
    assert refusal(damaged) == "native-damaged"
    assert netlang.load_native(damaged, verify=False).params["shift"].reshape(-1)[:16].tolist() == [0] * 16


@pytest.mark.skipif(sys.platform != "linux", reason="reads the header of an ELF file")
@pytest.mark.parametrize("share", [0.1, 0.3, 0.7, 0.9, 0.999])
def test_a_library_that_was_not_copied_to_its_end(plain: Path, tmp_path: Path, share: float) -> None:
    """The system would load it, and end the process where it reads what is not there."""
    content = plain.read_bytes()
    (tmp_path / "a.so").write_bytes(content[: int(share * len(content))])
    with pytest.raises(NetlangError, match=f"of {len(content):,}") as error:
        netlang.load_native(tmp_path / "a.so")
    assert error.value.diagnostics[0].code == "native-damaged"


def test_what_the_system_says_has_the_path_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library, but long enough for a header of sixty-four bytes and more")
    with pytest.raises(NetlangError) as error:
        netlang.load_native(tmp_path / "text.so")
    assert "/." not in str(error.value).replace("/...", "")


def test_files_that_are_no_libraries_of_netlang(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    (tmp_path / "empty.so").write_bytes(b"")
    assert refusal(tmp_path / "text.so") == "native-not-one"
    assert refusal(tmp_path / "empty.so") == "native-not-one"
    assert refusal(tmp_path / "none.so") == "file-not-found"
    assert refusal(tmp_path) == "cannot-read"
    other = next(Path(m.__file__) for m in sys.modules.values() if str(getattr(m, "__file__", "")).endswith(".so"))
    assert refusal(other) == "native-not-one"


@pytest.mark.skipif(sys.platform != "linux", reason="edits the header of an ELF file")
def test_a_library_of_another_architecture(plain: Path, tmp_path: Path) -> None:
    content = bytearray(plain.read_bytes())
    content[18:20] = (243).to_bytes(2, "little")
    (tmp_path / "a.so").write_bytes(content)
    with pytest.raises(NetlangError, match="the library is for riscv, this machine is ") as error:
        netlang.load_native(tmp_path / "a.so")
    assert error.value.diagnostics[0].code == "native-other-machine"


@pytest.mark.parametrize("size", [0, 1, PIECE, 2 * PIECE + 1])
def test_the_digest_covers_every_byte(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    found = digest(values)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert digest(values) == found
    for place in {0, size // 2, size - 1} if size else ():
        values[place] ^= 1
        assert digest(values) != found
        values[place] ^= 1
    assert digest(np.append(values, np.uint8(0))) != found


def test_a_library_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netlang.targets.cpu.library.build.VERSION", VERSION + 1)
    netlang.save_native(reader(), tmp_path / "a.so")
    assert refusal(tmp_path / "a.so") == "native-version"


def test_values_beside_the_library(tmp_path: Path) -> None:
    net = reader()
    written = netlang.save_native(net, tmp_path / "reader.so", weights="beside")
    assert [Path(name).name for name in written] == ["reader.so", "reader.h", "reader.values"]
    native = netlang.load_native(tmp_path / "reader.so")
    close(native.forward(**inputs(2))["scores"], net.forward(**inputs(2))["scores"], net)
    content = (tmp_path / "reader.values").read_bytes()
    (tmp_path / "reader.values").write_bytes(content[:-1])
    assert refusal(tmp_path / "reader.so") == "native-damaged"
    (tmp_path / "reader.values").write_bytes(content[:200] + b"\xff" + content[201:])
    assert refusal(tmp_path / "reader.so") == "native-damaged"
    (tmp_path / "reader.values").unlink()
    assert refusal(tmp_path / "reader.so") == "file-not-found"


def test_a_manifest_that_does_not_describe_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netlang.targets.cpu.library.build._function", lambda function: {"sizes": ["batch"]})
    netlang.save_native(reader(), tmp_path / "a.so")
    assert refusal(tmp_path / "a.so") == "native-damaged"


# --- the processor -------------------------------------------------------------------------------------------------


def test_a_processor_that_lacks_a_feature_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the loader with a diagnostic, in C with a status: the kernels are never entered."""
    from netlang.targets.cpu.library import processor

    needed = processor.processor("native").needed
    if not needed:
        pytest.skip("libraries for this architecture need no features")
    monkeypatch.setitem(processor.FEATURES, "imaginary", processor.Bit(1, "ecx", 0, saved=1 << 20))
    made = processor.processor("native")
    imaginary = processor.Processor(made.name, made.kernels, made.baseline, (*needed, "imaginary"))
    monkeypatch.setattr(processor, "processor", lambda cpu: imaginary)
    net = netlang.loads("net A:\n    input x\n    output 2 * x\n")
    netlang.save_native(net, tmp_path / "a.so")
    with pytest.raises(NetlangError, match="needs a processor with `imaginary`, which this one lacks") as error:
        netlang.load_native(tmp_path / "a.so")
    assert error.value.diagnostics[0].code == "native-other-machine"
    library = ctypes.CDLL(str(tmp_path / "a.so"))
    x, y, workspace = (np.zeros(64, np.float32) for _ in range(3))
    library.A_net.restype = ctypes.c_void_p
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, y, workspace)]
    for _ in range(2):
        status = library.A_forward(ctypes.c_void_p(library.A_net()), ctypes.c_int64(1), *pointers)
        assert status == 4


def test_the_library_knows_the_processor_as_llvm_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite.binding as llvm

    from netlang.targets.cpu.library import processor

    plain = processor.processor("native")
    if not plain.needed:
        pytest.skip("libraries for this architecture need no features")
    asking = processor.Processor("all", plain.baseline, plain.baseline, tuple(processor.FEATURES))
    monkeypatch.setattr(processor, "processor", lambda cpu: asking)
    netlang.save_native(netlang.loads("net A:\n    input x\n    output 2 * x\n"), tmp_path / "a.so")
    library = ctypes.CDLL(str(tmp_path / "a.so"))
    library.A_missing_features.restype = ctypes.c_int64
    missing = library.A_missing_features()
    found = llvm.get_host_cpu_features()
    lacking = {name for k, name in enumerate(processor.FEATURES) if missing >> k & 1}
    assert lacking == {name for name in processor.FEATURES if not found[name]}


# --- sequences -----------------------------------------------------------------------------------------------------

STREAM = """
net Stream(n=5):
    input x[T, 4], z[S]
    target y[T, n]
    state before[n] ~ ones
    param W[n, 4] ~ xavier, U[n, n] ~ orthogonal
    h[t < T] = tanh(U @ (h[t-1] else before) + W @ x[t])
    before <- h[T-1]
    pairs[t < T - 2, k] = h[t, k] - h[t + 2, k]
    output h, pairs, sum(s) z[s]
    loss mean(t, k) (h[t, k] - y[t, k])^2

train Stream:
    optimizer sgd(lr=0.1)
    batch 4
"""


def test_any_length_and_states_of_each_example(tmp_path: Path) -> None:
    net = netlang.loads(STREAM, dtype="float64")
    netlang.save_native(net, tmp_path / "a.so", training=True)
    native = netlang.load_native(tmp_path / "a.so")
    random = np.random.default_rng(0)
    for batch, length, other in ((3, 9, 1), (1, 3, 4), (5, 17, 2)):
        net.reset()
        native.reset()
        for _ in range(2):  # the second goes on where the first ended
            x, z = random.normal(size=(batch, length, 4)), random.normal(size=(batch, other))
            wanted, found = net.forward(x=x, z=z), native.forward(x=x, z=z)
            assert found.keys() == wanted.keys()
            for name, value in wanted.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(native.carried["before"], net.state["before"], rtol=1e-12)
            y = random.normal(size=(batch, length, 5))
            close(native.step(x=x, y=y), net.step(x=x, y=y), net)
    assert "int64_t batch, int64_t S, int64_t T" in " ".join((tmp_path / "a.h").read_text().split())


@pytest.mark.parametrize(
    ("x", "z", "wanted"),
    [
        (np.zeros((2, 0, 4)), np.zeros((2, 1)), "input-shape"),
        (np.zeros((2, 5, 3)), np.zeros((2, 1)), "input-shape"),
        (np.zeros((2, 5, 4)), np.zeros((3, 1)), "input-batch"),
        (np.zeros((2, 5, 4)), None, "input-missing"),
        (np.zeros((3, 5, 4)), np.zeros((3, 1)), "state-batch"),
    ],
)
def test_sequences_that_do_not_fit(tmp_path: Path, x: Any, z: Any, wanted: str) -> None:
    net = netlang.loads(STREAM)
    netlang.save_native(net, tmp_path / "a.so")
    native = netlang.load_native(tmp_path / "a.so")
    for each in (net, native):
        each.forward(x=np.zeros((2, 5, 4)), z=np.zeros((2, 1)))
        with pytest.raises(NetlangError) as error:
            each.forward(**{"x": x} | ({} if z is None else {"z": z}))
        assert error.value.diagnostics[0].code == wanted


def test_the_vocabulary_of_a_net_that_reads_texts(tmp_path: Path) -> None:
    net = netlang.load(Path(__file__).parents[2] / "examples" / "hello.net")
    net.fit(epochs=1, progress=False)
    netlang.save_native(net, tmp_path / "a.so")
    assert net.vocabulary is not None
    assert netlang.load_native(tmp_path / "a.so").manifest["vocabulary"] == net.vocabulary.to_json()


def test_a_length_that_is_too_short(tmp_path: Path) -> None:
    net = netlang.loads(STREAM)
    netlang.save_native(net, tmp_path / "a.so")
    native = netlang.load_native(tmp_path / "a.so")
    given = {"x": np.zeros((2, 2, 4)), "z": np.zeros((2, 1))}
    with pytest.raises(NetlangError, match="requirement"):
        net.forward(**given)
    with pytest.raises(NetlangError, match="the net does not take the sizes batch = 2, S = 1, T = 2") as error:
        native.forward(**given)
    assert error.value.diagnostics[0].code == "input-size"
    assert native._functions["forward"].workspace(2, 1, 2) == -1
    assert native._functions["forward"].workspace(2, 1, 3) > 0


def test_arrays_of_any_kind(plain: Path) -> None:
    """Read-only, not contiguous, in float64, nested lists; first and again, when the shapes are known."""
    native = netlang.load_native(plain)
    image, weight = (a.astype(np.float32) for a in inputs(3).values())
    wanted = native.forward(image=image, weight=weight)["scores"]
    fixed = image.copy()
    fixed.flags.writeable = False
    for given in (image, fixed, image[:, :, ::-1][:, :, ::-1], image.astype(np.float64), image.tolist()):
        for _ in range(2):
            np.testing.assert_array_equal(native.forward(image=given, weight=weight)["scores"], wanted)
    alone = native.forward(image=image[0], weight=weight[0])["scores"]
    again = native.forward(image=image[0], weight=weight[0])["scores"]
    assert alone.shape == again.shape == (5,)
    np.testing.assert_array_equal(alone, again)
    with pytest.raises(NetlangError, match="input-batch"):
        native.forward(image=image, weight=weight[:2])
