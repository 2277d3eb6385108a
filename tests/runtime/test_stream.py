"""Streams: a row at a time they give what a whole call gives, from buffers of their own."""

from __future__ import annotations

import copy
import tracemalloc

import numpy as np
import pytest

import netlang
from netlang.diagnostics import NetlangError
from netlang.runtime.stream import ROOM
from tests.passes.sequences import CAUSAL, Array, drawn, expected, inputs, sequence
from tests.strategies import Seeded

LM = "net A(V=5):\n    input text[T]: class(V)\n    output text -> embedding(3) -> gru(4) -> dense(V)\n"
ATTENTION = "net A:\n    input x[T, 2]\n    output x -> transformer_encoder(1, causal=true)\n"


def code(error: pytest.ExceptionInfo[NetlangError]) -> str:
    return error.value.diagnostics[0].code


@pytest.mark.parametrize("name", CAUSAL)
def test_each_step_gives_what_a_whole_call_gives(name: str) -> None:
    net = drawn(CAUSAL[name])
    rows, others = inputs(net, {"T": 9, "S": 4}, batch=3)
    stream = net.stream(batch=3, capacity=2, **others)
    for t in range(9):
        values = stream.step(**{n: a[:, t] for n, a in rows.items()})
        wanted = expected(net, rows, others, t + 1)
        assert values.keys() == wanted.keys()
        for output, value in values.items():
            np.testing.assert_allclose(value, wanted[output], rtol=1e-12, atol=1e-12, err_msg=f"{output} at {t}")
    assert stream.length == 9


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_random_nets(seed: int, causal: bool) -> None:
    """A result that all rows decide is right whether rows can be kept or not."""
    net = drawn(sequence(Seeded(seed), 5 if causal else 3, causal), seed=seed)
    rows, others = inputs(net, {"T": 11}, 2, seed)
    stream = net.stream(batch=2, capacity=1 + seed % 3)
    for t in range(11):
        values = stream.step(**{n: a[:, t] for n, a in rows.items()})
        for output, wanted in expected(net, rows, others, t + 1).items():
            np.testing.assert_allclose(values[output], wanted, rtol=1e-12, atol=1e-12, err_msg=f"{output} at {t}")


def test_any_split_gives_the_same() -> None:
    net = drawn(ATTENTION)
    x = np.random.default_rng(0).normal(size=(2, 40, 2))
    whole = net.stream(batch=2).feed(x=x)
    for cut in (1, ROOM, ROOM + 1, 39):
        stream = net.stream(batch=2)
        stream.feed(x=x[:, :cut])
        for name, value in stream.feed(x=x[:, cut:]).items():
            np.testing.assert_array_equal(value, whole[name])


def test_one_sequence_goes_without_the_batch() -> None:
    net = drawn(LM)
    stream = net.stream()
    for t, symbol in enumerate([3, 1, 4]):
        (value,) = stream.step(text=symbol).values()
        np.testing.assert_allclose(value, net([3, 1, 4][: t + 1])[-1], rtol=1e-12)
    assert stream.batch == 1
    assert stream.step(text=[2])["dense"].shape == (1, 5)


def test_a_target_that_an_output_reads_is_given() -> None:
    net = netlang.loads("net A:\n    input x[T]\n    target y[T], z\n    output s = x * y + z\n    loss z\n")
    stream = net.stream(z=10)
    assert stream.step(x=2, y=3)["s"] == 16
    with pytest.raises(NetlangError) as error:
        net.stream()
    assert code(error) == "input-missing"


def test_inputs_that_no_step_reads_may_be_given() -> None:
    net = netlang.loads("net A:\n    input x[T], y[T, 2], z\n    s[t < T] = t * y[t, 0]\n    output s\n")
    stream = net.stream()
    assert stream.step(y=[3, 4])["s"] == 0
    assert stream.step(x=1, y=[3, 4])["s"] == 3
    assert stream.feed(x=[1, 2], y=[[5, 6], [7, 8]])["s"] == 21
    assert net.stream(z=1).step(y=[1, 1])["s"] == 0


def test_numbers_of_classes_may_be_run_time_sizes() -> None:
    text = "net A:\n    input memory[S], place[T]: class(S), back[T]: class(T)\n"
    net = netlang.loads(f"{text}    y[t] = memory[place[t]] + (t - back[t])\n    output y\n")
    stream = net.stream(memory=[10, 20, 30])
    assert stream.step(place=2, back=0)["y"] == 30
    for wrong in ({"place": 3, "back": 1}, {"place": 2, "back": 2}):
        with pytest.raises(NetlangError) as error:
            stream.step(**wrong)
        assert code(error) == "input-label"
    assert stream.step(place=1, back=0)["y"] == 21


