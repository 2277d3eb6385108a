"""Derived gradients against central differences of the loss, in float64, at a random point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netlang.diagnostics import fail
from netlang.graph.sizes import chosen_sizes

if TYPE_CHECKING:
    from netlang.runtime.net import Net
from netlang.runtime.synthetic import random_inputs

Array = npt.NDArray[Any]

STEP = 1e-5  # of the differences; their error is of the fourth order in it
FLOOR = 1e-2  # gradients smaller than this part of the tensor's largest are compared with that part
LENGTH = 5  # of run-time sizes that are not given
LEAST = 1e-4  # and never with less than this part of the loss, or of 1 if that is more: rounding hides the rest


@dataclass(frozen=True)
class Checked:
    """The worst relative error among the `checked` elements of a tensor's gradient.

    `kinks` counts elements that were left out because the loss bends there (a rectifier's corner, two equal maxima), so
    that the differences from the left and from the right disagree.
    """

    name: str
    error: float
    checked: int
    kinks: int


def gradcheck(
    net: Net,
    *,
    batch: int = 3,
    samples: int = 20,
    inputs: Mapping[str, Array] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> list[Checked]:
    """Check the gradients by every parameter and every real input, `samples` random elements of each.

    The net must compute in float64. Its parameters are moved to a random point nearby, because first values are often
    special (all zero), and are as before afterwards. Without `inputs` they are random too, of the run-time `sizes` (5
    where not given). Raises `NetlangError` (`not-finite`) where the loss is not finite at that point, `size-unknown`,
    `requirement`.
    """
    random = np.random.default_rng(net.seed)
    known = chosen_sizes(net.graph, net.graph.requirements, sizes, least=LENGTH)
    given = dict(inputs) if inputs is not None else random_inputs(net, batch, known, random)
    kept = {name: value.copy() for name, value in net.params.items()}
    try:
        for name, value in kept.items():
            net.params[name] = value + 0.1 * random.standard_normal(value.shape)
        return _checked(net, given, samples, random)
    finally:
        for name, value in kept.items():
            net.params[name] = value


def _checked(net: Net, given: dict[str, Array], samples: int, random: np.random.Generator) -> list[Checked]:
    reals = [n.name for n in net.inputs if n.dtype == "real" and n.name in given]
    names = [*net.params, *reals]
    loss, gradients = net.gradients(wrt=names, **given)
    if not np.isfinite(loss):
        fail(
            "not-finite",
            f"the loss of `{net.name}` is {loss} at a random point",
            net.model.net.name.span,
            help="check what is divided by, and the arguments of `log` and `sqrt`",
        )
    out = []
    for name in names:
        place = net.params[name] if name in net.params else given[name]
        chosen = random.permutation(place.size)[:samples]
        largest = float(np.abs(gradients[name]).max(initial=0.0))
        worst, checked, kinks = 0.0, 0, 0
        for k in chosen:
            derived = float(gradients[name].flat[k])
            measured = _difference(net, given, place, int(k), loss)
            if measured is None:
                kinks += 1
                continue
            scale = max(abs(derived), abs(measured), FLOOR * largest, LEAST * max(1.0, abs(loss)))
            worst = max(worst, abs(derived - measured) / scale)
            checked += 1
        out.append(Checked(name, worst, checked, kinks))
    return out


def _difference(net: Net, given: Mapping[str, Array], place: Array, k: int, loss: float) -> float | None:
    """The derivative of the loss by element `k`, by differences at two distances; None at a kink.

    The fourth-order formula (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h.
    """
    kept = place.flat[k]
    step = STEP * max(1.0, abs(float(kept)))
    values = []
    for times in (-2, -1, 1, 2):
        place.flat[k] = kept + times * step
        values.append(net.gradients(wrt=(), **given)[0])
    place.flat[k] = kept
    far_left, left, right, far_right = values
    slopes = [(left - far_left) / step, (loss - left) / step, (right - loss) / step, (far_right - right) / step]
    bends = np.diff(slopes)  # equal for a smooth loss, but for the third derivative
    if np.ptp(bends) > 0.1 * step * max(1.0, np.abs(slopes).max()) + 1e-9:
        return None
    return float((8 * (right - left) - (far_right - far_left)) / (12 * step))
