"""The Kafka side of ingest: a thread of its own that owns the consumer, because poll and commit can block for half a minute
while the brokers are away.

It reads the assigned partitions, merges them into one order and hands records to the main loop; what the main loop has
persisted it commits. It keeps reconnecting for ever. It decides nothing about the outbox: on an assignment it asks.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from kafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from entities.envelope import peek
from worker.assignment import Commit, Fingerprint, LogRange, Start, made_anew
from worker.events import Assigned, Event, Fetched, LogStarts, Revoked, Starting
from worker.fault_points import Point, reach
from worker.logs import CONSUMER_CONNECTED, SUBSCRIBED, log_event
from worker.merge import FetchedRecord, Merge, order_timestamp
from worker.settings import Settings

logger = logging.getLogger(__name__)

#: Records handed to the main loop at a time, and how many such portions may be unpersisted.
PORTION = 1_000
PORTIONS_IN_HAND = 4

#: How long (ms) a poll waits for records. It bounds how late a commit, a resumption or a stop is noticed.
POLL_MS = 100

#: The first and the longest pause (s) before Kafka is tried again.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.2, 5.0

#: How often (s) the main loop is told where the partitions' logs begin.
LOG_STARTS_INTERVAL_S = 600.0


def fingerprint(record: FetchedRecord) -> Fingerprint:
    """What is kept of a record to recognise it when it is read again."""
    return Fingerprint(record.offset, record.kafka_timestamp, value_hash(record.value))


def value_hash(value: bytes) -> bytes:
    """Eight bytes that tell a record's value from another's."""
    return hashlib.blake2b(value, digest_size=8).digest()


class SoleActiveAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """Gives all partitions to one member: order needs one planner. The others stand by.

    The member that has them keeps them when others join: its metadata says how many it owns. It also says how many it
    has seen the topic to have: Kafka answers a member whose metadata is unchanged without assigning anew.
    """

    name = "sole-active"
    version = 0

    def __init__(self) -> None:
        self.owned = 0
        self.seen = 0

    def metadata(self, topics: set[str]) -> Any:
        user_data = b"%d,%d" % (self.owned, self.seen)
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), user_data)

    def on_assignment(self, assignment: Any) -> None:
        self.owned = sum(len(partitions) for _, partitions in assignment.assignment)

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        active = max(sorted(members), key=lambda member: _owned(members[member].user_data))
        partitions = [
            (topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in sorted(members[active].subscription)
        ]
        return {
            member: ConsumerProtocolMemberAssignment(self.version, partitions if member == active else [], b"")
            for member in members
        }


def _owned(user_data: bytes) -> int:
    owned = user_data.partition(b",")[0]
    return int(owned) if owned.isdigit() else 0


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes an assignment and keeps anything from being fetched until the intake has acted on it.

    Nothing else is done here: exceptions in a listener are swallowed, and slow work in it stops the heartbeat.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self.assigned: set[TopicPartition] | None = None

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.assigned = set()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.pause(partition)
            # Without a position the next poll raises (auto_offset_reset=none) before the real one is found.
            self._consumer.seek(partition, 0)
        self.assigned = assigned


class KafkaIntake(threading.Thread):
    """Reads the topic for the main loop.

    Parameters:
      inbox: where events for the main loop go.
      instance_id: the static member's name; a restart under the same name is let in at once.
    """

    def __init__(self, settings: Settings, inbox: queue.SimpleQueue[Event], instance_id: str) -> None:
        super().__init__(name="kafka", daemon=True)
        self._settings = settings
        self._inbox = inbox
        self._instance_id = instance_id
        self._topic = settings.topic_db_operations
        self._stopping = threading.Event()
        self._permits = threading.Semaphore(PORTIONS_IN_HAND)
        self._commits_lock = threading.Lock()
        self._to_commit: dict[int, OffsetAndMetadata] = {}
        self._assignment = 0
        self._merge = Merge(settings.partition_buffer_records)
        self._fetched_to: dict[int, int] = {}
        self._log_starts_due = 0.0
        self.is_connected = False
        self.lag: dict[int, int] = {}

    # ------------------------------------------------------------------------------------------ for the main loop

    def note_persisted(self, assignment: int, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Offsets (with the commit's metadata) that may now be committed; those of an older assignment are dropped."""
        with self._commits_lock:
            if assignment == self._assignment:
                for partition, (offset, metadata) in offsets.items():
                    self._to_commit[partition] = OffsetAndMetadata(offset, metadata)

    def give_back_permit(self) -> None:
        """A portion is persisted: another may come."""
        self._permits.release()

    def stop(self) -> None:
        """Ask the thread to commit what is persisted, leave the group and end."""
        self._stopping.set()

    # ------------------------------------------------------------------------------------------------- the thread

    def run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                consumer = self._connect()
            except (KafkaError, OSError) as error:
                logger.warning("Kafka is not reachable (%s); trying again in %.1f s", error, backoff_s)
                self._stopping.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
                continue
            backoff_s = FIRST_BACKOFF_S
            try:
                self._consume(consumer)
            except Exception:  # the outermost loop of this thread: begin anew with another consumer
                logger.exception("The Kafka consumer failed and is made anew")
                self._stopping.wait(backoff_s)
            finally:
                self._leave(consumer)

    def _connect(self) -> KafkaConsumer:
        settings = self._settings
        self._assignor = SoleActiveAssignor()
        consumer = KafkaConsumer(
            bootstrap_servers=list(settings.kafka_brokers),
            client_id=settings.kafka_client_id,
            group_id=settings.kafka_group_id,
            group_instance_id=self._instance_id,
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=settings.consumer_session_timeout_ms,
            heartbeat_interval_ms=settings.consumer_heartbeat_interval_ms,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position beyond the log's end is for us to judge, not to skip silently
            fetch_max_wait_ms=50,  # a resumed partition waits for the fetch under way: 36 ms instead of 393
            max_partition_fetch_bytes=131_072,  # what a pause throws away is fetched again
            max_poll_records=PORTION,
            metadata_max_age_ms=30_000,
        )
        self.is_connected = True
        log_event(logger, logging.INFO, CONSUMER_CONNECTED, brokers=",".join(settings.kafka_brokers))
        return consumer

    def _leave(self, consumer: KafkaConsumer) -> None:
        self.is_connected = False
        with suppress(KafkaError, OSError):
            self._commit(consumer, wait=True)
        self._forget_assignment()
        fetcher_log = logging.getLogger("kafka.consumer.fetcher")
        fetcher_log.disabled = True  # it tells of the fetch that closing cancels as an error
        try:
            with suppress(KafkaError, OSError):
                consumer.close(autocommit=False)
        finally:
            fetcher_log.disabled = False

    def _forget_assignment(self) -> None:
        with self._commits_lock:
            self._to_commit.clear()
            self._assignment += 1
        self._inbox.put(Revoked(self._assignment))
        self._merge.assign(())
        self._fetched_to.clear()
        self.lag = {}

    def _consume(self, consumer: KafkaConsumer) -> None:
        listener = _Listener(consumer)
        consumer.subscribe([self._topic], listener=listener)
        log_event(logger, logging.INFO, SUBSCRIBED.format(topic=self._topic))
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                fetched = consumer.poll(timeout_ms=POLL_MS, max_records=PORTION)
                if listener.assigned is not None:
                    # What this poll brought was fetched before the assignment was acted on: it is fetched again.
                    self._take_over(consumer, listener)
                else:
                    self._buffer(consumer, fetched)
                    self._hand_over()
                    self._pause_and_resume(consumer)
                    self._commit(consumer)
                    self._notice_new_partitions(consumer)
                    self._tell_log_starts(consumer)
                backoff_s = FIRST_BACKOFF_S
            except OffsetOutOfRangeError:
                logger.warning("Our position is not in the topic's log: looking where to go on")
                listener.assigned = set(consumer.assignment())
            except KafkaError as error:
                # A batch whose codec is missing raises once and is skipped by the next poll: go back to our own place.
                logger.error(
                    "Reading from Kafka failed: %s: %s; trying again in %.1f s", type(error).__name__, error, backoff_s
                )
                self._stopping.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
                for partition, offset in self._fetched_to.items():
                    if TopicPartition(self._topic, partition) in consumer.assignment():
                        consumer.seek(TopicPartition(self._topic, partition), offset)

    # ---------------------------------------------------------------------------------------------- an assignment

    def _take_over(self, consumer: KafkaConsumer, listener: _Listener) -> None:
        """Act on what the listener noted: ask the main loop where to read from, verify it, and begin."""
        assigned, listener.assigned = listener.assigned, None
        self._forget_assignment()
        if not assigned:
            return
        try:
            partitions = {tp.partition: tp for tp in assigned}
            for tp in assigned:
                consumer.pause(tp)
            starts = self._ask(consumer, listener, self._assigned_event(consumer, partitions))
            starts = {p: self._verified(consumer, partitions[p], start) for p, start in starts.items()}
            for partition, start in starts.items():
                logger.info("Partition %d: reading from %d, %s", partition, start.offset, start.why.value)
                if start.skipped:
                    logger.error(
                        "Partition %d: Kafka deleted %d records before they were read", partition, start.skipped
                    )
            self._ask(consumer, listener, Starting(self._assignment, starts))
        except _Reassigned:
            return
        except KafkaError:
            listener.assigned = assigned  # nothing is read before the assignment has been acted on
            raise
        self._merge.assign(partitions)
        for partition, start in starts.items():
            self._fetched_to[partition] = start.offset
            consumer.seek(partitions[partition], start.offset)
            consumer.resume(partitions[partition])

    def _assigned_event(self, consumer: KafkaConsumer, partitions: Mapping[int, TopicPartition]) -> Assigned:
        begins = consumer.beginning_offsets(list(partitions.values()))
        ends = consumer.end_offsets(list(partitions.values()))
        commits: dict[int, Commit | None] = {}
        for partition, tp in partitions.items():
            committed = consumer.committed(tp, metadata=True)
            commits[partition] = Commit.decode(committed.offset, committed.metadata) if committed is not None else None
        ranges = {partition: LogRange(begins[tp], ends[tp]) for partition, tp in partitions.items()}
        return Assigned(self._assignment, commits, ranges)

    def _verified(self, consumer: KafkaConsumer, tp: TopicPartition, start: Start) -> Start:
        """Look at the record before the start: a topic made anew has another one there."""
        if start.check is None:
            return start
        consumer.seek(tp, start.check.offset)
        consumer.resume(tp)
        record = None
        for _ in range(50):
            records = consumer.poll(timeout_ms=POLL_MS, max_records=1).get(tp)
            if records:
                record = self._fetched_record(records[0])
                break
        consumer.pause(tp)
        if record is None or record.offset != start.check.offset or fingerprint(record) == start.check:
            return start  # nothing stands there any more (compaction, retention): nothing speaks against the topic
        ranges = LogRange(consumer.beginning_offsets([tp])[tp], consumer.end_offsets([tp])[tp])
        return made_anew(start, ranges)

    def _ask(self, consumer: KafkaConsumer, listener: _Listener, event: Assigned | Starting) -> Any:
        """Wait for the main loop's answer without falling out of the group: everything is paused, so polls bring nothing."""
        if listener.assigned is not None:
            raise _Reassigned
        self._inbox.put(event)
        answer: Future[Any] = event.answer
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                return answer.result(timeout=0.02)
            consumer.poll(timeout_ms=0)
            if listener.assigned is not None:
                break
        raise _Reassigned

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

    def _buffer(self, consumer: KafkaConsumer, fetched: Mapping[TopicPartition, Any]) -> None:
        for tp, records in fetched.items():
            self._merge.add(tp.partition, [self._fetched_record(record) for record in records])
            self._fetched_to[tp.partition] = records[-1].offset + 1
            reach(Point.POLLED)
        lag = {}
        for partition in self._fetched_to:
            tp = TopicPartition(self._topic, partition)
            highwater = consumer.highwater(tp)
            position = consumer.position(tp)
            self._merge.note_end(partition, highwater is not None and position >= highwater)
            lag[partition] = max(0, (highwater or position) - position)
        self.lag = lag

    def _hand_over(self) -> None:
        while self._permits.acquire(blocking=False):
            records = self._merge.release(PORTION)
            if not records:
                self._permits.release()
                return
            self._inbox.put(Fetched(self._assignment, records))

    def _pause_and_resume(self, consumer: KafkaConsumer) -> None:
        paused = {tp.partition for tp in consumer.paused()}
        for partition in self._merge.partitions_ahead() - paused:
            consumer.pause(TopicPartition(self._topic, partition))
        for partition in self._merge.partitions_drained() & paused:
            tp = TopicPartition(self._topic, partition)
            # pause() drops what was fetched and the next fetch goes on behind it: without this, records are lost.
            consumer.seek(tp, self._fetched_to[partition])
            consumer.resume(tp)

    def _notice_new_partitions(self, consumer: KafkaConsumer) -> None:
        """Ask for a new assignment when the topic has more partitions than we have.

        The library watches for them in the group's leader only, and a static member that was restarted is none.
        """
        partitions = len(consumer.partitions_for_topic(self._topic) or ())
        if 0 < self._assignor.owned < partitions and self._assignor.seen != partitions:
            logger.info("The topic has %d partitions now: asking for them", partitions)
            self._assignor.seen = partitions
            consumer._coordinator.request_rejoin()

    def _tell_log_starts(self, consumer: KafkaConsumer) -> None:
        if self._fetched_to and time.monotonic() >= self._log_starts_due:
            self._log_starts_due = time.monotonic() + LOG_STARTS_INTERVAL_S
            begins = consumer.beginning_offsets([TopicPartition(self._topic, p) for p in self._fetched_to])
            offsets = {tp.partition: offset for tp, offset in begins.items()}
            self._inbox.put(LogStarts(self._assignment, offsets))

    def _commit(self, consumer: KafkaConsumer, wait: bool = False) -> None:
        with self._commits_lock:
            offsets = {TopicPartition(self._topic, p): offset for p, offset in self._to_commit.items()}
            self._to_commit.clear()
        if not offsets:
            return
        reach(Point.COMMITTING)
        if wait:
            consumer.commit(offsets)
        else:
            consumer.commit_async(offsets, callback=_note_commit)
        reach(Point.COMMITTED)


def _note_commit(offsets: Any, result: Any) -> None:
    if isinstance(result, Exception):
        # Harmless: what was not committed is read again and recognised by its place.
        logger.warning("Committing offsets failed: %s: %s", type(result).__name__, result)


class _Reassigned(Exception):
    """The partitions changed while the main loop was asked, or we are stopping."""
