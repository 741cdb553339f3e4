"""Writes that the outbox refuses for a while: its disk is full, or another process holds its lock for too long.

Nothing is lost meanwhile: what is not in the outbox is not committed to Kafka. So whoever wants to write waits and tries again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import TypeVar

import peewee

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The pause (s) before what the outbox refused is tried again.
REFUSED_PAUSE_S = 1.0

#: What SQLite raises when the outbox cannot be written, directly or through Peewee.
OUTBOX_REFUSES = (peewee.OperationalError, sqlite3.OperationalError)


class Refusals:
    """Whether the outbox takes what is written now, and waiting until it does.

    Parameters:
      pause: waits so many seconds.
      tell: called before each pause, to let others know that the loop is alive.
    """

    def __init__(self, pause: Callable[[float], None], tell: Callable[[], None]) -> None:
        self._pause = pause
        self._tell = tell
        self.is_refusing = False
        self.is_stopping = False

    def insist(self, write: Callable[[], T]) -> T | None:
        """Do a write that nothing can go on without, however long it is refused; None if a stop is asked for."""
        while not self.is_stopping:
            try:
                written = write()
            except OUTBOX_REFUSES as error:
                self.wait(error)
            else:
                self.is_refusing = False
                return written
        return None

    def wait(self, error: Exception) -> None:
        """A write was refused: say so, and wait before it is tried again."""
        logger.error("The outbox cannot be written: %s; nothing is lost, it is tried again", first_cause(error))
        self.is_refusing = True
        self._tell()
        self._pause(REFUSED_PAUSE_S)


def first_cause(error: BaseException) -> BaseException:
    """What went wrong first: SQLite undoes a transaction for which there is no room, and then undoing it fails."""
    while error.__context__ is not None:
        error = error.__context__
    return error
