"""What ingest's main loop knows and decides, a turn at a time: it alone touches the outbox and the planner.

A turn takes the events that wait and commits all that they change in one transaction of the outbox; only then is the rest
of the process told: Kafka which offsets may be committed, the scheduler what is settled. What runs beside it (Kafka's reader,
the database's monitor, the dispatcher) is reached through ports that only take notes, so a turn never waits for a server.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

from outbox.announcements import Audience
from outbox.file import system_clock
from outbox.store import Outbox
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
from worker.intake import Intake
from worker.logs import PROCESSING_PENDING, log_event
from worker.messages import Settlement
from worker.metrics import Metrics, Pause
from worker.outcomes import Changes
from worker.ports import AnnouncerPort, DatabasePort, DispatcherPort, KafkaPort
from worker.refusals import OUTBOX_REFUSES, Refusals
from worker.scheduler import Scheduler
from worker.settings import Settings
from worker.status import tell_turn
from worker.telling import Telling
from worker.tenure import Tenure

logger = logging.getLogger(__name__)

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
        self._metrics = metrics if metrics is not None else Metrics((), ())
        self._intake = Intake(outbox, settings.topic_db_operations)
        self.scheduler = Scheduler(settings, outbox, dispatcher, clock, now_ms)
        self._marks, self._pruning = Every(MARKS_INTERVAL_S, clock), Every(PRUNE_INTERVAL_S, clock)
        self._reconciling = Every(settings.reconcile_interval_ms / 1000, clock)
        self._discards = Telling(outbox, Audience.LEDGER, database.tell_ledger)
        self._deaths = (
            Telling(outbox, Audience.DEAD_LETTER_TOPIC, announcer.announce) if announcer is not None else None
        )
        self._refusals = Refusals(pause, self._tell_alive)
        self._tenure = Tenure(outbox, self._intake, self.scheduler, database, self._deaths, self._refusals, now_ms)
        self._to_append: deque[Fetched] = deque()
        self._to_settle: list[Settlement] = []
        self._data_version = outbox.data_version()
        self._has_more_to_prune = False
        self.is_open = False
        #: How many operations were persisted and settled since the start.
        self.received = self.settled = 0

    @property
    def has_backlog(self) -> bool:
        """Whether records wait that the outbox has had no room for."""
        return bool(self._to_append)

    @property
    def is_active(self) -> bool:
        """Whether the partitions are ours."""
        return self._tenure.is_active

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

    def ask_to_stop(self) -> None:
        """Wait for nothing any more; the turn under way is finished."""
        self._refusals.is_stopping = True

    def stop_dispatching(self) -> None:
        """The process is about to end: from now on only ``take`` is called, for what comes back."""
        self.ask_to_stop()
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
            self._refusals.wait(error)
            return
        self._refusals.is_refusing = False
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
            if not self._tenure.is_remembered:
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
            self._tenure.renew_epoch()

    def _record(self, changes: Changes) -> None:
        self._outbox.settle(changes.settled, announce=self._deaths is not None)
        self._outbox.note_attempts(changes.failed)
        self._outbox.hand_back(changes.handed_back)

    def _tell_commits(self) -> None:
        self._kafka.note_persisted(self._tenure.assignment, self._intake.commits())

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
        may_dispatch = self.scheduler.epoch is not None and self._database.is_healthy and self._tenure.is_remembered
        if may_dispatch and not self.is_open:
            pending = self._outbox.counts().unsettled
            if pending:
                log_event(logger, logging.INFO, PROCESSING_PENDING.format(count=pending))
        return may_dispatch

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
        if self._refusals.is_refusing:
            pauses.add(Pause.OUTBOX_REFUSES)
        elif self._to_append:
            pauses.add(Pause.OUTBOX_FULL)
        return pauses

    # -------------------------------------------------------------------------------------------------- the events

    def _note(self, event: Event) -> None:
        match event:
            case Fetched():
                if event.assignment == self._tenure.assignment:
                    self._to_append.append(event)
                else:
                    self._kafka.give_back_permit()
            case Settled():
                self._to_settle.extend(event.settlements)
            case Revoked():
                self._tenure.lose(event.assignment)
                for _ in self._to_append:
                    self._kafka.give_back_permit()
                self._to_append.clear()
            case Assigned():
                self._tenure.decide(event)
            case MemoryFound():
                self._tenure.remember(event)
            case Starting():
                self._tenure.begin(event)
            case LogStarts():
                self._database.prune_ledger(self._tenure.prunable(event.offsets))
            case LettersFound():
                self._tenure.take_letters(event)
            case EpochRaised():
                self._tenure.open(event)
            case Told():
                telling = self._discards if event.audience is Audience.LEDGER else self._deaths
                if telling is not None:
                    self._refusals.insist(lambda: telling.told(event.announcement_ids))
            case Lost():
                self.scheduler.send_again(event.batch_ids)

    # --------------------------------------------------------------------------------------------------- the outbox

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
                released = self._refusals.insist(lambda: self._outbox.release_held(letters))
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
