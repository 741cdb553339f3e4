"""Each expression of the Grafana board has figures on a real Prometheus that scrapes a real ingest and real actors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.prometheus_server import MONITORING, PrometheusServer
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually, free_port

#: Every expression with the panel that asks for it.
EXPRESSIONS: dict[str, str] = {
    target["expr"]: panel["title"]
    for panel in json.loads((MONITORING / "grafana" / "outbox.json").read_text())["panels"]
    for target in panel["targets"]
}


@pytest.fixture
def prometheus(pipeline: Pipeline, tmp_path: Path) -> Iterator[PrometheusServer]:
    """Scraping what the deployed configuration scrapes, from before they start."""
    require("prometheus")
    pipeline.service.settings["ACTORS_METRICS_PORT"] = str(free_port())
    ports = {"ingest": "METRICS_PORT", "actors": "ACTORS_METRICS_PORT"}
    targets = {job: f"127.0.0.1:{pipeline.service.settings[name]}" for job, name in ports.items()}
    server = PrometheusServer(tmp_path / "prometheus", targets)
    server.start()
    yield server
    server.kill()


def test_every_panel_of_the_board_has_figures(pipeline: Pipeline, prometheus: PrometheusServer) -> None:
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "1"
    pipeline.service.start()
    eventually(lambda: prometheus.value("outbox_is_active") == 1, 60, "ingest is scraped")

    # Twice, for what is counted as an increase.
    pipeline.send([*mixed_stream(200, seed=1), a_message("bad-1", "CREATE", "User", a_user("nobody"))])
    pipeline.wait_until_settled()
    eventually(lambda: prometheus.value("sum(outbox_operations_dead_total)") == pipeline.counts().dead, 60)
    retried = [a_message(f"late-{number}", "UPDATE", "Business", {"id": 10**9, "name": "x"}) for number in range(3)]
    pipeline.send([a_message("bad-2", "CREATE", "User", a_user("nobody")), *retried])
    pipeline.wait_until_settled()

    def without_figures() -> list[str]:
        return [f"{EXPRESSIONS[one]}: {one}" for one in EXPRESSIONS if not has_figures(prometheus, one)]

    eventually(lambda: without_figures() == [], 120, lambda: f"all panels have figures, but for {without_figures()}")
    assert len(EXPRESSIONS) > 20


def has_figures(prometheus: PrometheusServer, expression: str) -> bool:
    value = prometheus.value(expression)
    return value is not None and math.isfinite(value)
