"""Pages from templates: every value is escaped, times and counts are written as the desk writes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from rich.text import Text

from outbox import Entry, State
from worker.desk import words
from worker.desk.causes import cause_of
from worker.pages.http import Request, Response
from worker.pages.links import link

FOLDER = Path(__file__).parent

#: The files that a page may ask for, with their types.
ASSETS = {"style.css": "text/css", "live.js": "text/javascript", "choose.js": "text/javascript"}


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """The page that this template makes of these values."""
    shown = _environment().get_template(f"{template}.html").render(request=request, State=State, **values)
    return Response(shown.encode("utf-8", "backslashreplace"), status)


def asset(name: str) -> Response | None:
    """A file for the pages; None: there is none of this name."""
    if name not in ASSETS:
        return None
    return Response((FOLDER / "static" / name).read_bytes(), content_type=f"{ASSETS[name]}; charset=utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "moment": words.moment,
        "age": words.age,
        "due": words.due,
        "lasting": words.lasting,
        "what": words.what,
        "meaning": lambda state: words.MEANINGS[state],
        "outside": lambda text, characters=None: words.outside(text, characters).plain,
        "name": lambda text: words.name(text).plain,
        "plain": lambda text: text.plain if isinstance(text, Text) else text,
        "count": lambda number: f"{number:,}",
        "group": _group,
    }
    environment.filters.update(filters)
    environment.globals["link"] = link
    return environment


def _group(entry: Entry) -> str:
    return cause_of(entry).key
