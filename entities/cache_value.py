"""What the application's cache holds of a row: the names and forms of the contract, as JSON.

A pure function of the row as the database holds it; writing it to Redis, in the right order, is the worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from entities.base import Entity
from entities.values import Attribute

_encoder = msgspec.json.Encoder()


class _Form(NamedTuple):
    """How the cache has the rows of an entity, arranged once for all of them."""

    #: The attributes' Python names, `id` first.
    names: tuple[str, ...]
    wire_names: tuple[str, ...]
    #: The places of those that JSON has otherwise than the database, and how.
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]


def cache_key(entity_name: str, row_id: int) -> str:
    """The key of a row: "User:3"."""
    return f"{entity_name}:{row_id}"


def cache_value(row: Entity, with_secrets: bool) -> bytes:
    """A row as JSON: camelCase names, dates ISO-8601 UTC with milliseconds, decimals as text, absent values null.

    Parameters:
      with_secrets: Whether secret attributes are in it (`CACHE_SECRETS`); their names are left out too otherwise.
    """
    form = _form(type(row), with_secrets)
    return _value(form, [row.__data__.get(name) for name in form.names])


def cached_names(entity: type[Entity], with_secrets: bool) -> tuple[str, ...]:
    """The attributes that the cache holds of a row, by Python name, `id` first."""
    return _form(entity, with_secrets).names


def cache_values(
    entity: type[Entity], rows: Iterable[Sequence[Any]], with_secrets: bool
) -> Iterator[tuple[str, bytes]]:
    """Key and value of each row, as `cache_value` makes it, from the values of `cached_names` alone: no model a row."""
    form = _form(entity, with_secrets)
    name = entity.__name__
    return ((cache_key(name, row[0]), _value(form, list(row))) for row in rows)


def _value(form: _Form, values: list[Any]) -> bytes:
    for place, to_wire in form.converters:
        if values[place] is not None:
            values[place] = to_wire(values[place])
    return _encoder.encode(dict(zip(form.wire_names, values, strict=True)))


@lru_cache(maxsize=256)
def _form(entity: type[Entity], with_secrets: bool) -> _Form:
    fields = [field for field in entity.attributes().fields if with_secrets or not field.secret]
    return _Form(
        tuple(field.name for field in fields),
        tuple(field.wire_name for field in fields),
        tuple((place, field.to_wire) for place, field in enumerate(fields) if _is_converted(field)),
    )


def _is_converted(field: Attribute) -> bool:
    return type(field).to_wire is not Attribute.to_wire
