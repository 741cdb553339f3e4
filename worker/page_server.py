"""A small HTTP server for pages that programs and supervisors ask for: GET only, no state, threads of its own.

It is no server for the open network: it has no TLS, no password and no limit to its clients.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

#: How long (s) a client may be silent in the middle of its request.
CLIENT_SILENCE_S = 5.0

PLAIN = "text/plain; charset=utf-8"

#: Status, content type, body.
Answer = tuple[int, str, bytes]

#: Gets the request's Accept header.
Page = Callable[[str], Answer]

_log = logging.getLogger(__name__)


class PageServer(ThreadingTCPServer):
    """Answers from `start` to `close`. It has its address from the beginning.

    Parameters:
      pages: by path.

    Raises:
      OSError: the address cannot be had.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        self.address_family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.pages = pages
        super().__init__((host, port), _Handler)

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self.serve_forever, name="pages", daemon=True).start()

    def close(self) -> None:
        """Stop answering, and give the address back."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is no news for an operator."""
        _log.debug("A request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = CLIENT_SILENCE_S
    server_version = "outbox"
    sys_version = ""

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self._send(404, PLAIN, f"There is {', '.join(self.server.pages)}\n".encode())
            return
        try:
            answer = page(self.headers.get("Accept", ""))
        except Exception:  # the outermost of this thread: the client is to hear of it, and the log
            _log.exception("The page %s failed", self.path)
            answer = 500, PLAIN, b"This page failed; the log says why\n"
        self._send(*answer)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes come every few seconds and are nothing to tell."""
