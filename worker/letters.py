"""A dead letter as the database's ledger holds it, made one that an outbox can take over."""

from __future__ import annotations

from entities.ledger import SettledOperation
from outbox.records import ImportedLetter
from worker.work import content_of


def for_the_outbox(letter: SettledOperation, now_ms: int) -> ImportedLetter:
    """The letter as it is imported. ``now_ms`` (since 1970) stands for the time it died, which the ledger does not tell."""
    payload = letter.payload or b""
    return ImportedLetter(
        letter.topic,
        letter.generation,
        letter.partition,
        letter.offset,
        letter.operation_id,
        letter.entity,
        letter.type,
        payload,
        letter.incarnation,
        letter.attempts,
        letter.error_kind,
        letter.reason,
        now_ms,
        # an operator had changed it when it died, or its payload did not fit: its identity is the original's
        letter.content if letter.content != content_of(payload) else None,
    )
