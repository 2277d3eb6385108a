"""The training loop: minibatches, validation, early stopping, checkpoints; the same seed gives the same bits."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail
from netlang.graph.nodes import BATCH, Input
from netlang.runtime.data import Dataset, Shape
from netlang.runtime.history import Epoch, History, Snapshot
from netlang.runtime.inputs import sizes_of
from netlang.runtime.measuring import measure
from netlang.runtime.preprocess import Minibatches, Normalization, Split
from netlang.runtime.sources import DataLike, open_data, open_texts, parse_columns
from netlang.runtime.sources.table import Columns
from netlang.runtime.texts import Reading
from netlang.runtime.vocabulary import Vocabulary
from netlang.targets.cpu.epochs import kind_of
from netlang.targets.reference.evaluate import evaluate as evaluate_reference

if TYPE_CHECKING:
    from netlang.runtime.compiled import Compiled
    from netlang.runtime.net import Net

Array = npt.NDArray[Any]

PATIENCE = 0.05  # seconds that a call of native code is to take
MOST = 16.0  # times as many steps as in the call before, at most


@dataclass(frozen=True)
class Plan:
    """The settings of a run: the recipe's, with what the call of `fit` changes."""

    epochs: int
    batch: int
    shuffle: bool
    patience: int | None
    checkpoint: str | None
    progress: bool
    report: Callable[[Epoch], None] | None = field(default=None, compare=False)


