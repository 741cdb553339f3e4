"""What more hands bring, and where ingest ends: `python -m tests.bench.curve --help`.

The creates with 1, 2 and 4 worker processes, and with workers that settle at once and apply nothing: so many operations a
second ingest, which is one process, can carry.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench.bench import Bench, run
from tests.bench.ground import PROCESSES
from tests.bench.streams import CREATES, creates, scaled

WORKER_PROCESSES = (1, 2, 4)


def measure(bench: Bench, options: argparse.Namespace | None = None) -> None:
    """The curve, a point after the other in each repeat. What `throughput` has measured already is not measured again."""
    stream = creates(scaled(CREATES, bench.scale))
    bench.ground.prepare(stream)
    known = bench.measured.get("creates: this service", [])
    for repeat in range(bench.repeats):
        for processes in WORKER_PROCESSES:
            name = f"curve: {processes} worker process{'es' if processes > 1 else ''}"
            if processes == PROCESSES and repeat < len(known):
                bench.note(name, known[repeat])
            else:
                bench.note(name, bench.ground.run_service(stream, processes))
        bench.note("curve: workers that settle at once", bench.ground.run_ingest_alone(stream))


if __name__ == "__main__":
    sys.exit(run(__doc__, measure))
