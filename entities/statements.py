"""The statements on the entities' rows: many rows in one, their text made from the models, their values parameters.

Each function runs exactly one statement for what it is given, so that a failure leaves nothing of it behind, and the caller
decides how much goes into one. Names in a text come from the models alone. Peewee makes the text of an INSERT once for each
entity and set of columns; repeated for each row it is three times as fast as `insert_many`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import peewee

from entities import database
from entities.base import Entity
from entities.values import ForeignKey

#: The most rows of one INSERT, and of one SELECT or DELETE by ids.
ROWS_PER_STATEMENT = 1_000

#: The most rows of one UPDATE. Each row's CASE looks through the ids of all: more rows would cost more than a round trip.
ROWS_PER_UPDATE = 200

#: What PyMySQL escapes with a backslash: these bytes of a text count twice.
_ESCAPED = tuple(character.encode() for character in "\0\n\r\032\"'\\")

#: What a value that is no text costs in a statement, with what stands around it (`WHEN 123 THEN … `), in bytes.
VALUE_OVERHEAD_BYTES = 48


def weight(values: Collection[Any]) -> int:
    """How many bytes of a statement these values may take."""
    total = VALUE_OVERHEAD_BYTES * (len(values) + 1)
    for value in values:
        if isinstance(value, str):
            text = value.encode()
            total += len(text) + sum(map(text.count, _ESCAPED))
    return total


def insert_rows(entity: type[Entity], columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> list[int]:
    """Insert rows in order and give their ids.

    Parameters:
      columns: The attributes by Python name; the others get the database's defaults.
      rows: A value for each of them, ready for the database.

    The ids of a multi-row INSERT are counted from the first where the server generates them in a row (see
    `database.ServerFacts`). Where it does not, MariaDB tells them, and MySQL gets row by row.
    """
    if "id" in columns:
        database.execute(_insert_text(entity, columns, len(rows)), _flat(rows))
        place = columns.index("id")
        return [row[place] for row in rows]
    if not columns:
        columns, rows = ("id",), [(None,)] * len(rows)  # an id of NULL is generated, in either dialect
    facts = database.facts()
    if facts.id_step is not None or len(rows) == 1:
        last_id = database.execute(_insert_text(entity, columns, len(rows)), _flat(rows)).lastrowid
        # MySQL tells the first id of the statement, SQLite the last one.
        step = facts.id_step or 1
        first_id = last_id - len(rows) + 1 if database.is_sqlite() else last_id
        return [first_id + step * number for number in range(len(rows))]
    if facts.can_return:
        text = f"{_insert_text(entity, columns, len(rows))} RETURNING {database.quoted('id')}"
        return [row_id for (row_id,) in database.execute(text, _flat(rows)).fetchall()]
    with database.savepoint():
        return [database.execute(_insert_text(entity, columns, 1), row).lastrowid for row in rows]


def update_rows(entity: type[Entity], changes: Sequence[tuple[int, Mapping[str, Any]]]) -> int:
    """Change rows, each its own attributes, and count those that are there.

    Parameters:
      changes: Ids, each with new values by Python name, ready for the database; none at all only asks for the row. Where an id
        comes several times (not in SQLite), its values are assigned one after the other: MySQL and MariaDB do that from left to
        right, and refuse the statement for any of them, also one that another replaces.

    One row gets a plain UPDATE, several a CASE for each column that any of them changes.
    """
    ids = dict.fromkeys(row_id for row_id, _ in changes)
    mark = database.placeholder()
    if len(ids) == 1:
        names = ", ".join([f"{_column(entity, name)} = {mark}" for _, values in changes for name in values])
        text = f"UPDATE {_table(entity)} SET {names or 'id = id'} WHERE id = {mark}"
        return int(
            database.execute(text, [*(value for _, values in changes for value in values.values()), *ids]).rowcount
        )
    settings: list[str] = []
    parameters: list[Any] = []
    for arms in _rounds(changes):
        for name, pairs in arms.items():
            column = _column(entity, name)
            settings.append(f"{column} = CASE id {f'WHEN {mark} THEN {mark} ' * (len(pairs) // 2)}ELSE {column} END")
            parameters += pairs
    text = f"UPDATE {_table(entity)} SET {', '.join(settings) or 'id = id'} WHERE id IN ({database.placeholders(len(ids))})"
    return int(database.execute(text, [*parameters, *ids]).rowcount)


def _rounds(changes: Sequence[tuple[int, Mapping[str, Any]]]) -> list[dict[str, list[Any]]]:
    """The changes in rounds, in each of which a row comes once: by attribute the ids and their values, in turns."""
    rounds: list[dict[str, list[Any]]] = []
    counts: dict[int, int] = {}
    for row_id, values in changes:
        number = counts.get(row_id, 0)
        counts[row_id] = number + 1
        if number == len(rounds):
            rounds.append({})
        for name, value in values.items():
            rounds[number].setdefault(name, []).extend((row_id, value))
    return rounds


def highest_id(entity: type[Entity]) -> int:
    """The highest id of all rows that are there; 0 without any. The next one that is generated is above it."""
    (highest,) = database.execute(f"SELECT MAX(id) FROM {_table(entity)}").fetchone()
    return int(highest or 0)


def lock_rows(entity: type[Entity], ids: Collection[int]) -> set[int]:
    """Lock rows against every other writer until the transaction ends, and tell which of them are there."""
    text = f"SELECT id FROM {_table(entity)} WHERE id IN ({database.placeholders(len(ids))}){database.row_lock()}"
    return {row_id for (row_id,) in database.execute(text, list(ids)).fetchall()}


def lock_children(child: type[Entity], key: ForeignKey, parent_ids: Collection[int]) -> list[tuple[int, int]]:
    """Lock the rows of `child` whose foreign key `key` names one of these parents: each one's id and its parent's."""
    column = database.quoted(key.column_name)
    found = f"SELECT id, {column} FROM {_table(child)} WHERE {column} IN ({database.placeholders(len(parent_ids))})"
    return [
        (row_id, parent_id) for row_id, parent_id in database.execute(found + database.row_lock(), list(parent_ids))
    ]


def children_of_rows(
    keys: Sequence[tuple[type[Entity], ForeignKey]], parent_ids: Collection[int]
) -> list[list[tuple[int, int]]]:
    """As `lock_children` for several foreign keys to the same parents in one statement, without a lock on what is found.

    That is enough for rows on which nothing hangs, once the parents are locked: READ COMMITTED shows what is there by then, and
    no more can come.
    """
    ids = database.placeholders(len(parent_ids))
    text = " UNION ALL ".join(
        f"SELECT {number}, id, {column} FROM {_table(child)} WHERE {column} IN ({ids})"
        for number, (child, column) in enumerate((child, database.quoted(key.column_name)) for child, key in keys)
    )
    found: list[list[tuple[int, int]]] = [[] for _ in keys]
    for number, row_id, parent_id in database.execute(text, [*parent_ids] * len(keys)).fetchall():
        found[number].append((row_id, parent_id))
    return found


def delete_rows(entity: type[Entity], ids: Collection[int]) -> None:
    """Delete rows, and by the database's cascade all that hangs on them; those that are not there count as deleted."""
    text = f"DELETE FROM {_table(entity)} WHERE id IN ({database.placeholders(len(ids))})"
    database.execute(text, list(ids))


