"""From an interface and the net's values to the bytes of a library, its header, and its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from netlang.cache import cache_folder
from netlang.graph.integer import Floor, Int, Size
from netlang.targets.cpu import optimize
from netlang.targets.cpu.cache import ObjectCache, key
from netlang.targets.cpu.generate import ENTRY, generate
from netlang.targets.cpu.library.digest import digest
from netlang.targets.cpu.library.format import CLOCK, FORMAT, MANIFEST, VERSION
from netlang.targets.cpu.library.header import header
from netlang.targets.cpu.library.interface import Argument, Function, Interface
from netlang.targets.cpu.library.layout import Block
from netlang.targets.cpu.library.link import Data, link
from netlang.targets.cpu.library.processor import Processor
from netlang.targets.cpu.library.wrapper import exported, manifest_symbol, program_symbol, values_symbol, wrapper
from netlang.targets.cpu.native import Unit, block_objects, compiler, symbol


@dataclass(frozen=True)
class Library:
    """What is written: the shared library, its C header, and the values where they lie beside it."""

    code: bytes
    header: str
    values: bytes


def build(
    interface: Interface, processor: Processor, values: Mapping[str, Any], facts: Mapping[str, Any], name: str
) -> Library:
    """Compile and link a library with the soname `name`.

    `values` are the counters and tensors of the struct by name; `facts` go into the manifest as they are. Raises
    `NetlangError`: `no-linker`, `link-failed`.
    """
    packed = pack(interface.net, values)
    objects = [_kernels(interface, function, processor) for function in interface.functions]
    store = ObjectCache(cache_folder())
    blocks = (each for code in objects for each in block_objects(code, processor.kernels, store).values())
    objects += dict.fromkeys(blocks)  # one for all functions that call it
    objects.append(_object(wrapper(interface), processor.baseline, exported(interface)))
    manifest = json.dumps({**facts, **_facts(interface, processor, packed)}, sort_keys=True).encode()
    framed = len(manifest).to_bytes(8, "little") + hashlib.sha256(manifest).digest() + manifest + b"\0"
    data = [Data(framed, {MANIFEST: True, manifest_symbol(interface): False})]
    if interface.embedded:
        data.append(Data(packed, {values_symbol(interface): False}))
    code = link(objects, data, name, processor.baseline.triple)
    title = f"{facts['net']}, compiled by netlang {facts['netlang']} for {_for(processor)}."
    return Library(code, header(interface, title), b"" if interface.embedded else packed)


def pack(block: Block, values: Mapping[str, Any]) -> bytes:
    """The bytes of the struct of a net."""
    packed = np.zeros(block.bytes, np.uint8)
    for k, counter in enumerate(CLOCK):
        packed[8 * k : 8 * k + 8] = np.frombuffer(int(values[counter]).to_bytes(8, "little"), np.uint8)
    for field in block.fields:
        content = np.ascontiguousarray(values[field.name])
        packed[field.offset : field.offset + field.bytes] = content.reshape(-1).view(np.uint8)
    return packed.tobytes()


def _for(processor: Processor) -> str:
    return f"{processor.baseline.triple.partition('-')[0]} ({processor.name})"


def _kernels(interface: Interface, function: Function, processor: Processor) -> bytes:
    """The object with a function's kernels, whose only visible name, within the library, is that of their entry."""
    source = generate(function.program)
    dtype = np.dtype(np.float32 if interface.real == "f32" else np.float64)
    unit = Unit(source, (ENTRY,), dtype, processor.kernels)
    name = program_symbol(interface, function)
    store = ObjectCache(cache_folder())
    kept = key(("library", compiler(), unit.key, name))
    code = store.load(kept)
    if code is None:
        module = unit.optimized()
        entry = module.get_function(symbol(ENTRY))
        entry.name, entry.visibility = name, "hidden"
        code = optimize.object_code(module, processor.kernels)
        store.store(kept, code)
    return code


def _object(text: str, machine: optimize.Machine, shown: tuple[str, ...]) -> bytes:
    """The object of the wrapper; what it does not export is hidden."""
    target = machine.target()
    llvm.initialize_native_asmparser()
    module = llvm.parse_assembly(optimize.for_machine(text, target))
    for value in (*module.functions, *module.global_variables):
        if value.linkage == llvm.Linkage.external and value.name not in shown and not value.name.startswith("llvm."):
            value.visibility = "hidden"
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    llvm.create_pass_builder(target, tuning).getModulePassManager().run(
        module, llvm.create_pass_builder(target, tuning)
    )
    return optimize.object_code(module, machine)


# --- the manifest --------------------------------------------------------------------------------------------------


def _facts(interface: Interface, processor: Processor, packed: bytes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "prefix": interface.prefix,
        "dtype": "float32" if interface.real == "f32" else "float64",
        "triple": processor.baseline.triple,
        "processor": processor.name,
        "features": list(processor.needed),
        "values": {
            "embedded": interface.embedded,
            "bytes": interface.net.bytes,
            "digest": digest(np.frombuffer(packed, np.uint8)),
            "counters": list(CLOCK),
            "tensors": _fields(interface.net),
        },
        "gradients": {"bytes": interface.gradients.bytes, "tensors": _fields(interface.gradients)},
        "functions": {f.name: _function(f) for f in interface.functions},
    }


def _fields(block: Block) -> list[dict[str, Any]]:
    return [
        {"name": f.name, "kind": f.kind, "dtype": f.dtype, "shape": list(f.shape), "offset": f.offset}
        for f in block.fields
    ]


def _function(function: Function) -> dict[str, Any]:
    return {
        "sizes": list(function.sizes),
        "arguments": [_argument(a) for a in function.arguments],
        "unread": [_argument(a) for a in function.unread],
        "gradients": bool(function.gradients),
        "changes": function.changes,
        "requirements": [requirement.text() for requirement in function.requirements],
    }


def _argument(argument: Argument) -> dict[str, Any]:
    return {
        "name": argument.name,
        "role": argument.role,
        "dtype": argument.dtype,
        "shape": [_extent(n) for n in argument.shape],
        "classes": None if argument.classes is None else _extent(argument.classes),
    }


def _extent(value: Int) -> Any:
    """A number, the name of a size, or a sum of `[coefficient, factors]` whose factors are names or quotients."""
    if value.is_constant:
        return value.constant
    if isinstance(value.single, Size):
        return value.single.name
    return [[c, [_factor(atom) for atom in monomial]] for monomial, c in value.terms]


def _factor(atom: Any) -> Any:
    if isinstance(atom, Size):
        return atom.name
    return {"floor" if isinstance(atom, Floor) else "remainder": _extent(atom.value), "by": atom.divisor}
