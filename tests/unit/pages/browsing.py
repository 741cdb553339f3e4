"""Somebody with a browser before the pages, without a network: cookies, forms as they are on the page, WSGI calls."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urlsplit

from worker.dashboard import guarded
from worker.pages.app import pages_app
from worker.pages.guard import Guard
from worker.pages.place import Place
from worker.settings import Settings

HOST = "127.0.0.1:8080"


class Answer:
    """What came back."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status.split()[0])
        self.headers = dict(headers)
        self.text = body.decode()
        self.location = self.headers.get("Location", "")

    def fields(self, action: str) -> dict[str, list[str]]:
        """The hidden fields and texts of the page's form with this action."""
        reader = _FormReader(action)
        reader.feed(self.text)
        return reader.fields


class Browser:
    """One browser; it keeps its cookie."""

    def __init__(self, settings: Settings) -> None:
        guard = Guard.of(settings)
        self.app = guarded(pages_app(Place(settings), guard), guard)
        self.cookie = ""

    def get(self, address: str, **environ: str) -> Answer:
        return self._call("GET", address, b"", environ)

    def post(self, address: str, fields: dict[str, Any], **environ: str) -> Answer:
        return self._call("POST", address, urlencode(fields, doseq=True).encode(), environ)

    def send(self, answer: Answer, action: str, **more: Any) -> Answer:
        """Fill in the page's form and send it; then follow where it leads."""
        sent = self.post(action, {**answer.fields(action), **more})
        return self.get(sent.location) if sent.status == 303 else sent

    def _call(self, method: str, address: str, body: bytes, environ: dict[str, str]) -> Answer:
        parts = urlsplit(address)
        told: list[Any] = []
        asked = {
            "REQUEST_METHOD": method,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "HTTP_HOST": HOST,
            "HTTP_COOKIE": self.cookie,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            **environ,
        }
        content = b"".join(self.app(asked, lambda *start: told.extend(start)))
        answer = Answer(told[0], told[1], content)
        self.cookie = answer.headers.get("Set-Cookie", self.cookie).partition(";")[0]
        return answer


def login(user: str, password: str) -> str:
    """The header of HTTP Basic."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class _FormReader(HTMLParser):
    def __init__(self, action: str) -> None:
        super().__init__()
        self._action = action
        self._is_inside = False
        self._text: str | None = None
        self.fields: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._is_inside = given.get("action") == self._action
        elif self._is_inside and tag == "input" and given.get("type") == "hidden":
            self.fields.setdefault(given["name"] or "", []).append(given.get("value") or "")
        elif self._is_inside and tag == "textarea":
            self._text = given["name"]
            self.fields[self._text or ""] = [""]

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self.fields[self._text][0] += data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._text = None
