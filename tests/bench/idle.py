"""What the three programs cost while nothing comes: `python -m tests.bench.idle --help`. From /proc, so on Linux."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.bench.bench import Bench, run
from tests.support.pipeline import PARTITIONS, Pipeline
from tests.support.streams import a_message, a_user

#: How long (s) they are watched at scale 1, and how long (s) they are left alone before: a cache's lists are dropped 2 s
#: after the last write.
SECONDS, BEFORE_S = 15.0, 4.0


def measure(bench: Bench, options: argparse.Namespace | None = None) -> None:
    """The processor time of each and of all, in per cent of one core."""
    for _ in range(bench.repeats):
        topic = f"idle-{time.monotonic_ns()}"
        bench.ground.kafka.create_topic(topic, PARTITIONS)
        with bench.ground.pipeline(topic) as pipeline:
            bench.ground.start_workers(pipeline)
            pipeline.service.start_ingest()
            pipeline.service.start_dashboard()
            pipeline.send([a_message("op_1", "CREATE", "User", a_user("ana@example.co"))])
            pipeline.wait_until_settled()
            time.sleep(BEFORE_S)
            before, began = _processor_seconds(pipeline), time.monotonic()
            time.sleep(bench.seconds(SECONDS))
            after, took = _processor_seconds(pipeline), time.monotonic() - began
        cost = {name: (after[name] - before[name]) / took * 100 for name in after}
        for name, percent in cost.items():
            bench.note(f"idle: {name}", percent)
        bench.note("idle: all three", sum(cost.values()))


def _processor_seconds(pipeline: Pipeline) -> dict[str, float]:
    """What each program and its children have used so far."""
    return {program.name: processor_seconds_of_group(program.pid) for program in pipeline.service.programs}


def processor_seconds_of_group(group: int) -> float:
    """User and system time, in seconds, of the processes that now are in this process group."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # after the name, which may hold blanks and brackets: state, parent, group, …
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    assert ticks, f"no process runs in the group {group}"
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(run(__doc__, measure))
