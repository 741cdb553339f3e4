"""The database as ingest sees it: probes it, raises the epoch when partitions were assigned, and says when the
verdict changes.

The verdict gates dispatch: while the database is unhealthy nothing is sent, so that an outage burns no attempt. The probe
writes, because a read-only or full database answers reads. It does not see what only the application's tables suffer
from; the actors' reports of an outage do (``report_outage``), and the thread then probes before it believes in recovery.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import peewee

from entities import generations, ledger
from entities.database import transaction
from entities.generations import LogGeneration
from outbox.announcements import Announcement, Audience
from worker.events import EpochRaised, Event, LettersFound, MemoryFound, Told, Wake
from worker.failures import FailureKind, classify
from worker.fault_points import Point, reach
from worker.logs import DATABASE_HEALTHY, DATABASE_UNHEALTHY, log_event
from worker.settings import Settings

logger = logging.getLogger(__name__)

#: Dead letters of the ledger handed to the main loop at a time.
LETTERS_IN_A_PORTION = 200

#: Lines of the ledger removed after a probe: 5,000 each ten seconds keep up with five hundred operations a second.
LINES_IN_A_PORTION = 5_000


@dataclass(frozen=True)
class PrunableLog:
    """A partition's log: lines of older generations, or with an offset below ``begin``, cannot be read again."""

    generation: int
    partition: int
    begin: int


