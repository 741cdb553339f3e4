"""Reading the topic, a step at a time: from an assignment to records in their final order and committed offsets.

On an assignment the main loop, which owns the outbox, is asked where to go on; until it has answered, nothing is fetched. The
reader owns the place it has read to: what the client library forgets or skips is fetched again from there. Connecting, and
waiting while the brokers are away, is the business of `worker.consumer`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Protocol

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from entities.envelope import peek
from worker.assignment import Commit, Fingerprint, LogRange, Start, made_anew, value_hash
from worker.events import Assigned, Event, Fetched, LogStarts, Revoked, Starting
from worker.every import Every
from worker.fault_points import Point, reach
from worker.merge import FetchedRecord, Merge, order_timestamp

logger = logging.getLogger(__name__)

#: Records handed to the main loop at a time, and how many such portions may be unpersisted.
PORTION = 1_000
PORTIONS_IN_HAND = 4

#: How long (ms) a poll waits for records. It bounds how late a commit, a resumption or a stop is noticed.
POLL_MS = 250

#: The same while the main loop is asked: nothing can come, the polls only keep us in the group.
POLL_WHILE_ASKING_MS = 20

#: So many polls may bring nothing until a look at the record before a start is given up and begun again.
POLLS_FOR_A_CHECK = 50

#: How often (s) the main loop is told where the partitions' logs begin.
LOG_STARTS_INTERVAL_S = 600.0


class Consumer(Protocol):
    """What is used of kafka-python's KafkaConsumer."""

    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Mapping[TopicPartition, Any]: ...
    def assignment(self) -> Set[TopicPartition]: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def paused(self) -> Set[TopicPartition]: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def position(self, partition: TopicPartition) -> int: ...
    def highwater(self, partition: TopicPartition) -> int | None: ...
    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    def committed(self, partition: TopicPartition, metadata: bool = False) -> Any: ...
    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None: ...
    def commit_async(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], callback: Callable[[Any, Any], None]
    ) -> object: ...


class AssignmentListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes an assignment and keeps anything from being fetched until the intake has acted on it.

    Nothing else is done here: exceptions in a listener are swallowed, and slow work in it stops the heartbeat.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.assigned: set[TopicPartition] | None = None
        self.has_joined = False

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.has_joined = False
        self.assigned = set()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.pause(partition)
            # Without a position the next poll raises (auto_offset_reset=none) before the real one is found.
            self._consumer.seek(partition, 0)
        self.assigned = assigned
        self.has_joined = True


