"""Moving entries from state to state, in bulk and conditionally: a change that comes late changes nothing.

Each row of a change names the seq and the incarnation it is meant for, and each statement the state it expects to
find. A thousand rows are one statement: the rows travel as a VALUES table, joined to the entries by seq. Whatever is
worth remembering is written to the history by the same transaction, and the counters follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

import msgspec

from outbox.announcements import deaths_text
from outbox.file import OutboxFile, clean_text
from outbox.models import ENTRIES, HISTORY, IS_HELD, NOT_APPLIED
from outbox.records import FailedAttempt, HandedBack, Settled
from outbox.states import PLANNABLE, TRANSITIONS, UNSETTLED, State

#: Rows of one statement. More make it no faster.
ROWS_A_STATEMENT = 500


#: Takes the time of the next attempt away, where None would leave it.
NO_NEXT_ATTEMPT = 0


class _Change(msgspec.Struct, frozen=True):
    """What becomes of one entry. None leaves a value as it is."""

    seq: int
    incarnation: int
    attempts: int | None = None
    error_kind: str | None = None
    reason: str | None = None
    next_attempt_at: int | None = None
    waits_wider: bool = False
    goes_alone: bool = False
    deaths: int | None = None


_CHANGE_COLUMNS = ", ".join(_Change.__struct_fields__)
_CHANGE_PLACES = f"({', '.join('?' * len(_Change.__struct_fields__))})"


class Transitions(OutboxFile):
    """The part of the outbox that the scheduler and the settlements speak to."""

    def mark_dispatched(self, seqs: Sequence[int]) -> int:
        """Pending → dispatched. Those that are not pending stay as they are; their attempts and next time stay.

        A seq belongs to one incarnation only, since a replay gives a new one: so it needs no other fence.

        :returns: how many changed.
        """
        with self.transaction():
            dispatched = self._sql(_DISPATCH_TEXT, (self.now_ms(), json.dumps(list(seqs)))).rowcount
            self._count({State.PENDING: -dispatched, State.DISPATCHED: dispatched})
        return dispatched

    def settle(self, settled: Sequence[Settled], *, announce: bool = False) -> int:
        """Dispatched or pending → applied, dead or discarded: the outcomes of operations, final. The history keeps the dead.

        Conditional: one whose entry is settled already, was replayed meanwhile or is gone changes nothing.

        :param announce: whether Kafka's topic of dead letters is to be told of those that die.
        :returns: how many changed.
        """
        smooth = [one.seq for one in settled if _is_smooth(one)]
        with self.transaction():
            changed = self._settle_smooth(smooth)
            for state in (State.APPLIED, State.DEAD, State.DISCARDED):
                changes = [
                    _Change(one.seq, one.incarnation, one.attempts, one.error_kind, _clean(one.reason), NO_NEXT_ATTEMPT)
                    for one in settled
                    if one.state is state and not _is_smooth(one)
                ]
                changed += self._move(
                    changes,
                    (State.DISPATCHED, State.PENDING),
                    state,
                    remember=state != State.APPLIED,
                    announce=announce and state == State.DEAD,
                )
        return changed

    def _settle_smooth(self, seqs: Sequence[int]) -> int:
        """Dispatched or pending → applied, for those of which there is nothing to keep but the state: nearly all."""
        moved = 0
        for state in (State.DISPATCHED, State.PENDING):
            if moved < len(seqs):
                found = self._sql(_applied_text(state), (self.now_ms(), json.dumps(seqs))).rowcount
                self._count({state: -found, State.APPLIED: found})
                moved += found
        return moved

    def hand_back(self, handed_back: Sequence[HandedBack]) -> int:
        """Dispatched → pending, with no attempt burnt. The history keeps those that name an ``error_kind``.

        Conditional: one that is not dispatched any more stays as it is.

        :returns: how many changed.
        """
        changes = [
            _Change(
                one.seq,
                one.incarnation,
                error_kind=one.error_kind,
                reason=_clean(one.why),
                waits_wider=one.waits_wider,
                goes_alone=one.goes_alone,
                deaths=one.deaths,
                next_attempt_at=one.next_attempt_at,
            )
            for one in handed_back
        ]
        return self._move(changes, (State.DISPATCHED,), State.PENDING, remember=True)

    def note_attempts(self, failed: Sequence[FailedAttempt]) -> int:
        """Keep failed attempts: number, error and next time, so that a restart carries them on. No state changes.

        Conditional: one that is settled meanwhile stays as it is. The number of attempts never falls.

        :returns: how many were kept.
        """
        changes = [
            _Change(
                one.seq,
                one.incarnation,
                one.attempts,
                one.error_kind,
                _clean(one.reason),
                one.next_attempt_at or NO_NEXT_ATTEMPT,
                goes_alone=one.goes_alone,
            )
            for one in failed
        ]
        return self._move(changes, UNSETTLED, None, remember=True)

    def release_dispatched(self) -> int:
        """Dispatched → pending for every entry: at a start or a takeover, when nothing that was sent counts any more.

        Attempts and the time of the next one stay. One statement, however many.

        :returns: how many changed.
        """
        with self.transaction():
            released = self._sql(_RELEASE_TEXT, (State.PENDING, self.now_ms())).rowcount
            self._count({State.DISPATCHED: -released, State.PENDING: released})
        return released

    def hold(self, held: Sequence[tuple[int, int]]) -> int:
        """Pending → held: each seq behind the dead letter of the other seq. So is what is dispatched still, in a message that is
        lost: the scheduler has it to send again, and asks for no entry that is under way.

        Conditional: one that is settled by now stays as it is.

        :returns: how many changed.
        """
        if not held:
            return 0
        with self.transaction():
            from_pending, from_dispatched = (
                self._sql(_HOLD_TEXT, (self.now_ms(), json.dumps(held), state)).rowcount for state in PLANNABLE
            )
            changed = from_pending + from_dispatched
            self._count({State.PENDING: -from_pending, State.DISPATCHED: -from_dispatched, State.HELD: changed})
        return changed

    def release_held(self, letters: Sequence[int] | None = None) -> int:
        """Held → pending, in their places in the order: those that these dead letters (by seq) held; None: all.

        :returns: how many changed.
        """
        with self.transaction():
            if letters is None:
                released = self._sql(_RELEASE_HELD_TEXT, (self.now_ms(),)).rowcount
            else:
                text = f"{_RELEASE_HELD_TEXT} AND held_by IN (SELECT value FROM json_each(?))"
                released = self._sql(text, (self.now_ms(), json.dumps(letters))).rowcount
            self._count({State.HELD: -released, State.PENDING: released})
        return released

    def _move(
        self,
        changes: Sequence[_Change],
        expected: Sequence[State],
        to: State | None,
        remember: bool = False,
        announce: bool = False,
    ) -> int:
        """Apply the changes to those entries that are in one of the expected states.

        :param to: None: they stay in the state they are in.
        :param expected: the likeliest first: the next is only tried while not all rows have found their entry.
        """
        moved = 0
        with self.transaction():
            for some in _pieces(changes):
                missing = len(some)
                for state in expected:
                    missing -= self._move_from(state, state if to is None else to, some, remember, announce)
                    if not missing:
                        break
                moved += len(some) - missing
        return moved

    def _move_from(
        self, state: State, to: State, changes: Sequence[_Change], remember: bool, announce: bool = False
    ) -> int:
        assert state == to or (state, to) in TRANSITIONS
        now = self.now_ms()
        rows: list[object] = []
        for change in changes:
            rows += msgspec.structs.astuple(change)
        if remember:
            self._sql(_history_text(len(changes), state), [*rows, now, to])
        if announce:
            self._sql(_deaths_text(len(changes)), [*rows, now, state])
        moved = self._sql(_update_text(len(changes), state), [to, now, *rows]).rowcount
        self._count({state: -moved, to: moved} if state != to else {})
        return moved


# The expected state is written out, here and below: compared with a parameter, SQLite compiles the statement again whenever it is
# run, since a partial index may serve one value and not another. For 500 rows that takes milliseconds.
_DISPATCH_TEXT = (
    f"UPDATE {ENTRIES} SET state = {State.DISPATCHED:d}, changed_at = ? "
    f"WHERE seq IN (SELECT value FROM json_each(?)) AND state = {State.PENDING:d}"
)
_RELEASE_TEXT = f"UPDATE {ENTRIES} SET state = ?, changed_at = ? WHERE state = {State.DISPATCHED:d} AND {NOT_APPLIED}"
_HOLD_TEXT = f"""
    UPDATE {ENTRIES} SET state = {State.HELD:d}, changed_at = ?, held_by = held.letter
    FROM (SELECT json_extract(value, '$[0]') AS seq, json_extract(value, '$[1]') AS letter FROM json_each(?)) AS held
    WHERE {ENTRIES}.seq = held.seq AND {ENTRIES}.state = ?"""
_RELEASE_HELD_TEXT = (
    f"UPDATE {ENTRIES} SET state = {State.PENDING:d}, changed_at = ?, held_by = NULL WHERE {IS_HELD} AND {NOT_APPLIED}"
)


def _is_smooth(one: Settled) -> bool:
    """Whether it was applied at the first attempt of its first run."""
    return one.state is State.APPLIED and not one.incarnation and not one.attempts


def _pieces(changes: Sequence[_Change]) -> Iterator[list[_Change]]:
    """The changes in order, a statement's worth at a time, and no entry twice in one: SQLite would take either."""
    piece: dict[int, _Change] = {}
    for change in changes:
        if change.seq in piece or len(piece) == ROWS_A_STATEMENT:
            yield list(piece.values())
            piece = {}
        piece[change.seq] = change
    if piece:
        yield list(piece.values())


