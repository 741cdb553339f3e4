"""An outbox entry made ready for the planner: decoded, validated, with its writeset."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from entities.envelope import decode
from entities.errors import InvalidOperation
from entities.operations import actions_of
from entities.writesets import Writeset, after_failure, invalid_writeset, is_row, writeset
from outbox.records import Entry
from worker.messages import DispatchedOperation, Origin, Verdict
from worker.work import INVALID, named_rows

logger = logging.getLogger(__name__)

#: The kind of a verdict that ingest reaches itself, beside INVALID and DEADLY.
INTERNAL = "internal"

#: What an entry costs in memory beside its bytes, roughly; for the window's limit.
OVERHEAD_BYTES = 2_000


@dataclass(slots=True)
class Verdictable:
    """Why an operation is to be buried instead of applied."""

    error_kind: str
    reason: str


@dataclass(slots=True, eq=False)
class Task:
    """An unsettled operation as ingest works with it. Times are milliseconds since 1970.

    ``entity`` and ``type`` are what its message says, which may be nothing that we know.
    """

    seq: int
    operation: DispatchedOperation
    attempts: int
    next_attempt_at: int
    deaths: int
    error_kind: str = ""
    reason: str = ""
    verdict: Verdictable | None = None
    batch_id: str | None = None
    entity: str | None = None
    type: str | None = None
    produced_at: int = 0
    persisted_at: int = 0

    @property
    def was_replayed(self) -> bool:
        return self.operation.incarnation > 0

    @property
    def origin(self) -> Origin:
        return self.operation.origin

    @property
    def size(self) -> int:
        return len(self.operation.raw) + OVERHEAD_BYTES

    def as_verdict(self) -> Verdict:
        assert self.verdict is not None
        operation = self.operation
        return Verdict(
            operation.origin,
            operation.operation_id,
            operation.incarnation,
            operation.raw,
            self.verdict.error_kind,
            self.verdict.reason,
            self.attempts,
            operation.came_as,
        )


def task_of(entry: Entry, *, names_rows: bool = False) -> tuple[Task, Writeset]:
    """The entry's task and the keys it takes. What cannot be decoded or is invalid carries its verdict.

    Parameters:
      names_rows: Whether an invalid operation takes the rows that its message names, so that others wait behind it.
    """
    operation = DispatchedOperation(
        Origin(entry.topic, entry.generation, entry.partition, entry.offset),
        entry.operation_id,
        entry.incarnation,
        entry.raw,
        entry.came_as or b"",
    )
    task = Task(
        entry.seq,
        operation,
        entry.attempts,
        entry.next_attempt_at or 0,
        entry.deaths,
        entry.error_kind or "",
        entry.reason or "",
        entity=entry.entity,
        type=entry.type,
        produced_at=entry.order_timestamp,
        persisted_at=entry.appended_at,
    )
    envelope = None
    try:
        envelope = decode(entry.raw)
        keys = writeset(entry.operation_id, actions_of(envelope))
    except InvalidOperation as error:
        task.verdict = Verdictable(INVALID, str(error))
    except Exception as error:  # one message, whatever is in it, must not stop all others
        logger.exception("Decoding %s failed in a way it should not", operation)
        task.verdict = Verdictable(INTERNAL, f"decoding failed unexpectedly: {type(error).__name__}")
    else:
        return task, keys
    rows = filter(is_row, named_rows(envelope)) if names_rows and envelope is not None else ()
    return task, invalid_writeset(entry.operation_id, rows)


def held_keys(entry: Entry, keys: Writeset) -> Writeset:
    """Those of its keys that the entry still holds: fewer once it has failed."""
    return after_failure(keys) if entry.attempts else keys
