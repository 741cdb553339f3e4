"""Requests and responses as values, and WSGI at the edge: as much of HTTP as server-rendered pages need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

import msgspec

#: The most bytes that a form may have: an edited payload, which is a megabyte at most as Kafka takes it, percent-encoded.
FORM_BYTES = 8_000_000

#: The most fields that a query or a form may have: the ids of what was selected.
MOST_FIELDS = 5_000

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class BadRequest(Exception):
    """What was sent cannot be answered; the text says why, the status which way."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A request as the pages see it. ``who`` is the person, for the audit."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    form: Mapping[str, list[str]] = field(default_factory=dict)
    who: str = ""
    token: str = ""

    def asked(self, name: str) -> str:
        """A field of the query, stripped; empty if it is not there."""
        return _first(self.query, name)

    def sent(self, name: str) -> str:
        """A field of the form, stripped; empty if it is not there."""
        return _first(self.form, name)


@dataclass(frozen=True)
class Response:
    """An answer."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    def sent(self, start_response: StartResponse, more: Iterable[tuple[str, str]] = ()) -> Iterable[bytes]:
        """Give it to the WSGI server."""
        head = [("Content-Type", self.content_type), ("Content-Length", str(len(self.body))), *self.headers, *more]
        start_response(f"{self.status} {HTTPStatus(self.status).phrase}", head)
        return [self.body]


def redirect(to: str) -> Response:
    """To another page; a form that was taken is not sent again by a reload."""
    return Response(status=303, headers=(("Location", to),))


def as_json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), content_type="application/json")


def fields(text: str) -> Mapping[str, list[str]]:
    """The fields of a query string or a form; raises `BadRequest` if they are too many."""
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="replace")
    except ValueError:
        raise BadRequest("too many fields") from None


def form_of(environ: Mapping[str, Any]) -> Mapping[str, list[str]]:
    """The form that was sent; raises `BadRequest`."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise BadRequest("Content-Length is no number") from None
    if length > FORM_BYTES:
        raise BadRequest("the form is too large", 413)
    return fields(environ["wsgi.input"].read(length).decode("utf-8", "replace")) if length else {}


def cookie(environ: Mapping[str, Any], name: str) -> str:
    """The cookie's value; empty if there is none."""
    try:
        found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _first(of: Mapping[str, list[str]], name: str) -> str:
    return of.get(name, [""])[0].strip()