class Reading:
    """The partitions that are ours, merged into one order. ``begin``, ``step`` and ``end`` are called by the one thread that has
    the consumer; the others by the main loop.

    Parameters:
      buffer_records: how far a partition may run ahead of the others before it is paused.
      tell: takes events for the main loop.
      clock: monotonic seconds.
    """

    def __init__(
        self,
        topic: str,
        buffer_records: int,
        tell: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._tell = tell
        self._permits = threading.Semaphore(PORTIONS_IN_HAND)
        self._commits_lock = threading.Lock()
        self._to_commit: dict[int, OffsetAndMetadata] = {}
        self._commits_sent: dict[int, OffsetAndMetadata] = {}
        self._commits_failed: dict[int, OffsetAndMetadata] = {}
        self._assignment = 0
        self._asked: Assigned | Starting | None = None
        self._partitions: dict[int, TopicPartition] = {}
        self._merge = Merge(buffer_records)
        self._fetched_to: dict[int, int] = {}
        self._unsure: set[int] = set()  # partitions of which nothing was heard since they were assigned or paused
        self._log_starts = Every(LOG_STARTS_INTERVAL_S, clock)
        self._are_log_starts_told = False
        self.lag: dict[int, int] = {}
        #: Where the log of each partition that is ours ends: the next offset that will be written.
        self.ends: dict[int, int] = {}

    # ------------------------------------------------------------------------------------------ for the main loop

    def note_persisted(self, assignment: int, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Offsets (with the commit's metadata) that may now be committed; those of an older assignment are dropped.

        What Kafka did not take is committed again with them: so it is called now and then, also if there is nothing new.
        """
        with self._commits_lock:
            if assignment == self._assignment:
                self._to_commit = self._commits_failed | self._to_commit
                self._commits_failed = {}
                for partition, (offset, metadata) in offsets.items():
                    self._to_commit[partition] = OffsetAndMetadata(offset, metadata)

    def give_back_permit(self) -> None:
        """A portion is persisted: another may come."""
        self._permits.release()

    # ------------------------------------------------------------------------------------------ for the thread

    def begin(self, consumer: Consumer) -> AssignmentListener:
        """Read with this consumer from now on; the listener is to be subscribed with."""
        self._consumer = consumer
        self._listener = AssignmentListener(consumer)
        return self._listener

    def step(self) -> None:
        """Poll once and act on it. Raises Kafka's errors: call `go_back` before the next step."""
        poll_ms = POLL_MS if self._asked is None else POLL_WHILE_ASKING_MS
        try:
            fetched = self._consumer.poll(timeout_ms=poll_ms, max_records=PORTION)
            if self._listener.assigned is not None:
                # What this poll brought was fetched before the assignment was acted on: it is fetched again.
                self._take_over()
            elif self._asked is not None:
                self._look_for_the_answer()
            else:
                self._buffer(fetched)
                self._hand_over()
                self._pause_and_resume()
                self.commit()
                self._tell_log_starts()
        except OffsetOutOfRangeError:
            logger.warning("Our position is not in the topic's log: looking where to go on")
            self._listener.assigned = set(self._consumer.assignment())
            self._take_over()  # now: the next poll may raise the same for another partition

    def go_back(self) -> None:
        """After an error: a batch whose codec is missing raises once and is skipped by the next poll, so return to our own
        place."""
        assignment = self._consumer.assignment()
        for partition, offset in self._fetched_to.items():
            if TopicPartition(self._topic, partition) in assignment:
                self._consumer.seek(TopicPartition(self._topic, partition), offset)

    def end(self) -> None:
        """The consumer is gone, and with it the assignment."""
        self._forget_assignment()

    # ---------------------------------------------------------------------------------------------- an assignment

    def _forget_assignment(self) -> None:
        with self._commits_lock:
            self._to_commit.clear()
            self._commits_sent.clear()
            self._commits_failed.clear()
            self._assignment += 1
        self._tell(Revoked(self._assignment))
        self._asked = None
        self._merge.assign(())
        self._unsure.clear()
        self._fetched_to.clear()
        self.lag = {}
        self.ends = {}

    def _take_over(self) -> None:
        """Act on what the listener noted: ask the main loop where to read from."""
        assigned, self._listener.assigned = self._listener.assigned, None
        self._forget_assignment()
        if not assigned:
            return
        self._partitions = {tp.partition: tp for tp in assigned}
        try:
            for tp in assigned:
                self._consumer.pause(tp)
            self._ask(self._assigned_event(self._partitions))
        except KafkaError:
            if self._listener.assigned is None:
                self._listener.assigned = assigned  # nothing is read before the assignment has been acted on
            raise

    def _look_for_the_answer(self) -> None:
        """The starts are verified and announced; the announcement is acknowledged, and reading begins."""
        if self._asked is None or not self._asked.answer.done():
            return
        if isinstance(self._asked, Assigned):
            try:
                starts = {p: self._verified(self._partitions[p], s) for p, s in self._asked.answer.result().items()}
            except KafkaError:
                if self._listener.assigned is None:
                    self._listener.assigned = set(self._partitions.values())
                raise
            if self._listener.assigned is None:
                _tell_starts(starts)
                self._ask(Starting(self._assignment, starts))
            return
        self._merge.assign(self._partitions)
        for partition, start in self._asked.starts.items():
            self._fetched_to[partition] = start.offset
            self._consumer.seek(self._partitions[partition], start.offset)
            self._consumer.resume(self._partitions[partition])
        self._unsure = set(self._partitions)
        self._asked = None

    def _ask(self, question: Assigned | Starting) -> None:
        self._asked = question
        self._tell(question)

    def _assigned_event(self, partitions: Mapping[int, TopicPartition]) -> Assigned:
        begins = self._consumer.beginning_offsets(list(partitions.values()))
        ends = self._consumer.end_offsets(list(partitions.values()))
        commits: dict[int, Commit | None] = {}
        for partition, tp in partitions.items():
            committed = self._consumer.committed(tp, metadata=True)
            commits[partition] = Commit.decode(committed.offset, committed.metadata) if committed is not None else None
        ranges = {partition: LogRange(begins[tp], ends[tp]) for partition, tp in partitions.items()}
        return Assigned(self._assignment, commits, ranges)

    def _verified(self, tp: TopicPartition, start: Start) -> Start:
        """Look at the record before the start: a topic made anew has another one there."""
        if start.check is None:
            return start
        self._consumer.seek(tp, start.check.offset)
        self._consumer.resume(tp)
        record = None
        for _ in range(POLLS_FOR_A_CHECK):
            records = self._consumer.poll(timeout_ms=POLL_MS, max_records=1).get(tp)
            if records:
                record = self._fetched_record(records[0])
                break
        self._consumer.pause(tp)
        if record is None and self._consumer.position(tp) == start.check.offset:
            raise KafkaTimeoutError(f"the record before the start of partition {tp.partition} was not sent")
        if record is None or record.offset != start.check.offset or fingerprint(record) == start.check:
            return start  # nothing stands there any more (compaction, retention): nothing speaks against the topic
        ranges = LogRange(self._consumer.beginning_offsets([tp])[tp], self._consumer.end_offsets([tp])[tp])
        return made_anew(start, ranges)

    # ------------------------------------------------------------------------------------------ reading and committing

    def _fetched_record(self, record: Any) -> FetchedRecord:
        value = record.value if record.value is not None else b""
        seen = peek(value)
        timestamp = max(record.timestamp or 0, 0)
        return FetchedRecord(
            self._topic,
            record.partition,
            record.offset,
            timestamp,
            order_timestamp(seen.timestamp, timestamp),
            value,
            seen,
        )

    def _buffer(self, fetched: Mapping[TopicPartition, Any]) -> None:
        for tp, records in fetched.items():
            self._merge.add(tp.partition, [self._fetched_record(record) for record in records])
            self._fetched_to[tp.partition] = records[-1].offset + 1
            self._unsure.discard(tp.partition)
            reach(Point.POLLED)
        self._make_sure()
        lag, ends = {}, {}
        for partition in self._fetched_to:
            tp = TopicPartition(self._topic, partition)
            highwater = self._consumer.highwater(tp)
            position = self._consumer.position(tp)
            is_read_to_end = partition not in self._unsure and highwater is not None and position >= highwater
            self._merge.note_end(partition, is_read_to_end)
            ends[partition] = max(highwater or position, position)
            lag[partition] = ends[partition] - position
        self.lag, self.ends = lag, ends

    def _make_sure(self) -> None:
        """Ask where the logs end for whose records the merge waits. What the library says of it is as old as the last fetch:
        while a partition is paused it stays, and the log may go on."""
        if not self._unsure:
            return
        waited_for = {
            TopicPartition(self._topic, partition) for partition in self._unsure & self._merge.partitions_empty()
        }
        asked = waited_for - self._consumer.paused()
        if asked:
            ends = self._consumer.end_offsets(list(asked))
            self._unsure -= {tp.partition for tp in asked if self._consumer.position(tp) >= ends[tp]}

    def _hand_over(self) -> None:
        while self._permits.acquire(blocking=False):
            records = self._merge.release(PORTION)
            if not records:
                self._permits.release()
                return
            self._tell(Fetched(self._assignment, records))

    def _pause_and_resume(self) -> None:
        paused = {tp.partition for tp in self._consumer.paused()}
        for partition in self._merge.partitions_ahead() - paused:
            self._consumer.pause(TopicPartition(self._topic, partition))
            self._unsure.add(partition)
        for partition in self._merge.partitions_drained() & paused:
            tp = TopicPartition(self._topic, partition)
            # pause() drops what was fetched and the next fetch goes on behind it: without this, records are lost.
            self._consumer.seek(tp, self._fetched_to[partition])
            self._consumer.resume(tp)

    def _tell_log_starts(self) -> None:
        if self._fetched_to and (self._log_starts.is_due or not self._are_log_starts_told):
            self._are_log_starts_told = True
            begins = self._consumer.beginning_offsets([TopicPartition(self._topic, p) for p in self._fetched_to])
            offsets = {tp.partition: offset for tp, offset in begins.items()}
            self._tell(LogStarts(self._assignment, offsets))

    def commit(self, wait: bool = False) -> None:
        """Commit what the main loop has persisted."""
        with self._commits_lock:
            offsets = {TopicPartition(self._topic, p): offset for p, offset in self._to_commit.items()}
            self._commits_sent |= self._to_commit
            self._to_commit.clear()
        if not offsets:
            return
        reach(Point.COMMITTING)
        if wait:
            self._consumer.commit(offsets)
        else:
            self._consumer.commit_async(offsets, callback=self._note_commit)
        reach(Point.COMMITTED)

    def _note_commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], result: Any) -> None:
        """If it failed, have it made again: on an idle topic no other would follow, and the mark in Kafka would stay behind."""
        if isinstance(result, Exception):
            logger.warning("Committing offsets failed: %s: %s", type(result).__name__, result)
            with self._commits_lock:
                for tp, offset in offsets.items():
                    if self._commits_sent.get(tp.partition) == offset:  # no newer one, and no older assignment's
                        self._commits_failed[tp.partition] = offset


def fingerprint(record: FetchedRecord) -> Fingerprint:
    """What is kept of a record to recognise it when it is read again."""
    return Fingerprint(record.offset, record.kafka_timestamp, value_hash(record.value))


def _tell_starts(starts: Mapping[int, Start]) -> None:
    for partition, start in starts.items():
        logger.info("Partition %d: reading from %d, %s", partition, start.offset, start.why.value)
        if start.skipped:
            logger.error("Partition %d: Kafka deleted %d records before they were read", partition, start.skipped)
        if start.in_doubt:
            logger.error(
                "Partition %d: Kafka deleted %d records that are not known to be settled", partition, start.in_doubt
            )
