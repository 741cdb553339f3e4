"""Serves ingest's numbers and its health over HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for supervisors.

It only reads, and needs no password; so it listens on loopback unless METRICS_HOST says otherwise. Numbers are no reason to
let writes wait: if the address cannot be had, that is an error in the log, and ingest goes on without them.
"""

from __future__ import annotations

import logging

from worker.logs import log_event
from worker.metrics import Metrics
from worker.metrics_page import MetricsPage
from worker.page_server import PLAIN, Answer, PageServer
from worker.settings import Settings

_log = logging.getLogger(__name__)


def serve_metrics(settings: Settings, metrics: Metrics) -> PageServer | None:
    """Serve the numbers at the address of the settings; None where they say no, or where it cannot be had."""
    host, port = settings.metrics_host, settings.metrics_port
    if port == 0:
        return None
    page = MetricsPage(metrics, settings.outbox_max_pending, settings.outbox_path)
    pages = {
        "/metrics": page.answer,
        "/healthz": lambda _: health(metrics),
        "/readyz": lambda _: readiness(metrics),
    }
    try:
        server = PageServer(host, port, pages)
    except OSError as error:
        tell_address_taken("Ingest", "METRICS_PORT", host, port, error)
        return None
    server.start()
    log_event(_log, logging.INFO, "Metrics are served", url=f"http://{host}:{port}/metrics")
    return server


def health(metrics: Metrics) -> Answer:
    """Whether the main loop turns: 200, or 503."""
    reading = metrics.read()
    told = f"the main loop's last turn was {reading.last_turn_age_s:.1f} s ago\n"
    return (200 if reading.is_healthy else 503), PLAIN, told.encode()


def readiness(metrics: Metrics) -> Answer:
    """Whether it can take records, or take over: 200, or 503; each condition is told."""
    conditions = metrics.read().readiness
    told = "".join(f"{'yes' if is_met else 'NO'}: {condition}\n" for condition, is_met in conditions.items())
    return (200 if all(conditions.values()) else 503), PLAIN, told.encode()


def tell_address_taken(who: str, variable: str, host: str, port: int, error: OSError) -> None:
    """Log that an address cannot be had, and which variables say it."""
    log_event(
        _log,
        logging.ERROR,
        f"{who}'s numbers are not served: METRICS_HOST={host}, {variable}={port} cannot be had",
        error=str(error),
        remedy=f"all else goes on; set {variable} to a free port, or to 0 if nobody asks for the numbers",
    )
