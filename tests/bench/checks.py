"""Whether a run did its work: what is in the database, the ledger and the cache when the clock has stopped.

The rows are compared by count and by a sum of checksums that the database makes, with what the reference applier leaves,
which shares nothing with the service. So a contestant that is fast because it left something out fails.
"""

from __future__ import annotations

import json
from typing import Any

import pymysql

from tests.bench.streams import Stream
from tests.support.mariadb_server import MariaDBServer
from tests.support.pipeline import Pipeline
from tests.support.reference import FIRST_GENERATED, TABLES, TIMES, apply_one_by_one, as_cached

#: How many rows of an entity are compared with their cached values.
SAMPLE = 500

#: Rows of an INSERT when a database is filled for comparison.
ROWS_AT_ONCE = 1_000


class _OneTransaction:
    """A connection whose commits wait for the last: the reference applier is only to come to its end soon."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self._connection = connection

    def cursor(self) -> Any:
        return self._connection.cursor()

    def commit(self) -> None: ...

    def rollback(self) -> None:
        raise AssertionError("the database refused an operation of a stream in which none fails")


def serial_digest(mariadb: MariaDBServer, database: str, stream: Stream, count: int) -> dict[str, tuple[int, int]]:
    """The `digest` that the stream's first `count` operations leave, one after the other, in this empty database."""
    for statement in stream.setup:
        mariadb.execute(statement, database=database)
    messages = stream.good_messages(count)
    with mariadb.connection(database) as connection:
        connection.autocommit(False)
        if stream.name in ("creates", "poisoned"):
            _insert_users(connection, messages)
        else:
            apply_one_by_one(_OneTransaction(connection), messages)  # type: ignore[arg-type]
        connection.commit()
    return digest(mariadb, database)


def _insert_users(connection: pymysql.Connection[Any], messages: list[bytes]) -> None:
    table, columns = TABLES["User"]
    rows = [json.loads(message)["data"] for message in messages]
    names = list(rows[0])
    text = f"INSERT INTO `{table}` ({', '.join(columns[name] for name in names)}) VALUES ({', '.join(['%s'] * len(names))})"
    with connection.cursor() as cursor:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            cursor.executemany(text, [[row[name] for name in names] for row in rows[start : start + ROWS_AT_ONCE]])


def digest(mariadb: MariaDBServer, database: str) -> dict[str, tuple[int, int]]:
    """How many rows of each entity, and the sum of their checksums; generated ids and times of the write count as nothing."""
    found = {}
    for entity, (table, columns) in TABLES.items():
        names = [name for name in columns.values() if name not in TIMES]
        values = ", ".join(f"COALESCE(`{name}`, CHAR(0))" for name in names)
        id = f"IF(id >= {FIRST_GENERATED}, 'generated', id)"
        query = f"SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(CHAR(31), {id}, {values}))), 0) FROM `{table}`"
        [(count, checksum)] = mariadb.rows(query, database=database)
        found[entity] = (int(count), int(checksum))
    return found


def check_rows(mariadb: MariaDBServer, database: str, expected: dict[str, tuple[int, int]]) -> None:
    """Raises AssertionError if the database holds other rows."""
    found = digest(mariadb, database)
    assert found == expected, f"rows and checksums: {found}, expected {expected}"


def check_ledger(pipeline: Pipeline, applied: int) -> None:
    """Raises AssertionError unless each applied operation has its line, and no other operation has one that says so."""
    [(lines,)] = pipeline.query("SELECT COUNT(*) FROM settled_operations WHERE outcome = 'applied'")
    assert lines == applied, f"{lines} lines in the ledger, {applied} operations"


def check_cache(pipeline: Pipeline, count: int | None, compare: bool = True) -> None:
    """Raises AssertionError unless so many rows are cached (None: all that there are), the sampled ones as they should be."""
    if count is None:
        count = sum(rows for rows, _ in digest(pipeline.mariadb, pipeline.database).values())
    with pipeline.cache as cache:
        keys = [key.decode() for key in cache.scan_iter("*:*", count=1000)]
        cached = sum(1 for key in keys if key.count(":") == 1 and key.split(":")[1].isdigit())
        assert cached == count, f"{cached} rows cached, {count} expected"
        for entity, (table, columns) in TABLES.items() if compare else ():
            rows = _sampled_rows(pipeline, table)
            if rows:
                values = cache.mget([f"{entity}:{row['id']}" for row in rows])
                for row, value in zip(rows, values, strict=True):
                    assert value is not None and json.loads(value) == as_cached(columns, row), (
                        f"{entity} {row} {value!r}"
                    )


def _sampled_rows(pipeline: Pipeline, table: str) -> list[dict[str, Any]]:
    with (
        pipeline.mariadb.connection(pipeline.database) as connection,
        connection.cursor(pymysql.cursors.DictCursor) as cursor,
    ):
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(f"SELECT * FROM `{table}` ORDER BY CRC32(id) LIMIT {SAMPLE}")
        return list(cursor.fetchall())
