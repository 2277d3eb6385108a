"""The look of every picture: one small palette, one font, and a colour for each kind of computation."""

from __future__ import annotations

from dataclasses import dataclass

FONT = "Helvetica,Arial,sans-serif"
INK = "#1f2933"  # text
MUTED = "#66727f"  # secondary text: names, shapes, counts
WIRE = "#8693a0"  # edges
FRAME = "#c3ccd5"  # borders of groups
GROUP = "#f7f9fb"  # fill of groups
FORWARD = "#1f7a4d"  # values, as in the lectures: green above the wire
LOOP = "#6a3fa0"  # what a recurrence hands from step to step
BACKWARD = "#c0392b"  # gradients: red below it

TITLE, TEXT, SMALL = 14, 12, 10


@dataclass(frozen=True)
class Paint:
    """Fill and border of a box, and what the colour means (a line of the legend)."""

    fill: str
    line: str
    meaning: str


# The order is the precedence: a block is painted by the first kind that occurs in it.
PAINTS: dict[str, Paint] = {
    "loss": Paint("#f9dfdc", "#c0574c", "loss"),
    "contraction": Paint("#dce8f7", "#4a78b5", "contraction with parameters"),
    "product": Paint("#e6e1f4", "#7a67b0", "contraction of activations"),
    "extern": Paint("#deeef0", "#4f8f99", "extern operation"),
    "reduction": Paint("#ddf0e1", "#579a68", "reduction"),
    "random": Paint("#f5e4ef", "#a8648f", "random"),
    "elementwise": Paint("#fdf1d6", "#c39236", "elementwise"),
    "movement": Paint("#eceff2", "#8a96a3", "rearrangement"),
    "param": Paint("#ffffff", "#4a78b5", "parameter"),
    "state": Paint("#ffffff", "#8a96a3", "state"),
    "terminal": Paint("#ffffff", "#1f2933", "input or output"),
    "target": Paint("#ffffff", "#c0574c", "target"),
}

# Borders that tell instances with common parameters apart from each other.
SHARED = ("#b5562b", "#2b7f86", "#8a3d78", "#6b7d1f", "#3d4fa1")
