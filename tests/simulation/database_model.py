"""The application's database: SQLite in memory beneath the production code, with the faults of a server in front of it.

Transactions run one at a time. Who comes while another one is open waits for it, as for a lock, and gets error 1205 if that
takes too long; so a worker that is paused in its transaction holds up the others until it goes on or the server drops it.
Connections break, also at COMMIT, before it or after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import peewee

from entities import base, ledger
from entities.database import DatabaseConfig, SQLiteFile
from entities.registry import all_entities
from entities.schema import create_application_tables
from tests.support.streams import FIRST_GENERATED
from worker.messages import Batch, Verdicts

#: How long (s) a statement waits for a lock.
LOCK_WAIT_S = 5.0


class Session:
    """A thread's connection. ``is_lost``: the server has dropped it, and its next statement will say so."""

    def __init__(self) -> None:
        self.state: Any = peewee._ConnectionState()
        self.is_lost = False
        #: For the checker: for what the transaction works, and which lines it has written.
        self.sent: Batch | Verdicts | None = None
        self.lines: list[Any] = []


def _error(number: int, text: str) -> peewee.OperationalError:
    return peewee.OperationalError(number, text)


class ModelSQLite(SQLiteFile):
    """One server for all simulated processes; ``reset`` makes it new.

    ``session``: that of the thread which runs. ``wait``: lets other threads run until a condition holds or a time has come;
    False if it was the time.
    """

    def __init__(self) -> None:
        self.session = Session()
        self._rescue = Session()
        super().__init__(DatabaseConfig(engine="sqlite", name=":memory:"))
        self._connection: Any = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        self._connection.execute("PRAGMA foreign_keys = 1")
        self.server_version = sqlite3.sqlite_version_info
        self.holder: Session | None = None
        self.is_down = False
        self.wait: Callable[[Callable[[], bool], float], bool] = lambda _condition, _seconds: False
        self.on_commit: Callable[[Session], None] = lambda _session: None
        #: The next transaction that settles something loses its connection: "before" or "after" its COMMIT.
        self.next_commit_breaks: str | None = None
        self.next_statement_fails: int | None = None
        self._tables: list[str] = []

    @property
    def _state(self) -> Any:
        return self.session.state

    @_state.setter
    def _state(self, state: Any) -> None:
        pass  # Peewee's own, one a thread; ours is one a session

    # -------------------------------------------------------------------------------------------------- the faults

    def go_down(self) -> None:
        """The server is gone, and with it whatever was not committed."""
        self.is_down = True
        if self.holder is not None:
            self.drop(self.holder)

    def drop(self, session: Session) -> None:
        """Break this connection; its transaction is undone."""
        session.is_lost = True
        if self.holder is session:
            self._undo()

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if self.holder is not None:
            self.holder.lines.clear()
        self.holder = None

    # ---------------------------------------------------------------------------------------------------- Peewee's hooks

    def _connect(self) -> Any:
        if self.is_down:
            raise _error(2003, "Can't connect to MySQL server")
        self.session.is_lost = False
        return self._connection

    def _initialize_connection(self, connection: Any) -> None:
        pass

    def _close(self, connection: Any) -> None:
        if self.holder is self.session:
            self._undo()

    def begin(self, lock_type: str | None = None) -> None:
        if self.is_closed():
            self.connect()
        self._go_first()
        self._check()
        self._connection.execute("BEGIN IMMEDIATE")
        self.holder = self.session

    def commit(self) -> None:
        self._check()
        breaks = self.next_commit_breaks if self.session.lines else None
        if breaks:
            self.next_commit_breaks = None
        if breaks == "before":
            self.drop(self.session)
            raise _error(2013, "Lost connection to MySQL server during query")
        self._connection.execute("COMMIT")
        session = self.session
        self.holder = None
        self.on_commit(session)
        session.lines.clear()
        if breaks:
            session.is_lost = True
            raise _error(2013, "Lost connection to MySQL server during query")

    def rollback(self) -> None:
        if self.session.is_lost:
            raise peewee.InterfaceError(0, "")
        self._undo()

    def get_tables(self, schema: str | None = None) -> list[str]:
        self._check()
        return self._tables

    def _execute_cursor(self, sql: str, params: Any = None) -> Any:
        if self.is_closed():
            self.connect()
        if self.holder is not self.session:
            self._go_first()
        self._check()
        if self.next_statement_fails is not None and self.holder is self.session:
            number, self.next_statement_fails = self.next_statement_fails, None
            if number == 1213:
                self._undo()
            raise _error(number, "Deadlock found when trying to get lock")
        try:
            return self._connection.execute(sql, params or ())  # straight away, without Peewee's hooks and logs
        except sqlite3.Error:
            with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
                raise

    def _check(self) -> None:
        if self.session.is_lost or self.is_down:
            self.drop(self.session)
            raise _error(2013, "Lost connection to MySQL server during query")

    def _go_first(self) -> None:
        """Wait until nobody else has a transaction open."""
        while self.holder is not None and self.holder is not self.session:
            if not self.wait(lambda: self.holder is None, LOCK_WAIT_S) and self.holder is not None:
                raise _error(1205, "Lock wait timeout exceeded; try restarting transaction")

    # ------------------------------------------------------------------------------------------------------ its life

    def make_tables(self) -> None:
        """Once: the application's tables and the service's."""
        base.database.initialize(self)
        create_application_tables()
        ledger.create_own_tables()
        named = self.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY rowid"
        )
        self._tables = [name for (name,) in reversed(named)]

    def reset(self) -> None:
        """Empty, up, nobody connected; generated ids begin far above explicit ones."""
        self._undo()
        self.session = self._rescue
        self.is_down, self.next_commit_breaks, self.next_statement_fails = False, None, None
        run = self._connection.execute
        run("BEGIN")
        for table in self._tables:
            run(f'DELETE FROM "{table}"')
        run("DELETE FROM sqlite_sequence")
        for entity in all_entities():
            run("INSERT INTO sqlite_sequence VALUES (?, ?)", (entity._meta.table_name, FIRST_GENERATED - 1))
        run("COMMIT")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read as the checker does: past all sessions."""
        return list(self._connection.execute(sql))
