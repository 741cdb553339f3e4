"""What was measured, as a table for people and as JSON for programs: medians with their range, held against the targets."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

#: What was measured, by name: a value for each repeat. Rates are operations a second.
Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Target:
    """What a measurement is to reach.

    :ivar over: the measurement that it is divided by, repeat by repeat; empty: it stands for itself.
    :ivar is_ceiling: whether less is better.
    """

    title: str
    of: str
    over: str = ""
    unit: str = "×"
    reach: float = 0.0
    aim: float | None = None
    is_ceiling: bool = False

    def values(self, measured: Values) -> list[float]:
        """A value for each repeat; empty if this was not measured."""
        values = list(measured.get(self.of, ()))
        if not self.over:
            return values
        return [value / base for value, base in zip(values, measured.get(self.over, ()), strict=False)]

    def verdict(self, measured: Values) -> str:
        """ "aim", "reached" or "missed", by the median."""
        median = statistics.median(self.values(measured))

        def holds(bound: float) -> bool:
            return median <= bound if self.is_ceiling else median >= bound

        if self.aim is not None and holds(self.aim):
            return "aim"
        return "reached" if holds(self.reach) else "missed"


TARGETS = (
    Target("creates, of the batch loop", "creates: this service", "creates: batch loop", reach=0.6, aim=1.0),
    Target("creates, of one by one", "creates: this service", "creates: one by one", reach=5.0),
    Target("mixed, of one by one", "mixed: this service", "mixed: one by one", reach=3.0, aim=5.0),
    Target("conflicts, of one by one", "conflicts: this service", "conflicts: one by one", reach=1.5, aim=4.0),
    Target("with poison, of without", "poisoned: this service", "creates: this service", reach=0.7, aim=0.9),
    Target("latency when idle, p50", "latency idle: p50", unit="ms", reach=20, is_ceiling=True),
    Target("latency when idle, p99", "latency idle: p99", unit="ms", reach=50, aim=20, is_ceiling=True),
    Target(
        "latency at half the peak, p99", "latency at half the peak: p99", unit="ms", reach=500, aim=200, is_ceiling=True
    ),
    Target("processor when idle", "idle: all three", unit="% of a core", reach=3, aim=1, is_ceiling=True),
)

#: What size may cost; `scale` measures it.
SIZE_TARGETS = (
    *(
        Target(f"memory with {size} waiting", f"memory: {size} entries waiting", "", "MB", 200, 100, is_ceiling=True)
        for size in ("10,000", "1,000,000", "10,000,000")
    ),
    *(
        Target(
            f"{what} with {size} {kind}, of 10,000",
            f"{what}: {size} {kind}",
            f"{what}: 10,000 {kind}",
            "×",
            *bounds,
            True,
        )
        for what, kind, size, bounds in (
            ("memory", "entries waiting", "1,000,000", (1.1, None)),
            ("memory", "entries waiting", "10,000,000", (1.1, None)),
            ("cost of an operation", "entries waiting", "1,000,000", (1.2, 1.05)),
            ("cost of an operation", "entries waiting", "10,000,000", (1.2, 1.05)),
            ("cost for ingest", "keys cached", "1,000,000", (1.2, 1.05)),
            ("cost for all", "keys cached", "1,000,000", (1.2, 1.05)),
        )
    ),
    Target("first dispatch with 1,000,000 waiting", "start: 1,000,000 entries waiting", "", "s", 3, 1, is_ceiling=True),
)


def print_tables(console: Console, measured: Values) -> None:
    """The measurements, and those targets that they can be held against."""
    table = Table("measured", title="median and range")
    for heading in ("median", "lowest", "highest", "repeats"):
        table.add_column(heading, justify="right")
    for name, values in measured.items():
        if values:
            told = [number(one) for one in (statistics.median(values), min(values), max(values))]
            table.add_row(f"{name} ({unit_of(name)})", *told, str(len(values)))
    console.print(table)
    targets = Table("target", title="held against the targets")
    for heading in ("median", "lowest", "highest", "to reach", "the aim", ""):
        targets.add_column(heading, justify="right")
    for target in (*TARGETS, *SIZE_TARGETS):
        values = target.values(measured)
        if values:
            told = [number(one) for one in (statistics.median(values), min(values), max(values))]
            sign = "≤" if target.is_ceiling else "≥"
            aim = f"{sign} {target.aim:g}" if target.aim is not None else ""
            targets.add_row(
                f"{target.title} ({target.unit})", *told, f"{sign} {target.reach:g}", aim, target.verdict(measured)
            )
    if targets.row_count:
        console.print(targets)


def as_json(measured: Values, about: Mapping[str, Any]) -> str:
    """All values, and the verdicts. `about` is the machine, the date, the command."""
    verdicts = [
        {
            "target": target.title,
            "unit": target.unit,
            "values": target.values(measured),
            "median": statistics.median(target.values(measured)),
            "reach": target.reach,
            "aim": target.aim,
            "verdict": target.verdict(measured),
        }
        for target in (*TARGETS, *SIZE_TARGETS)
        if target.values(measured)
    ]
    named = {
        name: {"unit": unit_of(name), "median": statistics.median(values), "values": list(values)}
        for name, values in measured.items()
        if values
    }
    return json.dumps({**about, "measured": named, "targets": verdicts}, indent=1, ensure_ascii=False) + "\n"


def unit_of(name: str) -> str:
    """The unit of a measurement, which its name tells."""
    for beginning, unit in (("latency", "ms"), ("memory", "MB"), ("cost", "µs"), ("start", "s")):
        if name.startswith(beginning):
            return unit
    return "% of a core" if name.startswith("idle") else "operations/s"


def number(value: float) -> str:
    """Three digits or more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
