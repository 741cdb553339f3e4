"""What is cached beside what the database holds: one MGET and one SELECT an entity for a portion of keys.

A difference is a suspicion and no more: the value is read first and the row after it, without locks, so a write between
the two makes a true value look old. Who judges (`worker.cache.check`) looks again, who repairs fills by a lease.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import msgspec
import redis

from entities.base import Entity
from entities.cache_value import cache_key, cache_value
from entities.registry import all_entities, entity_named
from entities.statements import rows_by_id

#: How many keys one SCAN looks at.
SCAN_COUNT = 1_000

#: The longest id that is looked for, in digits: a database's BIGINT takes them all.
_ID_DIGITS = 18


class Fault(StrEnum):
    """What is wrong with a cached row."""

    #: It says something else than the row.
    STALE = "stale"
    #: There is no such row.
    GONE = "gone"
    #: It is not JSON, or no text at all.
    UNREADABLE = "unreadable"
    #: It holds a secret attribute, which CACHE_SECRETS forbids.
    SECRET = "secret"


@dataclass(frozen=True)
class Suspicion:
    """A cached value that is not what it should be; `value` is None if the key holds no text."""

    fault: Fault
    value: bytes | None


@dataclass(frozen=True)
class Comparison:
    """How many of the keys hold a value, and which of these are not what they should be."""

    checked: int
    suspicions: Mapping[str, Suspicion]


def row_key(key: bytes, entity_names: Collection[str]) -> str | None:
    """The key if it is that of a row of one of these entities, as `User:3` is; `User:3:pending` and `lease:User:3` are not."""
    name, _, row_id = key.partition(b":")
    if not row_id.isdigit() or row_id.startswith(b"0") or len(row_id) > _ID_DIGITS:
        return None
    try:
        text = key.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if name.decode("ascii") in entity_names else None


def entity_names() -> frozenset[str]:
    """The names of all entities."""
    return frozenset(entity.__name__ for entity in all_entities())


def scan_rows(client: redis.Redis, cursor: int, names: Collection[str]) -> tuple[int, list[str]]:
    """The next keys of rows that SCAN tells after this cursor, and the cursor to go on with; it is 0 after the last ones."""
    match = f"{next(iter(names))}:*" if len(names) == 1 else "*:[1-9]*"
    next_cursor, keys = client.scan(cursor, match=match, count=SCAN_COUNT)
    return int(next_cursor), [text for key in keys if (text := row_key(key, names)) is not None]


def compare(client: redis.Redis, keys: Sequence[str], with_secrets: bool) -> Comparison:
    """Compare what is cached under these keys of rows with the database as it now is.

    Parameters:
      with_secrets: Whether a value holds the secret attributes (`CACHE_SECRETS`).

    Keys that are not there (any more) are not counted.
    """
    values = dict(zip(keys, client.mget(keys) if keys else (), strict=True))
    no_text = _of_other_types(client, [key for key, value in values.items() if value is None])
    suspicions = {key: Suspicion(Fault.UNREADABLE, None) for key in no_text}
    cached = {key: value for key, value in values.items() if value is not None}
    rows = _rows(cached)
    for key, value in cached.items():
        fault = _fault(key, value, rows.get(key), with_secrets)
        if fault is not None:
            suspicions[key] = Suspicion(fault, value)
    return Comparison(len(cached) + len(no_text), suspicions)


def in_portions(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    """The keys, so many at a time."""
    remaining = iter(keys)
    while portion := list(islice(remaining, size)):
        yield portion


def _of_other_types(client: redis.Redis, keys: Sequence[str]) -> list[str]:
    """Those that are there after all: MGET tells nothing of a list or a hash."""
    if not keys:
        return []
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.type(key)
        types = pipeline.execute()
    return [key for key, kind in zip(keys, types, strict=True) if kind not in (b"none", b"string")]


def _rows(keys: Iterable[str]) -> dict[str, Entity]:
    ids: dict[str, list[int]] = {}
    for key in keys:
        name, _, row_id = key.partition(":")
        ids.setdefault(name, []).append(int(row_id))
    return {
        cache_key(name, row.id): row for name, row_ids in ids.items() for row in rows_by_id(entity_named(name), row_ids)
    }


def _fault(key: str, value: bytes, row: Entity | None, with_secrets: bool) -> Fault | None:
    expected = cache_value(row, with_secrets) if row is not None else b""
    if value == expected:
        return None
    told = _told(value)
    if not isinstance(told, dict):
        return Fault.UNREADABLE
    if not with_secrets and not _secret_names(key).isdisjoint(told):
        return Fault.SECRET
    if row is None:
        return Fault.GONE
    # Spaces and the order of the names are the writer's own; true and 1 are not the same.
    is_same = _in_one_order(told) == _in_one_order(msgspec.json.decode(expected))
    return None if is_same else Fault.STALE


def _told(value: bytes) -> object:
    """What a value says; None if it is no JSON. Anybody may write under a row's key, and one value must not stop the rest."""
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _secret_names(key: str) -> frozenset[str]:
    fields = entity_named(key.partition(":")[0]).attributes().fields
    return frozenset(field.wire_name for field in fields if field.secret)


def _in_one_order(content: object) -> bytes:
    return msgspec.json.encode(content, order="sorted")
