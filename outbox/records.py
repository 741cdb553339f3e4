"""What travels in and out of the outbox: small frozen structs, no rows and no dicts.

Times are milliseconds since 1970. ``seq`` is the place in the order; it changes when a dead letter is replayed.
``entry_id`` is the seq an entry began with: it stays, and is what operators see and type.
"""

from __future__ import annotations

import msgspec

from outbox.states import State

#: Kafka's own sign for "no timestamp"; imported letters carry it.
NO_TIMESTAMP = -1


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of Kafka as it is appended. ``value_hash``: 8 bytes that tell its value from another's."""

    topic: str
    generation: int
    partition: int
    offset: int
    kafka_timestamp: int
    order_timestamp: int
    value_hash: bytes
    operation_id: str
    entity: str | None
    type: str | None
    raw: bytes

    def __repr__(self) -> str:
        return f"NewRecord({self.topic}-{self.partition}-{self.offset} g{self.generation}, {len(self.raw)} bytes)"


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where the outbox stands in a partition: the next offset to read, and how to recognise the last record it has.

    ``last_*`` are None until a record of this generation was appended; a topic made anew is noticed by them.
    """

    topic: str
    partition: int
    generation: int
    next_offset: int
    last_offset: int | None = None
    last_timestamp: int | None = None
    last_hash: bytes | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An operation in the outbox, whole. ``deaths`` counts the workers that died with its batch.

    ``came_as`` is None while ``raw`` is what came from Kafka. Once an operator has changed it, it tells what the
    operation asked for when it came, in the words of whoever compares operations (a digest; the outbox only keeps it).
    ``held_by`` is the seq of the dead letter that a held one waits behind.
    """

    seq: int
    entry_id: int
    topic: str
    generation: int
    partition: int
    offset: int
    kafka_timestamp: int
    order_timestamp: int
    value_hash: bytes
    operation_id: str
    entity: str | None
    type: str | None
    raw: bytes
    state: State
    incarnation: int
    attempts: int
    waits_wider: bool
    goes_alone: bool
    deaths: int
    next_attempt_at: int | None
    error_kind: str | None
    reason: str | None
    appended_at: int
    changed_at: int
    came_as: bytes | None = None
    held_by: int | None = None

    def __repr__(self) -> str:
        return (
            f"Entry({self.entry_id} at {self.seq}, {self.topic}-{self.partition}-{self.offset} g{self.generation}, "
            f"{self.state.label}, incarnation {self.incarnation}, {len(self.raw)} bytes)"
        )


class Settled(msgspec.Struct, frozen=True):
    """A final outcome: ``state`` is applied, dead or discarded; the latter two say their kind and reason."""

    seq: int
    incarnation: int
    state: State
    attempts: int = 0
    error_kind: str | None = None
    reason: str | None = None


class FailedAttempt(msgspec.Struct, frozen=True):
    """Attempt number ``attempts`` of an entry failed; Dramatiq tries again at ``next_attempt_at`` (None: not known)."""

    seq: int
    incarnation: int
    attempts: int
    error_kind: str
    reason: str
    next_attempt_at: int | None = None
    goes_alone: bool = False


class HandedBack(msgspec.Struct, frozen=True):
    """A dispatched entry returns to pending, with its attempts as they are.

    ``waits_wider`` and ``goes_alone`` set the flag; False leaves it as it is. ``deaths`` None leaves the count,
    ``next_attempt_at`` None the time before which it is not run again.
    With an ``error_kind`` the history keeps a line; without one it was routine (a conflict, a restart).
    """

    seq: int
    incarnation: int
    waits_wider: bool = False
    goes_alone: bool = False
    deaths: int | None = None
    error_kind: str | None = None
    why: str | None = None
    next_attempt_at: int | None = None


class ImportedLetter(msgspec.Struct, frozen=True):
    """A dead letter as the database's ledger or an export holds it, for an outbox that does not know it."""

    topic: str
    generation: int
    partition: int
    offset: int
    operation_id: str
    entity: str | None
    type: str | None
    raw: bytes
    incarnation: int
    attempts: int
    error_kind: str
    reason: str
    settled_at: int
    came_as: bytes | None = None

    def __repr__(self) -> str:
        return f"ImportedLetter({self.topic}-{self.partition}-{self.offset} g{self.generation}, {len(self.raw)} bytes)"


class Counts(msgspec.Struct, frozen=True):
    """How many entries are in each state. Archived entries are not among them."""

    pending: int
    dispatched: int
    applied: int
    dead: int
    discarded: int
    held: int = 0

    @property
    def unsettled(self) -> int:
        return self.pending + self.dispatched + self.held

    @property
    def total(self) -> int:
        return self.unsettled + self.applied + self.dead + self.discarded

    def of(self, state: State) -> int:
        count: int = getattr(self, state.label)
        return count


class HistoryLine(msgspec.Struct, frozen=True):
    """A change worth remembering. ``who`` is None where the service itself made it."""

    at: int
    from_state: State
    to_state: State
    incarnation: int
    attempts: int
    kind: str | None
    why: str | None
    who: str | None


class DeskResult(msgspec.Struct, frozen=True):
    """What became of one id that was to be replayed or discarded.

    ``state``: where the entry stands now, None if there is none of this id. ``is_done`` False: it was not dead, so
    nothing was changed. ``seq``: its place in the order now.
    """

    entry_id: int
    is_done: bool
    state: State | None = None
    seq: int | None = None
    incarnation: int | None = None


class EntryFilter(msgspec.Struct, frozen=True):
    """Which entries to list: all that match every condition given.

    ``changed_from`` and ``changed_before`` bound the time of the last change (of a dead letter: when it died), in ms.
    """

    state: State | None = None
    entity: str | None = None
    type: str | None = None
    operation_id: str | None = None
    error_kind: str | None = None
    changed_from: int | None = None
    changed_before: int | None = None


class PayloadEdit(msgspec.Struct, frozen=True):
    """An operator changed an entry's payload; ``raw_before`` is what stood there until then."""

    at: int
    who: str
    why: str
    raw_before: bytes

    def __repr__(self) -> str:
        return f"PayloadEdit(at {self.at} by {self.who}, {len(self.raw_before)} bytes before)"


class DeskAction(msgspec.Struct, frozen=True):
    """A line of the audit: who did what to which letters and why; how many it changed and how many it could not."""

    at: int
    who: str
    action: str
    why: str
    chosen: str
    changed: int
    refused: int
