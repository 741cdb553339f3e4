"""Dead letters whose payload an operator changes: what stood there before is kept, the first of all the original.

Whether the new payload is any good is for who knows what an operation means. Only a dead letter can be changed: what
waits or is under way may be read by others at any moment.
"""

from __future__ import annotations

from outbox.file import clean_text
from outbox.intake import Intake
from outbox.models import EditRow, HistoryRow, StoredEntry, is_entry
from outbox.records import PayloadEdit
from outbox.states import State

#: The kind of a history line that tells of a changed payload.
EDITED = "edited"


class Edits(Intake):
    """The part of the outbox that keeps changed payloads."""

    def edit(
        self,
        entry_id: int,
        raw: bytes,
        *,
        expected: bytes,
        came_as: bytes | None,
        entity: str | None,
        type: str | None,
        who: str,
        why: str,
    ) -> bool:
        """Give a dead letter another payload, and keep the one it has.

        :param expected: the payload that the change was made from.
        :param came_as: see ``Entry.came_as``; None: the payload is again what came from Kafka.
        :param entity, type: as the new payload names them, for the lists.
        :returns: False, and nothing is changed, if it is not dead any more or somebody else has changed it meanwhile.
        """
        with self.transaction():
            columns = (StoredEntry.seq, StoredEntry.raw_bytes, StoredEntry.incarnation, StoredEntry.attempts)
            query = StoredEntry.select(*columns).where(is_entry(entry_id), StoredEntry.state == State.DEAD)
            for seq, stored, incarnation, attempts in query.tuples().execute(self.database):
                before = bytes(stored)
                if before != expected:
                    continue
                StoredEntry.update(
                    raw_bytes=raw,
                    came_as=came_as,
                    entity=clean_text(entity) if entity is not None else None,
                    type=clean_text(type) if type is not None else None,
                ).where(StoredEntry.seq == seq).execute(self.database)
                now, who, why = self.now_ms(), clean_text(who), clean_text(why)
                EditRow.insert(entry_id=entry_id, at=now, who=who, why=why, raw_before=before).execute(self.database)
                HistoryRow.insert(
                    entry_id=entry_id,
                    at=now,
                    from_state=State.DEAD,
                    to_state=State.DEAD,
                    incarnation=incarnation,
                    attempts=attempts,
                    kind=EDITED,
                    why=why,
                    who=who,
                ).execute(self.database)
                return True
        return False

    def edits(self, entry_id: int) -> list[PayloadEdit]:
        """How the entry's payload was changed, oldest first; the first one holds the original."""
        columns = (EditRow.at, EditRow.who, EditRow.why, EditRow.raw_before)
        query = EditRow.select(*columns).where(EditRow.entry_id == entry_id).order_by(EditRow.id)
        rows = query.tuples().execute(self.database)
        return [PayloadEdit(at, who, why, bytes(raw_before)) for at, who, why, raw_before in rows]
