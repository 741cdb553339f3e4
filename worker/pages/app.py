"""Which page answers which address. Whatever fails becomes a page too, and says what to do."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import peewee

from outbox import UnusableOutbox
from worker.logs import log_event
from worker.pages import acts_page, edit_page, entry_page, letters_page, overview_page
from worker.pages.guard import OWN_HEADERS, TOKEN, Guard
from worker.pages.http import BadRequest, Request, Response, StartResponse, WsgiApp, fields, form_of
from worker.pages.place import Place
from worker.pages.view import asset, page

Handler = Callable[..., Response]

#: Method, address, what answers; a number in the address is the entry's id.
ROUTES: tuple[tuple[str, re.Pattern[str], Handler], ...] = tuple(
    (method, re.compile(address), handler)
    for method, address, handler in (
        ("GET", "/", overview_page.show),
        ("GET", "/live.json", overview_page.live),
        ("GET", "/groups", letters_page.show_groups),
        ("GET", "/letters", letters_page.show_letters),
        ("GET", "/done", acts_page.show_done),
        ("GET", r"/entries/(\d{1,18})", entry_page.show_entry),
        ("GET", r"/entries/(\d{1,18})/edit", edit_page.show_form),
        ("POST", r"/entries/(\d{1,18})/edit", edit_page.review),
        ("POST", r"/entries/(\d{1,18})/take", edit_page.take_it),
        ("GET", "/(replay|discard)", acts_page.confirm),
        ("POST", "/(replay|discard)", acts_page.act),
    )
)

_log = logging.getLogger(__name__)


def pages_app(place: Place, guard: Guard) -> WsgiApp:
    """Our pages as a WSGI application; who comes is admitted already, as ``environ["REMOTE_USER"]``."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        token, new_cookie = guard.session(environ)
        more = (*OWN_HEADERS, *((("Set-Cookie", new_cookie),) if new_cookie is not None else ()))
        return _answer(environ, place, guard, token).sent(start_response, more)

    return app


def _answer(environ: Mapping[str, Any], place: Place, guard: Guard, token: str) -> Response:
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"] or "/"
    method = "GET" if method == "HEAD" else method
    who = environ.get("REMOTE_USER", "")
    request = Request(method, path, who=who, token=token)
    try:
        form = form_of(environ) if method == "POST" else {}
        if method == "POST":
            guard.check(environ, form.get(TOKEN, [""])[0])
        request = Request(method, path, fields(environ.get("QUERY_STRING", "")), form, who, token)
        return _routed(request, place)
    except BadRequest as error:
        return page(request, "error", error.status, title="That did not work", text=str(error))
    except UnusableOutbox as error:
        text = (
            f"{error}. Nothing is lost by that: Kafka keeps what was not read. See OUTBOX_PATH; ingest makes the file."
        )
        return page(request, "error", 503, title="There is no outbox to look at", text=text)
    except (peewee.DatabaseError, sqlite3.DatabaseError, OSError) as error:
        log_event(_log, logging.ERROR, "A page could not read", exc_info=True, path=path)
        return page(request, "error", 503, title="This cannot be read now", text=type(error).__name__)


def _routed(request: Request, place: Place) -> Response:
    known = False
    for method, address, handler in ROUTES:
        found = address.fullmatch(request.path)
        if found is not None:
            known = True
            if method == request.method:
                return handler(request, place, *(int(one) if one.isdecimal() else one for one in found.groups()))
    shown = asset(request.path.removeprefix("/static/")) if request.path.startswith("/static/") else None
    if shown is not None:
        return shown
    raise BadRequest("There is no such page.", 405 if known else 404)