def rows_by_id(entity: type[Entity], ids: Collection[int]) -> list[Entity]:
    """The rows as they now are, without a lock; those that are gone are left out."""
    query: Any = entity.select().where(entity.id.in_(list(ids)))
    return list(query)


def rows_for_share(entity: type[Entity], ids: Collection[int]) -> list[Entity]:
    """The rows as they now are, locked against writers until the transaction ends; those that are gone are left out."""
    query: Any = entity.select().where(entity.id.in_(list(ids)))
    if not database.is_sqlite():
        query = query.for_update("LOCK IN SHARE MODE")
    return list(query)


def values_for_share(entity: type[Entity], names: tuple[str, ...], ids: Collection[int]) -> list[Sequence[Any]]:
    """Of the rows as they now are the values of these attributes, in this order, locked as by `rows_for_share`.

    As the driver tells them, which is how Peewee would have them: but for SQLite, which knows no dates.
    """
    columns = ", ".join(_column(entity, name) for name in names)
    text = f"SELECT {columns} FROM {_table(entity)} WHERE id IN ({database.placeholders(len(ids))})"
    rows: list[Sequence[Any]] = database.execute(text + database.share_lock(), list(ids)).fetchall()
    if not database.is_sqlite():
        return rows
    fields = [entity._meta.fields[name] for name in names]
    return [[field.python_value(value) for field, value in zip(fields, row, strict=True)] for row in rows]


def _insert_text(entity: type[Entity], columns: tuple[str, ...], count: int) -> str:
    head, row = _insert_parts(entity, columns, database.is_sqlite())
    return head + ",".join([row] * count)


@lru_cache(maxsize=1024)
def _insert_parts(entity: type[Entity], columns: tuple[str, ...], for_sqlite: bool) -> tuple[str, str]:
    """The INSERT's text up to VALUES, and one row of it, as Peewee makes them."""
    fields = [entity._meta.fields[name] for name in columns]
    row: list[Any] = [None] * len(columns)
    head, values = database.sql_text(peewee.Insert(entity, [row], columns=fields)).split(" VALUES ")
    return f"{head} VALUES ", values


def _table(entity: type[Entity]) -> str:
    return database.quoted(str(entity._meta.table_name))


def _column(entity: type[Entity], name: str) -> str:
    return database.quoted(entity._meta.fields[name].column_name)


def _flat(rows: Collection[Sequence[Any]]) -> list[Any]:
    return [value for row in rows for value in row]
