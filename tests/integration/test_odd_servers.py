"""Servers that are configured unlike ours: what they are set to by others changes neither an outcome nor who pays for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peewee
import pytest

from entities import database, ledger
from entities.database import DatabaseConfig
from tests.support.applying import (
    again,
    apply,
    create,
    create_user,
    delete,
    mariadb_database,
    outcomes,
    rows,
    update,
)
from tests.support.mariadb_server import PASSWORD, USER, MariaDBServer
from worker import apply as apply_module
from worker.apply import DatabaseUnavailable
from worker.messages import Outcome

APPLIED, FAILED, HANDED_BACK = Outcome.APPLIED, Outcome.FAILED, Outcome.HANDED_BACK


@contextmanager
def set_for_all(mariadb: MariaDBServer, variable: str, value: float) -> Iterator[None]:
    """A variable of the server, for every session that is opened in this block."""
    [(before,)] = mariadb.rows(f"SELECT @@GLOBAL.{variable}")
    mariadb.execute(f"SET GLOBAL {variable} = {value}")
    database.close()
    try:
        yield
    finally:
        mariadb.execute(f"SET GLOBAL {variable} = {before}")
        database.close()


def test_a_row_that_others_hold_for_longer_than_a_statement_may_take_is_no_failure(
    mariadb: MariaDBServer, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply_module, "RETRIES_AT_ONCE", 0)
    apply(create_user(1, id=1))
    with set_for_all(mariadb, "max_statement_time", 0.2), mariadb.connection(bound) as other, other.cursor() as cursor:
        database.execute("SET SESSION innodb_lock_wait_timeout = 1")
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM usuarios WHERE id = 1 FOR UPDATE")

        alone = apply(update("User", 1, firstName="b"), is_alone=True)

    assert outcomes(alone) == [HANDED_BACK]


def test_a_backup_lock_for_longer_than_a_statement_may_take_is_an_outage(mariadb: MariaDBServer, bound: str) -> None:
    apply(create_user(1, id=1))
    with set_for_all(mariadb, "max_statement_time", 0.2), mariadb.connection(bound) as other, other.cursor() as cursor:
        database.open_database(
            DatabaseConfig(
                host="127.0.0.1", port=mariadb.port, user=USER, password=PASSWORD, name=bound, read_timeout_s=1
            )
        )
        cursor.execute("FLUSH TABLES WITH READ LOCK")

        with pytest.raises(DatabaseUnavailable):
            apply(update("User", 1, firstName="b"), is_alone=True)


def test_a_limit_on_the_rows_of_a_query_hides_no_line_of_the_ledger(mariadb: MariaDBServer, bound: str) -> None:
    operations = [create_user(number, id=number) for number in range(1, 5)]
    with set_for_all(mariadb, "sql_select_limit", 1):
        apply(*operations)

        result = apply(*map(again, operations))

    assert outcomes(result) == [APPLIED] * 4


def test_keys_are_checked_and_cascades_run_though_the_server_is_set_not_to(mariadb: MariaDBServer, bound: str) -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    with set_for_all(mariadb, "foreign_key_checks", 0):
        orphan = apply(create("Business", id=2, userId=77, name="y"), is_alone=True)
        apply(delete("User", 1))

        assert outcomes(orphan) == [FAILED]
        assert rows("SELECT id FROM emprendimientos") == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--innodb-read-only=1"], "1036"),
        (["--innodb-force-recovery=6"], "1036"),
        (["--log-bin=binlog", "--server-id=1", "--binlog-format=STATEMENT"], "1665"),
    ],
)
def test_a_server_that_was_started_so_that_it_takes_no_writes_is_an_outage(
    tmp_path: Path, options: list[str], error: str
) -> None:
    """It answers reads, the epoch's too: only a write tells."""
    server = MariaDBServer(tmp_path / "mariadb")
    server.start()
    server.create_database("shop")
    with mariadb_database(server, "shop"):
        apply(create_user(1, id=1))
    server.stop()
    server.options = options
    server.start()
    try:
        database.open_database(DatabaseConfig(port=server.port, host="127.0.0.1", user=USER, name="shop"))

        with pytest.raises(DatabaseUnavailable, match=error):
            apply(update("User", 1, firstName="b"), is_alone=True)
        with pytest.raises(peewee.DatabaseError, match=error):
            ledger.probe("outbox-1")
    finally:
        database.close()
        server.kill()


def test_an_account_that_may_write_nothing_any_more_is_an_outage(mariadb: MariaDBServer, bound: str) -> None:
    apply(create_user(1, id=1))
    mariadb.execute("CREATE OR REPLACE USER reader@'127.0.0.1'")
    mariadb.execute(f"GRANT SELECT ON `{bound}`.* TO reader@'127.0.0.1'")
    database.close()
    database.open_database(DatabaseConfig(host="127.0.0.1", port=mariadb.port, user="reader", name=bound))

    with pytest.raises(DatabaseUnavailable, match="1142"):
        apply(update("User", 1, firstName="b"), is_alone=True)


def test_an_account_that_may_not_write_one_of_the_tables_is_a_failure_of_those_who_need_it(
    mariadb: MariaDBServer, bound: str
) -> None:
    apply(create_user(1, id=1), create_user(2, id=2))
    mariadb.execute("CREATE OR REPLACE USER modest@'127.0.0.1'")
    for rights, table in (("SELECT", "*"), ("ALL", "settled_operations"), ("ALL", "emprendimientos")):
        mariadb.execute(f"GRANT {rights} ON `{bound}`.{table} TO modest@'127.0.0.1'")
    database.close()
    database.open_database(DatabaseConfig(host="127.0.0.1", port=mariadb.port, user="modest", name=bound))

    result = apply(update("User", 1, firstName="b"), create("Business", userId=2, name="x"))

    assert outcomes(result) == [FAILED, APPLIED]
