"""What the application's cache holds of a row: the names and forms of the contract, as JSON.

A pure function of the row as the database holds it; writing it to Redis, in the right order, is the worker's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from entities.base import Entity

_encoder = msgspec.json.Encoder()


def cache_key(entity_name: str, row_id: int) -> str:
    """The key of a row: "User:3"."""
    return f"{entity_name}:{row_id}"


def cache_value(row: Entity, with_secrets: bool) -> bytes:
    """A row as JSON: camelCase names, dates ISO-8601 UTC with milliseconds, decimals as text, absent values null.

    Parameters:
      with_secrets: Whether secret attributes are in it (`CACHE_SECRETS`); their names are left out too otherwise.
    """
    values: dict[str, Any] = {}
    for field in row.attributes().fields:
        if with_secrets or not field.secret:
            value = row.__data__.get(field.name)
            values[field.wire_name] = None if value is None else field.to_wire(value)
    return _encoder.encode(values)
