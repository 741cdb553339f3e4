"""`python -m worker.dashboard`: our pages (worker/pages) in a browser, and dramatiq-dashboard under ``/dramatiq``.

The guard (worker/pages/guard.py) stands before both. dramatiq-dashboard reads Redis and nothing else; its messages show their
operations by id, never their contents (see worker/messages.py). What it can do is harmless: a deleted message is dispatched
again by ingest, and one that is requeued is known to the ledger.
"""

# Dramatiq's own functions have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import argparse
import logging
import signal
import socket
from collections.abc import Iterable
from typing import Any

import redis
import waitress
from dramatiq.errors import ConnectionClosed
from dramatiq_dashboard import make_wsgi_middleware

import entities.operations
from worker.broker import ServiceBroker, build_broker
from worker.logs import configure_logging, log_event
from worker.messages import QUEUES
from worker.pages.app import pages_app
from worker.pages.guard import HEADERS, Guard, Refused
from worker.pages.http import StartResponse, WsgiApp
from worker.pages.place import Place
from worker.redis_link import told
from worker.settings import Settings, describe_settings, settings_or_exit

#: Where the dashboard lies. Its own links are made from this; it knows itself only with the slash at the end.
PREFIX = "/dramatiq"

#: After so long a page that found no Redis looks again (in s).
RETRY_AFTER_S = 5

#: The exit code when the address cannot be had.
EXIT_NO_ADDRESS = 1

_log = logging.getLogger("worker.dashboard")  # Not __name__: it runs as __main__.


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    argparse.ArgumentParser(
        prog="python -m worker.dashboard",
        description="Serves the pages at http://DASHBOARD_HOST:DASHBOARD_PORT/ until it is stopped, "
        f"and dramatiq-dashboard at {PREFIX}/ there.",
        epilog=describe_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    settings = settings_or_exit()
    configure_logging(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # waitress ends its loop, in order, on KeyboardInterrupt.
    entities.operations.configure(settings.unknown_attributes)
    guard = Guard.of(settings)
    pages = pages_app(Place(settings), guard)
    serve(guarded(dashboard_app(build_broker(settings, is_patient=False), pages), guard), settings)


def serve(app: WsgiApp, settings: Settings) -> None:
    """Serve the application at the address of the settings. If it cannot be had, the program ends with exit code 1."""
    host, port = settings.dashboard_host, settings.dashboard_port
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        log_event(_log, logging.ERROR, "The dashboard cannot listen", address=_address(host, port), error=str(error))
        raise SystemExit(EXIT_NO_ADDRESS) from None
    with listening:
        server = waitress.create_server(app, sockets=[listening])
        log_event(_log, logging.INFO, "Dashboard is serving", url=f"http://{_address(*listening.getsockname())}/")
        server.run()
        server.close()
    log_event(_log, logging.INFO, "Dashboard has stopped")


def guarded(app: WsgiApp, guard: Guard) -> WsgiApp:
    """The application behind its guard; it finds who comes in ``REMOTE_USER``."""

    def admitting(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *HEADERS], *more)

        try:
            environ["REMOTE_USER"] = guard.admit(environ)
            return app(environ, start)
        except Refused as refused:
            return refused.response.sent(start)

    return admitting


def dashboard_app(broker: ServiceBroker, pages: WsgiApp) -> WsgiApp:
    """dramatiq-dashboard under `PREFIX`, with a page that waits while Redis is away; all else is the pages'."""
    for queue in QUEUES:
        broker.declare_queue(queue)  # Known to Dramatiq by the actors, which are not imported here.
    dashboard: WsgiApp = make_wsgi_middleware(PREFIX, broker)(pages)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            if environ["PATH_INFO"] == PREFIX:  # it knows itself only with the slash at the end
                return _page(start_response, "302 Found", "Moved", f"To {PREFIX}/", [("Location", f"{PREFIX}/")])
            return dashboard(environ, start_response)
        except Refused:
            raise
        except (redis.RedisError, ConnectionClosed) as error:
            log_event(_log, logging.WARNING, "Redis does not answer", error=told(error))
            return _page(
                start_response,
                "503 Service Unavailable",
                "Redis does not answer",
                f"This page looks again every {RETRY_AFTER_S} seconds.",
                [("Retry-After", str(RETRY_AFTER_S)), ("Refresh", str(RETRY_AFTER_S))],
            )
        except Exception:
            log_event(_log, logging.ERROR, "A page failed", exc_info=True, path=environ["PATH_INFO"])
            return _page(start_response, "500 Internal Server Error", "This page failed", "The log says why.")

    return app


def _page(
    start_response: StartResponse, status: str, title: str, text: str, headers: Iterable[tuple[str, str]] = ()
) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), *headers])
    return [f"<!doctype html><title>{title}</title><h1>{title}</h1><p>{text}</p>".encode()]


def _address(host: str, port: int, *_: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    main()
