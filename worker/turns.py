"""What ingest's main loop knows and decides, a turn at a time: it alone touches the outbox and the planner.

A turn takes the events that wait and commits all that they change in one transaction of the outbox; only then is the rest
of the process told: Kafka which offsets may be committed, the scheduler what is settled. What runs beside it (Kafka's reader,
the database's monitor, the dispatcher) is reached through ports that only take notes, so a turn never waits for a server.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import peewee

from entities.generations import LogGeneration
from outbox.announcements import Audience
from outbox.file import system_clock
from outbox.store import Outbox
from worker.assignment import needs_memory
from worker.events import (
    Assigned,
    EpochRaised,
    Event,
    Fetched,
    LettersFound,
    LogStarts,
    Lost,
    MemoryFound,
    Revoked,
    Settled,
    Starting,
    Told,
)
from worker.every import Every
from worker.fault_points import Point, reach
from worker.health import PrunableLog
from worker.intake import Intake
from worker.letters import for_the_outbox
from worker.logs import PROCESSING_PENDING, log_event
from worker.messages import Settlement
from worker.metrics import Metrics, Pause
from worker.outcomes import Changes
from worker.ports import AnnouncerPort, DatabasePort, DispatcherPort, KafkaPort
from worker.scheduler import Scheduler
from worker.settings import Settings
from worker.status import tell_turn
from worker.telling import Telling

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The pause (s) before a turn that the outbox refused (disk full) is tried again.
REFUSED_PAUSE_S = 1.0

#: What SQLite raises when the outbox cannot be written, directly or through Peewee.
OUTBOX_REFUSES = (peewee.OperationalError, sqlite3.OperationalError)

#: How often (s) offsets are committed for the sake of a mark that moved, and how often the outbox is pruned.
MARKS_INTERVAL_S = 1.0
PRUNE_INTERVAL_S = 60.0
PRUNE_LIMIT = 2_000

#: How long (s) a batch may be silent before Redis is asked after it.
SILENCE_S = 5.0


class Turns:
    """The main loop's state.

    Parameters:
      announcer: tells Kafka's topic of dead letters; None where nobody wants to know.
      clock: monotonic seconds.
      now_ms: milliseconds since 1970.
      pause: waits so many seconds before a refused write is tried again.
      metrics: where the turns are counted; without them nobody is told.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        kafka: KafkaPort,
        database: DatabasePort,
        dispatcher: DispatcherPort,
        announcer: AnnouncerPort | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = system_clock,
        pause: Callable[[float], None] = time.sleep,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._kafka = kafka
        self._database = database
        self._dispatcher = dispatcher
        self._now_ms = now_ms
        self._pause = pause
        self._metrics = metrics if metrics is not None else Metrics((), ())
        self._outbox_refuses = False
        self._intake = Intake(outbox, settings.topic_db_operations)
        self.scheduler = Scheduler(settings, outbox, dispatcher, clock, now_ms)
        self._marks, self._pruning = Every(MARKS_INTERVAL_S, clock), Every(PRUNE_INTERVAL_S, clock)
        self._reconciling = Every(settings.reconcile_interval_ms / 1000, clock)
        self._discards = Telling(outbox, Audience.LEDGER, database.tell_ledger)
        self._deaths = (
            Telling(outbox, Audience.DEAD_LETTER_TOPIC, announcer.announce) if announcer is not None else None
        )
        self._assignment = 0
        self._undecided: Assigned | None = None
        self._to_append: deque[Fetched] = deque()
        self._to_settle: list[Settlement] = []
        self._data_version = outbox.data_version()
        self._has_more_to_prune = False
        self.is_open = False
        self.is_stopping = False
        #: How many operations were persisted and settled since the start.
        self.received = self.settled = 0

    @property
    def has_backlog(self) -> bool:
        """Whether records wait that the outbox has had no room for."""
        return bool(self._to_append)

    @property
    def is_active(self) -> bool:
        """Whether the partitions are ours."""
        return bool(self._intake.partitions)

    # ---------------------------------------------------------------------------------------------------- the loop

    def go_on(self, events: Iterable[Event]) -> None:
        """Take a turn with these events, send what may run, and do the chores that are due."""
        self.take(events)
        self._notice_the_desk()
        self._discards.go_on()
        if self._deaths is not None:
            self._deaths.go_on()
        self.is_open = self._may_dispatch()
        if self.is_open:
            self.scheduler.dispatch()
            if self.scheduler.just_sent:
                reach(Point.PLANNED)
            if self._reconciling.is_due:
                self._dispatcher.inspect(self.scheduler.silent_batches(SILENCE_S))
        if self._marks.is_due and self._intake.partitions:
            self._tell_commits()
            self._database.remember(self._intake.logs())
        if self._pruning.is_due or self._has_more_to_prune:
            self._prune_some()
        self._metrics.note_batches(self.scheduler.batch_sizes)
        self.scheduler.batch_sizes.clear()
        self._tell_alive()

    def stop_dispatching(self) -> None:
        """The process is about to end: from now on only ``take`` is called, for what comes back."""
        self.is_stopping = True
        self.scheduler.epoch = None

    def say_farewell(self) -> None:
        """Have Kafka commit what the last turns have moved."""
        self._tell_commits()

    def take(self, events: Iterable[Event]) -> None:
        """One turn: note the events and commit what they change, together. If the outbox refuses, all stays as it was."""
        is_idle = True
        for event in events:
            self._note(event)
            is_idle = False
        portions = self._portions_that_fit()
        records = [record for portion in portions for record in portion.records]
        changes = self.scheduler.weigh(self._to_settle)
        just_held = self.scheduler.holding.just_held
        if not (records or changes or just_held or (is_idle and self.scheduler.just_sent)):
            self.scheduler.adopt(changes)
            self._to_settle.clear()
            return
        try:
            with self._outbox.transaction():
                self._outbox.mark_dispatched(self.scheduler.just_sent)
                self._outbox.hold(just_held)
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
        self._outbox_refuses = False
        if records:
            reach(Point.APPENDED)
        if changes:
            reach(Point.SETTLED)
        self._intake.adopt(positions)
        self.scheduler.just_sent.clear()
        just_held.clear()
        self.scheduler.adopt(changes)
        self._to_settle.clear()
        for _ in portions:
            self._to_append.popleft()
            self._kafka.give_back_permit()
        if records:
            self.scheduler.note_appended()
            self._tell_commits()
            if not self._is_remembered():
                self._database.remember(self._intake.logs())
        if changes.dead and self._deaths is not None:
            self._deaths.note()
        self.received += len(records)
        self.settled += len(changes.settled)
        tell_turn(records, changes)
        self._metrics.note_turn([record.seen for record in records], changes.applied, changes.retried, changes.dead)
        if changes.is_outage:
            self._database.report_outage()
        if changes.is_fenced:
            self._lose_epoch()

    def _record(self, changes: Changes) -> None:
        self._outbox.settle(changes.settled, announce=self._deaths is not None)
        self._outbox.note_attempts(changes.failed)
        self._outbox.hand_back(changes.handed_back)

    def _tell_commits(self) -> None:
        self._kafka.note_persisted(self._assignment, self._intake.commits())

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

    def _may_dispatch(self) -> bool:
        """Whether operations may be sent now. Says when the backlog runs after an interruption."""
        may_dispatch = self.scheduler.epoch is not None and self._database.is_healthy and self._is_remembered()
        if may_dispatch and not self.is_open:
            pending = self._outbox.counts().unsettled
            if pending:
                log_event(logger, logging.INFO, PROCESSING_PENDING.format(count=pending))
        return may_dispatch

    def _is_remembered(self) -> bool:
        """Whether the database can tell today's logs from a topic made anew, should this host and the topic be lost."""
        remembered = self._database.remembered
        return all(remembered.get(partition) == log.generation for partition, log in self._intake.logs().items())

    # ----------------------------------------------------------------------------------------------------- the numbers

    def _tell_alive(self) -> None:
        self._metrics.note_alive()
        self._metrics.note_pauses(self._pauses())

    def _pauses(self) -> set[Pause]:
        """What keeps an ingest that has the partitions from doing all of its work."""
        pauses = set()
        if self.is_active and not self._database.is_healthy:
            pauses.add(Pause.DATABASE)
        elif self.is_active and self.scheduler.epoch is None:
            pauses.add(Pause.EPOCH)
        if self._outbox_refuses:
            pauses.add(Pause.OUTBOX_REFUSES)
        elif self._to_append:
            pauses.add(Pause.OUTBOX_FULL)
        return pauses

    # -------------------------------------------------------------------------------------------------- the events

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
                self._decide(event)
            case MemoryFound():
                if event.assignment == self._assignment and self._undecided is not None:
                    self._answer(self._undecided, event.logs)
            case Starting():
                self._begin(event)
            case LogStarts():
                self._database.prune_ledger(self._prunable(event.offsets))
            case LettersFound():
                self._import(event)
            case EpochRaised():
                if event.assignment == self._assignment:
                    logger.info("Epoch %d: this ingest is the active one", event.epoch)
                    self.scheduler.open(event.epoch)
            case Told():
                telling = self._discards if event.audience is Audience.LEDGER else self._deaths
                if telling is not None:
                    self._insist(lambda: telling.told(event.announcement_ids))
            case Lost():
                self.scheduler.send_again(event.batch_ids)

    def _revoke(self, assignment: int) -> None:
        if self._intake.partitions:
            logger.info("The partitions are no longer ours: dispatch stops")
        self._assignment = assignment
        self._undecided = None
        self._database.want_epoch(None)
        self._database.remember({})
        self.scheduler.forget()
        self._intake.lose()
        for _ in self._to_append:
            self._kafka.give_back_permit()
        self._to_append.clear()

    def _decide(self, event: Assigned) -> None:
        """Answer where to read from; where the group's commits do not tell, once the database has said what it remembers.

        A topic that is deleted takes its commits with it. Without an outbox or a commit that knows the log, a topic made anew
        would be taken for the old one, and its operations for settled ones.
        """
        if any(needs_memory(commit) for commit in event.commits.values()):
            logger.info(
                "The group has no commit of ours for some partitions: asking the database what it knows of them"
            )
            self._undecided = event
            self._database.want_memory(self._assignment)
        else:
            self._answer(event, {})

    def _answer(self, event: Assigned, memory: Mapping[int, LogGeneration]) -> None:
        self._undecided = None
        event.answer.set_result(self._intake.decide(event.commits, event.ranges, memory))

    def _begin(self, event: Starting) -> None:
        self._insist(lambda: self._intake.begin(event.starts))
        reach(Point.BEGINNING)
        self._insist(self._outbox.release_held)  # what is to be held still is found again
        released = self._insist(self._outbox.release_dispatched)
        if released:
            logger.info("%d operations that were in flight are dispatched again", released)
        self.scheduler.forget()
        self._database.remember(self._intake.logs())  # dispatch waits for it, and may have no new record to wait with
        self._database.want_epoch(self._assignment)
        event.answer.set_result(None)

    def _lose_epoch(self) -> None:
        """Another ingest raised the epoch. If the partitions are still ours, it is the one that is late: raise it again."""
        logger.warning("Another ingest has become active meanwhile: asking the database for a new epoch")
        self._insist(self._outbox.release_dispatched)
        self._insist(self._outbox.release_held)
        self.scheduler.forget()
        self._database.want_epoch(self._assignment)

    def _prunable(self, log_starts: Mapping[int, int]) -> list[PrunableLog]:
        generations = {partition: self._intake.generation(partition) for partition in log_starts}
        return [
            PrunableLog(generation, partition, log_starts[partition])
            for partition, generation in generations.items()
            if generation is not None
        ]

    def _import(self, event: LettersFound) -> None:
        letters = [for_the_outbox(letter, self._now_ms()) for letter in event.letters]
        imported = self._insist(lambda: self._outbox.import_dead(letters, announce=self._deaths is not None))
        reach(Point.IMPORTED)
        if imported:
            if self._deaths is not None:
                self._deaths.note()
            logger.info("%d dead letters taken over from the database's ledger", imported)

    # --------------------------------------------------------------------------------------------------- the outbox

    def _insist(self, write: Callable[[], T]) -> T | None:
        """Do a write that nothing can go on without, however long the outbox refuses it; None if a stop is asked for."""
        while not self.is_stopping:
            try:
                written = write()
            except OUTBOX_REFUSES as error:
                self._wait_for_the_outbox(error)
            else:
                self._outbox_refuses = False
                return written
        return None

    def _wait_for_the_outbox(self, error: Exception) -> None:
        logger.error("The outbox cannot be written: %s; nothing is lost, it is tried again", _first(error))
        self._outbox_refuses = True
        self._tell_alive()
        self._pause(REFUSED_PAUSE_S)

    def _notice_the_desk(self) -> None:
        """Whether another process (the operator's desk) has written: a replayed letter waits at the tail, a discarded one is to
        be told to the ledger."""
        version = self._outbox.data_version()
        if version != self._data_version:
            self._data_version = version
            self.scheduler.note_appended()
            self._discards.note()
            letters = self.scheduler.holding.decided()
            if letters:
                released = self._insist(lambda: self._outbox.release_held(letters))
                logger.info(
                    "%d dead letters are decided on: %s operations that they held go on", len(letters), released
                )
                self.scheduler.let_go(letters)

    def _prune_some(self) -> None:
        """One portion; the next turn takes the next, so that settlements are not held up."""
        before_ms = self._now_ms() - self._settings.outbox_retention_hours * 3_600_000
        try:
            self._has_more_to_prune = self._outbox.prune(before_ms, PRUNE_LIMIT) == PRUNE_LIMIT
        except OUTBOX_REFUSES as error:
            self._has_more_to_prune = False
            logger.error("The outbox cannot be pruned now: %s", error)


def _first(error: BaseException) -> BaseException:
    """What went wrong first: SQLite undoes a transaction for which there is no room, and then undoing it fails."""
    while error.__context__ is not None:
        error = error.__context__
    return error
