"""``python -m worker.ingest``: takes operations from Kafka, keeps them in the outbox, and has the actors apply them in order.

The story of an operation: the Kafka thread merges the partitions into one order (consumer.py, merge.py); the main loop
appends the records to the outbox, then their offsets are committed (intake.py); the scheduler sends what may run
(scheduler.py, planner.py) through the dispatcher to Redis; the actors' outcomes come back through a Redis list
(settlements.py) and make their followers ready. The database monitor (health.py) opens and shuts the gate.

Threads only put events into the inbox. The main loop alone touches the outbox and the planner, in turns: each turn takes
all events that wait and commits what they change in one transaction.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import peewee

import entities.operations
from entities.database import open_database
from outbox.errors import UnusableOutbox
from outbox.lock import OutboxInUse, hold_alone
from outbox.records import ImportedLetter
from outbox.store import Outbox
from worker.broker import build_broker
from worker.connections import database_config
from worker.consumer import KafkaIntake
from worker.dispatcher import Dispatcher
from worker.events import (
    Assigned,
    EpochRaised,
    Event,
    Fetched,
    LettersFound,
    LogStarts,
    Lost,
    Revoked,
    Settled,
    Starting,
)
from worker.fault_points import Point, arm, reach
from worker.health import DatabaseMonitor, PrunableLog
from worker.intake import Intake
from worker.logs import PROCESSING_PENDING, WORKER_STATUS, configure_logging, log_event
from worker.messages import Settlement
from worker.redis_link import connect
from worker.scheduler import Changes, Scheduler
from worker.settings import Settings, describe_settings, settings_or_exit
from worker.settlements import SettlementReader
from worker.status import status_fields, tell_turn
from worker.work import content_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How long (s) the main loop sleeps when nothing comes; its chores are no more punctual than that.
IDLE_S = 0.2

#: At most so many events are taken in one turn: one transaction, one fsync.
EVENTS_A_TURN = 50

#: The pause (s) before a turn that the outbox refused (disk full) is tried again.
REFUSED_PAUSE_S = 1.0

#: What SQLite raises when the outbox cannot be written, directly or through Peewee.
OUTBOX_REFUSES = (peewee.OperationalError, sqlite3.OperationalError)

#: How often (s) offsets are committed for the sake of a mark that moved, and how often the outbox is pruned.
MARKS_INTERVAL_S = 1.0
PRUNE_INTERVAL_S = 60.0
PRUNE_LIMIT = 2_000

#: How long (s) a stop waits for what is in flight, and for the next settlement of it (the actors may be down). What is
#: not back by then is dispatched again at the next start.
DRAIN_S, DRAIN_SILENCE_S = 10.0, 2.0

#: How long (s) a batch may be silent before Redis is asked after it.
SILENCE_S = 5.0


class Every:
    """A chore's clock: ``is_due`` at most once in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    @property
    def is_due(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._seconds
        return True


class Ingest:
    """The main loop and its threads, from start to a clean stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._outbox = Outbox.open(settings.outbox_path)
        self._broker = build_broker(settings)
        database = open_database(database_config(settings))
        outbox_id = self._outbox.outbox_id
        self._kafka = KafkaIntake(settings, self._inbox, settings.kafka_group_instance_id or outbox_id)
        self._monitor = DatabaseMonitor(settings, self._inbox, database, outbox_id)
        self._reader = SettlementReader(connect(settings.broker_redis_url), outbox_id, self._inbox)
        self._dispatcher = Dispatcher(self._broker, outbox_id, self._inbox, settings.lease_ms / 1000, time.monotonic)
        self._intake = Intake(self._outbox, settings.topic_db_operations)
        self._scheduler = Scheduler(settings, self._outbox, self._dispatcher)
        self._assignment = 0
        self._to_append: deque[Fetched] = deque()
        self._to_settle: list[Settlement] = []
        self._stop_asked = False
        self._was_open = False
        self._data_version = self._outbox.data_version()

    # ------------------------------------------------------------------------------------------------ start and stop

    def run(self) -> None:
        """Run until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())
        threads = (self._monitor, self._reader, self._dispatcher, self._kafka)
        for thread in threads:
            thread.start()
        try:
            self._loop()
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Ask the loop to end; it finishes its turn first."""
        self._stop_asked = True

    def _shut_down(self) -> None:
        """Health monitoring stops, the consumer leaves its group, the database connection closes, Redis disconnects."""
        logger.info("Stopping: %d operations in flight", self._scheduler.in_flight_operations)
        self._scheduler.epoch = None
        self._monitor.stop()
        self._await_in_flight()
        reach(Point.STOPPING)
        self._kafka.note_persisted(self._assignment, self._intake.commits())
        self._kafka.stop()
        self._kafka.join(timeout=DRAIN_S)
        self._monitor.close(timeout_s=DRAIN_S)
        self._dispatcher.stop()
        self._reader.stop()
        self._dispatcher.join(timeout=DRAIN_S)
        self._reader.join(timeout=DRAIN_S)
        self._broker.close()
        self._outbox.close()
        logger.info("Stopped")

    def _await_in_flight(self) -> None:
        now = time.monotonic()
        deadline, silence = now + DRAIN_S, now + DRAIN_SILENCE_S
        in_flight = self._scheduler.in_flight_operations
        while not self._scheduler.is_quiet and time.monotonic() < min(deadline, silence):
            self._take_turn()
            if self._scheduler.in_flight_operations < in_flight:
                in_flight = self._scheduler.in_flight_operations
                silence = time.monotonic() + DRAIN_SILENCE_S

    # -------------------------------------------------------------------------------------------------- the main loop

    def _loop(self) -> None:
        status = Every(self._settings.status_interval_ms / 1000)
        marks, pruning = Every(MARKS_INTERVAL_S), Every(PRUNE_INTERVAL_S)
        reconciling = Every(self._settings.reconcile_interval_ms / 1000)
        while not self._stop_asked:
            self._take_turn()
            self._notice_the_desk()
            if self._is_open():
                self._scheduler.dispatch()
                if self._scheduler.just_sent:
                    reach(Point.PLANNED)
                if reconciling.is_due:
                    self._dispatcher.inspect(self._scheduler.silent_batches(SILENCE_S))
            if marks.is_due and self._intake.partitions:
                self._kafka.note_persisted(self._assignment, self._intake.commits())
            if status.is_due:
                self._log_status()
            if pruning.is_due:
                self._prune()

    def _is_open(self) -> bool:
        """Whether operations may be sent now. Says when the backlog runs after an interruption."""
        is_open = self._scheduler.epoch is not None and self._monitor.is_healthy
        if is_open and not self._was_open:
            pending = self._outbox.counts().unsettled
            if pending:
                log_event(logger, logging.INFO, PROCESSING_PENDING.format(count=pending))
        self._was_open = is_open
        return is_open

    def _take_turn(self) -> None:
        is_idle = True
        for event in self._events():
            self._note(event)
            is_idle = False
        portions = self._portions_that_fit()
        records = [record for portion in portions for record in portion.records]
        changes = self._scheduler.weigh(self._to_settle)
        if not (records or changes or (is_idle and self._scheduler.just_sent)):
            self._scheduler.adopt(changes)
            self._to_settle.clear()
            return
        try:
            with self._outbox.transaction():
                self._outbox.mark_dispatched(self._scheduler.just_sent)
                positions = self._intake.append(records)
                if records:
                    reach(Point.APPENDING)
                self._record(changes)
                if changes:
                    reach(Point.SETTLING)
        except OUTBOX_REFUSES as error:
            # Disk full, or the like: everything stays where it was, nothing is committed to Kafka, and it is tried again.
            self._wait_for_the_outbox(error)
            return
        if records:
            reach(Point.APPENDED)
        if changes:
            reach(Point.SETTLED)
        self._intake.adopt(positions)
        self._scheduler.just_sent.clear()
        self._scheduler.adopt(changes)
        self._to_settle.clear()
        for _ in portions:
            self._to_append.popleft()
            self._kafka.give_back_permit()
        if records:
            self._scheduler.note_appended()
            self._kafka.note_persisted(self._assignment, self._intake.commits())
        tell_turn(records, changes)
        if changes.is_outage:
            self._monitor.report_outage()
        if changes.is_fenced:
            self._lose_epoch()

    def _wait_for_the_outbox(self, error: Exception) -> None:
        logger.error("The outbox cannot be written: %s; nothing is lost, it is tried again", error)
        time.sleep(REFUSED_PAUSE_S)

    def _insist(self, write: Callable[[], T]) -> T | None:
        """Do a write that nothing can go on without, however long the outbox refuses it; None if a stop is asked for."""
        while not self._stop_asked:
            try:
                return write()
            except OUTBOX_REFUSES as error:
                self._wait_for_the_outbox(error)
        return None

    def _portions_that_fit(self) -> list[Fetched]:
        """What may be appended now. The rest keeps its permits, so that reading from Kafka pauses by itself."""
        room = self._settings.outbox_max_pending - self._outbox.counts().unsettled if self._to_append else 0
        portions = []
        for portion in self._to_append:
            if room <= 0:
                break
            portions.append(portion)
            room -= len(portion.records)
        return portions

    def _events(self) -> Iterator[Event]:
        """All that wait, or the first that comes within a moment."""
        try:
            has_work = bool(self._to_append and not self._stop_asked)
            yield self._inbox.get(timeout=IDLE_S if not has_work else REFUSED_PAUSE_S / 10)
            for _ in range(EVENTS_A_TURN):
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    def _note(self, event: Event) -> None:
        match event:
            case Fetched():
                if event.assignment == self._assignment:
                    self._to_append.append(event)
                else:
                    self._kafka.give_back_permit()
            case Settled():
                self._to_settle.extend(event.settlements)
            case Revoked():
                self._revoke(event.assignment)
            case Assigned():
                event.answer.set_result(self._intake.decide(event.commits, event.ranges))
            case Starting():
                self._begin(event)
            case LogStarts():
                generations = {partition: self._intake.generation(partition) for partition in event.offsets}
                self._monitor.prune_ledger(
                    [
                        PrunableLog(generation, partition, event.offsets[partition])
                        for partition, generation in generations.items()
                        if generation is not None
                    ]
                )
            case LettersFound():
                self._import(event)
            case EpochRaised():
                if event.assignment == self._assignment:
                    logger.info("Epoch %d: this ingest is the active one", event.epoch)
                    self._scheduler.epoch = event.epoch
            case Lost():
                self._scheduler.send_again(event.batch_ids)

    # --------------------------------------------------------------------------------------------- the assignment

    def _revoke(self, assignment: int) -> None:
        if self._intake.partitions:
            logger.info("The partitions are no longer ours: dispatch stops")
        self._assignment = assignment
        self._monitor.want_epoch(None)
        self._scheduler.forget()
        self._intake.lose()
        for _ in self._to_append:
            self._kafka.give_back_permit()
        self._to_append.clear()

    def _begin(self, event: Starting) -> None:
        self._insist(lambda: self._intake.begin(event.starts))
        reach(Point.BEGINNING)
        released = self._insist(self._outbox.release_dispatched)
        if released:
            logger.info("%d operations that were in flight are dispatched again", released)
        self._scheduler.forget()
        self._monitor.want_epoch(self._assignment)
        event.answer.set_result(None)

    def _lose_epoch(self) -> None:
        """Another ingest raised the epoch. If the partitions are still ours, it is the one that is late: raise it again."""
        logger.warning("Another ingest has become active meanwhile: asking the database for a new epoch")
        self._insist(self._outbox.release_dispatched)
        self._scheduler.forget()
        self._monitor.want_epoch(self._assignment)

    def _import(self, event: LettersFound) -> None:
        letters = [
            ImportedLetter(
                letter.topic,
                letter.generation,
                letter.partition,
                letter.offset,
                letter.operation_id,
                letter.entity,
                letter.type,
                letter.payload or b"",
                letter.incarnation,
                letter.attempts,
                letter.error_kind,
                letter.reason,
                int(time.time() * 1000),
                # an operator had changed it when it died, or its payload did not fit: its identity is the original's
                letter.content if letter.content != content_of(letter.payload or b"") else None,
            )
            for letter in event.letters
        ]
        imported = self._insist(lambda: self._outbox.import_dead(letters))
        reach(Point.IMPORTED)
        if imported:
            logger.info("%d dead letters taken over from the database's ledger", imported)

    # ------------------------------------------------------------------------------------------------------- chores

    def _record(self, changes: Changes) -> None:
        self._outbox.settle(changes.settled)
        self._outbox.note_attempts(changes.failed)
        self._outbox.hand_back(changes.handed_back)

    def _notice_the_desk(self) -> None:
        """Whether another process (the operator's desk) has written: a replayed letter waits at the tail."""
        version = self._outbox.data_version()
        if version != self._data_version:
            self._data_version = version
            self._scheduler.note_appended()

    def _prune(self) -> None:
        before_ms = int(time.time() * 1000) - self._settings.outbox_retention_hours * 3_600_000
        try:
            while not self._stop_asked and self._outbox.prune(before_ms, PRUNE_LIMIT) == PRUNE_LIMIT:
                self._take_turn()
        except OUTBOX_REFUSES as error:
            logger.error("The outbox cannot be pruned now: %s", error)

    def _log_status(self) -> None:
        counts = self._outbox.counts()
        checked_at, healthy_since = self._monitor.last_check_at, self._monitor.healthy_since
        log_event(
            logger,
            logging.INFO,
            WORKER_STATUS,
            **status_fields(
                is_running=self._kafka.is_connected,
                is_paused=not self._was_open,
                pending_operations=counts.unsettled,
                is_database_healthy=self._monitor.is_healthy,
                last_health_check=datetime.fromtimestamp(checked_at, UTC).isoformat() if checked_at else None,
                database_uptime_s=time.monotonic() - healthy_since if healthy_since is not None else 0.0,
                is_redis_connected=self._reader.is_connected,
                lag=sum(self._kafka.lag.values()),
                in_flight=self._scheduler.in_flight_operations,
                dead_letters=counts.dead,
            ),
        )


def main() -> None:
    """The command line: no arguments but ``--help``; everything is set by environment variables."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.ingest",
        description="Takes operations from Kafka, keeps them in a durable outbox and has the actors apply them in order.",
        epilog=describe_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    settings = settings_or_exit()
    configure_logging(settings)
    entities.operations.configure(settings.unknown_attributes)
    arm(os.environ)
    try:
        hold_alone(settings.outbox_path)
        ingest = Ingest(settings)
    except (OutboxInUse, UnusableOutbox, OSError) as error:
        logger.error("The outbox cannot be opened: %s", error)
        raise SystemExit(1) from None
    ingest.run()


if __name__ == "__main__":
    main()
