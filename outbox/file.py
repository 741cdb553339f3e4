"""The SQLite file: opening it safely, its pragmas, its transactions, its counters and its clock.

Every write runs in a transaction that takes the write lock at its beginning: with a second process at the same file a
deferred one fails with "database is locked" in the middle. Each thread gets a connection of its own from Peewee.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from peewee import DatabaseError, OperationalError, SqliteDatabase

from outbox import schema
from outbox.errors import NotAnOutbox, OutboxFileMissing, UnusableOutbox
from outbox.models import COUNTERS, Identity
from outbox.states import State

#: Milliseconds since 1970.
Clock = Callable[[], int]

#: None of these writes to a file that has them already: the desk must be able to look while the disk is full.
PRAGMAS = (
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("wal_autocheckpoint", 2_000),  # pages, 8 MB: a checkpoint writes each page once, so fewer of them write less
    ("journal_size_limit", 64 * 1024 * 1024),  # bytes the WAL keeps after a long reader has let it grow
    ("cache_size", -32 * 1024),  # negative: kilobytes
)

#: It only counts before the first page is written, so it comes first; later it would change nothing, and write it.
PRAGMAS_OF_A_NEW_FILE = (("auto_vacuum", "incremental"), *PRAGMAS)

#: How long a writer waits for another process's transaction, in seconds. Ours last milliseconds.
LOCK_TIMEOUT_S = 30.0

#: The first with UPDATE … FROM.
OLDEST_SQLITE = (3, 33, 0)


@cache
def _count_text(states: int) -> str:
    arms = "WHEN ? THEN ? " * states
    return f"UPDATE {COUNTERS} SET entries = entries + CASE state {arms}END WHERE state IN ({', '.join('?' * states)})"


def system_clock() -> int:
    return time.time_ns() // 1_000_000


def clean_text(text: str) -> str:
    """The text as SQLite can hold it: half a surrogate pair, which is no character, becomes its escape ``\\udc80``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class OutboxFile:
    """An open outbox file. ``Outbox`` adds what can be done with it."""

    def __init__(self, database: SqliteDatabase, now_ms: Clock) -> None:
        self.database = database
        self.now_ms = now_ms
        self.outbox_id: str = Identity.select(Identity.outbox_id).scalar(database)

    @classmethod
    def open(cls, path: str | Path, now_ms: Clock = system_clock) -> Self:
        """For ingest: open the file; make it, and its folder, if they are not there; migrate it if it is older.

        Both are made for their owner alone (0700, 0600): they hold the payloads, password hashes among them.

        :raises UnusableOutbox: a newer program wrote the file, or another program did.
        """
        path = Path(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return cls._opened(path, now_ms, lambda database: schema.prepare(database, now_ms()))

    @classmethod
    def attach(cls, path: str | Path, now_ms: Clock = system_clock) -> Self:
        """For the desk: open a file that is there, beside a running ingest or without one. Makes and migrates nothing.

        :raises UnusableOutbox: there is no such file, it is no outbox, or it is of another version than this program.
        """
        path = Path(path)
        if not path.is_file() or path.stat().st_size == 0:
            raise OutboxFileMissing(f"there is no outbox at {path}")
        return cls._opened(path, now_ms, schema.check)

    @classmethod
    def _opened(cls, path: Path, now_ms: Clock, prepare: Callable[[SqliteDatabase], None]) -> Self:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise UnusableOutbox(f"the outbox needs SQLite 3.33 or newer; this Python has {sqlite3.sqlite_version}")
        # mode=rw: a file that was removed in between is an error, not a new and empty outbox
        uri = f"file:{quote(str(path.absolute()))}?mode=rw"
        pragmas = PRAGMAS if path.stat().st_size else PRAGMAS_OF_A_NEW_FILE
        database = SqliteDatabase(uri, pragmas=pragmas, timeout=LOCK_TIMEOUT_S, uri=True)
        try:
            prepare(database)
            return cls(database, now_ms)
        except UnusableOutbox as error:
            database.close()
            raise type(error)(f"{path}: {error}") from None
        except DatabaseError as error:
            database.close()
            if isinstance(error, OperationalError):
                raise  # locked, or no permission
            raise NotAnOutbox(f"{path}: {error}") from error

    def close(self) -> None:
        """Close the calling thread's connection; another thread closes its own. The file can be used again after it."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[Any]:
        """Several changes in one commit, so one fsync: ``with outbox.transaction(): …``.

        All of it or nothing. Every method that writes joins the transaction around it; the write lock is held from the
        beginning to the end, so do nothing slow in it.
        """
        context: AbstractContextManager[Any] = self.database.atomic("IMMEDIATE")
        return context

    def data_version(self) -> int:
        """A number that changes when another connection than the calling thread's has committed to the file.

        So ingest sees that the desk has written. Only compare numbers that one thread got.
        """
        version: int = self._sql("PRAGMA data_version").fetchone()[0]
        return version

    def _sql(self, text: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        return schema.run_sql(self.database, text, parameters)

    def _count(self, changes: Mapping[State, int]) -> None:
        """Keep the counters true: to be called in the transaction that made the changes."""
        changed = {state: change for state, change in changes.items() if change}
        if changed:
            arms = [number for pair in changed.items() for number in pair]
            self._sql(_count_text(len(changed)), [*arms, *changed])
