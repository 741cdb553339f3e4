"""``--dry-run``: what would become of dead letters if they were replayed now, told by the production code on the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from outbox import Entry, Outbox
from worker.messages import DispatchedOperation, Origin
from worker.rehearsal import Rehearsed, rehearse


def rehearse_letters(outbox: Outbox, letters: Sequence[Entry]) -> Iterator[tuple[Entry, Rehearsed]]:
    """Each letter, in the order given, with what its next incarnation would come to.

    Raises `worker.apply.DatabaseUnavailable`.
    """
    operations = [next_incarnation(outbox, letter) for letter in letters]
    yield from zip(letters, rehearse(operations), strict=True)


def next_incarnation(outbox: Outbox, letter: Entry) -> DispatchedOperation:
    """The operation as a replay would send it."""
    return DispatchedOperation(
        Origin(letter.topic, letter.generation, letter.partition, letter.offset),
        letter.operation_id,
        outbox.next_incarnation(letter.entry_id) or letter.incarnation + 1,
        letter.raw,
        letter.came_as or b"",
    )
