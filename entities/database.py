"""The connection to the application's database: MySQL or MariaDB, or SQLite where the pipeline runs embedded.

A session is set up once, when it is opened, so that what the server does does not depend on how it is configured: strict
mode, UTC, READ COMMITTED, found rows counted, foreign and unique keys checked, no limit on rows or on a statement's time.
The server is asked once for a connection what it can take (`ServerFacts`). What differs between the two dialects, apart from
DDL, is said here and nowhere else.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import peewee
from pymysql.constants import CLIENT

from entities import base, mysql_driver

#: Anything that does not fit is refused and never cut, rounded away or stored as `?` or 0000-00-00.
SQL_MODE = "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"

#: The number of rows that means "all" to sql_select_limit.
NO_LIMIT = 2**64 - 1

#: innodb_autoinc_lock_mode: with these ("traditional", "consecutive") the ids of a multi-row INSERT follow each other. With 2
#: ("interleaved", MySQL 8's default) nothing promises it.
CONSECUTIVE_LOCK_MODES = (0, 1)

#: From here on MariaDB knows INSERT … RETURNING.
MARIADB_WITH_RETURNING = (10, 5)

#: How many bytes SQLite takes in a statement or a value (SQLITE_MAX_LENGTH).
SQLITE_MAX_BYTES = 1_000_000_000

#: How many parameters a statement may have, in SQLite since 3.32 (SQLITE_MAX_VARIABLE_NUMBER).
SQLITE_MAX_PARAMETERS = 32_766

#: PyMySQL writes the parameters into the text, so MySQL sees none; the bound only keeps statements readable in its logs.
MYSQL_MAX_PARAMETERS = 100_000


@dataclass(frozen=True)
class DatabaseConfig:
    """Where the database is and how long to wait for it.

    Parameters:
      name: The schema's name; for SQLite the file's path.
      connect_timeout_s: How long a connection may take to open.
      read_timeout_s: How long the server may be silent in a statement before the connection counts as lost (and how long
        it may take to accept what is sent). Well above `lock_wait_timeout_s`, or a lock held by the application looks
        like an outage:
        half of this is the most that counts.
      lock_wait_timeout_s: How long a statement waits for a row lock (innodb_lock_wait_timeout; SQLite: its busy timeout).
      idle_transaction_timeout_s: How long the server waits for the next statement of a transaction before it undoes it. A
        process that hangs, or a host that is cut off, must not keep rows and the epoch locked: MySQL's own limit is 8 hours.
      tls: What to trust and to show; None for a connection without TLS.
    """

    engine: Literal["mysql", "sqlite"] = "mysql"
    host: str = "localhost"
    port: int = 3306
    user: str = "root"
    password: str = field(default="", repr=False)
    name: str = "adelante_sumerce"
    connect_timeout_s: float = 5
    read_timeout_s: float = 60
    lock_wait_timeout_s: int = 5
    idle_transaction_timeout_s: int = 30
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class ServerFacts:
    """What one connection's server takes and does.

    `id_step` is the distance between the ids that one multi-row INSERT generates; None means that they follow no rule one
    could rely on. `can_return` says whether INSERT … RETURNING tells them then.
    """

    max_statement_bytes: int
    max_parameters: int
    id_step: int | None
    can_return: bool = False


class MySQLServer(peewee.MySQLDatabase):
    """MySQL or MariaDB through PyMySQL, each session set up before anybody uses it."""

    def __init__(self, config: DatabaseConfig) -> None:
        super().__init__(
            config.name,
            host=config.host,
            port=config.port,
            user=config.user,
            password=config.password,
            charset="utf8mb4",
            connect_timeout=config.connect_timeout_s,
            read_timeout=config.read_timeout_s,
            write_timeout=config.read_timeout_s,
            ssl=config.tls,
            cursorclass=mysql_driver.Cursor,
            conv=mysql_driver.CONVERSIONS,
            client_flag=CLIENT.FOUND_ROWS,  # an UPDATE that changes nothing counts its row; a missing row counts 0
        )
        self._lock_wait_timeout_s = max(1, min(config.lock_wait_timeout_s, int(config.read_timeout_s) // 2))
        self._idle_transaction_timeout_s = config.idle_transaction_timeout_s
        self._local = threading.local()  # Peewee's connections are the thread's own, and so are their facts

    def _connect(self) -> Any:
        # Not in _initialize_connection: Peewee keeps a connection whose initialisation failed, and would use it.
        connection = super()._connect()  # type: ignore[misc]  # the stubs lack Peewee's hook for drivers
        try:
            self._local.facts = self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: Any) -> ServerFacts:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT @@max_allowed_packet, @@innodb_autoinc_lock_mode, @@auto_increment_increment, VERSION()"
            )
            packet, lock_mode, increment, version = cursor.fetchone()
            is_mariadb = "mariadb" in version.lower()
            # MySQL knows no limit for transactions alone. Its one for connections closes idle ones too: they are opened anew.
            idle_timeout = "idle_transaction_timeout" if is_mariadb else "wait_timeout"
            # What waits for a backup's lock, or for the application's, is not to look like an operation that takes too long.
            statement_timeout = "max_statement_time" if is_mariadb else "max_execution_time"
            cursor.execute(
                f"SET SESSION sql_mode = %s, time_zone = '+00:00', innodb_lock_wait_timeout = %s, {idle_timeout} = %s, "
                f"{statement_timeout} = 0, sql_select_limit = {NO_LIMIT}, foreign_key_checks = 1, unique_checks = 1",
                (SQL_MODE, self._lock_wait_timeout_s, self._idle_transaction_timeout_s),
            )
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return ServerFacts(
            max_statement_bytes=int(packet),
            max_parameters=MYSQL_MAX_PARAMETERS,
            id_step=int(increment) if int(lock_mode) in CONSECUTIVE_LOCK_MODES else None,
            can_return=is_mariadb and _major_and_minor(version) >= MARIADB_WITH_RETURNING,
        )

    def facts(self) -> ServerFacts:
        """What this thread's connection is told by its server; opens it if need be."""
        cast(Any, self).connection()
        return cast(ServerFacts, self._local.facts)


