"""A stream: a net that takes its sequence row by row, and remembers of the past what the next rows need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail
from netlang.graph.integer import size
from netlang.graph.nodes import BATCH, Input, Node, is_batched
from netlang.graph.sizes import check, settled
from netlang.passes.lift import lift
from netlang.passes.rows import NOW, without
from netlang.passes.stream import Streamed
from netlang.runtime.arguments import Argument, Known, checked
from netlang.runtime.choices import remembered
from netlang.runtime.compiled import Compiled, Interface
from netlang.runtime.inputs import arguments
from netlang.schedule.schedule import schedule
from netlang.targets.cpu.program import CpuProgram, build

if TYPE_CHECKING:
    from netlang.runtime.net import Net
    from netlang.runtime.preprocess import Moments

Array = npt.NDArray[Any]

ROOM = 16  # rows that there is room for at first; it doubles as needed


@dataclass(frozen=True)
class Streaming:
    """A net compiled for streams over one run-time size.

    `prologue` computes what does not depend on the sequence. `given` are the inputs that do not run over it, `wanted`
    those of them without which nothing can be computed; `rows` the inputs of which each step takes a row.
    """

    parts: Streamed
    prologue: Compiled
    step: CpuProgram
    given: Mapping[str, Argument]
    rows: Mapping[str, Argument]  # without the dimension over the sequence
    axes: Mapping[str, int]  # the dimension over the sequence of an input with the batch

    @property
    def wanted(self) -> set[str]:
        programs = (self.prologue.program.outline, self.step.outline)
        return {b.name for p in programs for b in p.of_kind("input")} & self.given.keys()

    @property
    def sizes(self) -> list[str]:
        """The run-time sizes that are known from the beginning."""
        programs = (self.prologue.program.outline, self.step.outline)
        return sorted({s for p in programs for s in p.sizes} - {self.parts.size, BATCH})


class Shown(NamedTuple):
    """An output: its node, the dimensions over the sequence, if any, and whether the first of the batch is meant."""

    name: str
    node: str
    over: tuple[bool, ...]
    is_first: bool


def compile_stream(net: Net, over: str | None) -> Streaming:
    """Compile a net for streams; raises the diagnostics of `netlang.passes.stream.stream`."""
    parts = net.model.streamed(over)
    prologue, step = parts.prologue, parts.step
    choices = remembered(net.dtype)
    before = build(schedule(prologue, prologue.outputs.values(), choices=choices), net.dtype, threads=net.threads)
    program = build(schedule(step, step.outputs.values(), step.updates, choices), net.dtype, threads=net.threads)
    before.changes = program.changes = net.values
    read = {b.name for p in (before, program) for b in p.outline.of_kind("input")}
    whole = [n for n in lift(net.graph) if isinstance(n, Input) and (n.role == "input" or n.name in read)]
    length = size(parts.size)
    axes = {n.name: n.shape.index(length) for n in whole if length in n.shape}
    return Streaming(
        parts,
        Compiled(Interface.of(prologue, prologue.outputs, {}), before),
        program,
        arguments((n for n in whole if n.per_example and length not in n.shape), net.dtype),
        arguments((replace(n, shape=without(n.shape, axes[n.name])) for n in whole if n.name in axes), net.dtype),
        axes,
    )


class Stream:
    """The outputs of a causal net for a sequence that is given one row at a time.

    After n rows the outputs are those of one call of the net for these n rows: of an output over the run-time size T,
    `y[t < T]`, the row of the latest step; another output, as `h[T-1]`, as it is. Each step costs as much as one row:
    what later rows read of earlier ones is kept, and nothing is computed again. (An output that all rows together
    decide, as a mean over them, is computed from all of them in every step.)

    Make one with `net.stream()`. It computes with the parameters that the net has at each step; what does not depend
    on the sequence is computed once, at the beginning. The arrays that it returns are its own and hold until the next
    step: copy what is to stay. A stream is used by one thread at a time.

    Attributes
    ----------
    batch : how many sequences run side by side, in step with each other.
    length : how many rows each has so far.
    limit : the greatest length, as for a net that reads a table with a row for each place; None without one.
    """

    batch: int
    length: int
    limit: int | None

    def __init__(
        self, net: Net, streaming: Streaming, batch: int | None, capacity: int | None, inputs: Mapping[str, Any]
    ) -> None:
        """`batch` sequences with room for `capacity` rows; `inputs` are those that do not run over the sequence.

        Raises `NetlangError`: the codes of `Net.forward` for what does not fit, and `bad-setting`.
        """
        numbers: dict[str, Any] = {"batch": batch, "capacity": capacity}
        for name, value in numbers.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
                fail("bad-setting", f"`{name}` is a whole number of at least 1, found {value!r}", help=f"`{name}=1`")
        self.net, self._streaming = net, streaming
        parts = streaming.parts
        self._fixed, sizes = self._begun(batch, inputs)
        self.batch, self.length = sizes[BATCH], 0
        self.limit = min((limit.room.evaluate(sizes) // limit.each for limit in parts.limits), default=None)
        self._over = size(parts.size)
        self._grows = parts.size in streaming.step.outline.sizes
        room = int(capacity or ROOM)
        self._sizes = {**sizes, parts.size: room if self.limit is None else max(1, min(room, self.limit))}
        self._names = tuple(name for name in streaming.rows if name in parts.rows)
        self._known = self._no_known()
        self._arrays: dict[str, Array] = {NOW: np.zeros((), np.int64)}
        self._arrays = self._allocated(self._sizes)

    def __copy__(self) -> Stream:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        return self.copy()

    def __repr__(self) -> str:
        return f"<Stream of {self.net.name}: batch {self.batch}, length {self.length}>"

    # --- what it does ---

    def step(self, **rows: npt.ArrayLike) -> dict[str, Array]:
        """The outputs by name, after one more row of each input over T.

        Rows have the shape [batch, ...] of the input without T; a stream of one sequence takes them without the batch
        too, and then gives outputs without it. Reals are in the dtype of the net, labels are int64. Raises
        `NetlangError` with the codes of `Net.forward` for what does not fit, and `stream-full` at the limit; a step
        that raises is none.
        """
        if self.limit is not None and self.length >= self.limit:
            self._refuse_row()
        names = self._names
        values: list[Any] = [rows.get(name) for name in names]
        shown = self._known.find(values) if len(rows) == len(names) else None
        if shown is None:
            values, shown = self._looked_at(rows)
        if moments := self.net.normalization.moments:
            values = [
                self._normalized(moments[n], n, a) if n in moments else a for n, a in zip(names, values, strict=True)
            ]
        if self._grows and self.length == self._sizes[self._streaming.parts.size]:
            room = 2 * self.length if self.limit is None else min(2 * self.length, self.limit)
            sizes = {**self._sizes, self._streaming.parts.size: room}
            self._arrays = self._allocated(sizes)
            self._sizes = sizes
        self._arrays[NOW][...] = self.length
        found = self._streaming.step.binding(self._sizes, names).run(values, others=self._arrays)
        self.length += 1
        outputs: dict[str, Array] = {}
        for output in shown:
            value = found[output.node]
            if output.over:
                value = value[tuple([slice(self.length if is_over else None) for is_over in output.over])]
            outputs[output.name] = value[0] if output.is_first else value
        return outputs

    def feed(self, **sequences: npt.ArrayLike) -> dict[str, Array]:
        """Several steps: the outputs after the last row of each input over T, `[batch, n, ...]` with n in place of T.

        Raises as `step` does, and `input-shape` where the inputs have no row, or not the same number; the steps before
        one that raises are done.
        """
        axes = self._streaming.axes
        rows = self._streaming.rows
        of_rows = {name: rows[name].numbers(a) for name, a in sequences.items() if name in rows}
        single = all(a.ndim == len(rows[name].extents) + 1 for name, a in of_rows.items())
        counts = {(a.shape[axes[n] - single] if a.ndim > axes[n] - single else 0) for n, a in of_rows.items()}
        if len(counts) != 1 or 0 in counts:
            fail(
                "input-shape",
                f"the inputs have {' and '.join(map(str, sorted(counts))) or 'no'} rows",
                help="give each the same number of rows, at least one",
            )
        outputs: dict[str, Array] = {}
        for k in range(counts.pop()):
            outputs = self.step(**{**sequences, **{n: a.take(k, axes[n] - single) for n, a in of_rows.items()}})
        return outputs

    def reset(self) -> None:
        """Back to the beginning: no rows, states at their initial values; the inputs given at first stay."""
        self.length = 0
        for name in self._streaming.parts.step.updates:
            if name in self._arrays:
                self._arrays[name][...] = 0

    def copy(self) -> Stream:
        """A stream of its own that goes on from here."""
        other = object.__new__(Stream)
        other.__dict__.update(self.__dict__)
        other._arrays = {**self._arrays, NOW: self._arrays[NOW].copy()}
        other._choose(np.arange(self.batch))
        return other

    def select(self, rows: npt.ArrayLike) -> None:
        """Sequence k goes on from what sequence `rows[k]` was; `batch` becomes the number of rows.

        So a beam search keeps its best, and `select([0] * 4)` makes four of one. `rows` is a vector of integers from 0
        to batch - 1, else `stream-rows`.
        """
        try:
            chosen = np.asarray(rows)
        except (TypeError, ValueError):
            chosen = np.asarray(None)
        whole = chosen.ndim == 1 and chosen.size > 0 and chosen.dtype.kind in "iu"
        if not whole or chosen.min() < 0 or chosen.max() >= self.batch:
            fail(
                "stream-rows",
                f"the sequences to go on from are numbers from 0 to {self.batch - 1}, one for each that is wanted",
                help="give a vector of whole numbers, such as `[0, 0, 1]`",
            )
        self._choose(chosen)

    # --- inside ---

    def _begun(self, batch: int | None, inputs: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, int]]:
        """What is given or computed once, and the run-time sizes."""
        net, streaming = self.net, self._streaming
        arrays, sizes, single = checked(
            net.name,
            streaming.given,
            streaming.wanted,
            streaming.sizes,
            inputs,
            partial(check, net.graph.requirements),
        )
        if not arrays:
            sizes[BATCH] = batch or 1
        elif batch is not None and batch != sizes[BATCH] and not single:
            fail(
                "input-batch",
                f"the inputs have {sizes[BATCH]} examples, and the stream {batch} sequences",
                help="leave `batch` out, or give one example for all",
            )
        found = net.normalization.apply(arrays)
        if streaming.prologue.roots:
            with net.apart():
                values = net.run_checked(streaming.prologue, found, sizes)
            found |= {name: values[node] for name, node in streaming.prologue.roots.items()}
        if batch is not None and batch != sizes[BATCH]:
            step = streaming.parts.step.nodes
            repeated = [name for name in found if name in step and is_batched(step[name])]
            try:
                found |= {name: np.repeat(found[name], batch, axis=0) for name in repeated}
            except (MemoryError, ValueError):
                _refuse_room(batch, 1)
            sizes[BATCH] = batch
        return found, sizes

    def _allocated(self, sizes: Mapping[str, int]) -> dict[str, Array]:
        """Arrays for these sizes; rows that are kept stay where they are."""
        step, values = self._streaming.parts.step, self.net.values
        arrays = {**self._arrays, **self.net.tables(step.inputs("vocabulary")), **self._fixed}
        try:
            for buffer in self._streaming.step.outline.of_kind("input", "param", "state", "output"):
                name = buffer.name
                if name in self._names:
                    continue
                if name in values and name not in step.updates:
                    if not is_batched(step[name]):
                        arrays[name] = values[name]
                    elif name not in arrays:
                        arrays[name] = np.repeat(values[name][None], self.batch, axis=0)
                    continue
                shape, old = settled(buffer.shape, sizes), arrays.get(name)
                if old is not None and old.shape == shape:
                    continue
                arrays[name] = np.zeros(shape or (), np.int64 if buffer.dtype == "int" else self.net.dtype)
                if old is not None:
                    arrays[name][tuple(slice(n) for n in old.shape)] = old
        except (MemoryError, ValueError):  # too large for the machine, or for any
            _refuse_room(self.batch, sizes[self._streaming.parts.size])
        return arrays

    def _no_known(self) -> Known[tuple[Shown, ...]]:
        """Rows that fit are known from the first of a shape on, until the stream has another batch."""
        return Known(self._streaming.rows[name] for name in self._names)

    def _choose(self, rows: Array) -> None:
        """Arrays of its own with the given examples of each that has the batch."""
        step = self._streaming.parts.step

        def chosen(name: str, array: Array) -> Array:
            if name in step.nodes and is_batched(step[name]):
                return np.take(array, rows, axis=0)
            return array.copy() if name in step.updates else array

        self.batch, self._known = len(rows), self._no_known()
        self._sizes = {**self._sizes, BATCH: self.batch}
        self._fixed = {name: chosen(name, a) for name, a in self._fixed.items()}
        self._arrays = {name: self._fixed.get(name, chosen(name, a)) for name, a in self._arrays.items()}

    def _looked_at(self, rows: Mapping[str, npt.ArrayLike]) -> tuple[list[Any], tuple[Shown, ...]]:
        """The rows that the step reads, as they were given but for their dtype and layout, and what it shows."""
        net, streaming = self.net, self._streaming
        known = {**self._sizes, streaming.parts.size: self.length + 1}
        arrays, sizes, single = checked(net.name, streaming.rows, streaming.parts.rows, (), rows, known=known)
        for name, value in sizes.items():
            if arrays and value != self._sizes[name]:
                there, here = ("examples", "sequences") if name == BATCH else (f"`{name}`", f"`{name}`")
                fail(
                    "input-batch" if name == BATCH else "input-shape",
                    f"the rows have {value} {there}, and the stream has {self._sizes[name]} {here}",
                    help="give a row for each sequence of the stream",
                )
        values = [
            arrays[name].reshape(arrays[name].shape[1:] if single else arrays[name].shape) for name in self._names
        ]
        step = streaming.parts.step
        shown = tuple(self._shown(name, step[node], single) for name, node in step.outputs.items())
        if len(rows) == len(self._names):
            self._known.remember(values, sizes, shown)
        return values, shown

    def _shown(self, name: str, node: Node, single: bool) -> Shown:
        over = tuple(n == self._over for n in node.shape)
        return Shown(name, node.name, over if any(over) else (), single and is_batched(node))

    def _normalized(self, moments: Moments, name: str, row: Array) -> Array:
        """A row, with or without the batch."""
        axis = self._streaming.axes[name]
        batched = row.reshape(self.batch, *row.shape[row.ndim - len(self._streaming.rows[name].extents) :])
        normalized: Array = moments.apply(np.expand_dims(batched, axis)).take(0, axis)
        return normalized

    def _refuse_row(self) -> NoReturn:
        sizes = self._sizes
        least = min(self._streaming.parts.limits, key=lambda limit: limit.room.evaluate(sizes) // limit.each)
        fail(
            "stream-full",
            f"the sequence has {self.length} rows, and `{self.net.name}` takes no more",
            least.span,
            help="begin anew with `reset()`; longer sequences need a net that is made for them",
        )


def _refuse_room(batch: int, rows: int) -> NoReturn:
    fail(
        "out-of-memory",
        f"there is not enough memory for {batch:,} sequences of {rows:,} rows",
        help="give fewer sequences, or less `capacity`",
    )
