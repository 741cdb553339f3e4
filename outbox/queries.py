"""Reading the outbox: the scheduler's window, the marks and counts, and the desk's lists.

All reads are short. A reader that stays open keeps SQLite from reusing its write-ahead log, which then grows by
hundreds of megabytes; so long lists are read in pages, each statement over a bounded stretch of the order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec

from outbox.intake import LOG_ID_TEXT, Intake
from outbox.models import (
    COUNTERS,
    ENTRIES,
    NOT_APPLIED,
    OWED_TO_KAFKA,
    PARTITION_LOGS,
    HistoryRow,
    StoredEntry,
    is_entry,
)
from outbox.records import Counts, Entry, EntryFilter, HistoryLine
from outbox.states import PLANNABLE, State

#: How many seqs one statement of a list looks at, at most.
SCANNED_A_STATEMENT = 20_000

_SELECTED = (
    "seq, coalesce(first_seq, seq), log_id, offset, kafka_timestamp, order_timestamp, value_hash, operation_id, "
    "entity, type, raw, state, incarnation, attempts, waits_wider, goes_alone, deaths, next_attempt_at, error_kind, "
    "reason, appended_at, changed_at, came_as, held_by"
)
_WITHOUT_PAYLOAD = _SELECTED.replace(" raw,", " x'' AS raw,")
_OF_STATE = f"SELECT {_SELECTED} FROM {ENTRIES} WHERE state = {{:d}} AND {NOT_APPLIED} AND seq > ?"

#: One index, a stretch of it for each state: SQLite merges them by seq as it reads, and stops where we stop.
_WINDOW_TEXT = f"{' UNION ALL '.join(_OF_STATE.format(state) for state in PLANNABLE)} ORDER BY seq LIMIT ?"

_IN_STATE_TEXT = f"SELECT seq FROM {ENTRIES} WHERE seq IN (SELECT value FROM json_each(?)) AND state = ?"

_COUNTS_TEXT = f"SELECT state, entries FROM {COUNTERS}"
_LOGS_TEXT = f"SELECT id, topic, generation, partition FROM {PARTITION_LOGS}"
_MARK_TEXT = f"SELECT min(offset) FROM {ENTRIES} WHERE log_id = ({LOG_ID_TEXT}) AND {OWED_TO_KAFKA}"

#: What each field of a filter asks for.
_CONDITIONS = {name: f"{name} = ?" for name in EntryFilter.__struct_fields__} | {
    "changed_from": "changed_at >= ?",
    "changed_before": "changed_at < ?",
}

_Logs = Mapping[int, tuple[str, int, int]]


class Queries(Intake):
    """The part of the outbox that only looks."""

    def window(self, after_seq: int, limit: int, max_bytes: int) -> list[Entry]:
        """The unsettled entries behind ``after_seq`` (0: from the oldest on), pending or dispatched, in order.

        :param limit: at most so many entries.
        :param max_bytes: at most so many bytes of payload; but always one entry, if there is one.
        """
        logs = self._logs()
        window: list[Entry] = []
        size = 0
        with closing(self._sql(_WINDOW_TEXT, (after_seq, after_seq, limit))) as rows:
            for row in rows:
                entry = _entry(row, logs)
                size += len(entry.raw)
                if window and size > max_bytes:
                    break
                window.append(entry)
        return window

    def low_water_mark(self, topic: str, generation: int, partition: int) -> int | None:
        """The first offset of the partition that is not settled; None: everything it has is settled.

        Replayed letters do not count: the database's ledger has them, should this outbox be lost.
        """
        mark: int | None = self._sql(_MARK_TEXT, (topic, generation, partition)).fetchone()[0]
        return mark

    def oldest_unsettled(self) -> tuple[int, int] | None:
        """The seq and the order timestamp (ms) of the entry that is first in the order; None: nothing waits."""
        oldest = self.window(0, 1, 0)
        return (oldest[0].seq, oldest[0].order_timestamp) if oldest else None

    def counts(self) -> Counts:
        """How many entries are in each state. Cheap: it reads the counters."""
        rows = self._sql(_COUNTS_TEXT).fetchall()
        return Counts(**{State(state).label: entries for state, entries in rows})

    def pending_total(self) -> int:
        """How many entries are not settled: pending, dispatched or held. Cheap."""
        return self.counts().unsettled

    def in_state(self, seqs: Sequence[int], state: State) -> frozenset[int]:
        """Those of these seqs whose entries are in this state."""
        return frozenset(seq for (seq,) in self._sql(_IN_STATE_TEXT, (json.dumps(seqs), state)))

    def entry(self, entry_id: int) -> Entry | None:
        """The entry with this id, also after replays; None: there is none."""
        seq: int | None = StoredEntry.select(StoredEntry.seq).where(is_entry(entry_id)).scalar(self.database)
        rows = self._sql(f"SELECT {_SELECTED} FROM {ENTRIES} WHERE seq = ?", (seq,)).fetchall()
        return _entry(rows[0], self._logs()) if rows else None

    def entries(
        self, wanted: EntryFilter, after_seq: int = 0, limit: int = 100, *, with_payload: bool = True
    ) -> list[Entry]:
        """A page of the entries that match, in order; the next one begins after the last one's ``seq``.

        :param with_payload: False leaves ``raw`` empty: a payload may be a megabyte, and most lists show none.
        """
        logs = self._logs()
        rows = islice(self._matching(_SELECTED if with_payload else _WITHOUT_PAYLOAD, wanted, after_seq, limit), limit)
        return [_entry(row, logs) for row in rows]

    def dead_letters(self, after_seq: int = 0, limit: int = 100) -> list[Entry]:
        """A page of the dead letters, in order."""
        return self.entries(EntryFilter(state=State.DEAD), after_seq, limit)

    def entry_ids(self, wanted: EntryFilter) -> Iterator[int]:
        """The ids of all entries that match, in order, without their payloads."""
        for (entry_id,) in self._matching("coalesce(first_seq, seq)", wanted, 0, SCANNED_A_STATEMENT):
            yield entry_id

    def history(self, entry_id: int) -> list[HistoryLine]:
        """What became of this entry, oldest first: all but the routine."""
        columns = (
            HistoryRow.at,
            HistoryRow.from_state,
            HistoryRow.to_state,
            HistoryRow.incarnation,
            HistoryRow.attempts,
            HistoryRow.kind,
            HistoryRow.why,
            HistoryRow.who,
        )
        query = HistoryRow.select(*columns).where(HistoryRow.entry_id == entry_id).order_by(HistoryRow.id)
        return [
            HistoryLine(at, State(from_state), State(to_state), *rest)
            for at, from_state, to_state, *rest in query.tuples().execute(self.database)
        ]

    def marks(self) -> dict[tuple[str, int, int], int | None]:
        """The low-water mark of each (topic, generation, partition) that has entries or had some."""
        return {log: self.low_water_mark(*log) for log in self._logs().values()}

    def _matching(self, columns: str, wanted: EntryFilter, after_seq: int, limit: int) -> Iterator[tuple[Any, ...]]:
        """The rows that match, at most ``limit`` of each stretch of seqs that one statement looks at."""
        given = [
            (_CONDITIONS[name], value) for name, value in msgspec.structs.asdict(wanted).items() if value is not None
        ]
        where = [condition for condition, _ in given]
        if wanted.state not in (None, State.APPLIED):
            where.append(NOT_APPLIED)
        text = f"SELECT {columns} FROM {ENTRIES} WHERE {' AND '.join([*where, 'seq > ? AND seq <= ?'])}"
        first, last = self._sql(f"SELECT (SELECT min(seq) FROM {ENTRIES}), (SELECT max(seq) FROM {ENTRIES})").fetchone()
        if first is None:
            return
        for start in range(max(after_seq, first - 1), last, SCANNED_A_STATEMENT):
            stretch = (*(value for _, value in given), start, start + SCANNED_A_STATEMENT, limit)
            yield from self._sql(f"{text} ORDER BY seq LIMIT ?", stretch).fetchall()

    def _logs(self) -> _Logs:
        rows = self._sql(_LOGS_TEXT).fetchall()
        return {log_id: (topic, generation, partition) for log_id, topic, generation, partition in rows}


def _entry(row: tuple[Any, ...], logs: _Logs) -> Entry:
    seq, entry_id, log_id, *until_state, state, incarnation, attempts, waits_wider, goes_alone = row[:16]
    identity = (seq, entry_id, *logs[log_id], *until_state)
    progress = (State(state), incarnation, attempts, bool(waits_wider), bool(goes_alone))
    columns: tuple[Any, ...] = (*identity, *progress, *row[16:])
    return Entry(*columns)
