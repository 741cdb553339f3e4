"""The moments at which the tests kill or stop a process: named, so that each is tried on purpose and not by luck.

`reach` stands at each of them in the code. It does nothing, and costs a look at one variable, until `arm` was called.
Armed, a process looks in a folder for a file named for the point (``worker.committed``): whoever finds it takes it away
(so it acts once), leaves ``worker.committed.<pid>`` in its place, and does to itself what the file says: ``kill`` or
``stop`` (SIGKILL, SIGSTOP), or ``hang``: the thread alone waits for as long as that file is there. A test arms a point by
writing the file, at any time, while the processes run.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

#: The environment variable that names the folder. It is no setting: nobody but a test has a use for it.
VARIABLE = "FAULT_POINTS_DIR"

#: How often (s) a thread that hangs looks whether it may go on.
HANGING_LOOK_S = 0.02


class Point(StrEnum):
    """Where a process may be ended. What is lost there, and what then repairs it, is said at each."""

    # Ingest, the Kafka thread.
    POLLED = "kafka.polled"  # records in memory only: read again from the committed offset
    COMMITTING = "kafka.committing"  # persisted, not committed: read again, recognised by their place
    COMMITTED = "kafka.committed"
    # Ingest, the main loop.
    APPENDING = "ingest.appending"  # in the outbox's transaction, after the records: undone, read again
    APPENDED = "ingest.appended"  # in the outbox, the offset is not committed
    SETTLING = "ingest.settling"  # in the outbox's transaction, after the outcomes: undone, dispatched again
    SETTLED = "ingest.settled"  # in the outbox; the planner does not know
    BEGINNING = "ingest.beginning"  # an assignment: what others went beyond is archived, nothing is read yet
    IMPORTED = "ingest.imported"  # a portion of the ledger's dead letters is in the outbox
    PLANNED = "ingest.planned"  # handed to the dispatcher; the outbox still says pending
    STOPPING = "ingest.stopping"  # a clean stop is half done
    # Ingest, the other threads.
    EPOCH_RAISED = "ingest.epoch_raised"  # in the database; ingest does not know: the next one is higher
    DISCARDED = "ingest.discarded"  # in the ledger; the outbox still has it to tell: told again, harmless
    SENDING = "dispatcher.sending"  # in flight in the planner only
    ANNOUNCING = "announcer.announcing"  # nothing is sent: the outbox has it still to tell
    ANNOUNCED = "announcer.announced"  # Kafka has them; the outbox does not know: told again
    SENT = "dispatcher.sent"  # in Redis; the outbox may still say pending
    DRAINED = (
        "settlements.drained"  # outcomes in memory only: their operations are dispatched again, the ledger answers
    )
    # The actors.
    PICKED_UP = "worker.picked_up"  # nothing done: the message comes back
    FENCE_PASSED = "worker.fence_passed"  # in the transaction, holding the epoch's lock
    ROWS_WRITTEN = "worker.rows_written"  # in the transaction, before the ledger's lines
    LINES_WRITTEN = "worker.lines_written"  # in the transaction, after them
    COMMITTED_ROWS = "worker.committed"  # applied; nobody knows: the ledger answers the next copy
    INVALIDATED = "worker.invalidated"  # the cache is told, sync_cache is not sent
    SYNC_SENT = "worker.sync_sent"  # the outcome is not told
    SETTLEMENT_PUSHED = "worker.settlement_pushed"  # the message is not acknowledged: it comes back, harmless
    RETRY_TOLD = "worker.retry_told"  # the attempt is told, the retry is not enqueued
    BURIED = "worker.buried"  # the verdict is in the ledger, the outcome is not told
    # The cache sync.
    LEASED = "cache.leased"  # leases are set: they run out
    READ = "cache.read"  # rows are read and locked, values not set
    FILLED = "cache.filled"  # values are set, the message is not acknowledged


_handler: Callable[[Point], None] | None = None


def reach(point: Point) -> None:
    """Say that this point is reached. Nothing follows unless a test has armed it."""
    if _handler is not None:
        _handler(point)


def arm(environment: Mapping[str, str]) -> None:
    """Look for armed points in the folder that ``FAULT_POINTS_DIR`` names, if it names one. Called once by a program."""
    folder = environment.get(VARIABLE)
    if folder:
        handle(lambda point: _act(Path(folder), point))


def handle(handler: Callable[[Point], None] | None) -> None:
    """Have this called at each point; None: nothing any more."""
    global _handler
    _handler = handler


def _act(folder: Path, point: Point) -> None:
    armed, taken = folder / point.value, folder / f"{point.value}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.rename(armed, taken)
        action = taken.read_text().strip()
        if action == "hang":
            while taken.exists():
                time.sleep(HANGING_LOOK_S)
        else:
            # To this thread: a signal to the process goes to its main thread, and this one would run on until that has woken.
            signal.pthread_kill(threading.get_ident(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[action])
