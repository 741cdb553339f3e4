"""Operations a second of this service and of what it is compared with: `python -m tests.bench.throughput --help`.

Four streams: creates (Users, in 3 partitions), mixed (all types, all entities, hot rows), conflicts (updates of 100 rows), and
the creates with one poisoned operation in a thousand, until all others are applied. The contestants take turns, and each
repeat begins with another of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from tests.bench.bench import Bench, run
from tests.bench.streams import (
    CONFLICTS,
    CREATES,
    MIXED,
    ONE_BY_ONE,
    Stream,
    conflicts,
    creates,
    mixed,
    poisoned_creates,
    scaled,
)
from tests.support.pipeline import PARTITIONS


def measure(bench: Bench, options: argparse.Namespace | None = None) -> None:
    """All contestants on all streams."""
    runs = _runs(bench)
    for repeat in range(bench.repeats):
        first = repeat % len(runs)
        for name, measure_once in (*runs[first:], *runs[:first]):
            bench.note(name, measure_once())


def _runs(bench: Bench) -> list[tuple[str, Callable[[], float]]]:
    ground = bench.ground
    some = scaled(ONE_BY_ONE, bench.scale)
    streams = [
        creates(scaled(CREATES, bench.scale)),
        mixed(scaled(MIXED, bench.scale)),
        conflicts(scaled(CONFLICTS, bench.scale)),
    ]
    runs: list[tuple[str, Callable[[], float]]] = []
    for stream in streams:
        few = min(some, len(stream.messages))
        _prepare(bench, stream, few)
        # in one partition: it would lose the order of three, and fail where it finds no row
        runs.append((f"{stream.name}: one by one", partial(ground.run_loop, "one-by-one", stream, few, 1)))
        if stream.name == "creates":
            count = len(stream.messages)
            runs.append(("creates: batch loop", partial(ground.run_loop, "batch-loop", stream, count, PARTITIONS)))
        runs.append((f"{stream.name}: this service", partial(ground.run_service, stream)))
    poisoned = poisoned_creates(scaled(CREATES, bench.scale))
    _prepare(bench, poisoned)
    runs.append(("poisoned: this service", partial(ground.run_service, poisoned)))
    return runs


def _prepare(bench: Bench, stream: Stream, one_by_one: int | None = None) -> None:
    bench.ground.prepare(stream, one_by_one)
    bench.tell(f"{stream.name}: {len(stream.messages):,} operations are on their topic")


if __name__ == "__main__":
    sys.exit(run(__doc__, measure))
