"""Is the file sound, and does it say the same everywhere? Looks only, but for the counters, which it can set right.

The counters are compared with the rows in one snapshot, so a running ingest does not disturb it. A whole check of a
file of gigabytes reads all of it; while a reader is at it SQLite cannot reuse the write-ahead log, which then grows.
"""

from __future__ import annotations

import msgspec

from outbox.file import OutboxFile
from outbox.models import ARCHIVED_ENTRIES, COUNTERS, EDITS, ENTRIES, HISTORY, PARTITION_LOGS, POSITIONS
from outbox.states import State

#: The most faults of the file itself that SQLite is to name.
NAMED_FAULTS = 20

_KNOWN_STATES = ", ".join(str(int(state)) for state in State)

#: What must be 0: a sentence for what it is if it is not, and the query that counts.
_RULES = (
    (
        "entries belong to a partition that the file does not know",
        f"SELECT count(*) FROM {ENTRIES} WHERE log_id NOT IN (SELECT id FROM {PARTITION_LOGS})",
    ),
    (
        "entries are in a state that does not exist",
        f"SELECT count(*) FROM {ENTRIES} WHERE state NOT IN ({_KNOWN_STATES})",
    ),
    (
        "dead letters have no reason",
        f"SELECT count(*) FROM {ENTRIES} WHERE state = {State.DEAD:d} AND state <> {State.APPLIED:d} AND reason IS NULL",
    ),
    (
        "entries stand behind the position from which their partition is read on",
        f"""SELECT count(*) FROM {POSITIONS} AS position JOIN {PARTITION_LOGS} AS log
            ON log.topic = position.topic AND log.generation = position.generation
            AND log.partition = position.partition
            WHERE (SELECT max(offset) FROM {ENTRIES} WHERE log_id = log.id AND kafka_timestamp >= 0)
            >= position.next_offset""",
    ),
    (
        "entries have a place that could be given again",
        f"""SELECT count(*) FROM {ENTRIES}
            WHERE seq > (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '{ENTRIES}')""",
    ),
    (
        "lines of the history tell of an entry that is nowhere",
        f"""SELECT count(*) FROM {HISTORY} WHERE entry_id NOT IN (
            SELECT coalesce(first_seq, seq) FROM {ENTRIES} UNION ALL SELECT coalesce(first_seq, seq) FROM {ARCHIVED_ENTRIES})""",
    ),
    (
        "kept originals are of an entry that is nowhere",
        f"""SELECT count(*) FROM {EDITS} WHERE entry_id NOT IN (
            SELECT coalesce(first_seq, seq) FROM {ENTRIES} UNION ALL SELECT coalesce(first_seq, seq) FROM {ARCHIVED_ENTRIES})""",
    ),
)


class Verdict(msgspec.Struct, frozen=True):
    """What was checked, and what is wrong with it: nothing, if ``faults`` is empty."""

    checked: str
    faults: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        return not self.faults


class Verification(OutboxFile):
    """The part of the outbox that doubts itself."""

    def verify(self, *, thoroughly: bool = False) -> list[Verdict]:
        """Check the file and what it says.

        :param thoroughly: SQLite also compares each index with its table: minutes for a file of gigabytes.
        """
        with self.database.atomic("DEFERRED"):
            return [self._file(thoroughly), self._counters(), *(self._rule(what, query) for what, query in _RULES)]

    def set_counters_right(self) -> list[str]:
        """Set the counters to what the rows say. Holds the write lock while it counts: seconds for millions.

        :returns: what was wrong.
        """
        with self.transaction():
            faults = self._counters().faults
            for state, entries in self._counted().items():
                self._sql(f"UPDATE {COUNTERS} SET entries = ? WHERE state = ?", (entries, state))
        return list(faults)

    def _file(self, thoroughly: bool) -> Verdict:
        pragma = "integrity_check" if thoroughly else "quick_check"
        said = [str(row[0]) for row in self._sql(f"PRAGMA {pragma}({NAMED_FAULTS})").fetchall()]
        return Verdict(f"the file ({pragma})", () if said == ["ok"] else tuple(said))

    def _counters(self) -> Verdict:
        kept = dict(self._sql(f"SELECT state, entries FROM {COUNTERS}").fetchall())
        faults = [
            f"{state.label}: the counter says {kept.get(state, 0):,}, the rows say {counted:,}"
            for state, counted in self._counted().items()
            if kept.get(state) != counted
        ]
        return Verdict("counters against rows", tuple(faults))

    def _counted(self) -> dict[State, int]:
        rows = dict(self._sql(f"SELECT state, count(*) FROM {ENTRIES} GROUP BY state").fetchall())
        return {state: rows.get(state, 0) for state in State}

    def _rule(self, wrong: str, query: str) -> Verdict:
        count: int = self._sql(query).fetchone()[0]
        return Verdict(f"no {wrong}", (f"{count:,} {wrong}",) if count else ())
