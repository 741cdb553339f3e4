"""Whether size costs anything, at small sizes, so that the measurement is known to work: `tests/run bench -s -k scale`.

`python -m tests.bench.scale` is the real measurement.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import scale
from tests.bench.bench import Bench
from tests.bench.ground import Ground
from tests.bench.report import print_tables
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.redis_server import RedisServer

SIZES = [2_000, 20_000]


@pytest.mark.timeout(600)
def test_each_size_is_measured(
    kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    bench = Bench(Ground(tmp_path, kafka, mariadb, redis_server), scale=0.05, repeats=2)

    scale.measure(bench, argparse.Namespace(sizes=SIZES))

    print_tables(Console(highlight=False), bench.measured)
    assert all(
        len(bench.measured[f"{what}: {size:,} {kind}"]) == 2
        for size in SIZES
        for what, kind in (
            ("memory", "entries waiting"),
            ("start", "entries waiting"),
            ("cost of an operation", "entries waiting"),
            ("cost for all", "keys cached"),
        )
    )