def _clean(text: str | None) -> str | None:
    return None if text is None else clean_text(text)


def _values(rows: int) -> str:
    return f"WITH change ({_CHANGE_COLUMNS}) AS (VALUES {', '.join([_CHANGE_PLACES] * rows)})"


@cache
def _applied_text(state: State) -> str:
    return (
        f"UPDATE {ENTRIES} SET state = {State.APPLIED:d}, changed_at = ?, next_attempt_at = NULL "
        f"WHERE seq IN (SELECT value FROM json_each(?)) AND incarnation = 0 AND state = {state:d}"
    )


@lru_cache(maxsize=ROWS_A_STATEMENT)
def _update_text(rows: int, state: State) -> str:
    # the table of changes stands inside: of a statement that begins with WITH, Python's sqlite3 counts no rows
    return f"""
        UPDATE {ENTRIES} SET
            state = ?,
            changed_at = ?,
            attempts = max(coalesce(change.attempts, 0), {ENTRIES}.attempts),
            error_kind = coalesce(change.error_kind, {ENTRIES}.error_kind),
            reason = coalesce(change.reason, {ENTRIES}.reason),
            next_attempt_at = nullif(coalesce(change.next_attempt_at, {ENTRIES}.next_attempt_at), 0),
            waits_wider = max(change.waits_wider, {ENTRIES}.waits_wider),
            goes_alone = max(change.goes_alone, {ENTRIES}.goes_alone),
            deaths = coalesce(change.deaths, {ENTRIES}.deaths)
        FROM ({_values(rows)} SELECT * FROM change) AS change
        WHERE {ENTRIES}.seq = change.seq AND {ENTRIES}.incarnation = change.incarnation AND {ENTRIES}.state = {state:d}"""


@lru_cache(maxsize=ROWS_A_STATEMENT)
def _deaths_text(rows: int) -> str:
    """To be run before the update, as the history's text."""
    return deaths_text(_values(rows))


@lru_cache(maxsize=ROWS_A_STATEMENT)
def _history_text(rows: int, state: State) -> str:
    """To be run before the update: it reads the state that is about to be left."""
    return f"""{_values(rows)}
        INSERT INTO {HISTORY} (entry_id, at, from_state, to_state, incarnation, attempts, kind, why)
        SELECT coalesce(first_seq, {ENTRIES}.seq), ?, state, ?, {ENTRIES}.incarnation,
            coalesce(change.attempts, {ENTRIES}.attempts), change.error_kind, change.reason
        FROM change JOIN {ENTRIES} ON {ENTRIES}.seq = change.seq AND {ENTRIES}.incarnation = change.incarnation
        WHERE state = {state:d} AND change.error_kind IS NOT NULL"""
