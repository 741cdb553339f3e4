"""How MariaDB looks for what the ledger is asked: by an index, whatever else lies in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from entities import base, ledger
from entities import database as entities_database
from entities.database import DatabaseConfig
from entities.ledger import SettledOperation
from entities.ledger_search import applied_since, settled_at
from entities.own_tables import create_own_tables
from tests.support.mariadb_server import MariaDBServer
from tests.support.query_plans import mysql_plan, recorded_statements

#: So many that reading all of them would cost more than looking up those of the last moments.
LINES = 6_000

#: In ms since 1970.
LATER = 4_000_000_000_000


@pytest.fixture
def full_ledger(mariadb: MariaDBServer, database: str) -> Iterator[None]:
    """Lines of two entities on three partitions, settled one after the other, one in a hundred a dead letter."""
    lines = [
        SettledOperation(
            *(f"op-{number}", b"x" * 16, "dead" if number % 100 == 0 else "applied", 0),
            *("User" if number % 2 else "Business", "UPDATE", (f"User:{number}",), "operations", 0, number % 3, number),
        )
        for number in range(LINES)
    ]
    before = base.database.obj
    entities_database.open_database(DatabaseConfig(host="127.0.0.1", port=mariadb.port, name=database))
    create_own_tables()
    ledger.record(lines)
    # later than now: what the change leaves in the index for a while lies before it
    entities_database.execute("UPDATE settled_operations SET settled_at = %s + `offset`", (LATER,))
    entities_database.execute("ANALYZE TABLE settled_operations").fetchall()
    yield
    entities_database.close()
    base.database.obj = before


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (lambda: ledger.settled(["op-1", "op-2"]), "settled_operations range PRIMARY; Using where"),
        (lambda: settled_at(["op-100", "op-200"]), "t1 range PRIMARY; Using where"),
        (
            lambda: list(applied_since(LATER + LINES - 500, ["User"])),
            "t1 range by_time; Using index condition; Using where",
        ),
        (lambda: list(ledger.dead_letters("operations")), "t1 range by_origin; Using index condition"),
        (lambda: ledger.prune("operations", 0, 1, 300, 2**60, 10), "t1 range by_origin; Using index condition"),
    ],
    ids=["settled", "when it died", "applied since", "dead letters", "prune"],
)
def test_the_ledger_is_searched_by_an_index(
    full_ledger: None, monkeypatch: pytest.MonkeyPatch, search: Callable[[], object], expected: str
) -> None:
    with recorded_statements(monkeypatch) as statements:
        search()

    plans = [line for one in statements for line in mysql_plan(entities_database.current(), one)]
    assert plans != []
    assert [plan for plan in plans if not plan.startswith(expected) or "filesort" in plan] == []
