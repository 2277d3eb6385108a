"""What was found, as a table in Markdown, as JSON, and as a chart in SVG."""

from __future__ import annotations

import datetime
import math
import os
import platform
from collections.abc import Sequence
from html import escape
from typing import Any

import netlang
from benchmarks.compare import Row

COLOURS = {
    "torch": "#d1495b",
    "torch channels-last": "#edae49",
    "torch.compile": "#8f2d56",
    "JAX": "#00798c",
    "ONNX Runtime": "#66a182",
}


def machine() -> dict[str, Any]:
    """Where and when it was measured."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "date": datetime.date.today().isoformat(),
        "processor": model,
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "netlang": netlang.__version__,
    }


def document(rows: Sequence[Row], left_out: Sequence[str], clock: str) -> dict[str, Any]:
    return {"machine": machine(), "clock": clock, "left_out": list(left_out), "rows": [row.as_json() for row in rows]}


def table(rows: Sequence[Row]) -> str:
    """Medians in milliseconds, and how many times longer than netlang each peer takes."""
    peers = [peer for peer in COLOURS if any(peer in row.times for row in rows)]
    lines = ["| | netlang | " + " | ".join(peers) + " |", "|---" * (len(peers) + 2) + "|"]
    for row in rows:
        cells = [f"{_number(row.times[p])} ({row.ratio(p):.2f}x)" if p in row.times else "" for p in peers]
        lines.append(f"| {row.workload.what} | {_number(row.times['netlang'])} ms | {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


# --- the chart -----------------------------------------------------------------------------------------------------

LEFT, WIDTH, LINE, TOP = 330, 520, 26, 56


def chart(rows: Sequence[Row]) -> str:
    """A line for each workload, on it a point for each peer: how many times longer than netlang it takes."""
    ratios = [row.ratio(peer) for row in rows for peer in row.times if peer != "netlang"]
    low = min(-1, math.floor(math.log2(min(ratios, default=1))))
    high = max(1, math.ceil(math.log2(max(ratios, default=1))))

    def x(ratio: float) -> float:
        return LEFT + WIDTH * (math.log2(ratio) - low) / (high - low)

    bottom = TOP + LINE * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {bottom + 48}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{LEFT + WIDTH + 30}" height="{bottom + 48}" fill="white"/>',
    ]
    for power in range(low, high + 1):
        label = f"{2**power}x" if power >= 0 else f"1/{2**-power}x"
        width = 2 if power == 0 else 0.5
        parts += [
            f'<line x1="{x(2.0**power):.1f}" y1="{TOP - 8}" x2="{x(2.0**power):.1f}" y2="{bottom}" '
            f'stroke="#888" stroke-width="{width}"/>',
            f'<text x="{x(2.0**power):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#444">{label}</text>',
        ]
    for k, row in enumerate(rows):
        y = TOP + LINE * k + LINE / 2
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(row.workload.what)}</text>')
        for peer in row.times:
            if peer != "netlang":
                place = f'cx="{x(row.ratio(peer)):.1f}" cy="{y}"'
                title = f"<title>{escape(peer)}: {row.ratio(peer):.2f}</title>"
                parts.append(f'<circle {place} r="5.5" fill="{COLOURS[peer]}" fill-opacity="0.85">{title}</circle>')
    for k, (peer, colour) in enumerate(COLOURS.items()):
        at = 14 + 170 * k
        parts += [
            f'<circle cx="{at}" cy="20" r="5.5" fill="{colour}"/>',
            f'<text x="{at + 11}" y="24">{escape(peer)}</text>',
        ]
    caption = "time relative to netlang; to the right of 1x netlang is faster"
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 38}" text-anchor="middle" fill="#444">{caption}</text>')
    return "\n".join([*parts, "</svg>", ""])
