"""A Program as readable Python: one function for each distinct kernel, and the entry `run` that calls them in order.

The text is a generated module (see `source`): addresses are row-major places with strides written out, loops have the
user's index names, and above each kernel stand its equations and where they were written. What is kept from run to run
is filled by an entry of its own, `prepare`.

Threads call an entry at the same time, each with a table of numbers of its own, which begins with what `team` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netlang.graph.integer import ZERO, Int, is_nonnegative
from netlang.schedule.program import (
    Alone,
    Assign,
    Block,
    Buffer,
    Combine,
    Dot,
    Extreme,
    Guard,
    Kernel,
    Loop,
    Once,
    Pack,
    Program,
    Search,
    Share,
    Statement,
    Step,
    Store,
    Transform,
    Turn,
    statements,
    transform_name,
)
from netlang.schedule.text import source_text
from netlang.targets.cpu.expressions import SUM, UNARY, Expressions, sizes_text
from netlang.targets.cpu.names import Names, identifier
from netlang.targets.cpu.sharing import OWN, TEAM

PREPARE, ENTRY = "prepare", "run"
POINTERS = "<pointers>"
COMBINE = {"sum": "{0} += {1}", "prod": "{0} *= {1}", "max": "{0} = max({0}, {1})", "min": "{0} = min({0}, {1})"}


def address_slots(program: Program) -> tuple[str, ...]:
    """The buffers in the order of the entry's table of addresses."""
    return tuple(program.buffers)


def number_slots(program: Program) -> tuple[str, ...]:
    """What the entry's table of numbers has: about the thread, the run-time sizes, the keys of random nodes."""
    return (*TEAM, *program.sizes, *program.keys)


def generate(program: Program) -> str:
    """The source text of a program; kernels that differ in names alone are written once."""
    names = Names()
    addresses = {name: k for k, name in enumerate(address_slots(program))}
    numbers = {name: f"sizes[{k}]" for k, name in enumerate(number_slots(program))}
    written: dict[str, str] = {}
    texts: list[str] = []
    calls: list[str] = []
    for kernel in (*program.prepared, *program.kernels):
        function = _Function(program, kernel, Names(canonical=True))
        canonical = function.text("kernel")
        if canonical not in written:
            written[canonical] = names.unique(identifier(kernel.name))
            comment = [f"# {source_text(text, origin)}" for text, origin in kernel.sources]
            readable = Names()
            for slot, buffer in function.body.memory.items():  # tensors have the first choice of names
                readable.prefer("buffer", slot, identifier(buffer))
            texts.append("\n".join([*comment, _Function(program, kernel, readable).text(written[canonical])]))
        calls.append(f"    {written[canonical]}({', '.join(function.arguments(addresses, numbers))})")
    first = len(program.prepared)
    each = {PREPARE: calls[:first], ENTRY: calls[first:]}
    texts += ["\n".join([f"def {e}(memory, sizes):", *(each[e] or ["    return"])]) for e in entries(program)]
    return "\n\n\n".join(texts) + "\n"


def entries(program: Program) -> tuple[str, ...]:
    """What the text of a program exports."""
    return (PREPARE, ENTRY) if program.prepared else (ENTRY,)


