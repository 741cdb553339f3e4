"""What was applied since a letter died, as the ledger knows it: found by an index, page by page, nothing twice or left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entities import base, database, ledger, ledger_search
from entities.database import DatabaseConfig
from entities.ledger import SettledOperation
from entities.ledger_search import AppliedSince, applied_since, settled_at
from entities.own_tables import create_own_tables
from tests.support.query_plans import recorded_statements, sqlite_plan

NOON = 1_700_000_000_000


@pytest.fixture(autouse=True)
def ledger_file(tmp_path: Path) -> Iterator[None]:
    before = base.database.obj
    database.open_database(DatabaseConfig(engine="sqlite", name=str(tmp_path / "application.sqlite3")))
    create_own_tables()
    yield
    database.close()
    base.database.obj = before


def settle(operation_id: str, at: int, entity: str = "User", outcome: str = "applied", row: int | None = 1) -> None:
    touched = (f"{entity}:{row}",) if row is not None else ()
    ledger.record([SettledOperation(operation_id, b"x" * 16, outcome, 0, entity, "UPDATE", touched, "t", 0, 0, 0)])  # type: ignore[arg-type]
    database.execute("UPDATE settled_operations SET settled_at = ? WHERE operation_id = ?", (at, operation_id.encode()))


def found(since_ms: int, *entities: str) -> list[str]:
    return [line.operation_id for line in applied_since(since_ms, entities)]


def test_a_line_tells_operation_type_rows_and_time() -> None:
    settle("op-1", NOON + 1, row=7)

    assert list(applied_since(NOON, ["User"])) == [AppliedSince("op-1", "UPDATE", ("User:7",), NOON + 1)]


def test_only_what_was_applied_later_and_on_these_entities_counts() -> None:
    settle("before", NOON - 1)
    settle("at that moment", NOON)
    settle("after", NOON + 1)
    settle("died", NOON + 1, outcome="dead")
    settle("of another", NOON + 1, entity="Business")
    settle("of a third", NOON + 1, entity="Rating")

    assert found(NOON, "User", "Business") == ["after", "of another"]
    assert found(NOON) == []


@pytest.mark.parametrize("page", [1, 2, 3, 7, 100])
def test_pages_follow_each_other_also_among_lines_of_one_moment(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(ledger_search, "PAGE", page)
    moments = [1, 1, 1, 1, 2, 3, 3]
    for number, moment in enumerate(moments):
        settle(f"op-{number}", NOON + moment)
        settle(f"business-{number}", NOON + moment, entity="Business")

    expected = {f"{name}-{number}" for name in ("op", "business") for number in range(len(moments))}
    told = list(applied_since(NOON, ["User", "Business"]))
    assert (len(told), {line.operation_id for line in told}) == (len(expected), expected)
    assert [line.settled_at for line in told] == sorted(line.settled_at for line in told)


def test_when_dead_letters_died_is_told_for_those_that_the_ledger_knows() -> None:
    settle("bad", NOON, outcome="dead")
    settle("done", NOON)

    assert settled_at(["bad", "done", "nobody's"]) == {"bad": NOON}


def test_every_search_uses_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    settle("op-1", NOON)

    with recorded_statements(monkeypatch) as statements:
        list(applied_since(NOON - 1, ["User"]))
        settled_at(["op-1"])
        ledger.settled(["op-1"])
        list(ledger.dead_letters("t"))

    since, died, settled, letters = (" / ".join(sqlite_plan(database.current(), one)) for one in statements)
    assert "USING INDEX by_time (settled_at>?)" in since
    assert "USING PRIMARY KEY (operation_id=?)" in died
    assert "USING PRIMARY KEY (operation_id=?)" in settled
    assert "by_origin (topic=? AND outcome=?" in letters
    assert not any(slow in plan for plan in (since, died, settled, letters) for slow in ("SCAN", "TEMP B-TREE"))
