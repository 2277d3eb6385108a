"""Generated modules become native code that computes what their text says."""

import re
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from netlang.diagnostics import InternalError
from netlang.targets.cpu.cache import ObjectCache
from netlang.targets.cpu.native import compile_module

DENSE = """
def dense_1(B: i64, x: real[:], W: real[:], b: real[:], y: real[:]):
    for n in range(B):
        for i in range(5):
            total = b[i]
            for j in range(3):
                total += W[i * 3 + j] * x[n * 3 + j]
            y[n * 5 + i] = total

def relu_1(n: i64, y: real[:]):
    for i in range(n):
        y[i] = max(y[i], 0.0)

def forward(memory, sizes):
    B = sizes[0]
    dense_1(B, real(memory, 0), real(memory, 1), real(memory, 2), real(memory, 3))
    relu_1(5 * B, real(memory, 3))
"""


@pytest.fixture
def cache(tmp_path):
    return ObjectCache(tmp_path / "cache")


def table(*arrays):
    return np.array([a.ctypes.data for a in arrays], np.int64)


def run(cache, body, *arrays, dtype=np.float32, **sizes):
    """Compile a kernel `body` over x, y, ... (one pointer for each array) and `n`, and run it."""
    names = "xyzuvw"[: len(arrays)]
    kinds = {"float32": "f32", "float64": "f64", "int64": "i64", "int32": "i32", "uint8": "u8"}
    kinds = [kinds[a.dtype.name] for a in arrays]
    parameters = ", ".join(f"{name}: {kind}[:]" for name, kind in zip(names, kinds, strict=True))
    pointers = ", ".join(f"{kind}(memory, {k})" for k, kind in enumerate(kinds))
    source = f"def kernel(n: i64, {parameters}):\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}\n\n"
    source += f"def entry(memory, sizes):\n    kernel(sizes[0], {pointers})\n"
    module = compile_module(source, ["entry"], dtype=dtype, cache=cache)
    module.entry("entry")(table(*arrays), np.array([sizes.get("n", len(arrays[0]))]))
    return module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_entry_calls_kernels_on_any_batch_size(cache, dtype):
    module = compile_module(DENSE, ["forward"], dtype=dtype, cache=cache)
    forward = module.entry("forward")
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=5).astype(dtype)
    for batch in (0, 1, 7, 64):
        x, y = rng.normal(size=(batch, 3)).astype(dtype), np.full((batch, 5), np.nan, dtype)
        forward(table(x, W, b, y), np.array([batch]))
        np.testing.assert_allclose(y, np.maximum(x @ W.T + b, 0), rtol=8 * np.finfo(dtype).eps, atol=1e-6)


def test_a_bound_call_sees_changed_tables(cache):
    forward = compile_module(DENSE, ["forward"], cache=cache).entry("forward")
    x, W, b, y = (np.ones(s, np.float32) for s in ((2, 3), (5, 3), 5, (2, 5)))
    sizes = np.array([1])
    call = forward.bind(table(x, W, b, y), sizes)
    call()
    assert y.tolist() == [[4.0] * 5, [1.0] * 5]
    sizes[0] = 2
    call()
    assert y.tolist() == [[4.0] * 5] * 2


def test_float_literals_and_integers_do_not_make_doubles(cache):
    x, y = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
    body = """
    for i in range(n):
        y[i] = (2 * x[i] + 0.1) / 3 - i * x[i] if x[i] < 4 else real(i) - 1
    """
    module = run(cache, body, x, y)
    assert "double" not in module.ir()
    k = np.arange(16)
    expected = np.where(x < 4, (2 * x + np.float32(0.1)) / 3 - x * k, k - 1)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_maximum_and_minimum_propagate_nan(cache):
    values = np.array([1, -1, 0.5, np.nan, np.inf, -np.inf], np.float32)
    x, y = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(values, values))
    top, bottom, whole, flag = (np.empty_like(x) for _ in range(4))
    body = """
    for i in range(n):
        z[i] = max(x[i], y[i])
        u[i] = min(x[i], y[i])
        v[i] = max(0.0, x[i])
        w[i] = 1.0 if isnan(x[i]) else 0.0
    """
    run(cache, body, x, y, top, bottom, whole, flag)
    np.testing.assert_array_equal(top, np.maximum(x, y))
    np.testing.assert_array_equal(bottom, np.minimum(x, y))
    np.testing.assert_array_equal(whole, np.maximum(x, 0))
    np.testing.assert_array_equal(flag, np.isnan(x))


