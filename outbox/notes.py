"""Small facts that one program leaves for another in the file, and the audit of what operators did.

A note has a name, and only its newest text counts; when it was left tells how stale it is. What it says is between those
who write and read it. The audit has a line for each command that changed something, and nothing removes it.
"""

from __future__ import annotations

import msgspec

from outbox.file import OutboxFile, clean_text
from outbox.models import NOTES, DeskActionRow
from outbox.records import DeskAction

_LEAVE_TEXT = f"INSERT OR REPLACE INTO {NOTES} (name, at, text) VALUES (?, ?, ?)"
_READ_TEXT = f"SELECT at, text FROM {NOTES} WHERE name = ?"


class NoteLeft(msgspec.Struct, frozen=True):
    """A note's text, and when it was left, in ms."""

    at: int
    text: str


class Notes(OutboxFile):
    """The part of the outbox where programs leave word."""

    def leave_note(self, name: str, text: str) -> None:
        """Leave word under this name, in place of what stood there."""
        with self.transaction():
            self._sql(_LEAVE_TEXT, (name, self.now_ms(), clean_text(text)))

    def note(self, name: str) -> NoteLeft | None:
        """The newest word under this name; None: there is none."""
        rows = self._sql(_READ_TEXT, (name,)).fetchall()
        return NoteLeft(*rows[0]) if rows else None

    def remember_action(self, who: str, action: str, why: str, chosen: str, changed: int, refused: int) -> None:
        """Write a line of the audit. ``chosen`` says what was meant: ids, a group or a filter."""
        with self.transaction():
            DeskActionRow.insert(
                at=self.now_ms(),
                who=clean_text(who),
                action=action,
                why=clean_text(why),
                chosen=clean_text(chosen),
                changed=changed,
                refused=refused,
            ).execute(self.database)

    def actions(self, limit: int = 50) -> list[DeskAction]:
        """The audit, the newest line first."""
        columns = [getattr(DeskActionRow, name) for name in DeskAction.__struct_fields__]
        query = DeskActionRow.select(*columns).order_by(DeskActionRow.id.desc()).limit(limit)
        return [DeskAction(*row) for row in query.tuples().execute(self.database)]
