"""What a library exports: its functions and their arguments, the struct of the net's values, and how C says them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from netlang.graph.integer import Int, Size
from netlang.graph.sizes import Requirement
from netlang.schedule.program import Program, accesses
from netlang.targets.cpu.library.layout import Block
from netlang.targets.cpu.names import identifier

CLOCK_INPUTS = {"clock.step": 0, "clock.epoch": 1, "clock.steps": 2, "clock.epochs": 3}
"""Which of the counters an input of the role `clock` is, by its place in `format.CLOCK`."""

_WORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const constexpr
    const_cast continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
    friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public register reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast
    struct switch template this thread_local throw true try typedef typeid typename typeof union unsigned using virtual
    void volatile wchar_t while xor xor_eq net workspace batch gradients int64_t
"""
C_WORDS = frozenset(_WORDS.split())


def c_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """An identifier of C (and C++) for each name, like it, no two equal, none that begins with an underscore."""
    used, found = {*C_WORDS, *taken}, dict[str, str]()
    for name in names:
        base = identifier(name).lstrip("_") or "x"
        base = f"x{base}" if base[0].isdigit() else base
        text, k = base, 2
        while text in used:
            text, k = f"{base}_{k}", k + 1
        used.add(text)
        found[name] = text
    return found


@dataclass(frozen=True)
class Argument:
    """An array that a function reads (input, target), fills (output), or reads and writes (carried, a state of each
    example).

    `node` names the buffer of the program, or for outputs the root whose tensor it is.
    """

    name: str
    identifier: str
    node: str
    role: str
    dtype: str
    shape: tuple[Int, ...]
    classes: Int | None = None

    @property
    def is_read(self) -> bool:
        return self.role != "output"


@dataclass(frozen=True)
class Function:
    """A computation: a program, and where its inputs come from and its roots go to.

    `unread` are inputs of the net that do not matter here; only readers of the manifest know them. `gradients` maps
    roots to names of fields in the library's block of gradients. `keys` has the base key of each random node. `counts`
    says that a call is a step of training. `requirements` must hold of the run-time sizes.
    """

    name: str
    program: Program
    arguments: tuple[Argument, ...]
    unread: tuple[Argument, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    gradients: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    counts: bool = False

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The run-time sizes, the batch first."""
        shapes = [extent for a in self.arguments for extent in a.shape]
        atoms = (atom for extent in shapes for atom in extent.atoms())
        found = {*self.program.sizes, *(a.name for a in atoms if isinstance(a, Size))}
        return tuple(sorted(found, key=lambda name: (name != "batch", name)))

    @cached_property
    def changes(self) -> bool:
        """Whether a call changes the net's values."""
        kept = {b.name for b in self.program.of_kind("param", "state")} - {a.node for a in self.arguments}
        stores = (t for k in self.program.kernels for t, _, is_store in accesses(k.body) if is_store)
        return self.counts or any(self.program.tensors[t].buffer in kept for t in stores)


@dataclass(frozen=True)
class Interface:
    """All of a library: the prefix of its names, the net's values and gradients as structs, and its functions."""

    prefix: str
    real: str
    net: Block
    gradients: Block
    functions: tuple[Function, ...]
    needed: tuple[str, ...]
    embedded: bool

    @property
    def itemsize(self) -> int:
        return 4 if self.real == "f32" else 8

    def size_names(self, function: Function) -> dict[str, str]:
        """The C name of each run-time size of a function."""
        others = [size for size in function.sizes if size != "batch"]
        named = c_names(others, [a.identifier for a in function.arguments])
        return {size: named.get(size, size) for size in function.sizes}