class DatabaseMonitor:
    """Probes the database and keeps the verdict. ``run`` is a thread's; ``look`` is one step of it.

    Parameters:
      tell: takes events for the main loop.
      database: the bound one; its connection belongs to the thread.
      outbox_id: names this ingest in the database.
      clock: monotonic seconds.
      now_ms: milliseconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[Event], None],
        database: peewee.Database,
        outbox_id: str,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._database = database
        self._outbox_id = outbox_id
        self._clock = clock
        self._now_ms = now_ms
        self._wake = threading.Event()
        self._stopping = False
        self._may_close = threading.Event()
        self._tables_are_made = False
        self._to_prune: list[PrunableLog] = []
        self._assignment_without_epoch: int | None = None
        self._assignment_without_memory: int | None = None
        self._to_remember: Mapping[int, LogGeneration] = {}
        self._written: dict[int, LogGeneration] = {}
        self._to_discard: Sequence[Announcement] = ()
        self._reported_at = float("-inf")
        self._suspects = False
        self._distrusts = False
        #: The generation that the database is known to remember of each partition.
        self.remembered: Mapping[int, int] = {}
        self.is_healthy = False
        self.is_known = False
        self.last_check_at: float | None = None
        self.healthy_since: float | None = None

    # ------------------------------------------------------------------------------------------ for the main loop

    def report_outage(self) -> None:
        """An actor could not reach the database: the verdict falls at once and a probe follows.

        If the last report is recent, the probe's word alone was not worth much: the next one waits a full interval.
        """
        now = self._clock()
        self._distrusts = now - self._reported_at < 2 * self._settings.db_reconnect_interval_ms / 1000
        self._reported_at = now
        self._judge(False, "an actor could not reach it")
        self._suspects = True
        self._wake.set()

    def want_epoch(self, assignment: int | None) -> None:
        """Have the epoch raised for this assignment, as soon as the database can; None: not any more."""
        self._assignment_without_epoch = assignment
        self._wake.set()

    def prune_ledger(self, logs: Sequence[PrunableLog]) -> None:
        """Have lines of the ledger removed that are past their retention and cannot be read from Kafka again."""
        self._to_prune = list(logs)

    def want_memory(self, assignment: int) -> None:
        """Have a `MemoryFound` told for this assignment, as soon as the database can."""
        self._assignment_without_memory = assignment
        self._wake.set()

    def remember(self, logs: Mapping[int, LogGeneration]) -> None:
        """Have the database remember these logs: at once where a generation is new to it, else with the next probe."""
        self._to_remember = logs
        if any(self.remembered.get(partition) != log.generation for partition, log in logs.items()):
            self._wake.set()

    def tell_ledger(self, discards: Sequence[Announcement]) -> None:
        """Have discarded letters entered in the ledger, as soon as the database can; a `Told` follows."""
        self._to_discard = discards
        self._wake.set()

    def stop(self) -> None:
        """End the monitoring; the connection stays open until ``close``, as the order of the shutdown wants it."""
        self._stopping = True
        self._wake.set()

    def close(self) -> None:
        """Have the thread close its connection and end."""
        self._may_close.set()

    # ------------------------------------------------------------------------------------------------- the thread

    def run(self) -> None:
        while not self._stopping:
            pause_s = self.look()
            if self._stopping:
                break
            self._wake.wait(pause_s)
            self._wake.clear()
        self._may_close.wait()
        if not self._database.is_closed():
            self._database.close()

    def look(self) -> float:
        """Probe the database, unless the last probe was contradicted; then do what waits for it. How long (s) to pause then,
        unless something is wanted sooner."""
        if not (self._suspects and self._distrusts):
            self._suspects = False
            self._check()
        self._distrusts = False
        waits = self._assignment_without_epoch, self._assignment_without_memory
        is_calm = self.is_healthy and waits == (None, None) and not self._to_discard
        interval_ms = self._settings.db_health_check_interval_ms if is_calm else self._settings.db_reconnect_interval_ms
        return interval_ms / 1000

    def _check(self) -> None:
        try:
            self._database.connect(reuse_if_open=True)
            if not self._tables_are_made:
                ledger.create_own_tables()
                self._tables_are_made = True
            ledger.probe(self._outbox_id)
            self._judge(True, "")
            self._do_chores()
        except ledger.MissingTables as error:
            self._lose(str(error))
        except peewee.PeeweeException as error:
            self._lose(classify(error).reason)
        except OSError as error:
            self._lose(f"{type(error).__name__}: {error}")
        except Exception as error:  # the outermost loop of this thread: without it nobody would open the gate again
            logger.exception("Probing the database failed in a way it should not")
            self._lose(type(error).__name__)

    def _do_chores(self) -> None:
        """What waits for a database that is well. Locks that are in the way of a chore are no outage: it waits."""
        try:
            self._tell_memory_if_wanted()
            self._remember_logs()
            self._raise_epoch_if_wanted()
            self._enter_discards()
            self._prune_some()
        except peewee.PeeweeException as error:
            failure = classify(error)
            if failure.kind is not FailureKind.CONTENTION:
                raise
            logger.info("The database is busy (%s): what is wanted of it waits", failure.reason)

    def _tell_memory_if_wanted(self) -> None:
        assignment = self._assignment_without_memory
        if assignment is None:
            return
        logs = generations.generations(self._settings.topic_db_operations)
        if self._assignment_without_memory == assignment:
            self._assignment_without_memory = None
        self._tell(MemoryFound(assignment, logs))

    def _remember_logs(self) -> None:
        news = {partition: log for partition, log in self._to_remember.items() if self._written.get(partition) != log}
        if not news:
            return
        with transaction():
            generations.remember(self._settings.topic_db_operations, news)
        self._written |= news
        before, self.remembered = self.remembered, {p: log.generation for p, log in self._written.items()}
        if before != self.remembered:
            self._tell(Wake())

    def _enter_discards(self) -> None:
        told = self._to_discard
        if not told:
            return
        discards = [
            ledger.Discard(one.topic, one.generation, one.partition, one.offset, one.incarnation, one.reason or "")
            for one in told
        ]
        with transaction():
            ledger.discard(discards)
        reach(Point.DISCARDED)
        self._to_discard = ()
        self._tell(Told(Audience.LEDGER, [one.announcement_id for one in told]))

    def _prune_some(self) -> None:
        """One portion, after a probe that went well: nothing is urgent about it."""
        if not self._to_prune:
            return
        log = self._to_prune[0]
        before_ms = self._now_ms() - self._settings.ledger_retention_days * 86_400_000
        topic = self._settings.topic_db_operations
        with transaction():
            pruned = ledger.prune(topic, log.generation, log.partition, log.begin, before_ms, LINES_IN_A_PORTION)
        if pruned < LINES_IN_A_PORTION:
            self._to_prune.pop(0)

    def _raise_epoch_if_wanted(self) -> None:
        assignment = self._assignment_without_epoch
        if assignment is None:
            return
        epoch = ledger.raise_epoch(self._settings.kafka_group_id, self._outbox_id)
        reach(Point.EPOCH_RAISED)
        portion = []
        for letter in ledger.dead_letters(self._settings.topic_db_operations):
            portion.append(letter)
            if len(portion) >= LETTERS_IN_A_PORTION:
                self._tell(LettersFound(assignment, tuple(portion)))
                portion = []
        self._tell(LettersFound(assignment, tuple(portion)))
        if self._assignment_without_epoch == assignment:
            self._assignment_without_epoch = None
        self._tell(EpochRaised(assignment, epoch))

    def _lose(self, why: str) -> None:
        if not self._database.is_closed():
            self._database.close()
        self._judge(False, why)

    def _judge(self, is_healthy: bool, why: str) -> None:
        self.last_check_at = self._now_ms() / 1000
        if self.is_known and is_healthy == self.is_healthy:
            return
        self.is_known = True
        self.is_healthy = is_healthy
        self.healthy_since = self._clock() if is_healthy else None
        if is_healthy:
            log_event(logger, logging.INFO, DATABASE_HEALTHY)
        else:
            log_event(logger, logging.ERROR, DATABASE_UNHEALTHY, why=why)
        self._tell(Wake())
