"""The example files: what they say, and the numbers that lectures give for them."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netlang
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import Module, load_module
from netlang.graph.graph import Graph
from netlang.graph.nodes import BATCH, is_batched
from netlang.graph.sizes import chosen_sizes
from netlang.language.tree import Definition
from netlang.passes.derive import derive
from netlang.passes.lift import lift
from netlang.passes.objective import objective
from netlang.runtime.sources import open_texts
from netlang.runtime.sources.text import Text
from netlang.runtime.symbols import symbol_tables
from netlang.targets.reference import evaluate

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.net"))


def read(name: str) -> tuple[Module, Definition]:
    module = load_module(str(FOLDER / name))
    (net,) = module.nets()
    return module, net


def graph_of(name: str, *, training: bool = False) -> Graph:
    module, net = read(name)
    return elaborate(module, net, training=training)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_where_it_comes_from(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_elaborates_and_its_gradients_are_finite(path: Path) -> None:
    graph = lift(graph_of(path.name, training=True))
    if not graph.losses:
        return
    random = np.random.default_rng(0)
    graph = objective(graph)
    (target,) = graph.objectives.values()
    derived = derive(graph, target, [p.name for p in graph.params])
    start = evaluate(derived, {}, only=graph.initial.values())
    arrays: dict[str, NDArray[Any]] = {name: start[node] for name, node in graph.initial.items()}
    arrays |= {s.name: np.stack([arrays[s.name]] * 2) for s in graph.states if is_batched(s)}
    sizes = {BATCH: 2, **chosen_sizes(graph, graph.requirements, least=3)}
    for role in ("input", "target"):
        for node in graph.inputs(role):
            shape = tuple(extent.evaluate(sizes) for extent in node.shape)
            if node.classes is not None:
                arrays[node.name] = random.integers(0, node.classes.evaluate(sizes), shape)
            else:
                arrays[node.name] = random.uniform(size=shape)
    arrays |= symbol_tables(graph.inputs("vocabulary"), None, np.float64)
    values = evaluate(derived, arrays, only=[target, *derived.gradients.values()], direct=False)
    assert math.isfinite(values[target])
    for parameter in graph.params:
        gradient = values[derived.gradients[parameter.name]]
        assert gradient.shape == arrays[parameter.name].shape
        assert np.isfinite(gradient).all()


def test_lenet_has_the_parameters_of_the_lecture() -> None:
    graph = graph_of("lenet5.net")
    counts = {p.name: math.prod(extent.constant for extent in p.shape) for p in graph.params}
    assert counts == {
        "conv_1.W": 500, "conv_1.b": 20, "conv_2.W": 25000, "conv_2.b": 50,
        "dense_1.W": 1225000, "dense_1.b": 500, "dense_2.W": 5000, "dense_2.b": 10,
    }  # fmt: skip
    assert sum(counts.values()) == 1256080


# --- training ------------------------------------------------------------------------------------------------------

RESULTS: dict[str, dict[str, float]] = {  # at least, or at most for errors, on what is held out
    "digits": {"accuracy": 0.975},
    "softmax_classifier": {"accuracy": 0.94},
    "svm_classifier": {"accuracy": 0.9},
    "iris_mlp": {"accuracy": 0.9},
    "logistic_regression": {"binary_accuracy": 0.95},
    "perceptron": {"sign_accuracy": 0.92},
    "linear_regression": {"mae": 45.0},
    "autoencoder": {"mse": 0.03},
}
ERRORS = {"mae", "mse"}


@pytest.mark.parametrize("name", RESULTS)
def test_an_example_learns(name: str) -> None:
    pytest.importorskip("sklearn")
    history = netlang.load(FOLDER / f"{name}.net").fit(progress=False)
    for metric, bound in RESULTS[name].items():
        reached = history[metric][-1]
        assert reached <= bound if metric in ERRORS else reached >= bound


def test_an_encoder_and_decoder_with_attention_learn_to_reverse() -> None:
    """Digit strings that it has not seen, written by itself; to add (a minute) is left to the script."""
    script = runpy.run_path(str(FOLDER / "seq2seq.py"))
    pairs = script["questions"]("reverse", 4500, np.random.default_rng(0))
    net = netlang.load(FOLDER / "seq2seq.net")
    net.fit(script["texts"](pairs[:-500]), epochs=4, progress=False)
    assert script["right"](net, pairs[-500:]) >= 0.99


def test_captions_are_being_learned() -> None:
    """The words of the objects after a few steps; exact captions (a quarter of a minute) are left to the script."""
    script = runpy.run_path(str(FOLDER / "captioning.py"))
    random = np.random.default_rng(0)
    images, captions = map(list, zip(*(script["picture"](random) for _ in range(1600)), strict=True))
    net = netlang.load(FOLDER / "captioning.net")
    history = net.fit(script["arrays"](images, captions), epochs=3, progress=False)
    assert history["objective"][-1] < 0.5 < 1 < history["objective"][0]  # log 11 = 2.4 where nothing is known
    written = [caption.split() for caption in script["captions"](net, images[:50])]
    assert all(words[0] == "a" and words[-1] in script["SHAPES"] for words in written)


def test_xor_is_learned() -> None:
    net = netlang.load(FOLDER / "xor.net")
    assert net.fit(FOLDER / "xor.csv", progress=False)["objective"][-1] < 0.05
    a, b = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    assert (net.forward(a=a, b=b)["p"].ravel() > 0.5).tolist() == [False, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_hello_is_learned_exactly(seed: int) -> None:
    net = netlang.load(FOLDER / "hello.net", seed=seed)
    assert net.fit(progress=False)["objective"][-1] < 0.02
    assert net.vocabulary is not None
    scores = net(net.vocabulary.encode("hell"))
    assert net.vocabulary.decode(scores.argmax(axis=-1)) == "ello"


def test_the_character_model_learns_from_streams() -> None:
    """A small one, on a part of the text; the figures of the whole are in `docs/text.md`."""
    net = netlang.load(FOLDER / "char_lstm.net", n=48)
    topics = open_texts("python:topics", [])
    assert isinstance(topics, Text)
    history = net.fit({"text": topics.text[:60_000]}, epochs=3, batch=8, progress=False)
    nats, perplexity = history["nats"], history["perplexity"]
    assert nats[-1] < nats[0] < math.log(100)
    assert nats[-1] < 2.6
    assert perplexity[-1] == pytest.approx(math.exp(nats[-1]), rel=1e-6)
    assert net.state["h0"].shape == (8, 48)


@pytest.mark.parametrize("name", ["lenet5", "mnist_mlp", "three_layer"])
def test_an_example_without_data_takes_steps(name: str) -> None:
    """Steps on one batch lower its loss."""
    net = netlang.load(FOLDER / f"{name}.net")
    random = np.random.default_rng(0)
    (x,), (y,) = net.inputs, net.targets
    given = random.uniform(0, 0.3, (8, *(extent.constant for extent in x.shape)))  # as dark as pixels are on average
    wanted = random.integers(0, 10, 8) if y.classes is not None else random.integers(0, 2, (8, 1))
    losses = [net.step(**{x.name: given, y.name: wanted}) for _ in range(6)]
    assert losses[-1] < losses[0]


# --- circuits ------------------------------------------------------------------------------------------------------

CIRCUITS: dict[str, tuple[dict[str, Any], float, dict[str, Any]]] = {
    "circuit.net": ({"x": -2, "y": 5, "z": -4}, -12, {"x": -4, "y": -4, "z": 3}),
    "sigmoid_neuron.net": (
        {"w": [2, -3, -3], "x": [-1, -2]},
        0.7311,
        {"w": [-0.1966, -0.3932, 0.1966], "x": [0.3932, -0.5898]},
    ),
    "norm_squared.net": (
        {"W": [[0.1, 0.5], [-0.3, 0.8]], "x": [0.2, 0.4]},
        0.116,
        {"W": [[0.088, 0.176], [0.104, 0.208]], "x": [-0.112, 0.636]},
    ),
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_values_and_gradients_of_a_circuit(name: str) -> None:
    inputs, output, gradients = CIRCUITS[name]
    graph = graph_of(name)
    derived = derive(graph, graph.outputs["f"], list(gradients))
    values = evaluate(derived, {k: np.array(v, dtype=np.float64) for k, v in inputs.items()})
    assert float(values[graph.outputs["f"]]) == pytest.approx(output, abs=5e-5)
    for wrt, expected in gradients.items():
        np.testing.assert_allclose(values[derived.gradients[wrt]], expected, atol=5e-5)


def test_examples_use_the_library_alone() -> None:
    own = {d.name.id for path in EXAMPLES for d in read(path.name)[0].own if d.kind not in ("net", "train")}
    assert not own
