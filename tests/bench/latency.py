"""From an operation's way into Kafka to its row in the database: `python -m tests.bench.latency --help`.

When idle 20 operations a second come; under load so many as `--rate` says, and 50 a second of them are watched. A row is looked
for every millisecond or so, from a connection of the watcher's own, which is a part of what is measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.bench.bench import Bench, run
from tests.support.pipeline import PARTITIONS, Pipeline
from tests.support.streams import a_message, a_user

#: Operations a second when idle, and operations a second that are watched.
IDLE_RATE, WATCHED_RATE = 20, 50

#: How long (s) operations come, at scale 1.
SECONDS = 15.0

#: How many operations go first, so that nothing is done for the first time.
FIRST_OPERATIONS = 200

#: How long (s) the last row may take.
LAST_ROW_S = 120.0

LOOK_EVERY_S = 0.001


def measure(bench: Bench, options: argparse.Namespace) -> None:
    """Idle and under load, in turns."""
    for _ in range(bench.repeats):
        measure_at(bench, "latency idle", IDLE_RATE)
        measure_at(bench, "latency under load", options.rate)


def measure_at(bench: Bench, name: str, rate: float) -> None:
    """Note p50 and p99 (ms) at so many operations a second."""
    topic = f"latency-{round(rate)}-{time.monotonic_ns()}"
    bench.ground.kafka.create_topic(topic, PARTITIONS)
    with bench.ground.pipeline(topic) as pipeline:
        bench.ground.start_workers(pipeline)
        pipeline.service.start_ingest()
        _Stream(bench, pipeline, "first", FIRST_OPERATIONS).send(rate=FIRST_OPERATIONS)
        count = round(bench.seconds(SECONDS) * rate)
        waits = _Stream(bench, pipeline, "row", count).send(rate)
        settled = pipeline.wait_until_settled(count + FIRST_OPERATIONS)
        assert settled.applied == count + FIRST_OPERATIONS, settled
    bench.note(f"{name}: p50", percentile(waits, 0.5) * 1000)
    bench.note(f"{name}: p99", percentile(waits, 0.99) * 1000)


class _Stream:
    """CREATEs of Users, made before the first is sent."""

    def __init__(self, bench: Bench, pipeline: Pipeline, name: str, count: int) -> None:
        self._bench = bench
        self._pipeline = pipeline
        self._addresses = [f"{name}{number}@example.co" for number in range(count)]
        # without a timestamp: Kafka's own counts
        self._messages = [a_message(f"op_{address}", "CREATE", "User", a_user(address)) for address in self._addresses]

    def send(self, rate: float) -> list[float]:
        """Send them at so many a second; how long (s) it took until each of the watched rows was there."""
        producer = self._bench.ground.producer()
        topic = self._pipeline.topic
        every = max(1, round(rate / WATCHED_RATE))
        watched: dict[str, float] = {}
        waits: list[float] = []
        sent = 0
        with self._pipeline.mariadb.connection(self._pipeline.database) as connection, connection.cursor() as cursor:
            began = time.perf_counter()
            while sent < len(self._messages) or watched:
                now = time.perf_counter()
                due = min(len(self._messages), int((now - began) * rate) + 1)
                for number in range(sent, due):
                    if number % every == 0:
                        watched[self._addresses[number]] = time.perf_counter()
                    producer.produce(topic, self._messages[number], partition=number % PARTITIONS)
                sent = due
                producer.poll(0)
                if watched:
                    places = ", ".join(["%s"] * len(watched))
                    cursor.execute(f"SELECT email FROM usuarios WHERE email IN ({places})", list(watched))
                    seen_at = time.perf_counter()
                    waits += [seen_at - watched.pop(address) for (address,) in cursor.fetchall()]
                assert now - began < len(self._messages) / rate + LAST_ROW_S, self._late(watched)
                time.sleep(LOOK_EVERY_S)
        producer.flush(30)
        return waits

    def _late(self, watched: dict[str, float]) -> str:
        return f"{len(watched)} rows are not there\n{self._pipeline.service.log_tails()}"


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


if __name__ == "__main__":
    sys.exit(run(__doc__, measure, "rate=2000=operations a second under load"))
