"""The blueprint of a net: what has been worked out from its text, kept on disk, so that another process need not.

What is kept lies beside the compiled code (see `netlang.targets.cpu.cache`) under the hash of all that it follows from:
the texts, the net and its arguments, netlang's own files, the versions of what it works with, and the processor. Only
what was found to be right is kept, so a text with a mistake is read anew, and refused anew. The model is there for
those who ask for more: graphs, derivations, whole programs.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import netlang
from netlang.cache import cache_folder
from netlang.garbage import no_collection
from netlang.graph.graph import Graph
from netlang.graph.nodes import BATCH, Input
from netlang.runtime.choices import Choices, remembered
from netlang.runtime.compiled import Compiled, Interface
from netlang.runtime.windows import fewer_products
from netlang.schedule.program import Program, outlined
from netlang.targets.cpu import optimize
from netlang.targets.cpu.address import aligned
from netlang.targets.cpu.cache import ObjectCache, key
from netlang.targets.cpu.native import ahead
from netlang.targets.cpu.program import build, found

if TYPE_CHECKING:
    from netlang.runtime.model import Model

Array = npt.NDArray[Any]
Use = str | tuple[str, tuple[str, ...]]
"""The name of a use (see `Model.computed`), or "gradients" with the names of the nodes to differentiate by."""

GRADIENTS = "gradients"
LOSS = ""  # the root of that use that is differentiated; no tensor has this name
OWN = (".py", ".net", ".lark")  # files of netlang that decide what is worked out


@dataclass(frozen=True)
class Outline:
    """What a net is before it computes anything: `shapes` of all parameters and states, the graph of their first
    values (pickled, as it is wanted late), inputs for one example, and the seed and the epochs of its recipe."""

    name: str
    seed: int
    epochs: int
    params: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: tuple[Input, ...]
    initial: bytes

    @staticmethod
    def of(model: Model) -> Outline:
        """Raises the diagnostics of all that the text says, its `train` section included."""
        recipe, graph = model.recipe, model.initial_graph
        return Outline(
            model.name,
            recipe.seed if recipe is not None else 0,
            recipe.epochs if recipe is not None else 1,
            tuple(p.name for p in model.inference.params),
            {name: tuple(e.evaluate({BATCH: 1}) for e in graph[node].shape) for name, node in graph.initial.items()},
            tuple(n for n in model.inference if isinstance(n, Input)),
            pickle.dumps(graph.evolve(scopes=()), pickle.HIGHEST_PROTOCOL),
        )


class Blueprint:
    """A model, made when it is needed, and what is known of it without. `identity` hashes what it follows from.

    Nothing is kept of a model that is traced, whose identity is empty.
    """

    def __init__(self, model: Callable[[], Model], identity: str) -> None:
        self._make, self.identity = model, identity

    @staticmethod
    def of(model: Model) -> Blueprint:
        return Blueprint(lambda: model, _identity(model))

    @cached_property
    def model(self) -> Model:
        return self._make()

    @cached_property
    def outline(self) -> Outline:
        kept = self._kept("outline")
        if isinstance(kept, Outline):
            return kept
        with no_collection():
            outline = Outline.of(self.model)
        self._keep(outline, "outline")
        return outline

    def first_values(self, names: Sequence[str], seed: int, dtype: npt.DTypeLike) -> dict[str, Array]:
        """First values of the named parameters and states. Raises MemoryError."""
        from netlang.targets.reference.evaluate import evaluate

        graph: Graph = pickle.loads(self.outline.initial)  # noqa: S301 - as trusted as the code beside it
        nodes = {name: graph.initial[name] for name in names}
        drawn = evaluate(graph, {}, {BATCH: 1}, seed=seed, only=nodes.values(), direct=False)
        values = {name: aligned(drawn[node].shape, dtype) for name, node in nodes.items()}
        for name, node in nodes.items():
            values[name][...] = drawn[node]
        return values

    def compiled(self, use: Use, dtype: np.dtype[Any], threads: int) -> Compiled:
        """What computes a use: found, or worked out and compiled."""
        choices = remembered(dtype)
        winograd = fewer_products()
        said = json.dumps([use, dtype.name, sorted(choices.items()), winograd])
        scheduled = partial(self._scheduled, use, choices, winograd)
        kept = self._kept("use", said)
        if isinstance(kept, _Kept):
            program = found(kept.outline, dtype, kept.keys, scheduled, threads=threads)
            if program is not None:
                return Compiled(kept.interface, program)
        with no_collection(), ahead(dtype):
            graph, roots, updates = self._graph(use)
            program = build(scheduled(), dtype, threads=threads)
            compiled = Compiled(Interface.of(graph, roots, updates), program)
        self._keep(_Kept(compiled.interface, outlined(program.program), tuple(program.module.objects)), "use", said)
        return compiled

    def _graph(self, use: Use) -> tuple[Graph, Mapping[str, str], Mapping[str, str]]:
        """The graph of a use, its roots by name, and the next values."""
        if isinstance(use, str):
            graph, roots = self.model.computed(use)
            return graph, roots, graph.updates
        graph = self.model.gradient_graph(use[1])
        (loss,) = graph.objectives.values()
        return graph, {LOSS: loss, **graph.gradients}, {}

    def _scheduled(self, use: Use, choices: Choices, winograd: bool) -> Program:
        from netlang.schedule.schedule import schedule

        graph, roots, updates = self._graph(use)
        return schedule(graph, roots.values(), updates, choices, winograd=winograd)

    def _kept(self, *what: str) -> object:
        return _loaded(key((self.identity, *what))) if self.identity else None

    def _keep(self, value: object, *what: str) -> None:
        if self.identity:
            _store(key((self.identity, *what)), value)


@dataclass(frozen=True)
class _Kept:
    """What is kept of a compiled use: `keys` are those of the objects of its code."""

    interface: Interface
    outline: Program
    keys: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """What was read for a net: the SHA-256 of each file by its path, and the identity of the model that came of it."""

    digests: Mapping[str, str]
    identity: str

    def fits(self, files: Mapping[str, bytes]) -> bool:
        """Whether these are the files that were read."""
        return all(_digest(files[place]) == digest for place, digest in self.digests.items())


def open_blueprint(path: str, net: str | None = None, arguments: Mapping[str, object] | None = None) -> Blueprint:
    """The blueprint of a net of a `.net` file (see `netlang.runtime.model.load_model`).

    Where its files are as they were when it was last worked out, none of them is parsed.
    """
    files: dict[str, bytes] = {}  # as they are now
    used: dict[str, str] = {}  # the digests of those that the text leads to

    def read(place: str) -> bytes:
        if place not in files:
            from netlang.elaboration.modules import read_file

            files[place] = read_file(place)
        used[place] = _digest(files[place])
        return files[place]

    def model() -> Model:
        from netlang.elaboration.modules import load_module
        from netlang.runtime.model import load_model

        return load_model(path, net, arguments, load_module(path, read))

    said = _said(path, net, arguments or {})
    if said and _read_again([path], files):
        kept = _loaded(key((environment(), said, _digest(files[path]))))
        if isinstance(kept, _Read) and _read_again(kept.digests, files) and kept.fits(files):
            return Blueprint(model, kept.identity)
    made = model()
    blueprint = Blueprint.of(made)
    _ = blueprint.outline  # whatever is wrong is found before anything is kept
    if said:
        _store(key((environment(), said, used[path])), _Read(used, blueprint.identity))
    return blueprint


def _read_again(places: Sequence[str] | Mapping[str, str], files: dict[str, bytes]) -> bool:
    """Read files that are there as they may be; False where one is not."""
    for place in places:
        if place in files:
            continue
        try:
            if not os.path.isfile(place):
                return False
            files[place] = Path(place).read_bytes()
        except (OSError, ValueError):
            return False
    return True


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _said(path: str, net: str | None, arguments: Mapping[str, object]) -> str:
    """What is asked for, as a text that tells it from anything else; empty where an argument is not plain."""
    try:
        return json.dumps(["read", path, net, sorted(arguments.items())])
    except (TypeError, ValueError):
        return ""


def _identity(model: Model) -> str:
    """The hash of what a model follows from; empty where it is traced, or nothing can be said of netlang itself."""
    if model.trace is not None or not environment_files():
        return ""
    from netlang.elaboration.modules import standard_library

    module = model.module
    library = {} if module.library is standard_library() else module.library.sources
    said = json.dumps([module.name, model.name, model.without, *_sorted(model.arguments, module.texts, library)])
    return key((environment(), said))


def _sorted(*mappings: Mapping[str, Any]) -> list[list[tuple[str, Any]]]:
    return [sorted(mapping.items()) for mapping in mappings]


# --- on disk -------------------------------------------------------------------------------------------------------


def _loaded(kept: str) -> object:
    """What is kept under a key; None where there is nothing, or nothing that can be read."""
    try:
        data = ObjectCache(cache_folder()).load(kept)
        return None if data is None else pickle.loads(data)  # noqa: S301 - from a folder whose code is run anyway
    except Exception:  # whatever a pickle from elsewhere may raise: then it is worked out again
        return None


def _store(kept: str, value: object) -> None:
    """Keep a value, unless netlang's own files have changed since this process began to work with them."""
    if _own_files() != environment_files():
        return
    try:
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except RecursionError:
        return
    ObjectCache(cache_folder()).store(kept, data)


@cache
def environment() -> str:
    """Identifies all that works on a net: two that differ in any way that matters differ here."""
    from importlib import metadata

    machine = optimize.machine()
    packages = ("numba", "networkx", "lark")
    return key(
        (
            environment_files(),
            *(f"{name} {metadata.version(name)}" for name in packages),
            f"numpy {np.__version__} {optimize.versions()} {sys.version}",
            *(machine.triple, machine.cpu, machine.features),
        )
    )


@cache
def environment_files() -> str:
    """The hash of netlang's own files when they were first looked at."""
    return _own_files()


def _own_files() -> str:
    """The hash of netlang's own files; empty where there are none to be read."""
    package = Path(netlang.__file__).parent
    digest, count = hashlib.sha256(), 0
    for root in (package, package.parent / "grammar"):
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                if name.endswith(OWN):
                    place = Path(folder, name)
                    content = place.read_bytes()
                    digest.update(f"{place.relative_to(package.parent)}\0{len(content)}\0".encode())
                    digest.update(content)
                    count += 1
    return digest.hexdigest() if count else ""
