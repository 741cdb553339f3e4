"""The pruner: removes what is applied and past its retention, in small transactions, and gives the space back.

It never removes an entry that is not below its partition's low-water mark: whoever reads again from there must find the
records above it known. What waits, is dead or was discarded stays, however old: the ledger's dead letters are taken over
at each start, and a discarded one must be known then. It works when it is called, never by itself.
"""

from __future__ import annotations

import json
import sqlite3

from outbox.models import (
    ARCHIVED_ENTRIES,
    EDITS,
    ENTRIES,
    HISTORY,
    IS_APPLIED,
    OWED_TO_KAFKA,
)
from outbox.notes import Notes
from outbox.states import State

#: Entries removed in one transaction.
PRUNED_A_TRANSACTION = 1_000

#: Free pages (4 kB) that stay in the file for what is appended next, and how many are given back at a time.
KEPT_PAGES = 4_000
RETURNED_PAGES = 2_000

_EXPIRED_TEXT = f"""
    SELECT seq, coalesce(first_seq, seq) FROM {ENTRIES} AS expired
    WHERE {IS_APPLIED} AND changed_at < ? AND NOT EXISTS (
        SELECT 1 FROM {ENTRIES} AS owed
        WHERE owed.log_id = expired.log_id AND owed.offset <= expired.offset AND {OWED_TO_KAFKA}
    )
    ORDER BY changed_at LIMIT ?"""
_EXPIRED_ARCHIVED_TEXT = f"""
    SELECT seq, coalesce(first_seq, seq) FROM {ARCHIVED_ENTRIES} WHERE archived_at < ? ORDER BY archived_at LIMIT ?"""


#: The note with the highest seq that was pruned: what was applied up to there may be gone.
PRUNED_TO = "pruned_to"


class Pruning(Notes):
    """The part of the outbox that keeps its file from growing for ever."""

    def prune(self, before_ms: int, limit: int) -> int:
        """Remove entries that were applied before this time, those applied longest ago first.

        Their history goes with them, and so do entries that were archived before it.

        :param limit: at most so many entries; fewer mean that nothing is left to remove.
        :returns: how many were removed.
        """
        removed = 0
        for prune_some in (self._prune_entries, self._prune_archived):
            while removed < limit and (some := prune_some(before_ms, min(limit - removed, PRUNED_A_TRANSACTION))):
                removed += some
        if removed and not self.database.in_transaction():
            self._give_space_back()
        return removed

    def _prune_entries(self, before_ms: int, limit: int) -> int:
        with self.transaction():
            removed = self._remove(ENTRIES, _EXPIRED_TEXT, before_ms, limit)
            self._count({State.APPLIED: -removed})
        return removed

    def _prune_archived(self, before_ms: int, limit: int) -> int:
        with self.transaction():
            return self._remove(ARCHIVED_ENTRIES, _EXPIRED_ARCHIVED_TEXT, before_ms, limit)

    def _remove(self, table: str, expired_text: str, before_ms: int, limit: int) -> int:
        expired = self._sql(expired_text, (before_ms, limit)).fetchall()
        seqs, entry_ids = ([row[column] for row in expired] for column in (0, 1))
        self._sql(f"DELETE FROM {table} WHERE seq IN (SELECT value FROM json_each(?))", (json.dumps(seqs),))
        for beside in (HISTORY, EDITS):
            self._sql(
                f"DELETE FROM {beside} WHERE entry_id IN (SELECT value FROM json_each(?))", (json.dumps(entry_ids),)
            )
        if seqs and table == ENTRIES:
            self.leave_note(PRUNED_TO, str(max(self.pruned_to(), *seqs)))
        return len(expired)

    def prunable(self, before_ms: int) -> int:
        """How many entries a prune with this time would remove, archived ones apart."""
        count: int = self._sql(f"SELECT count(*) FROM ({_EXPIRED_TEXT})", (before_ms, -1)).fetchone()[0]
        return count

    def pruned_to(self) -> int:
        """The highest seq that was ever pruned; 0: none was. Of what was applied up to there some is gone."""
        note = self.note(PRUNED_TO)
        return int(note.text) if note is not None else 0

    def _give_space_back(self) -> None:
        free_pages: int = self._sql("PRAGMA freelist_count").fetchone()[0]
        returned = min(free_pages - KEPT_PAGES, RETURNED_PAGES)
        if returned > 0:
            # executescript, since execute() takes only the first step of this pragma, which frees a single page
            connection: sqlite3.Connection = self.database.connection()  # type: ignore[no-untyped-call]
            connection.executescript(f"PRAGMA incremental_vacuum({returned})")
