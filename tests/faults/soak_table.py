"""What a soak came to, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tests.faults.rounds import RunResult
from tests.faults.verdict import Verdict
from tests.support.kafka_jars import KAFKA_VERSION

ROOT = Path(__file__).resolve().parents[2]

#: How the verdict's counts are called in the table.
TITLES = {
    "lost": "lost",
    "doubled": "doubled",
    "out_of_order": "out of order",
    "dead_letters": "dead letters other than the serial run's",
    "untold": "dead letters not told to their topic",
    "stale_keys": "stale keys",
    "ends": "programs that ended by themselves",
}


def machine_description(versions: Mapping[str, str]) -> dict[str, str]:
    """Where this was measured, and of which commit."""
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{pages * page_size / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "Kafka": KAFKA_VERSION,
        **versions,
        "commit": _commit(),
    }


def totals(results: Sequence[RunResult]) -> dict[str, int]:
    """What is counted over all runs; a run that did not come to a verdict counts as failed alone."""
    counted = Counter[str]()
    for result in results:
        counted.update(result.verdict.counts if result.verdict else {})
    return {
        "runs": len(results),
        "runs that failed": sum(1 for result in results if not result.is_good),
        "operations": sum(result.operations for result in results),
        "kills": sum(result.kills for result in results),
        **{TITLES[one.name]: counted[one.name] for one in fields(Verdict)},
    }


def as_markdown(results: Sequence[RunResult], machine: Mapping[str, str], took_s: float) -> str:
    """The tables: totals, by kind with times to recover, by named point."""
    told = totals(results)
    kills_a_minute = told["kills"] / max(took_s, 1) * 60
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine.items())
        + f". {took_s / 60:.0f} minutes, {kills_a_minute:.0f} kills a minute.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value:,} |" for name, value in told.items()),
        "",
        "| what was struck | strokes | kills | recovered, median (s) | worst (s) |",
        "|---|---:|---:|---:|---:|",
    ]
    times = _times(results)
    strokes, kills, points = _counted(results)
    for kind in sorted(strokes.keys() | times.keys(), key=lambda name: (name == "together", name)):
        lines.append(f"| {kind} | {strokes[kind] or ''} | {kills[kind] or ''} | {_median_and_worst(times[kind])} |")
    lines += ["", "| named point | times |", "|---|---:|"]
    lines += [f"| `{point}` | {count} |" for point, count in sorted(points.items())]
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[RunResult], machine: Mapping[str, str], took_s: float) -> str:
    """Everything: machine, totals, and each run with its rounds."""
    runs: list[dict[str, Any]] = [asdict(result) for result in results]
    return json.dumps({"machine": machine, "took_s": took_s, "totals": totals(results), "runs": runs}, indent=1)


def _times(results: Sequence[RunResult]) -> defaultdict[str, list[float]]:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for result in results:
        for one in result.rounds:
            if not any(stroke.note for stroke in one.strokes):
                times[one.kind].append(one.recovered_s)
    return times


def _counted(results: Sequence[RunResult]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    strokes, kills, points = Counter[str](), Counter[str](), Counter[str]()
    for stroke in (stroke for result in results for one in result.rounds for stroke in one.strokes):
        if stroke.note:
            continue
        strokes[stroke.kind] += 1
        kills[stroke.kind] += stroke.struck.kills
        if stroke.struck.point is not None:
            points[stroke.struck.point.value] += 1
    return strokes, kills, points


def _median_and_worst(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.1f} | {max(times):.1f}" if times else " | "


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else "")
