"""All measurements one after the other: `python -m tests.bench.suite --json FILE --svg FILE`, `--help`.

On an otherwise idle machine with two cores it takes some ten minutes; `--scale 0.1` shows that all of it works. The load
of the second latency is half of what the service just reached with the creates.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from tests.bench import curve, idle, latency, throughput
from tests.bench.bench import Bench, run


def measure(bench: Bench, options: argparse.Namespace | None = None) -> None:
    """Throughput, the curve, latency, idle."""
    throughput.measure(bench)
    curve.measure(bench)
    half_the_peak = statistics.median(bench.measured["creates: this service"]) / 2
    for _ in range(bench.repeats):
        latency.measure_at(bench, "latency idle", latency.IDLE_RATE)
        latency.measure_at(bench, "latency at half the peak", half_the_peak)
    idle.measure(bench)


if __name__ == "__main__":
    sys.exit(run(__doc__, measure))
