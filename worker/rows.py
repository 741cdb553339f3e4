"""Runs operations that do not conflict as few statements as may be, and finds the one that is at fault when one fails.

A failed statement leaves nothing behind, in InnoDB as in SQLite, while the transaction goes on. So a merged statement that
fails is split in halves inside the transaction until the culprit stands alone, and its error is then its own: 2·log2 N
statements for one culprit among N operations, and no further transaction. An outage, and a deadlock that has undone the
whole transaction, are not an operation's and are raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import peewee

from entities import database, ledger, statements
from entities.cache_value import cache_key
from entities.cascade import lock_cascade
from entities.operations import Delete, Insert, RowAction, Update
from worker.failures import Failure, FailureKind, classify
from worker.messages import Outcome
from worker.portions import Numbered, bytes_at_most, groups_of, hot_rows_apart, portions_of, runs_of, weight
from worker.reasons import explain, not_found, too_big
from worker.work import Work

#: How a record of a bulk operation is named: as in the message.
_LIST_NAMES = {Insert: "records", Update: "updates", Delete: "rows"}


class RowRunner:
    """Runs operations inside an open transaction and notes in each what became of it.

    Parameters:
      is_alone: Whether a failure that an earlier operation might mend counts as an attempt (see `worker.apply.apply_batch`).
      look_again: Called before a failure is believed; raises if it may be the doing of another copy of this batch.
      stops_at_failure: Whether `Failed` is raised at the first failure, with operations half done, instead of looking for the
        one at fault.
    """

    def __init__(self, is_alone: bool, look_again: Callable[[], None], *, stops_at_failure: bool = False) -> None:
        self._is_alone = is_alone
        self._look_again = look_again
        self._stops_at_failure = stops_at_failure
        self._facts = database.facts()

    def run(self, works: Sequence[Work]) -> None:
        """Run operations of which no two conflict, or whose order one statement keeps (`worker.claims`).

        Raises Peewee's errors for an outage or a deadlock.
        """
        for work in works:
            if not work.actions:
                work.applied(())  # an empty bulk operation
            else:
                self._refuse_if_too_big(work)
        groups, apart = groups_of([work for work in works if work.outcome is None], self._facts)
        for group in groups:
            for members in hot_rows_apart(group):
                for portion in portions_of(members, self._facts):
                    self._run_merged(portion)
        for work in apart:
            self._run_apart(work)

    def _run_merged(self, works: Sequence[Work]) -> None:
        if any(len(work.actions) > 1 for work in works):
            works = self._without_missing_rows(works)
        actions = [action for work in works for action in work.actions]
        if not actions:
            return
        try:
            touched = _execute(actions)
        except peewee.PeeweeException as error:
            failure = _own_failure(error)
        else:
            self._note(works, touched)
            return
        # Outside of the handler: an error of what follows must not have this one in its chain.
        if self._stops_at_failure:
            raise Failed
        self._look_again()
        if len(works) > 1:
            half = len(works) // 2
            self._run_merged(works[:half])
            self._run_merged(works[half:])
        elif len(actions) > 1:
            self._run_apart(works[0])  # to tell which record it was
        else:
            self._fail(works[0], failure, actions[0])

    def _note(self, works: Sequence[Work], touched: Sequence[list[str] | None]) -> None:
        keys_of_next = iter(touched)
        for work in works:
            for action in work.actions:
                keys = next(keys_of_next)
                if keys is None:
                    self._fail(work, not_found(action), action)
                else:
                    work.applied(keys)

    def _without_missing_rows(self, works: Sequence[Work]) -> list[Work]:
        """The works less those that update rows which are not there: they fail before anything of them is done."""
        first = works[0].actions[0]
        if not isinstance(first, Update):
            return list(works)
        updates = [(work, number, action) for work in works for number, action in enumerate(work.actions)]
        there = statements.lock_rows(first.entity, [_id_of(action) for _, _, action in updates])
        for work, number, action in updates:
            if work.outcome is None and _id_of(action) not in there:
                self._fail(work, not_found(action), action, number)
        return [work for work in works if work.outcome is None]

    def _run_apart(self, work: Work) -> None:
        """Run an operation by itself: all of it or nothing."""
        try:
            with database.savepoint():
                keys = self._run_records(work.actions)
                if sum(map(len, keys)) + 3 * len(keys) > self._facts.max_statement_bytes // 2:
                    # Its line in the ledger could not be written.
                    raise _RecordFailed(
                        too_big(sum(map(len, keys)), self._facts.max_statement_bytes), 0, work.actions[0]
                    )
        except _RecordFailed as failed:
            fault = failed
        else:
            work.applied(keys)
            return
        self._fail(work, fault.failure, fault.action, fault.number)

    def _run_records(self, actions: Sequence[RowAction]) -> list[str]:
        """Run the actions of one operation in order; the keys of the rows touched. Raises `_RecordFailed`."""
        return [key for run in runs_of(actions, self._facts) for key in _run_or_find_fault(run)]

    def _refuse_if_too_big(self, work: Work) -> None:
        limit = self._facts.max_statement_bytes
        if bytes_at_most(work) <= limit:
            return
        for number, action in enumerate(work.actions):
            if weight(action) > limit:
                self._fail(work, too_big(weight(action), limit), action, number)
                return

    def _fail(self, work: Work, failure: Failure, action: RowAction, number: int = 0) -> None:
        if self._stops_at_failure:
            raise Failed
        self._look_again()
        if failure.kind is FailureKind.UNEXPECTED:
            ledger.ask_to_write()  # where no write is taken at all, that is an outage, whatever number the server has for it
        record = f"{_LIST_NAMES[type(action)]}[{number}]" if len(work.actions) > 1 else ""
        reason = explain(failure, action, record)
        if failure.kind is FailureKind.REFUSED:
            work.ended(Outcome.DEAD, failure.kind.value, reason)
            work.attempts = 1
        elif failure.kind is FailureKind.ORDER and not self._is_alone:
            work.ended(Outcome.WAITS, failure.kind.value, reason)
        else:
            work.ended(Outcome.FAILED, failure.kind.value, reason)


class Failed(Exception):
    """An operation failed, and it was not looked for which. What was run is to be undone."""


class _RecordFailed(Exception):
    """One row of a bulk operation failed, and so the operation."""

    def __init__(self, failure: Failure, number: int, action: RowAction) -> None:
        super().__init__()
        self.failure, self.number, self.action = failure, number, action


def _execute(actions: Sequence[RowAction]) -> list[list[str] | None]:
    """Run actions of one shape as one statement, beside those that lock.

    For each the cache keys of the rows that it touched; None for an UPDATE whose row is not there.
    """
    first = actions[0]
    entity, name = first.entity, first.entity.__name__
    if isinstance(first, Insert):
        rows = [tuple(action.values.values()) for action in actions if isinstance(action, Insert)]
        ids = statements.insert_rows(entity, tuple(first.values), rows)
        return [[cache_key(name, row_id)] for row_id in ids]
    if isinstance(first, Update):
        changes = [(action.id, action.values) for action in actions if isinstance(action, Update)]
        row_ids = {row_id for row_id, _ in changes}
        changed = statements.update_rows(entity, changes)
        there = row_ids if changed == len(row_ids) else statements.lock_rows(entity, sorted(row_ids))
        if len(there) > changed:  # one has come since the UPDATE, by others: what is there is to be changed too
            statements.update_rows(entity, [(row_id, values) for row_id, values in changes if row_id in there])
        return [[cache_key(name, row_id)] if row_id in there else None for row_id, _ in changes]
    doomed = lock_cascade(entity, [action.id for action in actions if isinstance(action, Delete)])
    statements.delete_rows(entity, doomed)
    return list(doomed.values())


def _run_or_find_fault(run: Sequence[Numbered]) -> list[str]:
    """Run records of one shape as one statement, and if it fails by halves up to the first that is at fault."""
    try:
        touched = _execute([action for _, action in run])
    except peewee.PeeweeException as error:
        failure = _own_failure(error)
    else:
        for (number, action), keys in zip(run, touched, strict=True):
            if keys is None:
                raise _RecordFailed(not_found(action), number, action)
        return [key for keys in touched for key in keys or ()]
    if len(run) == 1:
        raise _RecordFailed(failure, *run[0])
    half = len(run) // 2
    return _run_or_find_fault(run[:half]) + _run_or_find_fault(run[half:])


def _own_failure(error: peewee.PeeweeException) -> Failure:
    """The failure of a statement, if the transaction goes on after it; else the error is raised again."""
    failure = classify(error)
    if failure.ends_transaction:
        raise error
    return failure


def _id_of(action: RowAction) -> int:
    assert not isinstance(action, Insert)
    return action.id
