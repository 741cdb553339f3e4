"""Whether everything ended as it should: each operation's outcome, the database's rows, the cache's keys.

Everything is read where it lies: outcomes in the outbox, rows in the database, keys in Redis. What is wrong is told in lines for
a person; no line means that all is well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from compose.sender import Place
from compose.stream import APPLIED, Operation, Stream
from compose.world import TIME_OF_WRITE, Row
from entities.base import Entity, database
from entities.cache_value import cache_value
from entities.registry import all_entities
from outbox.records import Entry, EntryFilter
from outbox.states import State
from outbox.store import Outbox

#: Entries and keys read at a time.
PAGE = 500


@dataclass(frozen=True)
class Outcomes:
    """What became of the operations sent: how many of each outcome, expected and found, and how many duplicates applied."""

    expected: Counter[str]
    found: Counter[str]
    duplicates: int
    faults: list[str]


def largest_ids() -> dict[str, int]:
    """The largest id of each entity in the database."""
    with database.connection_context():
        newest = {entity: entity.select(entity.id).order_by(entity.id.desc()).first() for entity in all_entities()}
    return {entity.__name__: row.id if row is not None else 0 for entity, row in newest.items()}


def is_all_taken(outbox: Outbox, topic: str, sent: Mapping[Place, Operation]) -> bool:
    """Whether the outbox has everything that was sent, and nothing in it is open."""
    reached = {position.partition: position.next_offset for position in outbox.positions() if position.topic == topic}
    return all(place.offset < reached.get(place.partition, 0) for place in sent) and outbox.pending_total() == 0


def outcomes_of(outbox: Outbox, sent: Mapping[Place, Operation], since_ms: int) -> Outcomes:
    """Compare what became of each operation with what must.

    Parameters:
      since_ms: when the run began; entries that are older are of another topic of that name.
    """
    entries = {
        Place(entry.partition, entry.offset): entry for entry in _entries(outbox) if entry.appended_at >= since_ms
    }
    found = {place: _outcome(entries.get(place)) for place in sent}
    faults = [
        f"{operation.title} ({operation.operation_id}): {found[place]} instead of {operation.expected}{_why(entries.get(place))}"
        for place, operation in sent.items()
        if found[place] != operation.expected
    ]
    return Outcomes(
        Counter(operation.expected for operation in sent.values()),
        Counter(found.values()),
        sum(operation.is_duplicate and found[place] == APPLIED for place, operation in sent.items()),
        faults,
    )


def wrong_rows(stream: Stream, before: Mapping[str, int], began: datetime) -> list[str]:
    """Compare the rows of this stream with its model. Generated ids count only as generated.

    Parameters:
      before: the largest ids as they were when the stream began.
      began: when that was.
    """
    faults = []
    with database.connection_context():
        for entity in all_entities():
            name = entity.__name__
            known: dict[int, Row] = {}
            generated: Counter[str] = Counter()
            expected = stream.world.rows[name]
            for row in _rows(entity, before[name]):
                values = _with_times_of_write(row, began)
                row_id = values.pop("id")
                if row_id in expected or (name, row_id) in stream.world.deleted:
                    known[row_id] = values
                elif stream.is_mine(name, values):
                    generated[_text(values)] += 1
            faults += _differences(name, {key: row for key, row in expected.items() if key > 0}, known)
            wanted = Counter(_text(row) for key, row in expected.items() if key < 0)
            faults += [f"{name}: {count} times not there: {text}" for text, count in (wanted - generated).items()]
            faults += [f"{name}: {count} times too many: {text}" for text, count in (generated - wanted).items()]
    return faults


def wrong_keys(
    cache: redis.Redis, stream: Stream, before: Mapping[str, int], sent: Sequence[Operation], with_secrets: bool
) -> list[str]:
    """Compare the cache with the rows as they are: each written one in it, no deleted one, nothing noted as queued."""
    expected: dict[str, Any] = {f"{entity}:{row_id}": None for entity, row_id in stream.world.deleted}
    expected |= {key: None for operation in sent for key in operation.pending_keys}
    with database.connection_context():
        for entity in all_entities():
            for row in entity.select().where(entity.id > before[entity.__name__]):
                if stream.is_mine(entity.__name__, json.loads(cache_value(row, with_secrets=True))):
                    expected[f"{entity.__name__}:{row.id}"] = json.loads(cache_value(row, with_secrets))
    faults = []
    all_keys = list(expected)
    for start in range(0, len(all_keys), PAGE):
        keys = all_keys[start : start + PAGE]
        for key, value in zip(keys, cache.mget(keys), strict=True):
            found = None if value is None else json.loads(value)
            if found != expected[key]:
                faults.append(f"cache {key}: {_text(found)} instead of {_text(expected[key])}")
    return faults


def _entries(outbox: Outbox) -> Iterator[Entry]:
    after_seq = 0
    while page := outbox.entries(EntryFilter(), after_seq, PAGE):
        yield from page
        after_seq = page[-1].seq


def _outcome(entry: Entry | None) -> str:
    if entry is None:
        return "not in the outbox"
    return (entry.error_kind or "dead") if entry.state is State.DEAD else entry.state.label


def _why(entry: Entry | None) -> str:
    return f": {entry.reason}" if entry is not None and entry.reason else ""


def _rows(entity: type[Entity], after_id: int) -> Iterator[Row]:
    for row in entity.select().where(entity.id > after_id):
        yield json.loads(cache_value(row, with_secrets=True))


def _with_times_of_write(row: Row, began: datetime) -> Row:
    """The row with dates that the database filled in made recognisable: the samples' own dates are years old."""
    earliest = f"{began.astimezone(UTC) - timedelta(days=1):%Y-%m-%d}"
    return {
        name: TIME_OF_WRITE if name.endswith("Date") and value is not None and value >= earliest else value
        for name, value in row.items()
    }


def _differences(name: str, expected: Mapping[int, Row], found: Mapping[int, Row]) -> list[str]:
    return [
        f"{name} {row_id}: {_text(found.get(row_id))} instead of {_text(expected.get(row_id))}"
        for row_id in sorted(expected.keys() | found.keys())
        if expected.get(row_id) != found.get(row_id)
    ]


def _text(row: Row | None) -> str:
    return "not there" if row is None else json.dumps(row, sort_keys=True, ensure_ascii=False)
