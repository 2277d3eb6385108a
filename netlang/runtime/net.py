"""The Net: a network with values, ready to run, to differentiate and to train."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail, listing
from netlang.graph.graph import Graph
from netlang.graph.nodes import BATCH, Input
from netlang.graph.sizes import check
from netlang.random import derive_key
from netlang.runtime.arguments import MOST_CALLS, checked
from netlang.runtime.blueprint import GRADIENTS, LOSS, Blueprint, Use
from netlang.runtime.compiled import Compiled, Fit
from netlang.runtime.history import History, Snapshot
from netlang.runtime.preprocess import Normalization
from netlang.runtime.processors import thread_count
from netlang.runtime.values import Drawn, Values, is_of_optimizer
from netlang.targets.cpu.program import Binding, CpuProgram

if TYPE_CHECKING:
    from netlang.runtime.model import Model
    from netlang.runtime.neighbours import Neighbour
    from netlang.runtime.sources import DataLike
    from netlang.runtime.stream import Stream, Streaming
    from netlang.runtime.through_time import ThroughTime
    from netlang.runtime.vocabulary import Vocabulary

Array = npt.NDArray[Any]

STEP = "clock.step"
CLOCK = {
    STEP: "steps_done",
    "clock.epoch": "epochs_done",
    "clock.steps": "total_steps",
    "clock.epochs": "total_epochs",
}
"""The counters that graphs read as inputs of the role `clock`."""

ENDLESS = 10**9  # steps of a run of unknown length: what a schedule does over the whole run has not begun


class Net:
    """A network with parameters.

    Arrays given and returned are NumPy arrays with the batch as their first dimension; a call whose inputs all lack it
    is a call for one example. Reals are float32, or float64 for `dtype="float64"`; labels are int64. Where there is
    enough to do, up to `threads` threads do it together, with the same results to the last bit for any number of them.

    Make one with `netlang.load`.
    """

    def __init__(
        self,
        model: Model | Blueprint,
        *,
        dtype: npt.DTypeLike = np.float32,
        seed: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._blueprint = model if isinstance(model, Blueprint) else Blueprint.of(model)
        self.dtype = _checked_dtype(dtype)
        self.threads = thread_count(threads)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
            fail("bad-setting", f"a seed is a whole number, found {seed!r}", help="`seed=0`")
        outline = self._blueprint.outline
        self.seed = int(seed) if seed is not None else outline.seed
        self.normalization = Normalization({})
        self.vocabulary: Vocabulary | None = None  # of a net that reads texts, from the first that it was trained on
        self.steps_done = 0  # updates so far
        self.epochs_done = 0  # whole epochs so far
        self.total_steps = ENDLESS  # of the run, for schedules that look ahead
        self.total_epochs = outline.epochs
        self.history = History()
        self.best: Snapshot | None = None  # of a run with early stopping
        # parameters and states by name, those of the optimizer included, to be read; programs know where the arrays are
        self.values = Drawn(outline.shapes, self.dtype, partial(self._first_values, seed=self.seed))
        self.carried: dict[str, Array] = {}  # the states of each example, [batch, ...], once a run has begun
        self.params = Values(self.values, outline.params)
        self.state = Values(self.values, [n for n in outline.shapes if n not in self.params], self.carried)
        self._clock = {name: np.zeros((), self.dtype) for name in CLOCK}
        self._compiled: dict[object, Compiled] = {}
        self._streaming: dict[str | None, Streaming] = {}
        self._known_tables: tuple[Vocabulary | None, dict[str, Array]] = None, {}

    def __copy__(self) -> Net:
        """A net of its own: the values, the counters and the history are copied, nothing is shared that can change."""
        other = Net(self._blueprint, dtype=self.dtype, seed=self.seed, threads=self.threads)
        for name, value in self.values.known.items():
            other.values.put(name, value)
        other.carried.update({name: value.copy() for name, value in self.carried.items()})
        for name in (
            "normalization",
            "vocabulary",
            "steps_done",
            "epochs_done",
            "total_steps",
            "total_epochs",
            "history",
            "best",
        ):
            setattr(other, name, getattr(self, name))
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Net:
        return self.__copy__()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Net is not pickled; `net.save(path)` keeps it and `netlang.load(path)` brings it back")

    # --- what it is ---

    @property
    def model(self) -> Model:
        """The text with its arguments, and the graphs that are computed from it."""
        return self._blueprint.model

    @property
    def name(self) -> str:
        return self._blueprint.outline.name

    @property
    def graph(self) -> Graph:
        """The per-example graph of inference, as the text says it."""
        return self.model.inference

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self._inputs("input")

    @property
    def targets(self) -> tuple[Input, ...]:
        return self._inputs("target")

    def _inputs(self, role: str) -> tuple[Input, ...]:
        return tuple(node for node in self._blueprint.outline.inputs if node.role == role)

    def __repr__(self) -> str:
        count = sum(prod(self.values.shapes[name]) for name in self.params)
        return f"<Net {self.name}: {count:,} parameters, {self.dtype}>"

    def begin(self) -> None:
        """Begin a training run from the present parameters: counters at zero, the optimizer without memory."""
        self.reset()
        self.steps_done = self.epochs_done = 0
        self.history, self.best = History(), None
        for name, value in self._first_values([n for n in self.values.known if is_of_optimizer(n)], self.seed).items():
            self.values.put(name, value)

    def reset(self) -> None:
        """Set the states that each example of a batch has of its own back to their first values.

        A run with a batch of any size may follow.
        """
        self.carried.clear()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Runs inside begin with first values in the states of each example, and leave those outside alone."""
        kept = dict(self.carried)
        self.carried.clear()
        try:
            yield
        finally:
            self.carried.clear()
            self.carried.update(kept)

    # --- what it computes ---

    def __call__(self, *values: Any) -> Any:
        """The output for inputs in the order of the text: array in, array out; several outputs as a dictionary."""
        forward = self._positional
        fit = None if forward is None else forward.known.find(values)
        if forward is None or fit is None:
            names = [node.name for node in self.inputs]
            if len(values) != len(names):
                fail(
                    "input-count",
                    f"`{self.name}` takes {len(names)} inputs, found {len(values)}",
                    help=f"the inputs are {listing(names)}",
                )
            outputs = self.forward(**dict(zip(names, values, strict=True)))
        else:
            found = self._run(forward, fit, values)
            if fit.only is not None:
                return found[fit.only]
            outputs = fit.shown(found)
        return outputs.popitem()[1] if len(outputs) == 1 else outputs

    def forward(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """The outputs by name, in inference mode.

        States whose updates are not conditional on `training` are updated; see `reset`.
        """
        forward = self.compiled("forward")
        fit, arrays = self._fitting(forward, inputs)
        return fit.shown(self._run(forward, fit, arrays))

    def stream(
        self, *, batch: int | None = None, capacity: int | None = None, over: str | None = None, **inputs: npt.ArrayLike
    ) -> Stream:
        """The outputs for a sequence that is given row by row: `stream.step(x=row)`; see `Stream`.

        `over` names the run-time size that is the sequence, by default that of the outputs; `inputs` are those that
        have no dimension of this size. `batch` sequences run side by side: by default as many as the inputs have
        examples, else 1. `capacity` is how many rows to make room for at first.

        Raises `NetlangError`: `not-causal` where an output needs rows that come later, `no-stream` where there is no
        such size, and the codes of `forward`.
        """
        from netlang.runtime.stream import Stream

        return Stream(self, self._streams(over), batch, capacity, inputs)

    def gradients(self, *, wrt: Sequence[str] | None = None, **inputs: npt.ArrayLike) -> tuple[float, dict[str, Array]]:
        """The loss (the mean over the batch, all losses together) and its gradients, in training mode.

        `wrt` names parameters or inputs; by default all parameters. Penalties of the `train` section are not part of
        this loss. A net without losses is differentiated by its one scalar output. Nothing is updated.
        """
        names = tuple(wrt) if wrt is not None else self._blueprint.outline.params
        compiled = self.compiled((GRADIENTS, names))
        fit, arrays = self._fitting(compiled, inputs)
        values = self._run(compiled, fit, arrays)
        roots, batched = compiled.roots, compiled.interface.batched
        grads = {n: values[roots[n]] for n in names}
        grads |= {n: m.adjoint(grads[n]) for n, m in self.normalization.moments.items() if n in grads}
        grads = {n: g[0] if fit.single and roots[n] in batched else g for n, g in grads.items()}
        return float(values[roots[LOSS]]), grads

    def gradients_through_time(self, **inputs: npt.ArrayLike) -> ThroughTime:
        """How large the gradient is at each step of each recurrence, on a batch: see `ThroughTime`.

        A mapping of arrays [T] by the names of states; its `draw()` is a picture. Nothing is updated.
        """
        from netlang.runtime.through_time import through_time

        return through_time(self, **inputs)

    def step(self, **inputs: npt.ArrayLike) -> float:
        """One training step as the `train` section says: gradients, then the update of parameters and states.

        Returns the objective before the update: the losses' mean over the batch plus the penalties (summed, where the
        section minimizes several).
        """
        losses = self.step_losses(**inputs)
        return float(sum(losses.values()))

    def step_losses(self, **inputs: npt.ArrayLike) -> dict[str, float]:
        """One training step; returns each objective by name."""
        step = self.compiled("step")
        fit, arrays = self._fitting(step, inputs)
        if step.carried:
            self._carry(step, fit.batch)
        self.steps_done += 1  # inputs that do not fit are no step
        values = self._run(step, fit, arrays)
        return {name: float(values[node]) for name, node in step.roots.items()}

    def losses_and_metrics(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """Each loss and metric in inference mode: `[batch]`, or a scalar where it is a number for the whole batch."""
        evaluation = self.compiled("evaluate")
        values = self._run(evaluation, *self._fitting(evaluation, inputs))
        return {name: values[node] for name, node in evaluation.roots.items()}

    def fit(self, data: DataLike | None = None, **options: Any) -> History:
        """Train as the `train` section says; see `netlang.runtime.training.fit` for the options."""
        from netlang.runtime.training import fit

        return fit(self, data, **options)

    def evaluate(self, data: DataLike, *, batch: int | None = None) -> dict[str, float]:
        """Losses and metrics over a data set, by name, in inference mode.

        Those with a number for each example are averaged; those of the whole batch are of the whole data set.
        """
        from netlang.runtime.training import evaluate

        return evaluate(self, data, batch=batch)

    def neighbours(self, question: str, *, count: int = 10, table: str | None = None) -> list[Neighbour]:
        """The symbols of the vocabulary whose vectors are nearest to a symbol's, or to "king - man + woman".

        See `netlang.runtime.neighbours.neighbours`.
        """
        from netlang.runtime.neighbours import neighbours

        return neighbours(self, question, count=count, table=table)

    def sample(self, prompt: str = "", **options: Any) -> str:
        """What a net that was trained on texts says after the prompt; the best text found where `beam` is given.

        See `netlang.runtime.sampling.sample` for the options: `length`, `temperature`, `seed`, `beam`, `inputs`.
        """
        from netlang.runtime.sampling import sample

        return sample(self, prompt, **options)[0].text

    # --- what it shows ---

    def summary(self, format: str = "text", sizes: Mapping[str, int] | None = None, *, batch: int | None = None) -> Any:
        """The table of layers with shapes, parameters and multiply-adds; `format="json"` gives a dictionary.

        `sizes` are the run-time sizes to count for, `{"T": 64}`. With `batch` it has the memory too that a call for so
        many examples takes at most, in inference and in training.
        """
        from netlang.draw.tables import Peak, cost_json, cost_table
        from netlang.passes.cost import Cost, cost
        from netlang.runtime.memory import predicted

        forms: dict[str, Callable[[Cost, Peak | None], Any]] = {"text": cost_table, "json": cost_json}
        if format not in forms:
            fail("unknown-format", f"there is no format `{format}` of a summary", help=f"there are {listing(forms)}")
        memory = (
            None if batch is None else Peak(batch, self.dtype.name, predicted(self.model, batch, sizes, self.dtype))
        )
        return forms[format](cost(self.graph, sizes=sizes), memory)

    def draw(self, path: str | os.PathLike[str] | None = None, view: str = "layers", unroll: int | None = None) -> str:
        """The diagram as DOT text; with a path it is also rendered there (svg, png, pdf or dot).

        `unroll` draws recurrences unrolled in time, for so many steps.
        """
        from netlang.draw.diagram.render import render
        from netlang.draw.diagram.views import draw

        text = draw(self.graph, view, unroll=unroll)
        if path is not None:
            render(text, os.fspath(path))
        return text

    def derive(self, of: str | None = None, wrt: Sequence[str] | None = None, format: str = "text") -> str:
        """The derivation of the gradients, step by step, as text, LaTeX or HTML."""
        from netlang.draw.derivation.formats import write_derivation
        from netlang.draw.derivation.writer import derivation

        return write_derivation(derivation(self.model.training, of, wrt, self.model.module), format)

    def save(self, path: str | os.PathLike[str], *, training: bool = False) -> None:
        """Write a `.netc` artifact: texts, arguments and values. `training` adds what resuming needs."""
        from netlang.runtime.saving import save

        save(self, path, training=training)

    # --- inside ---

    def program(self, use: str = "forward") -> CpuProgram:
        """The compiled program of a use: "forward", "evaluate", "step" or "stream", the step of a stream."""
        return self._streams().step if use == "stream" else self.compiled(use).program

    def _streams(self, over: str | None = None) -> Streaming:
        from netlang.runtime.stream import compile_stream

        if over is not None and not isinstance(over, str):
            fail("bad-setting", f"`over` is the name of a run-time size, found {over!r}", help='`over="T"`')
        if over not in self._streaming:
            self._streaming[over] = compile_stream(self, over)
        return self._streaming[over]

    def compiled(self, use: Use) -> Compiled:
        """What computes a use, compiled when it is first asked for."""
        compiled = self._compiled.get(use)
        if compiled is None:
            compiled = self._compiled[use] = self._blueprint.compiled(use, self.dtype, self.threads)
            compiled.program.changes = self.values
        return compiled

    @cached_property
    def _positional(self) -> Compiled | None:
        """The forward pass, where it reads all inputs, so that they can be given to it in the order of the text."""
        forward = self.compiled("forward")
        return forward if forward.read == tuple(node.name for node in self.inputs) else None

    def _fitting(self, compiled: Compiled, inputs: Mapping[str, npt.ArrayLike]) -> tuple[Fit, Sequence[Array]]:
        """How the inputs are run, and the arrays that the program reads; raises where they do not fit."""
        read = compiled.read
        if len(inputs) == len(read):
            values: list[Any] = [inputs.get(name) for name in read]
            if (fit := compiled.known.find(values)) is not None:
                return fit, values
        arrays, sizes, single = checked(
            self.name,
            compiled.declared,
            read,
            compiled.sizes,
            inputs,
            partial(check, compiled.interface.requirements),
        )
        self._carry(compiled, sizes[BATCH])
        batched = compiled.interface.batched
        outputs = tuple((n, node, single and node in batched) for n, node in compiled.roots.items())
        is_direct = compiled.is_pure and not compiled.changes and not single
        only = outputs[0][1] if len(outputs) == 1 and not outputs[0][2] else None
        fit = Fit(self._binding(compiled, sizes), sizes[BATCH], single, is_direct, outputs, only)
        as_given = [a.reshape(a.shape[1:]) if single else a for a in arrays.values()]
        if len(inputs) == len(read):
            compiled.known.remember(as_given, sizes, fit)
        return fit, as_given

    def _run(self, compiled: Compiled, fit: Fit, arrays: Sequence[Array]) -> dict[str, Array]:
        """The value of each root by its node."""
        moments = self.normalization.moments
        if fit.is_direct and not moments:
            return fit.binding.run(arrays)
        if fit.single:
            arrays = [array[None] for array in arrays]
        if moments:
            named = zip(compiled.read, arrays, strict=True)
            arrays = [moments[name].apply(array) if name in moments else array for name, array in named]
        if compiled.carried:
            self._carry(compiled, fit.batch)
        return self._computed(compiled, fit.binding, arrays)

    def _carry(self, compiled: Compiled, batch: int) -> None:
        """Give each example its states, where a run begins."""
        for name in compiled.carried:
            if name not in self.carried:
                self.carried[name] = np.repeat(self.values[name][None], batch, axis=0)
            elif len(self.carried[name]) != batch:
                fail(
                    "state-batch",
                    f"`{name}` is carried for {len(self.carried[name])} examples, and the batch has {batch}",
                    help="`net.reset()` begins anew; else give the next part of the same examples",
                )

    def run_checked(
        self, compiled: Compiled, arrays: Mapping[str, Array], sizes: Mapping[str, int]
    ) -> dict[str, Array]:
        """Run on arrays that are known to fit."""
        self._carry(compiled, sizes[BATCH])
        return self._computed(compiled, self._binding(compiled, sizes), [arrays[name] for name in compiled.read])

    def run_steps(
        self,
        compiled: Compiled,
        examples: Mapping[str, Array],
        order: Array,
        sizes: Mapping[str, int],
    ) -> Array:
        """Steps in one call, each on the next batch of examples in this order; returns the losses, `[steps, losses]`.

        Examples are known to fit, and are of dtypes that can be copied (see `netlang.targets.cpu.epochs.kind_of`).
        """
        self._carry(compiled, sizes[BATCH])
        count, binding = len(order) // sizes[BATCH], self._binding(compiled, sizes)
        steps = range(self.steps_done + 1, self.steps_done + 1 + count)
        streams = [stream for _, stream in compiled.keys]
        keys = np.array([[derive_key(self.seed, step, stream) for stream in streams] for step in steps], np.int64)
        others = self.bound({}, compiled.vocabulary) if compiled.moves or compiled.reads_clock else None
        clock = (self._clock[STEP], steps.start) if compiled.reads_clock else None
        self.steps_done += count
        try:
            given = [examples[name] for name in compiled.read]
            return binding.steps(count, order, given, tuple(compiled.roots.values()), keys, clock, others)
        finally:
            self.values.changed()

    def _binding(self, compiled: Compiled, sizes: Mapping[str, int]) -> Binding:
        """Runs of a use at these sizes, on the net's arrays and those that it reads of the user's."""
        key = tuple([sizes[name] for name in compiled.sizes])
        binding = compiled.bindings.get(key)
        if binding is None:
            if len(compiled.bindings) >= MOST_CALLS:
                compiled.bindings.clear()
            binding = compiled.program.binding(sizes, compiled.read)
            binding.hold(self.bound({}, compiled.vocabulary))
            compiled.bindings[key] = binding
        return binding

    def _computed(self, compiled: Compiled, binding: Binding, arrays: Sequence[Array]) -> dict[str, Array]:
        if compiled.changes:
            try:
                return self._run_bound(compiled, binding, arrays)
            finally:
                self.values.changed()
        return self._run_bound(compiled, binding, arrays)

    def _run_bound(self, compiled: Compiled, binding: Binding, arrays: Sequence[Array]) -> dict[str, Array]:
        if compiled.is_pure:
            return binding.run(arrays)
        if compiled.reads_clock:
            self._set_clock()
        keys = {name: derive_key(self.seed, self.steps_done, stream) for name, stream in compiled.keys}
        return binding.run(arrays, keys, self.bound({}, compiled.vocabulary) if compiled.moves else None)

    def bound(self, arrays: Mapping[str, Array], vocabulary: Sequence[Input]) -> Mapping[str, Array]:
        """The arrays with what else a graph reads: parameters, states, the clock of the training loop, and these tables
        of the vocabulary."""
        self._set_clock()
        return _Joined(arrays, self.tables(vocabulary), self._clock, self.carried, self.values)

    def _set_clock(self) -> None:
        for name, counter in CLOCK.items():
            self._clock[name][...] = getattr(self, counter)

    def tables(self, wanted: Sequence[Input]) -> dict[str, Array]:
        """Tables of the vocabulary, made once for each vocabulary."""
        vocabulary, tables = self._known_tables
        if vocabulary is not self.vocabulary:
            tables = {}
            self._known_tables = self.vocabulary, tables
        if missing := [node for node in wanted if node.name not in tables]:
            from netlang.runtime.symbols import symbol_tables

            tables |= symbol_tables(missing, self.vocabulary, self.dtype)
        return {node.name: tables[node.name] for node in wanted}

    def _first_values(self, names: Sequence[str], seed: int) -> dict[str, Array]:
        try:
            return self._blueprint.first_values(names, seed, self.dtype)
        except MemoryError:
            count = sum(prod(self.values.shapes[name]) for name in self.params)
            fail(
                "out-of-memory",
                f"there is not enough memory for the {count:,} parameters of `{self.name}`",
                self.model.net.name.span,
                help="make the network smaller",
            )


class _Joined(Mapping[str, Array]):
    """Several mappings as one; of a name that several have, the first one's counts."""

    def __init__(self, *parts: Mapping[str, Array]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Array:
        for part in self._parts:
            if name in part:
                return part[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for part in self._parts for name in part))

    def __len__(self) -> int:
        return len(set().union(*self._parts))


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype).name if dtype is not None else "None"
    except TypeError:
        found = str(dtype)
    if found not in ("float32", "float64"):
        fail("bad-dtype", f"a net computes in float32 or float64, not {found}", help="`dtype='float32'`")
    return np.dtype(found)
