"""What a server says it will do for each statement that some code really runs: by which index it looks, or that it reads a whole
table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peewee
import pytest

Statement = tuple[str, Sequence[Any]]


@contextmanager
def recorded_statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Statement]]:
    """The SELECTs that Peewee's databases are given inside the block, with their parameters."""
    seen: list[Statement] = []
    run: Callable[..., Any] = peewee.Database.execute_sql

    def recording(self: peewee.Database, sql: str, params: Any = None, *more: Any) -> Any:
        if sql.lstrip().upper().startswith("SELECT"):
            seen.append((sql, tuple(params or ())))
        return run(self, sql, params, *more)

    with monkeypatch.context() as patched:
        patched.setattr(peewee.Database, "execute_sql", recording)
        yield seen


def sqlite_plan(database: Any, statement: Statement) -> list[str]:
    """The steps of SQLite's plan: `SEARCH entries USING INDEX …`, `SCAN entries`, `USE TEMP B-TREE FOR ORDER BY`."""
    sql, parameters = statement
    return [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]


def mysql_plan(database: Any, statement: Statement) -> list[str]:
    """A line a table: how it is read (`range`, `ref`, `ALL` …), by which key, and what else is done."""
    sql, parameters = statement
    cursor = database.execute_sql(f"EXPLAIN {sql}", parameters)
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [f"{row['table']} {row['type']} {row['key']}; {row['Extra']}" for row in rows]
