"""A Program ready to run: compiled, its arrays bound by address, its temporaries in one arena for all runs.

What it computes from parameters alone it keeps. An object `Changes` says whether these may have changed since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from numpy import empty

from netlang.diagnostics import InternalError
from netlang.graph.integer import ZERO, Int
from netlang.schedule.memory import ALIGNMENT, plan, plan_kept
from netlang.schedule.program import Program
from netlang.targets.cpu import epochs, optimize
from netlang.targets.cpu.address import address, aligned
from netlang.targets.cpu.cache import ObjectCache
from netlang.targets.cpu.generate import ENTRY, PREPARE, address_slots, entries, generate, number_slots
from netlang.targets.cpu.native import Entry, NativeModule, Unit, compile_module, find_module
from netlang.targets.cpu.sharing import APART, EACH, MOST, OWN, PARTS, SEVERAL, SHARED
from netlang.targets.cpu.team import team

Array = npt.NDArray[Any]
ENOUGH = 60_000  # cycles of a run for each thread, below which another one costs more than it gives
_NO_KEYS: Mapping[str, int] = MappingProxyType({})

MOST_BINDINGS = 64  # that a program remembers, for as many run-time sizes


class Changes(Protocol):
    """Whether parameters have changed: `mark` is one object as long as they have not, and None where they may have.

    It has the arrays of parameters and states that it speaks of, by name. `settled` says whether they are at rest: it
    is a new mark, or None where they may change at any time. Who changes them sets the mark to None afterwards.
    """

    mark: object | None

    def __getitem__(self, name: str) -> Array: ...

    def settled(self) -> object | None: ...


class _Unknown:
    """Of arrays that one knows nothing of."""

    mark: object | None = None

    def __getitem__(self, name: str) -> Array:
        raise KeyError(name)

    def settled(self) -> object | None:
        return None


_UNKNOWN, _NEVER = _Unknown(), object()


def build(
    program: Program,
    dtype: npt.DTypeLike = np.float32,
    *,
    cpu: str = "native",
    cache: ObjectCache | None = None,
    threads: int = 1,
) -> CpuProgram:
    """Generate and compile a program, or find it compiled. `dtype`, float32 or float64, is that of its reals."""
    module = compile_module(generate(program), entries(program), dtype=dtype, cpu=cpu, cache=cache)
    return CpuProgram(program, np.dtype(dtype), module, lambda: program, threads)


def found(
    outline: Program, dtype: npt.DTypeLike, keys: Sequence[str], program: Callable[[], Program], *, threads: int = 1
) -> CpuProgram | None:
    """A program that was built before, from its outline and the keys of its objects; None where these are gone.

    `program` makes the whole program, for those who want to see it.
    """
    made = np.dtype(dtype)
    exported = entries(outline)
    module = find_module(keys, exported, lambda: Unit(generate(program()), exported, made, optimize.machine()))
    return None if module is None else CpuProgram(outline, made, module, program, threads)


class CpuProgram:
    """Runs a program on arrays of the caller.

    Reals are arrays of `dtype`, ints of int64; all are C-contiguous and of the shape that the program says. One run at
    a time: others wait. All runs have their temporaries in one arena, as large as the largest so far needs.

    What depends on parameters alone is computed where they have changed, as far as `changes` knows them, else in every
    run.

    The `outline` (see `netlang.schedule.program.outlined`) is all that runs need; the whole program is made when it is
    asked for.
    """

    def __init__(
        self,
        outline: Program,
        dtype: np.dtype[Any],
        module: NativeModule,
        program: Callable[[], Program],
        threads: int = 1,
    ) -> None:
        self.outline, self.dtype, self.module, self._whole = outline, dtype, module, program
        self.threads = min(threads, MOST)
        self.slots = {name: k for k, name in enumerate(address_slots(outline))}
        self.numbers = {name: k for k, name in enumerate(number_slots(outline))}
        self.entry = module.entry(ENTRY)
        self.changes: Changes = _UNKNOWN
        self.prepared = _NEVER  # the mark of the parameters when what is kept was computed
        self.lock = threading.Lock()
        self.start = 0  # the address from which the arena is used
        self._arena = np.empty(0, np.uint8)
        self._bindings: dict[tuple[tuple[str, ...], tuple[int, ...]], Binding] = {}

    @cached_property
    def program(self) -> Program:
        """The whole program."""
        return self._whole()

    @cached_property
    def source(self) -> str:
        """The text of its kernels."""
        return generate(self.program)

    def run(
        self, arrays: Mapping[str, Array], sizes: Mapping[str, int], keys: Mapping[str, int] = _NO_KEYS
    ) -> dict[str, Array]:
        """Run once; returns the array of each root of the program, by the root's name.

        `arrays` holds every input, parameter and state that the program reads, and may hold output buffers by name;
        outputs that it lacks are made. Parameters and states that the program updates are written in place. `keys` has
        the key of each random node. Raises `InternalError` where an array is missing or has a wrong dtype, layout or
        shape: callers check what users give.
        """
        return self.binding(sizes).run((), keys, arrays)

    def binding(self, sizes: Mapping[str, int], given: tuple[str, ...] = ()) -> Binding:
        """Runs of these sizes, each of which gets the arrays that `given` names; the same for the same."""
        key = given, tuple([sizes.get(name, 0) for name in self.outline.sizes])
        found = self._bindings.get(key)
        if found is None:
            if len(self._bindings) >= MOST_BINDINGS:
                self._bindings.clear()
            found = self._bindings[key] = Binding(self, sizes, given)
        return found

    def bytes(self, sizes: Mapping[str, int]) -> int:
        """The bytes of what is kept and of the arena that holds all temporaries, for these run-time sizes."""
        kept = plan_kept(self.outline, self.dtype.itemsize).bytes
        return kept + plan(self.outline, sizes, self.dtype.itemsize, self.parts(sizes)).bytes

    @cached_property
    def kept(self) -> tuple[Array, Mapping[int, int]]:
        """The memory of what is kept from run to run, and where in it the buffers of slots are."""
        placed = plan_kept(self.outline, self.dtype.itemsize)
        memory = _memory(placed.bytes)
        return memory, {self.slots[name]: address(memory) + offset for name, offset in placed.offsets.items()}

    def parts(self, sizes: Mapping[str, int]) -> int:
        """How many threads a run of these sizes takes: no more than are worth it."""
        return max(1, min(self.threads, self._work.evaluate(sizes) // ENOUGH))

    @cached_property
    def _work(self) -> Int:
        return sum((kernel.work for kernel in self.outline.kernels), ZERO)

    def reserve(self, count: int) -> int:
        """Make room for so many bytes in the arena; returns where it starts."""
        if len(self._arena) < count or not self.start:
            self._arena = _memory(count)
            self.start = address(self._arena)
        return self.start


def _memory(count: int) -> Array:
    """So many bytes, in memory now, and the same in each process."""
    memory = aligned((count,), np.uint8, ALIGNMENT)
    memory.fill(0)
    return memory


class External(NamedTuple):
    """What the caller owns, at given run-time sizes."""

    name: str
    slot: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    kind: str


class Binding:
    """Runs of a program at given run-time sizes, on arrays that it holds and on some that come with each run.

    What is held costs a run nothing: it is checked, and its address taken, when it takes its place.
    """

    def __init__(self, program: CpuProgram, sizes: Mapping[str, int], given: Sequence[str] = ()) -> None:
        wanted, itemsize = program.outline, program.dtype.itemsize
        if missing := [name for name in wanted.sizes if name not in sizes]:
            raise InternalError("CpuProgram.run", f"no run-time size `{missing[0]}`")
        self._program, self._lock = program, program.lock
        parts = program.parts(sizes)
        placed = plan(wanted, sizes, itemsize, parts)
        self._bytes, self._start = placed.bytes, -1  # where the arena was when the table was written
        self._temporaries = [program.slots[name] for name in placed.offsets]
        self._offsets = np.array([*placed.offsets.values()], np.int64)
        self.memory = np.zeros(max(1, len(program.slots)), np.int64)
        self._words = memoryview(self.memory)  # type: ignore[arg-type]  # takes a number in less time
        self.numbers, counters = _numbers(program.numbers, parts)
        for name in wanted.sizes:
            self.numbers[:, program.numbers[name]] = sizes[name]

        self._held_by_threads = program, counters
        self.call = self._bound(program.entry, self.memory)
        self._prepare = self._bound(program.module.entry(PREPARE), self.memory) if wanted.prepared else None
        self._changes: Changes = _UNKNOWN  # of the parameters that are held
        for slot, place in program.kept[1].items():
            self.memory[slot] = place
        self._keys = [(name, program.numbers[name]) for name in wanted.keys]
        externals = {
            b.name: External(
                b.name,
                program.slots[b.name],
                tuple(e.evaluate(sizes) for e in b.shape),
                np.dtype(np.int64) if b.dtype == "int" else program.dtype,
                b.kind,
            )
            for b in wanted.of_kind("input", "param", "state", "output")
        }
        self._given_names = tuple(given)
        self._given = [(k, externals.pop(name).slot) for k, name in enumerate(given)]
        self._externals = list(externals.values())
        self._held: dict[str, Array] = {}
        self._made: list[tuple[str, int, tuple[int, ...], np.dtype[Any]]] = []  # outputs, new ones for each run
        self._gives_roots = False  # whether these are the roots as they are
        self._roots = [
            (root, tensor.buffer, tuple(e.evaluate(sizes) for e in tensor.shape))
            for root, tensor in wanted.outputs.items()
        ]

    def _bound(self, entry: Entry, memory: Array, held: Any = None) -> Callable[[], None]:
        """The call of an entry by all threads of a run; `held` is what they use besides."""
        if len(self.numbers) > 1:
            return team().bind(entry.address, memory, self.numbers, (self._held_by_threads, held))
        return entry.bind(memory, self.numbers)

    def hold(self, arrays: Mapping[str, Array]) -> None:
        """Run on these from now on; outputs that are not among them are made by each run."""
        held = self._held
        made: list[tuple[str, int, tuple[int, ...], np.dtype[Any]]] = []
        others = False
        for external in self._externals:
            array = arrays.get(external.name)
            if array is None:
                if external.kind != "output":
                    raise InternalError("CpuProgram.run", f"no array for the {external.kind} `{external.name}`")
                made.append(external[:4])
            elif held.get(external.name) is not array:
                _check(external, array)
                self.memory[external.slot] = address(array)
                held[external.name] = array
                others = True
        if others and self._prepare is not None:
            known = self._program.changes
            is_known = known is not _UNKNOWN and all(held[n] is known[n] for n in self._program.outline.copied)
            self._changes = known if is_known else _UNKNOWN
        if made != self._made:
            self._made = made
            self._gives_roots = {(name, name, shape) for name, _, shape, _ in made} == set(self._roots)

    def run(
        self,
        given: Sequence[Array] = (),
        keys: Mapping[str, int] = _NO_KEYS,
        others: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Run once; returns the array of each root, by the root's name.

        `given` are known to fit; `keys` has the key of each random node; `others` are held from now on.
        """
        words = self._words
        found: dict[str, Array] = {}
        self._lock.acquire()  # a `with` would take as long as all that is done here for an array
        try:
            if self._start != self._program.start:
                self._place_temporaries()
            if others is not None:
                self.hold(others)
            for k, slot in self._given:  # so would a `zip`
                words[slot] = address(given[k])
            for name, slot, shape, dtype in self._made:
                array = found[name] = empty(shape, dtype)
                words[slot] = address(array)
            if self._keys:
                self._take_keys(keys)
            if self._prepare is not None and self._program.prepared is not self._changes.mark:
                self._keep(self._prepare)
            self.call()
            return found if self._gives_roots else self._rooted(found, given)
        finally:
            self._lock.release()

    def steps(
        self,
        count: int,
        order: Array,
        examples: Sequence[Array],
        losses: Sequence[str],
        keys: Array,
        clock: tuple[Array, int] | None = None,
        others: Mapping[str, Array] | None = None,
    ) -> Array:
        """Run so many times in one call, each time on the next of `examples` in `order`; returns the losses of each.

        `examples` are those that `given` names, all of them; `keys` has a row for each run; the `clock` is an array
        that each run finds one higher, from the given number; `losses` are roots without dimensions.
        """
        entry, words = epochs.entry(self._program.dtype), self._words
        with self._lock:
            if self._start != self._program.start:
                self._place_temporaries()
            if others is not None:
                self.hold(others)
            rows = len(order) // count
            dtypes = [np.int64 if a.dtype.kind in "iu" else a.dtype for a in examples]
            batch = [aligned((rows, *a.shape[1:]), dtype) for a, dtype in zip(examples, dtypes, strict=True)]
            for k, slot in self._given:
                words[slot] = address(batch[k])
            found = {name: np.empty(shape, dtype) for name, _, shape, dtype in self._made}
            for name, slot, _, _ in self._made:
                words[slot] = address(found[name])
            if self._prepare is not None and self._program.prepared is not self._changes.mark:
                self._keep(self._prepare)
            roots = self._rooted(found, batch)
            record = np.empty((count, len(losses)), self._program.dtype)
            slots = np.array([slot for _, slot in self._keys], np.int64)
            what = [*zip(examples, batch, strict=True)], (keys, slots), clock, [roots[name] for name in losses], record
            table = epochs.plan(count, order, *what, (self._program.entry.address, self.memory))
            self._bound(entry, table, (what, order, roots))()
            return record

    def _rooted(self, found: Mapping[str, Array], given: Sequence[Array]) -> dict[str, Array]:
        """The array of each root, of those made, given and held."""
        rooted: dict[str, Array] = {}
        for root, buffer, shape in self._roots:
            array = found.get(buffer)
            if array is None:
                array = self._held.get(buffer)
            if array is None:
                array = given[self._given_names.index(buffer)]
            rooted[root] = array if array.shape == shape else array.reshape(shape)
        return rooted

    def _take_keys(self, keys: Mapping[str, int]) -> None:
        for name, slot in self._keys:
            if name not in keys:
                raise InternalError("CpuProgram.run", f"no key for the random node `{name}`")
            self.numbers[:, slot] = keys[name]

    def _keep(self, prepare: Callable[[], None]) -> None:
        """Compute what is kept."""
        program, mark = self._program, self._changes.mark
        if mark is None:
            mark = self._changes.settled()
        program.prepared = _NEVER
        prepare()
        program.prepared = _NEVER if mark is None else mark

    def _place_temporaries(self) -> None:
        """Write the addresses of the temporaries, in an arena that may have been exchanged for a larger one."""
        self._start = self._program.reserve(self._bytes)
        self.memory[self._temporaries] = self._start + self._offsets


def _numbers(slots: Mapping[str, int], parts: int) -> tuple[Array, Array]:
    """The table of numbers of each of the threads, and one for a run by one thread; and what the threads count in."""
    counters = np.zeros(3 * APART, np.int64)
    numbers = np.zeros((parts + (parts > 1), len(slots)), np.int64)
    numbers[:parts, slots[OWN]] = range(parts)
    each = max(1, min(SEVERAL, MOST // parts))
    numbers[:parts, slots[EACH]] = each
    numbers[:parts, slots[PARTS]] = parts * each if parts > 1 else 1
    numbers[-1, slots[PARTS]] = 1
    numbers[:, slots[SHARED]] = -(-address(counters) // (8 * APART)) * 8 * APART
    return numbers, counters


def _check(external: External, array: Array) -> None:
    if (array.shape, array.dtype) != external[2:4] or not array.flags.c_contiguous:
        layout = "" if array.flags.c_contiguous else ", not contiguous"
        raise InternalError(
            "CpuProgram.run",
            f"`{external.name}` is {array.dtype}{list(array.shape)}{layout}; "
            f"it must be {external.dtype}{list(external.shape)}",
        )
