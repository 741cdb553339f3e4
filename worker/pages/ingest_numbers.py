"""Ingest's own numbers, asked of its ``/metrics``: what no note in the outbox tells, which is how long operations take."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from worker.settings import Settings

#: How long (s) ingest may take to answer.
ANSWER_S = 1.0

#: The histogram whose buckets are taken.
LATENCY = "outbox_persisted_to_applied_seconds"


class Latency(msgspec.Struct, frozen=True):
    """How many operations took at most so many seconds from the outbox to the database and back, since ingest began.

    ``bounds`` are in seconds, ``counts`` cumulative; the last bound, infinity, is left out: ``total`` is its count.
    """

    bounds: list[float]
    counts: list[float]
    total: float


def latency(settings: Settings) -> Latency | None:
    """What ingest has counted; None if it does not serve its numbers, or cannot be reached."""
    if not settings.metrics_port:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.metrics_host, settings.metrics_host)
    url = f"http://{host}:{settings.metrics_port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            return read_latency(answer.read().decode())
    except (OSError, HTTPException, ValueError):
        return None


def read_latency(text: str) -> Latency | None:
    """The latency in what Prometheus would scrape; None if it is not there."""
    for family in text_string_to_metric_families(text):
        if family.name == LATENCY:
            buckets = [(one.labels["le"], one.value) for one in family.samples if one.name.endswith("_bucket")]
            finite = [(float(bound), count) for bound, count in buckets if bound != "+Inf"]
            total = max((count for _, count in buckets), default=0.0)
            return Latency([bound for bound, _ in finite], [count for _, count in finite], total)
    return None
