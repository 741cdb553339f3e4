"""The outbox: a durable, ordered store of operations between Kafka and the database, in one SQLite file.

``Outbox`` (store.py) is the way in. The file is written by one ingest process and, while that runs, by the operator's
desk (``python -m outbox``). The package knows nothing of Kafka, Redis, MySQL or what an operation means.
"""

from outbox.announcements import Announcement, Audience
from outbox.errors import NotAnOutbox, OutboxFileMissing, OutboxVersionMismatch, UnusableOutbox
from outbox.records import (
    Counts,
    DeskResult,
    Entry,
    EntryFilter,
    FailedAttempt,
    HandedBack,
    HistoryLine,
    ImportedLetter,
    NewRecord,
    Position,
    Settled,
)
from outbox.states import State
from outbox.store import Outbox

__all__ = [
    "Announcement",
    "Audience",
    "Counts",
    "DeskResult",
    "Entry",
    "EntryFilter",
    "FailedAttempt",
    "HandedBack",
    "HistoryLine",
    "ImportedLetter",
    "NewRecord",
    "NotAnOutbox",
    "Outbox",
    "OutboxFileMissing",
    "OutboxVersionMismatch",
    "Position",
    "Settled",
    "State",
    "UnusableOutbox",
]
