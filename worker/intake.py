"""Persisting what Kafka brings: the main loop's side of reading.

Records are appended to the outbox, and only then may their offsets be committed. Each commit carries this outbox's
identity and the partition's settled low-water mark, for whoever reads on from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from entities.generations import LogGeneration
from outbox.records import NewRecord, Position
from outbox.store import Outbox
from worker.assignment import (
    Commit,
    CommitMetadata,
    Fingerprint,
    Known,
    LogRange,
    Remembered,
    Start,
    Why,
    value_hash,
    where_to_start,
)
from worker.merge import FetchedRecord
from worker.messages import Origin

logger = logging.getLogger(__name__)


class Intake:
    """The partitions that are ours and how far each is persisted."""

    def __init__(self, outbox: Outbox, topic: str) -> None:
        self._outbox = outbox
        self._topic = topic
        self._positions: dict[int, Position] = {}
        self._told: dict[int, tuple[int, str]] = {}

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(self._positions)

    # --------------------------------------------------------------------------------------------- the assignment

    def decide(
        self,
        commits: Mapping[int, Commit | None],
        ranges: Mapping[int, LogRange],
        memory: Mapping[int, LogGeneration],
    ) -> dict[int, Start]:
        """Where to read each assigned partition from. What ``Start.check`` names is still to be looked at in Kafka.

        Parameters:
          memory: what the database remembers, where a commit `needs_memory`.
        """
        return {
            partition: where_to_start(
                self._outbox.outbox_id,
                self._known(partition),
                commits[partition],
                ranges[partition],
                _remembered(memory.get(partition)),
            )
            for partition in commits
        }

    def begin(self, starts: Mapping[int, Start]) -> None:
        """Make the outbox ready for the partitions' records: what others went beyond is archived."""
        self.lose()
        positions = {}
        with self._outbox.transaction():
            for partition, start in starts.items():
                position = self._outbox.position(self._topic, partition)
                if start.archives and position is not None:
                    # Those of an older generation stay: the topic that held them is gone, they are nowhere else. But where
                    # the others have counted fewer generations than this outbox, since nobody heard of its last ones, their
                    # numbers stand for other logs: a record to come would be taken for one that is there.
                    archived = self._outbox.archive_partition(
                        self._topic,
                        partition,
                        start.why.value,
                        min(position.generation, start.generation),
                        start.keeps,
                    )
                    logger.warning("Partition %d: %d entries archived: %s", partition, archived, start.why.value)
                if position is None or start.why is not Why.GOES_ON or position.next_offset != start.offset:
                    position = self._position_at(partition, start, position)
                    self._outbox.set_position(position)
                positions[partition] = position
        self._positions = positions

    def _position_at(self, partition: int, start: Start, before: Position | None) -> Position:
        """The position to begin with. It keeps a record to know the log by, or this outbox could not tell it from a topic made
        anew, and would read all again, if it is killed before it has read a record and committed."""
        last = start.check
        if last is None and before is not None and before.generation == start.generation and not start.archives:
            last = _last(before)
        if last is None:
            return Position(self._topic, partition, start.generation, start.offset)
        told = last.offset, last.kafka_timestamp, last.value_hash
        return Position(self._topic, partition, start.generation, start.offset, *told)

    def lose(self) -> None:
        """The partitions are no longer ours."""
        self._positions.clear()
        self._told.clear()

    def _known(self, partition: int) -> Known | None:
        position = self._outbox.position(self._topic, partition)
        if position is None:
            return None
        return Known(position.generation, position.next_offset, _last(position))

    # ------------------------------------------------------------------------------------------------- persisting

    def append(self, records: Iterable[FetchedRecord]) -> dict[int, Position]:
        """Append to the outbox, inside the caller's transaction. Returns the new positions, to be adopted after its commit."""
        last: dict[int, NewRecord] = {}
        new_records = []
        for record in records:
            generation = self._positions[record.partition].generation
            new_record = last[record.partition] = NewRecord(
                record.topic,
                generation,
                record.partition,
                record.offset,
                record.kafka_timestamp,
                record.order_timestamp,
                value_hash(record.value),
                record.seen.operation_id or Origin(record.topic, generation, record.partition, record.offset).own_id,
                record.seen.entity,
                record.seen.type,
                record.value,
            )
            new_records.append(new_record)
        moved = {partition: _behind(record) for partition, record in last.items()}
        self._outbox.append(new_records, list(moved.values()))
        return {**self._positions, **moved}

    def adopt(self, positions: dict[int, Position]) -> None:
        """Take over positions whose records are committed to the outbox."""
        self._positions = positions

    # ----------------------------------------------------------------------------------------- committing, remembering

    def logs(self) -> dict[int, LogGeneration]:
        """What the database is to remember: each partition's generation with the newest record, once there is one."""
        return {
            partition: LogGeneration(position.generation, last.offset, last.kafka_timestamp, last.value_hash)
            for partition, position in self._positions.items()
            if (last := _last(position)) is not None
        }

    def first_needed(self, log_starts: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        """Generation and offset of the first record, in each partition of ours, of which the ledger must know what became.

        Kafka holds what lies behind its log's start, and the outbox runs again what it does not know to be settled: after a
        kill also what was applied long ago, if ingest was away for so long.
        """
        marks = [(log, mark) for log, mark in self._outbox.marks().items() if mark is not None]
        return {
            partition: min(
                [(position.generation, log_starts[partition])]
                + [(log[1], mark) for log, mark in marks if (log[0], log[2]) == (self._topic, partition)]
            )
            for partition, position in self._positions.items()
            if partition in log_starts
        }

    def commits(self) -> dict[int, tuple[int, str]]:
        """The offsets, with metadata, that may be committed and differ from what was told last."""
        news = {}
        for partition, position in self._positions.items():
            mark = self._outbox.low_water_mark(self._topic, position.generation, partition)
            metadata = CommitMetadata(
                self._outbox.outbox_id,
                position.generation,
                position.next_offset if mark is None else min(mark, position.next_offset),
                _last(position),
            )
            commit = position.next_offset, metadata.encode()
            if self._told.get(partition) != commit:
                self._told[partition] = news[partition] = commit
        return news


def _behind(record: NewRecord) -> Position:
    """Where to read on after this record."""
    return Position(
        record.topic,
        record.partition,
        record.generation,
        record.offset + 1,
        record.offset,
        record.kafka_timestamp,
        record.value_hash,
    )


def _last(position: Position) -> Fingerprint | None:
    if position.last_offset is None or position.last_timestamp is None or position.last_hash is None:
        return None
    return Fingerprint(position.last_offset, position.last_timestamp, position.last_hash)


def _remembered(log: LogGeneration | None) -> Remembered | None:
    if log is None:
        return None
    return Remembered(log.generation, Fingerprint(log.offset, log.kafka_timestamp, log.value_hash))
