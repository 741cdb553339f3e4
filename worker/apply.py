"""Applies a batch: one transaction for its rows and for its lines in the ledger, whatever single operations do.

`apply_batch` is the way of a batch through the database, `bury_verdicts` that of dead letters that others have decided. An
operation that fails does not undo its neighbours: it is found inside the transaction, by parts of the batch behind a savepoint
(`worker.batch_run`) and by halves of the statement that failed (`worker.rows`). So poison costs some statements and no second
transaction, and what was not at fault commits.
Only what undoes a transaction anyway makes it begin again: a deadlock, or another copy of the batch that was faster. Not here:
Kafka, Redis, the outbox, and the retries.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import peewee

from entities import database, ledger
from entities.operations import Insert
from worker.batch_run import BatchRun
from worker.failures import Cause, Failure, FailureKind, classify
from worker.fault_points import Point, reach
from worker.ledger_desk import LedgerDesk, SettledMeanwhile
from worker.messages import Batch, DispatchedOperation, Outcome, OutcomeLine, Verdict, Verdicts
from worker.work import Work, read

#: How often a transaction that others have undone is begun again at once.
RETRIES_AT_ONCE = 5

#: The longest wait before each of them, in seconds: the others are to be first.
RETRY_WAIT_S = 0.05


class DatabaseUnavailable(Exception):
    """The database is out, refuses us or stores nothing. Nothing was done, or (at COMMIT) it is not known whether it was."""


class Fenced(Exception):
    """Another ingest has taken over since the message was sent: nothing was done."""


@dataclass(frozen=True)
class BatchResult:
    """What a committed transaction has done.

    Parameters:
      outcomes: One for each operation, in the batch's order.
      touched_keys: The cache keys of all rows that were changed, by cascade too; also those that an earlier run of an
        operation changed, since it may have died before the cache was told.
      touched_entities: The entities whose lists in the cache are stale.
      settled_keys: The cache keys that settled operations named, each with its operation's id: for the keys `…:pending`.
    """

    outcomes: tuple[OutcomeLine, ...]
    touched_keys: tuple[str, ...]
    touched_entities: tuple[str, ...]
    settled_keys: tuple[tuple[str, str], ...]


def apply_batch(batch: Batch, *, is_alone: bool = False) -> BatchResult:
    """Apply the operations of a batch, each once, as if one after the other.

    Parameters:
      is_alone: The batch is one operation that ingest sent by itself because it had failed: nothing that is still to come can
        mend it, so whatever fails is FAILED. Else a failure that an earlier operation may mend WAITS. Locks of others are no
        failure in either case: HANDED_BACK, with the kind `contention`.

    Raises `Fenced` or `DatabaseUnavailable`; neither burns an attempt.
    """
    works, failure = _committed(batch.operations, lambda works: _apply(batch, works, is_alone))
    if failure is None:
        return _result_of(works)
    if failure.kind is FailureKind.CONTENTION:
        is_its_own = is_alone and failure.cause is not Cause.LOCKED
        return _result_of(_all_ended(works, Outcome.FAILED if is_its_own else Outcome.HANDED_BACK, failure))
    # A packet that was too big after all (the limit was lowered under us) has undone the transaction without telling whose
    # it was: each goes alone, and alone it is a dead letter.
    if len(works) > 1:
        return _result_of(_all_ended(works, Outcome.FAILED, failure))
    (one,) = batch.operations
    verdict = Verdict(
        one.origin, one.operation_id, one.incarnation, one.raw, failure.kind.value, failure.reason, 1, one.came_as
    )
    return bury_verdicts(Verdicts(batch.batch_id, batch.outbox_id, batch.consumer_group, batch.epoch, (verdict,)))


def bury_verdicts(verdicts: Verdicts) -> BatchResult:
    """Write verdicts into the ledger, unless their operation was applied meanwhile: it is APPLIED then.

    A verdict on a lower incarnation than the ledger's changes nothing. Raises as `apply_batch` does.
    """
    works, failure = _committed(verdicts.verdicts, lambda works: _bury(verdicts, works))
    if failure is None:
        return _result_of(works)
    if failure.kind is FailureKind.CONTENTION:  # another copy of the operation is in the way: later
        return _result_of(_all_ended(works, Outcome.HANDED_BACK, failure))
    raise DatabaseUnavailable(failure.reason)


# ------------------------------------------------------------------------------------------------- in the transaction


def _apply(batch: Batch, works: Sequence[Work], is_alone: bool) -> None:
    _stop_if_fenced(batch)
    reach(Point.FENCE_PASSED)
    apply_works(works, is_alone, batch.holds_lanes)


def apply_works(works: Sequence[Work], is_alone: bool, holds_lanes: bool = False) -> None:
    """What a transaction does with operations, once it is known that it may: rows, and lines in the ledger.

    For `apply_batch` and for who only wants to see what would become of them (`worker.rehearsal`), and rolls it back.
    """
    desk = LedgerDesk(works)
    desk.answer_settled()
    BatchRun(desk, is_alone, holds_lanes).run(works)
    reach(Point.ROWS_WRITTEN)
    desk.write()
    reach(Point.LINES_WRITTEN)


def _bury(verdicts: Verdicts, works: Sequence[Work]) -> None:
    _stop_if_fenced(verdicts)
    desk = LedgerDesk(works)
    desk.answer_settled()
    settled_here: dict[str, Work] = {}
    for work, verdict in zip(works, verdicts.verdicts, strict=True):
        if work.outcome is not None:
            continue
        if work.id in settled_here:
            desk.answer_copy(work, settled_here[work.id])
            continue
        work.ended(Outcome.DEAD, verdict.error_kind, verdict.reason)
        work.attempts = verdict.attempts
        settled_here[work.id] = work
    desk.write()


def _stop_if_fenced(message: Batch | Verdicts) -> None:
    current_epoch = ledger.epoch_for_share(message.consumer_group)
    if current_epoch > message.epoch:
        raise Fenced(f"epoch {message.epoch}, the group {message.consumer_group} is at {current_epoch}")


# --------------------------------------------------------------------------------------------------------- around it


def _committed(
    operations: Sequence[DispatchedOperation | Verdict], steps: Callable[[Sequence[Work]], None]
) -> tuple[Sequence[Work], Failure | None]:
    """Read the operations and run the steps on them in one transaction; again, a few times, where others have undone it.

    Gives the works, and why they are not committed if they are not.
    """
    failure = None
    for _ in range(1 + RETRIES_AT_ONCE):
        if failure is not None:
            time.sleep(random.uniform(0, RETRY_WAIT_S))
        works = [read(operation) for operation in operations]
        try:
            with database.transaction():
                steps(works)
            return works, None
        except SettledMeanwhile:
            failure = Failure(FailureKind.CONTENTION, Cause.LOCKED, 0, "", "settled by other copies at the same time")
        except peewee.PeeweeException as error:
            failure = classify(error)
            if failure.kind is FailureKind.CONTENTION:
                continue
            database.close()
            if failure.cause is Cause.TOO_BIG:
                break
            # Errors of single operations do not come here: what is left concerns the ledger, and stops everything.
            raise DatabaseUnavailable(failure.reason) from error
    return works, failure


def _all_ended(works: Sequence[Work], outcome: Outcome, failure: Failure) -> Sequence[Work]:
    for work in works:
        work.ended(outcome, failure.kind.value, failure.reason)
    return works


def _result_of(works: Sequence[Work]) -> BatchResult:
    touched = dict.fromkeys(key for work in works for key in work.touched)
    return BatchResult(
        outcomes=tuple(work.as_outcome() for work in works),
        touched_keys=tuple(touched),
        touched_entities=tuple(sorted({key.rpartition(":")[0] for key in touched})),
        settled_keys=tuple((key, work.id) for work in works for key in _named_keys(work)),
    )


def _named_keys(work: Work) -> Iterable[str]:
    """The keys of the rows that a settled operation named or created: the application may have noted it as pending there."""
    if work.is_held or work.id == work.operation.origin.own_id:
        return ()
    if any(isinstance(action, Insert) for action in work.actions):
        return dict.fromkeys([*work.claimed_keys, *work.touched])
    return work.claimed_keys