def test_float32() -> None:
    net = drawn(LM, "float32")
    (value,) = net.stream().feed(text=[0, 1, 2, 3, 4]).values()
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, net([0, 1, 2, 3, 4])[-1], rtol=1e-5)


def test_a_reset_begins_anew() -> None:
    net = drawn(ATTENTION)
    x = np.random.default_rng(0).normal(size=(20, 2))
    stream = net.stream()
    first = {name: value.copy() for name, value in stream.feed(x=x).items()}
    stream.step(x=[np.nan, np.nan])
    stream.reset()
    assert stream.length == 0
    for name, value in stream.feed(x=x).items():
        np.testing.assert_array_equal(value, first[name])


def test_a_stream_computes_with_the_parameters_of_the_step() -> None:
    net = drawn(LM)
    stream = net.stream()
    net.params["dense_1.b"][...] += 1
    np.testing.assert_allclose(stream.step(text=1)["dense"], net([1])[-1], rtol=1e-12)


def test_copies_go_their_own_ways() -> None:
    net = drawn(ATTENTION)
    x, y = np.random.default_rng(0).normal(size=(2, 30, 2))
    stream = net.stream()
    stream.feed(x=x[:12])
    other = copy.copy(stream)
    (ours,), (theirs,) = (s.feed(x=z[12:]).values() for s, z in ((stream, x), (other, y)))
    np.testing.assert_allclose(ours, net(x)[-1], rtol=1e-12)
    np.testing.assert_allclose(theirs, net(np.concatenate([x[:12], y[12:]]))[-1], rtol=1e-12)
    assert stream.length == other.length == 30


def test_sequences_are_selected() -> None:
    """What a beam search does: sequences end, others go on twice."""
    net = drawn(CAUSAL["sequence to sequence"])
    rows, others = inputs(net, {"T": 8, "S": 4}, batch=2)
    stream = net.stream(**others)
    stream.feed(text=rows["text"][:, :5])
    chosen = [1, 1, 0]
    stream.select(chosen)
    assert stream.batch == 3
    following = np.array([[1, 2, 3], [4, 5, 6], [0, 0, 1]])
    (value,) = stream.feed(text=following).values()
    text = np.concatenate([rows["text"][chosen, :5], following], axis=1)
    (wanted,) = expected(net, {"text": text}, {n: a[chosen] for n, a in others.items()}, 8).values()
    np.testing.assert_allclose(value, wanted, rtol=1e-12)


def test_one_example_for_all_sequences() -> None:
    net = drawn(CAUSAL["sequence to sequence"])
    source, text = np.array([1, 2, 3]), np.array([[1, 2], [3, 4], [5, 6]])
    (value,) = net.stream(batch=3, source=source, n=2).feed(text=text).values()
    (wanted,) = net.forward(source=[source] * 3, n=[2] * 3, text=text).values()
    np.testing.assert_allclose(value, wanted[:, -1], rtol=1e-12)


def test_what_does_not_depend_on_the_sequence_is_computed_once() -> None:
    net = drawn(CAUSAL["sequence to sequence"])
    stream = net.stream(source=[1, 2, 3], n=2)
    before = stream.step(text=1)["dense"].copy()
    net.params["embedding_1.E"][...] = 0  # the encoder's
    stream.reset()
    np.testing.assert_array_equal(stream.step(text=1)["dense"], before)


@pytest.mark.parametrize("shape", [("T", 2), ("T",), (2, "T")])
def test_inputs_are_normalized_as_in_a_call(shape: tuple[int | str, ...]) -> None:
    """By features, whose number does not depend on the sequence."""
    sizes = ", ".join(map(str, shape))
    text = f"net A:\n    input x[{sizes}]\n    target y\n    param w ~ ones\n    output h = w * x\n    loss (w - y)^2\n"
    net = netlang.loads(f"{text}train A:\n    optimizer sgd\n    normalize x\n    epochs 1\n", dtype="float64")
    x = np.random.default_rng(0).normal(3, 2, size=(20, *(6 if n == "T" else n for n in shape)))
    net.fit({"x": x, "y": np.zeros(20)})
    axis = 1 + shape.index("T")
    x = x.take(range(4), axis)
    (value,) = net.stream(batch=20).feed(x=x).values()
    np.testing.assert_allclose(value, net(x).take(3, axis), rtol=1e-12)
    assert abs(value.mean()) < 1


# --- memory --------------------------------------------------------------------------------------------------------


def addresses(values: dict[str, Array]) -> dict[str, int]:
    return {name: value.__array_interface__["data"][0] for name, value in values.items()}


