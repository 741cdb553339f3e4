"""Queries that Peewee turns into text once for each dialect, and that are then run again and again with other values.

Peewee walks through a query's tree each time it is run: a tenth of a millisecond for the health probe's INSERT, which itself
takes SQLite a tenth of that. A kept query is built once, with slots where its values will stand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import peewee

from entities import database

#: How many texts of a query are kept: one a dialect, and one for each number of values where it has a list of them.
TEXTS = 64


class _Name(NamedTuple):
    """What stands among Peewee's parameters where a value will."""

    name: str


class Slot(peewee.Node):
    """The place of a value in a query. The value is given as the driver takes it: the field converts nothing."""

    def __init__(self, name: str) -> None:
        self._name = _Name(name)

    def __sql__(self, context: Any) -> Any:
        return context.value(self._name, converter=False)


class KeptQuery:
    """A query with slots.

    Parameters:
      build: makes it; its arguments are what the text depends on beside the dialect.
    """

    def __init__(self, build: Callable[..., Any]) -> None:
        self._text = lru_cache(maxsize=TEXTS)(lambda _is_sqlite, *shape: _text_and_places(build(*shape)))

    def run(self, *shape: Any, **values: Any) -> Any:
        """Run it with these values, by the names of their slots, and give the driver's cursor."""
        text, places = self._text(database.is_sqlite(), *shape)
        return database.execute(text, [values[one.name] if isinstance(one, _Name) else one for one in places])


def _text_and_places(query: peewee.Node) -> tuple[str, list[Any]]:
    context: Any = database.current().get_sql_context()  # the stubs leave this one untyped
    text, places = context.sql(query).query()
    return str(text), list(places)
