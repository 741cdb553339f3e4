"""What comes in from Kafka: appending records, the positions to read on from, and setting a lost partition aside.

Records and positions are written together, before any offset is committed. A record whose place (topic, generation,
partition, offset) is known is ignored: reading twice is harmless. Whether a partition must start anew, and where, is
for who reads Kafka to decide.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from outbox.file import OutboxFile, clean_text
from outbox.models import (
    ARCHIVED_ENTRIES,
    ENTRIES,
    PARTITION_LOGS,
    POSITIONS,
    StoredEntry,
    column_names,
)
from outbox.records import NewRecord, Position
from outbox.states import State

#: Rows of one INSERT. More make it no faster.
ROWS_A_STATEMENT = 250

#: Entries moved to the archive in one transaction, so that a partition of millions does not hold the write lock.
ARCHIVED_A_TRANSACTION = 5_000

INSERTED = (
    *("log_id", "offset", "kafka_timestamp", "order_timestamp", "value_hash", "operation_id", "entity", "type"),
    *("appended_at", "changed_at", "raw"),
)

_INSERTED_TEXT = f"SELECT seq, log_id, offset FROM {ENTRIES} WHERE seq > ?"
LOG_ID_TEXT = f"SELECT id FROM {PARTITION_LOGS} WHERE topic = ? AND generation = ? AND partition = ?"
_LOG_IDS_TEXT = (
    f"SELECT id FROM {PARTITION_LOGS} WHERE topic = ? AND partition = ? AND generation >= ? ORDER BY generation"
)
_NEW_LOG_TEXT = f"INSERT INTO {PARTITION_LOGS} (topic, generation, partition) VALUES (?, ?, ?)"
_POSITION_TEXT = (
    f"INSERT OR REPLACE INTO {POSITIONS} ({', '.join(Position.__struct_fields__)}) "
    f"VALUES ({', '.join('?' * len(Position.__struct_fields__))})"
)
_POSITIONS_TEXT = f"SELECT {', '.join(Position.__struct_fields__)} FROM {POSITIONS} ORDER BY topic, partition"
_KEPT = ", ".join(f'"{column}"' for column in column_names(StoredEntry))
_ARCHIVE_TEXT = (
    f"INSERT INTO {ARCHIVED_ENTRIES} ({_KEPT}, archived_at, archived_why) "
    f"SELECT {_KEPT}, ?, ? FROM {ENTRIES} WHERE seq IN (SELECT value FROM json_each(?))"
)
_REMOVE_TEXT = f"DELETE FROM {ENTRIES} WHERE seq IN (SELECT value FROM json_each(?))"

Place = tuple[str, int, int]  # topic, generation, partition


class Intake(OutboxFile):
    """The part of the outbox that Kafka's reader speaks to."""

    def append(self, records: Sequence[NewRecord], positions: Sequence[Position] = ()) -> list[int | None]:
        """Append the records in this order as pending entries, and set the positions; one transaction.

        Seqs only rise, but not without gaps: an ignored record can use one up.

        :returns: for each record its seq, or None where its place is known already and the record was ignored.
        """
        with self.transaction():
            logs = {place: self._log_id(place) for place in {_place(record) for record in records}}
            seqs: list[int | None] = []
            for start in range(0, len(records), ROWS_A_STATEMENT):
                seqs += self._insert(records[start : start + ROWS_A_STATEMENT], logs)
            self._count({State.PENDING: len(seqs) - seqs.count(None)})
            for position in positions:
                self.set_position(position)
        return seqs

    def _insert(self, records: Sequence[NewRecord], logs: dict[Place, int]) -> list[int | None]:
        now = self.now_ms()
        values: list[object] = []
        for record in records:
            values += (
                logs[_place(record)],
                record.offset,
                record.kafka_timestamp,
                record.order_timestamp,
                record.value_hash,
                clean_text(record.operation_id),
                clean_text(record.entity) if record.entity is not None else None,
                clean_text(record.type) if record.type is not None else None,
                now,
                now,
                record.raw,
            )
        before = self._last_seq()  # cheaper than RETURNING, which makes the whole append a third slower
        inserted = self._sql(_insert_text(len(records)), values).rowcount
        if inserted == len(records):
            return list(range(before + 1, before + 1 + inserted))
        rows = self._sql(_INSERTED_TEXT, (before,)).fetchall()
        seqs = {(log_id, offset): seq for seq, log_id, offset in rows}
        # pop: of two records with one place in this very call, the first is the one that was inserted
        return [seqs.pop((logs[_place(record)], record.offset), None) for record in records]

    def _last_seq(self) -> int:
        rows: list[tuple[int]] = self._sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (ENTRIES,)).fetchall()
        return rows[0][0] if rows else 0

    def _log_id(self, place: Place) -> int:
        known = self._sql(LOG_ID_TEXT, place).fetchone()
        return int(known[0] if known is not None else self._sql(_NEW_LOG_TEXT, place).lastrowid or 0)

    def position(self, topic: str, partition: int) -> Position | None:
        """Where the outbox stands in this partition; None if it never read it."""
        found = [
            position for position in self.positions() if (position.topic, position.partition) == (topic, partition)
        ]
        return found[0] if found else None

    def positions(self) -> list[Position]:
        """Where the outbox stands in each partition it has read."""
        return [Position(*row) for row in self._sql(_POSITIONS_TEXT).fetchall()]

    def set_position(self, position: Position) -> None:
        """Set where the outbox stands in a partition, as it is given: also backwards, or in a new generation."""
        with self.transaction():
            self._sql(_POSITION_TEXT, msgspec.structs.astuple(position))

    def archive_partition(
        self,
        topic: str,
        partition: int,
        why: str,
        from_generation: int = 0,
        kept: tuple[int, int] | None = None,
    ) -> int:
        """Set a partition's entries aside, since another outbox has taken it over: they are kept, but never run.

        Its position is forgotten first; then the entries move, oldest first, in transactions of a few thousand. One
        that is cut short is therefore seen as unread, and is archived to its end by the next call.

        :param from_generation: only the entries of this one and of later ones. An older one's records are nowhere else.
        :param kept: entries from the one offset up to, not including, the other stay.
        :returns: how many were moved.
        """
        archived = 0
        with self.transaction():
            self._sql(f"DELETE FROM {POSITIONS} WHERE topic = ? AND partition = ?", (topic, partition))
        for log_id in self._log_ids(topic, partition, from_generation):
            while moved := self._archive_some(log_id, why, kept or (0, 0)):
                archived += moved
        return archived

    def _log_ids(self, topic: str, partition: int, from_generation: int) -> list[int]:
        return [log_id for (log_id,) in self._sql(_LOG_IDS_TEXT, (topic, partition, from_generation)).fetchall()]

    def _archive_some(self, log_id: int, why: str, kept: tuple[int, int]) -> int:
        with self.transaction():
            moving = (
                StoredEntry.select(StoredEntry.seq, StoredEntry.state)
                .where(StoredEntry.log == log_id, (StoredEntry.offset < kept[0]) | (StoredEntry.offset >= kept[1]))
                .order_by(StoredEntry.offset)
                .limit(ARCHIVED_A_TRANSACTION)
            )
            found = list(moving.tuples().execute(self.database))
            seqs = json.dumps([seq for seq, _ in found])
            self._sql(_ARCHIVE_TEXT, (self.now_ms(), why, seqs))
            self._sql(_REMOVE_TEXT, (seqs,))
            self._count({state: -count for state, count in Counter(State(state) for _, state in found).items()})
        return len(found)


def _place(record: NewRecord) -> Place:
    return record.topic, record.generation, record.partition


@lru_cache(maxsize=ROWS_A_STATEMENT)
def _insert_text(rows: int) -> str:
    """The multi-row INSERT, kept: Peewee's insert_many builds it anew each time, which is five times slower."""
    values = ", ".join([f"({', '.join('?' * len(INSERTED))})"] * rows)
    columns = ", ".join(f'"{column}"' for column in INSERTED)
    return f"INSERT INTO {ENTRIES} ({columns}) VALUES {values} ON CONFLICT DO NOTHING"
