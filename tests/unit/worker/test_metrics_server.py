"""The numbers over HTTP, and what becomes of an address that cannot be had."""

from __future__ import annotations

import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import free_port
from worker.metrics import LONGEST_TURN_S, Metrics, Standing
from worker.metrics_server import serve_metrics
from worker.page_server import PageServer
from worker.settings import Settings, load_settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(("User",), ("CREATE",), clock)


def settings_with(tmp_path: Path, port: int) -> Settings:
    environ = {"METRICS_PORT": str(port), "OUTBOX_PATH": str(tmp_path / "outbox.sqlite3")}
    return load_settings(environ, Path("/nowhere/.env"))


@pytest.fixture
def server(metrics: Metrics, tmp_path: Path) -> Iterator[PageServer]:
    server = serve_metrics(settings_with(tmp_path, free_port()), metrics)
    assert server is not None
    yield server
    server.close()


def get(server: PageServer, path: str, accept: str = "") -> tuple[int, str, str]:
    """Status, content type and text of a page."""
    host, port = server.server_address[:2]
    request = urllib.request.Request(f"http://{host!s}:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics_are_served_as_text(server: PageServer) -> None:
    status, content_type, text = get(server, "/metrics")

    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "# TYPE outbox_operations_received_total counter" in text
    assert 'outbox_operations_received_total{entity="User",type="CREATE"} 0.0' in text


def test_metrics_are_served_as_openmetrics_to_who_asks(server: PageServer) -> None:
    _, content_type, text = get(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_healthz_tells_a_hanging_loop(server: PageServer, clock: Clock) -> None:
    before = get(server, "/healthz")[0]
    clock.now += LONGEST_TURN_S

    status, _, text = get(server, "/healthz")
    assert (before, status) == (200, 503)
    assert "last turn was 60.0 s ago" in text


def test_readyz_says_which_condition_is_not_met(server: PageServer, metrics: Metrics) -> None:
    not_yet, _, told = get(server, "/readyz")
    metrics.note_standing(Standing(has_joined=True))
    ready, _, _ = get(server, "/readyz")

    assert (not_yet, ready) == (503, 200)
    assert "NO: in the consumer group" in told
    assert "yes: the outbox can be written" in told


def test_another_path_says_which_there_are(server: PageServer) -> None:
    assert get(server, "/")[::2] == (404, "There is /metrics, /healthz, /readyz\n")


def test_port_zero_serves_nothing(metrics: Metrics, tmp_path: Path) -> None:
    assert serve_metrics(settings_with(tmp_path, 0), metrics) is None


def test_a_taken_port_is_an_error_that_names_the_variable_and_raises_nothing(
    metrics: Metrics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = serve_metrics(settings_with(tmp_path, port), metrics)

    assert server is None
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"METRICS_PORT={port}" in record.getMessage()


def test_a_page_that_fails_answers_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def fails(accept: str) -> tuple[int, str, bytes]:
        raise RuntimeError("broken")

    server = PageServer("127.0.0.1", 0, {"/page": fails})
    server.start()
    try:
        status, _, text = get(server, "/page")
    finally:
        server.close()

    assert (status, text) == (500, "This page failed; the log says why\n")
    assert "broken" in caplog.text


def test_a_closed_server_gives_its_address_back(metrics: Metrics, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, free_port())
    for _ in range(2):
        server = serve_metrics(settings, metrics)
        assert server is not None
        assert get(server, "/healthz")[0] == 200
        server.close()
