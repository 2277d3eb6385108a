"""Nets as native libraries: what is computed, from which values, under which names; `targets.cpu.library` makes it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from netlang.diagnostics import fail, listing
from netlang.graph.constructors import div, sub
from netlang.graph.expression import Read
from netlang.graph.graph import Graph
from netlang.graph.integer import index, integer
from netlang.graph.nodes import Equation, Input, Node, Origin, Param, Random, View, is_batched
from netlang.graph.traversal import rename_tensors
from netlang.passes.objective import NAME as OBJECTIVE
from netlang.random import base_key
from netlang.runtime.choices import remembered
from netlang.runtime.preprocess import Moments, Normalization
from netlang.runtime.storage import replacing
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.library.format import CLOCK, VALUES

if TYPE_CHECKING:
    from netlang.runtime.net import Net

WEIGHTS = ("embedded", "beside")
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


def save_native(
    net: Net,
    path: str | os.PathLike[str],
    *,
    training: bool = False,
    cpu: str = "native",
    weights: str = "embedded",
) -> tuple[str, ...]:
    """Write a net as a shared library and a C header beside it; returns the paths of the files.

    The library has `forward`, with `training` also `gradients` (of the loss by all parameters) and `step`. `cpu` is
    `native` (the processor of this machine) or a level, `x86-64` to `x86-64-v4`. With `weights="beside"` the values
    are in a file NAME.values next to the library.

    Raises `NetlangError`: `unknown-processor`, `no-linker`, `link-failed`, `cannot-write`, and what compiling raises.
    """
    from netlang.targets.cpu.library.build import build
    from netlang.targets.cpu.library.processor import processor

    if sys.platform == "win32":
        fail(
            "unknown-system", "native libraries are not made on Windows yet", help="use the WSL, or a `.netc` artifact"
        )
    if weights not in WEIGHTS:
        fail("bad-setting", f"the weights cannot be `{weights}`", help=f"they are one of {listing(WEIGHTS)}")
    made_for = processor(cpu)
    target = Path(path)
    interface, values = _interface(net, training, weights == "embedded", made_for.needed)
    facts = {
        "net": net.name,
        "netlang": metadata.version("netlang"),
        "text": hashlib.sha256("\0".join(net.model.module.texts.values()).encode()).hexdigest(),
        "arguments": dict(net.model.arguments),
        "seed": net.seed,
        "inputs": [node.name for node in net.inputs],
        "vocabulary": None if net.vocabulary is None else net.vocabulary.to_json(),
    }
    library = build(interface, made_for, values, facts, target.name)
    files = {target: library.code, target.with_suffix(".h"): library.header.encode()}
    if library.values:
        files[target.with_suffix(VALUES)] = library.values
    for place, content in files.items():
        with replacing(place) as file:
            file.write(content)
    return tuple(map(str, files))


def _interface(net: Net, training: bool, embedded: bool, needed: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    from netlang.targets.cpu.library.interface import Interface, c_names
    from netlang.targets.cpu.library.layout import block

    itemsize = net.dtype.itemsize
    constants = _constants(net, [net.model.forward_graph, *([net.model.step_graph] if training else [])])
    values = {**net.values, **constants}
    functions = [_forward(net)]
    if training:
        net.model.require_recipe()
        functions += [_gradients(net), _step(net)]
    kept = {b.name for f in functions for b in f.program.of_kind("param", "state")}
    kinds = {p.name: "param" for p in net.graph.params} | dict.fromkeys(constants, "constant")
    tensors = [
        (n, kinds.get(n, "state"), _dtype(v), v.shape) for n, v in values.items() if n in kept or n in net.params
    ]
    differentiated = [t for t in tensors if t[1] == "param"] if training else []
    names = c_names((name for name, *_ in tensors), CLOCK)
    interface = Interface(
        prefix=c_names([net.name])[net.name],
        real="f32" if net.dtype == np.float32 else "f64",
        net=block(tensors, names, itemsize, start=8 * len(CLOCK)),
        gradients=block(differentiated, names, itemsize),
        functions=tuple(functions),
        needed=needed,
        embedded=embedded,
    )
    return interface, {**{counter: getattr(net, counter) for counter in CLOCK}, **values}


def _dtype(array: Any) -> str:
    return "int" if array.dtype.kind == "i" else "real"


# --- the functions -------------------------------------------------------------------------------------------------


def _forward(net: Net) -> Any:
    graph = normalized(net.model.forward_graph, net.normalization)
    roots = graph.outputs or graph.losses
    return _function(net, "forward", graph, roots, updates=graph.updates)


def _gradients(net: Net) -> Any:
    graph = normalized(net.model.gradient_graph([p.name for p in net.graph.params]), net.normalization)
    return _function(net, "gradients", graph, {OBJECTIVE: graph.objectives[OBJECTIVE]}, gradients=graph.gradients)


def _step(net: Net) -> Any:
    graph = normalized(net.model.step_graph, net.normalization)
    return _function(net, "step", graph, graph.objectives, updates=graph.updates)


def _function(
    net: Net,
    name: str,
    graph: Graph,
    outputs: Mapping[str, str],
    updates: Mapping[str, str] = MappingProxyType({}),
    gradients: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    from netlang.targets.cpu.library.interface import Argument, Function, c_names

    program = schedule(graph, [*outputs.values(), *gradients.values()], updates, remembered(net.dtype), keeps=False)
    declared = [n for n in graph if isinstance(n, Input) and n.per_example]
    names = c_names(node.name for node in declared)
    filled = c_names(outputs, names.values())
    inputs = [Argument(n.name, names[n.name], n.name, n.role, n.dtype, n.shape, n.classes) for n in declared]
    read = {buffer.name for buffer in program.of_kind("input")}
    arguments = [a for a in inputs if a.node in read]
    touched = [s for s in graph.states if is_batched(s) and s.name in program.buffers]
    carried = c_names((s.name for s in touched), [*names.values(), *filled.values()])
    arguments += [Argument(s.name, carried[s.name], s.name, "carried", s.dtype, s.shape) for s in touched]
    for key, root in outputs.items():
        node = graph[root]
        arguments.append(Argument(key, filled[key], root, "output", node.dtype, node.shape))
    by_root: dict[str, tuple[str, ...]] = {}
    for key, root in gradients.items():
        by_root[root] = (*by_root.get(root, ()), key)
    return Function(
        name,
        program,
        tuple(arguments),
        tuple(a for a in inputs if a.node not in read),
        graph.requirements,
        MappingProxyType(by_root),
        MappingProxyType({key: _base_key(net, graph[key]) for key in program.keys}),
        counts=name == "step",
    )


def _base_key(net: Net, node: Node) -> int:
    assert isinstance(node, Random)
    return base_key(net.seed, "", node.stream)  # the step is the integer before the stream: see `Net.run_checked`


# --- normalization -------------------------------------------------------------------------------------------------


def normalized(graph: Graph, normalization: Normalization) -> Graph:
    """A lifted graph that normalizes its inputs itself, by parameters `x.mean` and `x.scale`; what it reads of the
    vocabulary is a parameter too."""
    made: dict[str, list[Node]] = {}
    for name, moments in normalization.moments.items():
        node = graph.nodes.get(name)
        if isinstance(node, Input):
            made[name] = _normalizing(node, moments)
    names = {name: nodes[-1].name for name, nodes in made.items()}
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Input) and node.role == "vocabulary":
            node = Param(node.name, node.shape, node.dtype, node.origin)
        nodes += [_renamed(node, names), *made.get(node.name, ())]
    return graph.evolve(nodes, **graph.renamed_roots(names))


def _normalizing(node: Input, moments: Moments) -> list[Node]:
    origin = Origin(node.origin.span, node.origin.scope)
    indices = tuple(f"i{k}" for k in range(len(node.shape)))
    along = () if moments.axis is None else (index(indices[moments.axis + 1]),)
    shape = tuple(integer(len(moments.mean)) for _ in along)
    mean, scale = (Param(f"{node.name}.{word}", shape, "real", origin) for word in ("mean", "scale"))
    x = Read(node.name, tuple(map(index, indices)))
    body = div(sub(x, Read(mean.name, along)), Read(scale.name, along))
    return [mean, scale, Equation(f"{node.name}.normalized", node.shape, "real", origin, indices, body)]


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    if isinstance(node, View):
        return replace(node, operand=names.get(node.operand, node.operand))
    if isinstance(node, Equation):
        return replace(node, body=rename_tensors(node.body, names))
    return node


def _constants(net: Net, graphs: Iterable[Graph]) -> dict[str, Any]:
    """What an exported net knows besides its parameters and states: its normalization and tables of its vocabulary."""
    found: dict[str, Any] = {}
    for graph in graphs:
        found |= net.tables(graph.inputs("vocabulary"))
    for name, moments in net.normalization.moments.items():
        for word, numbers in (("mean", moments.mean), ("scale", moments.scale)):
            array = np.array(numbers, net.dtype)
            found[f"{name}.{word}"] = array.reshape(()) if moments.axis is None else array
    return found
