"""``Outbox``: everything that can be done with an outbox file, composed of its parts."""

from __future__ import annotations

from outbox.edits import Edits
from outbox.letters import Letters
from outbox.pruning import Pruning
from outbox.queries import Queries
from outbox.transitions import Transitions
from outbox.verification import Verification


class Outbox(Letters, Edits, Transitions, Queries, Pruning, Verification):
    """An open outbox: ``Outbox.open(path)`` for ingest, ``Outbox.attach(path)`` for the desk.

    The parts: ``Intake`` (append, positions, archive), ``Transitions`` (dispatched, settled, handed back), ``Letters``
    (import, replay, discard), ``Edits`` (changed payloads), ``Announcements`` (what others are still to be told),
    ``Queries`` (window, marks, counts, lists), ``Pruning``, ``Verification``, ``Notes`` (word between programs, the
    audit); beneath them ``OutboxFile`` (connection, transaction, clock).

        with Outbox.open("var/outbox.sqlite3") as outbox, outbox.transaction():
            outbox.append(records, positions)
            outbox.settle(settled)

    A thread gets its own connection at its first call, and closes it with ``close()``.
    """
