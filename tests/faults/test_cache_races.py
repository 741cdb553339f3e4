"""Writes, deletes and syncs of several processes race on a real MariaDB and Redis: no old value is ever left."""

from __future__ import annotations

import pytest

from tests.support.cache_race import Place, race
from tests.support.mariadb_server import MariaDBServer
from tests.support.redis_server import RedisServer

#: Some 15 s on two cores; `tests/faults/race --actions 1000000` takes its time.
ACTIONS, HEATS = 10_000, 10


@pytest.fixture
def place(mariadb: MariaDBServer, redis_server: RedisServer, database: str) -> Place:
    return Place(mariadb.port, redis_server.port, database)


def test_nothing_old_is_left_by_racing_writes_deletes_syncs_and_flushes(place: Place) -> None:
    result = race(place, ACTIONS, HEATS)

    assert result.stale == []
    assert all(result.actions.values()), result.actions  # each kind took part
    assert result.compared > HEATS  # and something was cached to be wrong