def fit(
    net: Net,
    data: DataLike | None = None,
    *,
    validation: DataLike | float | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    columns: Columns | None = None,
    normalize: Sequence[str] | None = None,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    report: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a net as its `train` section says; arguments override the section.

    `data` is a data set, a mapping of arrays or a path (see `open_data`); by default the section's `data`.
    `validation` is other data, or the fraction of `data` to hold out. Each call is a run of its own that starts from
    the present parameters, unless `resume` is set: then the run goes on where the net (from a checkpoint, say) stopped,
    with `epochs` counted from its beginning, and ends as an uninterrupted one would, bit for bit. `patience` stops
    after so many epochs without a lower validation loss and restores the best. `checkpoint` is the path of an artifact
    that is written, atomically, after each epoch. `report` is called with each epoch.

    When it is interrupted (Ctrl-C) the net has the values of the end of the last whole epoch, and can be resumed.

    Raises `NetlangError` for data that do not fit, and `not-finite` where the objective or a parameter is no longer
    finite: then the net has the values it had at the end of the last good epoch.
    """
    recipe = net.model.require_recipe()
    training, held = examples_of(net, data, validation, columns)
    if normalize is None:
        normalize = recipe.normalize
    elif isinstance(normalize, str):
        normalize = [normalize]
    if not resume:
        net.begin()
    if normalize and (not resume or not net.normalization.moments):
        lengths = {node.name: [k for k, n in enumerate(node.shape) if not n.is_constant] for node in net.inputs}
        net.normalization = Normalization.fit(training, list(normalize), lengths)
    plan = Plan(
        recipe.epochs if epochs is None else epochs,
        recipe.batch if batch is None else batch,
        recipe.shuffle,
        recipe.patience if patience is None else patience,
        os.fspath(checkpoint) if checkpoint is not None else None,
        sys.stderr.isatty() if progress is None else progress,
        report,
    )
    _require_whole("batch", plan.batch, least=1)
    _require_whole("epochs", plan.epochs, least=0)
    if plan.patience is not None:
        _require_whole("patience", plan.patience, least=0)
    return _Run(net, training, held, plan).history()


def evaluate(net: Net, data: DataLike, *, batch: int | None = None, columns: Columns | None = None) -> dict[str, float]:
    """Losses and metrics over a data set, in inference mode (see `netlang.runtime.measuring.measure`).

    States of each example begin with their first values, are carried from minibatch to minibatch (a text is read as
    `batch` streams, by default as many as the `train` section says), and are as before afterwards.
    """
    if batch is not None:
        _require_whole("batch", batch, least=1)
    return measure(net, read(net, data, columns=columns), batch)


def _require_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        fail("bad-setting", f"`{name}` is {value!r}", help=f"give a whole number from {least} up: `{name}={least + 9}`")


def read(
    net: Net, data: DataLike, *, columns: Columns | None = None, folder: str = "", targets: bool = True
) -> Dataset:
    """The examples in what `data` names, bound to the net.

    Texts are read by the net's vocabulary; a net without one gets that of these texts, as its section says.
    """
    recipe = net.model.recipe
    wanted = recipe.vocabulary if recipe is not None else None
    reading = Reading(net.name, net.inputs, net.targets)
    if recipe is not None:
        reading = replace(reading, window=recipe.window, stride=recipe.stride, span=recipe.span)
    vocabulary, texts = net.vocabulary, None
    if vocabulary is not None or wanted is not None:
        texts = open_texts(data, reading.names, columns=columns, folder=folder)
    if texts is None:
        return bind(net, open_data(data, columns=columns, folder=folder), targets=targets)
    if recipe is not None and recipe.stride is not None:
        carried = net.model.totals.batches.carried
        if carried:
            fail(
                "carried-shuffled",
                f"`{carried[0]}` is carried from window to window, but windows at a stride do not continue each other",
                recipe.span,
                help="leave out `stride`",
            )
    if vocabulary is None:
        assert wanted is not None
        vocabulary = Vocabulary.fit(reading.texts(texts), wanted, bounded=reading.bounded(texts))
    bound = bind(net, reading.examples(texts, vocabulary), targets=targets)
    net.vocabulary = vocabulary
    return bound


def bind(net: Net, data: Dataset, *, targets: bool = True) -> Dataset:
    """The data under the names and in the shapes of the net's inputs, and targets where these are wanted."""
    inputs = [(n.name, _shape(n), np.int64 if n.dtype == "int" else net.dtype, n.classes) for n in net.inputs]
    wanted = [(n.name, _shape(n), n.classes) for n in net.targets] if targets else []
    return data.bind(inputs, wanted, dtype=net.dtype)


def _shape(node: Input) -> Shape:
    """The shape of an example, numbers where they are known."""
    return tuple(extent.constant if extent.is_constant else extent for extent in node.shape)


def examples_of(
    net: Net, data: DataLike | None = None, validation: DataLike | float | None = None, columns: Columns | None = None
) -> tuple[Dataset, Dataset | None]:
    """The training and the validation examples of a run, bound to the net; what is not given, the section says."""
    recipe = net.model.require_recipe()
    if data is None:
        if recipe.data is None:
            fail(
                "no-data",
                f"nothing says what data to train `{net.name}` on",
                recipe.span,
                help='add `data "..."` to the `train` section, or give the data',
            )
        columns = columns or (parse_columns(recipe.columns) if recipe.columns else None)
        bound = read(net, recipe.data, columns=columns, folder=net.model.folder)
    else:
        bound = read(net, data, columns=columns)
    if validation is None:
        validation = recipe.validation
    if not isinstance(validation, int | float):
        return bound, read(net, validation, columns=columns)
    if validation == 0:
        return bound, None
    labelled = [n.name for n in net.targets if n.classes is not None and not n.shape]
    training, held = Split(float(validation), net.seed, labelled[0] if labelled else None).apply(bound)
    return training, held


class _Run:
    """One call of `fit`."""

    def __init__(self, net: Net, training: Dataset, held: Dataset | None, plan: Plan) -> None:
        self.net, self.plan = net, plan
        self.training = net.normalization.apply(training)
        self.examples = training.examples
        self.held = held
        carried = net.compiled("step").carried
        self.minibatches = Minibatches(plan.batch, net.seed, plan.shuffle, bool(carried) and training.ordered)
        if carried and plan.shuffle and not training.ordered:
            fail(
                "carried-shuffled",
                f"`{carried[0]}` is carried from minibatch to minibatch, but shuffled ones do not continue each other",
                net.model.require_recipe().span,
                help="write `shuffle false` in the `train` section, with data in the order of the sequences",
            )
        if carried:
            self.minibatches.require_whole(self.examples, carried[0])
        net.total_epochs = plan.epochs
        net.total_steps = max(1, plan.epochs * self.minibatches.count(self.examples))
        self.at_once = 1  # steps in a call of native code
        self.good = Snapshot.of(net)

    def history(self) -> History:
        net, plan = self.net, self.plan
        epochs = list(net.history.epochs)
        best: Snapshot | None = net.best
        while net.epochs_done < plan.epochs:
            if plan.patience is not None and best is not None and net.epochs_done - best.epochs >= plan.patience:
                break
            try:
                epoch = self.epoch()
            except KeyboardInterrupt:
                self.good.restore(net)  # an epoch counts whole or not at all, so that the run can be resumed
                raise
            epochs.append(epoch)
            watched = sum(epoch.validation[name] for name in net.graph.losses) if epoch.validation else epoch.objective
            if plan.patience is not None and (best is None or watched < best.watched):
                best = replace(Snapshot.of(net), watched=watched)
            net.best = best
            self.good = Snapshot.of(net)
            net.history = History(tuple(epochs), best.epochs if best is not None else net.epochs_done)
            if plan.checkpoint is not None:
                net.save(plan.checkpoint, training=True)
            if plan.report is not None:
                plan.report(epoch)
        if plan.patience is not None and best is not None:
            best.restore_values(net)
        return net.history

    def epoch(self) -> Epoch:
        net = self.net
        net.reset()
        total, seen = 0.0, 0
        with _bar(self.plan.progress, self.minibatches.count(self.examples), net.epochs_done, self.plan.epochs) as bar:
            for objectives, size in self.steps():
                wrong = np.flatnonzero(~np.isfinite(objectives))
                if len(wrong):
                    net.steps_done -= len(objectives) - 1 - int(wrong[0])
                    self.not_finite(f"the objective of `{net.name}` is {objectives[wrong[0]]}")
                for objective in objectives.tolist():
                    total += objective * size
                seen += size * len(objectives)
                if not bar.disable:
                    bar.update(len(objectives))
                    bar.set_postfix_str(f"objective {objectives[-1]:.4f}", refresh=False)
        if not all(np.isfinite(value).all() for value in net.params.values()):  # by the last update: no loss has met it
            self.not_finite(f"the parameters of `{net.name}` are not finite")
        net.epochs_done += 1
        validation = {} if self.held is None else measure(net, self.held)
        return Epoch(net.epochs_done, total / seen, validation)

    def steps(self) -> Iterator[tuple[Array, int]]:
        """The steps of an epoch, some at a time: the objective of each, and the size of their batches.

        Those of whole batches are done by native code, so many in a call that an interruption, which comes between
        calls, does not wait for long.
        """
        net, step = self.net, self.net.compiled("step")
        sizes = sizes_of(step.interface.inputs, self.training)
        size = sizes[BATCH] = min(self.minibatches.size, self.examples)
        order, done = self.minibatches.order(self.examples, net.epochs_done), 0
        whole = len(order) // size if self.are_copied(step) else 0
        while done < whole:
            count = min(self.at_once, whole - done)
            start = time.perf_counter()
            losses = net.run_steps(step, self.training, order[done * size : (done + count) * size], sizes)
            took, done = time.perf_counter() - start, done + count
            yield np.asarray(sum(losses.T), np.float64), size
            if count == self.at_once:  # else these were the last ones
                self.at_once = max(1, int(count * min(PATIENCE / max(took, 1e-9), MOST)))
        roots = tuple(step.roots.values())
        for arrays in self.minibatches.over(self.training, net.epochs_done, done):
            sizes[BATCH] = len(next(iter(arrays.values())))
            net.steps_done += 1
            values = net.run_checked(step, arrays, sizes)
            yield np.array([sum([values[node] for node in roots])], np.float64), sizes[BATCH]

    def are_copied(self, step: Compiled) -> bool:
        """Whether native code can copy the examples of a batch together."""
        return all(kind_of(self.training[name]) is not None for name in step.read)

    def not_finite(self, what: str) -> NoReturn:
        """Undo the epoch, run it again up to the step that failed, and say which tensor is the first not finite."""
        net, failed = self.net, self.net.steps_done
        self.good.restore(net)
        net.reset()
        step = net.compiled("step")
        culprit = ""
        for arrays in self.minibatches.over(self.training, net.epochs_done):
            net.steps_done += 1
            if net.steps_done == failed:
                culprit = self.culprit(arrays)
                break
            net.run_checked(step, arrays, sizes_of(step.interface.inputs, arrays))
        self.good.restore(net)
        kept = f"the net has the values of the end of epoch {net.epochs_done}"
        fail(
            "not-finite",
            f"{what} at step {failed}, in epoch {net.epochs_done + 1}",
            net.model.require_recipe().span,
            notes=[culprit, kept] if culprit else [kept],
            help="lower the learning rate, add `clip 1` or check the data",
        )

    def culprit(self, arrays: Mapping[str, Array]) -> str:
        net = self.net
        graph = net.model.step_graph
        bound = net.bound(arrays, graph.inputs("vocabulary"))
        given = {n.name: bound[n.name] for n in graph if n.name in bound}
        with np.errstate(all="ignore"):
            values = evaluate_reference(
                graph,
                given,
                sizes_of((n for n in graph if isinstance(n, Input)), arrays),
                seed=net.seed,
                step=net.steps_done,
                dtype=net.dtype,
                direct=False,
            )
        for node in graph.order:
            if node.name in values and not np.isfinite(values[node.name]).all():
                return f"the first tensor that is not finite is `{node.name}`"
        return ""


def _bar(shown: bool, steps: int, epoch: int, epochs: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, desc=f"epoch {epoch + 1}/{epochs}", disable=not shown, leave=False, file=sys.stderr)