class _Function:
    """The text of one kernel; its parameters are what its body turns out to name, in that order."""

    def __init__(self, program: Program, kernel: Kernel, names: Names) -> None:
        self.program, self.kernel, self.names = program, kernel, names
        self.body = Expressions(program, kernel, names)
        self.begun = ""  # what says whether a thread has begun with what is shared
        if kernel.flat:
            names.prefer("index", self._flat_loop().index, "n")
        self._block(kernel.body)
        self._give_memory_away()

    def _flat_loop(self) -> Loop:
        return next(s for s in statements(self.kernel.body) if isinstance(s, Loop))

    def _give_memory_away(self) -> None:
        """Where a thread may wait for others to do what it needs, name the memory that they change."""
        waits = sum(1 + line.startswith(" " * 5) for line in self.body.lines if POINTERS in line)  # again in a loop
        pointers = "".join(f", {self.names.of('buffer', b)}" for b in self.names.used("buffer")) if waits > 1 else ""
        self.body.lines = [line.replace(POINTERS, pointers) for line in self.body.lines]

    def text(self, name: str) -> str:
        parameters = [f"{self.names.of('buffer', b)}: {self._element(b)}[:]" for b in self.names.used("buffer")]
        for domain in ("key", "size"):
            parameters += [f"{self.names.of(domain, n)}: i64" for n in self.names.used(domain)]
        parameters.append("team: i64[:]")
        return "\n".join([f"def {name}({', '.join(parameters)}):", *self.body.lines])

    def arguments(self, addresses: Mapping[str, int], numbers: Mapping[str, str]) -> list[str]:
        out = [self._address(self.program.buffers[b], addresses, numbers) for b in self.names.used("buffer")]
        out += [numbers[k] for k in self.names.used("key")]
        if self.kernel.flat:
            out.append(sizes_text(self.kernel.extents[self._flat_loop().index], numbers))
        else:
            out += [numbers[s] for s in self.names.used("size")]
        return [*out, "sizes"]

    def _address(self, buffer: Buffer, addresses: Mapping[str, int], numbers: Mapping[str, str]) -> str:
        address = f"{self._element(buffer.name)}(memory, {addresses[buffer.name]})"
        if buffer.apart is None:
            return address
        return f"offset({address}, {numbers[OWN]}*({sizes_text(buffer.apart, numbers)}))"

    def _element(self, buffer: str) -> str:
        return {"int": "i64", "byte": "u8"}.get(self.program.buffers[buffer].dtype, "real")

    # --- statements ---

    def _block(self, body: Iterable[Statement]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, s: Statement) -> None:
        write = self.body
        if isinstance(s, Loop):
            self._header(f"for {self.names.of('index', s.index)} in {self._range(s)}:", s.body)
        elif isinstance(s, Guard):
            self._header(f"if {write.condition(s.condition)}:", s.body)
        elif isinstance(s, Share):
            self._share(s)
        elif isinstance(s, Once):
            self._header(f"if {self.begun} <= 0:", s.body)
            write.emit(f"    {self.begun} = 1")
        elif isinstance(s, Alone):
            self._header(f"while alone(team{POINTERS}):", s.body)
        elif isinstance(s, Assign):
            if s.dtype == "int":
                write.emit(f"{self.names.of('index', s.name)} = {write.whole(s.value)}")
            else:
                value = write.real(s.value)
                write.emit(f"{self.names.of('scalar', s.name)} = {value}")
        elif isinstance(s, Combine):
            value = write.real(s.value)
            write.emit(COMBINE[s.op].format(self.names.of("scalar", s.name), value))
        elif isinstance(s, Extreme):
            self._extreme(s)
        elif isinstance(s, Search):
            self._search(s)
        elif isinstance(s, Block):
            self._block_call(s)
        else:
            self._store(s)

    def _block_call(self, s: Block) -> None:
        write = self.body
        name, moves = type(s).__name__.lower(), list[tuple[Int, ...]]()
        if isinstance(s, Pack):
            target = write.pointer(s.target, (ZERO, s.at + s.to))
            target = self._panels(target, s.first, s.steps)
            values = [target, write.pointer(s.source.tensor, s.source.indices), str(s.panel)]
            values += [self._end("min", s.lanes), write.integer(s.lane)]
            moves = [(step.left, step.right) for step in s.steps]
        elif isinstance(s, Turn):
            values = [write.pointer(s.target, (s.to, ZERO)), write.integer(self._pitch(s.target))]
            values += [write.pointer(s.source, (s.first, ZERO)), write.integer(self._pitch(s.source))]
            values += [self._end("min", s.rows), write.integer(s.lanes)]
        elif isinstance(s, Transform):
            name = transform_name(s.sizes)
            values = [write.pointer(s.target, s.to), write.integer(s.apart)]
            values += [write.pointer(s.source.tensor, s.source.indices), write.integer(s.lane)]
            values += [self._end("min", s.lanes), *map(write.integer, s.moves)]
        elif isinstance(s, Dot):
            values = [write.pointer(s.target, (ZERO, s.first)), write.integer(self._pitch(s.target))]
            values.append(write.integer(s.rows))
            values += [write.pointer(s.left.tensor, s.left.indices), write.integer(s.row)]
            values += [write.pointer(s.right.tensor, s.right.indices), write.integer(s.lane), write.integer(s.lanes)]
            moves = [(step.left, step.right) for step in s.steps]
        else:
            name = f"multiply_{s.panel}"
            values = [write.pointer(s.target, (s.first, s.to)), write.integer(self._pitch(s.target))]
            values += [str(int(s.is_far)), write.integer(s.start)]
            values.append(self._end("min", s.rows))
            values += [write.pointer(s.left.tensor, s.left.indices), write.integer(s.row)]
            right = write.pointer(s.right.tensor, s.right.indices)
            values += [self._panels(right, s.lane, s.steps), write.integer(s.lanes), write.integer(s.turn)]
            moves = [(step.left,) for step in s.steps]
        for step, each in zip(() if isinstance(s, Turn | Transform) else s.steps, moves, strict=True):
            values += [self._end("min", step.counts), *map(write.integer, each)]
        write.emit(f"{name}({', '.join(values)})")

    def _panels(self, pointer: str, lane: Int, steps: tuple[Step, ...]) -> str:
        """Where the panel of a lane is; a panel is as long as the turns are many."""
        if lane == ZERO:
            return pointer
        turns = "*".join(f"({self._end('min', step.counts)})" for step in steps)
        return f"offset({pointer}, {self.body.integer(lane, UNARY)}*{turns})"

    def _pitch(self, matrix: str) -> Int:
        return self.program.tensors[matrix].shape[1]

    def _header(self, line: str, body: Iterable[Statement]) -> None:
        self.body.emit(line)
        self.body.margin += "    "
        self._block(body)
        self.body.margin = self.body.margin[:-4]

    def _share(self, s: Share) -> None:
        write = self.body
        extent = self.names.of("size", "size") if self.kernel.flat else write.integer(s.extent)
        units = "0"
        if s.least:
            units = f"{extent}//{s.least}" if self.kernel.flat else write.integer(s.extent // s.least)
        if any(isinstance(inside, Once) for inside in s.body):
            self.begun = self.names.unique("begun")
            write.emit(f"{self.begun} = 0")
        write.emit(f"while another(team, {units}{POINTERS}):")
        write.margin += "    "
        for name, behind in ((s.first, 0), (s.last, 1)):
            write.emit(f"{self.names.of('index', name)} = share({extent}, {s.grain}, team, {behind})")
        self._block(s.body)
        write.margin = write.margin[:-4]

    def _range(self, loop: Loop) -> str:
        if self.kernel.flat and loop.starts == (ZERO,):
            return f"range({self.names.of('size', 'size')})"
        start = self._end("max", loop.starts)
        stop = self._end("min", loop.stops)
        return f"range({stop})" if start == "0" else f"range({start}, {stop})"

    def _end(self, function: str, ends: tuple[Int, ...]) -> str:
        """The greatest start or the least stop, without those that another one decides."""
        texts = [self.body.integer(e) for e in self._deciding(function, ends)]
        text = texts[0]
        for other in texts[1:]:
            text = f"{function}({text}, {other})"
        return text

    def _deciding(self, function: str, ends: tuple[Int, ...]) -> list[Int]:
        kept: list[Int] = []
        for end in dict.fromkeys(ends):
            if any(self._decides(function, other, end) for other in kept):
                continue
            kept = [other for other in kept if not self._decides(function, end, other)] + [end]
        return kept

    def _decides(self, function: str, one: Int, other: Int) -> bool:
        difference = (one - other if function == "max" else other - one).bounds(self.kernel.extents)
        return difference is not None and is_nonnegative(difference[0])

    def _extreme(self, s: Extreme) -> None:
        value, place = self.names.unique("value"), self.body.integer(s.place)
        best, found = self.names.of("scalar", s.best), self.names.of("index", s.name)
        self.body.emit(f"{value} = {self.body.real(s.value)}")
        better = ">" if s.op == "argmax" else "<"
        self.body.emit(f"if {value} {better} {best} or (isnan({value}) and not isnan({best})):")
        self.body.emit(f"    {best} = {value}")
        self.body.emit(f"    {found} = {place}")

    def _search(self, s: Search) -> None:
        """Bisection: the place is from `found` to `last`."""
        found, last = self.names.of("index", s.name), self.names.unique("last")
        middle = self.names.of("index", s.index)
        self.body.emit(f"{found} = 0")
        self.body.emit(f"{last} = {self.body.integer(s.extent - 1)}")
        self.body.emit(f"while {found} < {last}:")
        self.body.margin += "    "
        self.body.emit(f"{middle} = ({found} + {last}) // 2")
        self.body.emit(f"if {self.body.real(s.value, SUM)} > 0.0:")
        self.body.emit(f"    {last} = {middle}")
        self.body.emit("else:")
        self.body.emit(f"    {found} = {middle} + 1")
        self.body.margin = self.body.margin[:-4]

    def _store(self, s: Store) -> None:
        tensor = self.program.tensors[s.tensor]
        value = self.body.whole(s.value) if tensor.dtype == "int" else self.body.real(s.value)
        target = self.body.element(s.tensor, s.indices)
        self.body.emit(COMBINE[s.op].format(target, value) if s.op else f"{target} = {value}")