def _major_and_minor(version: str) -> tuple[int, int]:
    """Of "10.11.6-MariaDB" 10 and 11. Some announce themselves as "5.5.5-10.11.6-MariaDB"."""
    major, minor = version.removeprefix("5.5.5-").split(".")[:2]
    return int(major), int(minor)


class SQLiteFile(peewee.SqliteDatabase):
    """The embedded stand-in: one file, one writer at a time."""

    def __init__(self, config: DatabaseConfig) -> None:
        super().__init__(
            config.name,
            pragmas={"journal_mode": "wal", "foreign_keys": 1, "synchronous": "FULL"},
            timeout=config.lock_wait_timeout_s,
        )

    def facts(self) -> ServerFacts:
        """SQLite's limits. Nobody else writes during a statement, so its ids follow each other."""
        return ServerFacts(SQLITE_MAX_BYTES, SQLITE_MAX_PARAMETERS, id_step=1)


ServiceDatabase = MySQLServer | SQLiteFile


def open_database(config: DatabaseConfig) -> ServiceDatabase:
    """Bind the models to this database. Connects nothing yet: each thread's connection opens with its first statement."""
    opened: ServiceDatabase = MySQLServer(config) if config.engine == "mysql" else SQLiteFile(config)
    base.database.initialize(opened)
    return opened


def current() -> ServiceDatabase:
    """The database that the models are bound to."""
    return cast(ServiceDatabase, base.database.obj)


def is_sqlite() -> bool:
    """Whether the models are bound to SQLite."""
    return isinstance(current(), SQLiteFile)


def facts() -> ServerFacts:
    """What this thread's connection is told by its server; opens it if need be."""
    return current().facts()


def execute(sql: str, parameters: Sequence[Any] = ()) -> Any:
    """Run one statement, `%s` or `?` for its parameters as the dialect has it, and give the driver's cursor."""
    bound: Any = current()  # the stubs leave this one untyped
    return bound.execute_sql(sql, parameters)


def sql_text(query: peewee.Node) -> str:
    """The text that Peewee makes of a query for this dialect, without its parameters."""
    context: Any = current().get_sql_context()  # the stubs leave this one untyped
    return str(context.sql(query).query()[0])


def placeholder() -> str:
    """How the driver writes a parameter."""
    return current().param


def placeholders(count: int) -> str:
    """So many parameters, for `IN (…)`."""
    return ",".join([current().param] * count)


def quoted(name: str) -> str:
    """A table's or column's name as the dialect quotes it."""
    mark = current().quote[0]
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"


def share_lock() -> str:
    """What makes a SELECT read the newest rows and keep writers off them. MySQL 8's FOR SHARE is unknown to MariaDB."""
    return "" if is_sqlite() else " LOCK IN SHARE MODE"


def row_lock() -> str:
    """What makes a SELECT lock the rows it finds. A transaction of SQLite has locked everything when it began."""
    return "" if is_sqlite() else " FOR UPDATE"


@contextmanager
def transaction() -> Iterator[None]:
    """One transaction: committed at the end, rolled back by any exception.

    A server closes connections that have long been idle (wait_timeout), which shows at the next BEGIN. That is no outage: it
    is opened anew, once. In SQLite it is IMMEDIATE: a deferred one fails when it first writes while another process does.
    """
    bound = current()
    if isinstance(bound, SQLiteFile):
        with bound.atomic("IMMEDIATE"):
            yield
        return
    was_open = not bound.is_closed()
    with ExitStack() as stack:
        try:
            stack.enter_context(bound.atomic())
        except peewee.PeeweeException:
            if not was_open:
                raise
            close()
            stack.enter_context(bound.atomic())
        yield


@contextmanager
def savepoint() -> Iterator[None]:
    """A part of a transaction that an exception undoes by itself."""
    with current().savepoint():
        yield


def close() -> None:
    """Close this thread's connection, whatever state it is in; the next statement opens another."""
    bound: Any = current()
    while bound.in_transaction():
        bound.pop_transaction()
    try:
        bound.close()
    except (peewee.PeeweeException, OSError):
        pass  # it was broken, and Peewee has forgotten it all the same