def test_a_reduction_keeps_infinities_and_nan(cache):
    for special in (np.inf, -np.inf, np.nan):
        x = np.ones(100, np.float32)
        x[37] = special
        y = np.zeros(2, np.float32)
        body = """
        total = 0.0
        largest = -inf
        for i in range(n):
            total += x[i]
            largest = max(largest, x[i])
        y[0] = total
        y[1] = largest
        """
        run(cache, body, x, y)
        np.testing.assert_array_equal(y, [x.sum(), x.max()])


def test_integers_of_all_widths_and_ranges(cache):
    k, flags, places, out = (np.arange(10, dtype=t) for t in (np.int64, np.uint8, np.int32, np.int64))
    body = """
    for i in range(2, n - 1, 3):
        z[i] = i
        y[i] = i * i
        u[i] = min(x[i] // 2, 3) + max(-x[i], -6) + abs(-x[i]) + x[i] % 3
    """
    run(cache, body, k, flags, places, out)
    expected = np.arange(10)
    i = np.arange(2, 9, 3)
    expected[i] = np.minimum(i // 2, 3) + np.maximum(-i, -6) + i + i % 3
    assert out.tolist() == expected.tolist()
    assert flags[i].tolist() == (i * i).tolist()
    assert places.tolist() == list(range(10))


def test_a_name_of_a_small_integer_holds_large_ones(cache):
    flags, out = np.array([200, 100], np.uint8), np.zeros(5, np.int64)
    body = """
    place = x[0]
    total = 0.5
    total = x[1]
    y[0] = place + 100
    place = 300
    y[1] = place
    y[2] = total
    y[3] = x[1] - x[0]
    x[0] += 100
    y[4] = x[0]
    """
    run(cache, body, flags, out)
    assert out.tolist() == [300, 300, 100, -100, 44]


def test_kernels_call_kernels_with_scalars_and_moved_pointers(cache):
    source = """
def axpy(n: i64, a: real, x: real[:], y: real[:]):
    for i in range(n):
        y[i] += a * x[i]

def powers(n: i64, steps: i64, x: real[:], y: real[:]):
    for t in range(steps):
        axpy(n, real(t) * t, offset(x, t * n), y)

def entry(memory, sizes):
    powers(sizes[0], sizes[1], real(memory, 0), offset(real(memory, 1), 3))
"""
    x, y = np.arange(12, dtype=np.float32), np.zeros(7, np.float32)
    compile_module(source, ["entry"], cache=cache).entry("entry")(table(x, y), np.array([4, 3]))
    assert y.tolist() == [0, 0, 0, *(np.array([0, 1, 4]) @ x.reshape(3, 4)).tolist()]


@pytest.mark.parametrize("lead", ["", "    for k in range(1):\n        k\n"])
def test_entries_compute_sizes(cache, lead):
    source = f"""
def keep(i: i64, a: real, k: i64, y: real[:], table: i64[:]):
    y[i] = a + k + table[0]

def entry(memory, sizes):
{lead}    n = sizes[0] - 10
    half = n // 2
    y = 3
    keep(0, 0.5, n // 4, real(memory, 0), sizes)
    keep(1, 2, n % 4, real(memory, 0), sizes)
    keep(0, -1.5, half * n + y, offset(real(memory, 0), 2), sizes)
    keep(3, n, (n - 1) // 3 % 5, real(memory, 0), memory)
    return
"""
    entry = compile_module(source, ["entry"], cache=cache).entry("entry")
    for n in (-7, -4, 0, 5, 8):
        y = np.zeros(4, np.float32)
        memory = table(y)
        entry(memory, np.array([n + 10]))
        s = n + 10
        expected = [0.5 + n // 4 + s, 2 + n % 4 + s, -1.5 + n // 2 * n + 3 + s, n + (n - 1) // 3 % 5 + memory[0]]
        np.testing.assert_allclose(y, np.array(expected, np.float32), rtol=1e-6)


def test_branches_selections_and_loops_left_early(cache):
    x = np.array([3, -1, 4, -1, 5], np.float32)
    y = np.zeros(3, np.float32)
    body = """
    for i in range(n):
        if x[i] < 0:
            continue
        y[0] += x[i]
        y[1] = where(x[i] > 4, 7.0, y[1])
    for i in range(n):
        if x[i] < 0:
            y[2] = i
            break
    """
    run(cache, body, x, y)
    assert y.tolist() == [12.0, 7.0, 1.0]


def test_a_kernel_may_work_in_place_at_the_same_index(cache):
    source = """
def swish(n: i64, x: real[:], y: real[:]):
    for i in range(n):
        y[i] = x[i] / (1.0 + exp(-x[i])) + x[i]

def entry(memory, sizes):
    swish(sizes[0], real(memory, 0), real(memory, 0))
"""
    x = np.linspace(-3, 3, 1001, dtype=np.float32)
    expected = x / (1 + np.exp(-x)) + x
    compile_module(source, ["entry"], cache=cache).entry("entry")(table(x), np.array([x.size]))
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


def test_overlapping_pointers_are_read_in_order(cache):
    source = """
def shift(n: i64, x: overlap(real[:]), y: overlap(real[:])):
    for i in range(n):
        y[i + 1] = x[i] + 1

def entry(memory, sizes):
    shift(sizes[0], real(memory, 0), real(memory, 0))
"""
    x = np.zeros(100, np.float32)
    compile_module(source, ["entry"], cache=cache).entry("entry")(table(x), np.array([99]))
    assert x.tolist() == list(range(100))


def test_the_object_calls_only_the_c_library(cache):
    source = DENSE + "".join(
        f"""
def {name}_1(n: i64, x: real[:]):
    for i in range(n):
        x[i] = {name}(x[i])

def {name}_entry(memory, sizes):
    {name}_1(sizes[0], real(memory, 0))
"""
        for name in ("exp", "tanh", "erf", "log1p")
    )
    entries = ["forward", "exp_entry", "tanh_entry", "erf_entry", "log1p_entry"]
    for dtype, libm in (("float32", set()), ("float64", {"tanh", "erf", "log1p"})):
        text = compile_module(source, entries, dtype=dtype, cache=cache).ir()
        called = set(re.findall(r"^declare [^@]*@([\w.]+)", text, re.MULTILINE))
        assert {name for name in called if not name.startswith("llvm.")} == libm
        defined = set(re.findall(r"^define (?!internal)[^@]*@([\w.]+)", text, re.MULTILINE))
        assert defined == {f"nl_{entry}" for entry in entries}
        assert not re.search(r"Py|NRT|numba", text)


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF symbols")
def test_no_python_symbol_in_the_object_file(cache, tmp_path):
    path = tmp_path / "module.o"
    path.write_bytes(compile_module(DENSE, ["forward"], cache=cache).object_code)
    try:
        listed = subprocess.run(["nm", "-P", path], capture_output=True, text=True, check=True).stdout.split("\n")
    except FileNotFoundError:
        pytest.skip("no nm on this machine")
    symbols = [line.split()[:2] for line in listed if line]
    assert {name for name, kind in symbols if kind == "U"} <= {"memset", "memcpy", "memmove"}
    assert [name for name, kind in symbols if kind == "T"] == ["nl_forward"]


def test_elementwise_and_dot_loops_vectorize(cache):
    source = """
def saxpy(n: i64, a: real, x: real[:], y: real[:]):
    for i in range(n):
        y[i] += a * x[i]

def dot(n: i64, x: real[:], y: real[:]):
    total = 0.0
    for i in range(n):
        total += x[i] * y[i]
    y[0] = total

def mish(n: i64, x: real[:], y: real[:]):
    for i in range(n):
        y[i] = x[i] * tanh(log1p(exp(x[i])))

def entry(memory, sizes):
    saxpy(sizes[0], 0.5, real(memory, 0), real(memory, 1))
    dot(sizes[0], real(memory, 0), real(memory, 1))
    mish(sizes[0], real(memory, 0), real(memory, 1))
"""
    text = compile_module(source, ["entry"], cache=cache).ir()
    for kernel in ("saxpy", "dot", "mish"):
        body = text[text.index(f"@kernel_{kernel}(") :]
        assert re.search(r"<\d+ x float>", body[: body.index("\n}")]), kernel


def test_entries_run_in_several_threads_at_once(cache):
    source = """
def meet(n: i64, own: i64[:], other: i64[:]):
    for i in range(n):
        own[0] = own[0] + other[0] * 0 + 1

def entry(memory, sizes):
    meet(sizes[0], i64(memory, 0), i64(memory, 1))
"""
    entry = compile_module(source, ["entry"], cache=cache).entry("entry")
    counts = [np.zeros(1, np.int64) for _ in range(4)]
    zero = np.zeros(1, np.int64)
    threads = [threading.Thread(target=entry, args=(table(c, zero), np.array([1000]))) for c in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [c[0] for c in counts] == [1000] * 4


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "line 1 is not a plain function"),
        ("def entry(memory, sizes=exp(1)): return", "line 1 is not a plain function"),
        ("def entry(memory): return", "no entry `entry"),
        ("def k(x):\n    x = 1\ndef entry(memory, sizes):\n    k(1)", "parameter `x` of `k` has no known type"),
        ("def entry(memory, sizes):\n    for k in sizes:\n        k", "`for k in sizes:`: a statement that"),
        ("def entry(memory, sizes):\n    for k in range():\n        k", "`for k in range():`: a statement that"),
        ("def entry(memory, sizes):\n    x = y = 1", "`x = y = 1`: a statement that"),
        ("def entry(memory, sizes):\n    sizes = 1", "`sizes`: nothing is assigned to it"),
        ("def entry(memory, sizes):\n    x = 1\n    x = memory", "`x`: int64* where it was int64"),
        ("def entry(memory, sizes):\n    x = 1\n    x = 0.5", "`x`: float32 where it was int64"),
        ("def entry(memory, sizes):\n    x = 0.5\n    x = f64(1)", "`x`: float64 where it was float32"),
        ("def entry(memory, sizes):\n    x = memory\n    x = 1", "`x`: int64 where it was int64*"),
        ("def entry(memory, sizes):\n    x = sizes[0] < 3\n    x = 5", "`x`: int64 where it was bool"),
        ("def entry(memory, sizes):\n    x = 0.5 // real(sizes[0])", "nothing takes float32, float32"),
        ("def k(n: i64):\n    n\ndef entry(memory, sizes):\n    x = k(1)", "`x`: there is no value for it"),
        ("def k(n: i64):\n    n\ndef entry(memory, sizes):\n    k(1) if sizes[0] < 1 else k(2)", "no value either way"),
        ("def k(n: i64):\n    n\ndef entry(memory, sizes):\n    k(0.5)", "`k(0.5)`: float32 where `k` takes int64"),
        ("def k(n: i64):\n    n\ndef k(n: i64):\n    n\ndef entry(memory, sizes):\n    return", "`k` is defined twice"),
        ("def entry(memory, sizes):\n    dot(real(memory, 0), 1)", "nothing takes float32*, int64 here"),
        ("def entry(memory, sizes):\n    x = 9223372036854775808", "`9223372036854775808`: beyond 64 bits"),
        ("def entry(memory, sizes):\n    x = sizes[0] < memory", "`sizes[0] < memory`: nothing takes int64, int64*"),
        ("def entry(memory, sizes):\n    x = 1 + 2 ** 3", "`2 ** 3`: nothing takes int64, int64"),
        ("def entry(memory, sizes):\n    x = sizes[0][0]", "`sizes[0][0]`: not a pointer"),
        ("def entry(memory, sizes):\n    x = sizes[0.5]", "`0.5`: not an integer"),
        ("def entry(memory, sizes):\n    x = [1]", "`[1]`: an expression that"),
        ("def entry(memory, sizes):\n    x = max(1, 2, 3)", "`max(1, 2, 3)`: nothing takes int64, int64, int64"),
        ("def entry(memory, sizes):\n    for k in range(5, 0, -1):\n        k", "a step is a positive literal"),
        ("def entry(memory, sizes):\n    unknown(sizes[0])", "no kernel `unknown` above"),
        ("def entry(memory, sizes):\n    for i in range(2):\n        unknown(sizes[0])", "unknown"),
        (
            "def k(x: f32[:]):\n    x[0] = 0\ndef entry(memory, sizes):\n    k(f64(memory, 0))",
            "of type float64*, not float32*",
        ),
        ("def k(x: f32[:]):\n    x[0] = 0\ndef entry(memory, sizes):\n    k()", "`k` takes 1 arguments, not 0"),
        ("def k(n: i64):\n    n\ndef entry(memory, sizes):\n    k(m)", "`m`: no such name"),
        ("def entry(memory, sizes):\n    exp(memory)", "exp"),
        ("def entry(memory, sizes):\n    sizes[", "line 2"),
    ],
)
def test_text_that_is_no_generated_module_is_an_internal_error(cache, source, message):
    with pytest.raises(InternalError, match=re.escape(message)):
        compile_module(source, ["entry"], cache=cache)


def test_wrong_tables_and_names_are_internal_errors(cache):
    module = compile_module(DENSE, ["forward"], cache=cache)
    with pytest.raises(InternalError, match="no entry `backward`"):
        module.entry("backward")
    with pytest.raises(InternalError, match="not contiguous int64"):
        module.entry("forward")(np.zeros(4), np.zeros(1, np.int64))


def test_a_generic_processor_gives_the_same_numbers(cache):
    x, W, b = (np.linspace(-1, 1, n, dtype=np.float32) for n in (6, 15, 5))
    results = []
    for cpu in ("native", "generic"):
        y = np.zeros(10, np.float32)
        compile_module(DENSE, ["forward"], cpu=cpu, cache=cache).entry("forward")(table(x, W, b, y), np.array([2]))
        results.append(y)
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_text_forms(cache):
    module = compile_module(DENSE, ["forward"], cache=cache)
    assert re.search(r"define .*@nl_forward\(ptr", module.ir())
    assert "nl_forward:" in module.assembly()
