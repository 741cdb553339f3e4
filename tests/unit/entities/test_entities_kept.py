"""Queries that Peewee makes once: their text for each dialect, and which value stands where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entities import database
from entities.database import DatabaseConfig, open_database
from entities.kept import KeptQuery, Slot
from entities.own_tables import IngestEpochs
from tests.support.applying import sqlite_database


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        database.execute("DELETE FROM ingest_epochs")
        yield


def insert() -> Any:
    return IngestEpochs.insert(
        consumer_group=Slot("group"), epoch=Slot("epoch"), outbox_id="an outbox", raised_at=Slot("epoch")
    )


def epochs() -> list[Any]:
    rows: list[Any] = database.execute(
        "SELECT consumer_group, epoch, outbox_id, raised_at FROM ingest_epochs"
    ).fetchall()
    return rows


def test_values_stand_where_their_slots_are_and_what_was_no_slot_stays() -> None:
    kept = KeptQuery(insert)

    kept.run(group="a", epoch=1)
    kept.run(epoch=2, group="b")

    assert epochs() == [("a", 1, "an outbox", 1), ("b", 2, "an outbox", 2)]


def test_the_query_is_built_once_for_each_shape() -> None:
    built: list[int] = []

    def first(limit: int) -> Any:
        built.append(limit)
        return (
            IngestEpochs.select(IngestEpochs.epoch)
            .where(IngestEpochs.epoch > Slot("epoch"))
            .order_by(IngestEpochs.epoch)
            .limit(limit)
        )

    kept = KeptQuery(first)
    for number in (1, 2, 3):
        KeptQuery(insert).run(group=f"group {number}", epoch=number)

    found = [kept.run(limit, epoch=0).fetchall() for limit in (1, 2, 1, 2)]

    assert found == [[(1,)], [(1,), (2,)], [(1,)], [(1,), (2,)]]
    assert built == [1, 2]


def test_each_dialect_has_its_own_text(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptQuery(lambda: insert().on_conflict_ignore())
    kept.run(group="a", epoch=1)
    told: list[str] = []
    monkeypatch.setattr(database, "execute", lambda text, _values: told.append(text))

    kept.run(group="a", epoch=2)
    open_database(DatabaseConfig(engine="mysql"))
    kept.run(group="a", epoch=2)

    on_sqlite, on_mysql = told
    assert on_sqlite.startswith('INSERT OR IGNORE INTO "ingest_epochs"')
    assert on_mysql.startswith("INSERT IGNORE INTO `ingest_epochs`")
    assert ("?" in on_sqlite, "%s" in on_mysql) == (True, True)


def test_a_value_that_is_missing_is_told_by_its_name() -> None:
    with pytest.raises(KeyError, match="epoch"):
        KeptQuery(insert).run(group="a")

    assert epochs() == []
