"""Tangled streams through the service end as their operations one by one in plain SQL: rows, siblings' order, dead letters.

`python -m tests.support.tangle_run` runs as many as are wanted.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mariadb_server import MariaDBServer
from tests.support.tangle_run import comparison, stream

#: What some seconds of an idle machine are good for.
STREAMS = 25


@pytest.mark.parametrize("collation", ["utf8mb4_unicode_ci", "latin1_swedish_ci"])
def test_a_tangled_stream_ends_as_its_operations_one_by_one(
    mariadb: MariaDBServer, database: str, tmp_path: Path, collation: str
) -> None:
    with comparison(mariadb, database, tmp_path, collation) as compared:
        different = {seed: found for seed in range(STREAMS) if (found := compared.difference(seed, stream(seed)))}

    assert different == {}
    # Streams of which little is applied, or in which a kind of failure is missing, would show little.
    assert compared.tally["applied"] > 5 * STREAMS
    assert compared.tally.keys() == {"applied", "invalid", "order", "refused", "reused"}
