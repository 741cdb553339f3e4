"""What would become of operations if they were applied now: they are, by the production code, and all of it is rolled back.

Each operation sees what those before it in the same portion have done, as it would if they ran in this order. A portion is
one transaction: it holds its row locks for that long, and waits for nobody else's longer than the connection is told to.
A rolled-back INSERT leaves a gap in the generated ids, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import peewee

from entities import database
from worker.apply import DatabaseUnavailable, apply_works
from worker.failures import FailureKind, classify
from worker.ledger_desk import SettledMeanwhile
from worker.messages import DispatchedOperation, Outcome
from worker.work import Work, read

#: Operations of one transaction: row locks are held for some tens of milliseconds.
OPERATIONS_A_TRANSACTION = 50


@dataclass(frozen=True)
class Rehearsed:
    """What would become of one operation.

    Parameters:
      outcome: APPLIED; DEAD for what no retry can mend; FAILED for what would be retried first.
      is_duplicate: The ledger has settled it already: nothing would be done.
      touched: The rows it would change, `User:3`; the first of a CREATE without an id is a made-up number.
    """

    operation: DispatchedOperation
    outcome: Outcome
    error_kind: str
    reason: str
    is_duplicate: bool
    touched: tuple[str, ...]


class _RolledBack(Exception):
    """Ends the transaction of a rehearsal."""


def rehearse(operations: Sequence[DispatchedOperation]) -> Iterator[Rehearsed]:
    """Try these operations in this order, a portion at a time, and undo it.

    Raises `DatabaseUnavailable` if the database cannot be reached, or does not let it happen (locks).
    """
    for start in range(0, len(operations), OPERATIONS_A_TRANSACTION):
        works = [read(operation) for operation in operations[start : start + OPERATIONS_A_TRANSACTION]]
        try:
            with database.transaction():
                for work in works:
                    apply_works([work], is_alone=True)
                raise _RolledBack
        except _RolledBack:
            pass
        except SettledMeanwhile:
            raise DatabaseUnavailable("the actors are settling these operations at this moment") from None
        except peewee.PeeweeException as error:
            failure = classify(error)
            if failure.kind is not FailureKind.CONTENTION:
                database.close()
            raise DatabaseUnavailable(failure.reason) from error
        yield from map(_rehearsed, works)


def _rehearsed(work: Work) -> Rehearsed:
    operation = work.operation
    assert isinstance(operation, DispatchedOperation) and work.outcome is not None
    return Rehearsed(operation, work.outcome, work.error_kind, work.reason, work.is_recorded, tuple(work.touched))
