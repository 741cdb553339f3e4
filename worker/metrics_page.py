"""The numbers as Prometheus reads them: each with its name, its help and its labels.

Names and labels are an interface: compose/alerts.yml, the Grafana board and people's own queries hold on to them. Durations
are seconds, sizes bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.metrics import Event, Histogram, Metrics, Reading
from worker.page_server import Answer

#: What each event's counter says of itself.
COUNTED = {
    Event.RECEIVED: "Operations read from Kafka and persisted.",
    Event.APPLIED: "Operations that are in the database.",
    Event.RETRIED: "Failed attempts after which another follows.",
    Event.DEAD: "Operations that became dead letters.",
}


class MetricsPage(Collector):
    """Renders the numbers of an ingest.

    Parameters:
      capacity: how many unsettled operations the outbox takes before reading from Kafka pauses.
      outbox_path: the outbox's file, whose disk is looked at.
    """

    def __init__(self, metrics: Metrics, capacity: int, outbox_path: str) -> None:
        self._metrics = metrics
        self._capacity = capacity
        self._folder = Path(outbox_path).parent
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def answer(self, accept: str) -> Answer:
        """The numbers, in the format that the scraper's Accept header asks for."""
        return encoded(self._registry, accept)

    def collect(self) -> Iterator[Metric]:
        reading = self._metrics.read()
        yield from _counters(reading)
        yield from _backlog(reading)
        yield from _pauses(reading)
        yield _histogram(
            "outbox_produced_to_applied_seconds",
            "From an operation's own timestamp to its outcome's return, replays left out.",
            reading.produced_to_applied,
        )
        yield _histogram(
            "outbox_persisted_to_applied_seconds",
            "From the append to the outbox to the outcome's return, replays left out.",
            reading.persisted_to_applied,
        )
        yield _histogram("outbox_batch_operations", "Operations that a batch carried.", reading.batches)
        yield _gauge("outbox_capacity_operations", "Unsettled operations at which reading pauses.", self._capacity)
        disk = shutil.disk_usage(self._folder)
        yield _gauge("outbox_disk_free_bytes", "Free on the disk that holds the outbox.", disk.free)
        yield _gauge("outbox_disk_size_bytes", "Size of the disk that holds the outbox.", disk.total)


def encoded(registry: CollectorRegistry, accept: str) -> Answer:
    """What a registry holds, as an answer to a scraper."""
    encode, content_type = choose_encoder(accept)
    return 200, content_type, encode(registry)


def _counters(reading: Reading) -> Iterator[Metric]:
    for event, help_text in COUNTED.items():
        family = CounterMetricFamily(f"outbox_operations_{event}", help_text, labels=("entity", "type"))
        for key, count in reading.operations[event].items():
            family.add_metric(key, count)
        yield family


def _backlog(reading: Reading) -> Iterator[Metric]:
    standing = reading.standing
    states = GaugeMetricFamily("outbox_operations", "Operations that the outbox holds, by state.", labels=("state",))
    for state, count in standing.operations.items():
        states.add_metric((state,), count)
    yield states
    lag = GaugeMetricFamily(
        "outbox_consumer_lag_records", "Records in Kafka that are not read yet.", labels=("partition",)
    )
    for partition, records in sorted(standing.lag.items()):
        lag.add_metric((str(partition),), records)
    yield lag
    servers = GaugeMetricFamily("outbox_server_up", "1 while the server answers ingest.", labels=("server",))
    for server, is_up in standing.servers.items():
        servers.add_metric((server,), is_up)
    yield servers
    yield _gauge(
        "outbox_oldest_operation_age_seconds",
        "Age of the first unsettled operation in the order; 0 while nothing waits.",
        reading.oldest_age_s,
    )
    yield _gauge("outbox_is_active", "1 while the partitions are ours; 0 while standing by.", standing.is_active)
    yield _gauge("outbox_epoch", "The epoch that this ingest has raised; 0 while it has none.", standing.epoch)
    yield _gauge("outbox_in_flight_operations", "Operations on their way.", standing.in_flight_operations)
    yield _gauge("outbox_in_flight_batches", "Batches on their way.", standing.in_flight_batches)
    if standing.living_workers is not None:
        yield _gauge(
            "outbox_living_workers", "Actor processes that Redis has heard of lately.", standing.living_workers
        )
    yield _gauge("outbox_last_turn_age_seconds", "Since the main loop's last turn.", reading.last_turn_age_s)


def _pauses(reading: Reading) -> Iterator[Metric]:
    now = GaugeMetricFamily("outbox_is_paused", "1 while this keeps ingest from working.", labels=("why",))
    for pause in reading.paused:
        now.add_metric((pause,), pause in reading.pauses_now)
    yield now
    seconds = CounterMetricFamily("outbox_paused_seconds", "Time spent paused.", labels=("why",))
    for pause, total in reading.paused.items():
        seconds.add_metric((pause,), total)
    yield seconds


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _histogram(name: str, help_text: str, histogram: Histogram) -> Metric:
    bounds = [*(f"{float(bound)}" for bound in histogram.bounds), "+Inf"]
    family = HistogramMetricFamily(name, help_text)
    family.add_metric((), list(zip(bounds, histogram.cumulative, strict=True)), histogram.sum)
    return family
