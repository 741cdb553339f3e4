"""What the pages work with: the outbox's file, opened for one request, and the database, for one page at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from outbox import Outbox
from worker.apply import DatabaseUnavailable
from worker.desk.reach import bound
from worker.settings import Settings

#: How long (s) a page waits for another that asks the database: the models are bound to one connection at a time.
TURN_S = 10.0


@dataclass(frozen=True)
class Place:
    """Where the service is."""

    settings: Settings
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> Path:
        return Path(self.settings.outbox_path)

    @contextmanager
    def outbox(self) -> Iterator[Outbox]:
        """The outbox, beside whoever has it open; raises `outbox.UnusableOutbox`."""
        with Outbox.attach(self.path) as outbox:
            yield outbox

    @contextmanager
    def database(self) -> Iterator[None]:
        """The models bound to the database; raises `DatabaseUnavailable`."""
        if not self._turn.acquire(timeout=TURN_S):
            raise DatabaseUnavailable("another page is asking the database at this moment")
        try:
            with bound(self.settings):
                yield
        finally:
            self._turn.release()
