"""A transaction's dealings with the ledger: what it says of a batch's operations before they run, what it gets after.

The rules of an operation id stand here: the same content twice is a duplicate and gets the first one's outcome; other content
under the same id is a dead letter, whose line stands under its own id (topic-partition-offset); only a replay, whose incarnation
is higher, may turn a dead letter's line; a discarded one's nobody turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from entities import ledger
from entities.ledger import SettledOperation
from worker.failures import Cause, classify
from worker.messages import Outcome
from worker.work import Work

#: The error kind of an operation whose id belongs to another one.
REUSED = "reused"


class SettledMeanwhile(Exception):
    """Another copy of the batch has settled some of its operations since the ledger was read: begin again."""


class LedgerDesk:
    """The ledger as one transaction sees it; all its works in one question and one answer."""

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self._ids = list(dict.fromkeys(work.id for work in works))
        self._lines: dict[str, SettledOperation] = {}
        self._has_doubts = False

    def answer_settled(self) -> None:
        """Give the operations that the ledger knows their outcomes from there."""
        self._lines = ledger.settled(self._ids)
        for work in self._works:
            line = self._lines.get(work.id)
            if line is not None:
                self._answer(work, line)

    def answer_copy(self, work: Work, first: Work) -> None:
        """Settle an operation whose id one before it in this batch has."""
        if work.content != first.content:
            self._bury_as_reused(work)
        elif first.outcome is Outcome.DEAD and first.incarnation < work.incarnation:
            work.ended(Outcome.HANDED_BACK, "", "the ledger is to say first what became of an earlier run")
        else:
            work.settled_as(first.as_line())

    def look_again(self) -> None:
        """Before a failure is believed: raise `SettledMeanwhile` if the cause may be that another copy was faster.

        "Duplicate key" must not be blamed on an operation's own earlier success. Asks once here and once more in `write`.
        """
        if not self._has_doubts:
            self._has_doubts = True
            self._raise_if_changed()

    def write(self) -> None:
        """Write the lines of what was settled in this transaction."""
        if self._has_doubts:
            self._raise_if_changed()
        due = [work for work in self._works if work.outcome in (Outcome.APPLIED, Outcome.DEAD) and not work.is_recorded]
        try:
            ledger.record([work.as_line() for work in due if not work.replaces_verdict])
        except peewee.IntegrityError as error:
            if classify(error).cause is Cause.DUPLICATE:
                raise SettledMeanwhile from error
            raise
        for work in due:
            if work.replaces_verdict and not ledger.turn(work.as_line()):
                raise SettledMeanwhile

    def _raise_if_changed(self) -> None:
        if ledger.settled(self._ids) != self._lines:
            raise SettledMeanwhile

    def _answer(self, work: Work, line: SettledOperation) -> None:
        if line.content != work.content:
            self._bury_as_reused(work)
        elif line.is_dead and line.incarnation < work.incarnation:
            work.replaces_verdict = True
        else:
            work.settled_as(line)

    def _bury_as_reused(self, work: Work) -> None:
        work.ended(Outcome.DEAD, REUSED, f"operation id {work.id!r} was already used by another operation")
        own_id = work.operation.origin.own_id
        # The second is for an id that somebody chose to look like the own id of another message.
        for line_id in (own_id, f"{own_id}-{work.content.hex()}"):
            line = self._lines.get(line_id) or ledger.settled([line_id]).get(line_id)
            if line is not None and line.content == work.content and line.is_discarded:
                work.settled_as(line)
                return
            if line is None or line.content == work.content:
                work.line_id = line_id
                work.is_recorded = line is not None and line.incarnation >= work.incarnation
                work.replaces_verdict = line is not None and not work.is_recorded
                return
