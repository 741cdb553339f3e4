"""Dead letters: bringing them in from the database's ledger, and what an operator does with them.

A replay puts the letter at the tail of the order under a new seq, as the next incarnation of its operation; its
``entry_id`` and its history stay. Where letters hold what follows them on their rows, a
replay keeps the letter's place instead, since the others are to come after it: its incarnation alone then tells late
outcomes apart. Everything here is conditional on the letter being dead at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
from peewee import fn

from outbox.announcements import Announcements, Audience
from outbox.file import clean_text
from outbox.intake import Intake
from outbox.models import ENTRIES, HistoryRow, StoredEntry, is_entry
from outbox.notes import Notes
from outbox.records import NO_TIMESTAMP, DeskResult, ImportedLetter
from outbox.states import State

#: Letters changed in one transaction, so that a desk that replays 100,000 lets ingest in between.
LETTERS_A_TRANSACTION = 100

#: The kind of a history line that says where a letter came from.
IMPORTED = "imported"

_KNOWN_TEXT = f"SELECT 1 FROM {ENTRIES} WHERE log_id = ? AND offset = ?"

#: The note that says whether dead letters hold what follows them on their rows.
HOLDS_LANES = "holds lanes"


class _Found(msgspec.Struct, frozen=True):
    """As much of an entry as the desk needs to change it."""

    entry_id: int
    seq: int
    state: State
    incarnation: int
    attempts: int
    operation_id: str


class Letters(Notes, Intake, Announcements):
    """The part of the outbox that deals with dead letters."""

    def import_dead(
        self,
        letters: Iterable[ImportedLetter],
        why: str = "the database's ledger knew this dead letter, this outbox did not",
        who: str | None = None,
        *,
        announce: bool = False,
    ) -> int:
        """Take over dead letters that the ledger, or an export, knows. A place that is here already is left alone.

        :param why: for the history, and who if an operator does it.
        :param announce: whether Kafka's topic of dead letters is to be told of the new ones: whoever had them before may
            not have come to it.
        :returns: how many were new.
        """
        imported = 0
        with self.transaction():
            for letter in letters:
                imported += self._import(letter, why, who, announce)
            self._count({State.DEAD: imported})
        return imported

    def _import(self, letter: ImportedLetter, why: str, who: str | None, announce: bool) -> bool:
        log_id = self._log_id((letter.topic, letter.generation, letter.partition))
        if self._sql(_KNOWN_TEXT, (log_id, letter.offset)).fetchone() is not None:
            return False
        seq = StoredEntry.insert(
            log=log_id,
            offset=letter.offset,
            kafka_timestamp=NO_TIMESTAMP,
            order_timestamp=letter.settled_at,
            value_hash=b"",
            operation_id=clean_text(letter.operation_id),
            entity=letter.entity,
            type=letter.type,
            raw_bytes=letter.raw,
            state=State.DEAD,
            incarnation=letter.incarnation,
            attempts=letter.attempts,
            error_kind=letter.error_kind,
            reason=clean_text(letter.reason),
            appended_at=self.now_ms(),
            changed_at=letter.settled_at,
            came_as=letter.came_as,
        ).execute(self.database)
        HistoryRow.insert(
            entry_id=seq,
            at=self.now_ms(),
            from_state=State.DEAD,
            to_state=State.DEAD,
            incarnation=letter.incarnation,
            attempts=letter.attempts,
            kind=IMPORTED,
            why=clean_text(why),
            who=clean_text(who) if who is not None else None,
        ).execute(self.database)
        if announce:
            self._announce(Audience.DEAD_LETTER_TOPIC, seq, with_raw=True)
        return True

    def replay(self, entry_ids: Sequence[int], who: str, why: str) -> list[DeskResult]:
        """Dead → pending, as a new incarnation with no attempts: at the tail of the order, in the order of these ids;
        where letters hold others (``note_policy``), in its place.

        :param who: the operator, for the history.
        :returns: for each id what became of it; one that is not dead is left alone.
        """
        return self._each(entry_ids, lambda entry: self._replay(entry, who, why))

    def discard(self, entry_ids: Sequence[int], who: str, why: str) -> list[DeskResult]:
        """Dead → discarded: nobody will run it. The history keeps who and why, and the database's ledger is to be told.

        :returns: for each id what became of it; one that is not dead is left alone.
        """
        return self._each(entry_ids, lambda entry: self._discard(entry, who, why))

    def next_incarnation(self, entry_id: int) -> int | None:
        """The incarnation that a replay of this entry would have now; None: there is no such entry."""
        found = self._find(entry_id)
        return 1 + self._highest_incarnation(found) if found is not None else None

    def _each(self, entry_ids: Sequence[int], change: Callable[[_Found], DeskResult]) -> list[DeskResult]:
        results = []
        for start in range(0, len(entry_ids), LETTERS_A_TRANSACTION):
            with self.transaction():
                for entry_id in entry_ids[start : start + LETTERS_A_TRANSACTION]:
                    found = self._find(entry_id)
                    if found is None:
                        results.append(DeskResult(entry_id, is_done=False))
                    elif found.state != State.DEAD:
                        results.append(DeskResult(entry_id, False, found.state, found.seq, found.incarnation))
                    else:
                        results.append(change(found))
        return results

    def _find(self, entry_id: int) -> _Found | None:
        columns = (StoredEntry.seq, StoredEntry.state, StoredEntry.incarnation, StoredEntry.attempts)
        query = StoredEntry.select(*columns, StoredEntry.operation_id).where(is_entry(entry_id))
        for seq, state, incarnation, attempts, operation_id in query.tuples().execute(self.database):
            return _Found(entry_id, seq, State(state), incarnation, attempts, operation_id)
        return None

    def _replay(self, letter: _Found, who: str, why: str) -> DeskResult:
        incarnation = 1 + self._highest_incarnation(letter)
        place: dict[str, int] = {}
        if not self.holds_lanes():
            place = {"seq": self._next_seq(), "first_seq": letter.entry_id}
        self._update_letter(
            letter,
            **place,
            state=State.PENDING,
            incarnation=incarnation,
            attempts=0,
            deaths=0,
            waits_wider=False,
            goes_alone=False,
            next_attempt_at=None,
            error_kind=None,
            reason=None,
        )
        self._remember(letter, State.PENDING, incarnation, who, why)
        return DeskResult(letter.entry_id, True, State.PENDING, place.get("seq", letter.seq), incarnation)

    def _discard(self, letter: _Found, who: str, why: str) -> DeskResult:
        self._update_letter(letter, state=State.DISCARDED)
        self._announce(Audience.LEDGER, letter.seq, clean_text(why), with_raw=False)
        self._remember(letter, State.DISCARDED, letter.incarnation, who, why)
        return DeskResult(letter.entry_id, True, State.DISCARDED, letter.seq, letter.incarnation)

    def _update_letter(self, letter: _Found, state: State, **columns: object) -> None:
        StoredEntry.update(state=state, changed_at=self.now_ms(), **columns).where(
            StoredEntry.seq == letter.seq, StoredEntry.state == State.DEAD
        ).execute(self.database)
        self._count({State.DEAD: -1, state: 1})

    def note_policy(self, holds_lanes: bool) -> None:
        """Left by ingest: whether operations wait behind a dead letter on their row, which a replay must then precede.

        Nothing is written if it says so already: an ingest must be able to start while the disk is full.
        """
        if self.note(HOLDS_LANES) is None or self.holds_lanes() != holds_lanes:
            self.leave_note(HOLDS_LANES, str(holds_lanes))

    def holds_lanes(self) -> bool:
        """Whether operations wait behind a dead letter on their row, as ingest has noted it."""
        note = self.note(HOLDS_LANES)
        return note is not None and note.text == str(True)

    def _next_seq(self) -> int:
        """Take the next seq. SQLite counts only what is inserted, so its own count is moved on by hand."""
        self._sql("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = ?", (ENTRIES,))
        return self._last_seq()

    def _highest_incarnation(self, letter: _Found) -> int:
        """Over all entries with this operation id: a duplicate of it may have been replayed before."""
        highest: int | None = (
            StoredEntry.select(fn.MAX(StoredEntry.incarnation))
            .where(StoredEntry.operation_id == letter.operation_id)
            .scalar(self.database)
        )
        return max(highest or 0, letter.incarnation)

    def _remember(self, letter: _Found, to: State, incarnation: int, who: str, why: str) -> None:
        HistoryRow.insert(
            entry_id=letter.entry_id,
            at=self.now_ms(),
            from_state=State.DEAD,
            to_state=to,
            incarnation=incarnation,
            attempts=letter.attempts,
            why=clean_text(why),
            who=clean_text(who),
        ).execute(self.database)
