"""The picture of the rates: bars in an SVG, readable by day and by night. No library, no script, no font of its own.

It brings its own ground: a page may be dark where the reader's system is not, and a picture only hears of the system.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

#: Lengths in the picture's own units.
WIDTH, LEFT, LABELS, RIGHT, ROW, BAR, GROUP_GAP, TOP = 780, 16, 166, 110, 26, 16, 34, 16

#: The groups in order, and what stands above each.
GROUPS = {
    "creates": "CREATE, nothing conflicts",
    "poisoned": "CREATE, one in 1,000 is poison",
    "mixed": "mixed, hot rows",
    "conflicts": "updates of 100 rows, everything conflicts",
    "curve": "CREATE, by worker processes",
}

STYLE = """
  .ground { fill: #ffffff; }
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; } .value { fill: #57606a; }
  .other { fill: #afb8c1; } .ours { fill: #0969da; } .range { stroke: #24292f; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; }
    text { fill: #e6edf3; } .value { fill: #9da7b3; }
    .other { fill: #57606a; } .ours { fill: #4493f8; } .range { stroke: #e6edf3; }
  }
"""


def draw(measured: Mapping[str, Sequence[float]]) -> str:
    """The SVG of the rates (operations a second) that were measured: a bar each to the median, a line over the range."""
    groups = {name: _bars(name, measured) for name in GROUPS}
    groups = {name: bars for name, bars in groups.items() if bars}
    highest = max((max(values) for bars in groups.values() for values in bars.values()), default=1.0)
    unit = (WIDTH - LABELS - RIGHT) / highest
    parts: list[str] = []
    y = TOP
    for name, bars in groups.items():
        parts.append(f'<text class="title" x="{LEFT}" y="{y + 12}">{GROUPS[name]}</text>')
        y += ROW
        for label, values in bars.items():
            parts += _bar(y, label, values, unit)
            y += ROW
        y += GROUP_GAP - ROW
    note = "operations a second: median, and the range of all repeats"
    parts.append(f'<text class="value" x="{LEFT}" y="{y + 12}">{note}</text>')
    height = y + 28
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">'
    ground = f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>'
    return (
        "\n".join([head, "<title>Operations a second</title>", f"<style>{STYLE}</style>", ground, *parts, "</svg>"])
        + "\n"
    )


def _bars(group: str, measured: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    prefix = f"{group}: "
    return {
        name.removeprefix(prefix): values for name, values in measured.items() if name.startswith(prefix) and values
    }


def _bar(y: int, label: str, values: Sequence[float], unit: float) -> Iterator[str]:
    median, low, high = statistics.median(values), min(values), max(values)
    kind = "other" if label in ("one by one", "batch loop", "workers that settle at once") else "ours"
    middle = y + BAR / 2
    yield f'<text x="{LEFT}" y="{middle + 4}">{"settling at once" if "settle" in label else label}</text>'
    yield f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{median * unit:.1f}" height="{BAR}" rx="2"/>'
    left, right = LABELS + low * unit, LABELS + high * unit
    yield f'<line class="range" x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"/>'
    yield f'<text class="value" x="{right + 8:.1f}" y="{middle + 4}">{median:,.0f}</text>'
