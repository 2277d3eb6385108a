"""A stream: a net that takes its sequence row by row, and remembers of the past what the next rows need."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


class Stream:
    """The outputs of a causal net for a sequence that is given one row at a time.

    After n rows the outputs are those of one call of the net for these n rows: of an output over the run-time size T,
    `y[t < T]`, the row of the latest step; another output, as `h[T-1]`, as it is. Each step costs as much as one row:
    what later rows read of earlier ones is kept, and nothing is computed again.

    Make one with `net.stream()`. It computes with the parameters that the net has at each step. The arrays that it
    returns are its own and hold until the next step: copy what is to stay.

    Attributes
    ----------
    batch : how many sequences run side by side, in step with each other.
    length : how many rows each has so far.
    limit : the greatest length, as for a net that reads a table with a row for each place; None without one.
    """

    batch: int
    length: int
    limit: int | None

    def step(self, **rows: npt.ArrayLike) -> dict[str, Array]:
        """The outputs by name, after one more row of each input over T.

        Rows have the shape [batch, ...] of the input without T; a stream of one sequence takes them without the batch
        too, and then gives outputs without it. Reals are in the dtype of the net, labels are int64. Raises
        `NetlangError` with the codes of `Net.forward` for what does not fit, and `stream-full` at the limit; a step
        that raises is none.
        """
        raise NotImplementedError

    def feed(self, **sequences: npt.ArrayLike) -> dict[str, Array]:
        """Several steps: the outputs after the last row of each `[batch, n, ...]`; n must be at least 1."""
        raise NotImplementedError

    def reset(self) -> None:
        """Back to the beginning: no rows, states at their initial values. Prologue inputs stay."""
        raise NotImplementedError

    def copy(self) -> Stream:
        """A stream of its own that goes on from here."""
        raise NotImplementedError

    def select(self, rows: npt.ArrayLike) -> None:
        """Sequence k goes on from what sequence `rows[k]` was; `batch` becomes the number of rows.

        So a beam search keeps its best, and `select([0] * 4)` makes four of one. `rows` is a vector of integers from 0
        to batch - 1, else `stream-rows`.
        """
        raise NotImplementedError
