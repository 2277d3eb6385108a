"""Nets as `.netc` artifacts: their texts, their arguments and their values. Data only, nothing to run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy.typing as npt

from netlang.diagnostics import fail
from netlang.elaboration.modules import Library, Module, choose_net, load_module, standard_library
from netlang.elaboration.values import Value
from netlang.runtime.artifact import read_artifact, write_artifact
from netlang.runtime.model import Model
from netlang.runtime.preprocess import Normalization
from netlang.runtime.tensors import pack_tensors, unpack_tensors
from netlang.runtime.values import is_of_optimizer
from netlang.runtime.vocabulary import Vocabulary

if TYPE_CHECKING:
    from netlang.runtime.net import Net

NET = "net.json"
VOCABULARY = "vocabulary.json"
VALUES = "values.safetensors"
BEST = "best.safetensors"


def save(net: Net, path: str | os.PathLike[str], *, training: bool = False) -> None:
    """Write an artifact. With `training` it is a checkpoint: the optimizer's states and the course of the run too."""
    module = net.model.module
    kept = net.values if training else {n: net.values[n] for n in net.values if not is_of_optimizer(n)}
    document: dict[str, Any] = {
        "net": net.name,
        "file": os.path.basename(module.name),
        "arguments": dict(net.model.arguments),
        "dtype": str(net.dtype),
        "seed": net.seed,
        "steps": net.steps_done,
        "epochs": net.epochs_done,
        "total_steps": net.total_steps,
        "total_epochs": net.total_epochs,
        "normalization": net.normalization.to_json(),
        "history": net.history.to_json(),
        "training": training,
    }
    members = {
        VALUES: pack_tensors(kept),
        **{f"text/{name}": text.encode() for name, text in module.texts.items()},
        **{f"library/{name}": text.encode() for name, text in module.library.sources.items()},
    }
    if net.vocabulary is not None:
        members[VOCABULARY] = (json.dumps(net.vocabulary.to_json(), indent=1, sort_keys=True) + "\n").encode()
    if training and net.best is not None:
        document["best"] = {"steps": net.best.steps, "epochs": net.best.epochs, "watched": net.best.watched}
        members[BEST] = pack_tensors(net.best.values)
    members[NET] = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
    write_artifact(path, members)


def load(path: str | os.PathLike[str], *, dtype: npt.DTypeLike | None = None, threads: int | None = None) -> Net:
    """The net of an artifact, with the values it was saved with."""
    from netlang.runtime.history import History, Snapshot
    from netlang.runtime.net import Net

    name = os.fspath(path)
    members = read_artifact(name)
    document = _document(name, members)
    module = _module(name, document, members)
    model = Model(module, choose_net(module, document["net"]), document["arguments"])
    net = Net(model, dtype=dtype or document["dtype"], seed=document["seed"], threads=threads)
    _restore(net, name, members[VALUES])
    try:
        net.steps_done, net.epochs_done = int(document["steps"]), int(document["epochs"])
        net.total_steps, net.total_epochs = int(document["total_steps"]), int(document["total_epochs"])
        net.history = History.from_json(document["history"])
        if "best" in document:
            best = document["best"]
            values = unpack_tensors(members[BEST], f"{name}!{BEST}")
            net.best = Snapshot(values, int(best["steps"]), int(best["epochs"]), float(best["watched"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        _corrupt(name, NET, str(error))
    net.normalization = Normalization.from_json(document["normalization"])
    if VOCABULARY in members:
        try:
            kept = json.loads(members[VOCABULARY])
        except ValueError as error:
            _corrupt(name, VOCABULARY, str(error))
        net.vocabulary = Vocabulary.from_json(kept)
    return net


def _document(path: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    for needed in (NET, VALUES):
        if needed not in members:
            _corrupt(path, needed, "it is missing")
    try:
        document = json.loads(members[NET])
        fields = ("net", "file", "arguments", "dtype", "seed", "steps", "epochs", "normalization", "history")
        missing = [f for f in fields if f not in document]
    except (ValueError, TypeError) as error:
        _corrupt(path, NET, str(error))
    if missing:
        _corrupt(path, NET, f"it has no `{missing[0]}`")
    if not isinstance(document["arguments"], dict) or not all(map(_is_plain, document["arguments"].values())):
        _corrupt(path, NET, "its arguments are not numbers, texts or lists")
    if document["dtype"] not in ("float32", "float64") or not isinstance(document["seed"], int):
        _corrupt(path, NET, "its dtype or seed is wrong")
    return dict(document)


def _is_plain(value: Value) -> bool:
    return isinstance(value, bool | int | float | str) or (isinstance(value, list) and all(map(_is_plain, value)))


def _module(path: str, document: Mapping[str, Any], members: Mapping[str, bytes]) -> Module:
    """The module from the texts in the artifact; the library is the one it was compiled with."""
    own = {m.removeprefix("library/"): b for m, b in members.items() if m.startswith("library/")}
    texts = {n: b.decode() for n, b in own.items()}
    library = standard_library() if texts == standard_library().sources else Library(texts)
    return load_module(os.path.join(path, str(document["file"])), lambda p: _read_member(p, path, members), library)


def _read_member(wanted: str, path: str, members: Mapping[str, bytes]) -> bytes:
    member = "text/" + os.path.relpath(wanted, path).replace(os.sep, "/")
    if member not in members:
        raise FileNotFoundError(wanted)
    return members[member]


def _restore(net: Net, path: str, data: bytes) -> None:
    values = unpack_tensors(data, f"{path}!{VALUES}")
    needed = [*net.params, *(n for n in net.state if not is_of_optimizer(n))]
    for name in needed:
        if name not in values:
            _corrupt(path, VALUES, f"it has no `{name}`")
    for name, value in values.items():
        if net.values.shapes.get(name) != value.shape:
            _corrupt(path, VALUES, f"`{name}` is not a tensor of `{net.name}`, or has another shape")
        net.values.put(name, value)


def _corrupt(path: str, member: str, why: str) -> NoReturn:
    fail(
        "artifact-member",
        f"`{member}` does not fit the artifact: {why}",
        place=f"{path}!{member}",
        help="compile or train the net again",
    )
