"""Why an operation has not been applied yet: what it waits for, which key they share, which attempt, and when next.

Computed as the planner does it, with the same keys (``worker.tasks.task_of``) and the same rule
(``entities.writesets.conflicts``) over the earlier unsettled entries, read from the file in pages. Whether the gate is
open is taken from ingest's note.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from entities.writesets import Writeset, conflicts
from outbox import Entry, EntryFilter, Outbox, State
from worker.ingest_note import IngestNote
from worker.tasks import held_keys, task_of

#: Entries read at a time, and the bytes of their payloads at most.
PAGE, PAGE_BYTES = 500, 16_000_000

#: How many earlier operations are looked at, at most; some 40,000 a second.
MOST_EARLIER = 200_000

#: How many of those it waits for are told one by one, and how long a chain is followed.
TOLD_BLOCKERS, TOLD_LINKS = 10, 8


class Why(StrEnum):
    """Why an entry stands where it stands."""

    SETTLED = "settled"
    #: Only an operator moves it.
    DEAD = "dead"
    #: Behind a dead letter on its row, which an operator is to replay or discard.
    HELD = "held"
    #: Rides in a message: the actors have it.
    UNDER_WAY = "under way"
    #: Failed; Dramatiq holds it until its next attempt.
    RETRIES = "retries"
    #: Earlier operations come first.
    BLOCKED = "blocked"
    #: Nothing in the order is before it, but nothing is sent at all.
    PAUSED = "paused"
    #: So many wait before it that it is not planned yet.
    BEYOND_WINDOW = "beyond the window"
    #: It may go at any moment.
    NEXT = "next"


class Blocker(msgspec.Struct, frozen=True):
    """An earlier operation that comes first. ``keys`` are those both want; empty: it waits wider, for the entity."""

    entry_id: int
    seq: int
    operation_id: str
    type: str | None
    entity: str | None
    state: State
    keys: tuple[str, ...]
    attempts: int
    next_attempt_at: int | None
    error_kind: str | None
    reason: str | None


class Waiting(msgspec.Struct, frozen=True):
    """The answer.

    Parameters:
      blockers: The first of those that come before it, in order; ``blocked_by`` counts all.
      chain: What the first of them waits for in turn, and so on: the last one is what everything hangs on.
      earlier: How many unsettled operations stand before it; ``is_cut``: there are more than were looked at.
      paused_because: From ingest's note.
    """

    entry: Entry
    why: Why
    blocked_by: int = 0
    blockers: tuple[Blocker, ...] = ()
    chain: tuple[Blocker, ...] = ()
    earlier: int = 0
    is_cut: bool = False
    paused_because: tuple[str, ...] = ()


def why(outbox: Outbox, entry: Entry, note: IngestNote, most: int = MOST_EARLIER) -> Waiting:
    """Why this entry stands where it stands.

    Parameters:
      note: Ingest's word: why nothing is sent at all, and how many are planned together.
      most: How many earlier operations to look at.
    """
    paused_because = note.paused_because
    if entry.state.is_settled:
        return Waiting(entry, Why.DEAD if entry.state == State.DEAD else Why.SETTLED)
    if entry.state == State.HELD:
        letter = outbox.entries(EntryFilter(), (entry.held_by or 1) - 1, 1)
        keys = _keys(outbox, entry)
        holders = tuple(
            _blocker(one, _what_holds(outbox, entry, keys, one) or ()) for one in letter if one.seq == entry.held_by
        )
        return Waiting(entry, Why.HELD, len(holders), holders, paused_because=paused_because)
    if entry.state == State.DISPATCHED:
        return Waiting(entry, Why.RETRIES if entry.attempts else Why.UNDER_WAY, paused_because=paused_because)
    blockers, blocked_by, earlier, is_cut = _blockers(outbox, entry, most)
    if blockers:
        chain = _chain(outbox, blockers[0], most)
        return Waiting(entry, Why.BLOCKED, blocked_by, tuple(blockers), chain, earlier, is_cut, paused_because)
    reason = Why.PAUSED if paused_because else Why.BEYOND_WINDOW if note.window and earlier >= note.window else Why.NEXT
    if entry.attempts and entry.next_attempt_at is not None and not paused_because:
        reason = Why.RETRIES
    return Waiting(entry, reason, earlier=earlier, is_cut=is_cut, paused_because=paused_because)


def _blockers(outbox: Outbox, entry: Entry, most: int) -> tuple[list[Blocker], int, int, bool]:
    """The first that come before it; how many do; how many earlier ones there are; whether there are more than ``most``."""
    keys = _keys(outbox, entry)
    told: list[Blocker] = []
    count = looked_at = 0
    for earlier in _unsettled_before(outbox, entry.seq):
        if looked_at == most:
            return told, count, looked_at, True
        looked_at += 1
        shared = _what_holds(outbox, entry, keys, earlier)
        if shared is not None:
            count += 1
            if len(told) < TOLD_BLOCKERS:
                told.append(_blocker(earlier, shared))
    return told, count, looked_at, False


def _chain(outbox: Outbox, blocker: Blocker, most: int) -> tuple[Blocker, ...]:
    """What it waits for first, and what that one does, down to one that waits for nobody."""
    links: list[Blocker] = []
    while len(links) < TOLD_LINKS:
        entry = outbox.entry((links[-1] if links else blocker).entry_id)
        if entry is None or entry.state != State.PENDING:
            break
        found, _, _, _ = _blockers(outbox, entry, most)
        if not found:
            break
        links.append(found[0])
    return tuple(links)


def _what_holds(outbox: Outbox, entry: Entry, keys: Writeset, earlier: Entry) -> tuple[str, ...] | None:
    """The keys for which the entry waits for this earlier one; none if it waits wider; None if it does not wait."""
    held = _keys(outbox, earlier)
    if conflicts(held, keys):
        return tuple(sorted(keys.exclusive & (held.exclusive | held.shared) | keys.shared & held.exclusive))
    goes_alone = earlier.goes_alone or earlier.attempts > 0
    if entry.waits_wider and not goes_alone and not keys.entities.isdisjoint(held.entities):
        return ()
    return None


def _keys(outbox: Outbox, entry: Entry) -> Writeset:
    """The keys that the planner has for it."""
    return held_keys(entry, task_of(entry, names_rows=outbox.holds_lanes())[1])


def _unsettled_before(outbox: Outbox, seq: int) -> Iterator[Entry]:
    after_seq = 0
    while page := outbox.window(after_seq, PAGE, PAGE_BYTES):
        for entry in page:
            if entry.seq >= seq:
                return
            yield entry
        after_seq = page[-1].seq


def _blocker(entry: Entry, keys: tuple[str, ...]) -> Blocker:
    return Blocker(
        entry.entry_id,
        entry.seq,
        entry.operation_id,
        entry.type,
        entry.entity,
        entry.state,
        keys,
        entry.attempts,
        entry.next_attempt_at,
        entry.error_kind,
        entry.reason,
    )
