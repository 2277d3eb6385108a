"""The cost of a network as a table for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from netlang.passes.cost import FLOAT32, Cost, LayerCost
from netlang.passes.receptive import Field

WIDTH = 100  # columns of a terminal

NARROWEST = 8  # the least columns that a name keeps

_GAP = "  "
_CLIPPED = 2  # the columns with names, which give way where the table is too wide


@dataclass(frozen=True)
class Peak:
    """The bytes that calls for a batch take at most, by use: "forward" and "step"."""

    batch: int
    dtype: str
    bytes: Mapping[str, int]


def cost_table(cost: Cost, memory: Peak | None = None) -> str:
    """The table: a row for each layer, the totals, and what they are in bytes. Plain ASCII, at most 100 columns.

    Layers inside a layer are indented. Fields are sizes of windows on the input, with the stride after a slash:
    `14x14/2`. Where exact numbers would be too wide, the columns are in millions; the totals below are always exact.
    """
    lines = _lines(cost, _count)
    if max(map(len, lines)) > WIDTH:
        lines = _lines(cost, _millions)
    rule = "-" * max(map(len, lines))
    return "\n".join([cost.net, "", lines[0], rule, *lines[1:-1], rule, lines[-1], "", *_notes(cost, memory)]) + "\n"


def cost_json(cost: Cost, memory: Peak | None = None) -> dict[str, object]:
    """The same facts, ready for `json.dumps`: counts are integers, memory is in bytes of float32."""
    totals: dict[str, object] = {"net": cost.net, "parameters": cost.parameters, "states": cost.states}
    totals |= {"macs": cost.macs}
    if cost.backward_macs is not None:
        totals["backward_macs"] = cost.backward_macs
    totals |= {"activations": cost.activations, "activation_bytes": cost.activation_bytes}
    if cost.sizes:
        totals["sizes"] = dict(cost.sizes)
    if memory is not None:
        facts = {"batch": memory.batch, "dtype": memory.dtype}
        totals["memory"] = facts | {f"{use}_bytes": count for use, count in memory.bytes.items()}
    return totals | {"layers": [_layer_json(layer) for layer in cost.layers]}


def _layer_json(layer: LayerCost) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": layer.name,
        "layer": layer.layer,
        "kind": layer.kind,
        "parent": layer.parent,
        "output_shape": list(layer.output_shape),
        "parameters": layer.parameters,
        "macs": layer.macs,
    }
    if layer.backward_macs is not None:
        facts["backward_macs"] = layer.backward_macs
    if layer.shared:
        facts["shared"] = layer.shared
    facts |= {"activations": layer.activations, "activation_bytes": layer.activation_bytes}
    facts["receptive_field"] = {
        name: [_field_json(field) for field in axes] for name, axes in layer.receptive_field.items()
    }
    return facts


def _field_json(field: Field) -> dict[str, object]:
    return {"size": field.size, "stride": _plain(field.stride), "padding": _plain(field.padding)}


def _plain(value: Fraction | None) -> int | float | None:
    if value is None:
        return None
    return value.numerator if value.denominator == 1 else float(value)


def _lines(cost: Cost, show: Callable[[int], str]) -> list[str]:
    """Header, rows and totals, aligned."""
    header = ["layer", "kind", "output", "parameters", "macs", "backward", "activations", "field"]
    total = ["total", "", "", *map(show, (cost.parameters, cost.macs, cost.backward_macs or 0, cost.activations)), ""]
    table = [header, *(_row(layer, show) for layer in cost.layers), total]
    if cost.backward_macs is None:
        column = header.index("backward")
        table = [line[:column] + line[column + 1 :] for line in table]
    return _align(table)


def _row(layer: LayerCost, show: Callable[[int], str]) -> list[str]:
    counts = [layer.parameters, layer.macs, layer.backward_macs or 0, layer.activations]
    cells = [show(count) if count else "-" for count in counts]
    if layer.shared:
        cells[0] = f"= {layer.shared}"
    name = "  " * layer.depth + layer.name.removeprefix(f"{layer.parent}.")
    return [name, layer.layer, "x".join(map(str, layer.output_shape)) or "scalar", *cells, _field(layer)]


def _count(value: int) -> str:
    return f"{value:,}"


def _millions(value: int) -> str:
    return f"{value / 1e6:,.1f}M"


def _field(layer: LayerCost) -> str:
    """The window on the input of the highest rank that the layer sees; of images without the axis of channels."""
    if not layer.receptive_field:
        return "-"
    axes = max(layer.receptive_field.values(), key=len)
    shown = axes[1:] if len(axes) > 2 else axes
    if not shown:
        return "-"
    sizes = "x".join(str(field.size) for field in shown)
    strides = list(dict.fromkeys(field.stride for field in shown))
    if strides in ([None], [1]) or None in strides:
        return sizes
    return f"{sizes}/{'x'.join(str(_plain(stride)) for stride in strides)}"


def _align(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns aligned, names and shapes to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - WIDTH
    for column in sorted(range(_CLIPPED), key=lambda k: -widths[k]):
        cut = max(0, min(excess, widths[column] - NARROWEST))
        widths[column] -= cut
        excess -= cut
    lines = []
    for row in table:
        cells = [
            _clip(cell, width).ljust(width) if k < 3 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def _clip(text: str, width: int) -> str:
    """The text with its middle left out: the ends of nested names tell them apart."""
    if len(text) <= width:
        return text
    tail = (width - 2) * 2 // 3
    return text[: width - 2 - tail] + ".." + text[len(text) - tail :]


def _notes(cost: Cost, peak: Peak | None) -> list[str]:
    memory = _memory(FLOAT32 * cost.parameters)
    lines = [f"parameters   {_count(cost.parameters)} ({memory} in float32)"]
    if cost.states:
        lines.append(f"states       {_count(cost.states)} numbers that are kept between calls but not learned")
    lines.append(f"macs         {_count(cost.macs)} multiply-adds of contractions, for one example")
    if cost.backward_macs is not None:
        lines.append(f"backward     {_count(cost.backward_macs)} multiply-adds of contractions, for one example")
    memory = _memory(cost.activation_bytes)
    lines.append(f"activations  {_count(cost.activations)} ({memory} in float32), for one example")
    if peak is not None:
        uses = {"forward": "inference", "step": "a step of training"}
        parts = [f"{_memory(count)} for {uses[use]}" for use, count in peak.bytes.items()]
        examples = "one example" if peak.batch == 1 else f"{peak.batch} examples"
        lines.append(f"memory       {' and '.join(parts)}, with {examples} in {peak.dtype}")
    if cost.sizes:
        sizes = ", ".join(f"{name} = {value}" for name, value in cost.sizes.items())
        lines.append(f"sizes        {sizes}: macs and activations are for these (`--size NAME=N` for others)")
    return lines


def _memory(size: int) -> str:
    """Bytes in a unit of powers of 1024."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