def test_steps_of_a_recurrent_net_allocate_nothing() -> None:
    net = drawn("net A:\n    input x[T, 64]\n    output x -> lstm(128)\n", "float32")
    stream = net.stream(batch=16)
    x = np.zeros((16, 64), np.float32)
    first = addresses(stream.step(x=x))
    tracemalloc.start()
    for _ in range(20):
        assert addresses(stream.step(x=x)) == first
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * 128 * 4  # less than one row of states


def test_room_doubles_where_rows_are_kept() -> None:
    net = drawn(ATTENTION)
    stream = net.stream()
    places = {tuple(addresses(stream.step(x=[0, 0])).values()) for _ in range(4 * ROOM)}
    assert len(places) <= 3
    assert len(net.stream(capacity=4 * ROOM).feed(x=np.zeros((4 * ROOM, 2)))) == 1


# --- what does not fit ---------------------------------------------------------------------------------------------


def test_a_table_of_positions_limits_the_length() -> None:
    net = drawn(CAUSAL["transformer"])
    stream = net.stream()
    assert stream.limit == 12
    (last,) = stream.feed(text=[1] * 12).values()
    np.testing.assert_allclose(last, net([1] * 12)[-1], rtol=1e-12)
    before = last.copy()
    with pytest.raises(NetlangError) as error:
        stream.step(text=1)
    assert code(error) == "stream-full"
    assert stream.length == 12
    np.testing.assert_array_equal(last, before)
    assert drawn(LM).stream().limit is None


def test_a_step_that_raises_is_none() -> None:
    net = drawn(LM)
    stream = net.stream()
    stream.step(text=1)
    for wrong, found in ((5, "input-label"), (-1, "input-label"), (0.5, "input-dtype"), ("a", "input-dtype")):
        with pytest.raises(NetlangError) as error:
            stream.step(text=wrong)
        assert code(error) == found
    (value,) = stream.step(text=2).values()
    np.testing.assert_allclose(value, net([1, 2])[-1], rtol=1e-12)
    assert stream.length == 2


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ({}, "input-missing"),
        ({"text": 1, "x": 2}, "input-unknown"),
        ({"text": [1, 2, 3]}, "input-batch"),
        ({"text": 1}, "input-batch"),
        ({"text": [[1, 2]]}, "input-shape"),
        ({"text": []}, "input-batch"),
    ],
)
def test_rows_that_do_not_fit(rows: dict[str, object], found: str) -> None:
    stream = drawn(LM).stream(batch=2)
    with pytest.raises(NetlangError) as error:
        stream.step(**rows)  # type: ignore[arg-type]
    assert code(error) == found
    assert stream.length == 0


@pytest.mark.parametrize(
    "sequences",
    [
        {},
        {"text": []},
        {"text": [[], []]},
        {"text": 3},
        {"words": [1]},
        {"text": [[1], [2, 3]]},
        {"text": ["a"]},
        {"text": None},
    ],
)
def test_sequences_that_do_not_fit(sequences: dict[str, object]) -> None:
    with pytest.raises(NetlangError) as error:
        drawn(LM).stream().feed(**sequences)  # type: ignore[arg-type]
    assert code(error) in ("input-shape", "input-missing", "input-dtype")


@pytest.mark.parametrize("rows", [[], [2], [-1], [0.0], 0, [[0]], ["a"], [[0], [0, 1]], None, [True]])
def test_selections_that_do_not_fit(rows: object) -> None:
    with pytest.raises(NetlangError) as error:
        drawn(LM).stream(batch=2).select(rows)  # type: ignore[arg-type]
    assert code(error) == "stream-rows"


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"batch": 1.5}, {"capacity": -1}, {"capacity": True}, {"over": 3}, {"over": ["T"]}]
)
def test_settings_that_do_not_fit(options: dict[str, object]) -> None:
    with pytest.raises(NetlangError) as error:
        drawn(LM).stream(**options)  # type: ignore[arg-type]
    assert code(error) == "bad-setting"


@pytest.mark.parametrize("options", [{"batch": 10**18}, {"capacity": 10**18}])
def test_more_than_there_is_memory_for(options: dict[str, int]) -> None:
    with pytest.raises(NetlangError) as error:
        drawn(ATTENTION).stream(**options)  # type: ignore[arg-type]
    assert code(error) == "out-of-memory"


def test_inputs_of_the_beginning_that_do_not_fit() -> None:
    net = drawn(CAUSAL["sequence to sequence"])
    for given, found in (
        ({"n": 1}, "input-missing"),
        ({"source": [1, 2], "n": 3}, "input-label"),
        ({"source": [[1], [2]], "n": [1, 1], "batch": 3}, "input-batch"),
        ({"source": [1], "n": 1, "text": [1]}, "input-unknown"),
    ):
        with pytest.raises(NetlangError) as error:
            net.stream(**given)  # type: ignore[arg-type]
        assert code(error) == found
