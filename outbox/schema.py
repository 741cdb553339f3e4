"""The schema's version, and how an older file becomes a current one.

The version stands in the file (``PRAGMA user_version``). A new file is made from the models at once; an older one walks
through ``MIGRATIONS``, all steps in one transaction; a newer one is refused, since this code cannot know what it holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from uuid import uuid4

from peewee import SchemaManager, SqliteDatabase

from outbox.errors import NotAnOutbox, OutboxVersionMismatch
from outbox.models import (
    ARCHIVED_ENTRIES,
    ENTRIES,
    TABLES,
    AnnouncementRow,
    DeskActionRow,
    EditRow,
    Identity,
    Note,
    StateCount,
)
from outbox.states import State

#: Marks the file as an outbox ("outb"), so that nothing else is taken for one.
APPLICATION_ID = 0x6F757462

Migration = Callable[[SqliteDatabase], None]


def run_sql(database: SqliteDatabase, text: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
    """Run SQL that is kept as text, past Peewee's query builder."""
    cursor: sqlite3.Cursor = database.execute_sql(text, parameters)  # type: ignore[no-untyped-call]
    return cursor


def _add_the_desks_tables(database: SqliteDatabase) -> None:
    """Version 2: payloads that an operator changed, the audit, and notes between programs."""
    for table in (EditRow, DeskActionRow, Note):
        SchemaManager(table, database).create_all(safe=False)
    for name in (ENTRIES, ARCHIVED_ENTRIES):
        run_sql(database, f"ALTER TABLE {name} ADD COLUMN came_as BLOB")


def _add_held(database: SqliteDatabase) -> None:
    """Version 3: entries held behind a dead letter, state 5, which Kafka is still owed."""
    for text in (
        "ALTER TABLE entries ADD COLUMN held_by INTEGER",
        "ALTER TABLE archived_entries ADD COLUMN held_by INTEGER",
        "DROP INDEX entries_owed",
        "CREATE INDEX entries_owed ON entries (log_id, offset) WHERE state IN (0, 1, 5) AND incarnation = 0",
        "CREATE INDEX entries_held ON entries (held_by) WHERE state = 5",
        "INSERT INTO counters (state, entries) VALUES (5, 0)",
    ):
        run_sql(database, text)


def _add_announcements(database: SqliteDatabase) -> None:
    """Version 4: what others are still to be told of."""
    SchemaManager(AnnouncementRow, database).create_all(safe=False)


def _index_operations(database: SqliteDatabase) -> None:
    """Version 5: all entries by their operation id, and not only those that were replayed. Some 2 s for a million."""
    run_sql(database, "DROP INDEX entries_replayed")
    run_sql(database, "CREATE INDEX entries_by_operation ON entries (operation_id)")


#: Step n (counted from 0) takes a file of version n + 1 to version n + 2. Append; never change one that was released.
MIGRATIONS: Sequence[Migration] = (_add_the_desks_tables, _add_held, _add_announcements, _index_operations)


def newest_version() -> int:
    return 1 + len(MIGRATIONS)


def version_of(database: SqliteDatabase) -> int:
    """The file's version; 0 for a file in which nothing was made yet.

    :raises NotAnOutbox: another program's file.
    """
    application, version = (
        run_sql(database, f"PRAGMA {pragma}").fetchone()[0] for pragma in ("application_id", "user_version")
    )
    is_empty = run_sql(database, "SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    if application != APPLICATION_ID and not is_empty:
        raise NotAnOutbox("it is the SQLite file of another program")
    return 0 if is_empty else int(version)


def prepare(database: SqliteDatabase, now_ms: int) -> None:
    """Make the tables in a new file, or bring an older file up to date. All of it or nothing.

    :raises NotAnOutbox: another program's file.
    :raises OutboxVersionMismatch: the file was written by a newer program.
    """
    with database.atomic("IMMEDIATE"):
        version, newest = version_of(database), newest_version()
        if version > newest:
            raise OutboxVersionMismatch(f"it has version {version}, this program knows {newest}: run the newer program")
        if version == newest:
            return  # nothing is written: an ingest must be able to start while the disk is full
        if version == 0:
            _create(database, now_ms)
        else:
            for migrate in MIGRATIONS[version - 1 :]:
                migrate(database)
        run_sql(database, f"PRAGMA application_id = {APPLICATION_ID}")
        run_sql(database, f"PRAGMA user_version = {newest}")


def check(database: SqliteDatabase) -> None:
    """For who may look but not change: the file must be of this very version.

    :raises NotAnOutbox: another program's file.
    :raises OutboxVersionMismatch: it is of another version.
    """
    version, newest = version_of(database), newest_version()
    if version != newest:
        remedy = "run the newer program" if version > newest else "start ingest once, which brings it up to date"
        raise OutboxVersionMismatch(f"it has version {version}, this program {newest}: {remedy}")


def _create(database: SqliteDatabase, now_ms: int) -> None:
    for table in TABLES:
        SchemaManager(table, database).create_all(safe=False)
    Identity.insert(outbox_id=uuid4().hex, created_at=now_ms).execute(database)
    StateCount.insert_many([{"state": state, "entries": 0} for state in State]).execute(database)
