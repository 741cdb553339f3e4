"""The partitions that are ours: taking them over, being the group's active ingest, and losing them.

An assignment goes this way: where to read from is decided (with the database's memory, where Kafka's commits do not tell),
the outbox is made ready, the database raises our epoch and tells the dead letters that this outbox does not know; only then
may anything be sent. Part of the main loop's turns, which alone touch the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from entities.generations import LogGeneration
from outbox.store import Outbox
from worker.assignment import needs_memory
from worker.events import Assigned, EpochRaised, LettersFound, MemoryFound, Starting
from worker.fault_points import Point, reach
from worker.health import PrunableLog
from worker.intake import Intake
from worker.letters import for_the_outbox
from worker.ports import DatabasePort
from worker.refusals import Refusals
from worker.scheduler import Scheduler
from worker.telling import Telling

logger = logging.getLogger(__name__)


class Tenure:
    """Our time with the partitions. ``assignment`` is its number: what belongs to an earlier one counts no more.

    Parameters:
      deaths: tells of dead letters; None where nobody wants to know.
      now_ms: milliseconds since 1970.
    """

    def __init__(
        self,
        outbox: Outbox,
        intake: Intake,
        scheduler: Scheduler,
        database: DatabasePort,
        deaths: Telling | None,
        refusals: Refusals,
        now_ms: Callable[[], int],
    ) -> None:
        self._outbox = outbox
        self._intake = intake
        self._scheduler = scheduler
        self._database = database
        self._deaths = deaths
        self._refusals = refusals
        self._now_ms = now_ms
        self._undecided: Assigned | None = None
        self.assignment = 0

    @property
    def is_active(self) -> bool:
        """Whether the partitions are ours."""
        return bool(self._intake.partitions)

    # ------------------------------------------------------------------------------------------------- the events

    def lose(self, assignment: int) -> None:
        """The partitions are no longer ours; the next time has this number."""
        if self._intake.partitions:
            logger.info("The partitions are no longer ours: dispatch stops")
        self.assignment = assignment
        self._undecided = None
        self._database.want_epoch(None)
        self._database.remember({})
        self._scheduler.forget()
        self._intake.lose()

    def decide(self, event: Assigned) -> None:
        """Answer where to read from; where the group's commits do not tell, once the database has said what it remembers.

        A topic that is deleted takes its commits with it. Without an outbox or a commit that knows the log, a topic made anew
        would be taken for the old one, and its operations for settled ones.
        """
        if any(needs_memory(commit) for commit in event.commits.values()):
            logger.info(
                "The group has no commit of ours for some partitions: asking the database what it knows of them"
            )
            self._undecided = event
            self._database.want_memory(self.assignment)
        else:
            self._answer(event, {})

    def remember(self, event: MemoryFound) -> None:
        """The database has said what it remembers of the logs: now it can be decided."""
        if event.assignment == self.assignment and self._undecided is not None:
            self._answer(self._undecided, event.logs)

    def _answer(self, event: Assigned, memory: Mapping[int, LogGeneration]) -> None:
        self._undecided = None
        event.answer.set_result(self._intake.decide(event.commits, event.ranges, memory))

    def begin(self, event: Starting) -> None:
        """Make the outbox ready for the records to come, and ask the database for our epoch."""
        self._refusals.insist(lambda: self._intake.begin(event.starts))
        if self._refusals.is_stopping:
            return  # it may not have come to it; nothing is read, and the next process begins anew
        reach(Point.BEGINNING)
        self._refusals.insist(self._outbox.release_held)  # what is to be held still is found again
        released = self._refusals.insist(self._outbox.release_dispatched)
        if released:
            logger.info("%d operations that were in flight are dispatched again", released)
        self._scheduler.forget()
        self._database.remember(self._intake.logs())  # dispatch waits for it, and may have no new record to wait with
        self._database.want_epoch(self.assignment)
        event.answer.set_result(None)

    def open(self, event: EpochRaised) -> None:
        """The database knows us as the active ingest."""
        if event.assignment == self.assignment:
            logger.info("Epoch %d: this ingest is the active one", event.epoch)
            self._scheduler.open(event.epoch)

    def renew_epoch(self) -> None:
        """Another ingest raised the epoch. If the partitions are still ours, it is the one that is late: raise it again."""
        logger.warning("Another ingest has become active meanwhile: asking the database for a new epoch")
        self._refusals.insist(self._outbox.release_dispatched)
        self._refusals.insist(self._outbox.release_held)
        self._scheduler.forget()
        self._database.want_epoch(self.assignment)

    @property
    def is_remembered(self) -> bool:
        """Whether the database can tell today's logs from a topic made anew, should this host and the topic be lost."""
        remembered = self._database.remembered
        return all(remembered.get(partition) == log.generation for partition, log in self._intake.logs().items())

    def prunable(self, log_starts: Mapping[int, int]) -> list[PrunableLog]:
        """What the ledger need not keep, by the first offsets that Kafka still holds: what will neither be read nor run again."""
        needed = self._intake.first_needed(log_starts)
        return [PrunableLog(generation, partition, offset) for partition, (generation, offset) in needed.items()]

    def take_letters(self, event: LettersFound) -> None:
        """Take in the dead letters of the ledger that this outbox does not know."""
        letters = [for_the_outbox(letter, self._now_ms()) for letter in event.letters]
        imported = self._refusals.insist(lambda: self._outbox.import_dead(letters, announce=self._deaths is not None))
        reach(Point.IMPORTED)
        if imported:
            if self._deaths is not None:
                self._deaths.note()
            logger.info("%d dead letters taken over from the database's ledger", imported)
