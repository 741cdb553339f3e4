"""What the outbox's tests build with: records, a clock that stands still, and the truth behind the counters."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from outbox import Entry, NewRecord, Outbox, Position, Settled, State
from outbox.schema import run_sql

TOPIC = "db-operations-buffer"


class Clock:
    """Milliseconds that pass only when a test says so."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def a_record(
    offset: int,
    *,
    partition: int = 0,
    generation: int = 0,
    operation_id: str | None = None,
    entity: str | None = "User",
    type: str | None = "UPDATE",
    raw: bytes = b"{}",
) -> NewRecord:
    return NewRecord(
        topic=TOPIC,
        generation=generation,
        partition=partition,
        offset=offset,
        kafka_timestamp=1_000 + offset,
        order_timestamp=900 + offset,
        value_hash=offset.to_bytes(8, "big"),
        operation_id=operation_id or f"op-{generation}-{partition}-{offset}",
        entity=entity,
        type=type,
        raw=raw,
    )


def a_position(next_offset: int, *, partition: int = 0, generation: int = 0) -> Position:
    return Position(TOPIC, partition, generation, next_offset, next_offset - 1, 1_000 + next_offset - 1, b"12345678")


def appended(outbox: Outbox, *records: NewRecord) -> list[int]:
    """Append records that are all new, and return their seqs."""
    seqs = [seq for seq in outbox.append(records) if seq is not None]
    assert len(seqs) == len(records)
    return seqs


def dispatched(outbox: Outbox, count: int) -> list[int]:
    """So many dispatched entries; their seqs."""
    seqs = appended(outbox, *(a_record(offset) for offset in range(count)))
    assert outbox.mark_dispatched(seqs) == count
    return seqs


def applied(seq: int, incarnation: int = 0) -> Settled:
    return Settled(seq, incarnation, State.APPLIED)


def dead(seq: int, incarnation: int = 0, reason: str = "User.email: is no e-mail address") -> Settled:
    return Settled(seq, incarnation, State.DEAD, 2, "invalid", reason)


def a_dead_letter(outbox: Outbox, offset: int = 0, *, operation_id: str | None = None) -> int:
    """One dead letter; its id."""
    (seq,) = appended(outbox, a_record(offset, operation_id=operation_id))
    assert outbox.settle([dead(seq)]) == 1
    return seq


def sql(outbox: Outbox, text: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
    """Past the outbox's own methods, to see or spoil what the file holds."""
    return run_sql(outbox.database, text, parameters)


def the_entry(outbox: Outbox, entry_id: int) -> Entry:
    entry = outbox.entry(entry_id)
    assert entry is not None
    return entry


def states(outbox: Outbox, entry_ids: Sequence[int]) -> list[State]:
    return [the_entry(outbox, entry_id).state for entry_id in entry_ids]


def counters_are_true(outbox: Outbox) -> bool:
    """Whether the counters say what counting the rows says."""
    rows = sql(outbox, "SELECT state, count(*) FROM entries GROUP BY state").fetchall()
    counted: Counter[State] = Counter({State(state): count for state, count in rows})
    counts = outbox.counts()
    return all(counts.of(state) == counted[state] for state in State)


def back_to_version_4(outbox: Outbox) -> None:
    """Make the file one from before all operations could be found by their id."""
    for text in (
        "DROP INDEX entries_by_operation",
        "CREATE INDEX entries_replayed ON entries (operation_id) WHERE incarnation > 0",
        "PRAGMA user_version = 4",
    ):
        sql(outbox, text)


def back_to_version_3(outbox: Outbox) -> None:
    """Make the file one from before others were told."""
    back_to_version_4(outbox)
    for text in ("DROP TABLE announcements", "PRAGMA user_version = 3"):
        sql(outbox, text)


def back_to_version_2(outbox: Outbox) -> None:
    """Make the file one from before entries could be held."""
    back_to_version_3(outbox)
    for text in (
        "DROP INDEX entries_held",
        "DROP INDEX entries_owed",
        "CREATE INDEX entries_owed ON entries (log_id, offset) WHERE state < 2 AND incarnation = 0",
        "ALTER TABLE entries DROP COLUMN held_by",
        "ALTER TABLE archived_entries DROP COLUMN held_by",
        "DELETE FROM counters WHERE state = 5",
        "PRAGMA user_version = 2",
    ):
        sql(outbox, text)
