"""What others are still to be told of: deaths for a Kafka topic, discards for the database's ledger.

An announcement is written by the transaction that makes the change, with a copy of all it has to say, and is forgotten
when whoever tells it reports that the other side has it. So each is told at least once, whatever is killed in between and
whatever becomes of the entry meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import IntEnum

import msgspec

from outbox.file import OutboxFile
from outbox.models import ANNOUNCEMENTS, ENTRIES, PARTITION_LOGS


class Audience(IntEnum):
    """Who is to be told. The numbers are what the file holds: never renumber them."""

    #: Kafka's topic of dead letters: an operation has become one.
    DEAD_LETTER_TOPIC = 0

    #: The database's ledger: an operator has discarded a dead letter.
    LEDGER = 1


class Announcement(msgspec.Struct, frozen=True):
    """A change as it is to be told. ``at`` is milliseconds since 1970; ``raw`` is None where nobody needs it."""

    announcement_id: int
    at: int
    operation_id: str
    topic: str
    generation: int
    partition: int
    offset: int
    entity: str | None
    type: str | None
    incarnation: int
    attempts: int
    error_kind: str | None
    reason: str | None
    raw: bytes | None

    def __repr__(self) -> str:
        return f"Announcement({self.announcement_id}, {self.topic}-{self.partition}-{self.offset} g{self.generation})"


_COLUMNS = (
    *("at", "operation_id", "topic", "generation", "partition", "offset", "entity", "type", "incarnation"),
    *("attempts", "error_kind", "reason", "raw"),
)
_NAMES = ", ".join(f'"{column}"' for column in _COLUMNS)
_PLACE = "log.topic, log.generation, log.partition"

_PAGE_TEXT = f"SELECT id, {_NAMES} FROM {ANNOUNCEMENTS} WHERE audience = ? ORDER BY id LIMIT ?"
_FORGET_TEXT = f"DELETE FROM {ANNOUNCEMENTS} WHERE id IN (SELECT value FROM json_each(?))"

#: Of one entry as it stands. Parameters: audience, at, reason (None: the entry's own), whether with the payload, seq.
_ENTRY_TEXT = f"""
    INSERT INTO {ANNOUNCEMENTS} (audience, {_NAMES})
    SELECT ?, ?, operation_id, {_PLACE}, offset, entity, type, incarnation, attempts, error_kind, coalesce(?, reason),
        iif(?, raw, NULL)
    FROM {ENTRIES} JOIN {PARTITION_LOGS} AS log ON log.id = log_id WHERE seq = ?"""


def deaths_text(changes: str) -> str:
    """Announces the deaths in a table of changes (``changes``: WITH change (…) AS …), to be run before they are made.

    Parameters after those of the changes: at, the state that is about to be left.
    """
    return f"""{changes}
        INSERT INTO {ANNOUNCEMENTS} (audience, {_NAMES})
        SELECT {Audience.DEAD_LETTER_TOPIC:d}, ?, operation_id, {_PLACE}, offset, entity, type, {ENTRIES}.incarnation,
            max(coalesce(change.attempts, 0), {ENTRIES}.attempts), coalesce(change.error_kind, {ENTRIES}.error_kind),
            coalesce(change.reason, {ENTRIES}.reason), raw
        FROM change JOIN {ENTRIES} ON {ENTRIES}.seq = change.seq AND {ENTRIES}.incarnation = change.incarnation
        JOIN {PARTITION_LOGS} AS log ON log.id = log_id
        WHERE state = ? ORDER BY {ENTRIES}.seq"""


class Announcements(OutboxFile):
    """The part of the outbox that remembers what is still to be told."""

    def announcements(self, audience: Audience, limit: int, max_bytes: int) -> list[Announcement]:
        """The oldest ones.

        :param limit: at most so many.
        :param max_bytes: at most so many bytes of payload; but always one announcement, if there is one.
        """
        page: list[Announcement] = []
        size = 0
        for row in self._sql(_PAGE_TEXT, (audience, limit)):
            announcement = Announcement(*row)
            size += len(announcement.raw or b"")
            if page and size > max_bytes:
                break
            page.append(announcement)
        return page

    def forget_announcements(self, announcement_ids: Iterable[int]) -> None:
        """They were told. Those that are gone already are no fault."""
        with self.transaction():
            self._sql(_FORGET_TEXT, (json.dumps(list(announcement_ids)),))

    def _announce(self, audience: Audience, seq: int, reason: str | None = None, *, with_raw: bool) -> None:
        """In the transaction that changes the entry."""
        self._sql(_ENTRY_TEXT, (audience, self.now_ms(), reason, with_raw, seq))
