"""What tests of the production code on a real database share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.applying import mariadb_database
from tests.support.mariadb_server import MariaDBServer


@pytest.fixture
def bound(mariadb: MariaDBServer, database: str) -> Iterator[str]:
    """A new database of MariaDB with the application's tables, in which the production code works; its name."""
    with mariadb_database(mariadb, database):
        yield database
