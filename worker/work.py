"""One operation of a batch on its way through the database: what it asks for, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from entities.cache_value import cache_key
from entities.conversions import Refused, to_int
from entities.envelope import Envelope, content_digest, decode, peek
from entities.errors import InvalidOperation, is_no_name
from entities.ledger import SettledOperation
from entities.operations import Insert, RowAction, actions_of
from entities.writesets import Writeset, invalid_writeset, is_row, writeset
from worker.messages import DispatchedOperation, Outcome, OutcomeLine, Verdict

#: The error kind of an operation that is out of form.
INVALID = "invalid"

#: The error kind of an operation that its workers died with.
DEADLY = "deadly"

#: With these nothing is owed any more.
FINAL = (Outcome.APPLIED, Outcome.DEAD, Outcome.DISCARDED)

#: The most characters of a name from outside that the ledger keeps.
NAME_CHARACTERS = 64


@dataclass(slots=True, eq=False)
class Work:
    """An operation being applied or buried.

    Parameters:
      operation: As it was dispatched; a verdict has the same fields.
      content: Tells whether another operation with this id asks for the same: of what it came as, also after an operator
        has changed it. So its line is its own, and the original, read again from Kafka, finds it.
      invalid_reason: Why it can never be applied; it has no actions then.
      claimed_keys: The cache keys that the message itself names, for the `:pending` keys beside them.

    What became of it: `outcome` is None while that is open. `is_recorded`: the ledger says so already. `replaces_verdict`: its
    line there is a dead letter of a lower incarnation. `line_id`: under which id its line stands.
    """

    operation: DispatchedOperation | Verdict
    entity: str
    type: str
    content: bytes
    actions: tuple[RowAction, ...]
    keys: Writeset
    claimed_keys: tuple[str, ...]
    line_id: str
    invalid_reason: str = ""

    outcome: Outcome | None = None
    is_recorded: bool = False
    replaces_verdict: bool = False
    touched: list[str] = field(default_factory=list)
    attempts: int = 0
    error_kind: str = ""
    reason: str = ""

    @property
    def id(self) -> str:
        return self.operation.operation_id

    @property
    def incarnation(self) -> int:
        return self.operation.incarnation

    @property
    def is_held(self) -> bool:
        """Whether it goes back unsettled, so that what conflicts with it has to go back too."""
        return self.outcome is not None and self.outcome not in FINAL

    @property
    def lane(self) -> Writeset:
        """The rows that a dead letter holds: those it was to write, as far as they can be told."""
        rows = filter(is_row, (*self.keys.exclusive, *self.claimed_keys))
        return Writeset(frozenset(rows), frozenset(), frozenset())

    def applied(self, touched: Iterable[str]) -> None:
        self.outcome = Outcome.APPLIED
        self.touched += touched

    def ended(self, outcome: Outcome, error_kind: str, reason: str) -> None:
        """Not applied: a dead letter, or back to ingest, and why."""
        self.outcome, self.error_kind, self.reason = outcome, error_kind, reason
        self.touched.clear()

    def reopened(self) -> None:
        """What became of it is undone: it is open again."""
        self.outcome, self.error_kind, self.reason = None, "", ""
        self.touched.clear()

    def settled_as(self, line: SettledOperation) -> None:
        """It was settled before: with what the ledger holds."""
        self.is_recorded = True
        if line.is_dead or line.is_discarded:
            self.ended(Outcome.DEAD if line.is_dead else Outcome.DISCARDED, line.error_kind, line.reason)
            self.attempts = line.attempts
        else:
            self.applied(line.touched)

    def as_line(self) -> SettledOperation:
        """Its line for the ledger."""
        origin = self.operation.origin
        is_dead = self.outcome is Outcome.DEAD
        return SettledOperation(
            self.line_id,
            self.content,
            "dead" if is_dead else "applied",
            self.incarnation,
            self.entity,
            self.type,
            tuple(self.touched),
            origin.topic,
            origin.generation,
            origin.partition,
            origin.offset,
            self.attempts if is_dead else 0,
            self.error_kind if is_dead else "",
            self.reason if is_dead else "",
            self.operation.raw if is_dead else None,
        )

    def as_outcome(self) -> OutcomeLine:
        """Its outcome for ingest."""
        assert self.outcome is not None
        operation = self.operation
        return OutcomeLine(
            operation.origin, operation.incarnation, self.outcome, self.attempts, self.error_kind, self.reason
        )


def read(operation: DispatchedOperation | Verdict) -> Work:
    """Decode and check an operation; what is wrong with it is noted, not raised."""
    operation_id = operation.operation_id
    try:
        envelope = decode(operation.raw)
    except InvalidOperation as error:
        return _undecodable(operation, error)
    invalid_reason = ""
    actions: tuple[RowAction, ...] = ()
    keys = invalid_writeset(operation_id)
    try:
        # What killed its workers is not worked out again: whoever buries it is to live.
        if not (isinstance(operation, Verdict) and operation.error_kind == DEADLY):
            actions = actions_of(envelope)
            keys = writeset(operation_id, actions)
    except InvalidOperation as error:
        invalid_reason = str(error)
    return Work(
        operation,
        _storable(envelope.entity),
        _storable(envelope.type),
        operation.came_as or content_digest(envelope),
        actions,
        keys,
        _claimed_by_actions(actions) if actions else named_rows(envelope),
        operation_id,
        invalid_reason,
    )


def content_of(raw: bytes) -> bytes:
    """What tells whether two messages ask for the same: their content, or their bytes where there is none to be read."""
    try:
        return content_digest(decode(raw))
    except InvalidOperation:
        return _raw_digest(raw)


def _raw_digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()


def _storable(name: str) -> str:
    """A name from a message, which may be any text, as the ledger's column takes it; letters of the ledger are shown."""
    if is_no_name(name):
        return ""
    if name.isascii() and len(name) <= NAME_CHARACTERS:
        return name
    return name[:NAME_CHARACTERS].encode(errors="replace").decode()


def _undecodable(operation: DispatchedOperation | Verdict, error: InvalidOperation) -> Work:
    seen = peek(operation.raw)
    return Work(
        operation,
        seen.entity or "",
        seen.type or "",
        operation.came_as or _raw_digest(operation.raw),
        (),
        invalid_writeset(operation.operation_id),
        (),
        operation.operation_id,
        str(error),
    )


def _claimed_by_actions(actions: Iterable[RowAction]) -> tuple[str, ...]:
    ids = ((one.entity.__name__, one.values.get("id") if isinstance(one, Insert) else one.id) for one in actions)
    return tuple(cache_key(entity, row_id) for entity, row_id in ids if row_id is not None)


def named_rows(envelope: Envelope) -> tuple[str, ...]:
    """The cache keys of the rows that an invalid message names, as far as it can be told."""
    data = envelope.data
    records: list[Any] = [data]
    for name in ("records", "updates"):
        if isinstance(data.get(name), list):
            records += data[name]
    ids = (record.get("id") for record in records if isinstance(record, dict))
    entity = _storable(envelope.entity)
    return tuple(cache_key(entity, row_id) for row_id in map(_row_id, ids) if row_id is not None)


def _row_id(value: Any) -> int | None:
    """The id as a valid operation's is read: 7, 7.0 or "7"; None if it is none."""
    try:
        return to_int(value, lowest=1)
    except Refused:
        return None
