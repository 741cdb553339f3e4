from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import free_port
from worker.broker import build_broker
from worker.dashboard import dashboard_app, guarded, main, serve
from worker.pages.app import pages_app
from worker.pages.guard import Guard
from worker.pages.http import WsgiApp
from worker.pages.place import Place
from worker.settings import load_settings

NOWHERE = Path("/nowhere/.env")


class Response:
    """What a WSGI application answers to a GET."""

    def __init__(self, app: WsgiApp, path: str) -> None:
        environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "wsgi.input": None}
        environ["HTTP_HOST"] = "127.0.0.1:8080"
        self.body = b"".join(app(environ, self._start)).decode()

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = dict(headers)


@pytest.fixture
def app() -> Iterator[WsgiApp]:
    """The dashboard of a Redis that is not there."""
    settings = load_settings({"BROKER_REDIS_URL": f"redis://:geheim@127.0.0.1:{free_port()}/1"}, NOWHERE)
    guard = Guard.of(settings)
    with closing(build_broker(settings, is_patient=False)) as broker:
        yield guarded(dashboard_app(broker, pages_app(Place(settings), guard)), guard)


def test_dramatiq_lies_behind_a_slash(app: WsgiApp) -> None:
    response = Response(app, "/dramatiq")

    assert response.status == "302 Found"
    assert response.headers["Location"] == "/dramatiq/"


@pytest.mark.parametrize("path", ["/favicon.ico", "/dramatiq/nothing/here"])
def test_what_is_not_there_is_not_found(app: WsgiApp, path: str) -> None:
    assert Response(app, path).status == "404 Not Found"


@pytest.mark.parametrize("path", ["/dramatiq/", "/dramatiq/queues/apply", "/dramatiq/queues/apply/delayed/batch-1.0"])
def test_a_page_without_redis_says_so_and_looks_again(app: WsgiApp, path: str) -> None:
    response = Response(app, path)

    assert response.status == "503 Service Unavailable"
    assert response.headers["Refresh"] == response.headers["Retry-After"] == "5"
    assert "Redis does not answer" in response.body
    assert "geheim" not in response.body
    assert "Traceback" not in response.body


def test_an_address_that_cannot_be_had_ends_the_program(app: WsgiApp) -> None:
    settings = load_settings(
        {"DASHBOARD_HOST": "192.0.2.1", "DASHBOARD_USER": "ana", "DASHBOARD_PASSWORD": "geheim"}, NOWHERE
    )  # TEST-NET-1: nobody's

    with pytest.raises(SystemExit) as caught:
        serve(app, settings)

    assert caught.value.code == 1


def test_the_help_names_the_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["dashboard", "--help"])

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 0
    assert "DASHBOARD_PORT" in capsys.readouterr().out
