"""Every error number of the design's table is of the right kind, however Peewee has wrapped or hidden it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import peewee
import pymysql
import pytest

from entities import database
from entities.database import DatabaseConfig
from tests.support.waiting import free_port
from worker.failures import Cause, Failure, FailureKind, classify

UNAVAILABLE, CONTENTION = FailureKind.UNAVAILABLE, FailureKind.CONTENTION
ORDER, REFUSED, UNEXPECTED = FailureKind.ORDER, FailureKind.REFUSED, FailureKind.UNEXPECTED


def wrapped(code: int, text: str = "") -> peewee.PeeweeException:
    """The error of a server as Peewee raises it."""
    original = pymysql.err.OperationalError(code, text)
    return peewee.OperationalError(original, *original.args)


def hidden(first: Exception) -> Exception:
    """What comes out of atomic() when the rollback fails as well: the first error is only in the context."""
    original = pymysql.err.InterfaceError(0, "")
    original.__context__ = first
    error = peewee.InterfaceError(original, *original.args)
    error.__context__ = original
    return error


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ((2002, 2003, 2006, 2013, 2055, 1040, 1203, 1226, 1290, 1836, 1053, 1021, 1114), UNAVAILABLE),
        ((1044, 1045, 1049, 1129, 1130, 1927), UNAVAILABLE),
        ((1036, 1792, 1874, 1881, 1637, 1665, 1598, 1047, 4031), UNAVAILABLE),
        ((1205, 1213, 1317), CONTENTION),
        ((1062, 1452), ORDER),
        ((1265, 1366, 1406, 1048, 1364, 1292, 1264, 1153), REFUSED),
        ((1054, 1064, 1142, 1146, 1451, 1644), UNEXPECTED),
    ],
)
def test_each_error_number_is_of_its_kind(codes: tuple[int, ...], kind: FailureKind) -> None:
    assert {code: classify(wrapped(code)).kind for code in codes} == dict.fromkeys(codes, kind)


def test_a_lost_connection_that_the_failed_rollback_hides_is_an_outage() -> None:
    failure = classify(hidden(wrapped(2013, "Lost connection to MySQL server during query")))

    assert (failure.kind, failure.code) == (UNAVAILABLE, 2013)
    assert "Lost connection" in failure.reason


def test_an_operations_error_behind_a_lost_connection_is_an_outage_all_the_same() -> None:
    assert classify(hidden(wrapped(1062, "Duplicate entry 'a' for key 'email'"))).kind is UNAVAILABLE


def test_a_packet_that_was_too_big_is_no_outage_though_the_connection_is_lost() -> None:
    failure = classify(hidden(wrapped(1153, "Got a packet bigger than 'max_allowed_packet' bytes")))

    assert (failure.kind, failure.cause) == (REFUSED, Cause.TOO_BIG)
    assert failure.ends_transaction


def test_a_deadlock_counts_and_not_the_savepoint_that_it_has_undone() -> None:
    deadlock = wrapped(1213, "Deadlock found")
    afterwards = wrapped(1305, "SAVEPOINT s1 does not exist")
    afterwards.__context__ = deadlock

    assert classify(afterwards).code == 1213


def test_a_connection_that_is_closed_without_a_number_is_an_outage() -> None:
    assert classify(peewee.InterfaceError("Cannot commit, database connection not open.")).kind is UNAVAILABLE
    assert classify(peewee.InternalError("Packet sequence number wrong - got 45 expected 1")).kind is UNAVAILABLE


def test_an_internal_error_with_a_number_is_the_storage_engines_and_no_outage() -> None:
    original = pymysql.err.InternalError(
        167, "Out of range value for column 'id' at row 1"
    )  # as PyMySQL has any below 1000

    failure = classify(peewee.InternalError(original, *original.args))

    assert (failure.kind, failure.cause, failure.code) == (REFUSED, Cause.NO_IDS_LEFT, 167)


def test_something_that_is_no_database_error_is_unexpected() -> None:
    assert classify(ValueError("hush")) == Failure(UNEXPECTED, Cause.OTHER, 0, "", "ValueError")


@pytest.mark.parametrize(
    ("code", "text", "name"),
    [
        (1062, "Duplicate entry 'for key 'x'' for key 'email'", "email"),
        (1062, "Duplicate entry 'hush' for key 'usuarios.email'", "email"),
        (1366, "Incorrect string value: '\\xF0\\x9F hush' for column `db`.`usuarios`.`nombre` at row 1", "nombre"),
        (1366, "Incorrect string value: 'hush' for column 'nombre' at row 1", "nombre"),
        (
            1292,
            "Incorrect datetime value: 'hush' for column `db`.`usuarios`.`fecha_registro` at row 3",
            "fecha_registro",
        ),
        (1265, "Data truncated for column 'rol' at row 1", "rol"),
        (1048, "Column 'email' cannot be null", "email"),
        (1364, "Field 'email' doesn't have a default value", "email"),
        (
            1452,
            "Cannot add or update a child row: a foreign key constraint fails (`db`.`emprendimientos`, CONSTRAINT `x` "
            "FOREIGN KEY (`usuario_id`) REFERENCES `usuarios` (`id`) ON DELETE CASCADE)",
            "usuario_id",
        ),
        (4025, "CONSTRAINT `usuarios.rol` failed for `db`.`usuarios`", "rol"),
    ],
)
def test_the_name_that_the_server_tells_is_found_and_no_value_is_repeated(code: int, text: str, name: str) -> None:
    failure = classify(wrapped(code, text))

    assert failure.name == name
    assert "hush" not in failure.reason


@pytest.mark.parametrize(
    ("statement", "kind", "cause"),
    [
        ("INSERT INTO parent VALUES (1, 'a', 1)", ORDER, Cause.DUPLICATE),
        ("INSERT INTO parent VALUES (2, 'x', 1)", ORDER, Cause.DUPLICATE),
        ("INSERT INTO child VALUES (9)", ORDER, Cause.MISSING_PARENT),
        ("INSERT INTO parent VALUES (3, NULL, 1)", REFUSED, Cause.NOT_NULL),
        ("INSERT INTO parent VALUES (3, 'b', 7)", REFUSED, Cause.CHECK),
        ("INSERT INTO nothing VALUES (1)", UNEXPECTED, Cause.OTHER),
    ],
)
def test_the_errors_of_sqlite_are_of_the_same_kinds(statement: str, kind: FailureKind, cause: Cause) -> None:
    opened = peewee.SqliteDatabase(":memory:", pragmas={"foreign_keys": 1})
    opened.execute_sql("CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, n CHECK (n < 5))")
    opened.execute_sql("CREATE TABLE child (parent_id REFERENCES parent (id))")
    opened.execute_sql("INSERT INTO parent VALUES (1, 'x', 1)")
    with pytest.raises(peewee.DatabaseError) as raised:
        opened.execute_sql(statement)
    opened.close()

    failure = classify(raised.value)

    assert (failure.kind, failure.cause) == (kind, cause)


def test_a_locked_file_is_contention_and_one_that_cannot_be_opened_an_outage(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite3"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE t (a)")
    holder.execute("BEGIN IMMEDIATE")
    locked = peewee.SqliteDatabase(str(path), timeout=0)
    with pytest.raises(peewee.OperationalError) as while_locked:
        locked.execute_sql("INSERT INTO t VALUES (1)")
    locked.close()
    holder.close()
    nowhere = peewee.SqliteDatabase(str(tmp_path / "no" / "such" / "folder"))
    with pytest.raises(peewee.OperationalError) as without_folder:
        nowhere.execute_sql("SELECT 1")

    assert classify(while_locked.value).kind is CONTENTION
    assert classify(without_folder.value).kind is UNAVAILABLE


def test_a_server_that_refuses_the_connection_is_an_outage() -> None:
    nobody = database.MySQLServer(DatabaseConfig(host="127.0.0.1", port=free_port(), connect_timeout_s=1))
    with pytest.raises(peewee.OperationalError) as raised:
        nobody.execute_sql("SELECT 1")

    assert (classify(raised.value).kind, classify(raised.value).code) == (UNAVAILABLE, 2003)
