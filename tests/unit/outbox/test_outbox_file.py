"""The file: how it is made, who may open it, and how an older or a foreign one is met."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from peewee import SqliteDatabase

from outbox import Audience, NotAnOutbox, Outbox, OutboxFileMissing, OutboxVersionMismatch, UnusableOutbox, schema
from outbox.models import TABLES
from outbox.schema import run_sql
from tests.unit.outbox.builders import (
    Clock,
    a_dead_letter,
    a_record,
    appended,
    back_to_version_2,
    back_to_version_3,
    back_to_version_4,
    sql,
)


def test_a_new_file_is_made_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with Outbox.open(path) as outbox:
            appended(outbox, a_record(0))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("outbox.sqlite3", "outbox.sqlite3-wal", "outbox.sqlite3-shm"), 0o600)


def test_the_pragmas_that_durability_and_pruning_need(path: Path) -> None:
    with Outbox.open(path) as outbox:
        pragmas = [
            sql(outbox, f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "auto_vacuum")
        ]

    assert pragmas == ["wal", 2, 2]


def test_opening_and_attaching_write_nothing_to_a_file_that_is_up_to_date(path: Path) -> None:
    """On a full disk a write would fail, and neither the desk could look nor ingest start."""
    with Outbox.open(path) as outbox:
        before = outbox.data_version()

        with Outbox.attach(path), Outbox.open(path):
            pass

        assert outbox.data_version() == before


def test_an_outbox_keeps_its_identity_and_another_has_another(tmp_path: Path, path: Path, clock: Clock) -> None:
    with Outbox.open(path, clock) as outbox:
        first = outbox.outbox_id
    with Outbox.open(path) as outbox:
        assert outbox.outbox_id == first
    with Outbox.open(tmp_path / "another.sqlite3") as outbox:
        assert outbox.outbox_id != first

    assert len(bytes.fromhex(first)) == 16


def test_attaching_makes_nothing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OutboxFileMissing, match=r"there is no outbox at .*outbox\.sqlite3"):
        Outbox.attach(path)

    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_no_outbox_to_attach_to(path: Path) -> None:
    path.parent.mkdir()
    path.touch()

    with pytest.raises(OutboxFileMissing):
        Outbox.attach(path)

    assert path.stat().st_size == 0


@pytest.mark.parametrize("use", [Outbox.open, Outbox.attach])
def test_a_file_that_is_no_database_is_left_alone(path: Path, use: type[Outbox]) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1_000)

    with pytest.raises(NotAnOutbox, match=r"outbox\.sqlite3"):
        use(path)  # type: ignore[arg-type, call-arg]

    assert path.read_bytes() == b"not a database" * 1_000


@pytest.mark.parametrize("use", [Outbox.open, Outbox.attach])
def test_another_programs_database_is_left_alone(path: Path, use: type[Outbox]) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.execute("PRAGMA user_version = 1")
    connection.close()

    with pytest.raises(NotAnOutbox, match="another program"):
        use(path)  # type: ignore[arg-type, call-arg]

    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    connection.close()


def test_a_file_of_a_newer_program_is_refused(path: Path) -> None:
    with Outbox.open(path) as outbox:
        sql(outbox, "PRAGMA user_version = 99")

    for use in (Outbox.open, Outbox.attach):
        with pytest.raises(OutboxVersionMismatch, match=r"version 99.*run the newer program") as caught:
            use(path)
        assert isinstance(caught.value, UnusableOutbox)


def add_a_column(database: SqliteDatabase) -> None:
    run_sql(database, "ALTER TABLE entries ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")


def paint_it(database: SqliteDatabase) -> None:
    run_sql(database, "UPDATE entries SET colour = 'green'")


def fail(database: SqliteDatabase) -> None:
    raise ZeroDivisionError


def test_an_older_file_is_migrated_step_by_step_with_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", [])
    with Outbox.open(path) as outbox:
        appended(outbox, a_record(0))

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, add_a_column, paint_it])
    with Outbox.open(path) as outbox:
        assert sql(outbox, "SELECT colour FROM entries").fetchall() == [("green",)]
        assert schema.version_of(outbox.database) == schema.newest_version()
    with Outbox.open(path) as outbox:  # and not a second time
        assert outbox.counts().pending == 1


def test_a_step_that_was_made_is_not_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", [fail])
    with Outbox.open(path):
        pass  # a new file is made at the newest version

    monkeypatch.setattr(schema, "MIGRATIONS", [fail, add_a_column])
    with Outbox.open(path) as outbox:
        assert sql(outbox, "SELECT count(colour) FROM entries").fetchone() == (0,)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", [])
    Outbox.open(path).close()

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, add_a_column, fail])
    with pytest.raises(ZeroDivisionError):
        Outbox.open(path)

    monkeypatch.setattr(schema, "MIGRATIONS", [])
    with Outbox.open(path) as outbox, pytest.raises(Exception, match="colour"):
        sql(outbox, "SELECT colour FROM entries")


def test_the_desk_does_not_migrate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", [])
    Outbox.open(path).close()

    newest = schema.newest_version()
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, add_a_column])
    with pytest.raises(OutboxVersionMismatch, match=rf"version {newest}, this program {newest + 1}: start ingest once"):
        Outbox.attach(path)


def indexes(outbox: Outbox) -> set[str]:
    """The indexes of the entries, by name."""
    return {name for _, name, *_ in sql(outbox, "PRAGMA index_list(entries)")}


def test_a_file_from_before_the_desk_could_edit_is_brought_up_to_date(path: Path) -> None:
    with Outbox.open(path) as outbox:
        letter = a_dead_letter(outbox)
        back_to_version_2(outbox)
        for text in (
            *("DROP TABLE edits", "DROP TABLE desk_actions", "DROP TABLE notes", "PRAGMA user_version = 1"),
            *("ALTER TABLE entries DROP COLUMN came_as", "ALTER TABLE archived_entries DROP COLUMN came_as"),
        ):
            sql(outbox, text)

    with Outbox.open(path) as outbox:
        outbox.leave_note("ingest", "{}")
        changes = {"came_as": b"digest", "entity": "User", "type": "UPDATE", "who": "ana", "why": "mended"}
        assert outbox.edit(letter, b'{"a": 1}', expected=b"{}", **changes)
        assert [verdict for verdict in outbox.verify() if not verdict.is_sound] == []


def test_a_file_from_before_others_were_told_is_brought_up_to_date(path: Path) -> None:
    with Outbox.open(path) as outbox:
        letter = a_dead_letter(outbox)
        back_to_version_3(outbox)

    with Outbox.open(path) as outbox:
        outbox.discard([letter], "ana", "not wanted")
        assert len(outbox.announcements(Audience.LEDGER, 10, 10**6)) == 1


def test_a_file_from_before_operations_had_an_index_is_brought_up_to_date(path: Path) -> None:
    with Outbox.open(path) as outbox:
        letter = a_dead_letter(outbox)
        as_new = indexes(outbox)
        back_to_version_4(outbox)

    with Outbox.open(path) as outbox:
        assert indexes(outbox) == as_new
        (replayed,) = outbox.replay([letter], "ana", "mended")
        assert replayed.incarnation == 1


def test_every_table_has_a_model_and_every_model_a_table(path: Path) -> None:
    with Outbox.open(path) as outbox:
        tables = {name for (name,) in sql(outbox, "SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert tables - {"sqlite_sequence"} == {table._meta.table_name for table in TABLES}


def test_two_threads_each_with_a_connection_of_its_own(path: Path) -> None:
    with Outbox.open(path) as outbox:

        def append_some(partition: int) -> None:
            for offset in range(50):
                outbox.append([a_record(offset, partition=partition)])
            outbox.close()

        threads = [threading.Thread(target=append_some, args=(partition,)) for partition in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert outbox.counts().pending == 100


def test_a_path_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "50% of ? # ñ" / "an outbox.sqlite3"

    with Outbox.open(path) as outbox:
        appended(outbox, a_record(0))
    with Outbox.attach(path) as outbox:
        assert outbox.counts().pending == 1

    assert path.is_file()
